import type { Us } from './clock.js';
import type { Unit } from './units.js';

/** One direction of replication of a migration. */
export type LinkName = 'forward' | 'reverse';
/** One of the two databases by its original role; the roles never swap. */
export type SideName = 'source' | 'target';

/** Names a link across migrations, for example `shop/forward`; it is also the heartbeat table's `link` column. */
export type LinkId = `${string}/${LinkName}`;

/** Builds the id of a link. */
export function linkId(migration: string, link: LinkName): LinkId {
  return `${migration}/${link}`;
}

/** What a signal is, independent of any value it has. */
export interface SignalDefinition {
  unit: Unit;
  meaning: string;
}

const s = (meaning: string): SignalDefinition => ({ unit: 's', meaning });
const bytes = (meaning: string): SignalDefinition => ({ unit: 'B', meaning });
const flag = (meaning: string): SignalDefinition => ({ unit: 'flag', meaning });
const count = (meaning: string): SignalDefinition => ({ unit: 'count', meaning });

/** Signals of a link, by the name after `forward.`, `reverse.`, `active.` or `standby.`. */
export const LINK_SIGNALS = {
  lag: s('end-to-end delay of replication by the heartbeat row, upper bound'),
  lag_low: s('end-to-end delay of replication by the heartbeat row, lower bound'),
  lag_by_position: s("delay until the worst flow applied the source's position, upper bound"),
  agreement: flag('1 when the heartbeat row and the applied positions tell the same story'),
  continuity: flag('1 while nothing has broken the chain since the link was first seen or last verified'),
  running: flag('1 while the replication machinery itself runs, for every flow of the link'),
  errors: count('new apply errors in the last 10 minutes'),
  tables_uncovered: count('application tables on the source that this link does not carry whole'),
  tables_syncing: count('tables whose initial copy is not finished'),
  backlog_bytes: bytes('source position minus applied position'),
  backlog_transactions: count('transactions on the source that are not applied on the target'),
  drain_eta: s('predicted time to drain if writes stopped now'),
  drain_eta_high: s('upper 95 % bound of the predicted time to drain'),
  retained_bytes: bytes('log kept back on the source for this link'),
  runway: s('time until retention limits cut the link off at the present rate'),
  capture_delay: s('where the time goes: reading from the source, as far as the servers tell'),
  transit_delay: s('where the time goes: on the way, as far as the servers tell'),
  apply_delay: s('where the time goes: applying, as far as the servers tell'),
} as const satisfies Record<string, SignalDefinition>;

/** Signals of a side, by the name after `source.` or `target.`. */
export const SIDE_SIGNALS = {
  reachable: flag('1 while the database answers'),
  writable: flag('1 while the database accepts writes'),
  local_writes: {
    unit: 'count/s',
    meaning: 'transactions per second that came neither by replication nor from lockgate',
  },
  last_local_write_age: s('time since the last local write'),
  longest_transaction: s('age of the oldest open write transaction, prepared ones included'),
  connections: count("client sessions other than replication and lockgate's"),
  clock_skew: s('database clock minus daemon clock'),
} as const satisfies Record<string, SignalDefinition>;

/** Signals of a migration as a whole, by their full name. */
export const MIGRATION_SIGNALS = {
  'verify.mismatched_rows': count('rows that differ, over the newest comparison of every table'),
  'verify.mismatched_tables': count('tables with differing rows'),
  'verify.row_count_delta': count('sum over tables of |source rows - target rows|'),
  'verify.coverage': { unit: 'ratio', meaning: 'share of the selected tables that were compared' },
  'verify.age': s('time since the oldest comparison that counts'),
  'direction.reverse': flag('1 while the target carries the production writes, 0 while the source does'),
  'sequences.behind': count('sequences of the passive side that would hand out a value already used'),
  'dms.running': flag('1 while every DMS task of the active link runs'),
  'dms.full_load_percent': { unit: 'percent', meaning: 'least full-load progress over the tasks, 0-100' },
  'dms.tables_errored': count('tables that DMS reports in error, over all tasks'),
  'dms.tables_pending': count('tables whose full load is not complete'),
  'dms.apply_exceptions': count('rows in awsdms_apply_exceptions'),
  'dms.validation_failed': count('records that failed DMS validation'),
  'dms.validation_pending': count('records that DMS has still to validate'),
  'dms.validation_suspended': count('records whose DMS validation is suspended'),
  'dms.cdc_latency_source': s('CDCLatencySource, the worst of the tasks'),
  'dms.cdc_latency_target': s('CDCLatencyTarget, the worst of the tasks'),
  'fence.drained': flag('1 while the latest fence of the active direction is drained'),
  'standby.stray_writes': count('local writes on the passive side, latched'),
  split_brain: flag('1 with unreconciled stray writes while the active side is writing too'),
} as const satisfies Record<string, SignalDefinition>;

export type LinkSignal = keyof typeof LINK_SIGNALS;
export type SideSignal = keyof typeof SIDE_SIGNALS;
export type MigrationSignal = keyof typeof MIGRATION_SIGNALS;
/** Signals of a migration that are those of its active link, where DMS carries it. */
export type DmsSignal = Extract<MigrationSignal, `dms.${string}`>;

