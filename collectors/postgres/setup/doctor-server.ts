import type { CollectorContext, Finding } from '../../collector.js';
import type { PgConnection } from '../connection.js';
import { localApplicationName, readerApplicationName, readerSlotPrefix } from '../wal-checks.js';
import { readerSignals } from './objects.js';
import { migrationSignals, onlyLink, sideSignals, type SidePlan } from './side-plan.js';

interface Facts {
  recovery: boolean;
  superuser: boolean;
  tls: string | null;
  local: boolean;
  wal_level: string;
  max_slots: number;
  slots_used: number;
  max_senders: number;
  senders_used: number;
  sync_names: string;
}

/** What the daemon itself takes is not taken away from it: doctor is also run while it runs. */
const factsSql = `
  SELECT pg_catalog.pg_is_in_recovery() AS recovery, pg_catalog.current_setting('is_superuser') = 'on' AS superuser,
    (SELECT s.version || ' with ' || s.cipher FROM pg_catalog.pg_stat_ssl s
      WHERE s.pid = pg_catalog.pg_backend_pid() AND s.ssl) AS tls,
    coalesce(pg_catalog.inet_client_addr() <<= '127.0.0.0/8' OR pg_catalog.inet_client_addr() = '::1', true) AS local,
    pg_catalog.current_setting('wal_level') AS wal_level,
    pg_catalog.current_setting('max_replication_slots')::int AS max_slots,
    (SELECT count(*) FROM pg_catalog.pg_replication_slots
      WHERE NOT (temporary AND pg_catalog.starts_with(slot_name::text, $1)))::int AS slots_used,
    pg_catalog.current_setting('max_wal_senders')::int AS max_senders,
    (SELECT count(*) FROM pg_catalog.pg_stat_get_wal_senders() w
      WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a
        WHERE a.pid = w.pid AND a.application_name = ANY ($2)))::int AS senders_used,
    pg_catalog.current_setting('synchronous_standby_names') AS sync_names`;

/** The WAL reader and, on the passive side, that of local writes take one of each, and leave two for replication itself. */
const needed = 4;
/** More is worth a remark; lag never depends on it. */
const skewLimitMs = 1_000;

/** Looks at a server's version, place, clock and settings. */
export async function examineServer(plan: SidePlan, conn: PgConnection, context: CollectorContext): Promise<Finding[]> {
  const findings: Finding[] = [];
  const say = (level: Finding['level'], message: string, remedy: string | null, signals: string[] = []): void => {
    findings.push({ level, database: plan.database.name, link: onlyLink(plan), message, signals, remedy });
  };
  const { address, read } = plan.database;
  const [facts] = await conn.query<Facts>(factsSql, [
    `${readerSlotPrefix(context.daemonId)}_`,
    [readerApplicationName(context.daemonId), localApplicationName(context.daemonId)],
  ]);
  if (facts === undefined) return findings;

  const major = Math.floor(conn.serverVersion / 10_000);
  say('ok', `PostgreSQL ${major} answers at ${address.host}:${address.port} as ${address.user}`, null);
  if (major < 13)
    say('fault', `PostgreSQL ${major} is too old`, 'lockgate supports 13 to 18', sideSignals(plan, 'local_writes'));
  if (major > 18) say('warning', `PostgreSQL ${major} is newer than what lockgate was tested with`, 'tested: 13 to 18');
  if (facts.superuser) {
    say(
      'warning',
      `the daemon connects as a superuser (${address.user})`,
      'use a role with what `lockgate grants` prints',
    );
  }
  tls(facts, plan, say);
  recovery(facts, plan, say);
  await skew(conn, context, say);
  if (!facts.recovery) settings(facts, plan, say);
  if (read === 'off' && plan.standbyOf === null) {
    say(
      'warning',
      'WAL is not read here (read: off): local writes are not seen',
      'set `read: auto` where that matters',
      readerSignals(plan),
    );
  }
  return findings;
}

type Say = (level: Finding['level'], message: string, remedy: string | null, signals?: string[]) => void;

