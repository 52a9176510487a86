/** What is wrong with a YAML block of the docs: as a configuration of lockgate where it is one, else as YAML of its kind. */
import { createHash } from 'node:crypto';
import { parse, parseAllDocuments, stringify } from 'yaml';
import type { Config } from '../../../daemon/core/config.js';
import { ConfigError, formatProblem } from '../../../daemon/core/errors.js';
import { loadConfig } from '../../../daemon/config/load.js';
import type { Block } from './markdown.js';

type Tree = Record<string, unknown>;

const ROOT = ['daemon', 'store', 'databases', 'migrations', 'gates', 'publish', 'alerts'];
const MIGRATION = ['source', 'target', 'forward', 'reverse', 'promotion', 'verify', 'traffic', 'dns', 'maintenance'];

/** What an example that shows a part is put into. */
const BASE = (engine: string): Tree => ({
  databases: {
    onprem: { engine, url: `${engine}://lockgate@db.onprem.example/shop` },
    aws: { engine, url: `${engine}://lockgate@db.aws.example/shop` },
  },
  migrations: {
    shop: {
      source: 'onprem',
      target: 'aws',
      forward: engine === 'mysql' ? { via: 'mysql' } : { via: 'postgres-logical', subscription: 'shop_sub' },
      gates: { 'shift-reads': { require: 'forward.running is 1' } },
    },
  },
});

/** Whether a block is (a part of) lockgate's configuration, and of what; null when it is of something else. */
export function configPart(block: Block): 'root' | 'migration' | 'gate' | null {
  const told = block.marker.get('yaml');
  if (told === 'other') return null;
  if (told === 'root' || told === 'migration' || told === 'gate') return told;
  const tree = firstTree(block.text);
  if (tree === null) return null;
  const keys = Object.keys(tree);
  if (keys.length === 0) return null;
  if (keys.every((key) => ROOT.includes(key))) return 'root';
  if (keys.every((key) => MIGRATION.includes(key))) return 'migration';
  return keys.every((key) => ['require', 'gaps'].includes(key)) ? 'gate' : null;
}

function firstTree(text: string): Tree | null {
  const [first] = parseAllDocuments(text);
  const value: unknown = first !== undefined && 'toJS' in first ? first.toJS() : null;
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Tree) : null;
}

/** The whole configuration that a block is, or is a part of, as text. */
export function wholeConfig(block: Block, part: 'root' | 'migration' | 'gate'): string {
  const shown = parse(block.text) as Tree;
  if (part === 'root' && 'databases' in shown && 'migrations' in shown) return block.text;
  const base = BASE(/mysql/.test(block.text) ? 'mysql' : 'postgres');
  if (part === 'root') return stringify(merge(base, shown));
  const below = part === 'gate' ? { gates: { example: shown } } : shown;
  return stringify(merge(base, { migrations: { shop: below } }));
}

function merge(base: unknown, over: unknown): unknown {
  if (!isTree(base) || !isTree(over)) return over;
  const merged: Tree = { ...base };
  for (const [key, value] of Object.entries(over)) merged[key] = key in base ? merge(base[key], value) : value;
  // Another way of replication has other keys.
  if ('via' in over) for (const key of Object.keys(base)) if (!(key in over)) Reflect.deleteProperty(merged, key);
  return merged;
}

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Loads a configuration of the docs, every secret of which exists. */
export function loadExample(text: string): Config {
  // A secret of its own for each name: two clients with one token are refused.
  const secret = (name: string): string => createHash('md5').update(name).digest('hex');
  const env: Record<string, string> = {};
  for (const [, name = ''] of text.matchAll(/\$\{env:(\w+)\}/g)) env[name] = secret(name);
  return loadConfig({ file: 'lockgate.yaml', text, env, readFile: secret, hostName: 'lockgate-a' });
}

/** What is wrong with a YAML block; empty when nothing is. */
export function problemsOfYaml(block: Block): string[] {
  const documents = parseAllDocuments(block.text);
  if (!Array.isArray(documents)) return ['there is nothing in it'];
  const broken = documents.flatMap((d) => [...d.errors, ...d.warnings].map((e) => e.message));
  if (broken.length > 0) return broken;
  const part = configPart(block);
  if (part === null) return documents.flatMap((d) => problemsOfKind(d.toJS() as unknown));
  try {
    loadExample(wholeConfig(block, part));
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(formatProblem);
    throw error;
  }
}

/** What every object of Kubernetes has to have, and what a workflow or a pipeline has; the rest is told by its own tools. */
function problemsOfKind(tree: unknown): string[] {
  if (!isTree(tree)) return [];
  const wrong: string[] = [];
  if ('apiVersion' in tree || 'kind' in tree) {
    for (const key of ['apiVersion', 'kind', 'metadata']) if (!(key in tree)) wrong.push(`it has no ${key}`);
    const { metadata } = tree;
    if (isTree(metadata) && !('name' in metadata)) wrong.push('its metadata has no name');
  }
  if (isTree(tree['jobs']) && !('on' in tree)) wrong.push('a workflow says on what it runs');
  return wrong;
}
