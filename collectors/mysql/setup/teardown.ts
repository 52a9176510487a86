import { setTimeout as sleep } from 'node:timers/promises';
import type { DatabaseConfig } from '../../../daemon/core/config.js';
import { LockgateError } from '../../../daemon/core/errors.js';
import { reached } from '../../../daemon/core/position.js';
import type { LinkPlan, SqlStep } from '../../collector.js';
import { throwIfAborted, type SetupOptions, type StepReport } from '../../session/administrator.js';
import { DEFAULT_CHANNEL, judgeApplied } from '../channel-state.js';
import type { MysqlConnection } from '../connection.js';
import { readSource, readTarget } from '../position-views.js';
import { readChannels } from '../replica-status.js';
import { atStep, connectAdmin } from './admin.js';
import { UNLOGGED } from './grants.js';
import { TABLES, accountSql, accountsOf, hasSchema, sidePlan, tableState, type Account } from './objects.js';

const statusTimeoutMs = 5_000;
/** How often a replica is looked at for what was just dropped on its source. */
const arrivalLooks = 50;
const betweenLooksMs = 100;

/**
 * Removes from one server what setup made there. On a replica the tables go by replication once they are dropped on its
 * source: dropped there first, the next heartbeat would stop its apply (1146). Until then dropping them is reported as
 * `would-do`. The daemon must be stopped. Its account stays, without its privileges on our tables.
 */
export async function* teardown(
  database: DatabaseConfig,
  links: readonly LinkPlan[],
  options: SetupOptions,
): AsyncGenerator<StepReport, void, undefined> {
  const connection = await connectAdmin(database, options);
  try {
    const replica = (await readChannels(connection, statusTimeoutMs)).length > 0;
    const work: Work = { database, connection, options, replica: replica && !leads(database, links) };
    const wait = replica ? await mustStay(work, links) : null;
    for (const table of TABLES) {
      const there = async (): Promise<boolean> => (await tableState(connection, table)) !== 'missing';
      yield await remove(work, `drop the ${table.name} table`, `DROP TABLE lockgate.${table.name};`, there, wait);
    }
    const isEmpty = async (): Promise<boolean> =>
      (await hasSchema(connection)) && (await countTables(connection)) === 0;
    yield await remove(work, 'drop the database, if nothing else is in it', 'DROP DATABASE lockgate;', isEmpty, wait);
    if (wait !== null) return;
    const accounts = await accountsOf(connection, database.address.user);
    for (const account of accounts) yield* revoke(work, account);
    const names = accounts.map(accountSql).join(', ');
    if (names !== '') {
      const step = stepOf(work, `the account ${names} stays: drop it yourself when nothing else uses it`, true);
      yield { step: step(`-- DROP USER ${names};`), outcome: 'unchanged' };
    }
  } finally {
    await connection.close();
  }
}

interface Work {
  readonly database: DatabaseConfig;
  readonly connection: MysqlConnection;
  readonly options: SetupOptions;
  /** It replicates from some server, which is to bring what is done to the tables. */
  readonly replica: boolean;
}

function stepOf(work: Work, why: string, unlogged: boolean): (sql: string) => SqlStep {
  return (sql) => ({ database: work.database.name, why, sql: unlogged ? `${UNLOGGED}\n${sql}` : sql });
}

async function remove(
  work: Work,
  why: string,
  sql: string,
  there: () => Promise<boolean>,
  wait: string | null,
  unlogged = work.replica,
): Promise<StepReport> {
  const { connection, options } = work;
  throwIfAborted(options.signal);
  const step = stepOf(work, why, unlogged)(sql);
  if (!(await there())) return { step, outcome: 'unchanged' };
  if (wait !== null) return { step: { ...step, why: `${why} (waits: ${wait})` }, outcome: 'would-do' };
  if (options.dryRun) return { step, outcome: 'would-do' };
  try {
    await connection.execute(`SET SESSION sql_log_bin = ${unlogged ? '0' : '1'}`);
    await connection.execute(sql.replace(/;$/, ''));
  } catch (error) {
    throw atStep(step, error);
  }
  return { step, outcome: 'done' };
}

