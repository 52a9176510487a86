import type { ChainChannel, ChainServer, ChainSource, ChainTarget } from './chain-state.js';
import type { MysqlConnection } from './connection.js';
import { readIdentity } from './position-views.js';
import { channelOf, replicaStatusSql, type StatusRow } from './replica-status.js';
import { readStart } from './server-life.js';
import { parseGtids, readBinlogHead, readPosition } from './source-position.js';

/** Everything short that a chain hangs on, under its names in either flavour and any version. */
const VARIABLES = [
  'sync_binlog',
  'innodb_flush_log_at_trx_commit',
  'gtid_domain_id',
  'log_bin',
  'log_replica_updates',
  'log_slave_updates',
  'replica_skip_errors',
  'slave_skip_errors',
  'replica_exec_mode',
  'slave_exec_mode',
  'gtid_mode',
  'sql_replica_skip_counter',
  'sql_slave_skip_counter',
] as const;
const STARTS = ['Com_replica_start', 'Com_slave_start', 'Com_start_slave', 'Com_start_all_slaves'] as const;
const CHANGES = ['Com_change_replication_source', 'Com_change_master'] as const;

type Settings = ReadonlyMap<string, string>;

/** Looks at the source. */
export async function readChainSource(connection: MysqlConnection, timeoutMs: number): Promise<ChainSource> {
  const settings = await readPairs(connection, 'VARIABLES', VARIABLES, timeoutMs);
  const position = await readPosition(connection, timeoutMs);
  const domain = connection.version.flavour === 'mariadb' ? (settings.get('gtid_domain_id') ?? null) : null;
  return { server: await readServer(connection, settings, timeoutMs), position, domain };
}

/** What was seen of the target's own binlog; the list of its files is asked for only when what was purged has changed. */
export interface PurgedSight {
  readonly of: MysqlConnection;
  readonly text: string;
  readonly oldest: string;
}

/** Looks at the target; `known` is what the last look answered as `sight`. */
export async function readChainTarget(
  connection: MysqlConnection,
  known: PurgedSight | null,
  timeoutMs: number,
): Promise<{ target: ChainTarget; sight: PurgedSight | null }> {
  const mariadb = connection.version.flavour === 'mariadb';
  const settings = await readPairs(connection, 'VARIABLES', VARIABLES, timeoutMs);
  const counts = await readPairs(connection, 'STATUS', [...STARTS, ...CHANGES, 'Com_reset'], timeoutMs);
  // Before the sets, so that what the channels have applied is in them.
  const rows = await connection.query<StatusRow>(replicaStatusSql(connection), undefined, { timeoutMs });
  const channels = rows.map(chainChannelOf);
  const { executed, purged, steady, own } = await readSets(connection, settings, rows, timeoutMs);
  const logs = settings.get('log_bin') === 'ON' && (settings.get('log_replica_updates') ?? settings.get('log_slave_updates')) === 'ON'; // prettier-ignore
  let sight: PurgedSight | null = null;
  if (purged !== null && logs) {
    // The oldest file is read before and after what was purged: a purge between the two is not taken for another thing.
    sight = known?.of === connection && known.text === purged ? known : { of: connection, text: purged, oldest: await readOldest(connection, timeoutMs) }; // prettier-ignore
  }
  const sum = (names: readonly string[]): number => names.reduce((n, name) => n + Number(counts.get(name.toLowerCase()) ?? 0), 0); // prettier-ignore
  const skipErrors = settings.get('replica_skip_errors') ?? settings.get('slave_skip_errors') ?? '';
  const target: ChainTarget = {
    server: await readServer(connection, settings, timeoutMs),
    channels,
    executed,
    steady,
    own,
    purged: sight === null ? null : { set: parseGtids(connection, sight.text), oldest: sight.oldest },
    head: mariadb || settings.get('log_bin') !== 'ON' ? null : await readBinlogHead(connection, timeoutMs),
    skipping: Number(settings.get('sql_replica_skip_counter') ?? settings.get('sql_slave_skip_counter') ?? 0) > 0,
    skipErrors: skipErrors === 'OFF' ? '' : skipErrors,
    execMode: settings.get('replica_exec_mode') ?? settings.get('slave_exec_mode') ?? '',
    handled: { starts: sum(STARTS), changes: sum(CHANGES), resets: sum(['Com_reset']) },
  };
  return { target, sight };
}

