import { parseTablePattern } from '../../daemon/core/table-pattern.js';
import type { Key, TableName } from './port.js';

/** A table as patterns and results write it: `schema.table`, a name with a dot, star or quote in double quotes. */
export function formatTable({ schema, name }: TableName): string {
  return `${formatName(schema)}.${formatName(name)}`;
}

function formatName(name: string): string {
  return /[.*"]/.test(name) ? `"${name.replaceAll('"', '""')}"` : name;
}

/** What the configuration says by table, for one table in the source's names: everything whose name or pattern matches it. */
export function ofTable<T>(byTable: ReadonlyMap<string, readonly T[]>, { schema, name }: TableName): T[] {
  const found: T[] = [];
  for (const [text, values] of byTable) {
    if (parseTablePattern(text)?.matches(schema, name) === true) found.push(...values);
  }
  return found;
}

/** A key as one text that no other key has. */
export function keyText(key: Key): string {
  return JSON.stringify(key);
}

/** Some names for people, the rest as a number. */
export function someOf(names: readonly string[], most = 5): string {
  const shown = names.slice(0, most).join(', ');
  return names.length > most ? `${shown} and ${names.length - most} more` : shown;
}
