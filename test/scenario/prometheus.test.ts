/** The whole way: a real fault, the real daemon, a real Prometheus with the generated rules, a real Alertmanager, and a pager. */
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { withoutPrometheus } from '../support/flavours.js';
import { workspace, type Daemon, type Workspace } from '../support/lockgate.js';
import { runAll, startPair, type Pair } from '../support/pair.js';
import {
  prometheusTools,
  runTool,
  startAlertmanager,
  startPrometheus,
  type ToolServer,
} from '../support/prometheus.js';
import { scenarioYaml, setUp } from '../support/scenario-setup.js';

const token = 'heron-TOKEN-1187-for-scrapes';
const routingKey = '0123456789abcdef0123456789abcdef';

/** An event as PagerDuty's Events API v2 takes it. */
interface PagerEvent {
  routing_key: string;
  event_action: string;
  dedup_key: string;
  client?: string;
  payload: {
    summary: string;
    source: string;
    severity: string;
    component?: string;
    group?: string;
    custom_details: Record<string, string>;
  };
}

/** What PagerDuty would refuse, as its documentation says. */
function faultsOf(event: Partial<PagerEvent>): string[] {
  const wrong: string[] = [];
  const refuse = (fault: boolean, what: string): void => {
    if (fault) wrong.push(what);
  };
  refuse(event.routing_key !== routingKey, 'routing_key');
  refuse(!['trigger', 'acknowledge', 'resolve'].includes(event.event_action ?? ''), 'event_action');
  refuse((event.dedup_key ?? '') === '' || (event.dedup_key?.length ?? 0) > 255, 'dedup_key');
  if (event.event_action !== 'trigger') return wrong;
  const { summary = '', source = '', severity = '' } = event.payload ?? {};
  refuse(summary === '' || summary.length > 1024, 'summary');
  refuse(source === '', 'source');
  refuse(!['critical', 'error', 'warning', 'info'].includes(severity), 'severity');
  return wrong;
}

const undo: (() => Promise<void>)[] = [];
const events: PagerEvent[] = [];
const refused: string[] = [];
let pair: Pair;
let lockgate: Workspace;
let daemon: Daemon;
let prometheus: ToolServer;
let alertmanager: ToolServer;
let rules: string;

/** The example file of the distribution with what belongs to one machine replaced; every replacement must hit. */
function example(name: string, replacements: readonly (readonly [string, string])[]): string {
  let text = readFileSync(new URL(`../../deploy/prometheus/${name}`, import.meta.url), 'utf8');
  for (const [from, to] of replacements) {
    expect(text, `${name} says ${from}`).toContain(from);
    text = text.replaceAll(from, to);
  }
  return text;
}