async function readServer(connection: MysqlConnection, settings: Settings, timeoutMs: number): Promise<ChainServer> {
  return {
    home: connection.home,
    identity: await readIdentity(connection, timeoutMs),
    mariadb: connection.version.flavour === 'mariadb',
    startedAt: await readStart(connection, timeoutMs),
    durable: settings.get('sync_binlog') === '1' && settings.get('innodb_flush_log_at_trx_commit') === '1',
  };
}

/** MariaDB shows what was applied beside the counts that it has to fit; MySQL has it in variables. */
async function readSets(
  connection: MysqlConnection,
  settings: Settings,
  rows: readonly StatusRow[],
  timeoutMs: number,
): Promise<Pick<ChainTarget, 'executed' | 'steady' | 'own'> & { purged: string | null }> {
  if (connection.version.flavour === 'mariadb') {
    const [row] = await connection.query<{ pos: string; server: string | number }>(
      'SELECT @@GLOBAL.gtid_slave_pos AS pos, @@GLOBAL.server_id AS server',
      undefined,
      { timeoutMs },
    );
    // After the position, so that a write of its own between the two counts as one that has not come back yet.
    const [state] = await connection.query<{ state: string }>('SELECT @@GLOBAL.gtid_binlog_state AS state', undefined, {
      timeoutMs,
    });
    // The status takes the position before the counts, so that only one that is the same after them fits them.
    const pos = row?.pos ?? '';
    return {
      executed: parseGtids(connection, pos),
      purged: null,
      steady: rows.every((r) => r['Gtid_Slave_Pos'] === pos),
      own: ownChanges(state?.state ?? '', String(row?.server ?? '')),
    };
  }
  if ((settings.get('gtid_mode') ?? 'OFF') === 'OFF') {
    return { executed: null, purged: null, steady: true, own: new Map() };
  }
  const [row] = await connection.query<{ executed: string; purged: string }>(
    'SELECT @@GLOBAL.gtid_executed AS executed, @@GLOBAL.gtid_purged AS purged',
    undefined,
    { timeoutMs },
  );
  return {
    executed: parseGtids(connection, row?.executed ?? ''),
    purged: row?.purged ?? '',
    steady: true,
    own: new Map(),
  };
}

/** The last number that a server has given in each domain, out of `gtid_binlog_state` (`domain-server-number,…`). */
function ownChanges(state: string, server: string): ReadonlyMap<number, bigint> {
  const own = new Map<number, bigint>();
  for (const gtid of state.split(',')) {
    const [domain, of, seq] = gtid.trim().split('-');
    if (of === server && seq !== undefined) own.set(Number(domain), BigInt(seq));
  }
  return own;
}

async function readOldest(connection: MysqlConnection, timeoutMs: number): Promise<string> {
  const [row] = await connection.query<{ Log_name: string }>('SHOW BINARY LOGS', undefined, { timeoutMs });
  return row?.Log_name ?? '';
}

function chainChannelOf(row: StatusRow): ChainChannel {
  const counts = ['Slave_DDL_Groups', 'Slave_Non_Transactional_Groups', 'Slave_Transactional_Groups'].map(
    (n) => row[n],
  );
  const told = counts.every((n) => n !== undefined && n !== null);
  return {
    ...channelOf(row),
    groups: told ? counts.reduce<number>((sum, n) => sum + Number(n), 0) : null,
    skipCounter: Number(row['Skip_Counter'] ?? 0),
  };
}

async function readPairs(
  connection: MysqlConnection,
  what: 'VARIABLES' | 'STATUS',
  names: readonly string[],
  timeoutMs: number,
): Promise<Settings> {
  const rows = await connection.query<{ Variable_name: string; Value: string }>(
    `SHOW GLOBAL ${what} WHERE Variable_name IN (?)`,
    [names],
    { timeoutMs },
  );
  return new Map(rows.map((row) => [row.Variable_name.toLowerCase(), row.Value]));
}
