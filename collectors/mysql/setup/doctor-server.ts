import type { CollectorContext } from '../../collector.js';
import type { MysqlConnection } from '../connection.js';
import { linkSignals, sideSignals, type DoctorPlan, type Say } from './doctor-words.js';

/** More is worth a remark; lag never depends on it. */
const skewLimitMs = 1_000;
/** A binlog that is kept for less may be gone before a replica that was down overnight has read it. */
const shortSeconds = 86_400;

/** Variables of the server, by their older name; empty where it has no such variable. */
export type Variables = ReadonlyMap<string, string>;

/** Variables that MySQL has renamed. */
const RENAMED: Readonly<Record<string, string>> = {
  log_replica_updates: 'log_slave_updates',
  replica_skip_errors: 'slave_skip_errors',
  replica_preserve_commit_order: 'slave_preserve_commit_order',
};
const WANTED = [
  ...['log_bin', 'binlog_format', 'binlog_row_image', 'log_slave_updates', 'log_replica_updates', 'server_id'],
  ...['gtid_mode', 'gtid_strict_mode', 'read_only', 'super_read_only', 'innodb_read_only', 'expire_logs_days'],
  ...['binlog_expire_logs_seconds', 'slave_skip_errors', 'replica_skip_errors', 'binlog_transaction_compression'],
  ...['aurora_version', 'basedir', 'slave_preserve_commit_order', 'log_bin_compress'],
  'replica_preserve_commit_order',
];

/** Reads what doctor wants to know of the settings; everybody may. */
export async function readVariables(connection: MysqlConnection): Promise<Variables> {
  const rows = await connection.query<{ Variable_name: string; Value: string }>(
    `SHOW GLOBAL VARIABLES WHERE Variable_name IN (${WANTED.map(() => '?').join(', ')})`,
    WANTED,
  );
  return new Map(rows.map((row) => [RENAMED[row.Variable_name] ?? row.Variable_name, row.Value]));
}

/** Looks at a server's version, place, clock and settings. */
export async function examineServer(
  plan: DoctorPlan,
  connection: MysqlConnection,
  variables: Variables,
  context: CollectorContext,
  say: Say,
): Promise<void> {
  const { address } = plan.database;
  const { flavour, number, text } = connection.version;
  const title = flavour === 'mysql' ? 'MySQL' : 'MariaDB';
  say('ok', `${title} ${text} answers at ${address.host}:${address.port} as ${address.user}`, null);
  const oldest = flavour === 'mysql' ? 80_000 : 100_600;
  if (number < oldest) {
    say('fault', `${title} ${text} is too old`, 'lockgate supports MySQL 8.0 to 9.x and MariaDB from 10.6 on');
  }
  await tls(plan, connection, say);
  await skew(connection, context, say);
  managed(variables, say);
  writable(plan, variables, say);
  binlog(plan, variables, say);
  replica(plan, variables, say);
}

async function tls(plan: DoctorPlan, connection: MysqlConnection, say: Say): Promise<void> {
  const [row] = await connection.query<{ Value: string }>("SHOW SESSION STATUS LIKE 'Ssl_cipher'");
  const { mode } = plan.database.tls;
  const { host } = plan.database.address;
  const cipher = row?.Value ?? '';
  if (cipher === '') {
    if (host === 'localhost' || /^(127\.|::1$)/.test(host)) say('ok', 'no TLS, on a local connection', null);
    else say('warning', 'the connection is not encrypted', 'set `tls: { mode: verify-full, ca: … }` for this database');
  } else if (mode === 'verify-ca' || mode === 'verify-full') {
    say('ok', `TLS (${cipher}), the server's certificate verified (${mode})`, null);
  } else {
    say('warning', `TLS (${cipher}), but the server's certificate is not verified`, 'set `tls.mode: verify-full`');
  }
}

/** The smallest round trip of a few gives the narrowest bound. */
async function skew(connection: MysqlConnection, context: CollectorContext, say: Say): Promise<void> {
  let best: { skewMs: number; uncertaintyMs: number } | null = null;
  for (let n = 0; n < 5; n++) {
    const before = context.clock.wallNow();
    const [row] = await connection.query<{ us: string | number }>(
      "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) AS us",
    );
    const after = context.clock.wallNow();
    const uncertaintyMs = Math.max(0, after - before) / 2;
    if (best !== null && uncertaintyMs >= best.uncertaintyMs) continue;
    best = { skewMs: Number(row?.us) / 1000 - (before + after) / 2, uncertaintyMs };
  }
  if (best === null || Number.isNaN(best.skewMs)) return;
  const { skewMs, uncertaintyMs } = best;
  const message = `its clock is ${skewMs.toFixed(1)} ms ahead of the daemon's, give or take ${uncertaintyMs.toFixed(1)} ms`;
  if (Math.abs(skewMs) - uncertaintyMs < skewLimitMs) say('ok', message, null);
  else {
    const remedy =
      'set the clocks right (NTP); lag does not depend on them, but Seconds_Behind_Source, pt-heartbeat and logs do';
    say('warning', message, remedy);
  }
}

function managed(variables: Variables, say: Say): void {
  const aurora = variables.has('aurora_version');
  if (!aurora && !(variables.get('basedir') ?? '').startsWith('/rdsdbbin')) return;
  const what = aurora ? 'Aurora (it has aurora_version)' : 'RDS (by its basedir)';
  say('ok', `this is ${what}: what lockgate knows of it comes from documentation, not from tests`, null);
}

