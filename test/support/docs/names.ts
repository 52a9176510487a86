/** What there is to be named in the docs: commands and options, metrics, keys of the configuration. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runCli } from '../../../daemon/cli/program.js';
import { configJsonSchema } from '../../../daemon/config/json-schema.js';
import { createMetrics } from '../../../daemon/publish/prometheus.js';
import { FakeIo, noBackend } from '../fake-io.js';
import { FakePort } from '../fake-port.js';
import { root } from './markdown.js';

/** The command line: every command by its words, with its options. */
export async function commandLine(): Promise<Map<string, Set<string>>> {
  const found = new Map<string, Set<string>>();
  const read = async (words: string[]): Promise<void> => {
    const io = new FakeIo();
    io.columns = 200;
    await runCli([...words, '--help'], io, noBackend);
    const options = new Set([...io.out.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map((m) => m[1] ?? ''));
    found.set(words.join(' '), options);
    const list = /^Commands:\n((?: {2}.*\n)+)/m.exec(io.out)?.[1] ?? '';
    for (const m of list.matchAll(/^ {2}(\w+)/gm)) {
      const word = m[1] ?? '';
      if (word !== 'help') await read([...words, word]);
    }
  };
  await read([]);
  return found;
}

/** What is wrong with a `lockgate …` command as it is written somewhere; null when all of it exists. */
export function wrongCommand(text: string, known: ReadonlyMap<string, ReadonlySet<string>>): string | null {
  const words = text.replace(/^lockgate\s*/, '').split(/\s+/);
  if (words[0]?.startsWith('-') === true || words[0] === '') return null;
  const [first = '', second = ''] = words;
  const command = known.has(`${first} ${second}`) ? `${first} ${second}` : first;
  const options = known.get(command);
  if (options === undefined) return `there is no command \`lockgate ${first}\``;
  for (const m of text.replace(/"[^"]*"|'[^']*'/g, '').matchAll(/(?<=\s)--[a-z][\w-]*/g)) {
    if (!options.has(m[0])) return `\`lockgate ${command}\` has no option ${m[0]}`;
  }
  return null;
}

/** The names of all metrics of lockgate's own; those of a histogram end in `_bucket`, `_sum` and `_count` as well. */
export async function metricNames(): Promise<Set<string>> {
  const metrics = createMetrics(new FakePort(), { nodeVersion: 'v20', processDefaults: false });
  const names = [...(await metrics.text()).matchAll(/^# TYPE (\S+)/gm)].map((m) => m[1] ?? '');
  return new Set(names);
}

/** A JSON Schema as far as it names keys. */
interface Keys {
  properties?: Record<string, Keys>;
  additionalProperties?: Keys | boolean;
  items?: Keys;
  anyOf?: Keys[];
  oneOf?: Keys[];
}

/** Whether the configuration has such a key, `*` standing for a name of the user's (`store.path`, `publish.cloudwatch`). */
export function hasConfigKey(path: readonly string[]): boolean {
  return reach(configJsonSchema(), path);
}

function reach(schema: Keys, path: readonly string[]): boolean {
  const [key, ...rest] = path;
  if (key === undefined) return true;
  const below = schema.properties?.[key];
  if (below !== undefined && reach(below, rest)) return true;
  const more = [...(schema.anyOf ?? []), ...(schema.oneOf ?? [])];
  if (schema.items !== undefined) more.push(schema.items);
  if (more.some((each) => reach(each, path))) return true;
  const any = schema.additionalProperties;
  return typeof any === 'object' && (reach(any, rest) || reach(any, path));
}

/** The scripts of package.json. */
export function npmScripts(): Set<string> {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object };
  return new Set(Object.keys(scripts));
}
