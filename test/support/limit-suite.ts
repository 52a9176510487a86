/** What a pair shares with others runs out, with the real daemon: its readers give way, and what remains judges the gate. */
import pg from 'pg';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { PostgresServer } from '../../deploy/demo/postgres-server.js';
import { healthy, signalOf, standstill } from './environment.js';
import { runAll, type Pair } from './pair.js';
import { opened, runFault, startScenario, type Scenario } from './scenario.js';

const limit = 6;
/** A reader tries again within 5 s where it is not told to rest. */
const tryAgainMs = 6_000;

/** Declares the tests: slots and walsenders full of others', before the readers begin and while they run. */
export function limitSuite(major: number): void {
  describe(`slots and walsenders of PostgreSQL ${major} taken by others`, { timeout: 90_000 }, () => {
    let scenario: Scenario;
    const cleanups: (() => Promise<void>)[] = [];
    beforeAll(async () => {
      scenario = await startScenario({
        source: major,
        target: major,
        settings: {
          max_replication_slots: String(limit),
          max_wal_senders: String(limit),
          log_connections: 'on',
        },
      });
    });
    afterEach(() => runAll(cleanups));
    afterAll(() => scenario.destroy());

    it('while the readers run: they give way once they lose their connections', async () => {
      const { daemon, pair } = scenario;
      await signalOf(daemon, 'forward.capture_delay', (s) => s.state === 'ok');
      await healthy(scenario, tryAgainMs, async () => {
        await bothSides(pair, async (on) => {
          await takeSlots(on, 0);
          await on(
            `select pg_terminate_backend(pid) from pg_stat_replication where application_name like 'lockgate/%'`,
          );
          await takeSlots(on, 0);
        });
        cleanups.push(() => bothSides(pair, releaseSlots));
        return undefined;
      });
      await expectGivenWay(scenario);
      const { lockgate } = scenario;
      const doctor = await lockgate.run(['doctor', '--config', lockgate.configFile]);
      expect(doctor.stdout).toMatch(/only \d of max_replication_slots = 6 free: .* give way/);
      expect(doctor.code).toBe(1);
      await runFault(scenario, standstill);
    });

    it('while the readers run, all walsenders at once: they neither take nor hold what others need', async () => {
      const { lockgate, pair } = scenario;
      await restarted(scenario);
      await signalOf(scenario.daemon, 'forward.capture_delay', (s) => s.state === 'ok');
      const from = { source: pair.source.logTail(Infinity).length, target: pair.target.logTail(Infinity).length };
      await healthy(scenario, tryAgainMs, async () => {
        for (const server of [pair.source, pair.target]) {
          const on = server === pair.source ? pair.onSource : pair.onTarget;
          const end = `select pg_terminate_backend(pid) from pg_stat_replication where application_name like 'lockgate/%'`;
          await takeSenders(server, on, 0, cleanups);
          await on(end);
          // One of those that come free stays free: the last one, which is not for a monitor.
          await takeSenders(server, on, 1, cleanups);
        }
        return undefined;
      });
      await expectGivenWay(scenario);
      const doctor = await lockgate.run(['doctor', '--config', lockgate.configFile]);
      expect(doctor.stdout).toMatch(/only \d of max_wal_senders = 6 free: .* give way/);
      for (const side of ['source', 'target'] as const) {
        const since = pair[side].logTail(Infinity).slice(from[side]);
        const ours = since.match(/.*replication connection authorized: user=lockgate .*/g);
        expect(ours ?? [], `walsenders taken on the ${side}`).toEqual([]);
      }
      await runFault(scenario, standstill);
    });

    it.each(['slots', 'walsenders'])('two %s left when the daemon starts: it leaves them', async (what) => {
      const { pair } = scenario;
      await scenario.daemon.stop();
      for (const server of [pair.source, pair.target]) {
        const on = server === pair.source ? pair.onSource : pair.onTarget;
        if (what === 'slots') await takeSlots(on, 2);
        else await takeSenders(server, on, 2, cleanups);
      }
      if (what === 'slots') cleanups.push(() => bothSides(pair, releaseSlots));
      scenario.daemon = await scenario.lockgate.start();
      await healthy(scenario, tryAgainMs);
      await expectGivenWay(scenario);
    });
  });
}

type Query = Pair['onSource'];

async function bothSides(pair: Pair, work: (on: Query) => Promise<void>): Promise<void> {
  await Promise.all([work(pair.onSource), work(pair.onTarget)]);
}

/** Makes slots in somebody else's name until only `left` are free. */
async function takeSlots(on: Query, left: number): Promise<void> {
  await on(
    `select pg_create_physical_replication_slot('other_' || gen_random_uuid()::text::varchar(8))
       from generate_series(1, greatest(0, ${limit - left} - (select count(*) from pg_replication_slots)::int))`,
  );
}

async function releaseSlots(on: Query): Promise<void> {
  await on(`select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'other_%'`);
}

/** Opens replication connections that do nothing until only `left` walsenders are free. */
async function takeSenders(
  server: PostgresServer,
  on: Query,
  left: number,
  cleanups: (() => Promise<void>)[],
): Promise<void> {
  for (;;) {
    const [row] = await on<{ used: number }>('select count(*)::int as used from pg_stat_get_wal_senders()');
    if ((row?.used ?? 0) >= limit - left) return;
    const config: pg.ClientConfig & { replication: string } = {
      connectionString: server.adminUrl('postgres'),
      replication: 'true',
      connectionTimeoutMillis: 5_000,
    };
    const client = new pg.Client(config);
    client.on('error', () => undefined); // servers may be killed
    await client.connect();
    cleanups.push(() => client.end());
  }
}

async function restarted(s: Scenario): Promise<void> {
  await s.daemon.stop();
  s.daemon = await s.lockgate.start();
  await sleep(200); // an answer of the one before would count
  await opened(s);
}

/** Asserts that no reader of ours has a slot, that the signals say why, and that doctor does. */
async function expectGivenWay(s: Scenario): Promise<void> {
  const { daemon, pair } = s;
  const why = /fewer than 2 replication slots or walsenders would be left|exceeds max_wal_senders/;
  for (const name of ['forward.capture_delay', 'target.local_writes']) {
    const signal = await signalOf(daemon, name, (x) => x.state === 'unknown');
    expect(signal.reason, name).toMatch(why);
  }
  // What was written in the gap is not known, whatever the first reason for it was.
  await signalOf(daemon, 'standby.stray_writes', (x) => x.state === 'unknown');
  await bothSides(pair, async (on) => {
    const rows = await on(`select slot_name from pg_replication_slots where slot_name like 'lockgate%'`);
    expect(rows).toEqual([]);
  });
}
