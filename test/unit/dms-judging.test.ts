import { describe, expect, it } from 'vitest';
import { judgeLatency } from '../../collectors/dms/latency.js';
import { adviseOn } from '../../collectors/dms/settings.js';
import { judgeTables } from '../../collectors/dms/tables.js';
import { judgeFullLoad, judgeRunning, type TaskState } from '../../collectors/dms/tasks.js';
import { fold, is, unknownFor } from '../../collectors/dms/value.js';
import { table } from '../support/aws/dms-world.js';

const task = (more: Partial<TaskState> = {}): TaskState => ({
  name: 'shop',
  status: 'running',
  migrationType: 'full-load-and-cdc',
  stopReason: null,
  lastFailure: null,
  startedAt: 1,
  fullLoadPercent: 100,
  tablesErrored: 0,
  instanceArn: null,
  ...more,
});

describe('a task', () => {
  it.each([
    [{}, 1],
    [{ migrationType: 'cdc' }, 1],
    [{ migrationType: 'full-load' }, 0],
    [{ migrationType: null }, 0],
    [{ migrationType: 'cdc-and-something' }, 0],
    [{ status: null }, 0],
    [{ status: 'testing' }, 0],
    [{ startedAt: 2 }, 0],
    [{ startedAt: null }, 0],
  ])('%o runs: %i', (more, value) => {
    expect(judgeRunning(task(more), task()).value).toBe(value);
  });

  it('that was never seen before may have been started at any time', () => {
    expect(judgeRunning(task(), null).value).toBe(1);
    expect(judgeRunning(task(), task({ startedAt: null })).value).toBe(1);
  });

  it('without a full load has no progress of one', () => {
    expect(judgeFullLoad(task({ migrationType: 'cdc' })).value).toBeNull();
    expect(judgeFullLoad(task({ fullLoadPercent: null })).value).toBeNull();
    expect(judgeFullLoad(task({ fullLoadPercent: 0 })).value).toBe(0);
  });
});

describe('tables', () => {
  const judge = (...tables: Parameters<typeof judgeTables>[1]) => judgeTables('shop', tables, 0);

  it('that are none tell nothing, but for what the task counts', () => {
    expect(judge().errored.value).toBeNull();
    expect(judge().pending.value).toBeNull();
    expect(judgeTables('shop', [], 2).errored.value).toBe(2);
    expect(judgeTables('shop', [table('a')], 2).errored.value).toBe(2);
  });

  it('in whatever state but one are not loaded', () => {
    const states = ['Table does not exist', 'Before load', 'Full load', 'Table cancelled', 'Table error', 'Table is being reloaded', 'New', undefined]; // prettier-ignore
    const tables = states.map((state, i) =>
      state === undefined ? { SchemaName: 'app', TableName: `t${i}` } : table(`t${i}`, { TableState: state }),
    );
    expect(judge(...tables, table('whole')).pending.value).toBe(states.length);
    expect(judge(...tables).errored.value).toBe(1);
  });

  it('that are complete and lack rows are in error', () => {
    expect(judge(table('a', { FullLoadErrorRows: 3 })).errored).toEqual({
      value: 1,
      reason: 'app.a (Table completed, 3 rows not loaded)',
    });
  });

  it('of which all are validated have counts', () => {
    const judged = judge(
      table('a', { ValidationState: 'Validated' }),
      table('b', { ValidationState: 'Mismatched records', ValidationFailedRecords: 5 }),
      table('c', { ValidationState: 'Pending records', ValidationPendingRecords: 7, ValidationFailedRecords: 1 }),
      table('d', { ValidationState: 'Suspended records' }),
    );
    expect(judged.validationFailed).toEqual({
      value: 6,
      reason: 'app.b (Mismatched records), app.c (Pending records)',
    });
    expect(judged.validationPending.value).toBe(7);
    // A state without a number is one at least.
    expect(judged.validationSuspended.value).toBe(1);
  });

  it.each(['No primary key', 'Table error', 'Error', 'Not enabled', 'Something new'])(
    'of which one is not validated (%s) leave 0 unknown and more than 0 the least',
    (ValidationState) => {
      const judged = judge(
        table('a', { ValidationState: 'Validated', ValidationFailedRecords: 2 }),
        table('b', { ValidationState }),
      );
      expect(judged.validationFailed).toMatchObject({ value: 2, bound: 'at-least' });
      expect(judged.validationPending.value).toBeNull();
      expect(judged.validationPending.reason).toContain(`app.b (${ValidationState})`);
    },
  );
});

describe('several tasks', () => {
  it('are as good as the worst, and unknown where that is not known', () => {
    expect(fold('least', [is(1), is(1)]).value).toBe(1);
    expect(fold('least', [is(1), is(0, 'stopped')])).toEqual({ value: 0, reason: 'stopped' });
    expect(fold('least', [is(1), unknownFor('denied')])).toEqual({ value: null, reason: 'denied' });
    expect(fold('least', [is(0), unknownFor('denied')]).value).toBe(0);
    expect(fold('sum', [is(1), is(2)])).toEqual({ value: 3, reason: null });
    expect(fold('sum', [is(1), unknownFor('denied')])).toMatchObject({ value: 1, bound: 'at-least' });
    expect(fold('sum', [is(0), unknownFor('denied')]).value).toBeNull();
    expect(fold('greatest', [is(4), is(9)]).value).toBe(9);
    expect(fold('greatest', [is(4), unknownFor('denied')])).toMatchObject({ value: 4, bound: 'at-least' });
    for (const how of ['least', 'sum', 'greatest'] as const) expect(fold(how, []).value, how).toBeNull();
  });
});

describe('latency and settings', () => {
  it('of no sense is unknown', () => {
    expect(judgeLatency('L', { samples: [{ at: 0, value: -1 }] }, 1_000).value.value).toBeNull();
    expect(judgeLatency('L', { samples: [{ at: 5_000, value: 1 }] }, 1_000)).toMatchObject({ ageMs: 0 });
  });

  it('that cannot be read are said to be', () => {
    for (const json of [undefined, '', '{', '[]', '7'])
      expect(adviseOn('shop', json)).toMatchObject([{ level: 'warning' }]);
    expect(adviseOn('shop', '{"TargetMetadata":{"SupportLobs":false}}')[0]?.message).toContain('not migrated');
  });
});