/** Privileges on a table outlive it, so they are taken away by name; those on the whole server may be of use elsewhere. */
async function* revoke(work: Work, account: Account): AsyncGenerator<StepReport, void, undefined> {
  const { connection } = work;
  const name = accountSql(account);
  const rows = await connection.query<{ object: string }>(
    `SELECT '*' AS object FROM information_schema.SCHEMA_PRIVILEGES WHERE GRANTEE = ? AND TABLE_SCHEMA = 'lockgate'
      UNION SELECT TABLE_NAME FROM information_schema.TABLE_PRIVILEGES
        WHERE GRANTEE = ? AND TABLE_SCHEMA = 'lockgate' AND TABLE_NAME IN ('heartbeat', 'direction')`,
    [name, name],
  );
  for (const { object } of rows) {
    const sql = `REVOKE ALL PRIVILEGES ON lockgate.${object} FROM ${name};`;
    yield await remove(work, `revoke the daemon's privileges on lockgate.${object}`, sql, yes, null, true);
  }
}

const yes = (): Promise<boolean> => Promise.resolve(true);

async function countTables(connection: MysqlConnection): Promise<number> {
  const [row] = await connection.query<{ n: string | number }>(
    "SELECT COUNT(*) AS n FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'lockgate'",
  );
  return Number(row?.n ?? 0);
}

/** Where two servers replicate from each other, the source of the migration is the one that begins. */
function leads(database: DatabaseConfig, links: readonly LinkPlan[]): boolean {
  const native = links.filter((l) => l.config.via === 'mysql');
  return native.some(
    (l) =>
      l.config.name === 'forward' &&
      l.from.name === database.name &&
      native.some((back) => back.from.name === l.to.name && back.to.name === database.name),
  );
}

/** Why the tables must stay for now; null when they may go, or are gone. */
async function mustStay(work: Work, links: readonly LinkPlan[]): Promise<string | null> {
  const { connection, database, options } = work;
  const heartbeat = TABLES[0];
  if (heartbeat === undefined || (await tableState(connection, heartbeat)) === 'missing') return null;
  const { receives } = sidePlan(database, links);
  for (const link of receives) {
    const reason = await linkIsClear(work, link, leads(database, links));
    if (reason === null) continue;
    // What was dropped on the source a moment ago is on its way.
    const looks = reason.arriving && !options.dryRun ? arrivalLooks : 0;
    for (let look = 0; look < looks; look++) {
      await sleep(betweenLooksMs, undefined, { signal: options.signal }).catch(() => undefined);
      throwIfAborted(options.signal);
      if ((await tableState(connection, heartbeat)) === 'missing') return null;
    }
    return reason.text;
  }
  return null;
}

/** Why a heartbeat may still come by a link; null when none can. */
async function linkIsClear(
  work: Work,
  link: LinkPlan,
  first: boolean,
): Promise<{ text: string; arriving: boolean } | null> {
  const { connection, options } = work;
  let source: MysqlConnection;
  try {
    const adminUrl = options.otherAdmins?.get(link.from.name) ?? null;
    source = await connectAdmin(link.from, { adminUrl, signal: options.signal });
  } catch (error) {
    if (!(error instanceof LockgateError)) throw error;
    return { text: `${link.from.name} must be looked at first: ${error.message}`, arriving: false };
  }
  try {
    const [row] = await source.query(
      "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'lockgate' AND TABLE_NAME = 'heartbeat'",
    );
    if (row !== undefined && first) {
      const beats = await source.query(
        'SELECT 1 FROM lockgate.heartbeat WHERE link = ? AND sent_at > UTC_TIMESTAMP() - INTERVAL 10 SECOND LIMIT 1',
        [link.id],
      );
      const text = `heartbeats of ${link.id} were written on ${link.from.name} seconds ago: stop the daemon first`;
      if (beats.length > 0) return { text, arriving: false };
    }
    if (row !== undefined && !first) {
      const text = `${link.from.name} still has it: run teardown there, and it goes here by replication`;
      return { text, arriving: false };
    }
    const from = await readSource(source, statusTimeoutMs);
    const to = await readTarget(connection, statusTimeoutMs);
    const identity = { name: link.from.name, ...from.identity };
    for (const flow of link.config.flows.length > 0 ? link.config.flows : [DEFAULT_CHANNEL]) {
      const applied = judgeApplied(flow, work.database.name, to.channels, identity, from.position, to.executed);
      if (applied.position === null) return { text: applied.reason, arriving: false };
      if (from.position !== null && !reached(applied.position, from.position)) {
        return { text: `${work.database.name} has not applied yet that ${link.from.name} dropped it`, arriving: true };
      }
    }
    // Everything was applied and the table is still here: replication leaves it out, or it was made by hand.
    return null;
  } finally {
    await source.close();
  }
}
