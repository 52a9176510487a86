import type { VerifyConfig } from '../../daemon/core/config.js';
import { TableChooser, type TableSelection } from '../../daemon/core/table-pattern.js';
import { commonFamily, nativelyComparable, softOf } from './families.js';
import type {
  ColumnShape,
  DataTraits,
  KeyShape,
  ReadColumn,
  ReadKeyColumn,
  ReadSpec,
  TableName,
  TableShape,
} from './port.js';
import { shapeDigest } from './shape-digest.js';
import { formatTable, ofTable, someOf } from './table-name.js';

/** One of the two databases, by its role in the configuration. */
export type SideName = 'source' | 'target';

/** What is to be done with a table. */
export type TableTask =
  | {
      readonly kind: 'compare';
      readonly specs: Readonly<Record<SideName, ReadSpec>>;
      readonly remarks: readonly string[];
    }
  /** It is on one side only; `spec` is null where it cannot be read there. */
  | { readonly kind: 'one-sided'; readonly on: SideName; readonly spec: ReadSpec | null; readonly reason: string }
  | { readonly kind: 'not-covered'; readonly reason: string };

/** A table that is to be compared. */
export interface PlannedTable {
  /** In the source's names. */
  readonly table: string;
  readonly shape: string;
  readonly ignored: readonly string[];
  readonly estimatedRows: number;
  /** Its name on each side, or what it would be there. */
  readonly names: Readonly<Record<SideName, TableName>>;
  readonly task: TableTask;
}

/** What a plan is made of. */
export interface PlanInput {
  source: readonly TableShape[];
  target: readonly TableShape[];
  /** Of both servers, with the engine of each. */
  traits: Readonly<Record<SideName, DataTraits & { readonly engine: 'postgres' | 'mysql' }>>;
  config: VerifyConfig;
  carried: TableSelection | null;
}

/** All tables that are to be compared, by name. */
export interface Plan {
  readonly tables: readonly PlannedTable[];
  readonly narrower: string | null;
}

/** Pairs the tables of both catalogs, and decides for each how it is compared. */
export function planTables(input: PlanInput): Plan {
  const { config, carried } = input;
  const patterns: TableSelection = {
    include: config.tables ?? carried?.include ?? ['*.*'],
    exclude: [...config.exclude, ...(config.tables === null ? (carried?.exclude ?? []) : [])],
  };
  const chosen = new TableChooser(patterns);
  const carriedTables = new TableChooser(carried);
  const tables: PlannedTable[] = [];
  const leftOut: string[] = [];
  for (const pair of pairs(input)) {
    const { schema, name } = pair;
    if (chosen.chooses(schema, name)) tables.push(planTable(pair, input));
    else if (carriedTables.chooses(schema, name)) leftOut.push(formatTable(pair));
  }
  tables.sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : 0));
  leftOut.sort();
  return { tables, narrower: leftOut.length === 0 ? null : narrowerText(leftOut) };
}

function narrowerText(leftOut: readonly string[]): string {
  const what =
    leftOut.length === 1 ? '1 table that the link carries is' : `${leftOut.length} tables that the link carries are`;
  return `${what} not compared: ${someOf(leftOut)}`;
}

/** The names of a table on the target, by its names on the source. */
function targetName(config: VerifyConfig, source: TableName): TableName {
  return { schema: config.schemas.get(source.schema) ?? source.schema, name: source.name };
}

function nameOf({ schema, name }: TableName): TableName {
  return { schema, name };
}

interface TablePair {
  /** In the source's names. */
  readonly schema: string;
  readonly name: string;
  readonly source: TableShape | null;
  readonly target: TableShape | null;
}

function pairs({ source, target, config }: PlanInput): TablePair[] {
  const id = (t: { schema: string; name: string }): string => JSON.stringify([t.schema, t.name]);
  const onTarget = new Map(target.map((t) => [id(t), t]));
  const paired = new Set<string>();
  const found: TablePair[] = source.map((shape) => {
    const at = id(targetName(config, shape));
    paired.add(at);
    return { schema: shape.schema, name: shape.name, source: shape, target: onTarget.get(at) ?? null };
  });
  const back = new Map([...config.schemas].map(([from, to]) => [to, from]));
  for (const shape of target) {
    if (paired.has(id(shape))) continue;
    found.push({ schema: back.get(shape.schema) ?? shape.schema, name: shape.name, source: null, target: shape });
  }
  return found;
}

