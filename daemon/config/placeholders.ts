import { SourceError } from '../core/errors.js';
import { isRecord, isSecretPath } from './issues.js';
import { pathText, type Path } from './locate.js';
import type { Problems } from './problems.js';
import { hasPlaceholder, parseTemplate, type SecretReader, type Template } from './secrets.js';

/** What became of the placeholders of a configuration. */
export interface Expanded {
  /** Every scalar with a placeholder, by the text of its path. */
  templates: ReadonlyMap<string, Template>;
  /** Scalars whose placeholders could not be filled in; the problem was reported. */
  broken: readonly Path[];
}

/**
 * Fills every placeholder of the tree in place, but not those of secrets: these stay as written, so that the value never
 * enters the tree, and are only checked to be there.
 */
export function expandPlaceholders(tree: unknown, reader: SecretReader, problems: Problems): Expanded {
  const templates = new Map<string, Template>();
  const broken: Path[] = [];

  const expand = (value: string, path: Path): string => {
    const template = parseTemplate(value);
    if (!hasPlaceholder(template)) return value;
    templates.set(pathText(path), template);
    let sound = true;
    for (const part of template) {
      if (typeof part === 'string') continue;
      if (part.kind === null) {
        const hint = 'write `${env:NAME}` or `${file:PATH}`';
        problems.addAtPlaceholder(path, part.text, 'this placeholder is neither a variable nor a file', hint);
        sound = false;
        continue;
      }
      try {
        problems.conceal(reader.read(part), part.text);
      } catch (error) {
        if (!(error instanceof SourceError)) throw error;
        problems.addAtPlaceholder(path, part.text, error.message, error.hint);
        sound = false;
      }
    }
    if (!sound) broken.push(path);
    return sound && !isSecretPath(path) ? reader.expand(template) : value;
  };

  const walk = (value: unknown, path: Path): unknown => {
    if (typeof value === 'string') return expand(value, path);
    if (Array.isArray(value)) for (const [i, item] of value.entries()) value[i] = walk(item, [...path, i]);
    else if (isRecord(value)) for (const [key, item] of Object.entries(value)) value[key] = walk(item, [...path, key]);
    return value;
  };
  walk(tree, []);
  return { templates, broken };
}
