import { setTimeout as sleep } from 'node:timers/promises';
import type { DatabaseConfig, Secret } from '../../../daemon/core/config.js';
import { SourceError } from '../../../daemon/core/errors.js';
import type { LinkPlan, SqlStep } from '../../collector.js';
import { throwIfAborted, type SetupOptions, type StepReport } from '../../session/administrator.js';
import { quoteLiteral, takesTokens, type MysqlConnection } from '../connection.js';
import { readChannels } from '../replica-status.js';
import { atStep, connectAdmin, lacksPrivilege } from './admin.js';
import { CREATE_USER, UNLOGGED, createTokenUser, createUserScript } from './grants.js';
import {
  SCHEMA,
  TABLES,
  accountSql,
  accountsOf,
  grantSql,
  grantsFor,
  hasSchema,
  privilegesOf,
  sidePlan,
  tableState,
  type Account,
  type SidePlan,
  type Table,
} from './objects.js';

/** How often a replica is looked at for what was just made on its source. */
const arrivalLooks = 50;
const betweenLooksMs = 100;
const statusTimeoutMs = 5_000;

/**
 * Makes on one server what `grants` lists, and nothing that is there already. On a replica nothing goes into the binlog,
 * because a later failover trips over a transaction that the source lacks; tables arrive there by replication, and are
 * made only when they do not. Accounts are kept out of the binlog everywhere, because each side has a password of its
 * own. Throws a SourceError where it must not go on.
 */
export async function* setup(
  database: DatabaseConfig,
  links: readonly LinkPlan[],
  options: SetupOptions,
): AsyncGenerator<StepReport, void, undefined> {
  const plan = sidePlan(database, links);
  const connection = await connectAdmin(database, options);
  try {
    const replica = (await readChannels(connection, statusTimeoutMs)).length > 0;
    const work: Work = { plan, connection, options, replica };
    const [account] = await accountsOf(connection, database.address.user);
    if (account === undefined && database.password === null && !takesTokens(database)) {
      throw new SourceError(
        'role_missing',
        `${database.name}: there is no user ${database.address.user}, and the configured URL has no password to create it with`,
        'create the user as `lockgate grants` prints it, or put a password into the URL',
      );
    }
    if (replica && plan.receives.length > 0 && !options.dryRun) await arrival(connection, options.signal);
    yield await make(work, SCHEMA.why, SCHEMA.make, () => hasSchema(connection));
    for (const table of TABLES) yield await makeTable(work, table);
    yield* makeAccount(work, database.password);
  } finally {
    await connection.close();
  }
}

interface Work {
  readonly plan: SidePlan;
  readonly connection: MysqlConnection;
  readonly options: SetupOptions;
  /** It replicates from some server. */
  readonly replica: boolean;
}

/** Gives replication the time to bring the tables. */
async function arrival(connection: MysqlConnection, signal: AbortSignal): Promise<void> {
  for (let look = 0; look < arrivalLooks; look++) {
    throwIfAborted(signal);
    const states = await Promise.all(TABLES.map((table) => tableState(connection, table)));
    if (!states.includes('missing')) return;
    await sleep(betweenLooksMs, undefined, { signal }).catch(() => undefined);
  }
}

async function makeTable(work: Work, table: Table): Promise<StepReport> {
  const there = async (): Promise<boolean> => {
    const state = await tableState(work.connection, table);
    if (state !== 'other') return state === 'as-made';
    throw new SourceError(
      'setup_ineffective',
      `${work.plan.database.name}: lockgate.${table.name} is there, but not as setup makes it`,
      `look at what is there, remove or rename it, and run setup again; wanted: ${table.make}`,
    );
  };
  const sources = work.replica ? work.plan.receives.map((l) => l.from.name) : [];
  const waits = work.options.dryRun && sources.length > 0 ? ` (arrives by replication from ${sources.join(', ')})` : '';
  return make(work, `${table.why}${waits}`, table.make, there);
}

async function* makeAccount(work: Work, password: Secret | null): AsyncGenerator<StepReport, void, undefined> {
  const { connection, plan } = work;
  const { user } = plan.database.address;
  const planned: Account = { user, host: '%' };
  const isThere = async (): Promise<boolean> => (await accountsOf(connection, user)).length > 0;
  const tokens = takesTokens(plan.database);
  const script = tokens ? createTokenUser(planned) : createUserScript(planned);
  const secretly = (): string =>
    `CREATE USER IF NOT EXISTS ${accountSql(planned)} IDENTIFIED BY ${quoteLiteral(password?.reveal() ?? '')}`;
  yield await make(work, CREATE_USER, script, isThere, { ...(tokens ? {} : { secretly }), unlogged: true });
  // A user who may come from several places has an account for each.
  const existing = await accountsOf(connection, user);
  for (const account of existing.length === 0 ? [planned] : existing) {
    for (const grant of grantsFor(plan, connection.version)) {
      const holds = async (): Promise<boolean> => {
        const has = await privilegesOf(connection, account, grant.on);
        return grant.privileges.every((p) => has.has(p));
      };
      yield await make(work, grant.why, grantSql(grant, account, connection.version), holds, { unlogged: true });
    }
  }
}

async function make(
  work: Work,
  why: string,
  sql: string,
  holds: () => Promise<boolean>,
  how: { readonly secretly?: () => string; readonly unlogged?: boolean } = {},
): Promise<StepReport> {
  const { plan, connection, options, replica } = work;
  throwIfAborted(options.signal);
  const unlogged = replica || how.unlogged === true;
  const step: SqlStep = { database: plan.database.name, why, sql: unlogged ? `${UNLOGGED}\n${sql}` : sql };
  if (await holds()) return { step, outcome: 'unchanged' };
  if (options.dryRun) return { step, outcome: 'would-do' };
  let remark = '';
  try {
    const logged = await setLogging(connection, !unlogged, replica);
    if (unlogged && logged)
      remark = ' (through the binlog, which the administrator may not leave: replicas get it too)';
    await connection.execute(how.secretly?.() ?? sql.replace(/;$/, ''));
  } catch (error) {
    throw atStep(step, error);
  }
  if (await holds()) return { step: { ...step, why: why + remark }, outcome: 'done' };
  throw new SourceError('setup_ineffective', `${plan.database.name}: it did not help to ${why}`, sql);
}

/**
 * Has the session's statements go into the binlog or not; returns whether they do. Not every administrator of a managed
 * service may keep them out, which is no harm but on a replica.
 */
async function setLogging(connection: MysqlConnection, wanted: boolean, must: boolean): Promise<boolean> {
  try {
    await connection.execute(`SET SESSION sql_log_bin = ${wanted ? '1' : '0'}`);
    return wanted;
  } catch (error) {
    if (must || wanted || !lacksPrivilege(error)) throw error;
    return true;
  }
}
