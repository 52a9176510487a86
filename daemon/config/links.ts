import type { DmsConfig, LinkConfig } from '../core/config.js';
import { parseDmsArn } from '../core/dms-arn.js';
import type { LinkName } from '../core/signal.js';
import { parseTablePattern } from '../core/table-pattern.js';
import { formatDurationUs, parseBytes, parseDurationUs } from '../core/units.js';
import type { Path } from './locate.js';
import type { RawDatabase, RawLink } from './schema.js';
import type { Scope } from './scope.js';

type Via = NonNullable<RawLink['via']>;

const MIN_HEARTBEAT_US = 50_000;
const DEFAULT_HEARTBEAT_US = 1_000_000;
const DEFAULT_DMS_US = 30_000_000;
const MIN_FRESHNESS_US = 3_000_000;

/** Which of the keys that name flows belongs to which kind of link. */
const FLOW_KEYS: readonly { key: 'subscription' | 'channel' | 'dms'; via: Via; required: boolean; add: string }[] = [
  { key: 'subscription', via: 'postgres-logical', required: true, add: 'the name of the subscription, or several' },
  { key: 'channel', via: 'mysql', required: false, add: '' },
  { key: 'dms', via: 'dms', required: true, add: 'the tasks: `dms: { tasks: [ … ], region: … }`' },
];

/** A link with the names of the databases it runs between; null where the configuration does not say (it was reported). */
export interface LinkEnds {
  from: string | undefined;
  to: string | undefined;
  databases: Readonly<Record<string, RawDatabase | undefined>>;
}

/** Builds a link, or null when something of it is wrong (and was reported). */
export function resolveLink(name: LinkName, raw: RawLink, path: Path, ends: LinkEnds, scope: Scope): LinkConfig | null {
  const { via } = raw;
  if (via !== undefined) {
    checkEngines(via, path, ends, scope);
    checkFlowKeys(via, raw, path, scope);
  }
  checkDms(raw, path, scope);
  if (via === 'none') checkNone(name, raw, path, scope);
  if (name === 'forward' && raw.starts !== undefined) {
    const hint = 'remove it: only the way back may start with the flip';
    scope.problems.add([...path, 'starts'], 'the forward link has no `starts`', hint, { key: true });
  }
  const external = raw.heartbeat?.external;
  if (external !== undefined) checkExternal(external, raw, path, ends, scope);
  const subscriptions = checkSubscriptions(raw, path, scope);
  const intervalUs = microseconds(raw.heartbeat?.interval) ?? DEFAULT_HEARTBEAT_US;
  if (intervalUs < MIN_HEARTBEAT_US) {
    const message = `the heartbeat interval is at least ${formatDurationUs(MIN_HEARTBEAT_US)}`;
    scope.problems.add([...path, 'heartbeat', 'interval'], message, 'the monitor must not become the load; write `1s`');
  }
  const watch = raw.heartbeat?.watch ?? 'auto';
  if (ends.from === undefined || ends.to === undefined || via === undefined) return null;
  checkPatterns(raw, path, scope);
  const include = raw.tables?.include ?? ['*.*'];
  return {
    name,
    via,
    from: ends.from,
    to: ends.to,
    flows: flowsOf(via, raw, subscriptions),
    publication: raw.publication ?? null,
    heartbeat: { intervalUs, watch, ...(external === undefined ? {} : { external }) },
    freshnessUs: microseconds(raw.freshness) ?? Math.max(MIN_FRESHNESS_US, 3 * intervalUs),
    retentionLimitBytes: raw.retention_limit === undefined ? null : parseBytes(raw.retention_limit),
    tables: raw.tables === undefined ? null : { include, exclude: raw.tables.exclude ?? [] },
    ...(via === 'dms' ? { dms: resolveDms(raw.dms) } : {}),
  };
}

/** The tasks of a link; what is missing was reported. */
function resolveDms(raw: RawLink['dms']): DmsConfig {
  return {
    tasks: ((raw?.tasks ?? []) as (string | undefined)[]).filter((t) => t !== undefined),
    region: raw?.region ?? '',
    everyUs: microseconds(raw?.every) ?? DEFAULT_DMS_US,
    endpoint: raw?.endpoint ?? null,
    assumeRole: raw?.assume_role ?? null,
  };
}

/** How the channel without a name is called. */
const DEFAULT_CHANNEL = 'default channel';

function flowsOf(via: Via, raw: RawLink, subscriptions: readonly string[]): readonly string[] {
  if (via === 'postgres-physical') return ['standby'];
  if (via !== 'mysql') return via === 'postgres-logical' ? subscriptions : [];
  const written = typeof raw.channel === 'string' ? [raw.channel] : ((raw.channel ?? []) as (string | undefined)[]);
  const channels = written.filter((c) => c !== undefined).map((c) => (c === '' ? DEFAULT_CHANNEL : c));
  return channels.length === 0 ? [DEFAULT_CHANNEL] : channels;
}

/** The flows of a link as written, without holes. */
export function subscriptionsOf(raw: RawLink | undefined): string[] {
  const written = raw?.subscription;
  if (typeof written === 'string') return [written];
  return ((written ?? []) as (string | undefined)[]).filter((s) => s !== undefined);
}

/** A duration of the configuration, whose spelling the schema has checked. */
export function microseconds(text: string | undefined): number | undefined {
  return text === undefined ? undefined : (parseDurationUs(text) ?? undefined);
}

