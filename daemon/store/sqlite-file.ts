import { accessSync, constants, existsSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { pathToFileURL } from 'node:url';
import Database from 'libsql';
import type { Clock } from '../core/clock.js';
import { APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION } from './schema.js';
import { toStoreError } from './sqlite-error.js';
import { StoreError } from './store.js';

/** A connection of libsql; never hand a Buffer to a statement as its sole argument, that aborts the process. */
export type Connection = InstanceType<typeof Database>;
/** A row by the names of its columns. */
export type Row = Record<string, unknown>;

/** Long enough for a predecessor that is just exiting, short enough not to look hung. */
const BUSY_TIMEOUT_MS = 2_000;

/** SQLite says no more than "unable to open database file", so the place is looked at first. */
export function checkPlace(file: string): void {
  const directory = dirname(file);
  const refuse = (message: string, hint: string, cause?: unknown): never => {
    throw new StoreError('store_not_writable', message, hint, { cause });
  };
  const found = statSync(directory, { throwIfNoEntry: false });
  if (found?.isDirectory() !== true) {
    refuse(`the store's directory ${directory} does not exist`, 'Create it, or change store.path.');
  }
  const user = 'Make it writable for the user that runs lockgate, or change store.path.';
  try {
    accessSync(directory, constants.W_OK | constants.X_OK);
  } catch (error) {
    refuse(`the store's directory ${directory} is not writable`, user, error);
  }
  const present = statSync(file, { throwIfNoEntry: false });
  if (present === undefined) return;
  if (!present.isFile()) refuse(`the store ${file} is not a file`, 'Change store.path to a file.');
  try {
    accessSync(file, constants.R_OK | constants.W_OK);
  } catch (error) {
    refuse(`the store ${file} is not readable and writable`, user, error);
  }
}

/** Opens, locks, checks and migrates the file; throws a StoreError. */
export function connect(file: string): Connection {
  refuseNewerUntouched(file);
  let db: Connection | null = null;
  try {
    db = new Database(file, { timeout: BUSY_TIMEOUT_MS });
    // Exclusive before the first access: the kernel's lock on the file itself keeps a second daemon out, under whatever
    // name it opens it, and is gone with the process however that ends.
    pragma(db, 'locking_mode=EXCLUSIVE');
    pragma(db, 'trusted_schema=OFF');
    // Looked at before anything is written: what is not ours stays as it is, what is damaged is kept as evidence.
    db.exec('BEGIN EXCLUSIVE');
    const version = Number(pragma(db, 'user_version'));
    if (version > SCHEMA_VERSION) throw newer(file, version);
    refuseForeign(db, file);
    const check = pragma(db, 'quick_check(1)');
    if (check !== 'ok') throw new StoreError('store_corrupt', `the store ${file} is damaged: ${String(check)}`);
    db.exec('COMMIT');
    const mode = pragma(db, 'journal_mode=WAL');
    if (mode !== 'wal') throw new StoreError('store_failed', `the store ${file} cannot use a write-ahead log`);
    // With NORMAL a power cut could take back an opening that was already acted upon.
    pragma(db, 'synchronous=FULL');
    pragma(db, 'journal_size_limit=16777216');
    db.exec('BEGIN EXCLUSIVE');
    for (const script of MIGRATIONS.slice(version)) db.exec(script);
    db.exec(`PRAGMA user_version=${SCHEMA_VERSION}; PRAGMA application_id=${APPLICATION_ID}; COMMIT`);
    return db;
  } catch (error) {
    if (db !== null) {
      rollback(db);
      db.close();
    }
    throw toStoreError(error, file, 'open');
  }
}

/**
 * Looks at the version without taking a lock or replaying the log: opening in earnest would already write to a file that
 * a newer lockgate may need back. What is wrong with the file otherwise, the opening in earnest finds.
 */
function refuseNewerUntouched(file: string): void {
  if (!existsSync(file)) return;
  let version = 0;
  try {
    const db = new Database(`${pathToFileURL(file).href}?mode=ro&immutable=1`);
    try {
      version = Number(pragma(db, 'user_version'));
      if (pragma(db, 'application_id') !== APPLICATION_ID) version = 0;
    } finally {
      db.close();
    }
  } catch {
    return;
  }
  if (version > SCHEMA_VERSION) throw newer(file, version);
}

function newer(file: string, version: number): StoreError {
  return new StoreError(
    'store_newer',
    `the store ${file} has schema ${version}; this lockgate knows up to ${SCHEMA_VERSION}`,
    'Run the lockgate that wrote it, or point store.path elsewhere.',
  );
}

/** A file of another program that only happens to be SQLite must be neither migrated nor moved aside. */
function refuseForeign(db: Connection, file: string): void {
  if (pragma(db, 'application_id') === APPLICATION_ID) return;
  const [row] = all(db, 'SELECT count(*) AS n FROM sqlite_schema');
  if (Number(row?.['n']) === 0) return;
  throw new StoreError(
    'store_foreign',
    `${file} is a SQLite database, but not a lockgate store`,
    'Point store.path at a file of its own.',
  );
}

/** Renames a damaged store, its log included, and says to what. */
export function setAside(file: string, clock: Clock): string {
  const base = `${file}.corrupt-${new Date(clock.wallNow()).toISOString().replaceAll(/[:.]/g, '-')}`;
  let aside = base;
  for (let n = 1; existsSync(aside); n += 1) aside = `${base}-${n}`;
  try {
    renameSync(file, aside);
    // Under the new name's -wal, SQLite's own recovery tools still find the log that belongs to it.
    for (const suffix of ['-wal', '-shm']) {
      if (existsSync(file + suffix)) renameSync(file + suffix, aside + suffix);
    }
  } catch (error) {
    throw new StoreError('store_corrupt', `the store ${file} is damaged and cannot be moved aside`, null, {
      cause: error,
    });
  }
  return aside;
}

/** A failed statement may or may not have ended the transaction; ROLLBACK without one would hide the first error. */
export function rollback(db: Connection): void {
  try {
    if (db.inTransaction) db.exec('ROLLBACK');
  } catch {
    // SQLite rolls back by itself when the connection is next used or closed.
  }
}

/** Every row of a query without parameters. */
export function all(db: Connection, sql: string): Row[] {
  return db.prepare(sql).all([]) as Row[];
}

/** The single value that a pragma answers, or undefined. */
export function pragma(db: Connection, source: string): unknown {
  const [row] = all(db, `PRAGMA ${source}`);
  return row === undefined ? undefined : Object.values(row)[0];
}
