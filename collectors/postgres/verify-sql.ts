import { InvariantError } from '../../daemon/core/errors.js';
import type { Bucket, Key, KeyRange, ReadColumn, ReadSpec } from '../verify/port.js';
import { quoteIdent, quoteLiteral } from './connection.js';
import { canonical } from './verify-canonical.js';
import type { ColumnFacts, TableFacts } from './verify-catalog.js';
import { quoted } from './verify-errors.js';

/**
 * The statements that read one table. All of them name their rows `s`, compute a row's text once (OFFSET 0 keeps the
 * planner from taking the subquery apart), and hand values over as parameters.
 */

/** A statement and what it is given. */
export interface Statement {
  readonly text: string;
  readonly values: (string | readonly string[])[];
}

/** Reads a table as `spec` says on a server whose catalog says `facts`. */
export class ReadStatements {
  readonly #from: string;
  readonly #utf8: boolean;
  readonly #native: boolean;
  /** Names of the columns whose odd values are counted, in the order of the counts `o0`, `o1`. */
  readonly oddColumns: readonly string[];
  readonly #texts: readonly { text: string; odd: string | null }[];
  readonly #soft: readonly number[];
  readonly #keys: readonly KeyParts[] | null;

  constructor(
    private readonly spec: ReadSpec,
    private readonly facts: TableFacts,
    encoding: string,
  ) {
    this.#from = `${facts.only ? 'ONLY ' : ''}${quoted(spec)} AS t`;
    this.#utf8 = encoding === 'UTF8';
    this.#native = spec.form === 'native';
    this.#texts = spec.columns.map((column) => this.#column(column));
    this.oddColumns = spec.columns.flatMap((c, i) => ((this.#texts[i]?.odd ?? null) === null ? [] : [c.shape.name]));
    this.#soft = spec.columns.flatMap((c, i) => (c.soft === null ? [] : [i]));
    this.#keys =
      spec.key?.map((k) => {
        const column = this.#name(k.shape.name);
        const cast = this.#factsOf(k.shape.name).cast;
        const text = this.#keyText(k.shape.name, k.shape.family, k.as);
        if (k.by === 'index') return { column, text, order: column, bound: (p) => `${p}::${cast}` };
        return this.#utf8
          ? { column, text, order: `(${text} COLLATE "C")`, bound: (p) => `${p}::pg_catalog.text` }
          : { column, text, order: convert(text), bound: (p) => convert(`${p}::pg_catalog.text`) };
      }) ?? null;
  }

  /** `n`, `a`, `b`: rows and both sums; `o0` and so on: odd rows by column. */
  digest(range: KeyRange | Bucket): Statement {
    const values: Statement['values'] = [];
    const bucket = 'of' in range ? this.#bucketIs(range, values) : '';
    const where = 'of' in range ? this.#where(null, values) : this.#where(range, values);
    return { text: `SELECT ${this.#sums()} FROM (${this.#hashed(where)}) s${bucket}`, values };
  }

  /** As `digest`, with `bucket`, for each of `n` buckets that has rows. */
  buckets(n: number): Statement {
    const values: Statement['values'] = [];
    const where = this.#where(null, values);
    return {
      text: `SELECT ${bucketOf(n)} AS bucket, ${this.#sums()} FROM (${this.#hashed(where)}) s GROUP BY 1`,
      values,
    };
  }

  /** `k0` and so on: the key of the `n`-th row. */
  bound(range: KeyRange, n: number): Statement {
    const values: Statement['values'] = [];
    const keys = this.#needKeys();
    const where = this.#where(range, values);
    const inner = keys.map(({ column }, i) => `${column} AS c${String(i)}`).join(', ');
    // The texts are made of one row only, and not of all that are skipped.
    const spec = this.spec.key ?? [];
    const outer = spec.map(
      (k, i) => `${this.#keyText(k.shape.name, k.shape.family, k.as, `s.c${String(i)}`)} AS k${String(i)}`,
    );
    return {
      text: `SELECT ${outer.join(', ')} FROM (SELECT ${inner} FROM ${this.#from}${where}
        ORDER BY ${this.#order()} OFFSET ${whole(n - 1)} LIMIT 1) s`,
      values,
    };
  }

  /** `k0` and so on, `h`, `s0` and so on, `v`. */
  marks(range: KeyRange | Bucket, most: number): Statement {
    const values: Statement['values'] = [];
    if ('of' in range) return this.#keylessMarks(range, most, values);
    const where = this.#where(range, values);
    const tail = `${where} ORDER BY ${this.#order()} LIMIT ${whole(most)}`;
    return { text: this.#marked(this.#from, tail), values };
  }

  /** As `marks`, of the rows with these keys; where text is compared by a collation, of some others too. */
  lookup(keys: readonly Key[]): Statement {
    const values: Statement['values'] = [];
    if (this.#keys === null) {
      const where = this.#where(null, values);
      values.push(keys.map((k) => k[0] ?? ''));
      const of = `${this.#hash()} = ANY ($${String(values.length)}::pg_catalog.text[])`;
      return { text: this.#grouped(this.#hashed(where), ` WHERE ${of}`), values };
    }
    const [from, where] = this.#sought(keys, values);
    return { text: this.#marked(from, where), values };
  }

  /** `k0` and so on, `c0` and so on: the texts of all columns. */
  values(keys: readonly Key[]): Statement {
    const values: Statement['values'] = [];
    const columns = this.#texts.map(({ text }, i) => `${this.#shown(i, text)} AS c${String(i)}`).join(', ');
    if (this.#keys === null) {
      const where = this.#where(null, values);
      values.push(keys.map((k) => k[0] ?? ''));
      const inner = `SELECT ${this.#rowParts()}, ${columns} FROM ${this.#from}${where} OFFSET 0`;
      return {
        text: `SELECT ${this.#hash()} AS k0, s.* FROM (${this.#withHash(inner, `r.*`)}) s
          WHERE ${this.#hash()} = ANY ($${String(values.length)}::pg_catalog.text[])`,
        values,
      };
    }
    const [from, where] = this.#sought(keys, values);
    return { text: `SELECT ${this.#keyTexts()}, ${columns} FROM ${from}${where}`, values };
  }

  #factsOf(name: string): ColumnFacts {
    const facts = this.facts.columns.get(name);
    if (facts === undefined) throw new InvariantError(`column ${name} was not looked up`);
    return facts;
  }

  #name(name: string): string {
    return `t.${quoteIdent(name)}`;
  }

  /** The text of a column, and whether it holds something odd for which nothing stands. */
  #column({ shape, as }: ReadColumn): { text: string; odd: string | null } {
    const x = this.#name(shape.name);
    if (this.#native) return { text: own(x, shape.family), odd: null };
    const form = canonical(x, shape.family, as);
    if (form === null) throw new InvariantError(`${shape.family} has no canonical form as ${as}`);
    let { text } = form;
    const odd: string[] = [];
    for (const { name, when } of form.odd) {
      const standIn = this.spec.standIns.get(name);
      if (standIn === undefined) odd.push(when);
      // What cannot be held is written as this engine prints it where nothing stands for it.
      const instead =
        standIn === undefined
          ? `${own(x, shape.family)}::pg_catalog.text`
          : standIn === null
            ? 'NULL'
            : quoteLiteral(standIn);
      text = `CASE WHEN ${when} THEN ${instead} ELSE ${text} END`;
    }
    return { text, odd: odd.length === 0 ? null : `coalesce(${odd.join(' OR ')}, false)` };
  }

  #keyText(name: string, family: ReadColumn['as'], as: ReadColumn['as'], x = this.#name(name)): string {
    if (this.#native) return `${own(x, family)}::pg_catalog.text`;
    const form = canonical(x, family, as);
    if (form === null) throw new InvariantError(`${family} has no canonical form as ${as}`);
    let text = as === 'bytes' ? `('\\x' || ${form.text})` : form.text;
    for (const { when } of form.odd)
      text = `CASE WHEN ${when} THEN ${own(x, family)}::pg_catalog.text ELSE ${text} END`;
    return `(${text})`;
  }

  #needKeys(): readonly KeyParts[] {
    if (this.#keys === null) throw new InvariantError(`table ${this.spec.name} has no key`);
    return this.#keys;
  }

  #keyTexts(): string {
    return this.#needKeys()
      .map(({ text }, i) => `${text} AS k${String(i)}`)
      .join(', ');
  }

  #order(): string {
    return this.#needKeys()
      .map(({ order }) => order)
      .join(', ');
  }

  #where(range: KeyRange | null, values: Statement['values']): string {
    const all = this.spec.where.map(({ column, op, value }) => {
      const x = this.#name(column);
      if (value === null || op === 'is null' || op === 'is not null') return `${x} ${op}`;
      values.push(value);
      const cast = this.#factsOf(column).cast;
      // Text is ordered by its bytes, which every server does alike.
      const c = /^(text|character varying|bpchar|character|name)$/.test(cast) ? ' COLLATE "C"' : '';
      return `${x} ${op} $${String(values.length)}::${cast}${c}`;
    });
    for (const [bound, op] of [
      [range?.after ?? null, '>'],
      [range?.upTo ?? null, '<='],
    ] as const) {
      if (bound === null) continue;
      const keys = this.#needKeys();
      const sides = keys.map((key, i) => {
        values.push(bound[i] ?? '');
        return key.bound(`$${String(values.length)}`);
      });
      all.push(`(${keys.map(({ order }) => order).join(', ')}) ${op} (${sides.join(', ')})`);
    }
    return all.length === 0 ? '' : ` WHERE ${all.join(' AND ')}`;
  }

  /** FROM and WHERE of the rows with some keys; by the columns themselves, so that their index finds them. */
  #sought(keys: readonly Key[], values: Statement['values']): [string, string] {
    const where = this.#where(null, values);
    const parts = this.#needKeys();
    const lists = parts.map((_, i) => {
      values.push(keys.map((k) => k[i] ?? ''));
      return `$${String(values.length)}`;
    });
    const spec = this.spec.key ?? [];
    const sides = parts.map(({ column, order, bound }, i) => {
      const k = spec[i];
      // What reads back as the same value reads as the same text; canonical text does so for its own family only.
      const direct = k !== undefined && (this.#native || k.by === 'index' || sameText(k.shape.family, k.as));
      const facts = k === undefined ? null : this.#factsOf(k.shape.name);
      if (!direct || facts?.comparable !== true) return { left: order, right: bound, type: null };
      const { cast } = facts;
      return { left: column, right: (p: string) => `${p}::${cast}`, type: cast };
    });
    const [first, ...more] = sides;
    const and = where === '' ? ' WHERE ' : `${where} AND `;
    if (first !== undefined && more.length === 0 && first.type !== null) {
      return [this.#from, `${and}${first.left} = ANY (${lists[0] ?? ''}::${first.type}[])`];
    }
    const names = sides.map((_, i) => `k${String(i)}`);
    const arrays = lists.map((p) => `pg_catalog.unnest(${p}::pg_catalog.text[])`).join(', ');
    const on = sides.map(({ left, right }, i) => `${left} = ${right(`q.k${String(i)}`)}`).join(' AND ');
    return [`ROWS FROM (${arrays}) AS q (${names.join(', ')}) JOIN ${this.#from} ON ${on}`, where];
  }

  /** What a row's text is made of: `r` in native form, `c0` and so on in canonical form; and `o0` and so on. */
  #rowParts(softToo = true): string {
    const texts = this.#texts.filter((_, i) => softToo || !this.#soft.includes(i)).map(({ text }) => text);
    const parts = this.#native
      ? [`ROW(${texts.join(', ')})::pg_catalog.text AS r`]
      : texts.map((text, i) => `${text} AS x${String(i)}`);
    if (softToo) {
      const odd = this.#texts.flatMap((t) => (t.odd === null ? [] : [t.odd]));
      parts.push(...odd.map((when, i) => `${when} AS o${String(i)}`));
    }
    // Of a table whose columns are all soft, or all left out, the rows are counted.
    return parts.length === 0 ? 'NULL AS nothing' : parts.join(', ');
  }

  /** `a` and `b` (and in canonical form nothing else tells rows apart) over `inner`, with `also`. */
  #withHash(inner: string, also: string, softToo = true): string {
    const more = also === '' ? '' : `, ${also}`;
    if (this.#native) {
      return `SELECT pg_catalog.hashtextextended(r.r COLLATE "C", 1) AS a, pg_catalog.hashtextextended(r.r COLLATE "C", 2) AS b${more}
        FROM (${inner}) r`;
    }
    const count = softToo ? this.#texts.length : this.#texts.length - this.#soft.length;
    const length = (x: string): string =>
      this.#utf8 ? `pg_catalog.octet_length(${x})` : `pg_catalog.length(${convert(x)})`;
    const parts = Array.from({ length: count }, (_, i) => `r.x${String(i)}`).map(
      (x) => `coalesce('V' || ${length(x)} || ':', 'N'), ${x}`,
    );
    const row = concatenated(parts);
    const bytes = (from: number): string =>
      `('x' || pg_catalog.encode(pg_catalog.substr(r.h, ${String(from)}, 8), 'hex'))::pg_catalog.bit(64)::pg_catalog.int8`;
    return `SELECT ${bytes(1)} AS a, ${bytes(9)} AS b${more}
      FROM (SELECT pg_catalog.sha256(${convert(row)}) AS h, r.* FROM (${inner}) r OFFSET 0) r`;
  }

