import { SystemClock } from '../../daemon/lifecycle/clock.js';
import type { DatabaseConfig, LinkConfig, Secret } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import { linkId, type LinkName } from '../../daemon/core/signal.js';
import type { Collector, CollectorContext, LinkPlan, Log } from '../../collectors/collector.js';
import { waitFor } from '../../deploy/demo/run-folder.js';

/** A database of the configuration, from an address as the test servers give it. */
export function databaseAt(name: string, url: string, user?: { name: string; password: string }): DatabaseConfig {
  const at = new URL(url);
  return {
    name,
    engine: 'postgres',
    address: {
      host: at.hostname,
      port: Number(at.port),
      database: decodeURIComponent(at.pathname.slice(1)),
      user: user?.name ?? decodeURIComponent(at.username),
    },
    password: secret(user?.password ?? decodeURIComponent(at.password)),
    tls: { mode: 'disable', ca: null, cert: null, key: null },
    read: 'off',
  };
}

function secret(value: string): Secret {
  return { reveal: () => value, toString: () => '[secret]', toJSON: () => '[secret]' };
}

/** A link of a migration named `shop` as a configuration with nothing but the necessary would give it. */
export function planOf(
  from: DatabaseConfig,
  to: DatabaseConfig,
  link: Pick<LinkConfig, 'via' | 'flows'> & { name?: LinkName },
): LinkPlan {
  const name = link.name ?? 'forward';
  return {
    id: linkId('shop', name),
    migration: 'shop',
    config: {
      name,
      via: link.via,
      from: from.name,
      to: to.name,
      flows: link.flows,
      publication: null,
      heartbeat: { intervalUs: 1_000_000, watch: 'auto' },
      freshnessUs: 3_000_000,
      retentionLimitBytes: null,
      tables: null,
    },
    from,
    to,
  };
}

const silent: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** What collectors are handed in tests: the real clock and a log that nobody reads. */
export function contextOf(): CollectorContext {
  return { clock: new SystemClock(), log: silent, daemonId: 'test' };
}

/** A collector at work, and all that it has said. */
export interface Listening {
  /** Everything, oldest first; emptied by `forget`. */
  readonly heard: readonly Observation[];
  forget(): void;
  /** The newest observation that fits; waits for one made after this call when `fresh`. */
  next<T extends Observation>(
    what: string,
    fits: (o: Observation) => o is T,
    also?: (o: T) => boolean,
    timeoutMs?: number,
  ): Promise<T>;
  stop(): Promise<void>;
}

/** Runs a collector and keeps what it emits; `also` is called with every observation as it is made. */
export function listenTo(collector: Collector, also: (o: Observation) => void = () => undefined): Listening {
  const stopping = new AbortController();
  let heard: Observation[] = [];
  let failure: unknown;
  const running = collector
    .run((o) => {
      heard.push(o);
      also(o);
    }, stopping.signal)
    .catch((error: unknown) => (failure = error));
  return {
    get heard() {
      return heard;
    },
    forget() {
      heard = [];
    },
    async next(what, fits, also = () => true, timeoutMs = 10_000) {
      const from = heard.length;
      return await waitFor(
        what,
        timeoutMs,
        () => {
          if (failure !== undefined) throw failure as Error;
          return heard
            .slice(from)
            .filter(fits)
            .findLast((o) => also(o));
        },
        5,
      ).catch((error: unknown) => {
        const last = JSON.stringify(heard.slice(-12), (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v), 1);
        throw new Error(`${String(error)}; last heard: ${last}`, { cause: error });
      });
    },
    async stop() {
      stopping.abort();
      await running;
      if (failure !== undefined) throw failure as Error;
    },
  };
}
