import { describe, expect, it } from 'vitest';
import { mostStuck, reopening } from '../../collectors/mysql/reopen.js';
import { TransientError } from '../../daemon/core/errors.js';

/** A server whose sessions can hang so that not even KILL ends them. */
class Server {
  readonly home: string = 'a';
  readonly sessions = new Set<number>();
  readonly killed: string[] = [];
  killable = true;
  next = 1;

  open(home = this.home) {
    const { sessions, killed } = this;
    const killable = (): boolean => this.killable;
    const threadId = this.next++;
    sessions.add(threadId);
    return {
      home,
      threadId,
      lost: null as Error | null,
      query: <R>(_sql: string, values: readonly unknown[] = []) =>
        Promise.resolve((values[0] as number[]).filter((id) => sessions.has(id)).map((id) => ({ id })) as R[]),
      execute: (sql: string) => {
        killed.push(sql);
        if (killable()) sessions.delete(Number(sql.slice(5)));
        return Promise.resolve(0);
      },
      close: () => {
        sessions.delete(threadId);
        return Promise.resolve();
      },
    };
  }
}

const { signal } = new AbortController();
const timeout = new TransientError('query_timeout', 'no answer');

describe('a session after one that did not answer', () => {
  it('ends it', async () => {
    const server = new Server();
    const open = reopening(() => Promise.resolve(server.open()));
    for (let i = 0; i < 10; i++) (await open(signal)).lost = timeout;
    expect(server.killed).toContain('KILL 1');
    expect(server.sessions.size).toBe(1);
  });

  it('is not opened while too many hang, and is once they have ended', async () => {
    const server = new Server();
    server.killable = false;
    const open = reopening(() => Promise.resolve(server.open()));
    for (let i = 0; i < mostStuck; i++) (await open(signal)).lost = timeout;
    for (let i = 0; i < 5; i++) await expect(open(signal)).rejects.toMatchObject({ code: 'mysql_stuck' });
    expect(server.sessions.size).toBe(mostStuck);
    server.sessions.clear();
    await expect(open(signal)).resolves.toMatchObject({ lost: null });
  });

  it('ends nothing on another server, nor one that was lost otherwise', async () => {
    const server = new Server();
    let home = 'a';
    const open = reopening(() => Promise.resolve(server.open(home)));
    (await open(signal)).lost = timeout;
    home = 'b';
    (await open(signal)).lost = new TransientError('connection_lost', 'ended');
    await open(signal);
    expect(server.killed).toEqual([]);
  });
});
