import type { DatabaseConfig } from '../../../daemon/core/config.js';
import { LockgateError } from '../../../daemon/core/errors.js';
import type { CollectorContext, Finding, LinkPlan } from '../../collector.js';
import { throwIfAborted } from '../../session/administrator.js';
import { controlFindings, statusFindings } from '../../session/control-tables.js';
import { fenceReadiness } from '../../session/fence-readiness.js';
import { connect, type MysqlConnection } from '../connection.js';
import { readControlTables, readTaskStatus } from '../control-tables.js';
import { examineLink } from './doctor-link.js';
import { examineRights } from './doctor-rights.js';
import { examineServer, readVariables } from './doctor-server.js';
import { allSignals, onlyLink, type DoctorPlan, type Say } from './doctor-words.js';
import { sidePlan } from './objects.js';

/** So many connections more are opened, to see where each of them leads. */
const probes = 3;

/**
 * Connects to every server with the daemon's own user and reports what works, what deserves reading, and what would
 * leave signals unknown, each with its remedy. It changes nothing. Rejects only when it is aborted.
 */
export async function doctor(
  databases: readonly DatabaseConfig[],
  links: readonly LinkPlan[],
  context: CollectorContext,
  signal: AbortSignal,
): Promise<Finding[]> {
  const connections = new Map<string, MysqlConnection | LockgateError>();
  try {
    for (const db of databases) connections.set(db.name, await open(db, context, signal));
    throwIfAborted(signal);
    const findings: Finding[] = [];
    for (const db of databases) {
      const own = links.filter((l) => l.from.name === db.name || l.to.name === db.name);
      const plan: DoctorPlan = { ...sidePlan(db, links), links: own };
      findings.push(...(await examineDatabase(plan, connections.get(db.name), context, signal)));
      throwIfAborted(signal);
    }
    for (const link of links) {
      if (link.config.via === 'dms' && link.from.engine === 'mysql') findings.push(byDms(link));
      const [from, to] = [connections.get(link.from.name), connections.get(link.to.name)];
      if (
        link.config.via === 'dms' &&
        link.to.engine === 'mysql' &&
        to !== undefined &&
        !(to instanceof LockgateError)
      ) {
        const look = async (): Promise<Finding[]> => [
          ...controlFindings(link.id, link.to.name, await readControlTables(to, link.to)),
          ...statusFindings(link.id, link.to.name, await readTaskStatus(to, link.to)),
        ];
        findings.push(...(await guarded(link.to.name, link.id, ['errors', 'dms.apply_exceptions'], look)));
      }
      // What cannot be reached has been reported, and a side of another engine looks after itself.
      if (from === undefined || to === undefined) continue;
      if (from instanceof LockgateError || to instanceof LockgateError) continue;
      findings.push(...(await guarded(null, link.id, [], () => examineLink(link, links, from, to))));
      throwIfAborted(signal);
    }
    return findings;
  } finally {
    const open = [...connections.values()].flatMap((c) => (c instanceof LockgateError ? [] : [c]));
    await Promise.all(open.map((c) => c.close()));
  }
}

async function open(
  db: DatabaseConfig,
  { daemonId }: CollectorContext,
  signal: AbortSignal,
): Promise<MysqlConnection | LockgateError> {
  try {
    return await connect(db, { applicationName: `lockgate/${daemonId}/doctor` }, signal);
  } catch (error) {
    if (error instanceof LockgateError) return error;
    throw error;
  }
}

async function examineDatabase(
  plan: DoctorPlan,
  connection: MysqlConnection | LockgateError | undefined,
  context: CollectorContext,
  signal: AbortSignal,
): Promise<Finding[]> {
  const { name } = plan.database;
  const findings: Finding[] = [];
  const say: Say = (level, message, remedy, signals = []) => {
    findings.push({ level, database: name, link: onlyLink(plan), message, signals, remedy });
  };
  if (connection === undefined) return findings;
  if (connection instanceof LockgateError) {
    say('fault', connection.message, connection.hint, allSignals(plan));
    return findings;
  }
  const add = async (look: () => Promise<void>): Promise<void> => {
    const failed = await guarded(name, onlyLink(plan), allSignals(plan), async () => {
      await look();
      return [];
    });
    findings.push(...failed);
  };
  await add(async () => {
    await examineServer(plan, connection, await readVariables(connection), context, say);
  });
  await add(() => examinePlace(plan, connection, context, signal, say));
  await add(() => examineRights(plan, connection, say));
  findings.push(...fenceReadiness(plan.database, plan.links));
  return findings;
}

/** Where the URL leads: all connections must reach one server. */
async function examinePlace(
  plan: DoctorPlan,
  connection: MysqlConnection,
  context: CollectorContext,
  signal: AbortSignal,
  say: Say,
): Promise<void> {
  const { host } = plan.database.address;
  const remedy = 'let the URL name the server itself, because all connections must lead to one server';
  const kind = /\.cluster-ro-/.test(host) ? 'a reader endpoint' : /\.cluster-custom-/.test(host) ? 'a custom endpoint' : /\.proxy-[^.]*\..*\.rds\./.test(host) ? 'RDS Proxy' : null; // prettier-ignore
  if (kind !== null)
    say('fault', `${host} is ${kind}, which may lead to another server each time`, remedy, allSignals(plan));
  const others = await Promise.all(Array.from({ length: probes }, () => open(plan.database, context, signal)));
  const seen = others.flatMap((c) => (c instanceof LockgateError ? [] : [c]));
  await Promise.all(seen.map((c) => c.close()));
  if (seen.some((c) => c.home !== connection.home)) {
    say('fault', 'connections lead to different servers', remedy, allSignals(plan));
  } else if (seen.length > 0) say('ok', `${seen.length + 1} connections lead to one server`, null);
}

function byDms(link: LinkPlan): Finding {
  return {
    level: 'warning',
    database: null,
    link: link.id,
    message: 'this link comes by DMS: its lag is that of the heartbeat row alone, and no position seconds it',
    signals: ['lag_by_position', 'agreement', 'continuity', 'tables_uncovered', 'backlog_bytes', 'runway'],
    remedy: 'let the task carry lockgate.heartbeat, and compare its table mappings with what ought to be carried',
  };
}

/** A look that fails is a finding too: one thing that cannot be seen must not hide the others. */
async function guarded(
  database: string | null,
  link: Finding['link'],
  signals: readonly string[],
  look: () => Promise<Finding[]>,
): Promise<Finding[]> {
  try {
    return await look();
  } catch (error) {
    if (!(error instanceof LockgateError)) throw error;
    const message = `could not be looked at: ${error.message}`;
    return [{ level: 'fault', database, link, message, signals, remedy: error.hint }];
  }
}
