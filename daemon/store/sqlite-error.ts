import { messageOf } from '../core/errors.js';
import { StoreError } from './store.js';

/** SQLite's code, ours, what is wrong, and the remedy. */
const FAULTS: readonly [RegExp, string, string, string | null][] = [
  [
    /^SQLITE_(BUSY|LOCKED)/,
    'store_locked',
    'is in use by another process',
    'One lockgate per store: stop the other one, or change store.path.',
  ],
  [/^SQLITE_FULL/, 'store_full', 'has no room left on its disk', 'Free space on the disk; lockgate goes on by itself.'],
  [
    /^SQLITE_(READONLY|PERM|CANTOPEN|AUTH)/,
    'store_not_writable',
    'cannot be opened for writing',
    'Check the owner and mode of the file and its directory.',
  ],
  [
    /^SQLITE_(NOTADB|CORRUPT)/,
    'store_corrupt',
    'is damaged',
    'At the next start it is renamed aside and a fresh one opened.',
  ],
  [
    /^SQLITE_IOERR/,
    'store_io',
    'cannot be read or written by the operating system',
    'Check the disk and the kernel log.',
  ],
];

/** Makes a StoreError of whatever libsql threw, classified by SQLite's code. */
export function toStoreError(error: unknown, file: string, operation: 'open' | 'write' | 'read'): StoreError {
  if (error instanceof StoreError) return error;
  const code = sqliteCode(error);
  for (const [pattern, name, what, hint] of FAULTS) {
    if (pattern.test(code)) {
      // Who cannot open it ends, and goes on only when it is started again.
      const remedy = name === 'store_full' && operation === 'open' ? 'Free space on the disk, then start again.' : hint;
      return new StoreError(name, `the store ${file} ${what} (${operation}: ${messageOf(error)})`, remedy, {
        cause: error,
      });
    }
  }
  return new StoreError('store_failed', `the store ${file} failed (${operation}: ${messageOf(error)})`, null, {
    cause: error,
  });
}

function sqliteCode(error: unknown): string {
  if (!(error instanceof Error)) return '';
  if ('code' in error && typeof error.code === 'string' && error.code !== '') return error.code;
  // Failing to open carries no code, only SQLite's number at the end of the message (14: cannot open).
  return /: 14"?\)?$/.test(error.message) ? 'SQLITE_CANTOPEN' : '';
}