/** Decides for one table. */
function planTable(pair: TablePair, input: PlanInput): PlannedTable {
  const { config } = input;
  const { source, target } = pair;
  const asked = new Set(ofTable(config.ignoreColumns, pair));
  const there = new Set([...(source?.columns ?? []), ...(target?.columns ?? [])].map((c) => c.name));
  const ignored = [...asked].filter((name) => there.has(name)).sort();
  const task = taskOf(pair, new Set(ignored), input);
  const form = task.kind === 'compare' ? task.specs.source.form : task.kind;
  const shape = shapeDigest({ source, target }, [
    form,
    ignored,
    ofTable(config.filters, pair),
    form === 'canonical' ? [...config.standIns].sort() : null,
  ]);
  const estimatedRows = Math.max(source?.estimatedRows ?? 0, target?.estimatedRows ?? 0);
  const onSource = { schema: pair.schema, name: pair.name };
  const names = { source: onSource, target: nameOf(target ?? targetName(config, onSource)) };
  return { table: formatTable(pair), shape, ignored, estimatedRows, names, task };
}

function taskOf(pair: TablePair, ignored: ReadonlySet<string>, input: PlanInput): TableTask {
  const { source, target } = pair;
  const { config, traits } = input;
  const where = ofTable(config.filters, pair);
  if (source === null || target === null) {
    const on = source === null ? 'target' : 'source';
    const shape = source ?? target;
    const reason = `there is no such table on the ${on === 'source' ? 'target' : 'source'}`;
    if (shape === null) throw new RangeError('a table that is on no side');
    if (shape.unreadable !== null)
      return { kind: 'one-sided', on, spec: null, reason: `${reason}; ${shape.unreadable}` };
    return { kind: 'one-sided', on, spec: oneSidedSpec(shape, ignored, where), reason };
  }
  const notCovered = (reason: string): TableTask => ({ kind: 'not-covered', reason });
  for (const [side, shape] of [
    ['source', source],
    ['target', target],
  ] as const) {
    if (shape.unreadable !== null) return notCovered(`on the ${side}: ${shape.unreadable}`);
    const unknown = where.find((f) => !shape.columns.some((c) => c.name === f.column));
    if (unknown !== undefined)
      return notCovered(`its filter names the column ${unknown.column}, which is not on the ${side}`);
  }
  const compared = pairColumns(source, target, ignored);
  if (typeof compared === 'string') return notCovered(compared);
  const sameEngine = traits.source.engine === traits.target.engine;
  const native =
    sameEngine &&
    traits.source.probe === traits.target.probe &&
    compared.every((c) => nativelyComparable(traits.source.engine, c.source, c.target));
  const remarks: string[] = [];
  const columns: { source: ReadColumn; target: ReadColumn }[] = [];
  for (const c of compared) {
    if (native) {
      const read = (shape: ColumnShape): ReadColumn => ({ shape, as: shape.family, soft: null });
      columns.push({ source: read(c.source), target: read(c.target) });
      continue;
    }
    const common = commonFamily(c.source.family, c.target.family);
    if (common === null) {
      return notCovered(
        `the column ${c.source.name} cannot be compared: ${c.source.type} on the source, ${c.target.type} on the target`,
      );
    }
    if (common.remark !== undefined) remarks.push(`${c.source.name} ${common.remark}`);
    const read = (shape: ColumnShape): ReadColumn => ({ shape, as: common.as, soft: softOf(common.as) });
    columns.push({ source: read(c.source), target: read(c.target) });
  }
  const key = sharedKey(source, target, native);
  const inKey = key?.find((name) => ignored.has(name));
  if (inKey !== undefined) return notCovered(`the column ${inKey} is to be ignored, but rows are told apart by it`);
  if (columns.length === 0) return notCovered('no column is left to be compared');
  if (key === null) remarks.unshift('it has no key that both sides share, and was compared whole');
  const spec = (side: SideName, shape: TableShape): ReadSpec => ({
    schema: shape.schema,
    name: shape.name,
    form: native ? 'native' : 'canonical',
    columns: columns.map((c) => c[side]),
    key: key === null ? null : keyColumns(key, side, columns, input),
    where,
    standIns: config.standIns,
  });
  return { kind: 'compare', specs: { source: spec('source', source), target: spec('target', target) }, remarks };
}

