/** The section `verify` of a migration: what is compared, when, and how gently. */
import { validateDetailed } from 'node-cron';
import type { RowFilter, VerifyConfig } from '../core/config.js';
import { parseRowFilter } from '../core/row-filter.js';
import { didYouMean } from '../core/suggest.js';
import { parseTablePattern } from '../core/table-pattern.js';
import { formatDurationUs } from '../core/units.js';
import { microseconds } from './links.js';
import type { Path } from './locate.js';
import type { RawMigration } from './schema.js';
import type { Scope } from './scope.js';
import { hasPlaceholder } from './secrets.js';

type RawVerify = NonNullable<RawMigration['verify']>;

const DEFAULT_CHUNK_US = 500_000;
const MIN_CHUNK_US = 10_000;
const MAX_CHUNK_US = 60_000_000;
const DEFAULT_SHARE = 0.2;
const DEFAULT_PAUSE_LAG_US = 5_000_000;
const DEFAULT_PAUSE_RUNNING = 50;

/** Values that one engine holds and another cannot, by the name a stand-in is configured under. */
const STAND_INS = ['zero_date', 'infinity', 'out_of_range'];

const TABLE_HINT = 'write it like `public.users` or `public.*`; a name with a dot, star or quote goes in double quotes';

/** Checks and resolves the section; null without one. What is wrong was reported and is left out. */
export function resolveVerify(migration: string, raw: RawMigration, scope: Scope): VerifyConfig | null {
  const { verify } = raw;
  if (verify === undefined) return null;
  const path = ['migrations', migration, 'verify'];
  checkSchedule(verify, path, scope);
  for (const key of ['tables', 'exclude'] as const) checkPatterns(verify, key, path, scope);
  const chunkUs = microseconds(verify.chunk) ?? DEFAULT_CHUNK_US;
  if (chunkUs < MIN_CHUNK_US || chunkUs > MAX_CHUNK_US) {
    const range = `${formatDurationUs(MIN_CHUNK_US)} to ${formatDurationUs(MAX_CHUNK_US)}`;
    scope.problems.add([...path, 'chunk'], `one comparison takes ${range}`, 'write `500ms`');
  }
  return {
    schedule: verify.schedule?.trim() ?? null,
    tables: verify.tables === undefined ? null : present(verify.tables),
    exclude: present(verify.exclude),
    ignoreColumns: byTable(verify.ignore_columns, [...path, 'ignore_columns'], scope, (columns, at) =>
      columnsOf(columns, at, scope),
    ),
    filters: byTable(verify.filters, [...path, 'filters'], scope, (texts, at) => filtersOf(texts, at, scope)),
    schemas: schemasOf(verify, path, scope),
    chunkUs,
    sourceShare: shareOf(verify.source_share),
    pauseAboveLagUs: microseconds(verify.pause_above_lag) ?? DEFAULT_PAUSE_LAG_US,
    pauseAboveRunning: verify.pause_above_running === undefined ? DEFAULT_PAUSE_RUNNING : verify.pause_above_running,
    standIns: standInsOf(verify, path, scope),
  };
}

/** Entries that were refused leave holes, so that the places of the others stay true. */
function present<T>(list: readonly (T | undefined)[] | undefined): T[] {
  return (list ?? []).filter((entry) => entry !== undefined);
}

function checkSchedule({ schedule }: RawVerify, path: Path, scope: Scope): void {
  if (schedule === undefined) return;
  const at = [...path, 'schedule'];
  if (hasPlaceholder(scope.template(at, schedule))) {
    scope.problems.add(at, 'a schedule cannot hold a placeholder', 'write it out');
    return;
  }
  const { valid, errors } = validateDetailed(schedule.trim());
  if (valid) return;
  const [first] = errors;
  const what = first === undefined ? '' : `: \`${first.value ?? ''}\` is no ${first.field}`;
  scope.problems.add(at, `this is not a cron expression${what}`, 'write minute, hour, day of month, month and day of week, for example `*/15 * * * *` (UTC)'); // prettier-ignore
}