function checkEngines(via: Via, path: Path, ends: LinkEnds, scope: Scope): void {
  const engine = via.startsWith('postgres-') ? 'postgres' : via === 'mysql' ? 'mysql' : null;
  for (const name of [ends.from, ends.to]) {
    const has = name === undefined ? undefined : ends.databases[name]?.engine;
    if (engine === null || name === undefined || has === undefined || has === engine) continue;
    const message = `\`${via}\` needs ${engine} on both sides, and the database \`${name}\` is ${has}`;
    scope.problems.add([...path, 'via'], message, 'correct `via` here or `engine` there');
    return;
  }
}

function checkFlowKeys(via: Via, raw: RawLink, path: Path, scope: Scope): void {
  for (const { key, via: owner, required, add } of FLOW_KEYS) {
    if (via !== owner && raw[key] !== undefined) {
      const hint = `it belongs to \`via: ${owner}\`; remove it`;
      scope.problems.add([...path, key], `a link by \`${via}\` has no \`${key}\``, hint, { key: true });
    }
    // Asked of the text: what is written and wrong was reported as that already.
    if (via === owner && required && !scope.source.has([...path, key])) {
      scope.problems.add([...path, key], 'this key is missing', `add ${add}`);
    }
  }
  if (via !== 'postgres-logical' && raw.publication !== undefined) {
    const hint = 'it belongs to `via: postgres-logical`; remove it';
    scope.problems.add([...path, 'publication'], `a link by \`${via}\` has no \`publication\``, hint, { key: true });
  }
}

function checkExternal(table: string, raw: RawLink, path: Path, ends: LinkEnds, scope: Scope): void {
  const at = [...path, 'heartbeat', 'external'];
  if (!/^[^.`\s]+\.[^.`\s]+$/.test(table)) {
    scope.problems.add(at, 'this is not the name of a table', 'write it with its database: `percona.heartbeat`');
  }
  if (raw.heartbeat?.watch !== undefined && raw.heartbeat.watch !== 'poll') {
    const hint = 'remove `watch`';
    scope.problems.add([...path, 'heartbeat', 'watch'], 'an external heartbeat is always polled', hint, { key: true });
  }
  for (const name of [ends.from, ends.to]) {
    const has = name === undefined ? undefined : ends.databases[name]?.engine;
    if (has === undefined || has === 'mysql') continue;
    const message = `an external heartbeat is one of pt-heartbeat, on MySQL or MariaDB, and the database \`${name ?? ''}\` is ${has}`;
    scope.problems.add(at, message, "remove this key; lockgate's own heartbeat is used");
    return;
  }
}

/** Dual writes: the application writes to both sides itself, and there is nothing that runs one way or the other. */
function checkNone(name: LinkName, raw: RawLink, path: Path, scope: Scope): void {
  if (name === 'reverse') {
    const hint =
      'remove this section: with `via: none` of the forward link the application writes to both sides, whatever the direction';
    scope.problems.add([...path, 'via'], 'a way back without replication is none', hint);
    return;
  }
  for (const key of ['heartbeat', 'freshness', 'retention_limit'] as const) {
    if (raw[key] === undefined) continue;
    const message = `a link by \`none\` has no \`${key}\``;
    scope.problems.add([...path, key], message, 'nothing is replicated; remove it', { key: true });
  }
}

const MIN_DMS_US = 1_000_000;

function checkDms(raw: RawLink, path: Path, scope: Scope): void {
  const { dms } = raw;
  if (dms === undefined) return;
  const at = [...path, 'dms'];
  const tasks = (dms.tasks ?? []) as (string | undefined)[];
  for (const [i, task] of tasks.entries()) {
    if (task === undefined) continue;
    const arn = parseDmsArn(task);
    if (arn === null) {
      const hint =
        'write `arn:aws:dms:REGION:ACCOUNT:task:ID`, or `…:replication-config:ID` for a serverless replication';
      scope.problems.add([...at, 'tasks', i], 'this is not the ARN of a DMS task', hint);
    } else if (dms.region !== undefined && arn.region !== dms.region) {
      const message = `this task is in ${arn.region}, and \`region\` is ${dms.region}`;
      scope.problems.add([...at, 'tasks', i], message, 'correct one of the two');
    }
  }
  // The heartbeat's row comes by one task, and proves nothing of the others.
  if (tasks.length > 1) {
    const message =
      'a link of several DMS tasks is not available in this version: the heartbeat comes by one of them only';
    const hint = 'name one task, which carries lockgate.heartbeat; what other tasks carry is not watched';
    scope.problems.add([...at, 'tasks', 1], message, hint);
  }
  const everyUs = microseconds(dms.every);
  if (everyUs !== undefined && everyUs < MIN_DMS_US) {
    const hint = 'all tasks of an account share a few requests a second; write `30s`';
    scope.problems.add([...at, 'every'], `DMS is asked at most every ${formatDurationUs(MIN_DMS_US)}`, hint);
  }
}

function checkPatterns(raw: RawLink, path: Path, scope: Scope): void {
  for (const key of ['include', 'exclude'] as const) {
    for (const [i, pattern] of ((raw.tables?.[key] ?? []) as (string | undefined)[]).entries()) {
      if (pattern === undefined || parseTablePattern(pattern) !== null) continue;
      const hint = 'write it like `public.*` or `public.orders`; a name with a dot or star goes in double quotes';
      scope.problems.add([...path, 'tables', key, i], 'this is not a pattern of tables', hint);
    }
  }
}

function checkSubscriptions(raw: RawLink, path: Path, scope: Scope): string[] {
  const all = subscriptionsOf(raw);
  if (Array.isArray(raw.subscription)) {
    for (const [i, name] of (raw.subscription as (string | undefined)[]).entries()) {
      if (name === undefined || raw.subscription.indexOf(name) === i) continue;
      const message = `the subscription \`${name}\` is listed twice`;
      scope.problems.add([...path, 'subscription', i], message, 'remove one of the two');
    }
  }
  return all;
}