  /** Rows as `a`, `b` and what is odd. */
  #hashed(where: string): string {
    const softs = this.#soft.map((at, i) => `${this.#texts[at]?.text ?? 'NULL'} AS s${String(i)}`);
    const inner = `SELECT ${[this.#rowParts(), ...softs].join(', ')} FROM ${this.#from}${where} OFFSET 0`;
    const also = [...this.oddColumns.map((_, i) => `r.o${String(i)}`), ...softs.map((_, i) => `r.s${String(i)}`)].join(
      ', ',
    );
    return this.#withHash(inner, also);
  }

  #sums(): string {
    const sum = (x: string): string =>
      this.#native
        ? `coalesce(pg_catalog.sum(s.${x}), 0)::pg_catalog.text AS ${x}`
        : `(coalesce(pg_catalog.sum(s.${x}), 0) + (pg_catalog.count(*) FILTER (WHERE s.${x} < 0))::pg_catalog.numeric
            * 18446744073709551616)::pg_catalog.text AS ${x}`;
    const odd = this.oddColumns.map(
      (_, i) => `(pg_catalog.count(*) FILTER (WHERE s.o${String(i)}))::pg_catalog.text AS o${String(i)}`,
    );
    // One sum of 64 bits is enough for many rows together; a row by itself is told by both hashes.
    const sums = this.#native ? [sum('a')] : [sum('a'), sum('b')];
    return ['pg_catalog.count(*)::pg_catalog.text AS n', ...sums, ...odd].join(', ');
  }

  #hash(): string {
    if (this.#native) return `(s.a || ':' || s.b)`;
    return `(pg_catalog.lpad(pg_catalog.to_hex(s.a), 16, '0') || pg_catalog.lpad(pg_catalog.to_hex(s.b), 16, '0'))`;
  }

  #marked(from: string, tail: string): string {
    const softs = this.#soft.map((at, i) => `${this.#texts[at]?.text ?? 'NULL'} AS s${String(i)}`);
    const version = `t.tableoid::pg_catalog.text || ':' || t.xmin::pg_catalog.text || ':' || t.ctid::pg_catalog.text AS v`;
    const inner = `SELECT ${[this.#keyTexts(), this.#rowParts(false), ...softs, version].join(', ')} FROM ${from}${tail} OFFSET 0`;
    const names = [...this.#needKeys().map((_, i) => `k${String(i)}`), ...softs.map((_, i) => `s${String(i)}`), 'v'];
    const hashed = this.#withHash(inner, names.map((n) => `r.${n}`).join(', '), false);
    return `SELECT ${[...names.map((n) => `s.${n}`), `${this.#hash()} AS h`].join(', ')} FROM (${hashed}) s`;
  }

  #bucketIs({ bucket, of }: Bucket, values: Statement['values']): string {
    if (of === 1) return '';
    values.push(String(bucket));
    return ` WHERE ${bucketOf(of)} = $${String(values.length)}::pg_catalog.int8`;
  }

  #keylessMarks(bucket: Bucket, most: number, values: Statement['values']): Statement {
    const is = this.#bucketIs(bucket, values);
    const where = this.#where(null, values);
    const text = `${this.#grouped(this.#hashed(where), is)} ORDER BY ${this.#hash()} COLLATE "C" LIMIT ${whole(most)}`;
    return { text, values };
  }

  /** Equal rows together: their hash as `k0`, their number as `h`. */
  #grouped(hashed: string, where: string): string {
    const softs = this.#soft.map((_, i) => `, pg_catalog.min(s.s${String(i)}) AS s${String(i)}`).join('');
    return `SELECT ${this.#hash()} AS k0, pg_catalog.count(*)::pg_catalog.text AS h${softs}, NULL AS v
      FROM (${hashed}) s${where} GROUP BY s.a, s.b`;
  }

  /** A value as a person is shown it. */
  #shown(at: number, text: string): string {
    const column = this.spec.columns[at];
    if (!this.#native && column?.as === 'bytes') return `'\\x' || ${text}`;
    return `(${text})::pg_catalog.text`;
  }
}