/** The columns that are compared, in the source's order; or why they cannot be. */
function pairColumns(
  source: TableShape,
  target: TableShape,
  ignored: ReadonlySet<string>,
): { source: ColumnShape; target: ColumnShape }[] | string {
  const onTarget = new Map(target.columns.map((c) => [c.name, c]));
  const onSource = new Set(source.columns.map((c) => c.name));
  const found: { source: ColumnShape; target: ColumnShape }[] = [];
  for (const column of source.columns) {
    if (ignored.has(column.name)) continue;
    const other = onTarget.get(column.name);
    if (other === undefined) return `the column ${column.name} is on the source only`;
    found.push({ source: column, target: other });
  }
  const extra = target.columns.find((c) => !ignored.has(c.name) && !onSource.has(c.name));
  return extra === undefined ? found : `the column ${extra.name} is on the target only`;
}

/** The columns of the first key of the source that is one of the target too; null when there is none. */
function sharedKey(source: TableShape, target: TableShape, native: boolean): readonly string[] | null {
  const same = (a: readonly string[], b: readonly string[]): boolean =>
    a.length === b.length && a.every((name) => b.includes(name));
  const exact = (key: KeyShape): boolean =>
    native ||
    key.columns.every((name) => {
      const [a, b] = [source, target].map((t) => t.columns.find((c) => c.name === name)?.family ?? 'other');
      const common = commonFamily(a ?? 'other', b ?? 'other');
      // Values that may be equal though their texts differ tell no rows apart.
      return common !== null && softOf(common.as) === null;
    });
  const shared = source.keys.filter((k) => exact(k) && target.keys.some((t) => same(k.columns, t.columns)));
  return shared[0]?.columns ?? null;
}

function keyColumns(
  key: readonly string[],
  side: SideName,
  columns: readonly { source: ReadColumn; target: ReadColumn }[],
  { traits }: PlanInput,
): ReadKeyColumn[] {
  return key.map((name) => {
    const pair = columns.find((c) => c.source.shape.name === name);
    if (pair === undefined) throw new RangeError(`the key names ${name}, which is no column`);
    const [a, b] = [pair.source.shape, pair.target.shape];
    const sameFlavour = traits.source.flavour === traits.target.flavour;
    const alike =
      a.order !== null &&
      a.order === b.order &&
      // Another server may sort by a collation of the same name otherwise, and one of them sorts UUIDs by their time.
      (traits.source.engine === traits.target.engine || a.order === 'value' || a.order === 'bytes') &&
      (a.order !== 'value' || sameFlavour || (sortKind(a) === sortKind(b) && a.family !== 'uuid'));
    return { shape: pair[side].shape, as: pair[side].as, by: alike ? 'index' : 'bytes' };
  });
}

/** Columns of one kind are in the same order on every server; numbers are one kind. */
function sortKind(column: ColumnShape): string {
  const numbers = ['integer', 'boolean', 'decimal', 'year'];
  return numbers.includes(column.family) ? 'number' : column.family;
}

/** How a table is counted that the other side does not have. */
function oneSidedSpec(shape: TableShape, ignored: ReadonlySet<string>, where: ReadSpec['where']): ReadSpec {
  const read = (c: ColumnShape): ReadColumn => ({ shape: c, as: c.family, soft: null });
  const key = shape.keys[0]?.columns.map((name): ReadKeyColumn | undefined => {
    const column = shape.columns.find((c) => c.name === name);
    return column === undefined
      ? undefined
      : { shape: column, as: column.family, by: column.order === null ? 'bytes' : 'index' };
  });
  return {
    schema: shape.schema,
    name: shape.name,
    form: 'native',
    columns: shape.columns.filter((c) => !ignored.has(c.name)).map(read),
    key: key === undefined || key.includes(undefined) ? null : key.filter((k) => k !== undefined),
    where: where.filter((f) => shape.columns.some((c) => c.name === f.column)),
    standIns: new Map(),
  };
}
