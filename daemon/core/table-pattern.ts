/**
 * Patterns of tables as the configuration writes them: `schema.table`, where `*` stands for any characters. A name with a
 * dot, star or quote is written in double quotes and then taken literally.
 */

/** A pattern that was understood. */
export interface TablePattern {
  readonly text: string;
  /** Whether a table matches, by the exact names that the catalogs have. */
  readonly matches: (schema: string, table: string) => boolean;
}

/** Which tables a link ought to carry; null for all of them. */
export interface TableSelection {
  readonly include: readonly string[];
  readonly exclude: readonly string[];
}

/** Reads a pattern; null when it is none. */
export function parseTablePattern(text: string): TablePattern | null {
  const m = /^("(?:[^"]|"")+"|[^".\s]+)\.("(?:[^"]|"")+"|[^".\s]+)$/.exec(text.trim());
  if (m === null) return null;
  const [schema, table] = [partOf(m[1] ?? ''), partOf(m[2] ?? '')];
  return { text, matches: (s, t) => schema.test(s) && table.test(t) };
}

function partOf(text: string): RegExp {
  const literal = (s: string): string => s.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
  const quoted = text.startsWith('"');
  const source = quoted ? literal(text.slice(1, -1).replaceAll('""', '"')) : text.split('*').map(literal).join('.*');
  return new RegExp(`^${source}$`, 's');
}

/** Chooses tables by what the configuration includes and excludes. */
export class TableChooser {
  readonly #include: readonly TablePattern[];
  readonly #exclude: readonly TablePattern[];

  /** Null chooses all tables. Throws a RangeError on a pattern that is none, which the configuration does not let through. */
  constructor(selection: TableSelection | null) {
    const parse = (text: string): TablePattern => {
      const pattern = parseTablePattern(text);
      if (pattern === null) throw new RangeError(`not a pattern of tables: ${text}`);
      return pattern;
    };
    this.#include = (selection?.include ?? ['*.*']).map(parse);
    this.#exclude = (selection?.exclude ?? []).map(parse);
  }

  /** Whether a table is meant. */
  chooses(schema: string, table: string): boolean {
    return this.#include.some((p) => p.matches(schema, table)) && !this.excludes(schema, table);
  }

  /** Whether a table is left out by name. */
  excludes(schema: string, table: string): boolean {
    return this.#exclude.some((p) => p.matches(schema, table));
  }

  /** The first pattern that none of the tables matches, so that nothing is watched by it; null when there is none. */
  idlePattern(tables: readonly { readonly schema: string; readonly name: string }[]): string | null {
    const idle = this.#include.find((p) => !tables.some((t) => p.matches(t.schema, t.name)));
    return idle?.text ?? null;
  }
}
