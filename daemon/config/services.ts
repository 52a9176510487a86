import { didYouMean } from '../core/suggest.js';
import { microseconds } from './links.js';
import type {
  AlertsConfig,
  AwsConfig,
  CloudWatchPublishConfig,
  DnsConfig,
  MaintenanceWindow,
  TrafficConfig,
  WrittenRule,
} from '../core/config.js';
import { parseCondition, type ConditionContext } from '../core/condition.js';
import type { SignalContext } from '../core/signal.js';
import type { RawConfig, RawMigration } from './schema.js';
import type { Scope } from './scope.js';
import { prometheusAccess } from './prometheus-access.js';
import { hasPlaceholder } from './secrets.js';

const DEFAULT_NAMESPACE = 'Lockgate';
const DEFAULT_QUERY_US = 15_000_000;
const DEFAULT_RESOLVE_AFTER_US = 60_000_000;

/** What the answers to a query are multiplied with, where its unit is not the signal's own. */
const SCALES: Readonly<Record<string, number>> = { '%': 0.01, ms: 1e-3, us: 1e-6 };

/** As CloudWatch takes them; names that begin with `AWS/` are its own. */
const NAMESPACE = /^(?!AWS\/)[A-Za-z0-9._/#-][A-Za-z0-9._/#:-]{0,254}$/;
const SECOND_US = 1_000_000;
const MINUTE_US = 60 * SECOND_US;
/** Names that become part of a signal's name. */
export const SIGNAL_PART = /^[a-z0-9][a-z0-9_-]{0,62}$/;

/** Checks what publishes and alerts across its keys; the shape was checked before. */
export function checkServices(config: RawConfig, scope: Scope): void {
  const cloudwatch = config.publish?.cloudwatch;
  const everyUs = microseconds(cloudwatch?.every);
  const every = ['publish', 'cloudwatch', 'every'];
  if (everyUs !== undefined && everyUs < SECOND_US) {
    scope.problems.add(every, 'CloudWatch takes at most one value a second', 'write `1s` or more');
  } else if (everyUs !== undefined && everyUs < MINUTE_US && cloudwatch?.high_resolution !== true) {
    scope.problems.add(every, 'periods below 60s need `high_resolution: true`', 'add it, or write `60s`');
  }
  if (cloudwatch?.namespace !== undefined && !NAMESPACE.test(cloudwatch.namespace)) {
    const hint = 'letters, digits and `.-_/#:`, at most 255, not beginning with `AWS/`';
    scope.problems.add(['publish', 'cloudwatch', 'namespace'], 'CloudWatch takes no such namespace', hint);
  }
  const names = new Set<string>();
  for (const [i, rule] of (config.alerts?.rules ?? []).entries()) {
    const { name, migration } = (rule as typeof rule | undefined) ?? {};
    const path = ['alerts', 'rules', i];
    if (name !== undefined && names.has(name)) {
      scope.problems.add(
        [...path, 'name'],
        `there are two rules named \`${name}\``,
        'alerts are told apart by it; rename one',
      );
    }
    if (name !== undefined) names.add(name);
    const migrations = scope.source.keys(['migrations']);
    if (migration !== undefined && !migrations.includes(migration)) {
      const hint = didYouMean(migration, migrations, `the migrations are ${migrations.join(', ')}`);
      scope.problems.add([...path, 'migration'], `there is no migration \`${migration}\``, hint);
    }
  }
}

/** Checks what a migration asks of other systems. */
export function checkMigrationServices(name: string, raw: RawMigration, scope: Scope): void {
  const path = ['migrations', name];
  for (const section of ['traffic', 'dns'] as const) {
    for (const key of scope.source.keys([...path, section])) {
      if (SIGNAL_PART.test(key)) continue;
      const hint = 'it becomes part of a signal: small letters, digits, `_` and `-`';
      scope.problems.add([...path, section, key], 'this name cannot be used', hint, { key: true });
    }
  }
  for (const [key, query] of Object.entries(raw.traffic ?? {})) {
    const at = [...path, 'traffic', key];
    if (query === undefined) continue;
    const asks = [scope.source.has([...at, 'prometheus']), scope.source.has([...at, 'cloudwatch'])];
    if (asks[0] === asks[1]) {
      scope.problems.add(at, 'this needs either `prometheus` or `cloudwatch`', 'name one of them', { key: true });
    } else if (asks[0] === true && !scope.source.has([...at, 'query'])) {
      scope.problems.add([...at, 'query'], 'this key is missing', 'add the PromQL that yields one number');
    } else if (asks[1] === true && query.query !== undefined) {
      const hint = '`query` belongs to `prometheus`; remove it';
      scope.problems.add([...at, 'query'], 'CloudWatch is not asked by PromQL', hint, { key: true });
    }
    if (asks[1] === true && query.token !== undefined) {
      const hint = '`token` belongs to `prometheus`; remove it';
      scope.problems.add([...at, 'token'], 'CloudWatch is signed in to by the SDK', hint, { key: true });
    }
    const everyUs = microseconds(query.every);
    if (everyUs !== undefined && everyUs < SECOND_US) {
      scope.problems.add([...at, 'every'], 'this asks more than once a second', 'write `1s` or more');
    }
  }
  for (const [i, window] of (raw.maintenance ?? []).entries()) {
    const { from, to } = (window as typeof window | undefined) ?? {};
    if (from === undefined || to === undefined || Date.parse(from) < Date.parse(to)) continue;
    scope.problems.add([...path, 'maintenance', i, 'to'], 'the window ends before it begins', 'swap `from` and `to`');
  }
}

function aws(raw: {
  region?: string | undefined;
  endpoint?: string | null | undefined;
  assume_role?: string | undefined;
}): AwsConfig {
  return { region: raw.region ?? '', endpoint: raw.endpoint ?? null, assumeRole: raw.assume_role ?? null };
}

/** What is published; null where nothing is. */
export function resolveCloudWatch(raw: RawConfig): CloudWatchPublishConfig | null {
  const cloudwatch = raw.publish?.cloudwatch;
  if (cloudwatch === undefined) return null;
  return {
    ...aws(cloudwatch),
    namespace: cloudwatch.namespace ?? DEFAULT_NAMESPACE,
    everyUs: microseconds(cloudwatch.every) ?? MINUTE_US,
    highResolution: cloudwatch.high_resolution ?? false,
  };
}

/** What a migration asks of other systems; what is wrong was reported and is left out. */
export function resolveMigrationServices(
  migration: string,
  raw: RawMigration,
  signals: SignalContext,
  scope: Scope,
): {
  traffic: ReadonlyMap<string, TrafficConfig>;
  dns: ReadonlyMap<string, DnsConfig>;
  maintenance: readonly MaintenanceWindow[];
} {
  const traffic = new Map<string, TrafficConfig>();
  for (const [name, query] of Object.entries(raw.traffic ?? {})) {
    const { prometheus, cloudwatch } = query ?? {};
    const ask: TrafficConfig['ask'] | null =
      prometheus !== undefined
        ? {
            kind: 'prometheus',
            query: query?.query ?? '',
            ...prometheusAccess(['migrations', migration, 'traffic', name], prometheus, query?.token, scope),
          }
        : cloudwatch === undefined
          ? null
          : {
              kind: 'cloudwatch',
              ...aws(cloudwatch),
              namespace: cloudwatch.namespace ?? '',
              metric: cloudwatch.metric ?? '',
              stat: cloudwatch.stat ?? '',
              dimensions: Object.fromEntries(
                Object.entries(cloudwatch.dimensions ?? {}).flatMap(([k, v]) => (v === undefined ? [] : [[k, v]])),
              ),
            };
    if (ask === null) continue;
    traffic.set(name, {
      name,
      everyUs: microseconds(query?.every) ?? (ask.kind === 'cloudwatch' ? MINUTE_US : DEFAULT_QUERY_US),
      unit: signals.traffic[name] ?? 'count',
      scale: SCALES[query?.unit ?? ''] ?? 1,
      ask,
    });
  }
  const dns = new Map<string, DnsConfig>();
  for (const [name, record] of Object.entries(raw.dns ?? {})) {
    if (record?.name !== undefined) dns.set(name, { name, record: record.name, resolver: record.resolver ?? null });
  }
  const maintenance = (
    (raw.maintenance ?? []) as ({ from?: string; to?: string; note?: string } | undefined)[]
  ).flatMap((w) =>
    w?.from === undefined || w.to === undefined
      ? []
      : [{ from: Date.parse(w.from), to: Date.parse(w.to), note: w.note ?? '' }],
  );
  return { traffic, dns, maintenance };
}

/** Who is told what; null where nobody is. Rules are expanded to one for each migration they are for. */
export function resolveAlerts(
  raw: RawConfig,
  contexts: ReadonlyMap<string, ConditionContext>,
  scope: Scope,
): AlertsConfig | null {
  const { alerts } = raw;
  if (alerts === undefined) return null;
  const { pagerduty, webhook } = alerts;
  return {
    resolveAfterUs: microseconds(alerts.resolve_after) ?? DEFAULT_RESOLVE_AFTER_US,
    pagerduty:
      pagerduty === undefined
        ? null
        : {
            routingKey: scope.secret(['alerts', 'pagerduty', 'routing_key'], pagerduty.routing_key ?? ''),
            region: pagerduty.region ?? 'us',
            endpoint: pagerduty.endpoint ?? null,
          },
    webhook:
      webhook === undefined
        ? null
        : {
            url: webhook.url ?? '',
            secret: webhook.secret === undefined ? null : scope.secret(['alerts', 'webhook', 'secret'], webhook.secret),
          },
    rules: writtenRules(raw, contexts, scope),
  };
}

function writtenRules(
  raw: RawConfig,
  contexts: ReadonlyMap<string, ConditionContext>,
  scope: Scope,
): readonly WrittenRule[] {
  const rules: WrittenRule[] = [];
  for (const [i, rule] of (raw.alerts?.rules ?? []).entries()) {
    const { name, when, severity, migration } = (rule as typeof rule | undefined) ?? {};
    if (name === undefined || when === undefined || severity === undefined) continue;
    const at = ['alerts', 'rules', i, 'when'];
    if (hasPlaceholder(scope.template(at, when))) {
      scope.problems.add(at, 'a condition cannot hold a placeholder', 'write the condition out');
      continue;
    }
    for (const [of, context] of contexts) {
      if (migration !== undefined && migration !== of) continue;
      const parsed = parseCondition(when, context);
      if (parsed.ok) {
        rules.push({ name, migration: of, when: parsed.condition, severity });
        continue;
      }
      const where = contexts.size > 1 && migration === undefined ? ` (for the migration ${of})` : '';
      scope.problems.add(at, `${parsed.message}${where}`, parsed.hint, { offset: parsed.column - 1 });
      break;
    }
  }
  return rules;
}
