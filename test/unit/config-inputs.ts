import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Config } from '../../daemon/core/config.js';
import { ConfigError, formatProblem } from '../../daemon/core/errors.js';
import { loadConfig } from '../../daemon/config/load.js';

/** The folder of fixtures that no configuration may look like. */
export const BAD = fileURLToPath(new URL('../fixtures/bad/', import.meta.url));
const GOOD = fileURLToPath(new URL('../fixtures/lockgate.yaml.txt', import.meta.url));

/** Values that must not be seen in any message. */
export const ENV: Record<string, string> = {
  PW: 'p@ss:w/rd%41?#',
  LOCKGATE_TOKEN: 'operator-token-0123456789',
  TOKEN_A: 'token-a-0123456789',
  TOKEN_B: 'token-b-0123456789',
  EMPTY: '',
};

/** Loads a text as the configuration `file`, with files that exist only here. */
export function load(text: string, files: Record<string, string> = {}, file = 'lockgate.yaml'): Config {
  const readFile = (path: string): string => {
    const found = files[path];
    if (found === undefined) throw Object.assign(new Error(`ENOENT: ${path}`), { code: 'ENOENT' });
    return found;
  };
  return loadConfig({ file, text, env: ENV, readFile, hostName: 'db-watch-1' });
}

/** Every problem of a text, as it would be printed; empty when it is good. */
export function problemsIn(text: string, files: Record<string, string> = {}, file = 'lockgate.yaml'): string[] {
  try {
    load(text, files, file);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems.map(formatProblem);
    throw error;
  }
}

/** Every problem of a fixture. */
export function problemsOf(name: string): string[] {
  return problemsIn(readFileSync(join(BAD, name), 'utf8'), { empty: '\n' }, name);
}

/** The text of the good example. */
export function goodText(): string {
  return readFileSync(GOOD, 'utf8');
}

/** A configuration of one migration, `shop`, with further YAML under it and at top level. */
export function small(parts: { shop?: string; top?: string; onprem?: string; forward?: string } = {}): string {
  const indented = (text: string, by: number) => text.replace(/^(?=.)/gm, ' '.repeat(by));
  return [
    'databases:',
    `  onprem: ${parts.onprem ?? '{ engine: postgres, url: "postgres://lockgate@localhost:5432/app" }'}`,
    '  aws: { engine: postgres, url: "postgres://lockgate@localhost:5433/app" }',
    'migrations:',
    '  shop:',
    '    source: onprem',
    '    target: aws',
    `    forward: ${parts.forward ?? '{ via: postgres-logical, subscription: shop_sub }'}`,
    ...(parts.shop === undefined ? [] : [indented(parts.shop, 4)]),
    ...(parts.top === undefined ? [] : [parts.top]),
    '',
  ].join('\n');
}
