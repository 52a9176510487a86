/** A table of results: the first column is text, the others are numbers as they are to be read. */
export interface Table {
  readonly title: string;
  readonly head: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** How to read it. */
  readonly notes: readonly string[];
}

/** What one measurement gives. */
export interface SectionResult {
  readonly tables: readonly Table[];
  /** The same for machines. */
  readonly data: unknown;
  /** How many things were as they must not be on any machine: lag below the truth, gates that did not open, bounds that did not hold. */
  readonly wrong?: number;
}

/** What a measurement is given. */
export interface BenchContext {
  readonly quick: boolean;
  /** Says what is being done. */
  readonly progress: (text: string) => void;
}

/** Lays a table out for a terminal. */
export function formatTable({ title, head, rows, notes }: Table): string {
  const widths = head.map((h, i) => Math.max(h.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join('  ')
      .trimEnd();
  const rule = widths.map((w) => '-'.repeat(w)).join('  ');
  return [title, '', line(head), rule, ...rows.map(line), ...notes.map((n) => `  ${n}`)].join('\n');
}

/** Microseconds as milliseconds with two digits. */
export function ms(us: number): string {
  return Number.isNaN(us) ? '-' : (us / 1_000).toFixed(2);
}

/** A whole number with separators. */
export function whole(value: number): string {
  return Number.isNaN(value) ? '-' : Math.round(value).toLocaleString('en-US');
}
