/**
 * Up to where the local writes of a server are accounted for, and what the server's own evidence says of the time since.
 * Pure.
 *
 * A GTID names the server that wrote the transaction first, so where the server's own part of its GTIDs has not grown, it
 * has written nothing of its own. What lockgate writes there is its own, too: on such a side only the binlog tells.
 */
import { containsGtids, formatGtidSet, gtidsOf, parseMysqlGtidSet } from '../../daemon/core/gtid.js';
import type { BinlogFile } from './binlog-distance.js';
import type { BinlogStart } from './binlog-protocol.js';
import type { BinlogPlace, LogOwner } from './binlog-transactions.js';

/** A server's log at one moment; the GTIDs were read before the place, so all that they name lies before it. */
export interface LogMoment {
  /** The server, told apart from every other one. */
  readonly home: string;
  /** MySQL: all that was executed there; MariaDB: the position of its binlog. Empty without GTIDs. */
  readonly executed: string;
  /**
   * MariaDB: the newest transaction of each server in each domain of its binlog. Outside of strict mode the position
   * alone can go back to a lower number by another server. Empty on MySQL.
   */
  readonly state: string;
  /** The part of it that this server wrote itself; null without GTIDs. */
  readonly own: string | null;
  readonly file: string;
  readonly offset: number;
}

/** What is known of the time between a mark and now. */
export type Gap =
  /** The server has written nothing of its own. */
  | { readonly kind: 'empty' }
  /** The binlog of that time is there and can be read. */
  | { readonly kind: 'readable'; readonly start: BinlogStart }
  | { readonly kind: 'lost'; readonly reason: string };

/** More binlog than this is not read again: the server has other work. */
export const mostReadAgain = 8 * 1024 ** 3;

/** The part of a server's GTIDs that it wrote itself; `state` is MariaDB's gtid_binlog_state. Null without GTIDs. */
export function ownPart(executed: string, state: string, owner: LogOwner): string | null {
  if (owner.uuid !== null) {
    return executed === '' ? null : formatGtidSet(gtidsOf(parseMysqlGtidSet(executed), owner.uuid));
  }
  const own = state.split(',').filter((gtid) => gtid.split('-')[1] === String(owner.serverId));
  return own
    .map((gtid) => gtid.trim())
    .sort()
    .join(',');
}

/** A mark as it is kept across restarts. */
export function formatMark({ home, executed, state, own, file, offset }: LogMoment): string {
  return JSON.stringify({ home, executed, state, own, file, offset });
}

/** Parses a mark; null when the text is none. */
export function parseMark(text: string | null): LogMoment | null {
  if (text === null) return null;
  try {
    const { home, executed, state, own, file, offset } = JSON.parse(text) as Record<string, unknown>;
    if (typeof home !== 'string' || typeof executed !== 'string' || typeof file !== 'string') return null;
    if (typeof state !== 'string' || (own !== null && typeof own !== 'string') || typeof offset !== 'number')
      return null;
    return { home, executed, state, own, file, offset };
  } catch {
    return null;
  }
}

/**
 * Tells what is known of the time between `mark` and `now`; `files` are the server's binlogs, and `byPlace` says that it
 * can be asked for its log by coordinates only.
 */
export function gapSince(mark: LogMoment | null, now: LogMoment, files: readonly BinlogFile[], byPlace = false): Gap {
  if (mark === null) return { kind: 'lost', reason: 'it is not known up to where its local writes were seen' };
  if (mark.home !== now.home) {
    return { kind: 'lost', reason: 'another server answers than the one whose local writes were watched' };
  }
  const gtids = mark.executed !== '' && now.executed !== '';
  if (gtids && !contains(now, mark)) {
    return {
      kind: 'lost',
      reason: `its GTIDs have gone back behind ${shortened(mark.executed)} (a reset or a restore)`,
    };
  }
  if (gtids && mark.own !== null && mark.own === now.own) return { kind: 'empty' };
  const bytes = bytesSince(mark, files);
  if (bytes === null) {
    return {
      kind: 'lost',
      reason: `its binlog from ${mark.file}:${mark.offset} on is there no more (purged or reset)`,
    };
  }
  if (bytes > mostReadAgain) {
    const gib = (bytes / 1024 ** 3).toFixed(0);
    return { kind: 'lost', reason: `${gib} GiB of binlog have come since, which are too many to be read again` };
  }
  if (gtids && !byPlace) return { kind: 'readable', start: { gtids: mark.executed } };
  return { kind: 'readable', start: { file: mark.file, offset: mark.offset } };
}

/** Whether the server's own part of its GTIDs, and with it what it has written itself, is the same at both moments. */
export function isSilent(before: LogMoment, now: LogMoment): boolean {
  return before.home === now.home && now.own !== null && before.own === now.own;
}

function contains(outer: LogMoment, inner: LogMoment): boolean {
  try {
    if (inner.state === '') return containsGtids(parseMysqlGtidSet(outer.executed), parseMysqlGtidSet(inner.executed));
    const reached = stateOf(outer.state);
    return [...stateOf(inner.state)].every(([server, seq]) => (reached.get(server) ?? -1n) >= seq);
  } catch {
    return false;
  }
}

/** The newest number by domain and server. */
function stateOf(state: string): Map<string, bigint> {
  return new Map(
    state.split(',').map((gtid) => {
      const [domain = '', server = '', seq = ''] = gtid.trim().split('-');
      return [`${domain}-${server}`, BigInt(seq)];
    }),
  );
}

function bytesSince({ file, offset }: BinlogPlace, files: readonly BinlogFile[]): number | null {
  const at = files.findIndex(({ name }) => name === file);
  if (at < 0 || (files[at]?.size ?? 0) < offset) return null;
  return files.slice(at).reduce((sum, { size }) => sum + size, 0) - offset;
}

function shortened(text: string): string {
  return text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
