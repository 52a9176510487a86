/** A server's clock, set by libfaketime: ahead or behind from the start, or stepped while the server runs. */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { PostgresServer } from '../../deploy/demo/postgres-server.js';
import { childrenOf, runFolder, waitFor } from '../../deploy/demo/run-folder.js';
import { debianPackages } from './debian.js';

/** The clock of the servers that are started with its environment. */
export interface FakeTime {
  /** For `PostgresOptions.env`. */
  readonly env: Readonly<Record<string, string>>;
  /** Sets the clock so many whole seconds ahead (behind when negative) of the true one, at once and in running servers too. */
  set(seconds: number): void;
}

/** Makes a clock that is so many seconds ahead; fetches libfaketime when this is the first one ever. */
export async function fakeTime(seconds: number): Promise<FakeTime> {
  const lib = join(await debianPackages(['libfaketime']), 'usr', 'lib');
  // Named after the machine's architecture, like `x86_64-linux-gnu`.
  const found = readdirSync(lib)
    .map((name) => join(lib, name, 'faketime', 'libfaketimeMT.so.1'))
    .find((path) => existsSync(path));
  if (found === undefined) throw new Error(`there is no libfaketimeMT.so.1 below ${lib}`);
  // Copied, because the server's user may not be able to read below the project's folder.
  const folder = mkdtempSync(join(runFolder().path, 'clock-'));
  chmodSync(folder, 0o755);
  const library = join(folder, 'libfaketime.so');
  copyFileSync(found, library);
  chmodSync(library, 0o755);
  const file = join(folder, 'offset');
  const set = (value: number): void => {
    if (!Number.isSafeInteger(value)) throw new RangeError(`whole seconds, not ${value}`);
    // Renamed into place, so that nobody ever reads half of it.
    writeFileSync(`${file}.new`, `${value < 0 ? '' : '+'}${value}\n`, { mode: 0o644 });
    renameSync(`${file}.new`, file);
  };
  set(seconds);
  return {
    set,
    env: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: '1',
      // Time-outs and sleeps go on by the true clock, as they do when somebody sets a machine's clock.
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
      FAKETIME_DISABLE_SHM: '1',
      NO_FAKE_STAT: '1',
    },
  };
}

/**
 * Puts the collector of statistics of a server of version 14 or older under the same clock as the others. The postmaster
 * starts it in a signal handler, where libfaketime leaves the time alone, and a session whose clock is ahead of the
 * collector's waits 10 s for newer statistics; once killed, it is started again from the postmaster's own loop.
 */
export async function statisticsByFakeTime(server: PostgresServer): Promise<void> {
  if (server.major >= 15) return; // there is no such process any more
  const collectors = (): number[] =>
    childrenOf(server.postmasterPid()).filter((pid) => titleOf(pid).includes('stats collector'));
  await waitFor('a collector of statistics', 10_000, () => collectors().length > 0);
  const old = collectors();
  for (const pid of old) server.signal(pid, 'SIGKILL');
  // Its postmaster looks once a minute, unless something else wakes it.
  await waitFor('a new collector of statistics', 70_000, () => collectors().some((pid) => !old.includes(pid)));
}

function titleOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8');
  } catch {
    return ''; // it has ended meanwhile
  }
}
