/**
 * The demo as Prometheus sees it: scraped each second, with the rules of its migration, and beside it a second daemon on the
 * same databases that has what the demo has not: DMS, traffic, DNS, CloudWatch, alerts and their sinks. The AWS, resolver,
 * Prometheus and sinks that it talks to are loopback stand-ins; the daemons, databases and the Prometheus that watches are real.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { parse } from 'yaml';
import { load } from '../unit/config-inputs.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { DmsWorld, table } from './aws/dms-world.js';
import { startFakeAws } from './aws/fake.js';
import type { Demo } from './demo-process.js';
import { startFakePrometheus, vector } from './fake-prometheus.js';
import { startFakeResolver } from './fake-resolver.js';
import { workspace, type Daemon } from './lockgate.js';
import { startPrometheus } from './prometheus.js';
import { runAll } from './pair.js';
import { rulesText } from './rules.js';

/** How often is scraped and evaluated. */
const EVERY = '1s';

/** One series of an answer. */
export interface SeenSeries {
  readonly metric: Record<string, string>;
  readonly values: [at: number, value: string][];
}

/** What was seen. */
export interface ObservedDemo {
  /** The rules that Prometheus evaluated, as text. */
  readonly rules: string;
  /** What each daemon said of its metrics when all was well. */
  readonly scrapes: string[];
  /** Accompanies the demo to its end: the second daemon comes as soon as the databases are set up, and leaves before it. */
  follow(demo: Demo): Promise<void>;
  /** The samples of a query over all that was scraped, by second; throws with what Prometheus says of a query that it refuses. */
  query(expr: string): Promise<SeenSeries[]>;
  stop(): Promise<void>;
}

/** Begins to watch the demo whose API is going to be on this port. */
export async function observeDemo(port: number): Promise<ObservedDemo> {
  const undo: (() => Promise<void>)[] = [];
  try {
    return await begin(port, undo);
  } catch (error) {
    await runAll(undo);
    throw error;
  }
}

