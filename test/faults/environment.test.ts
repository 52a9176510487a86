/** The surroundings of a pair go wrong while replication itself is sound; what is too long for the short run. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { SignalJson } from '../../daemon/http/port.js';
import { clockSuite } from '../support/clock-suite.js';
import { healthy, signalOf, standstill } from '../support/environment.js';
import { limitSuite } from '../support/limit-suite.js';
import { GateWatch, workspace, type Daemon } from '../support/lockgate.js';
import { startObserver, type Observer } from '../support/observer.js';
import { runAll } from '../support/pair.js';
import { expectNoFalseGreen, opened, runFault, startScenario, type Scenario } from '../support/scenario.js';
import { scenarioYaml } from '../support/scenario-setup.js';
import { smallDisk, type SmallDisk } from '../support/small-disk.js';

for (const major of [18, 13]) {
  clockSuite(major, { source: -744, target: 744 });
  limitSuite(major);
}

describe.each([18, 13])('the surroundings of PostgreSQL %i', { timeout: 180_000 }, (major) => {
  let scenario: Scenario;
  let disk: SmallDisk;
  beforeAll(async () => {
    disk = await smallDisk();
    scenario = await startScenario({
      source: major,
      target: major,
      targetSettings: {
        autovacuum_naptime: '1s',
        autovacuum_vacuum_threshold: '1',
        autovacuum_vacuum_scale_factor: '0',
        autovacuum_analyze_threshold: '1',
        autovacuum_analyze_scale_factor: '0',
        autovacuum_vacuum_cost_delay: '0',
      },
      require: ['forward.tables_uncovered is 0', 'forward.tables_syncing is 0', 'forward.drain_eta_high < 5s'],
    });
  });
  afterAll(async () => {
    await scenario.destroy();
    await disk.destroy();
  });

  it('without the right to see other sessions on the source: unknown, and the grant in the reason mends it', async () => {
    const { pair } = scenario;
    await runFault(scenario, {
      name: 'pg_read_all_stats revoked on the source',
      class: 'blind',
      expect: 'unseen',
      state: 'unknown',
      withinMs: 4_500, // the freshness of what is not lag, and one look
      async make() {
        await pair.onSource('revoke pg_read_all_stats from lockgate');
        return async () => {
          await pair.onSource(
            grantIn(await signalOf(scenario.daemon, 'forward.running', (s) => s.state === 'unknown')),
          );
        };
      },
    });
    // The next one begins as setup leaves it.
    await pair.onSource('grant pg_read_all_stats to lockgate; revoke pg_monitor from lockgate');
    await opened(scenario);
  });

  it('without it on the target: lag is seen all the same, its sessions are unknown until granted', async () => {
    const { daemon, pair } = scenario;
    await pair.onTarget('revoke pg_read_all_stats from lockgate');
    await runFault(scenario, standstill);
    for (const name of ['target.connections', 'target.longest_transaction']) {
      const hidden = await signalOf(daemon, name, (s) => s.state === 'unknown');
      await pair.onTarget(grantIn(hidden));
      await signalOf(daemon, name, (s) => s.state === 'ok');
      await pair.onTarget('revoke pg_read_all_stats from lockgate');
    }
    await pair.onTarget('grant pg_read_all_stats to lockgate');
  });

  it('upkeep of the target: autovacuum, maintenance and DDL of tables large and small', async () => {
    const { pair } = scenario;
    await healthy(scenario, 8_000, async () => {
      for (const sql of [
        'vacuum (analyze) public.orders',
        'vacuum (freeze) lockgate.heartbeat',
        'analyze',
        'create index concurrently orders_note on public.orders (note)',
        'reindex table concurrently public.customers',
        'drop index concurrently public.orders_note',
        'alter table public.orders add column checked boolean',
        'alter table public.orders alter column note set statistics 200',
        'create table public.only_here (id int primary key); drop table public.only_here',
        'create materialized view public.summary as select count(*) from public.orders',
        'refresh materialized view public.summary',
        'alter table lockgate.heartbeat set (autovacuum_vacuum_threshold = 20)',
        'checkpoint',
      ]) {
        for (const each of sql.split('; ')) await pair.onTarget(each);
      }
      return undefined;
    });
    const [row] = await pair.onTarget<{ vacuumed: boolean }>(
      `select coalesce(sum(autovacuum_count + autoanalyze_count), 0) > 0 as vacuumed from pg_stat_all_tables where schemaname in ('public', 'lockgate')`,
    );
    expect(row?.vacuumed).toBe(true);
  });

  it('the disk of the target is full: replication stands still, and goes on when there is room', async () => {
    const { pair } = scenario;
    await pair.onTarget(`create tablespace small location '${disk.folder}'`);
    await pair.onTarget('alter table public.orders set tablespace small');
    await runFault(scenario, {
      name: 'disk full',
      class: 'apply',
      expect: 'breaks',
      state: 'closed',
      lastsMs: 8_000,
      async make() {
        disk.fill();
        await pair.bulk(5_000);
        return async () => {
          expect(pair.target.logTail(500)).toMatch(/No space left on device/);
          // The server tells its clients no more than that: its log has the cause.
          const running = await signalOf(scenario.daemon, 'forward.running', (s) => s.value === 0);
          expect(running.reason).toMatch(
            /shop_sub: .*(no apply worker on aws; see that server's log|no walsender serves it)/,
          );
          if (major >= 15) await signalOf(scenario.daemon, 'forward.errors', (s) => (s.value ?? 0) > 0);
          disk.makeRoom();
        };
      },
    });
  });
});

/** The grant that a signal's reason names. */
function grantIn({ name, reason }: SignalJson): string {
  const [grant] = /GRANT pg_(monitor|read_all_stats) TO "?\w+"?/.exec(reason ?? '') ?? [];
  expect(grant, `${name}: ${String(reason)}`).toBeDefined();
  return grant ?? '';
}

