import { createHash } from 'node:crypto';
import type {
  ColumnShape,
  DataSession,
  Digest,
  Key,
  KeyRange,
  ReadSpec,
  TableShape,
} from '../../collectors/verify/port.js';

/** Long enough for everything that tests ask. */
export const LIMIT = { timeoutMs: 20_000 };

/** All rows. */
export const ALL: KeyRange = { after: null, upTo: null };

/** The table of this name, which must be there. */
export async function shapeOf(session: DataSession, name: string, schema = 'public'): Promise<TableShape> {
  const [shape] = await session.tables(LIMIT, [{ schema, name }]);
  if (shape === undefined) throw new RangeError(`there is no table ${schema}.${name}`);
  return shape;
}

/** How a table is read: all of its columns, by its first key, in native form, unless told. */
export function specOf(
  shape: TableShape,
  other: Partial<ReadSpec> & { by?: 'index' | 'bytes'; keyless?: boolean } = {},
): ReadSpec {
  const { by = 'index', keyless = false, ...more } = other;
  const form = more.form ?? 'native';
  const named = (name: string): ColumnShape => {
    const column = shape.columns.find((c) => c.name === name);
    if (column === undefined) throw new RangeError(`there is no column ${name}`);
    return column;
  };
  const key = keyless ? undefined : shape.keys[0];
  return {
    schema: shape.schema,
    name: shape.name,
    form,
    columns: shape.columns.map((column) => {
      const { family } = column;
      const soft =
        form === 'native'
          ? null
          : family === 'json' || family === 'jsonb'
            ? 'json'
            : family === 'float4' || family === 'float8'
              ? family
              : null;
      return { shape: column, as: family, soft };
    }),
    key: key?.columns.map((name) => ({ shape: named(name), as: named(name).family, by })) ?? null,
    where: [],
    standIns: new Map(),
    ...more,
  };
}

/** What chunks amount to together, as the whole would be digested. */
export function added(digests: readonly Digest[]): string {
  const total = [0n, 0n, 0n];
  for (const { sum } of digests)
    for (const [i, part] of sum.split(':').entries()) total[i] = (total[i] ?? 0n) + BigInt(part);
  return total.join(':');
}

/** Keys that cut the table into ranges of `n` rows, as a pass finds them. */
export async function boundsOf(
  reader: { bound(range: KeyRange, n: number, limit: typeof LIMIT): Promise<Key | null> },
  n: number,
): Promise<KeyRange[]> {
  const ranges: KeyRange[] = [];
  for (let after: Key | null = null; ;) {
    const upTo = await reader.bound({ after, upTo: null }, n, LIMIT);
    ranges.push({ after, upTo });
    if (upTo === null) return ranges;
    after = upTo;
  }
}

/** The digest of rows of canonical texts, as docs/verification-canonical.md defines it. */
export function canonicalDigest(rows: readonly (readonly (string | null)[])[]): string {
  let [a, b] = [0n, 0n];
  for (const row of rows) {
    const hash = canonicalHash(row);
    a += hash.readBigUInt64BE(0);
    b += hash.readBigUInt64BE(8);
  }
  return [rows.length, a, b].join(':');
}

/** SHA-256 of a row of canonical texts. */
export function canonicalHash(row: readonly (string | null)[]): Buffer {
  const text = row.map((x) => (x === null ? 'N' : `V${String(Buffer.byteLength(x))}:${x}`)).join('');
  return createHash('sha256').update(text).digest();
}
