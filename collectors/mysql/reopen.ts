import { LockgateError, TransientError } from '../../daemon/core/errors.js';
import type { Open } from '../session/session.js';
import type { MysqlConnection } from './connection.js';

/** Sessions of one collector that may hang in a server at a time. */
export const mostStuck = 3;

/**
 * Opens sessions, but never so many that those we gave up on use up the server's connections: what a statement such as
 * SHOW REPLICA STATUS waits for may last as long as a STOP REPLICA beside it, the server does not notice that nobody waits
 * for the answer, and no time limit of the server binds it. So each new session ends those that were given up, and while
 * as many as `mostStuck` are still there it is closed again with a TransientError (`mysql_stuck`).
 */
export function reopening<
  S extends Pick<MysqlConnection, 'home' | 'threadId' | 'lost' | 'query' | 'execute' | 'close'>,
>(open: Open<S>): Open<S> {
  let last: S | null = null;
  let stuck: { home: string; threadId: number }[] = [];
  return async (signal) => {
    if (last !== null && last.lost instanceof LockgateError && last.lost.code === 'query_timeout') {
      stuck = [...stuck, { home: last.home, threadId: last.threadId }].slice(-2 * mostStuck);
    }
    last = null;
    const session = await open(signal);
    try {
      // The name may lead to another server by now, where these numbers are those of other sessions.
      stuck = stuck.filter(({ home }) => home === session.home);
      if (stuck.length > 0) {
        for (const { threadId } of stuck) await session.execute(`KILL ${String(threadId)}`).catch(passNoSuchThread);
        const rows = await session.query<{ id: string | number }>(
          'SELECT ID AS id FROM information_schema.PROCESSLIST WHERE ID IN (?)',
          [stuck.map(({ threadId }) => threadId)],
        );
        const there = new Set(rows.map(({ id }) => Number(id)));
        stuck = stuck.filter(({ threadId }) => there.has(threadId));
      }
      if (stuck.length >= mostStuck) {
        throw new TransientError(
          'mysql_stuck',
          `${String(stuck.length)} of our sessions hang in the server (${stuck.map((s) => s.threadId).join(', ')}), and there will be no more until they end`,
          'see the process list: a STOP REPLICA that waits for a transaction holds up whoever asks for the status',
        );
      }
      last = session;
      return session;
    } catch (error) {
      await session.close();
      throw error;
    }
  };
}

function passNoSuchThread(error: unknown): void {
  // Whatever the server has against it is seen in the list; only a lost session is a reason to give up.
  if (error instanceof LockgateError && error.code.startsWith('mysql_')) return;
  throw error;
}
