import { didYouMean } from '../core/suggest.js';
import { microseconds } from './links.js';
import type { RawConfig, RawMigration } from './schema.js';
import type { Scope } from './scope.js';

const SECOND_US = 1_000_000;
const MINUTE_US = 60 * SECOND_US;
/** Names that become part of a signal's name. */
const SIGNAL_PART = /^[a-z0-9][a-z0-9_-]{0,62}$/;

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
  }
  for (const [i, window] of (raw.maintenance ?? []).entries()) {
    const { from, to } = (window as typeof window | undefined) ?? {};
    if (from === undefined || to === undefined || Date.parse(from) < Date.parse(to)) continue;
    scope.problems.add([...path, 'maintenance', i, 'to'], 'the window ends before it begins', 'swap `from` and `to`');
  }
}