function writable(plan: DoctorPlan, variables: Variables, say: Say): void {
  const locks = ['read_only', 'super_read_only', 'innodb_read_only'].filter((name) => isOn(variables.get(name)));
  const forward = plan.links.filter((l) => l.from.name === plan.database.name && l.config.name === 'forward');
  if (forward.length > 0 && locks.length > 0) {
    say(
      'fault',
      `${locks.join(' and ')} is on, and this is the source: no heartbeat is written here`,
      'let the URL name the server that takes the writes',
      forward.flatMap((l) => linkSignals(l, 'lag', 'lag_low', 'agreement')),
    );
  }
  if (forward.length === 0 && plan.receives.length > 0) {
    if (locks.length > 0) say('ok', `${locks.join(' and ')} is on, as for a replica`, null);
    else {
      say(
        'warning',
        'read_only is off on this replica: any client may write to it, and such a write is on no other server',
        'SET GLOBAL read_only = 1; until the switch',
      );
    }
  }
}

function binlog(plan: DoctorPlan, variables: Variables, say: Say): void {
  const sends = plan.links.filter((l) => l.from.name === plan.database.name && l.config.via !== 'none');
  const reader = sideSignals(plan, 'local_writes', 'last_local_write_age');
  if (!isOn(variables.get('log_bin'))) {
    const remedy = 'set log_bin in the configuration of the server and restart it';
    if (sends.length > 0) {
      const signals = sends.flatMap((l) => linkSignals(l, 'lag', 'lag_by_position', 'agreement', 'backlog_bytes'));
      say('fault', 'it keeps no binlog (log_bin is off), so nothing is replicated from it', remedy, signals);
    } else say('warning', 'it keeps no binlog (log_bin is off): heartbeats are polled, local writes are not seen', remedy, reader); // prettier-ignore
    return;
  }
  const format = variables.get('binlog_format') ?? 'ROW';
  if (format === 'ROW') say('ok', 'log_bin is on, binlog_format is ROW', null);
  else {
    const level = sends.length > 0 && format === 'STATEMENT' ? 'fault' : 'warning';
    const message = `binlog_format is ${format}: what a statement did to which rows is not in the binlog`;
    say(
      level,
      message,
      "SET GLOBAL binlog_format = 'ROW'; and in the server's configuration (sessions keep theirs)",
      reader,
    );
  }
  if (plan.receives.length > 0 && !isOn(variables.get('log_slave_updates'))) {
    say(
      'warning',
      'log_slave_updates is off: what is applied here is not in its binlog, so heartbeats are polled (about 10 ms coarser)',
      'set log_slave_updates = ON in the configuration of the server and restart it, where another server replicates from it after the switch',
    );
  }
  const image = variables.get('binlog_row_image') ?? 'FULL';
  if (image !== 'FULL') {
    const remedy =
      "nothing for lockgate, whose rows have a key; other readers may want SET GLOBAL binlog_row_image = 'FULL';";
    say('warning', `binlog_row_image is ${image}: rows in the binlog are not whole`, remedy);
  }
  if (isOn(variables.get('binlog_transaction_compression'))) {
    say(
      'warning',
      'binlog_transaction_compression is on: the binlog cannot be read, so heartbeats are polled and local writes not seen',
      'SET GLOBAL binlog_transaction_compression = OFF; where that matters',
      reader,
    );
  }
  if (sends.length > 0) expiry(variables, say);
}

function expiry(variables: Variables, say: Say): void {
  const seconds = Number(variables.get('binlog_expire_logs_seconds') ?? 0) || 86_400 * Number(variables.get('expire_logs_days') ?? 0); // prettier-ignore
  if (seconds === 0) say('ok', 'binlogs are never purged by age: watch the space they take', null);
  else if (seconds < shortSeconds) {
    say(
      'warning',
      `binlogs are purged after ${(seconds / 3600).toFixed(1)} h: a replica that is down for longer must be made anew`,
      'SET GLOBAL binlog_expire_logs_seconds = 604800;',
    );
  } else say('ok', `binlogs are kept for ${(seconds / 86_400).toFixed(1)} days`, null);
}

function replica(plan: DoctorPlan, variables: Variables, say: Say): void {
  if (plan.receives.length === 0) return;
  const skips = variables.get('slave_skip_errors') ?? 'OFF';
  if (skips !== 'OFF' && skips !== '') {
    say(
      'warning',
      `slave_skip_errors is ${skips}: changes that fail to apply are passed over without a sign`,
      'remove it from the configuration of the server and restart it, and compare the data',
    );
  }
  if (variables.get('slave_preserve_commit_order') === 'OFF') {
    say(
      'warning',
      'replica_preserve_commit_order is off: with several applier threads later transactions may be seen before earlier ones',
      'SET GLOBAL replica_preserve_commit_order = ON; with the applier stopped (lag_by_position waits for every transaction either way)',
    );
  }
}

/** Whether a variable is on, as either server writes it. */
export function isOn(value: string | undefined): boolean {
  return value !== undefined && !['OFF', '0', 'NO', 'NO_LOCK', ''].includes(value.toUpperCase());
}
