import { setTimeout as sleep } from 'node:timers/promises';
import type { DatabaseConfig, LinkConfig, Secret } from '../../daemon/core/config.js';
import { linkId, type LinkName } from '../../daemon/core/signal.js';
import type { CollectorContext, LinkPlan } from '../../collectors/collector.js';
import type { StepReport } from '../../collectors/postgres/setup/admin.js';
import { setup } from '../../collectors/postgres/setup/setup.js';
import { teardown } from '../../collectors/postgres/setup/teardown.js';
import type { PostgresServer } from '../../deploy/demo/postgres-server.js';
import { database as app } from '../support/pair.js';

/** Shifts the wall clock of `context`. */
export const wall = { offsetMs: 0 };

const quiet = (): void => undefined;

/** What collectors are handed, with real clocks and a log that keeps quiet. */
export const context: CollectorContext = {
  clock: {
    wallNow: () => performance.timeOrigin + performance.now() + wall.offsetMs,
    monotonicNow: () => Math.round(performance.now() * 1000),
    uptime: () => Math.round(performance.now() * 1000),
    sleep: (ms) => sleep(ms),
  },
  log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  daemonId: 'test',
};

/** A secret that is what it says. */
export function secret(value: string): Secret {
  return { reveal: () => value, toString: () => '[secret]', toJSON: () => '[secret]' };
}

/** The configuration of a database on a test server, with the daemon's own user. */
export function databaseOf(
  name: string,
  server: PostgresServer,
  more: { user?: string; password?: string | null; database?: string; read?: DatabaseConfig['read'] } = {},
): DatabaseConfig {
  const password = more.password === undefined ? `pw of ${name}` : more.password;
  return {
    name,
    engine: 'postgres',
    address: {
      host: server.host,
      port: server.port,
      database: more.database ?? app,
      user: more.user ?? 'lockgate',
    },
    password: password === null ? null : secret(password),
    tls: { mode: 'disable', ca: null, cert: null, key: null },
    read: more.read ?? 'auto',
  };
}

/** A link of migration `shop` over shop_sub. */
export function linkOf(
  name: LinkName,
  from: DatabaseConfig,
  to: DatabaseConfig,
  more: Partial<Pick<LinkConfig, 'via' | 'flows' | 'publication'>> & {
    watch?: LinkConfig['heartbeat']['watch'];
    migration?: string;
  } = {},
): LinkPlan {
  const migration = more.migration ?? 'shop';
  return {
    id: linkId(migration, name),
    migration,
    from,
    to,
    config: {
      name,
      via: more.via ?? 'postgres-logical',
      from: from.name,
      to: to.name,
      flows: more.flows ?? ['shop_sub'],
      publication: more.publication ?? null,
      heartbeat: { intervalUs: 1_000_000, watch: more.watch ?? 'auto' },
      freshnessUs: 3_000_000,
      retentionLimitBytes: null,
      tables: null,
    },
  };
}

/** A database together with its administrator's address. */
export interface Administered {
  readonly config: DatabaseConfig;
  readonly adminUrl: string;
}

/** Pairs a database with the superuser of its server. */
export function administered(config: DatabaseConfig, server: PostgresServer): Administered {
  return { config, adminUrl: server.adminUrl(config.address.database) };
}

async function collect(steps: AsyncIterable<StepReport>): Promise<StepReport[]> {
  const all: StepReport[] = [];
  for await (const step of steps) all.push(step);
  return all;
}

/** One round of setup over databases, in their order. */
export async function setupOnce(
  databases: readonly Administered[],
  links: readonly LinkPlan[],
  dryRun = false,
): Promise<StepReport[]> {
  const all: StepReport[] = [];
  for (const { config, adminUrl } of databases) {
    all.push(...(await collect(setup(config, links, { adminUrl, dryRun, signal: new AbortController().signal }))));
  }
  return all;
}

/** One round of teardown. */
export async function teardownOnce(
  databases: readonly Administered[],
  links: readonly LinkPlan[],
  dryRun = false,
): Promise<StepReport[]> {
  const all: StepReport[] = [];
  for (const { config, adminUrl } of databases) {
    all.push(...(await collect(teardown(config, links, { adminUrl, dryRun, signal: new AbortController().signal }))));
  }
  return all;
}

/** Rounds until one has nothing more to do or nothing more can be done; returns the number and the last round. */
export async function rounds(once: () => Promise<StepReport[]>): Promise<{ count: number; last: StepReport[] }> {
  for (let count = 1; ; count++) {
    const last = await once();
    const has = (outcome: StepReport['outcome']): boolean => last.some((r) => r.outcome === outcome);
    if (!has('would-do') || !has('done')) return { count, last };
  }
}

/** Lines for reading: what came of each step. */
export function outcomes(reports: readonly StepReport[]): string[] {
  return reports.map((r) => `${r.outcome}: ${r.step.database}: ${r.step.why}`);
}

/** Everything in the catalogs that setup could touch, as sorted text, without object ids. */
export const catalogSql = `
  SELECT line FROM (
    SELECT 'namespace ' || nspname || ' ' || coalesce(nspacl::text, '') FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'
    UNION ALL SELECT 'class ' || relnamespace::regnamespace || '.' || relname || ' ' || pg_get_userbyid(relowner) || ' '
      || coalesce(relacl, acldefault((CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", relowner))::text || coalesce(reloptions::text, '') FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace
    UNION ALL SELECT 'proc ' || oid::regprocedure || ' ' || coalesce(proacl::text, '') FROM pg_proc
    UNION ALL SELECT 'trigger ' || tgrelid::regclass || ' ' || tgname FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication
    UNION ALL SELECT 'published ' || pubname || ' ' || schemaname || '.' || tablename FROM pg_publication_tables
    UNION ALL SELECT 'subscribed ' || srrelid::regclass FROM pg_subscription_rel
    UNION ALL SELECT 'subscription ' || subname || subenabled FROM pg_subscription
    UNION ALL SELECT 'role ' || rolname || rolsuper || rolreplication || rolcanlogin || rolcreaterole FROM pg_roles
    UNION ALL SELECT 'member ' || roleid::regrole || ' ' || member::regrole FROM pg_auth_members
    UNION ALL SELECT 'database ' || datname || ' ' || coalesce(datacl::text, '') FROM pg_database
    UNION ALL SELECT 'event ' || evtname FROM pg_event_trigger
    UNION ALL SELECT 'default acl ' || defaclrole::regrole || defaclacl::text FROM pg_default_acl
    UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots
  ) AS lines (line) ORDER BY 1`;
