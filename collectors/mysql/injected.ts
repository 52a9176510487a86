import type { MysqlConnection } from './connection.js';
import { errnoOf } from './mysql-errors.js';
import type { ServerIdentity } from './position-views.js';

/**
 * Looks through a stretch of a MySQL replica's own binlog for transactions that carry the GTID of another server but were
 * committed here: a replicated transaction keeps the server id of its origin, and one that was committed by hand in its
 * name (`SET gtid_next`), so that the replica takes the real one for applied, has the replica's own.
 */

/** A place in the replica's binlog. */
interface Place {
  readonly file: string;
  readonly offset: number;
}

/** An event as SHOW BINLOG EVENTS has it. */
export interface BinlogEventRow {
  readonly Event_type: string;
  readonly Server_id: string | number;
  readonly End_log_pos: string | number;
  readonly Info: string;
}

/** Events in one answer, and answers in one look. */
const pageSize = 2_000;
const pagesPerLook = 5;
/** The file is not there any more, or not at that place. */
const noSuchPlace = 1220;

/** Follows the end of the binlog, and looks through what came since the last look while there is reason to. */
export class InjectedSearch {
  #from: Place | null = null;
  #server = '';
  #searching = false;

  /** Takes one look: `troubled` when replication stands still or was handled since the last one. Answers what was found. */
  async look(
    connection: MysqlConnection,
    server: ServerIdentity,
    head: Place | null,
    troubled: boolean,
    timeoutMs: number,
  ): Promise<string[]> {
    if (head === null || this.#from === null || this.#server !== connection.home) {
      this.#server = connection.home;
      this.#from = head;
      this.#searching = false;
      return [];
    }
    if (troubled) this.#searching = true;
    if (!this.#searching) {
      this.#from = head;
      return [];
    }
    const found: string[] = [];
    for (let page = 0; page < pagesPerLook && isBefore(this.#from, head); page++) {
      const { file, offset }: Place = this.#from;
      const events = await readEvents(connection, this.#from, timeoutMs);
      if (events === null) {
        this.#from = head;
        break;
      }
      found.push(...injectedOf(events, server));
      const last: number = Number(events.at(-1)?.End_log_pos ?? offset);
      const next: string | null =
        events.length < pageSize && file !== head.file ? await fileAfter(connection, file, timeoutMs) : null;
      this.#from = next === null ? { file, offset: Math.max(last, offset) } : { file: next, offset: 4 };
      if (next === null && last <= offset) break;
    }
    // Through with it, and nothing more to be expected.
    if (!troubled && !isBefore(this.#from, head)) this.#searching = false;
    return found;
  }
}

/** GTIDs of other servers under which this one has committed something itself. */
export function injectedOf(events: readonly BinlogEventRow[], server: ServerIdentity): string[] {
  return events.flatMap(({ Event_type: type, Server_id: id, Info: info }) => {
    if (!type.startsWith('Gtid') || Number(id) !== server.serverId) return [];
    const gtid = /'([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})((?::[a-z_0-9]+)?:\d+)'/i.exec(info);
    const [, uuid = '', rest = ''] = gtid ?? [];
    return gtid === null || uuid.toLowerCase() === server.uuid ? [] : [`${uuid.toLowerCase()}${rest}`];
  });
}

function isBefore(a: Place, b: Place): boolean {
  if (a.file === b.file) return a.offset < b.offset;
  // Numbers grow longer than six digits in the end.
  return a.file.length === b.file.length ? a.file < b.file : a.file.length < b.file.length;
}

async function readEvents(
  connection: MysqlConnection,
  { file, offset }: Place,
  timeoutMs: number,
): Promise<BinlogEventRow[] | null> {
  try {
    const sql = `SHOW BINLOG EVENTS IN ? FROM ${Math.max(4, offset)} LIMIT ${pageSize}`;
    return await connection.query<BinlogEventRow>(sql, [file], { timeoutMs });
  } catch (error) {
    if (errnoOf(error) === noSuchPlace) return null;
    throw error;
  }
}

async function fileAfter(connection: MysqlConnection, file: string, timeoutMs: number): Promise<string | null> {
  const rows = await connection.query<{ Log_name: string }>('SHOW BINARY LOGS', undefined, { timeoutMs });
  const at = rows.findIndex((row) => row.Log_name === file);
  return at < 0 ? null : (rows[at + 1]?.Log_name ?? null);
}
