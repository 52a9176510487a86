/** What the examples of docs/integrations.md rely on, taken from the page itself, so that the page cannot part from it. */
import { parseAllDocuments } from 'yaml';
import { readPages, type Block } from './markdown.js';

function blocks(lang: string): Block[] {
  return (readPages().get('docs/integrations.md')?.blocks ?? []).filter((block) => block.lang === lang);
}

/** The objects of Kubernetes that the page shows, by their kind. */
export function shownObject(kind: string): Record<string, unknown> {
  for (const block of blocks('yaml')) {
    for (const document of parseAllDocuments(block.text)) {
      const tree = 'toJS' in document ? (document.toJS() as Record<string, unknown> | null) : null;
      if (tree?.['kind'] === kind) return tree;
    }
  }
  throw new Error(`docs/integrations.md shows no ${kind}`);
}

/** The only block of its language on the page. */
export function shownText(lang: string): string {
  const [only, ...more] = blocks(lang);
  if (only === undefined || more.length > 0) throw new Error(`docs/integrations.md shows ${lang} once, it was thought`);
  return only.text;
}

/** What a JSON path of the two kinds that the page uses (`$.a.b`, `{$.a.b}`) finds. */
export function atPath(tree: unknown, path: string): unknown {
  const keys = /^\{?\$\.([\w.]+)\}?$/.exec(path)?.[1]?.split('.');
  if (keys === undefined) throw new Error(`this is not a path that is understood here: ${path}`);
  return keys.reduce<unknown>(
    (found, key) => (typeof found === 'object' && found !== null ? (found as Record<string, unknown>)[key] : undefined),
    tree,
  );
}

/** Whether a condition of Argo Rollouts of the form `result == "word"` is true. */
export function argoCondition(condition: string, result: unknown): boolean {
  const word = /^result == "(\w+)"$/.exec(condition)?.[1];
  if (word === undefined) throw new Error(`this is not a condition that is understood here: ${condition}`);
  return result === word;
}

/** How a measurement of Argo Rollouts ends, as its documentation says for metrics with both conditions. */
export function argoPhase(metric: { successCondition: string; failureCondition: string }, result: unknown): string {
  if (argoCondition(metric.failureCondition, result)) return 'Failed';
  return argoCondition(metric.successCondition, result) ? 'Successful' : 'Inconclusive';
}
