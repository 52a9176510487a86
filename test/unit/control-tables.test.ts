import { describe, expect, it } from 'vitest';
import {
  ControlJudge,
  controlFindings,
  statusFindings,
  EXCEPTIONS,
  MOST_ROWS,
  SUSPENDED,
  type ControlTable,
  type StatusTable,
} from '../../collectors/session/control-tables.js';

const S = 1_000_000;
const MIN = 60 * S;
const missing = 'there is no such table';
const exceptions = (rows: ControlTable['rows'], identity = '1'): ControlTable => ({
  name: 'public.awsdms_apply_exceptions',
  kind: EXCEPTIONS,
  identity,
  rows,
});
const suspended = (rows: ControlTable['rows']): ControlTable => ({
  name: 'public.awsdms_suspended_tables',
  kind: SUSPENDED,
  identity: '2',
  rows,
});

describe("DMS's control tables", () => {
  it('without a row say that there are no errors, at once', () => {
    expect(new ControlJudge().judge({ tables: [exceptions(0), suspended(0)], missing }, 0)).toEqual({
      exceptions: { value: 0, reason: null },
      errors: { value: 0, reason: null },
    });
  });

  it('that are not there say nothing', () => {
    expect(new ControlJudge().judge({ tables: [], missing }, 0)).toEqual({
      exceptions: { value: null, reason: missing },
      errors: { value: null, reason: missing },
    });
    const { exceptions: rows, errors } = new ControlJudge().judge({ tables: [suspended(2)], missing }, 0);
    expect(rows.value).toBeNull();
    expect(errors).toMatchObject({ value: 2, bound: 'at-least' });
  });

  it('count new rows for ten minutes, and all of them as what there is', () => {
    const judge = new ControlJudge();
    judge.judge({ tables: [exceptions(0)], missing }, 0);
    expect(judge.judge({ tables: [exceptions(3)], missing }, 5 * S)).toEqual({
      exceptions: { value: 3, reason: '3 rows in public.awsdms_apply_exceptions' },
      errors: { value: 3, reason: '3 rows in public.awsdms_apply_exceptions' },
    });
    expect(judge.judge({ tables: [exceptions(3)], missing }, 9 * MIN).errors.value).toBe(3);
    const later = judge.judge({ tables: [exceptions(3)], missing }, 11 * MIN);
    expect(later.errors.value).toBe(0);
    expect(later.exceptions.value).toBe(3);
  });

  it('with rows of before it looked leave it open for ten minutes whether they are new', () => {
    const judge = new ControlJudge();
    const first = judge.judge({ tables: [exceptions(3)], missing }, 0);
    expect(first.exceptions.value).toBe(3);
    expect(first.errors).toMatchObject({ value: null, reason: expect.stringContaining('began to look') as string });
    expect(judge.judge({ tables: [exceptions(4)], missing }, 5 * S).errors).toMatchObject({
      value: 1,
      bound: 'at-least',
    });
    expect(judge.judge({ tables: [exceptions(4)], missing }, 16 * MIN).errors).toMatchObject({ value: 0 });
  });

  it('that were emptied or made anew count from then on', () => {
    const judge = new ControlJudge();
    judge.judge({ tables: [exceptions(5)], missing }, 0);
    expect(judge.judge({ tables: [exceptions(2, 'other')], missing }, 20 * MIN).errors).toMatchObject({ value: 2 });
  });

  it('that may not be read, or hold too much, are unknown but for what is seen', () => {
    const fault = { fault: 'GRANT SELECT' };
    const judge = new ControlJudge();
    expect(judge.judge({ tables: [exceptions(fault)], missing }, 0)).toEqual({
      exceptions: { value: null, reason: 'GRANT SELECT' },
      errors: { value: null, reason: 'GRANT SELECT' },
    });
    // Nobody saw what came while it was hidden.
    expect(judge.judge({ tables: [exceptions(0)], missing }, 5 * S).errors.value).toBeNull();
    expect(judge.judge({ tables: [exceptions(0)], missing }, 11 * MIN).errors.value).toBe(0);
    const other = judge.judge({ tables: [exceptions(0), suspended(fault)], missing }, 12 * MIN);
    expect(other.exceptions.value).toBe(0);
    expect(other.errors).toEqual({ value: null, reason: 'GRANT SELECT' });
    const full = new ControlJudge().judge({ tables: [exceptions(MOST_ROWS + 1)], missing }, 0);
    expect(full.exceptions).toMatchObject({ value: MOST_ROWS + 1, bound: 'at-least' });
    expect(full.errors.value).toBeNull();
  });

  it('are what doctor reports', () => {
    const said = (tables: ControlTable[]) =>
      controlFindings('shop/forward', 'aws', { tables, missing }).map((f) => `${f.level}: ${f.message}`);
    expect(said([exceptions(0), suspended(1)])).toEqual([
      'ok: public.awsdms_apply_exceptions can be read and is empty',
      'warning: 1 rows in public.awsdms_suspended_tables',
    ]);
    expect(said([])).toEqual([`fault: ${missing}`]);
    expect(said([exceptions({ fault: 'GRANT' })])).toEqual(['fault: a control table of DMS: GRANT']);
  });

  it('and what DMS has written of its tasks, whatever the server makes of the columns', () => {
    const said = (tables: StatusTable[]) =>
      statusFindings('shop/forward', 'aws', tables).map((f) => `${f.level}: ${f.message}`);
    const at = '2026-11-27 10:00:00';
    const row = (task_status: string) => ({ TASK_NAME: 'ABC', TASK_STATUS: task_status, status_time: at });
    expect(
      said([{ name: 'd.awsdms_status', rows: [row('CHANGE PROCESSING'), row('Full load'), row('NOT RUNNING')] }]),
    ).toEqual(
      ['ok', 'ok', 'warning'].map(
        (level, i) =>
          `${level}: d.awsdms_status says of the task ABC: ${['CHANGE PROCESSING', 'Full load', 'NOT RUNNING'][i] ?? ''}, written at ${at} by its clock`,
      ),
    );
    expect(said([{ name: 's', rows: [{ task_name: 7, status_time: new Date(0) }] }])).toEqual([
      'warning: s says of the task nothing: nothing, written at 1970-01-01T00:00:00.000Z by its clock',
    ]);
    expect(said([{ name: 's', rows: [] }])).toEqual(['warning: s is empty: no task has written to it']);
    expect(said([{ name: 's', rows: { fault: 'GRANT' } }])).toEqual(['warning: a control table of DMS: GRANT']);
    expect(said([])).toEqual([]);
  });
});
