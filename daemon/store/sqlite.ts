import { resolve } from 'node:path';
import type { Clock } from '../core/clock.js';
import { toStoreError } from './sqlite-error.js';
import type { Connection, Row } from './sqlite-file.js';
import { all, checkPlace, connect, pragma, rollback, setAside } from './sqlite-file.js';
import type { Attestation, JournalDraft, JournalEntry, PersistedHold, Store } from './store.js';
import { StoreError } from './store.js';

type JournalQuery = Parameters<Store['journal']>[0];

const PRUNE_BATCH = 500;
/** A prune blocks the event loop while it runs; what is left after this many rows waits for the next call. */
const PRUNE_MAX = 20_000;
/** As large as an ordinary journal entry with its evidence, so that a probe that succeeds means something. */
const PROBE_BYTES = 8_192;
const PROBE_KEY = 'lockgate.probe';

/**
 * Opens the store at `path`, creating it when it is missing. A corrupt file is renamed aside and a fresh store opened;
 * then `recovered` is the path of the old file, the fresh store's journal starts with `store-recovered`, and the caller
 * must say so loudly. Throws a StoreError when the store is newer than this build, in use by another process, not a
 * lockgate store, or cannot be written.
 */
export function openStore(path: string, clock: Clock): { store: Store; recovered: string | null } {
  const file = resolve(path);
  checkPlace(file);
  try {
    return { store: new SqliteStore(connect(file), file), recovered: null };
  } catch (error) {
    if (!(error instanceof StoreError) || error.code !== 'store_corrupt') throw error;
    const aside = setAside(file, clock);
    const store = new SqliteStore(connect(file), file);
    store.append({
      at: clock.wallNow(),
      kind: 'store-recovered',
      migration: null,
      gate: null,
      actor: 'lockgate',
      by: null,
      data: { moved_to: aside, reason: error.message },
    });
    return { store, recovered: aside };
  }
}

class SqliteStore implements Store {
  readonly #db: Connection;
  readonly #file: string;
  readonly #statements = new Map<string, ReturnType<Connection['prepare']>>();
  #writable = true;
  #closed = false;

  constructor(db: Connection, file: string) {
    this.#db = db;
    this.#file = file;
  }

  get writable(): boolean {
    return this.#writable && !this.#closed;
  }

  append(draft: JournalDraft): number {
    const data = encode(draft.data);
    return this.#write(() => this.#insert(draft, data));
  }

  journal(query: JournalQuery): JournalEntry[] {
    const where: string[] = [];
    const values: unknown[] = [];
    const add = (clause: string, value: unknown): void => {
      where.push(clause);
      values.push(value);
    };
    if (query.after !== undefined) add('id > ?', query.after);
    if (query.since !== undefined) add('at >= ?', query.since);
    if (query.kind !== undefined) add('kind = ?', query.kind);
    // IS, because null asks for the entries that belong to no migration.
    if (query.migration !== undefined) add('migration IS ?', query.migration);
    if (query.gate !== undefined) add('gate = ?', query.gate);
    values.push(query.limit);
    const filter = where.length === 0 ? '' : ` WHERE ${where.join(' AND ')}`;
    const newest = query.newest === true;
    const rows = this.#read(`SELECT * FROM journal${filter} ORDER BY id${newest ? ' DESC' : ''} LIMIT ?`, values);
    return (newest ? rows.reverse() : rows).map(toEntry);
  }