async function pager(): Promise<string> {
  const server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const event = JSON.parse(body) as PagerEvent;
      const wrong = request.url === '/v2/enqueue' ? faultsOf(event) : [`${String(request.url)} is not the address`];
      if (wrong.length === 0) events.push(event);
      else refused.push(`${wrong.join(', ')}: ${body}`);
      response.writeHead(wrong.length === 0 ? 202 : 400, { 'content-type': 'application/json' });
      response.end(JSON.stringify({ status: 'success', message: 'Event processed', dedup_key: event.dedup_key }));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undo.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/v2/enqueue`;
}

/** The samples that a query yields now. */
async function query(promql: string): Promise<{ metric: Record<string, string>; value: [number, string] }[]> {
  const url = `${prometheus.url}/api/v1/query?query=${encodeURIComponent(promql)}`;
  const response = await fetch(url, { signal: AbortSignal.timeout(5_000) });
  const answer = (await response.json()) as {
    data: { result: { metric: Record<string, string>; value: [number, string] }[] };
  };
  return answer.data.result;
}

async function metrics(): Promise<string> {
  const headers = { authorization: `Bearer ${token}` };
  return (await fetch(`${daemon.url}/metrics`, { headers, signal: AbortSignal.timeout(5_000) })).text();
}

describe.skipIf(withoutPrometheus)('Prometheus and Alertmanager', () => {
  beforeAll(async () => {
    await prometheusTools();
    pair = await startPair();
    undo.push(() => pair.destroy());
    const yaml = scenarioYaml(pair, { via: 'postgres-logical' });
    lockgate = await workspace((port) =>
      yaml(port).replace(
        /daemon: \{ (.*) \}/,
        `daemon: { $1, auth: { tokens: [ { name: prometheus, token: ${token}, role: reader } ] } }`,
      ),
    );
    undo.push(() => lockgate.destroy());
    await setUp(lockgate, pair);
    daemon = await lockgate.start();

    const alerting = join(lockgate.folder, 'alerting.yaml');
    const rule = '{ name: forward-stopped, when: "forward.running == 0 for 2s", severity: critical }';
    writeFileSync(
      alerting,
      `${readFileSync(lockgate.configFile, 'utf8')}\nalerts: { resolve_after: 1s, rules: [ ${rule} ] }\n`,
    );
    const rulesFile = join(lockgate.folder, 'lockgate.rules.yml');
    const made = await lockgate.run(['rules', 'prometheus', '--config', alerting, '--out', rulesFile]);
    expect(made).toEqual({ code: 0, stdout: '', stderr: '' });
    rules = readFileSync(rulesFile, 'utf8');

    const keyFile = join(lockgate.folder, 'pagerduty.key');
    writeFileSync(keyFile, `${routingKey}\n`);
    alertmanager = await startAlertmanager(
      example('alertmanager.yml', [
        ['/etc/alertmanager/pagerduty.key', keyFile],
        ['url: https://events.pagerduty.com/v2/enqueue', `url: ${await pager()}`],
        ['group_wait: 10s', 'group_wait: 0s'],
        ['group_interval: 1m', 'group_interval: 1s'],
      ]),
    );
    undo.push(() => alertmanager.stop());
    const tokenFile = join(lockgate.folder, 'scrape.token');
    writeFileSync(tokenFile, token);
    prometheus = await startPrometheus(
      example('prometheus.yml', [
        ['scrape_interval: 15s', 'scrape_interval: 500ms'],
        ['evaluation_interval: 15s', 'evaluation_interval: 500ms'],
        ['scrape_interval: 5s', 'scrape_interval: 500ms'],
        ['scrape_timeout: 4s', 'scrape_timeout: 500ms'],
        ['/etc/prometheus/lockgate.rules.yml', rulesFile],
        ['/etc/prometheus/lockgate.token', tokenFile],
        ['scheme: https', 'scheme: http'],
        ['    tls_config:\n      ca_file: /etc/prometheus/lockgate-ca.pem\n', ''],
        ['lockgate-a.internal:9188', new URL(daemon.url).host],
        ['127.0.0.1:9093', new URL(alertmanager.url).host],
      ]),
    );
    undo.push(() => prometheus.stop());
    await waitFor('a scrape in which replication runs', 30_000, async () => {
      const [sample] = await query('lockgate_signal{signal="forward.running"}');
      return sample?.value[1] === '1';
    });
  }, 300_000);
  afterAll(() => runAll(undo), 60_000);

  it('find clean what the daemon tells, and every metric that the rules look at among it', async () => {
    const text = await metrics();
    expect(await runTool('promtool', ['check', 'metrics'], text)).toEqual({ code: 0, stdout: '', stderr: '' });
    const told = new Set([...text.matchAll(/^# HELP (\S+) /gm)].map(([, name = '']) => name));
    // Not those that the rules record themselves, which have a colon before or after.
    const asked = [...rules.matchAll(/(?<![\w:])lockgate_\w+(?![\w:])/g)].map(([name]) => name.replace(/_bucket$/, ''));
    expect(new Set(asked).size).toBeGreaterThan(8);
    for (const name of new Set(asked)) expect(told, name).toContain(name);
    const signals = [...rules.matchAll(/signal="([^"]+)"/g)].map(([, name = '']) => name);
    for (const name of new Set(signals)) {
      expect(text, name).toContain(`lockgate_signal_known{migration="shop",signal="${name}"}`);
    }
  });

  it('have rules that Prometheus could evaluate, and none that fires while all is well', async () => {
    const answer = await fetch(`${prometheus.url}/api/v1/rules`, { signal: AbortSignal.timeout(5_000) });
    const { data } = (await answer.json()) as {
      data: { groups: { rules: { name: string; health: string; lastError?: string }[] }[] };
    };
    const all = data.groups.flatMap((group) => group.rules);
    expect(all.length).toBeGreaterThan(12);
    await waitFor('every rule to have been evaluated', 20_000, async () => {
      const again = await fetch(`${prometheus.url}/api/v1/rules`, { signal: AbortSignal.timeout(5_000) });
      return !(await again.text()).includes('"health":"unknown"');
    });
    expect(all.filter((rule) => rule.health === 'err')).toEqual([]);
    expect(await query('ALERTS{alertstate="firing"}')).toEqual([]);
    expect(events).toEqual([]);
  });

  it('page when replication stops, once, go on while the daemon cannot be asked, and resolve when it runs again', async () => {
    const from = performance.now();
    await pair.disableSubscription();
    const page = await waitFor('the page', 30_000, () => events[0]);
    expect(performance.now() - from).toBeGreaterThan(2_000);
    expect(page).toMatchObject({ event_action: 'trigger', client: 'lockgate' });
    expect(page.payload).toMatchObject({
      summary: 'shop: forward.running == 0 for 2s',
      severity: 'critical',
      component: 'shop',
      group: 'shop',
    });
    expect(page.payload.custom_details['firing']).toContain('forward.running == 0 for 2s (now: 0)');

    // Its series end; that is no good news.
    daemon.signal('SIGSTOP');
    try {
      await waitFor(
        'a scrape that failed',
        10_000,
        async () => (await query('up{job="lockgate"}'))[0]?.value[1] === '0',
      );
      expect(await query('lockgate_signal')).toEqual([]);
      await sleep(4_000);
      expect(await query('ALERTS{alertname="LockgateForwardStopped",alertstate="firing"}')).toHaveLength(1);
      expect(events.filter((event) => event.event_action === 'resolve')).toEqual([]);
    } finally {
      daemon.signal('SIGCONT');
    }
    await waitFor('a scrape again', 10_000, async () => (await query('up{job="lockgate"}'))[0]?.value[1] === '1');
    expect(events.filter((event) => event.event_action === 'resolve')).toEqual([]);

    await pair.enableSubscription();
    const resolved = await waitFor('the resolve', 30_000, () =>
      events.find((event) => event.event_action === 'resolve'),
    );
    expect(resolved.dedup_key).toBe(page.dedup_key);
    expect(new Set(events.map((event) => event.dedup_key)).size, JSON.stringify(events)).toBe(1);
    expect(events.at(-1)).toBe(resolved);
    expect(refused).toEqual([]);
  });
});
