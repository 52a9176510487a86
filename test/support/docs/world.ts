/**
 * What the commands of the docs meet when the tests run them: a real pair of PostgreSQL servers with replication both ways,
 * and a real daemon with the configuration of docs/runbook.md. What differs from the reader's world is only what `adapt`
 * says: addresses, passwords, how long gates hold, and names of files.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { parse, stringify } from 'yaml';
import { formatCondition } from '../../../daemon/core/condition.js';
import { freePort, waitFor } from '../../../deploy/demo/run-folder.js';
import { prepareWayBack } from '../cutover-postgres.js';
import { workspace, type Daemon, type Workspace } from '../lockgate.js';
import { withoutPrometheus } from '../flavours.js';
import { runAll, startPair, type Pair } from '../pair.js';
import { prometheusTools } from '../prometheus.js';
import { setUp } from '../scenario-setup.js';
import { readPages, root, type Block } from './markdown.js';
import { Shell } from './shell.js';
import { loadExample } from './yaml-blocks.js';

/** Holds of gates are cut to this, because nobody waits ten minutes for a test. */
const HOLD_US = 1_000_000;

/** Pages on which gates open and close as their steps are worked. */
const NIGHT: readonly string[] = [
  ...['README.md', 'docs/getting-started.md', 'docs/dual-write.md'],
  ...['docs/runbook.md', 'docs/cutover.md'],
];

/** With which webhooks are signed. */
export const HOOK_SECRET = 'heron-of-the-docs-51';

/** The world of the docs. */
export interface World {
  readonly pair: Pair;
  readonly daemon: Daemon;
  readonly lockgate: Workspace;
  /** Programs that commands of the docs call and that are missing on this machine, or left out of this run. */
  readonly missing: ReadonlySet<string>;
  /** What was told to those who are alerted. */
  readonly told: readonly Told[];
  /** A folder and a shell for one page. */
  page(name: string): PageWorld;
  destroy(): Promise<void>;
}

/** A request of an alert, as it arrived. */
export interface Told {
  readonly sink: 'webhook' | 'pagerduty';
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** What a page has of its own. */
export interface PageWorld {
  readonly folder: string;
  /** Where the commands of the page find their daemon: the shared one, until the page starts its own. */
  url(): string;
  /** Writes the reader's file that a block is. */
  file(block: Block): void;
  /** A command as it is run here. */
  adapt(text: string): Promise<string>;
  run(text: string, timeoutMs: number): Promise<{ code: number; output: string }>;
  /** Starts the daemon that the page tells to run in the foreground. */
  startOwn(): Promise<void>;
  destroy(): Promise<void>;
}

/** The configuration of docs/runbook.md with the holds cut short and somebody to be alerted. */
export function worldYaml(pair: Pair, hook: string): (port: number) => string {
  const block = readPages()
    .get('docs/runbook.md')
    ?.blocks.find(({ marker }) => marker.has('file'));
  if (block === undefined) throw new Error('docs/runbook.md shows no configuration');
  const gates: Record<string, unknown> = {};
  for (const gate of loadExample(block.text).migrations.get('shop')?.gates.values() ?? []) {
    gates[gate.name] = {
      require: gate.require.map((c) => formatCondition({ ...c, forUs: Math.min(c.forUs, HOLD_US) }, 'migration')),
    };
  }
  // For pages that show how one is asked.
  gates['never-known'] = { require: 'attest.nobody-does.age < 1d' };
  gates['always-open'] = { require: 'source.reachable is 1' };
  gates['always-closed'] = { require: 'source.reachable is 0' };
  return (port) => {
    const tree = parse(addresses(block.text, pair, port)) as {
      daemon: { id: string };
      migrations: { shop: { gates: unknown } };
    };
    tree.daemon.id = 'docs';
    tree.migrations.shop.gates = gates;
    const alerts = {
      webhook: { url: `${hook}/hook`, secret: HOOK_SECRET },
      pagerduty: { routing_key: '0123456789abcdef0123456789abcdef', endpoint: hook },
      // One that fires at once, to see what is told.
      rules: [{ name: 'something', when: 'source.reachable is 1', severity: 'info' }],
    };
    return stringify({ ...tree, alerts });
  };
}

/** Addresses and passwords as they are here. */
function addresses(text: string, pair: Pair, port: number): string {
  return text
    .replaceAll('db.onprem.example:5432/shop', `127.0.0.1:${pair.source.port}/${pair.database}`)
    .replaceAll('db.aws.example:5432/shop', `127.0.0.1:${pair.target.port}/${pair.database}`)
    .replaceAll('127.0.0.1:9188', `127.0.0.1:${port}`)
    .replace(/\$\{env:\w+_PW\}/g, 'pw');
}

/** Starts servers, setup, daemon and the one who takes alerts. */
export async function startWorld(): Promise<World> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    const pair = await startPair({ sourceSettings: { wal_retrieve_retry_interval: '500ms' } });
    cleanups.push(() => pair.destroy());
    await prepareWayBack(pair, true);
    // The application's own role, which a cutover locks out.
    for (const run of [pair.onSource, pair.onTarget]) await run('create role shop_app login');
    const told: Told[] = [];
    const hook = await startHook(cleanups, told);
    const lockgate = await workspace(worldYaml(pair, hook));
    cleanups.push(() => lockgate.destroy());
    await setUp(lockgate, pair);
    const daemon = await lockgate.start();
    const tools = withoutPrometheus ? null : await prometheusTools();
    return {
      ...{ pair, daemon, lockgate, told, missing: missingTools(tools) },
      page: (name) => pageWorld(name, pair, lockgate, tools),
      destroy: () => runAll(cleanups),
    };
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}