describe.each([18, 13])('two daemons watch one pair of PostgreSQL %i', { timeout: 180_000 }, (major) => {
  let scenario: Scenario;
  let other: Daemon;
  let observer: Observer;
  const watches: GateWatch[] = [];
  const cleanups: (() => Promise<void>)[] = [];
  beforeAll(async () => {
    const options = { source: major, target: major, read: 'on', observer: false } as const;
    scenario = await startScenario(options);
    cleanups.push(() => scenario.destroy());
    const yaml = scenarioYaml(scenario.pair, { ...options, via: 'postgres-logical' });
    const lockgate = await workspace((port) => yaml(port).replace('id: tester', 'id: another'));
    cleanups.push(() => lockgate.destroy());
    other = await lockgate.start();
    watches.push(new GateWatch(lockgate.url, 'shop/lag'), new GateWatch(lockgate.url, 'shop/whole'));
    cleanups.push(...watches.map((watch) => () => watch.stop()));
    await Promise.all(watches.map((watch) => watch.until(['open'], 40_000)));
  });
  afterAll(() => runAll(cleanups));

  it('neither takes the heartbeats of the other for writes of an application', async () => {
    await healthy(scenario, 5_000);
    for (const daemon of [scenario.daemon, other]) {
      for (const side of ['source', 'target']) {
        await signalOf(daemon, `${side}.local_writes`, (s) => s.state === 'ok' && s.value === 0);
      }
      await signalOf(daemon, 'standby.stray_writes', (s) => s.state === 'ok' && s.value === 0);
    }
    await scenario.pair.placeOrder();
    for (const daemon of [scenario.daemon, other]) {
      await signalOf(daemon, 'source.local_writes', (s) => s.state === 'ok' && (s.value ?? 0) > 0);
    }
  });

  it('both measure the truth, and both see that replication stands still', async () => {
    observer = await startObserver(scenario.pair);
    cleanups.push(() => observer.stop());
    const watching = { ...scenario, observer };
    // Publishing the observer's table may have held up replication for a moment.
    await Promise.all([opened(watching), ...watches.map((watch) => watch.until(['open'], 20_000))]);
    const from = performance.now();
    await healthy(watching, 5_000);
    const between = performance.now();
    await runFault(watching, standstill);
    const until = performance.now();
    for (const watch of watches) {
      expect(watch.between(from, between).filter((s) => s.state !== 'open')).toEqual([]);
      const { notOpen } = expectNoFalseGreen(watch, observer, from, until);
      expect(notOpen).toBeGreaterThan(0);
      await watch.until(['open'], 20_000);
    }
    for (const daemon of [scenario.daemon, other]) {
      await signalOf(daemon, 'forward.lag', (s) => s.state === 'ok' && (s.value ?? 9) < 0.75);
      await signalOf(daemon, 'standby.stray_writes', (s) => s.state === 'ok' && s.value === 0);
    }
  });

  it('one may end, and the other goes on', async () => {
    await healthy({ ...scenario, observer }, 4_000, async () => {
      await other.kill();
      return undefined;
    });
  });
});