function checkPatterns(raw: RawVerify, key: 'tables' | 'exclude', path: Path, scope: Scope): void {
  for (const [i, pattern] of ((raw[key] ?? []) as (string | undefined)[]).entries()) {
    if (pattern === undefined || parseTablePattern(pattern) !== null) continue;
    const hint = 'write it like `public.*` or `public.orders`; a name with a dot or star goes in double quotes';
    scope.problems.add([...path, key, i], 'this is not a pattern of tables', hint);
  }
}

/** A mapping by table, or by pattern of tables. */
function byTable<T, R>(
  raw: Readonly<Record<string, T | undefined>> | undefined,
  path: Path,
  scope: Scope,
  resolve: (value: T, at: Path) => R,
): Map<string, R> {
  const found = new Map<string, R>();
  for (const key of scope.source.keys(path)) {
    const at = [...path, key];
    if (parseTablePattern(key) === null) {
      scope.problems.add(at, 'this is not the name of a table', TABLE_HINT, { key: true });
      continue;
    }
    const value = raw?.[key];
    if (value !== undefined) found.set(key.trim(), resolve(value, at));
  }
  return found;
}

function columnsOf(columns: readonly (string | undefined)[], path: Path, scope: Scope): string[] {
  for (const [i, column] of columns.entries()) {
    if (column === undefined || columns.indexOf(column) === i) continue;
    scope.problems.add([...path, i], `the column \`${column}\` is listed twice`, 'remove one of the two');
  }
  return present(columns);
}

function filtersOf(texts: readonly (string | undefined)[], path: Path, scope: Scope): RowFilter[] {
  return texts.flatMap((text, i) => {
    if (text === undefined) return [];
    const at = [...path, i];
    if (hasPlaceholder(scope.template(at, text))) {
      scope.problems.add(at, 'a condition on rows cannot hold a placeholder', 'write the condition out');
      return [];
    }
    const parsed = parseRowFilter(text);
    if (parsed.ok) return [parsed.filter];
    scope.problems.add(at, parsed.message, parsed.hint, { offset: parsed.offset });
    return [];
  });
}

function schemasOf(raw: RawVerify, path: Path, scope: Scope): Map<string, string> {
  const schemas = new Map<string, string>();
  const owners = new Map<string, string>();
  for (const [source, target] of Object.entries(raw.schemas ?? {})) {
    const at = [...path, 'schemas', source];
    if (source.trim() === '' || source.includes('*') || target?.includes('*') === true) {
      scope.problems.add(at, 'this is not the name of a schema', 'write one schema by its name, without stars', { key: true }); // prettier-ignore
      continue;
    }
    if (target === undefined) continue;
    const owner = owners.get(target);
    if (owner !== undefined) {
      scope.problems.add(at, `\`${owner}\` is the schema \`${target}\` on the target already`, 'each schema has one of its own'); // prettier-ignore
      continue;
    }
    owners.set(target, source);
    schemas.set(source, target);
  }
  return schemas;
}

function shareOf(raw: string | number | undefined): number {
  if (raw === undefined) return DEFAULT_SHARE;
  return typeof raw === 'number' ? raw : parseFloat(raw) / 100;
}

function standInsOf(raw: RawVerify, path: Path, scope: Scope): Map<string, string | null> {
  const found = new Map<string, string | null>();
  for (const [name, value] of Object.entries(raw.stand_ins ?? {})) {
    if (!STAND_INS.includes(name)) {
      const hint = didYouMean(name, STAND_INS, `known are ${STAND_INS.join(', ')}`);
      scope.problems.add([...path, 'stand_ins', name], 'there are no such values', hint, { key: true });
    } else if (value !== undefined) found.set(name, value === null ? null : String(value));
  }
  return found;
}