async function startHook(cleanups: (() => Promise<void>)[], told: Told[]): Promise<string> {
  const server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const sink = request.url === '/hook' ? 'webhook' : 'pagerduty';
      told.push({ sink, headers: request.headers, body });
      response.writeHead(sink === 'webhook' ? 204 : 202).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What of the programs that the docs call cannot be run here. */
function missingTools(tools: string | null): Set<string> {
  const missing = ['curl', 'python3', 'openssl'].filter(
    (name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0,
  );
  return new Set([...missing, ...(tools === null ? ['promtool', 'amtool'] : [])]);
}

function pageWorld(name: string, pair: Pair, lockgate: Workspace, tools: string | null): PageWorld {
  const folder = join(lockgate.folder, name.replaceAll('/', '-'));
  const bin = join(folder, 'bin');
  mkdirSync(bin, { recursive: true });
  const main = process.env['LOCKGATE_TEST_MAIN'];
  const node = main === undefined ? `--import tsx ${join(root, 'daemon/main.ts')}` : main;
  program(join(bin, 'lockgate'), `cd ${folder} && exec ${process.execPath} ${node} "$@"`);
  // What is built, for `node $PWD/dist/daemon/main.js`.
  if (main !== undefined) symlinkSync(dirname(dirname(main)), join(folder, 'dist'));
  // A copy: what a page writes there stays with the page.
  cpSync(join(root, 'deploy'), join(folder, 'deploy'), { recursive: true });
  const cloudwatch = { publish: { cloudwatch: { region: 'eu-west-1' } } };
  const base = parse(readFileSync(lockgate.configFile, 'utf8')) as object;
  writeFileSync(join(folder, 'lockgate.yaml'), stringify({ ...base, ...cloudwatch }));
  const shell = new Shell(folder, {
    PATH: [bin, process.env['PATH'] ?? '', ...(tools === null ? [] : [tools])].join(':'),
    ...{ LOCKGATE_URL: lockgate.url, LOCKGATE_TOKEN: 'pw', ONPREM_PW: 'pw', AWS_PW: 'pw' },
    ONPREM_ADMIN: pair.source.adminUrl(pair.database),
    AWS_ADMIN: pair.target.adminUrl(pair.database),
  });
  let url = lockgate.url;
  let own: ChildProcess | null = null;
  let port = 0;

  const latestFence = async (): Promise<string> => {
    const response = await fetch(`${url}/v1/migrations/shop/fences`);
    const { fences } = (await response.json()) as { fences: { id: string }[] };
    return fences[0]?.id ?? 'none';
  };
  return {
    folder,
    url: () => url,
    file(block) {
      const told = block.marker.get('file') ?? '';
      port = Number(new URL(url).port);
      const text = addresses(block.text, pair, port).replace(/ for \d+ ?(s|m|min)\b/g, ' for 1s');
      writeFileSync(join(folder, told), text);
    },
    async adapt(text) {
      // The reader's own scripts: nothing writes here, so that there is nothing to stop.
      for (const m of text.matchAll(/\.\/([\w-]+\.sh)/g)) {
        const script = join(folder, m[1] ?? '');
        if (!existsSync(script)) program(script, 'exit 0');
      }
      let here = text
        .replace(/https?:\/\/(127\.0\.0\.1|lockgate(\.internal)?|[ab](\.example)?):9188/g, url)
        .replaceAll('/etc/prometheus/', `${folder}/`)
        .replaceAll('/etc/lockgate/', `${folder}/`)
        .replace(/\b(\w+_PW|LOCKGATE_TOKEN)=…/g, '$1=pw');
      // Elsewhere it is about how one asks; the gates of the night are opened by the page of the night.
      if (!NIGHT.includes(name)) here = here.replace(/shop\/(shift-reads|may-write|flip-writes)/g, 'shop/always-open');
      return /\b[a-z0-9]{8}-[0-9a-f]{6}\b/.test(here)
        ? here.replace(/\b[a-z0-9]{8}-[0-9a-f]{6}\b/g, await latestFence())
        : here;
    },
    run: (text, timeoutMs) => shell.run(text, timeoutMs),
    async startOwn() {
      port = await freePort();
      const file = join(folder, 'lockgate.yaml');
      writeFileSync(file, readFileSync(file, 'utf8').replaceAll(new URL(url).host, `127.0.0.1:${port}`));
      let log = '';
      own = spawn(join(bin, 'lockgate'), ['run', '--config', 'lockgate.yaml'], {
        env: { ...process.env, ONPREM_PW: 'pw', AWS_PW: 'pw' },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      own.stderr?.on('data', (chunk: Buffer) => void (log += chunk.toString()));
      own.stdout?.resume();
      url = `http://127.0.0.1:${port}`;
      await waitFor(`the daemon of ${name} to be ready`, 15_000, async () => {
        if (own?.exitCode !== null) throw new Error(`the daemon of ${name} ended:\n${log}`);
        return fetch(`${url}/readyz`).then(
          (r) => r.ok,
          () => false,
        );
      });
    },
    async destroy() {
      shell.end();
      if (own === null || own.exitCode !== null) return;
      const ended = new Promise<number | null>((resolve) => own?.once('exit', resolve));
      own.kill('SIGTERM');
      const code = await ended;
      if (code !== 0) throw new Error(`the daemon of ${name} ended with ${String(code)}`);
    },
  };
}

function program(file: string, text: string): void {
  writeFileSync(file, `#!/bin/sh\n${text}\n`);
  chmodSync(file, 0o755);
}
