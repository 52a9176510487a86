import { randomBytes } from 'node:crypto';
import type { Collector, CollectorContext, LinkPlan } from '../../collectors/collector.js';
import { postgresHeartbeats, type Heartbeats } from '../../collectors/postgres/heartbeats.js';
import type { DatabaseConfig, LinkConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import { linkId, type LinkId } from '../../daemon/core/signal.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { Pair, ServerPair } from './pair.js';

/** What setup makes on a side, as far as heartbeats need it; kept apart from setup so that each is tested for itself. */
export const heartbeatSchema = `
  create schema lockgate;
  create table lockgate.heartbeat (daemon text, link text, run text, seq bigint not null, sent_at timestamptz not null,
    primary key (daemon, link, run)) with (fillfactor = 50);
  create publication lockgate for table lockgate.heartbeat;`;

const triggers = {
  flush: `create function lockgate.heartbeat_flush() returns trigger language plpgsql as $$
    begin perform set_config('synchronous_commit', 'local', true); return null; end $$`,
  notify: `create function lockgate.heartbeat_notify() returns trigger language plpgsql as $$
    begin perform pg_notify('lockgate_heartbeat', json_build_array(new.daemon, new.link, new.run, new.seq)::text);
    return null; end $$`,
} as const;

/** Adds or removes one of the two triggers on the target's heartbeat table. */
export async function setTrigger(pair: Pair, name: keyof typeof triggers, on: boolean): Promise<void> {
  const full = `heartbeat_${name}`;
  await pair.onTarget(
    `drop trigger if exists ${full} on lockgate.heartbeat; drop function if exists lockgate.${full}()`,
  );
  if (!on) return;
  await pair.onTarget(`${triggers[name]};
    create trigger ${full} after insert or update on lockgate.heartbeat for each row execute function lockgate.${full}();
    alter table lockgate.heartbeat enable always trigger ${full}`);
}

/** Makes the heartbeat table on both sides and has shop_sub replicate it. */
export async function installHeartbeats(pair: Pair): Promise<void> {
  await pair.onSource(heartbeatSchema);
  await pair.onTarget(heartbeatSchema);
  await pair.onSource(`grant usage on schema lockgate to replicator; grant select on lockgate.heartbeat to replicator;
    alter publication shop_pub add table lockgate.heartbeat`);
  await pair.onTarget('alter subscription shop_sub refresh publication with (copy_data = false)');
  await setTrigger(pair, 'flush', true);
}

/** How a bed differs from the usual one. */
export interface BedOptions {
  readonly watch?: LinkConfig['heartbeat']['watch'];
  readonly read?: DatabaseConfig['read'];
  readonly intervalMs?: number;
  readonly daemonId?: string;
  readonly via?: LinkConfig['via'];
  /** Who connects; the superuser unless told. */
  readonly user?: { readonly name: string; readonly password: string };
  /** Links of one migration each; one unless told. */
  readonly links?: number;
  /** Where the URL of the target really leads: another name for the source, or a proxy that mixes up its servers. */
  readonly targetLeadsTo?: 'source' | 'target';
}

/** Heartbeat collectors that run against a pair of servers, and all that they have observed. */
export interface Bed {
  readonly link: LinkId;
  readonly daemonId: string;
  readonly heartbeats: Heartbeats;
  readonly seen: readonly Observation[];
  readonly logged: readonly string[];
  /** How much of each log was read, by `database/stream`. */
  readonly read: ReadonlyMap<string, { transactions: number; bytes: number }>;
  /** How many rows of a kind were observed so far for the first link. */
  of<K extends Observation['kind']>(kind: K, since?: number): Extract<Observation, { kind: K }>[];
  /** Number of observations so far, to be given as `since`. */
  mark(): number;
  /** Waits until the condition holds. */
  until(what: string, condition: () => boolean | Promise<boolean>, timeoutMs?: number): Promise<void>;
  /** Waits for a heartbeat to be newly seen after `since`. */
  beats(since: number, count?: number, timeoutMs?: number): Promise<void>;
  stop(): Promise<void>;
}

/** Where a database is, seen through the daemon's proxy of one side. */
export function databaseConfig(pair: ServerPair, side: 'source' | 'target', options: BedOptions = {}): DatabaseConfig {
  const url = new URL(pair.daemonUrl(side));
  const { name: user, password } = options.user ?? { name: url.username, password: decodeURIComponent(url.password) };
  return {
    name: side,
    engine: 'postgres',
    address: { host: url.hostname, port: Number(url.port), database: pair.database, user },
    password: { reveal: () => password, toString: () => '[secret]', toJSON: () => '[secret]' },
    tls: { mode: 'disable', ca: null, cert: null, key: null },
    read: options.read ?? 'auto',
  };
}

/** Starts writer, watcher and WAL readers, restarted when they fail as the supervisor would. */
export function startBed(pair: ServerPair, options: BedOptions = {}): Bed {
  const from = databaseConfig(pair, 'source', options);
  const to = { ...databaseConfig(pair, options.targetLeadsTo ?? 'target', options), name: 'target' };
  const heartbeat = { intervalUs: (options.intervalMs ?? 100) * 1_000, watch: options.watch ?? ('auto' as const) };
  const plans = Array.from({ length: options.links ?? 1 }, (_, n): LinkPlan => {
    const migration = n === 0 ? 'shop' : `shop${n}`;
    const config: LinkConfig = {
      name: 'forward',
      via: options.via ?? 'postgres-logical',
      from: 'source',
      to: 'target',
      flows: ['shop_sub'],
      publication: null,
      heartbeat,
      freshnessUs: 3_000_000,
      retentionLimitBytes: null,
      tables: null,
    };
    return { id: linkId(migration, 'forward'), migration, config, from, to };
  });
  const seen: Observation[] = [];
  const logged: string[] = [];
  const log = (fields: object, message: string): void => void logged.push(`${message} ${JSON.stringify(fields)}`);
  const clock = new SystemClock();
  const daemonId = options.daemonId ?? `test-${randomBytes(3).toString('hex')}`;
  const read = new Map<string, { transactions: number; bytes: number }>();
  const context: CollectorContext = {
    clock,
    log: { debug: log, info: log, warn: log, error: log },
    daemonId,
    tally: (database, stream, transactions, bytes) => {
      const before = read.get(`${database}/${stream}`) ?? { transactions: 0, bytes: 0 };
      read.set(`${database}/${stream}`, {
        transactions: before.transactions + transactions,
        bytes: before.bytes + bytes,
      });
    },
  };
  const heartbeats = postgresHeartbeats([from, to], plans, context);
  const stopping = new AbortController();
  const emit = (observation: Observation): void => void seen.push(observation);
  const supervise = async (collector: Collector): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        await collector.run(emit, stopping.signal);
      } catch (error) {
        log({ collector: collector.name }, `fault: ${String(error)}`);
        seen.push(...collector.down(String(error)));
        await clock.sleep(200, stopping.signal);
      }
    }
  };
  const running = heartbeats.collectors.map(supervise);
  const link: LinkId = 'shop/forward';
  const bed: Bed = {
    link,
    daemonId,
    heartbeats,
    seen,
    logged,
    read,
    of: <K extends Observation['kind']>(kind: K, since = 0) =>
      seen
        .slice(since)
        .filter((o): o is Extract<Observation, { kind: K }> => o.kind === kind && (!('link' in o) || o.link === link)),
    mark: () => seen.length,
    until: async (what, condition, timeoutMs = 15_000) => {
      await waitFor(what, timeoutMs, condition, 10).catch((error: unknown) => {
        const last = seen
          .slice(-12)
          .map((o) => JSON.stringify(o, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v)));
        throw new Error([String(error), ...logged.slice(-12), ...last].join('\n'), { cause: error });
      });
    },
    async beats(since, count = 1, timeoutMs) {
      const seenBefore = bed
        .of('heartbeat-visible')
        .filter((o) => seen.indexOf(o) < since)
        .at(-1)?.upTo;
      // Numbers begin anywhere: before anything was seen, the first that was sent is the first to count.
      const before = (): number => seenBefore ?? (bed.of('heartbeat-sent')[0]?.seq ?? Infinity) - 1;
      await bed.until(
        `${count} heartbeats after ${seenBefore ?? 'the start'} to be seen`,
        () => (bed.of('heartbeat-visible', since).at(-1)?.upTo ?? 0) >= before() + count,
        timeoutMs,
      );
    },
    async stop() {
      stopping.abort();
      await Promise.all(running);
    },
  };
  return bed;
}

/** Sessions and slots of a daemon on one side. */
export async function leftovers(pair: ServerPair, side: 'source' | 'target', daemonId: string): Promise<string[]> {
  const ask = side === 'source' ? pair.onSource : pair.onTarget;
  const rows = await ask<{ what: string }>(
    `select application_name as what from pg_stat_activity where application_name like $1
      union all select slot_name::text from pg_replication_slots where slot_name like $2`,
    [`lockgate/${daemonId}/%`, `lockgate_${daemonId.replaceAll('-', '_')}%`],
  );
  return rows.map((row) => row.what);
}