/** Whether a signal of a migration is what DMS says of the link of the present direction. */
export function isDmsSignal(name: string): boolean {
  return name.startsWith('dms.');
}

/** What a migration has configured, as far as the names of its signals depend on it. */
export interface SignalContext {
  links: readonly LinkName[];
  traffic: Readonly<Record<string, Unit>>;
  dns: readonly string[];
}

const own = <T>(record: Readonly<Record<string, T>>, key: string): T | undefined =>
  Object.hasOwn(record, key) ? record[key] : undefined;

/**
 * Looks a signal up by its name relative to a migration (`forward.lag`, `attest.backup.age`); undefined when there is no
 * such signal. A link that is not configured has no signals.
 */
export function findSignal(name: string, context: SignalContext): SignalDefinition | undefined {
  const whole = own<SignalDefinition>(MIGRATION_SIGNALS, name);
  if (whole !== undefined) return whole;
  const [head = '', ...rest] = name.split('.');
  const tail = rest.join('.');
  switch (head) {
    case 'forward':
    case 'reverse':
      return context.links.includes(head) ? own<SignalDefinition>(LINK_SIGNALS, tail) : undefined;
    case 'active':
      return own<SignalDefinition>(LINK_SIGNALS, tail);
    case 'standby':
      return context.links.length > 1 ? own<SignalDefinition>(LINK_SIGNALS, tail) : undefined;
    case 'source':
    case 'target':
      return own<SignalDefinition>(SIDE_SIGNALS, tail);
    case 'traffic': {
      const unit = own(context.traffic, tail);
      return unit === undefined ? undefined : { unit, meaning: `traffic query ${tail}` };
    }
    case 'dns': {
      const found = context.dns.some((d) => tail === `${d}.ttl`);
      return found ? s('TTL that the resolver hands out') : undefined;
    }
    case 'attest':
      return /^[a-z0-9][a-z0-9-]{0,62}\.age$/.test(tail) ? s('time since someone attested this') : undefined;
    default:
      return undefined;
  }
}

/** Every signal name of a migration that can be listed in advance (attestations come with the gates that name them). */
export function signalNames(context: SignalContext): string[] {
  const names: string[] = [];
  for (const link of context.links) for (const n of Object.keys(LINK_SIGNALS)) names.push(`${link}.${n}`);
  for (const n of Object.keys(LINK_SIGNALS)) names.push(`active.${n}`);
  if (context.links.length > 1) for (const n of Object.keys(LINK_SIGNALS)) names.push(`standby.${n}`);
  for (const side of ['source', 'target']) for (const n of Object.keys(SIDE_SIGNALS)) names.push(`${side}.${n}`);
  names.push(...Object.keys(MIGRATION_SIGNALS));
  for (const n of Object.keys(context.traffic)) names.push(`traffic.${n}`);
  for (const n of context.dns) names.push(`dns.${n}.ttl`);
  return names;
}

/**
 * What is known of a signal. Its value at instant `t` is `max(value, t - growsFrom)` in seconds when `growsFrom` is
 * set, else `value`. `value` null means unknown, and then `reason` says why.
 */
export interface Reading {
  /** In the signal's unit; null when unknown. */
  value: number | null;
  /** The signal rises by a second per second since this instant, once that exceeds `value`; for lag while a heartbeat is outstanding. */
  growsFrom: Us | null;
  /** `at-least`: the truth is this or more, so that only a comparison it already decides is decided. */
  bound: 'exact' | 'at-least';
  /** When it was observed; its age counts from here. */
  observedAt: Us;
  /** Usable until `observedAt + freshUs`, that instant included; Infinity when it does not age. */
  freshUs: Us;
  /** Why it is unknown (with the remedy), or a remark such as the names behind a count. */
  reason: string | null;
}

/** A known reading that neither grows nor is a bound. */
export function known(value: number, observedAt: Us, freshUs: Us, reason: string | null = null): Reading {
  return { value, growsFrom: null, bound: 'exact', observedAt, freshUs, reason };
}

/** An unknown reading; it never goes stale, because there is nothing in it to go stale. */
export function unknown(reason: string, observedAt: Us): Reading {
  return { value: null, growsFrom: null, bound: 'exact', observedAt, freshUs: Infinity, reason };
}

/** The raw value of a reading at `t`, in its unit, without judging its freshness; null when unknown. */
export function valueAt(reading: Reading, t: Us): number | null {
  if (reading.value === null) return null;
  return reading.growsFrom === null ? reading.value : Math.max(reading.value, (t - reading.growsFrom) / 1e6);
}

/** How a reading may be used at `t`: `ok`, `stale` (too old) or `unknown` (no value, or only a bound). */
export function stateAt(reading: Reading, t: Us): 'ok' | 'stale' | 'unknown' {
  if (reading.value === null || !Number.isFinite(reading.value)) return 'unknown';
  if (t - reading.observedAt > reading.freshUs) return 'stale';
  return reading.bound === 'exact' ? 'ok' : 'unknown';
}
