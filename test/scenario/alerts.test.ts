/** A real daemon over real servers, and PagerDuty on the loopback: from a fault to its end, over a kill. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AlertsJson, MigrationJson } from '../../daemon/http/port.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { workspace, type Daemon, type Workspace } from '../support/lockgate.js';
import { PagerDuty } from '../support/pagerduty.js';
import { runAll, startPair, type Pair } from '../support/pair.js';

const KEY = 'R7c1f0aa93b2d4e5f60718293a4b5c6d';
const STOPPED = 'lockgate/shop/replication-stopped';

let pair: Pair;
let pd: PagerDuty;
let lockgate: Workspace;
const undo: (() => Promise<void>)[] = [];

beforeAll(async () => {
  pair = await startPair();
  undo.push(() => pair.destroy());
  pd = await PagerDuty.start(KEY);
  undo.push(() => pd.stop());
  lockgate = await workspace(
    (port) => `daemon: { id: tester, listen: 127.0.0.1:${port} }
databases:
  onprem: { engine: postgres, url: "${pair.daemonUrl('source')}" }
  aws: { engine: postgres, url: "${pair.daemonUrl('target')}" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub, publication: shop_pub, heartbeat: { interval: 200ms } }
    gates:
      lag: { require: "forward.lag < 5s for 1s" }
alerts:
  resolve_after: 3s
  pagerduty: { routing_key: "\${file:key}", endpoint: "${pd.url}" }
  rules: [ { name: replication-stopped, when: "active.running == 0 for 1s", severity: critical } ]
`,
  );
  writeFileSync(join(lockgate.folder, 'key'), `${KEY}\n`);
  undo.push(() => lockgate.destroy());
  const setup = await lockgate.run(['setup', '--config', lockgate.configFile], {}, 60_000);
  expect(setup.code, setup.stdout + setup.stderr).toBe(0);
}, 60_000);
afterAll(() => runAll(undo));

const state = async (daemon: Daemon, rule = 'replication-stopped'): Promise<string | undefined> =>
  (await daemon.get<AlertsJson>('/v1/alerts')).body.alerts.find((a) => a.rule === rule)?.state;
const told = (key = STOPPED): string[] => pd.events.filter((e) => e.dedup_key === key).map((e) => e.event_action);

it('tells of a fault once, over a kill, and of its end; a promotion by force is an alert, too', async () => {
  const test = await lockgate.run(['alerts', 'test', '--config', lockgate.configFile]);
  expect(test.stdout).toMatch(/^pagerduty {2}trigger {2}delivered .*\npagerduty {2}resolve {2}delivered .*\n$/);
  expect(test.code).toBe(0);

  let daemon = await lockgate.start();
  await waitFor('lag to be known', 20_000, async () => (await daemon.verdict('shop/lag')).state === 'open');
  expect(await state(daemon)).toBe('inactive');
  await pair.disableSubscription();
  await waitFor('an incident', 10_000, () => Promise.resolve(pd.open.has(STOPPED)));
  const { body } = await daemon.get<MigrationJson>('/v1/migrations/shop');
  expect(body.alerts).toMatchObject([{ rule: 'replication-stopped', severity: 'critical', value: 0 }]);
  expect((await lockgate.run(['status'])).stdout).toMatch(/ALERT {2}replication-stopped {2}critical, since .*shop_sub/);

  await daemon.kill();
  daemon = await lockgate.start();
  expect(await state(daemon)).toBe('firing');
  await sleep(5_000);
  expect(told()).toEqual(['trigger']);
  await pair.enableSubscription();
  await waitFor('the end of it', 20_000, () => Promise.resolve(!pd.open.has(STOPPED)));
  expect(told()).toEqual(['trigger', 'resolve']);
  expect(await state(daemon)).toBe('resolved');

  const why = ['--reason', 'drill', '--expect', 'forward', '--force'];
  const forced = await lockgate.run(['promote', 'shop', ...why]);
  expect(forced.code, forced.stdout + forced.stderr).toBe(0);
  await waitFor('it to be told', 10_000, () => Promise.resolve(pd.changes.length > 0));
  expect(pd.changes[0]?.payload.summary).toBe('[shop] direction forward -> reverse');
  await waitFor('it to be an alert', 10_000, () => Promise.resolve(pd.open.has('lockgate/shop/direction-forced')));

  const journal = await lockgate.run(['journal']);
  expect(journal.stdout).toContain('replication-stopped FIRES, critical, active.running == 0 for 1s, at 0');
  expect(journal.stdout).toContain('replication-stopped resolved: known to be false for 3s');
  expect(journal.stdout).toContain('direction-forced FIRES');
  const metrics = await (await fetch(`${lockgate.url}/metrics`)).text();
  expect(metrics).toMatch(/lockgate_alert_firing\{[^}]*rule="direction-forced"[^}]*\} 1/);
  expect(metrics).toMatch(/lockgate_alert_deliveries_total\{sink="pagerduty",outcome="delivered"\} [1-9]/);
  expect(pd.problems).toEqual([]);
  expect(daemon.log() + journal.stdout + test.stdout).not.toContain(KEY);
  expect(await daemon.stop()).toBe(0);
}, 90_000);
