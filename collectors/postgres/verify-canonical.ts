import type { TypeFamily } from '../verify/port.js';

/**
 * The text form by type family that MySQL makes alike (docs/verification-canonical.md). Everything here is an SQL
 * expression over one column, NULL where the column is NULL.
 */

/** How a column's value is written, and which of its values the other engine cannot hold. */
export interface Canonical {
  readonly text: string;
  /** Odd values by the name under which a stand-in for them is configured: conditions, never NULL where one holds. */
  readonly odd: readonly { readonly name: 'infinity' | 'out_of_range'; readonly when: string }[];
}

const infinite = (x: string, type: string): string =>
  `${x} IN ('infinity'::pg_catalog.${type}, '-infinity'::pg_catalog.${type})`;

const stamp = `'YYYY-MM-DD HH24:MI:SS.US'`;

const decimal = (x: string): string => `pg_catalog.trim_scale((${x})::pg_catalog.numeric)::pg_catalog.text`;

/** NaN is greater than every number, and infinities (from 14 on; 13 does not know their names) are beyond all that fit. */
const noDecimal = (x: string): Canonical['odd'] => [
  { name: 'infinity', when: `(${x} > 1e131071 OR ${x} < -1e131071)` },
];

const noFloat = (x: string, type: string): Canonical['odd'] => [
  { name: 'infinity', when: `(${infinite(x, type)} OR ${x} = 'NaN'::pg_catalog.${type})` },
];

/** Years that MySQL has and prints with four digits. */
const years = (x: string, type: string): Canonical['odd'] => [
  { name: 'infinity', when: infinite(x, type) },
  {
    name: 'out_of_range',
    when: `(NOT ${infinite(x, type)} AND (${x} < '0001-01-01'::pg_catalog.${type} OR ${x} >= '10000-01-01'::pg_catalog.${type}))`,
  },
];

/** The canonical form of the column `x` of family `from`, written as family `as`; null where there is none. */
export function canonical(x: string, from: TypeFamily, as: TypeFamily): Canonical | null {
  const text = `${x}::pg_catalog.text`;
  const exact = (expression: string): Canonical => ({ text: expression, odd: [] });
  switch (as) {
    case 'integer':
    case 'boolean':
    case 'year':
      if (from === 'boolean') return exact(`${x}::pg_catalog.int4::pg_catalog.text`);
      if (from === 'integer') return exact(text);
      if (from === 'bit') return exact(bits(x));
      return from === 'decimal' ? number(x) : null;
    case 'decimal':
      if (from === 'boolean') return exact(`${x}::pg_catalog.int4::pg_catalog.text`);
      if (from === 'integer') return exact(text);
      if (from === 'float4' || from === 'float8') return float(x, from);
      return from === 'decimal' ? number(x) : null;
    case 'float4':
    case 'float8':
      if (from === 'integer') return exact(text);
      if (from === 'decimal') return number(x);
      return from === 'float4' || from === 'float8' ? float(x, from) : null;
    case 'text':
    case 'char':
    case 'enum':
      return from === 'bytes' ? null : exact(text);
    case 'bytes':
      if (from === 'bytes') return exact(`pg_catalog.encode(${x}, 'hex')`);
      if (from === 'uuid') return exact(`pg_catalog.replace(${text}, '-', '')`);
      if (from === 'text' || from === 'char') {
        return exact(`pg_catalog.encode(pg_catalog.convert_to(${text}, 'UTF8'), 'hex')`);
      }
      return null;
    case 'uuid':
      if (from === 'bytes') return exact(`pg_catalog.encode(${x}, 'hex')`);
      return from === 'uuid' || from === 'text' || from === 'char'
        ? exact(`pg_catalog.lower(pg_catalog.replace(${text}, '-', '') COLLATE "C")`)
        : null;
    case 'bit':
      if (from === 'bit') return exact(bits(x));
      if (from === 'boolean') return exact(`${x}::pg_catalog.int4::pg_catalog.text`);
      return from === 'integer' ? exact(text) : null;
    case 'date':
      if (from === 'date') return { text, odd: years(x, 'date') };
      return null;
    case 'timestamp':
    case 'timestamptz':
      if (from !== 'date' && from !== 'timestamp' && from !== 'timestamptz') return null;
      return { text: `pg_catalog.to_char(${x}, ${stamp})`, odd: years(x, from) };
    case 'time':
      // 24:00:00 is a time here, and to_char would make it midnight of the same day.
      return from === 'time'
        ? exact(
            `CASE WHEN ${x} = '24:00:00'::pg_catalog.time THEN '24:00:00.000000' ELSE pg_catalog.to_char(${x}, 'HH24:MI:SS.US') END`,
          )
        : null;
    case 'json':
    case 'jsonb':
      return from === 'json' || from === 'jsonb' || from === 'text'
        ? exact(`${x}::pg_catalog.jsonb::pg_catalog.text`)
        : null;
    case 'other':
      return null;
  }
}

function number(x: string): Canonical {
  return { text: decimal(x), odd: noDecimal(x) };
}

function float(x: string, type: 'float4' | 'float8'): Canonical {
  const text = `${x}::pg_catalog.text`;
  // By way of the shortest text that reads back as the same number; 13 has no infinite numerics.
  return {
    text: `CASE WHEN ${text} IN ('Infinity', '-Infinity', 'NaN') THEN ${text} ELSE ${decimal(text)} END`,
    odd: noFloat(x, type),
  };
}

/** A bit string as an unsigned number; of at most 64 bits, as the other engine has them. */
function bits(x: string): string {
  const wide = `pg_catalog.lpad(${x}::pg_catalog.text, 64, '0')::pg_catalog.bit(64)`;
  return `(CASE WHEN pg_catalog.length(${x}) > 64 THEN ${x}::pg_catalog.text ELSE
    (${wide}::pg_catalog.int8::pg_catalog.numeric + CASE WHEN ${wide}::pg_catalog.int8 < 0 THEN 18446744073709551616 ELSE 0 END)::pg_catalog.text END)`;
}
