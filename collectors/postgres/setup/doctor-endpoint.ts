import { LockgateError } from '../../../daemon/core/errors.js';
import type { Finding } from '../../collector.js';
import { connect, type PgConnection } from '../connection.js';
import { directAddress, wanderingEndpoint } from '../../session/endpoint.js';
import { allSignals } from './objects.js';
import { onlyLink, type SidePlan } from './side-plan.js';

/** So many connections more are opened, to see where each of them leads. */
const probes = 3;

const addressSql = `SELECT coalesce(pg_catalog.host(pg_catalog.inet_server_addr()), 'a socket') AS address`;

const flavourSql = `SELECT
    EXISTS (SELECT FROM pg_catalog.pg_proc WHERE proname = 'aurora_version' AND pronargs = 0) AS aurora,
    EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'rds_superuser') AS rds`;

/**
 * Looks at where the URL leads: whether all connections reach one server, and whether it is RDS or Aurora, whose reader
 * endpoints, custom endpoints and proxies are told by their names.
 */
export async function examineEndpoint(
  plan: SidePlan,
  conn: PgConnection,
  applicationName: string,
  signal: AbortSignal,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const { name, address } = plan.database;
  const say = (level: Finding['level'], message: string, remedy: string | null): void => {
    const signals = level === 'fault' ? allSignals(plan) : [];
    findings.push({ level, database: name, link: onlyLink(plan), message, signals, remedy });
  };
  const remedy = `${directAddress(address.host)}, because all connections must lead to one server`;
  const wandering = wanderingEndpoint(address.host);
  if (wandering !== null) say('fault', wandering, remedy);

  const own = await whereabouts(conn);
  const others = await Promise.all(Array.from({ length: probes }, () => lookAside(plan, applicationName, signal)));
  const seen = others.filter((o) => o !== null);
  const elsewhere = seen.find((o) => o.home !== own.home);
  const moved = seen.find((o) => o.address !== own.address);
  if (elsewhere !== undefined) {
    say('fault', `connections lead to different servers (${own.address} and ${elsewhere.address})`, remedy);
  } else if (moved !== undefined) {
    say('ok', `one server at several addresses (${own.address} and ${moved.address})`, null);
  } else if (seen.length > 0) {
    say('ok', `${seen.length + 1} connections lead to one server`, null);
  }

  const [flavour] = await conn.query<{ aurora: boolean; rds: boolean }>(flavourSql);
  if (flavour?.aurora === true || flavour?.rds === true) {
    const what = flavour.aurora ? 'Aurora (it has aurora_version())' : 'RDS (it has the role rds_superuser)';
    say('ok', `this is ${what}: what lockgate knows of it comes from documentation, not from tests`, null);
  }
  return findings;
}

interface Whereabouts {
  home: string;
  address: string;
}

async function whereabouts(conn: PgConnection): Promise<Whereabouts> {
  const [row] = await conn.query<{ address: string }>(addressSql);
  return { home: conn.home, address: row?.address ?? 'an unknown address' };
}

/** Where another connection leads; null when none could be had, which is no sign of another server. */
async function lookAside(plan: SidePlan, applicationName: string, signal: AbortSignal): Promise<Whereabouts | null> {
  let conn: PgConnection | null = null;
  try {
    conn = await connect(plan.database, { applicationName }, signal);
    return await whereabouts(conn);
  } catch (error) {
    if (!(error instanceof LockgateError)) throw error;
    return null;
  } finally {
    await conn?.close();
  }
}
