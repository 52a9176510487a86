/**
 * Conditions on rows as the configuration writes them: `tenant_id = 42`, `"Deleted At" is null`. The grammar is small and
 * strict on purpose: one column, one operator, one value; nothing of it ever becomes SQL text but the operator.
 */
import type { RowFilter } from './config.js';

/** A condition that was understood, or what is wrong with it and where (columns from 0). */
export type ParsedRowFilter =
  { ok: true; filter: RowFilter } | { ok: false; message: string; hint: string; offset: number };

const SPACE = /\s*/y;
const COLUMN = /"(?:[^"]|"")+"|[A-Za-z_\u0080-\uffff][A-Za-z0-9_$\u0080-\uffff]*/y;
const NULLS = /is\s+not\s+null(?![A-Za-z0-9_])|is\s+null(?![A-Za-z0-9_])/iy;
const OPERATOR = /<>|!=|<=|>=|=|<|>/y;
const NUMBER = /-?\d+(?:\.\d+)?(?![A-Za-z0-9_.])/y;
const TEXT = /'(?:[^']|'')*'/y;

const EXAMPLE = "write it like `tenant_id = 42`, `region <> 'eu'` or `deleted_at is null`";

/** Reads one condition. */
export function parseRowFilter(text: string): ParsedRowFilter {
  let at = 0;
  const take = (pattern: RegExp): string | null => {
    for (const each of [SPACE, pattern]) each.lastIndex = at;
    at += SPACE.exec(text)?.[0].length ?? 0;
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0];
    if (found === undefined) return null;
    at += found.length;
    return found;
  };
  const wrong = (message: string, hint = EXAMPLE): ParsedRowFilter => ({ ok: false, message, hint, offset: at });

  const written = take(COLUMN);
  if (written === null) return wrong('a condition begins with the name of a column', `${EXAMPLE}; other names go in double quotes`); // prettier-ignore
  const column = written.startsWith('"') ? written.slice(1, -1).replaceAll('""', '"') : written;
  const nulls = take(NULLS);
  let filter: RowFilter;
  if (nulls !== null) {
    filter = { column, op: /not/i.test(nulls) ? 'is not null' : 'is null', value: null };
  } else {
    const operator = take(OPERATOR);
    if (operator === null) return wrong('after the column comes one of = <> < <= > >=, `is null` or `is not null`');
    const quoted = take(TEXT);
    const value = quoted === null ? take(NUMBER) : quoted.slice(1, -1).replaceAll("''", "'");
    if (value === null) return wrong('after the operator comes a number, or a text in single quotes');
    filter = { column, op: operator === '!=' ? '<>' : (operator as RowFilter['op']), value };
  }
  take(SPACE);
  if (at < text.length) return wrong('a condition is one comparison', 'write a second one as another entry of the list; all of them must hold'); // prettier-ignore
  return { ok: true, filter };
}
