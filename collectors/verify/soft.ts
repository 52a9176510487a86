/**
 * Values that are equal though their texts differ, across engines: floats by their significant digits, JSON by its value.
 * Everything is done on decimal text, because a number of JavaScript holds neither all integers nor all decimals.
 */

/** Kinds of columns that are compared by value. */
export type SoftKind = 'float4' | 'float8' | 'json';

const DIGITS = { float4: 6, float8: 15 } as const;

/** Whether two texts of a soft column stand for the same value; null is NULL and equals only itself. */
export function softEqual(kind: SoftKind, a: string | null, b: string | null): boolean {
  if (a === b) return true;
  if (a === null || b === null) return false;
  if (kind === 'json') {
    const [x, y] = [canonicalJson(a), canonicalJson(b)];
    return x !== null && x === y;
  }
  const [x, y] = [roundedDecimal(a, DIGITS[kind]), roundedDecimal(b, DIGITS[kind])];
  return x !== null && x === y;
}

interface Decimal {
  negative: boolean;
  /** Without leading and trailing zeros; empty is zero. */
  digits: string;
  /** The value is 0.digits × 10^exponent. */
  exponent: bigint;
}

function parseDecimal(text: string): Decimal | null {
  const m = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/.exec(text.trim());
  if (m === null) return null;
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = m;
  if (whole === '' && fraction === '') return null;
  const all = whole + fraction;
  const digits = all.replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return { negative: false, digits: '', exponent: 0n };
  const shift = BigInt(whole.length - (all.length - digits.length));
  return { negative: sign === '-', digits: significant, exponent: BigInt(exponent) + shift };
}

function printDecimal({ negative, digits, exponent }: Decimal): string {
  return digits === '' ? '0' : `${negative ? '-' : ''}0.${digits}e${String(exponent)}`;
}

/** A decimal's one text after rounding half up (away from zero) to so many significant digits; null when it is none. */
export function roundedDecimal(text: string, significant: number): string | null {
  const d = parseDecimal(text);
  if (d === null) {
    const word = text.trim().toLowerCase();
    return /^[+-]?(inf(inity)?|nan)$/.test(word) ? word.replace('+', '').replace('infinity', 'inf') : null;
  }
  if (d.digits.length <= significant) return printDecimal(d);
  const kept = BigInt(d.digits.slice(0, significant));
  const up = (d.digits[significant] ?? '0') >= '5';
  const rounded = String(up ? kept + 1n : kept);
  // 0.999…5 becomes 1.000…, which is one digit longer.
  const carried = BigInt(rounded.length - significant);
  return printDecimal({ ...d, digits: rounded.replace(/0+$/, ''), exponent: d.exponent + carried });
}

/** The one text of a JSON value, with sorted keys and exact numbers; null when it is no JSON. Of a key that is there twice the last counts. */
export function canonicalJson(text: string): string | null {
  try {
    const reader = new JsonReader(text);
    return reader.whole();
  } catch (error) {
    if (error instanceof NotJson) return null;
    throw error;
  }
}

class NotJson extends Error {}

/** Deeper than any server lets a document be nested would be an attack on the stack. */
const DEEPEST = 2_000;

/** Reads JSON and prints it anew; JSON.parse would round numbers. */
class JsonReader {
  #at = 0;

  constructor(private readonly text: string) {}

  whole(): string {
    const value = this.#value(0);
    this.#space();
    if (this.#at !== this.text.length) throw new NotJson();
    return value;
  }

  #value(depth: number): string {
    if (depth > DEEPEST) throw new NotJson();
    this.#space();
    const c = this.text[this.#at];
    if (c === '{') return this.#object(depth);
    if (c === '[') return this.#array(depth);
    if (c === '"') return JSON.stringify(this.#string());
    const word = this.#match(/true|false|null/y);
    if (word !== null) return word;
    const number = this.#match(/-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y);
    const decimal = number === null ? null : parseDecimal(number);
    if (decimal === null) throw new NotJson();
    return printDecimal(decimal);
  }

  #object(depth: number): string {
    const members = new Map<string, string>();
    this.#at += 1;
    if (this.#taken('}')) return '{}';
    do {
      this.#space();
      const name = this.#string();
      if (!this.#taken(':')) throw new NotJson();
      members.set(name, this.#value(depth + 1));
    } while (this.#taken(','));
    if (!this.#taken('}')) throw new NotJson();
    const sorted = [...members].sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${sorted.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(',')}}`;
  }

  #array(depth: number): string {
    this.#at += 1;
    if (this.#taken(']')) return '[]';
    const items: string[] = [];
    do items.push(this.#value(depth + 1));
    while (this.#taken(','));
    if (!this.#taken(']')) throw new NotJson();
    return `[${items.join(',')}]`;
  }

  #string(): string {
    const raw = this.#match(/"(?:[^"\\]|\\.)*"/sy);
    if (raw === null) throw new NotJson();
    try {
      return JSON.parse(raw) as string;
    } catch {
      throw new NotJson();
    }
  }

  #space(): void {
    this.#match(/[ \t\r\n]+/y);
  }

  #taken(c: string): boolean {
    this.#space();
    if (this.text[this.#at] !== c) return false;
    this.#at += 1;
    return true;
  }

  #match(what: RegExp): string | null {
    what.lastIndex = this.#at;
    const m = what.exec(this.text);
    if (m === null) return null;
    this.#at = what.lastIndex;
    return m[0];
  }
}
