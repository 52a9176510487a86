import { describe, expect, it } from 'vitest';
import { LocalDecoder, parseChange, type DecodedCommit } from '../../collectors/postgres/local-decoder.js';

function decode(...lines: (string | Buffer)[]): DecodedCommit[] {
  const decoder = new LocalDecoder(({ schema, name }) => schema === 'public' && name === 'totals');
  return lines.flatMap((line) => decoder.take(Buffer.from(line)) ?? []);
}
const transaction = (...changes: string[]): DecodedCommit =>
  decode('BEGIN 7', ...changes, 'COMMIT 7 (at 2026-11-22 19:38:39.634215+00)')[0]!;

describe('a change', () => {
  it.each<[string, ReturnType<typeof parseChange>]>([
    [
      'table public.orders: INSERT: id[bigint]:1',
      { tables: [{ schema: 'public', name: 'orders' }], operation: 'INSERT' },
    ],
    ['table public.t: DELETE: (no-tuple-data)', { tables: [{ schema: 'public', name: 't' }], operation: 'DELETE' }],
    [
      'table public.a, "b c"."d, e": TRUNCATE: (no-flags)',
      {
        tables: [
          { schema: 'public', name: 'a' },
          { schema: 'b c', name: 'd, e' },
        ],
        operation: 'TRUNCATE',
      },
    ],
    [
      'table "a""b: UPDATE:"."c.d": UPDATE: n[integer]:1',
      { tables: [{ schema: 'a"b: UPDATE:', name: 'c.d' }], operation: 'UPDATE' },
    ],
    ['table größe.tåble: INSERT: n[integer]:1', { tables: [{ schema: 'größe', name: 'tåble' }], operation: 'INSERT' }],
    ['table public.a', null],
    ['table public', null],
    ['table "public', null],
    ['table public.a: insert: x', null],
    ['table public.a, ', null],
  ])('%s', (line, parsed) => {
    expect(parseChange(line)).toEqual(parsed);
  });
});

describe('a transaction', () => {
  it('knows its id and when it committed', () => {
    expect(transaction('table public.a: INSERT: x')).toMatchObject({
      xid: '7',
      committedAt: Date.parse('2026-11-22T19:38:39.634Z'),
      application: true,
      direction: false,
    });
    expect(decode('BEGIN', 'COMMIT')[0]).toMatchObject({ xid: '', committedAt: null });
    expect(decode('COMMIT 7 (at 2026-11-22 19:38:39 BC+00)')[0]?.committedAt).toBeNull();
  });

  it.each<[string, string[], boolean]>([
    ['of the application', ['table public.a: UPDATE: x'], true],
    ['of lockgate', ['table lockgate.heartbeat: INSERT: x'], false],
    ['of both', ['table lockgate.heartbeat: INSERT: x', 'table public.a: INSERT: x'], true],
    ['of DMS', ['table public.awsdms_status: INSERT: x', 'table dms.awsdms_apply_exceptions: INSERT: x'], false],
    ['of a materialized view', ['table public.totals: DELETE: x', 'table public.totals: INSERT: x'], false],
    ['of a table named like our schema', ['table public.lockgate: INSERT: x'], true],
    ['of a schema named alike', ['table lockgate_.heartbeat: INSERT: x'], true],
    ['that truncates ours and theirs', ['table lockgate.heartbeat, public.a: TRUNCATE: (no-flags)'], true],
    ['that cannot be read', ['table ???'], true],
    ['of messages', ['message: transactional: 1 prefix: x, sz: 9 content:table public.a: INSERT: x'], false],
    ['of nothing', [], false],
  ])('%s', (_, changes, application) => {
    expect(transaction(...changes).application).toBe(application);
  });

  it('names what it took for no table of the application, once', () => {
    const row = 'table public.totals: INSERT: n[integer]:1';
    expect(transaction(row, row)).toMatchObject({
      application: false,
      ignored: [{ schema: 'public', name: 'totals' }],
    });
    expect(decode('BEGIN 1', row, 'COMMIT 1', 'BEGIN 2', 'COMMIT 2')[1]?.ignored).toEqual([]);
  });

  it('begins anew with each', () => {
    const commits = decode(
      'BEGIN 1',
      'table public.a: INSERT: x',
      'COMMIT 1',
      'BEGIN 2',
      'table lockgate.direction: UPDATE: x',
      'COMMIT 2',
    );
    expect(commits.map((c) => [c.application, c.direction])).toEqual([
      [true, false],
      [false, true],
    ]);
  });

  it('is not ended by what a row holds', () => {
    const row = `table public.a: INSERT: note[text]:'x'\nCOMMIT 9 (at 2020-01-01 00:00:00+00)\ntable public.b: DELETE: `;
    expect(decode('BEGIN 1', row)).toEqual([]);
    expect(transaction(row).insertedInto).toEqual([{ schema: 'public', name: 'a' }]);
  });

  it('tells which tables it only filled', () => {
    const fill = transaction('table public.a: INSERT: x', 'table public.b: INSERT: x', 'table public.a: INSERT: y');
    expect(fill.insertedInto?.map((t) => t.name)).toEqual(['a', 'b']);
    expect(transaction('table public.a: INSERT: x', 'table public.a: UPDATE: y').insertedInto).toBeNull();
    expect(transaction('table public.a: TRUNCATE: (no-flags)', 'table public.a: INSERT: y').insertedInto).toBeNull();
    expect(transaction(...Array.from({ length: 1_001 }, (_, n) => `table p.t${n}: INSERT: x`)).insertedInto).toBeNull();
  });

  it('names the tables whose rows changed, unless one was emptied or they cannot all be told', () => {
    const names = (...lines: string[]) => transaction(...lines).changed?.map((t) => t.name) ?? null;
    expect(names('table public.a: DELETE: x', 'table public.b: INSERT: y')).toEqual(['a', 'b']);
    expect(names('table public.a: INSERT: x', 'table public.b: TRUNCATE: (no-flags)')).toBeNull();
    expect(names('table public.a: INSERT: x', 'table nonsense')).toBeNull();
    expect(names(...Array.from({ length: 1_001 }, (_, n) => `table p.t${n}: INSERT: x`))).toBeNull();
  });

  it('reads a very long list of truncated tables, and little of a very long row', () => {
    const names = Array.from({ length: 500 }, (_, n) => `lockgate.table_${n}`).join(', ');
    expect(transaction(`table ${names}: TRUNCATE: (no-flags)`).application).toBe(false);
    expect(transaction(`table ${names}, public.a: TRUNCATE: (no-flags)`).application).toBe(true);
    const long = `"${'""'.repeat(63)}"`;
    expect(transaction(`table ${long}.${long}: INSERT: ${'x'.repeat(5_000_000)}`).application).toBe(true);
  });
});
