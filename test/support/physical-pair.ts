import { randomBytes } from 'node:crypto';
import { chown, copyFile, mkdir, readdir, rm, symlink, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runFolder, serverUser, waitFor } from '../../deploy/demo/run-folder.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { database, open, runAll, serverPair, shopRows, shopSchema, type ServerPair } from './pair.js';
import { startProxy, type Proxy } from './proxy.js';

/** A primary (`source`) and its streaming standby (`target`). */
export interface PhysicalPair extends ServerPair {
  readonly kind: 'physical';
  readonly primary: PostgresServer;
  readonly standby: PostgresServer;
  /** Application name of the standby's walsender and name of its slot. */
  readonly slot: string;
  /** Promotes the standby and waits until it accepts writes. */
  promote(): Promise<void>;
  /** Waits until the standby has replayed what the primary has written so far. */
  settled(timeoutMs?: number): Promise<void>;
}

/** Which version to start and how. */
export interface PhysicalPairOptions {
  readonly major?: number;
  /** Settings of both servers. */
  readonly settings?: Readonly<Record<string, string>>;
}

const slot = 'standby';

/** Starts a primary with the shop's tables and a standby that streams from it through a proxy. */
export async function startPhysicalPair(options: PhysicalPairOptions = {}): Promise<PhysicalPair> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    return await buildPair(options, cleanups);
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}

async function buildPair(
  { major = 18, settings = {} }: PhysicalPairOptions,
  cleanups: (() => Promise<void>)[],
): Promise<PhysicalPair> {
  const primary = await startPostgres({ name: 'primary', major, database, settings });
  cleanups.push(() => primary.destroy());
  const replicationProxy = await startProxy(primary);
  cleanups.push(() => replicationProxy.close());

  const client = await open(primary);
  try {
    await client.query(shopSchema + shopRows);
  } finally {
    await client.end();
  }
  const home = join(runFolder().path, `standby-${randomBytes(4).toString('hex')}`);
  cleanups.push(() => rm(home, { recursive: true, force: true }));
  await makeFolder(home);
  const dataDir = join(home, 'data');
  await backUp(primary, dataDir);
  const standby = await startStandby(primary, dataDir, replicationProxy, settings);
  cleanups.push(() => standby.destroy());

  const base = await serverPair(primary, standby, cleanups, replicationProxy);
  const pair: PhysicalPair = {
    ...base,
    kind: 'physical',
    primary,
    standby,
    slot,
    async promote() {
      const [row] = await base.onTarget<{ done: boolean }>('select pg_promote(true, 30) as done');
      if (row?.done !== true) throw new Error('the standby was not promoted within 30 s');
    },
    async settled(timeoutMs = 30_000) {
      const [row] = await base.onSource<{ lsn: string }>('select pg_current_wal_flush_lsn() as lsn');
      await waitFor(`the standby to replay ${row?.lsn}`, timeoutMs, async () => {
        const [state] = await base.onTarget<{ done: boolean }>('select pg_last_wal_replay_lsn() >= $1 as done', [
          row?.lsn,
        ]);
        return state?.done;
      });
    },
  };
  await waitFor('the standby to stream', 20_000, async () => {
    const rows = await base.onSource(
      `select 1 from pg_stat_replication where application_name = $1 and state = 'streaming'`,
      [slot],
    );
    return rows.length === 1;
  });
  return pair;
}

async function startStandby(
  primary: PostgresServer,
  dataDir: string,
  proxy: Proxy,
  settings: Readonly<Record<string, string>>,
): Promise<PostgresServer> {
  await writeOwn(join(dataDir, 'standby.signal'), '');
  return await startPostgres({
    name: 'standby',
    major: primary.major,
    dataDir,
    password: primary.password,
    settings: {
      hot_standby: 'on',
      wal_retrieve_retry_interval: '500ms', // as in a logical pair
      ...settings,
      primary_slot_name: slot,
      primary_conninfo: `host=127.0.0.1 port=${proxy.port} user=postgres password=${primary.password} application_name=${slot}`,
    },
  });
}

/**
 * Takes a base backup with the low-level API, because pg_basebackup is not in the package. WAL from the start of the
 * backup on is kept by the slot and streamed, so none is copied.
 */
async function backUp(primary: PostgresServer, dataDir: string): Promise<void> {
  const modern = primary.major >= 15;
  // The backup belongs to the session: it must stay open until the backup has been stopped.
  const client = await open(primary);
  try {
    await client.query('select pg_create_physical_replication_slot($1, true)', [slot]);
    await client.query(
      modern ? `select pg_backup_start('lockgate', true)` : `select pg_start_backup('lockgate', true, false)`,
    );
    await copyData(primary.dataDir, dataDir);
    const stopped = await client.query<{ labelfile: string; spcmapfile: string }>(
      modern ? 'select * from pg_backup_stop(false)' : 'select * from pg_stop_backup(false, false)',
    );
    const [row] = stopped.rows;
    if (row === undefined) throw new Error('the end of the base backup returned no label');
    await writeOwn(join(dataDir, 'backup_label'), row.labelfile);
    if (row.spcmapfile.trim() !== '') await writeOwn(join(dataDir, 'tablespace_map'), row.spcmapfile);
  } finally {
    await client.end();
  }
}

/** Folders whose content belongs to the running server and not into a backup. */
const emptied = new Set([
  'pg_wal',
  'pg_replslot',
  'pg_dynshmem',
  'pg_notify',
  'pg_serial',
  'pg_snapshots',
  'pg_stat_tmp',
  'pg_subtrans',
]);
const leftOut = new Set(['postmaster.pid', 'postmaster.opts', 'server.key', 'server.crt']);

async function copyData(from: string, to: string, top = true): Promise<void> {
  await makeFolder(to);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    if (entry.name.startsWith('pgsql_tmp') || (top && leftOut.has(entry.name))) continue;
    const [source, copy] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) {
      if (top && emptied.has(entry.name)) await makeFolder(copy);
      else await copyData(source, copy, false);
    } else if (entry.isSymbolicLink()) {
      await symlink(await readlink(source), copy);
    } else {
      await copyFile(source, copy).then(
        () => own(copy),
        (error: unknown) => {
          // The server goes on working: a file that vanishes is put right by WAL.
          if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        },
      );
    }
  }
  if (top) await makeFolder(join(to, 'pg_wal', 'archive_status'));
}

async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  await own(path);
}

async function writeOwn(path: string, content: string): Promise<void> {
  await writeFile(path, content, { mode: 0o600 });
  await own(path);
}

async function own(path: string): Promise<void> {
  const user = serverUser();
  if (user !== null) await chown(path, user.uid, user.gid);
}
