/** What the table mappings of a task leave out of tables that it carries. Pure: the mappings come in as DMS gives them, JSON in a text. */

/** For a table of the source: why some of it stays behind; null when all of it is carried. */
export type LeftBehind = (schema: string, table: string) => string | null;

interface Rule {
  readonly action: string;
  readonly schema: RegExp;
  readonly table: RegExp;
  readonly filtered: boolean;
  readonly column: string | null;
}

/** Reads mappings; null when they are not to be understood, and then nothing is known of what is left out. */
export function readMappings(json: string | undefined): LeftBehind | null {
  const rules = rulesOf(json);
  if (rules === null) return null;
  return (schema, table) => {
    const reasons = rules.flatMap((rule) => {
      if (!rule.schema.test(schema) || !rule.table.test(table)) return [];
      if (rule.filtered) return ['the task filters its rows'];
      return rule.action === 'remove-column' ? [`the task removes its column ${rule.column ?? '?'}`] : [];
    });
    return reasons.length === 0 ? null : [...new Set(reasons)].join(' and ');
  };
}

function rulesOf(json: string | undefined): Rule[] | null {
  let parsed: unknown;
  try {
    parsed = JSON.parse(json ?? '');
  } catch {
    return null;
  }
  const rules = isRecord(parsed) ? parsed['rules'] : undefined;
  if (!Array.isArray(rules)) return null;
  const read = rules.map((rule: unknown): Rule | null => {
    const locator = isRecord(rule) ? rule['object-locator'] : undefined;
    if (!isRecord(rule) || !isRecord(locator)) return null;
    const filters = rule['filters'];
    return {
      action: textOf(rule['rule-action']) ?? '',
      schema: like(textOf(locator['schema-name']) ?? '%'),
      table: like(textOf(locator['table-name']) ?? '%'),
      filtered: Array.isArray(filters) && filters.length > 0,
      column: textOf(locator['column-name']),
    };
  });
  return read.includes(null) ? null : read.filter((r) => r !== null);
}

/** `%` and `_` are wildcards unless in brackets, as DMS documents it. */
function like(pattern: string): RegExp {
  const source = pattern.replace(/\[(.)\]|[\s\S]/g, (found, literal: string | undefined) => {
    if (literal !== undefined) return quoted(literal);
    if (found === '%') return '.*';
    return found === '_' ? '.' : quoted(found);
  });
  return new RegExp(`^${source}$`, 's');
}

function quoted(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