async function begin(port: number, undo: (() => Promise<void>)[]): Promise<ObservedDemo> {
  const aws = await startFakeAws();
  undo.push(() => aws.close());
  const dms = new DmsWorld(aws);
  const task = dms.addTask('CRM', [], {
    ReplicationTaskSettings: '{"ValidationSettings":{"EnableValidation":true}}',
  });
  dms.tables.set(
    task,
    ['orders', 'customers'].map((name) => table(name, { ValidationState: 'Validated' })),
  );
  aws.cloudwatch.series = ['CDCLatencySource', 'CDCLatencyTarget'].map((metric) => ({
    namespace: 'AWS/DMS',
    metric,
    dimensions: { ReplicationInstanceIdentifier: 'instance-of-crm', ReplicationTaskIdentifier: 'CRM' },
    points: [{ at: new Date(Date.now() - 60_000), value: 3 }],
  }));
  const asked = await startFakePrometheus();
  undo.push(() => asked.close());
  asked.answer = ({ params }) => {
    const at = Date.now() / 1000;
    return vector(at, params.get('query')?.startsWith('timestamp') === true ? at.toFixed(3) : '0.2');
  };
  const resolver = await startFakeResolver();
  undo.push(() => resolver.close());
  resolver.answer = (type) => ({
    authoritative: true,
    records: type === 'A' ? [{ owner: 'app.example.com', ttl: 30, type }] : [],
  });
  const sink = await takesAll(undo);

  const crm = {
    source: 'onprem',
    target: 'aws',
    forward: { via: 'dms', dms: { tasks: [task], region: 'eu-west-1', every: '2s', endpoint: aws.endpoint } },
    traffic: { errors: { prometheus: asked.url, query: 'errors', every: '1s', unit: '%' } },
    dns: { app: { name: 'app.example.com', resolver: resolver.address } },
    gates: {
      ramp: { require: ['traffic.errors < 0.5%', 'dns.app.ttl <= 60s', 'attest.backup.age < 1d'] },
      loaded: { require: 'dms.tables_pending is 0' },
    },
  };
  const services = {
    gates: { 'all-ready': { require: 'gate crm/ramp open' } },
    publish: {
      cloudwatch: {
        region: 'eu-west-1',
        namespace: 'Lockgate',
        every: '1s',
        high_resolution: true,
        endpoint: aws.endpoint,
      },
    },
    alerts: {
      resolve_after: '1s',
      webhook: { url: sink },
      rules: [{ name: 'ramp-open', when: 'gate crm/ramp open', severity: 'info' }],
    },
  };
  const rules = await rulesText(
    load(
      JSON.stringify({
        databases: {
          onprem: { engine: 'postgres', url: 'postgres://l@a/app' },
          aws: { engine: 'postgres', url: 'postgres://l@b/app' },
        },
        migrations: { crm, shop: SHOP },
        ...services,
      }),
    ),
  );

  let second = null as Daemon | null;
  const home = await workspace(() => '');
  const secondPort = Number(new URL(home.url).port);
  undo.push(() => home.destroy());
  const rulesFile = join(home.folder, 'lockgate.rules.yml');
  writeFileSync(rulesFile, rules);
  const prometheus = await startPrometheus(
    [
      `global: { scrape_interval: ${EVERY}, scrape_timeout: ${EVERY}, evaluation_interval: ${EVERY} }`,
      `rule_files: [ ${JSON.stringify(rulesFile)} ]`,
      'scrape_configs:',
      `  - { job_name: lockgate, static_configs: [ { targets: [ "127.0.0.1:${port}", "127.0.0.1:${secondPort}" ] } ] }`,
    ].join('\n'),
  );
  undo.push(() => prometheus.stop());
  const from = Date.now() / 1000;
  const scrapes: string[] = [];
  const scrape = async (of: number): Promise<void> => {
    const answer = await fetch(`http://127.0.0.1:${of}/metrics`, { signal: AbortSignal.timeout(5_000) });
    scrapes.push(await answer.text());
  };

  const joins = async (demoFolder: string): Promise<void> => {
    const { databases, shop } = demoConfig(demoFolder);
    home.write(
      JSON.stringify({
        daemon: { id: 'second', listen: `127.0.0.1:${secondPort}` },
        store: { path: join(home.folder, 'lockgate.db') },
        databases,
        migrations: { crm, shop },
        ...services,
      }),
    );
    const daemon = await home.start({
      AWS_ACCESS_KEY_ID: 'AKIATEST',
      AWS_SECRET_ACCESS_KEY: 'secret',
      AWS_ENDPOINT_URL_CLOUDWATCH: aws.endpoint,
      AWS_CONFIG_FILE: '/nonexistent',
      AWS_SHARED_CREDENTIALS_FILE: '/nonexistent',
      AWS_EC2_METADATA_DISABLED: 'true',
    });
    second = daemon;
    const attested = await fetch(`${daemon.url}/v1/migrations/crm/attestations/backup`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ by: 'a test', note: 'restored' }),
    });
    if (!attested.ok) throw new Error(`not attested: ${await attested.text()}`);
    await scrape(port);
    await scrape(secondPort);
  };

  return {
    rules,
    scrapes,
    async follow(demo) {
      let ended = false;
      void demo.exit.then(() => (ended = true));
      const told = (text: string): Promise<boolean> =>
        waitFor(`the demo to say "${text}"`, 90_000, () => ended || demo.output().includes(text));
      await told('/check answers 200');
      if (ended) return;
      await joins(demo.folder);
      await told('then stops, and both sides are counted');
      await second?.stop();
      await demo.exit;
    },
    async query(expr) {
      const body = new URLSearchParams({ query: expr, start: String(from), end: String(Date.now() / 1000), step: '1' });
      const answer = await fetch(`${prometheus.url}/api/v1/query_range`, {
        method: 'POST',
        body,
        signal: AbortSignal.timeout(10_000),
      });
      const said = (await answer.json()) as { status: string; error?: string; data?: { result: SeenSeries[] } };
      if (said.data === undefined) throw new Error(`${said.error ?? said.status}: ${expr}`);
      return said.data.result;
    },
    stop: () => runAll(undo),
  };
}

/** As far as rules depend on it, the migration of the demo, in a maintenance window that never ends. */
const SHOP = {
  source: 'onprem',
  target: 'aws',
  forward: { via: 'postgres-logical', subscription: 's' },
  reverse: { via: 'postgres-logical', subscription: 'r' },
  maintenance: [{ from: '2001-01-01T00:00:00Z', to: '2101-01-01T00:00:00Z', note: 'always' }],
  gates: { 'rollback-ready': { require: 'direction.reverse is 1' } },
};

/**
 * The demo's own databases and migration, for a second daemon that watches the same: it reads no log, because one reader is
 * enough, and it knows how much log may be kept, without which there is no runway.
 */
function demoConfig(folder: string): { databases: Record<string, object>; shop: object } {
  const [name = ''] = readdirSync(folder).filter((n) => n.startsWith('lockgate-'));
  const { databases, migrations } = parse(readFileSync(join(folder, name, 'lockgate.yaml'), 'utf8')) as {
    databases: Record<string, object>;
    migrations: { shop: { forward: object; reverse: object } };
  };
  const { shop } = migrations;
  return {
    databases: Object.fromEntries(Object.entries(databases).map(([k, v]) => [k, { ...v, read: 'off' }])),
    shop: {
      ...shop,
      forward: { ...shop.forward, retention_limit: '10GiB' },
      reverse: { ...shop.reverse, retention_limit: '10GiB' },
    },
  };
}

/** A webhook that takes whatever comes; returns its address. */
async function takesAll(undo: (() => Promise<void>)[]): Promise<string> {
  const server = createServer((request, response) => {
    request.resume();
    request.on('end', () => response.writeHead(204).end());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
