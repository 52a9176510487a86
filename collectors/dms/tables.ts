/** What DMS says of the tables of a task. Pure: the rows of its statistics come in. */
import type { TableStatistics } from '@aws-sdk/client-database-migration-service';
import type { LeftBehind } from './table-mappings.js';
import { is, unknownFor, type Value } from './value.js';

/** Tables that a reason names. */
const NAMED = 10;
/** As DMS spells them, in small letters. */
const COMPLETED = 'table completed';
const ERRORED = 'table error';

/** What the states of validation mean for counting; those that are not here are not validated. */
const VALIDATION: Readonly<Record<string, 'done' | 'pending' | 'failed' | 'suspended'>> = {
  validated: 'done',
  'pending records': 'pending',
  'pending validation': 'pending',
  'pending revalidation': 'pending',
  'preparing table': 'pending',
  'mismatched records': 'failed',
  'suspended records': 'suspended',
};
const NOT_ENABLED = 'not enabled';

/** The signals that come of the tables of one task. */
export interface TablesJudged {
  errored: Value;
  pending: Value;
  validationFailed: Value;
  validationPending: Value;
  validationSuspended: Value;
}

/** The signals of one task's tables; `erroredByTask` is how many the task itself counts, null when it does not say. */
export function judgeTables(
  task: string,
  tables: readonly TableStatistics[],
  erroredByTask: number | null,
): TablesJudged {
  if (tables.length === 0) {
    const none = unknownFor(`DMS lists no table of ${task}: it has not begun, or its table mappings choose none`);
    const errored = erroredByTask === null || erroredByTask === 0 ? none : is(erroredByTask, `so says ${task}`);
    return { errored, pending: none, validationFailed: none, validationPending: none, validationSuspended: none };
  }
  // A table may be complete and lack rows that could not be loaded.
  const errored = tables.filter((t) => stateOf(t.TableState) === ERRORED || (t.FullLoadErrorRows ?? 0) > 0);
  const pending = tables.filter((t) => stateOf(t.TableState) !== COMPLETED);
  return {
    errored: is(Math.max(errored.length, erroredByTask ?? 0), named(errored, errorOf)),
    pending: is(
      pending.length,
      named(pending, (t) => t.TableState),
    ),
    ...judgeValidation(task, tables),
  };
}

/** States in which a table is not carried, or will not be. */
const NOT_CARRIED: ReadonlySet<string> = new Set(['table does not exist', 'table cancelled', ERRORED]);

/** The tables that a task lists, with what of each stays behind. */
export function listTables(
  tables: readonly TableStatistics[],
  left: LeftBehind,
): { schema: string; name: string; flaw: string | null }[] {
  return tables.map(({ SchemaName: schema = '', TableName: name = '', TableState: state }) => {
    const dead = NOT_CARRIED.has(stateOf(state)) ? `DMS says of it: ${state ?? ''}` : null;
    return { schema, name, flaw: dead ?? left(schema, name) };
  });
}

function judgeValidation(
  task: string,
  tables: readonly TableStatistics[],
): Pick<TablesJudged, 'validationFailed' | 'validationPending' | 'validationSuspended'> {
  if (tables.every((t) => stateOf(t.ValidationState) === NOT_ENABLED || t.ValidationState === undefined)) {
    const off = unknownFor(`${task} does not validate (EnableValidation in its settings)`);
    return { validationFailed: off, validationPending: off, validationSuspended: off };
  }
  const left = tables.filter((t) => !Object.hasOwn(VALIDATION, stateOf(t.ValidationState)));
  const count = (
    kind: 'pending' | 'failed' | 'suspended',
    records: (t: TableStatistics) => number | undefined,
  ): Value => {
    const concerned = tables.filter((t) => (records(t) ?? 0) > 0 || VALIDATION[stateOf(t.ValidationState)] === kind);
    // A state without a number stands for one record at least.
    const sum = concerned.reduce((total, t) => total + Math.max(1, records(t) ?? 0), 0);
    const names = named(concerned, (t) => t.ValidationState);
    if (left.length === 0) return is(sum, names);
    const reason = `not validated: ${named(left, (t) => t.ValidationState ?? 'no state') ?? ''}`;
    // Of the tables that are not validated nobody knows, so that there may be more.
    return sum === 0 ? unknownFor(reason) : { value: sum, reason: `${names ?? ''}; ${reason}`, bound: 'at-least' };
  };
  return {
    validationFailed: count('failed', (t) => t.ValidationFailedRecords),
    validationPending: count('pending', (t) => t.ValidationPendingRecords),
    validationSuspended: count('suspended', (t) => t.ValidationSuspendedRecords),
  };
}

function errorOf({ TableState, FullLoadErrorRows: rows = 0 }: TableStatistics): string {
  return rows > 0 ? `${TableState ?? 'no state'}, ${rows} rows not loaded` : (TableState ?? 'no state');
}

function stateOf(state: string | undefined): string {
  return (state ?? '').trim().toLowerCase();
}

/** The tables with what is said of each, and how many more there are; null when there is none. */
function named(tables: readonly TableStatistics[], said: (t: TableStatistics) => string | undefined): string | null {
  if (tables.length === 0) return null;
  const names = tables.slice(0, NAMED).map((t) => {
    return `${t.SchemaName ?? '?'}.${t.TableName ?? '?'} (${said(t) ?? 'no state'})`;
  });
  return `${names.join(', ')}${tables.length > NAMED ? ` and ${tables.length - NAMED} more` : ''}`;
}
