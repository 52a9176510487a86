import { spawn } from 'node:child_process';
import { chmodSync, cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, isReachable, waitFor } from '../../deploy/demo/run-folder.js';
import type { PostgresServer } from '../../deploy/demo/postgres-server.js';
import { debianPackages } from './debian.js';

/** A pooler in front of a server. */
export interface PgBouncer {
  readonly port: number;
  close(): Promise<void>;
}

/** The ways in which PgBouncer shares the server's sessions. */
export const poolModes = ['session', 'transaction', 'statement'] as const;

/** The user that needs no privileges, because PgBouncer refuses to run as root. */
const nobody = 65_534;

/** Starts PgBouncer (Debian's) in front of a server, for users whose passwords it knows; each has one session at most. */
export async function startPgBouncer(
  server: PostgresServer,
  mode: (typeof poolModes)[number],
  users: Readonly<Record<string, string>>,
): Promise<PgBouncer> {
  const fetched = await debianPackages(['pgbouncer', 'libevent-2.1-7', 'libc-ares2']);
  const folder = mkdtempSync(join(tmpdir(), 'lockgate-pgbouncer-'));
  chmodSync(folder, 0o755);
  // In a checkout that others cannot enter, nobody else could start it.
  const root = isReachable(fetched) ? fetched : join(folder, 'program');
  if (root !== fetched) cpSync(fetched, root, { recursive: true, verbatimSymlinks: true });
  const port = await freePort();
  const list = join(folder, 'users.txt');
  writeFileSync(list, Object.entries(users).map(([name, password]) => `"${name}" "${password}"\n`).join('')); // prettier-ignore
  const file = join(folder, 'pgbouncer.ini');
  writeFileSync(
    file,
    `[databases]
* = host=${server.host} port=${server.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${list}
pool_mode = ${mode}
default_pool_size = 1
`,
  );
  const child = spawn(join(root, 'usr/sbin/pgbouncer'), ['-q', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, LD_LIBRARY_PATH: join(root, 'usr/lib/x86_64-linux-gnu') },
    ...(process.getuid?.() === 0 ? { uid: nobody, gid: nobody } : {}),
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString()}`.slice(-4_000)));
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', (error) => {
      said += String(error);
      resolve();
    });
  });
  const close = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
    rmSync(folder, { recursive: true });
  };
  try {
    await waitFor('PgBouncer to listen', 10_000, () => listens(port));
  } catch (error) {
    await close();
    throw new Error(`PgBouncer does not start: ${said}`, { cause: error });
  }
  return { port, close };
}

async function listens(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    return await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
  } finally {
    socket.destroy();
  }
}