interface KeyParts {
  /** The column itself. */
  readonly column: string;
  /** The key's text. */
  readonly text: string;
  /** What its range is cut and ordered by. */
  readonly order: string;
  /** A parameter with a key's text, as `order` is compared with it. */
  readonly bound: (parameter: string) => string;
}

/** The value as this server prints it; padding is none of it. */
function own(x: string, family: ReadColumn['as']): string {
  return family === 'char' ? `${x}::pg_catalog.text` : x;
}

/** All in one text, NULLs left out; a function takes at most 100 arguments, and each part is two. */
function concatenated(parts: readonly string[]): string {
  if (parts.length === 0) return `''`;
  const groups = Array.from({ length: Math.ceil(parts.length / 40) }, (_, i) => parts.slice(i * 40, i * 40 + 40));
  return groups.map((group) => `pg_catalog.concat(${group.join(', ')})`).join(' || ');
}

function convert(text: string): string {
  return `pg_catalog.convert_to(${text}, 'UTF8')`;
}

/** Lower 63 bits of the first half of a row's hash, modulo the number of buckets. */
function bucketOf(n: number): string {
  return `((s.a & 9223372036854775807) % ${whole(n)})`;
}

function sameText(family: ReadColumn['as'], as: ReadColumn['as']): boolean {
  return family === as && family !== 'bit';
}

function whole(n: number): string {
  if (!Number.isSafeInteger(n) || n < 0) throw new InvariantError(`not a number of rows: ${String(n)}`);
  return String(n);
}
