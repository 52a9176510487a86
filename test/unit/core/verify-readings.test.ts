import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Direction } from '../../../daemon/core/direction.js';
import { stateAt, valueAt, type Reading } from '../../../daemon/core/signal.js';
import type { Selection, TableResult, TableState } from '../../../daemon/core/verification.js';
import {
  completeMatch,
  countingResult,
  foldResult,
  invalidate,
  NOTHING_COMPARED,
  retain,
  verifyReadings,
  type SelectionNow,
  type VerificationMemory,
} from '../../../daemon/core/verify-readings.js';

const S = 1_000_000;
const FORWARD: Direction = { direction: 'forward', epoch: 3, changedAt: null };

function result(table: string, state: TableState, more: Partial<TableResult> = {}): TableResult {
  return {
    ...{ table, state, reason: null, begunAt: 0, comparedAt: 0, direction: 'forward', epoch: 3, shape: 's1' },
    ...{ sourceRows: 10, targetRows: 10, rowsCompared: 10, ignoredColumns: [], mismatchedRows: 0 },
    ...{ mismatchedAtLeast: false, mismatches: [], mismatchesTruncated: false },
    ...more,
  };
}

function select(tables: readonly string[], at = 0, narrower: string | null = null): SelectionNow {
  const selection: Selection = { tables: new Map(tables.map((t) => [t, 's1'])), narrower };
  return { selection, at: at * S, until: (at + 90) * S };
}

const fold = (m: VerificationMemory, r: TableResult, begunS: number) => foldResult(m, r, begunS * S);
const read = (m: VerificationMemory, selected: SelectionNow, nowS: number, direction: Direction = FORWARD) =>
  verifyReadings(m, selected, direction, nowS * S);
const at = (r: Reading, nowS: number) => (stateAt(r, nowS * S) === 'ok' ? valueAt(r, nowS * S) : null);