function tls(facts: Facts, plan: SidePlan, say: Say): void {
  const { mode } = plan.database.tls;
  if (facts.tls === null) {
    if (facts.local) say('ok', 'no TLS, on a local connection', null);
    else say('warning', 'the connection is not encrypted', 'set `tls: { mode: verify-full, ca: … }` for this database');
  } else if (mode === 'verify-ca' || mode === 'verify-full') {
    say('ok', `TLS (${facts.tls}), the server's certificate verified (${mode})`, null);
  } else {
    say('warning', `TLS (${facts.tls}), but the server's certificate is not verified`, 'set `tls.mode: verify-full`');
  }
}

function recovery(facts: Facts, plan: SidePlan, say: Say): void {
  if (plan.standbyOf !== null) {
    const primary = plan.standbyOf.from.name;
    if (facts.recovery) say('ok', `a standby, as ${plan.standbyOf.id} wants it`, null);
    else
      say(
        'warning',
        `it is no standby of ${primary} (any more): it accepts writes`,
        `expected only after its promotion`,
      );
  } else if (facts.recovery) {
    say(
      'fault',
      'this is a standby: nothing can be written, and logical replication does not run',
      'let the URL name the primary',
      [...sideSignals(plan, 'local_writes', 'last_local_write_age'), ...migrationSignals(plan, 'fence.drained')],
    );
  }
}

/** The smallest round trip of a few gives the narrowest bound. */
async function skew(conn: PgConnection, context: CollectorContext, say: Say): Promise<void> {
  let best: { skewMs: number; uncertaintyMs: number } | null = null;
  for (let n = 0; n < 5; n++) {
    const before = context.clock.wallNow();
    const [row] = await conn.query<{ ms: number }>(
      'SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::float8 AS ms',
    );
    const after = context.clock.wallNow();
    if (row === undefined) return;
    const uncertaintyMs = Math.max(0, after - before) / 2;
    if (best === null || uncertaintyMs < best.uncertaintyMs) {
      best = { skewMs: row.ms - (before + after) / 2, uncertaintyMs };
    }
  }
  if (best === null) return;
  const { skewMs, uncertaintyMs } = best;
  const message = `its clock is ${skewMs.toFixed(1)} ms ahead of the daemon's, give or take ${uncertaintyMs.toFixed(1)} ms`;
  if (Math.abs(skewMs) - uncertaintyMs < skewLimitMs) say('ok', message, null);
  else
    say('warning', message, 'set the clocks right (NTP); lag does not depend on them, but times in views and logs do');
}

function settings(facts: Facts, plan: SidePlan, say: Say): void {
  const reads = plan.database.read !== 'off';
  const level = reads ? 'fault' : 'warning';
  const signals = reads ? readerSignals(plan) : [];
  if (facts.wal_level === 'logical') {
    say('ok', 'wal_level is logical', null);
  } else if (reads || plan.sends.length > 0) {
    say(
      'fault',
      `wal_level is ${facts.wal_level}`,
      'ALTER SYSTEM SET wal_level = logical; and restart the server (RDS: rds.logical_replication = 1), or set `read: off`',
      signals,
    );
  }
  room('max_replication_slots', facts.max_slots, facts.slots_used);
  room('max_wal_senders', facts.max_senders, facts.senders_used);
  if (/(^|[(,\s])"?\*"?($|[),\s])/.test(facts.sync_names)) {
    say(
      level,
      `synchronous_standby_names = ${facts.sync_names} would let commits wait for a monitor's connection, so WAL is not read here`,
      'name the standbys in synchronous_standby_names, or set `read: off`',
      signals,
    );
  }

  function room(setting: string, max: number, used: number): void {
    const free = max - used;
    if (free >= needed) {
      say('ok', `${free} of ${setting} = ${max} free`, null);
    } else if (reads) {
      say(
        'fault',
        `only ${free} of ${setting} = ${max} free: the readers of WAL and of local writes give way when fewer than 2 would be left`,
        `ALTER SYSTEM SET ${setting} = ${used + needed}; and restart the server, drop what is unused, or set \`read: off\``,
        signals,
      );
    }
  }
}