  attest(attestation: Attestation): number {
    const { migration, name, at, by, note, actor } = attestation;
    const data = { name, note };
    return this.#transaction(() => {
      this.#run(
        `INSERT INTO attestation (migration, name, at, by_whom, note, actor) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (migration, name) DO UPDATE SET
           at = excluded.at, by_whom = excluded.by_whom, note = excluded.note, actor = excluded.actor`,
        [migration, name, at, by, note, actor],
      );
      return this.#insert({ at, kind: 'attestation', migration, gate: null, actor, by, data }, encode(data));
    });
  }

  attestations(migration: string): Attestation[] {
    return this.#read('SELECT * FROM attestation WHERE migration = ? ORDER BY name', [migration]).map((row) => ({
      migration: text(row['migration']),
      name: text(row['name']),
      at: Number(row['at']),
      by: text(row['by_whom']),
      note: text(row['note']),
      actor: text(row['actor']),
    }));
  }

  saveHolds(holds: readonly PersistedHold[]): void {
    this.#transaction(() => {
      this.#run('DELETE FROM hold', []);
      for (const hold of holds) {
        this.#run('INSERT OR REPLACE INTO hold (gate, condition, held_since, observed_until) VALUES (?, ?, ?, ?)', [
          hold.gate,
          hold.condition,
          hold.heldSince,
          hold.observedUntil,
        ]);
      }
    });
  }

  loadHolds(): PersistedHold[] {
    return this.#read('SELECT * FROM hold ORDER BY gate, condition', []).map((row) => ({
      gate: text(row['gate']),
      condition: text(row['condition']),
      heldSince: Number(row['held_since']),
      observedUntil: Number(row['observed_until']),
    }));
  }

  get(key: string): string | null {
    const [row] = this.#read('SELECT value FROM named_value WHERE key = ?', [key]);
    return row === undefined ? null : text(row['value']);
  }

  set(key: string, value: string): void {
    this.#write(() => this.#run('INSERT OR REPLACE INTO named_value (key, value) VALUES (?, ?)', [key, value]));
  }

  prune(before: number): number {
    let deleted = 0;
    while (deleted < PRUNE_MAX) {
      const batch = this.#write(() =>
        this.#run('DELETE FROM journal WHERE id IN (SELECT id FROM journal WHERE at < ? LIMIT ?)', [
          before,
          PRUNE_BATCH,
        ]),
      );
      deleted += batch.changes;
      if (batch.changes < PRUNE_BATCH) break;
    }
    return deleted;
  }

  probe(): boolean {
    try {
      this.set(PROBE_KEY, '.'.repeat(PROBE_BYTES));
      return true;
    } catch (error) {
      if (error instanceof StoreError) return false;
      throw error;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // libsql keeps the connection, and with it the lock, until every prepared statement is collected. Leaving WAL mode
    // folds the log into the file and lets go of the lock now; where that fails (full disk), the end of the process does.
    try {
      if (pragma(this.#db, 'journal_mode=DELETE') === 'delete') {
        pragma(this.#db, 'locking_mode=NORMAL');
        all(this.#db, 'SELECT 1 FROM sqlite_schema LIMIT 1');
      }
    } catch {
      // The log stays beside the file and is replayed at the next start.
    }
    this.#statements.clear();
    this.#db.close();
  }

  #insert(draft: JournalDraft, data: string): number {
    const { at, kind, migration, gate, actor, by } = draft;
    const result = this.#run(
      'INSERT INTO journal (at, kind, migration, gate, actor, by_whom, data) VALUES (?, ?, ?, ?, ?, ?, ?)',
      [at, kind, migration, gate, actor, by, data],
    );
    return Number(result.lastInsertRowid);
  }

  #transaction<T>(work: () => T): T {
    return this.#write(() => {
      this.#db.exec('BEGIN IMMEDIATE');
      const result = work();
      this.#db.exec('COMMIT');
      return result;
    });
  }

  #write<T>(work: () => T): T {
    this.#refuseClosed();
    try {
      const result = work();
      this.#writable = true;
      return result;
    } catch (error) {
      rollback(this.#db);
      this.#writable = false;
      throw toStoreError(error, this.#file, 'write');
    }
  }

  #read(sql: string, values: unknown[]): Row[] {
    this.#refuseClosed();
    try {
      // all(), never get(): a statement that is not read to its end would keep the log from being folded in.
      return this.#statement(sql).all(values) as Row[];
    } catch (error) {
      throw toStoreError(error, this.#file, 'read');
    }
  }

  #run(sql: string, values: unknown[]): { changes: number; lastInsertRowid: number | bigint } {
    return this.#statement(sql).run(values);
  }

  #statement(sql: string): ReturnType<Connection['prepare']> {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #refuseClosed(): void {
    // libsql would still write through a prepared statement after close().
    if (this.#closed) throw new StoreError('store_closed', `the store ${this.#file} is closed`);
  }
}

/** Positions and GTIDs may come as bigint, which JSON does not know; evidence must never keep an entry from being written. */
function encode(data: Readonly<Record<string, unknown>>): string {
  return JSON.stringify(data, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
}

function toEntry(row: Row): JournalEntry {
  return {
    id: Number(row['id']),
    at: Number(row['at']),
    kind: text(row['kind']),
    migration: textOrNull(row['migration']),
    gate: textOrNull(row['gate']),
    actor: text(row['actor']),
    by: textOrNull(row['by_whom']),
    data: JSON.parse(text(row['data'])) as Record<string, unknown>,
  };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : String(value);
}

function textOrNull(value: unknown): string | null {
  return value === null || value === undefined ? null : text(value);
}