describe('what the comparisons of a migration are worth', () => {
  it('knows no count until every selected table has a comparison that counts, and says of which it has none', () => {
    const one = fold(NOTHING_COMPARED, result('public.a', 'mismatch', { mismatchedRows: 3 }), 10);
    const selected = select(['public.a', 'public.b']);
    const r = read(one, selected, 20);
    expect(r['verify.mismatched_rows'].value).toBeNull();
    expect(r['verify.mismatched_rows'].reason).toBe('1 of 2 tables have no comparison that counts: public.b (not compared yet)'); // prettier-ignore
    expect(r['verify.age'].value).toBeNull();
    expect(at(r['verify.coverage'], 20)).toBe(0.5);
    const both = read(fold(one, result('public.b', 'not-covered', { reason: 'xml' }), 11), selected, 20);
    expect(at(both['verify.mismatched_rows'], 20)).toBe(3);
    expect(both['verify.mismatched_rows'].reason).toBe('public.a 3');
    expect(at(both['verify.coverage'], 20)).toBe(0.5);
    expect(both['verify.coverage'].reason).toBe('not compared: public.b (xml)');
  });

  it('is unknown while the direction or what there is to compare is, and of an empty selection', () => {
    const m = fold(NOTHING_COMPARED, result('public.a', 'match'), 10);
    const selected = select(['public.a']);
    const all = (r: Record<string, Reading>) => new Set(Object.values(r).map((x) => [x.value, x.reason].join(' ')));
    expect(all(read(m, selected, 20, { direction: 'unknown', reason: 'source: down' }))).toEqual(new Set([' the direction is unknown: source: down'])); // prettier-ignore
    expect(all(read(m, { unknown: 'no privilege' }, 20))).toEqual(new Set([' no privilege']));
    expect(all(read(m, selected, 91))).toEqual(new Set([' the tables of both sides were not looked at lately']));
    expect(all(read(m, select([]), 20))).toEqual(new Set([' no table is selected, so there is nothing to compare']));
    expect(at(read(m, selected, 90)['verify.mismatched_rows'], 90)).toBe(0);
    expect(at(read(m, selected, 20)['verify.mismatched_rows'], 91)).toBeNull();
  });

  it('says at least where a table has more rows than are counted', () => {
    const many = result('public.a', 'mismatch', { mismatchedRows: 10_000, mismatchedAtLeast: true });
    const r = read(fold(NOTHING_COMPARED, many, 1), select(['public.a']), 2)['verify.mismatched_rows'];
    expect(r).toMatchObject({ value: 10_000, bound: 'at-least', reason: 'public.a at least 10000' });
  });

  it('does not know the difference of rows that nobody has counted', () => {
    const m = fold(NOTHING_COMPARED, result('public.a', 'mismatch', { sourceRows: null, mismatchedRows: 1 }), 1);
    const r = read(m, select(['public.a']), 2);
    expect(r['verify.row_count_delta'].reason).toBe('the rows of both sides were not counted: public.a');
    expect(at(r['verify.mismatched_rows'], 2)).toBe(1);
  });

  it('names at most ten tables', () => {
    const tables = Array.from({ length: 12 }, (_, i) => `public.t${String(i).padStart(2, '0')}`);
    const r = read(NOTHING_COMPARED, select(tables), 1)['verify.coverage'];
    expect(r.reason).toContain('public.t09 (not compared yet) and 2 more');
    expect(r.reason).not.toContain('public.t10');
  });

  it('does not count what was begun before the last break of the chain, however late it ends', () => {
    const before = fold(NOTHING_COMPARED, result('public.a', 'match'), 10);
    const broken = invalidate(before, 20 * S, 'the chain broke');
    const selected = select(['public.a']);
    expect(read(broken, selected, 21)['verify.age'].reason).toBe('public.a: the chain broke');
    const late = fold(broken, result('public.a', 'match'), 20);
    expect(read(late, selected, 30)['verify.coverage'].reason).toBe('not compared: public.a (the chain broke)');
    expect(at(read(fold(late, result('public.a', 'match'), 21), selected, 30)['verify.coverage'], 30)).toBe(1);
    expect(invalidate(before, 10 * S, 'at that instant').tables.get('public.a')?.newest.voided).toBe('at that instant');
    // An earlier break that is told later changes nothing.
    expect(invalidate(broken, 15 * S, 'another').invalid).toEqual({ at: 20 * S, why: 'the chain broke' });
  });

  it('goes by the last settled comparison for the age of a table that keeps changing', () => {
    const selected = select(['public.a', 'public.b']);
    let m = fold(NOTHING_COMPARED, result('public.a', 'match'), 10);
    m = fold(m, result('public.b', 'match'), 15);
    m = fold(m, result('public.a', 'not-settled'), 40);
    expect(at(read(m, selected, 60)['verify.age'], 60)).toBe(50);
    expect(at(read(m, selected, 60)['verify.age'], 100_000)).toBe(99_990);
    const other = fold(NOTHING_COMPARED, result('public.a', 'not-settled', { reason: 'kept changing' }), 40);
    expect(read(fold(other, result('public.b', 'match'), 15), selected, 60)['verify.age'].reason).toBe('public.a: kept changing'); // prettier-ignore
    const voided = invalidate(m, 20 * S, 'broke');
    expect(read(fold(voided, result('public.b', 'match'), 41), selected, 60)['verify.age'].value).toBeNull();
  });

  it('keeps what cannot be compared out of the age, and has none where nothing can', () => {
    let m = fold(NOTHING_COMPARED, result('public.a', 'not-covered'), 1);
    expect(read(m, select(['public.a']), 60)['verify.age'].reason).toBe('no table can be compared');
    m = fold(m, result('public.b', 'match'), 50);
    expect(at(read(m, select(['public.a', 'public.b']), 60)['verify.age'], 60)).toBe(10);
  });

  it('is never younger than nothing, nor takes an earlier comparison for the newest', () => {
    const m = fold(NOTHING_COMPARED, result('public.a', 'match'), 70);
    expect(at(read(m, select(['public.a']), 60)['verify.age'], 60)).toBe(0);
    const late = fold(m, result('public.a', 'mismatch', { mismatchedRows: 1 }), 65);
    expect(late.tables.get('public.a')?.newest.result.state).toBe('match');
  });

  it('forgets tables that are not selected any more', () => {
    let m = fold(NOTHING_COMPARED, result('public.a', 'match'), 1);
    m = fold(m, result('public.b', 'match'), 1);
    const { selection } = select(['public.b']) as { selection: Selection };
    expect([...retain(m, selection).tables.keys()]).toEqual(['public.b']);
  });

  it('proves both sides equal only by matches of everything that ought to be', () => {
    const whole = (m: VerificationMemory, selected = select(['public.a', 'public.b'])) => completeMatch(m, selected, FORWARD, 60 * S); // prettier-ignore
    let m = fold(NOTHING_COMPARED, result('public.a', 'match', { begunAt: 7_000 }), 10);
    expect(whole(m)).toEqual({ not: 'public.b: not compared yet' });
    const both = fold(m, result('public.b', 'match', { begunAt: 5_000 }), 20);
    expect(whole(both)).toEqual({ begun: 10 * S, begunAt: 5_000 });
    expect(whole(both, select(['public.a', 'public.b'], 0, 'public.c'))).toHaveProperty('not');
    expect(whole(both, select([]))).toHaveProperty('not');
    expect(whole(both, { unknown: 'x' })).toHaveProperty('not');
    expect(completeMatch(both, select(['public.a']), { direction: 'reverse', epoch: 3, changedAt: null }, 60 * S)).toHaveProperty('not'); // prettier-ignore
    expect(completeMatch(both, select(['public.a']), FORWARD, 91 * S)).toHaveProperty('not');
    for (const state of ['mismatch', 'not-settled', 'not-covered'] as const) {
      m = fold(both, result('public.b', state), 30);
      expect(whole(m)).toEqual({ not: `public.b is ${state}` });
    }
    expect(whole(fold(both, result('public.b', 'match', { ignoredColumns: ['seen'] }), 30))).toHaveProperty('not');
  });
});

