/**
 * Reads what the plugin test_decoding makes of local transactions, as far as it must be read to tell whether they changed
 * rows of the application. Pure. Each message of the plugin is one line of its own, so only its beginning is looked at:
 * whatever a row holds can neither end a line nor begin another one, and is never kept.
 */

/** A table as the server names it. */
export interface TableName {
  schema: string;
  name: string;
}

/** A transaction that has committed. */
export interface DecodedCommit {
  xid: string;
  /** Wall clock of the commit by the server, milliseconds since 1970; null when it does not tell. */
  committedAt: number | null;
  /** It changed rows of, or truncated, a table that is neither lockgate's nor one of DMS's control tables. */
  application: boolean;
  /** It changed `lockgate.direction`. */
  direction: boolean;
  /** The application's tables that rows were inserted into, when it did nothing else to any of them; else null. */
  insertedInto: readonly TableName[] | null;
  /** The application's tables whose rows it changed one by one; null when it emptied one, or when they cannot all be told. */
  changed: readonly TableName[] | null;
  /** Relations whose changes were not taken for the application's because of what they were when last asked. */
  ignored: readonly TableName[];
}

/** Options of the plugin: local transactions only, and nothing of those that changed no rows. */
export const LOCAL_OPTIONS = `"include-xids" 'on', "include-timestamp" 'on', "skip-empty-xacts" 'on', "only-local" 'on'`;

/** Names are at most 63 bytes, twice as many when every one is a quote. */
const headBytes = 320;
/** An initial copy fills one table, or the partitions of one; what fills more tables than this is no copy. */
const mostTables = 1_000;

/** Follows the messages of one stream, transaction by transaction. */
export class LocalDecoder {
  #application = false;
  #direction = false;
  #inserted: Map<string, TableName> | null = new Map();
  #changed: Map<string, TableName> | null = new Map();
  #ignored = new Map<string, TableName>();

  /**
   * `ignored` tells relations whose rows are not the application's own: materialized views hold what others hold. What it
   * knows may be out of date, so each commit names those that it spoke of.
   */
  constructor(private readonly ignored: (table: TableName) => boolean = () => false) {}

  /** Takes one message; answers the transaction that it ends, if it ends one. */
  take(payload: Buffer): DecodedCommit | null {
    const head = payload.toString('utf8', 0, Math.min(payload.length, headBytes));
    if (head.startsWith('table ')) this.#change(head, payload);
    else if (head.startsWith('BEGIN')) this.#begin();
    else if (head.startsWith('COMMIT')) return this.#commit(head);
    return null;
  }

  #begin(): void {
    this.#application = false;
    this.#direction = false;
    this.#inserted = new Map();
    this.#changed = new Map();
    this.#ignored = new Map();
  }

  #change(head: string, payload: Buffer): void {
    // Only a TRUNCATE names several tables, and it holds nothing but names.
    const change = parseChange(head) ?? parseChange(payload.toString('utf8', 0, 1024 ** 2));
    // What cannot be read is taken for a change of the application's: unobserved is not none.
    if (change === null) {
      this.#application = true;
      this.#inserted = null;
      this.#changed = null;
      return;
    }
    for (const table of change.tables) {
      if (table.schema === 'lockgate') {
        this.#direction ||= table.name === 'direction';
        continue;
      }
      if (table.name.startsWith('awsdms_')) continue;
      const key = JSON.stringify([table.schema, table.name]);
      if (this.#ignored.size < mostTables && this.ignored(table)) {
        this.#ignored.set(key, table);
        continue;
      }
      this.#application = true;
      if (change.operation !== 'INSERT') this.#inserted = null;
      this.#inserted?.set(key, table);
      if ((this.#inserted?.size ?? 0) > mostTables) this.#inserted = null;
      if (change.operation === 'TRUNCATE') this.#changed = null;
      this.#changed?.set(key, table);
      if ((this.#changed?.size ?? 0) > mostTables) this.#changed = null;
    }
  }

  #commit(head: string): DecodedCommit {
    const [, xid = '', at] = /^COMMIT ?(\d*)(?: \(at ([^)]*)\))?/.exec(head) ?? [];
    const commit: DecodedCommit = {
      xid,
      committedAt: parseTime(at),
      application: this.#application,
      direction: this.#direction,
      insertedInto: this.#inserted === null ? null : [...this.#inserted.values()],
      changed: this.#changed === null ? null : [...this.#changed.values()],
      ignored: [...this.#ignored.values()],
    };
    this.#begin();
    return commit;
  }
}

/** Parses `table schema.name: INSERT: …`, or `table a.b, c.d: TRUNCATE: …`; null when the text is not (or not wholly) that. */
export function parseChange(line: string): { tables: TableName[]; operation: string } | null {
  const tables: TableName[] = [];
  let at = 'table '.length;
  for (;;) {
    const schema = parseName(line, at);
    if (schema === null || line[schema.end] !== '.') return null;
    const name = parseName(line, schema.end + 1);
    if (name === null) return null;
    tables.push({ schema: schema.name, name: name.name });
    if (line.startsWith(', ', name.end)) {
      at = name.end + 2;
      continue;
    }
    const operation = /^: ([A-Z]+):/.exec(line.slice(name.end, name.end + 16))?.[1];
    return operation === undefined ? null : { tables, operation };
  }
}

/** Parses a name as PostgreSQL quotes it; `end` is the index after it. */
function parseName(text: string, from: number): { name: string; end: number } | null {
  if (text[from] !== '"') {
    const plain = /^[^\s".,:]+/.exec(text.slice(from, from + 256))?.[0];
    return plain === undefined ? null : { name: plain, end: from + plain.length };
  }
  let name = '';
  for (let at = from + 1; at < text.length; at += 1) {
    const char = text[at] ?? '';
    if (char !== '"') name += char;
    else if (text[at + 1] === '"') {
      name += char;
      at += 1;
    } else return { name, end: at + 1 };
  }
  return null;
}

/** A time as a session in UTC with ISO dates prints it, for example `2026-11-22 19:38:39.634+00`. */
function parseTime(text: string | undefined): number | null {
  const match = /^(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)\+00$/.exec(text ?? '');
  if (match === null) return null;
  const at = Date.parse(`${match[1] ?? ''}T${match[2] ?? ''}Z`);
  return Number.isNaN(at) ? null : at;
}
