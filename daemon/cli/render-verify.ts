import type { VerifyJson, VerifyRowJson, VerifyTableJson } from '../http/port.js';
import { EXIT, type ExitCode } from './io.js';
import { durationText, plain, plural } from '../live/words.js';
import { columns, type Paint } from './text.js';

/** Tables that are shown one by one, of those that are equal and of the others, and keys of each. */
const MOST_EQUAL = 20;
const MOST_OTHERS = 100;
const MOST_KEYS = 5;

const ORDER: readonly VerifyTableJson['state'][] = ['mismatch', 'not-settled', 'not-covered', 'unknown', 'match'];
const WORDS: Readonly<Record<VerifyTableJson['state'], [string, Parameters<Paint>[1]]>> = {
  mismatch: ['MISMATCH', 'red'],
  'not-settled': ['NOT SETTLED', 'yellow'],
  'not-covered': ['NOT COVERED', 'yellow'],
  unknown: ['UNKNOWN', 'magenta'],
  match: ['match', 'green'],
};
const KINDS = { missing: 'missing on the target', extra: 'only on the target', different: 'different' } as const;

/** A whole number as people read it: `1 204 311`. */
export function countText(n: number): string {
  return String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ' ');
}

/** A key: `id=42, shop=1`. */
export function keyText(key: Readonly<Record<string, string>>): string {
  return Object.entries(key)
    .map(([name, value]) => `${plain(name)}=${plain(value)}`)
    .join(', ');
}

/** What a pass has found, the worst first. */
export function verifyText(
  verify: VerifyJson,
  tables: readonly VerifyTableJson[],
  about: { migration: string; pass: string; exit: ExitCode },
  paint: Paint,
): string {
  const sorted = [...tables].sort(
    (a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state) || (a.table < b.table ? -1 : 1),
  );
  const others = sorted.filter((t) => t.state !== 'match');
  const equal = sorted.filter((t) => t.state === 'match');
  const shown = [...others.slice(0, MOST_OTHERS), ...equal.slice(0, MOST_EQUAL)];
  const lines = columns(shown.map((t) => [WORDS[t.state][0], plain(t.table), gistOf(t)])).flatMap((line, i) => {
    const t = shown[i];
    if (t === undefined) return [line];
    const [word, colour] = WORDS[t.state];
    return [line.replace(word, paint(word, colour)), ...keysOf(t)];
  });
  if (others.length > MOST_OTHERS)
    lines.push(`… and ${plural(others.length - MOST_OTHERS, 'more table')} that are no match`);
  if (equal.length > MOST_EQUAL) lines.push(`… and ${plural(equal.length - MOST_EQUAL, 'more table')} that match`);
  if (verify.narrower !== null) lines.push(`Not everything is compared: ${plain(verify.narrower)}`);
  lines.push(paint(summaryOf(verify, tables, about), about.exit === EXIT.ok ? 'green' : 'red'));
  return `${lines.join('\n')}\n`;
}

function gistOf(t: VerifyTableJson): string {
  const why = t.reason === null ? '' : plain(t.reason);
  const rows = `${countText(t.rows_compared)} rows`;
  const sides =
    t.source_rows !== null && t.target_rows !== null && t.source_rows !== t.target_rows
      ? `${countText(t.source_rows)} on the source, ${countText(t.target_rows)} on the target`
      : '';
  const differ =
    t.state === 'mismatch' && t.mismatched_rows !== null
      ? `${t.mismatched_at_least ? 'at least ' : ''}${countText(t.mismatched_rows)} of ${rows} differ`
      : '';
  const ignored = t.ignored_columns.length > 0 ? `without ${t.ignored_columns.map(plain).join(', ')}` : '';
  const first = t.state === 'match' ? rows : differ;
  return [first, sides, ignored, why].filter((p) => p !== '').join('; ');
}

function keysOf(t: VerifyTableJson): string[] {
  const lines = t.mismatches.slice(0, MOST_KEYS).map(({ kind, key }) => `    ${KINDS[kind]}: ${keyText(key)}`);
  const rest = t.mismatches.length - MOST_KEYS;
  if (rest > 0 || t.mismatches_truncated) {
    lines.push(`    … and ${t.mismatches_truncated ? 'more' : `${countText(rest)} more`}: GET …/verify lists them`);
  }
  return lines;
}

function summaryOf(
  { last }: VerifyJson,
  tables: readonly VerifyTableJson[],
  { migration, pass, exit }: { migration: string; pass: string; exit: ExitCode },
): string {
  const took = last === null ? NaN : (Date.parse(last.ended_at) - Date.parse(last.started_at)) / 1000;
  const time = Number.isFinite(took) ? ` in ${durationText(Math.max(0, took))}` : '';
  const head = `${migration}: `;
  if (last?.pass !== pass) return `${head}nothing is known of how pass ${plain(pass)} ended`;
  if (!last.complete)
    return `${head}pass ${plain(pass)} ended before it was through: ${plain(last.reason ?? 'no reason given')}`;
  if (exit === EXIT.ok) return `${head}${plural(tables.length, 'table')} equal on both sides${time}`;
  const count = (state: VerifyTableJson['state']): number => tables.filter((t) => t.state === state).length;
  const parts = ORDER.filter((state) => state !== 'match' && count(state) > 0).map(
    (state) => `${count(state)} ${WORDS[state][0].toLowerCase()}`,
  );
  return `${head}${parts.join(', ') || 'nothing was compared'} of ${plural(tables.length, 'table')}${time}`;
}

/** Rows as both sides hold them, for a terminal. */
export function rowsText(table: string, rows: readonly VerifyRowJson[], paint: Paint): string {
  const lines = rows.flatMap(({ key, source, target }) => {
    const names = [...new Set([...Object.keys(source ?? {}), ...Object.keys(target ?? {})])];
    const value = (side: Record<string, string | null> | null, name: string): string =>
      side === null ? '(no row)' : !(name in side) ? '(no column)' : side[name] === null ? 'NULL' : `'${plain(side[name] ?? '')}'`; // prettier-ignore
    const cells = names.map((name) => [plain(name), value(source, name), value(target, name)] as const);
    const shown = cells.filter(([, a, b]) => a !== b);
    const table = columns(
      [['', 'source', 'target'], ...(shown.length > 0 ? shown : cells)].map((row) => ['   ', ...row]),
    );
    return [paint(`  ${keyText(key)}`, 'bold'), ...(names.length === 0 ? ['    on neither side now'] : table)];
  });
  return `${plain(table)}\n${lines.join('\n')}\n`;
}