/** Everything that has happened, in order; the reference looks at all of it for every question. */
type Happening =
  | { kind: 'result'; begun: number; result: TableResult }
  | { kind: 'invalid'; at: number }
  | { kind: 'turn'; epoch: number };

const TABLES = ['public.a', 'public.b', 'public.c'];
const states = fc.constantFrom<TableState[]>('match', 'mismatch', 'not-settled', 'not-covered');

const happening: fc.Arbitrary<(now: number, epoch: number) => Happening> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .record({
        ...{ table: fc.constantFrom(...TABLES), state: states, took: fc.integer({ min: 0, max: 30 }) },
        ...{ rows: fc.integer({ min: 0, max: 9 }), off: fc.integer({ min: -3, max: 3 }), many: fc.boolean() },
        ...{ shape: fc.constantFrom('s1', 's1', 's1', 's0'), stale: fc.integer({ min: 0, max: 5 }) },
      })
      .map((r) => (now: number, epoch: number): Happening => ({
        kind: 'result',
        begun: now - r.took,
        result: result(r.table, r.state, {
          ...{ shape: r.shape, epoch: r.stale === 0 ? epoch - 1 : epoch, mismatchedAtLeast: r.many },
          ...{ mismatchedRows: r.state === 'mismatch' ? r.rows + 1 : 0, targetRows: 10 + r.off },
        }),
      })),
  },
  { weight: 1, arbitrary: fc.constant((now: number): Happening => ({ kind: 'invalid', at: now })) },
  { weight: 1, arbitrary: fc.constant((_: number, epoch: number): Happening => ({ kind: 'turn', epoch: epoch + 1 })) },
);

interface Expected {
  rows: number | 'at-least' | null;
  tables: number | null;
  delta: number | null;
  coverage: number;
  age: number | null;
}

