/** The files of deploy/ that lockgate itself prints: SQL, alerting rules and alarms for the example configurations there. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { postgresEngine } from '../../../collectors/postgres/engine.js';
import { mysqlEngine } from '../../../collectors/mysql/engine.js';
import { LazyAws } from '../../../collectors/session/lazy-aws.js';
import { createBackend } from '../../../daemon/app.js';
import type { Backend } from '../../../daemon/cli/backend.js';
import { runCli } from '../../../daemon/cli/program.js';
import { loadConfig } from '../../../daemon/config/load.js';
import type { Config } from '../../../daemon/core/config.js';
import { FakeIo } from '../fake-io.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const rule = 'deploy/kubernetes/overlays/example/prometheus-rule.yaml';
const remake = '`npm run deploy:generate` makes this file';

/** Loads an example of deploy/ as the daemon would, with something in the place of each secret; throws with every problem. */
export function exampleConfig(file: string): Config {
  const text = readFileSync(root + file, 'utf8');
  const names = [...text.matchAll(/\$\{env:(\w+)\}/g)].map(([, name = '']) => name);
  const env = Object.fromEntries(names.map((name) => [name, `secret-of-${name}`]));
  return loadConfig({ file, text, env, readFile: (path) => `secret-of-${path}`, hostName: 'example' });
}

/** Returns every such file by its path below the project, with the content that it ought to have. */
export async function generatedFiles(): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (const name of readdirSync(`${root}deploy/sql`).filter((each) => each.endsWith('.yaml'))) {
    const config = `deploy/sql/${name}`;
    for (const database of exampleConfig(config).databases.keys()) {
      const sql = await printed(['grants', '--config', config, '--database', database]);
      const path = config.replace(/\.yaml$/, `-${database}.sql`);
      files.set(path, `-- What \`lockgate grants\` prints for ${name}; ${remake}.\n${sql.trimEnd()}\n`);
    }
  }
  const alarms = await printed(['rules', 'cloudwatch', '--config', 'deploy/aws/image/lockgate.yaml']);
  files.set('deploy/aws/alarms.yaml', `# ${remake}.\n${alarms}`);
  const rules = await printed(['rules', 'prometheus', '--config', rule.replace('prometheus-rule', 'lockgate')]);
  const head = [
    'apiVersion: monitoring.coreos.com/v1',
    'kind: PrometheusRule',
    'metadata:',
    '  name: lockgate',
    'spec:',
  ];
  const spec = rules.split('\n').map((line) => (line === '' ? '' : `  ${line}`));
  files.set(rule, [`# ${remake}.`, ...head, ...spec].join('\n'));
  return files;
}

/** Writes all of them. */
export async function writeGenerated(): Promise<void> {
  for (const [path, text] of await generatedFiles()) {
    writeFileSync(root + path, text);
    process.stdout.write(`${path}\n`);
  }
}

/** What the command prints, with the examples' secrets made up. */
async function printed(argv: readonly string[]): Promise<string> {
  const io = new FakeIo();
  const code = await runCli(argv, io, () => Promise.resolve(backend(io)));
  if (code !== 0) throw new Error(`lockgate ${argv.join(' ')} ended with ${code}: ${io.err}`);
  return io.out;
}

function backend(io: FakeIo): Backend {
  const log = { debug: ignore, info: ignore, warn: ignore, error: ignore };
  const versions = { version: io.version, nodeVersion: process.version };
  const engines = [postgresEngine, mysqlEngine];
  const made = createBackend({ ...versions, clock: io.clock, env: {}, log, engines, services: [], aws: new LazyAws() });
  return { ...made, loadConfig: (file) => Promise.resolve().then(() => exampleConfig(file)) };
}

function ignore(): void {
  // Nothing is logged by commands that only print.
}