/** By definition, from the whole history. */
function expected(
  history: readonly { at: number; what: Happening }[],
  selected: readonly string[],
  now: number,
): Expected {
  const epoch = history.reduce((e, { what }) => (what.kind === 'turn' ? what.epoch : e), 3);
  const lastInvalid = history.reduce((t, { what }) => (what.kind === 'invalid' ? Math.max(t, what.at) : t), -Infinity);
  const all = history.flatMap(({ what }) => (what.kind === 'result' ? [what] : []));
  const newestOf = (table: string, states?: readonly TableState[]) =>
    all
      .filter((r) => r.result.table === table)
      .reduce<(typeof all)[number] | null>((best, r) => (best === null || r.begun >= best.begun ? r : best), null) &&
    all
      .filter((r) => r.result.table === table && (states === undefined || states.includes(r.result.state)))
      .reduce<(typeof all)[number] | null>((best, r) => (best === null || r.begun >= best.begun ? r : best), null);
  const counts = (r: (typeof all)[number] | null) =>
    r !== null && r.result.epoch === epoch && r.result.shape === 's1' && r.begun > lastInvalid;
  const newest = selected.map((t) => newestOf(t));
  const settled = (s: TableState) => s === 'match' || s === 'mismatch';
  const counting = newest.filter((r): r is (typeof all)[number] => counts(r));
  const whole = counting.length === selected.length;
  const mismatched = counting.filter((r) => r.result.state === 'mismatch');
  const ages = selected.map((t) => {
    const r = newestOf(t);
    if (r === null || !counts(r)) return null;
    if (r.result.state === 'not-covered') return undefined;
    const basis = newestOf(t, ['match', 'mismatch']);
    return basis !== null && counts(basis) ? now - basis.begun : null;
  });
  const some = ages.filter((a) => a !== undefined);
  return {
    rows: !whole
      ? null
      : mismatched.some((r) => r.result.mismatchedAtLeast)
        ? 'at-least'
        : mismatched.reduce((n, r) => n + r.result.mismatchedRows, 0),
    tables: whole ? mismatched.length : null,
    delta: whole
      ? counting
          .filter((r) => settled(r.result.state))
          .reduce((n, r) => n + Math.abs(10 - (r.result.targetRows ?? 0)), 0)
      : null,
    coverage: counting.filter((r) => settled(r.result.state)).length / selected.length,
    age: some.length === 0 || some.includes(null) ? null : Math.max(...(some as number[])),
  };
}

describe('against everything that ever happened', () => {
  it('says the same as the definition, after every step', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 20 }), happening), { maxLength: 30 }),
        fc.subarray(TABLES, { minLength: 1 }),
        (steps, selected) => {
          let memory: VerificationMemory = NOTHING_COMPARED;
          let [now, epoch] = [100, 3];
          const history: { at: number; what: Happening }[] = [];
          // Results of one table come in the order they were begun: a pass compares a table once at a time.
          const begunOf = new Map<string, number>();
          for (const [pause, make] of steps) {
            now += pause;
            const what = make(now, epoch);
            if (what.kind === 'result') {
              what.begun = Math.max(what.begun, begunOf.get(what.result.table) ?? -Infinity);
              begunOf.set(what.result.table, what.begun);
              memory = foldResult(memory, what.result, what.begun * S);
            } else if (what.kind === 'invalid') memory = invalidate(memory, what.at * S, 'broke');
            else epoch = what.epoch;
            history.push({ at: now, what });
            const turn: Direction = { direction: 'forward', epoch, changedAt: null };
            const r = verifyReadings(memory, select(selected, now), turn, now * S);
            const want = expected(history, selected, now);
            const rows = r['verify.mismatched_rows'];
            expect(rows.value !== null && rows.bound === 'at-least' ? 'at-least' : at(rows, now)).toBe(want.rows);
            expect(at(r['verify.mismatched_tables'], now)).toBe(want.tables);
            expect(at(r['verify.row_count_delta'], now)).toBe(want.delta);
            expect(at(r['verify.coverage'], now)).toBeCloseTo(want.coverage, 12);
            expect(at(r['verify.age'], now)).toBe(want.age);
            // An age that is asked for later has grown by exactly that.
            if (want.age !== null) expect(at(r['verify.age'], now + 1_000)).toBe(want.age + 1_000);
            for (const table of selected) {
              const counting = countingResult(memory, table, 's1', { direction: 'forward', epoch });
              if ('compared' in counting) expect(counting.compared.voided).toBeNull();
            }
          }
        },
      ),
      { numRuns: 400 },
    );
  });
});
