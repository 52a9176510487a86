import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { controlTable, startCrossScenario, type CrossPair, type CrossScenario } from '../support/cross-scenario.js';
import type { Flavour } from '../../deploy/demo/mysql-install.js';
import { everyFlavour, testedFlavours } from '../support/flavours.js';
import { expectNoFalseGreen, opened, runFault, type Fault } from '../support/scenario.js';
import { timing } from '../support/scenario-setup.js';

const limit = 120_000;
const fetchLimit = 300_000;
const blindWithinMs = Math.max(2 * timing.intervalMs, 1_000) + 1_500;

const done = (heal: () => void): Promise<() => Promise<void>> =>
  Promise.resolve(() => {
    heal();
    return Promise.resolve();
  });

const faults: readonly Fault<CrossPair>[] = [
  {
    name: 'nothing wrong',
    class: 'replication',
    expect: 'healthy',
    lastsMs: 6_000,
    make: () => Promise.resolve(undefined),
  },
  {
    name: 'the relay stalls',
    class: 'replication',
    expect: 'breaks',
    state: 'closed',
    make: ({ pair }) => {
      pair.relay.pause();
      return done(() => pair.relay.resume());
    },
  },
  {
    name: 'the relay is stopped',
    class: 'replication',
    expect: 'breaks',
    state: 'closed',
    lastsMs: 6_500,
    says: /what copies the rows is behind or has stopped, or it copies lockgate.heartbeat no longer/,
    async make({ pair }) {
      await pair.relay.stop();
      return () => done(() => pair.relay.start()).then((heal) => heal());
    },
  },
  {
    name: 'the relay is slow',
    class: 'replication',
    expect: 'breaks',
    withinMs: timing.thresholdMs + 2_500,
    lastsMs: 7_000,
    state: 'closed',
    make: ({ pair }) => {
      pair.relay.delay(2_500);
      return done(() => pair.relay.delay(0));
    },
  },
  {
    name: 'the relay copies the heartbeat table no longer',
    class: 'heartbeat',
    expect: 'breaks',
    state: 'closed',
    lastsMs: 6_500,
    says: /it copies lockgate.heartbeat no longer/,
    make: ({ pair }) => {
      pair.relay.leaveOut('lockgate.heartbeat');
      return done(() => pair.relay.leaveOut());
    },
  },
  {
    name: "the daemon's connections to the target frozen",
    class: 'blind',
    expect: 'breaks',
    withinMs: blindWithinMs,
    lastsMs: 6_000,
    state: 'closed',
    make: ({ pair }) => {
      pair.target.proxy.freeze();
      return done(() => pair.target.proxy.thaw());
    },
  },
  {
    name: "the daemon's connections to the source cut",
    class: 'blind',
    expect: 'breaks',
    withinMs: blindWithinMs,
    state: 'closed',
    async make({ pair }) {
      await pair.source.proxy.cut();
      return () => pair.source.proxy.restore();
    },
  },
  ...(['source', 'target'] as const).map((side): Fault<CrossPair> => ({
    name: `${side} killed`,
    class: 'server',
    expect: 'breaks',
    withinMs: blindWithinMs,
    state: 'closed',
    async make({ pair }) {
      await pair[side].kill();
      return () => pair[side].start();
    },
  })),
  {
    name: 'heartbeat rows deleted on the target',
    class: 'heartbeat',
    expect: 'truth',
    lastsMs: 6_000,
    async make({ pair }) {
      await pair.target.ask('delete from lockgate.heartbeat');
      return undefined;
    },
  },
];

interface Way {
  readonly from: Flavour | 'postgres';
  readonly to: Flavour | 'postgres';
  readonly left: boolean;
}

// The way that most take in the short run; the others, where MariaDB is tested.
const ways = testedFlavours.flatMap(({ flavour, left }): Way[] => {
  const out = { from: flavour, to: 'postgres', left } as const;
  if (flavour === 'mysql') return [out];
  return [out, ...everyFlavour.map((other): Way => ({ from: 'postgres', to: other.flavour, left: other.left }))];
});

describe.each(ways)('heartbeats from $from to $to by whatever copies the rows', ({ from, to, left }) => {
  describe.skipIf(left)('watched', () => {
    let s: CrossScenario;
    beforeAll(async () => {
      s = await startCrossScenario({ from, to });
    }, fetchLimit);
    afterAll(() => s.destroy(), limit);

    it.each(faults)('$name', { timeout: limit }, async (fault) => {
      await runFault(s, fault);
    });

    it('tells lag, and of everything else why it does not', { timeout: limit }, async () => {
      await opened(s);
      const signals = await s.daemon.signals();
      const lag = signals.get('forward.lag');
      expect(lag?.state).toBe('ok');
      expect(lag?.value).toBeLessThan(0.5);
      for (const name of ['lag_by_position', 'agreement']) {
        expect(signals.get(`forward.${name}`)).toMatchObject({ state: 'unknown' });
        expect(signals.get(`forward.${name}`)?.reason).toMatch(/applied position|only the heartbeat row/);
      }
      expect(signals.get('forward.tables_uncovered')).toMatchObject({ state: 'ok', value: 0, reason: null });
      for (const name of ['continuity', 'backlog_bytes', 'runway']) {
        expect(signals.get(`forward.${name}`)).toMatchObject({ state: 'unknown' });
        expect(signals.get(`forward.${name}`)?.reason, name).toContain('comes by DMS');
      }
      for (const name of ['target.local_writes', 'standby.stray_writes']) {
        expect(signals.get(name), name).toMatchObject({ state: 'unknown' });
        expect(signals.get(name)?.reason, name).toContain('DMS applies through ordinary sessions');
      }
      for (const side of ['source', 'target']) expect(signals.get(`${side}.reachable`)?.value).toBe(1);
    });

    it('closes its gate when the task stops, or writes down what it could not apply', { timeout: limit }, async () => {
      const gate = async (state: string): Promise<void> => {
        await expect.poll(async () => (await s.daemon.verdict('shop/dms')).state, { timeout: 15_000 }).toBe(state);
      };
      await gate('open');
      s.pair.dms.set(s.pair.task, { Status: 'stopped', StopReason: 'Stop Reason FATAL_ERROR' });
      await gate('closed');
      expect((await s.daemon.signals()).get('forward.running')).toMatchObject({
        value: 0,
        reason: 'shop is stopped (Stop Reason FATAL_ERROR)',
      });
      s.pair.dms.set(s.pair.task, { Status: 'running' });
      await gate('open');
      await s.pair.target.ask(`insert into ${controlTable} values ('SHOP', now())`);
      await gate('closed');
      expect((await s.daemon.signals()).get('forward.errors')?.value).toBe(1);
      expect((await s.daemon.signals()).get('dms.apply_exceptions')?.value).toBe(1);
      await s.pair.target.ask(`delete from ${controlTable}`);
    });

    it('grows by a second per second while nothing arrives', { timeout: limit }, async () => {
      await opened(s);
      const from = performance.now();
      s.pair.relay.pause();
      try {
        await sleep(3_000);
        const [a, at] = [(await s.daemon.signals()).get('forward.lag')?.value ?? 0, performance.now()];
        await sleep(2_000);
        const [b, then] = [(await s.daemon.signals()).get('forward.lag')?.value ?? 0, performance.now()];
        expect(a).toBeGreaterThan(2);
        expect(b - a).toBeGreaterThan((then - at) / 1000 - 0.3);
        expect(b - a).toBeLessThan((then - at) / 1000 + 0.3);
      } finally {
        s.pair.relay.resume();
      }
      await opened(s);
      if (s.observer !== null) expectNoFalseGreen(s.lagGate, s.observer, from, performance.now());
    });

    it('never opens where the heartbeat table was never part of it, and says so', { timeout: limit }, async () => {
      s.pair.relay.leaveOut('lockgate.heartbeat');
      await s.daemon.stop();
      s.daemon = await s.lockgate.start();
      const from = performance.now();
      try {
        await sleep(timing.holdMs + 4_000);
        const open = s.lagGate.between(from, Infinity).filter((x) => x.state === 'open');
        expect(open).toEqual([]);
        const reason = (await s.daemon.signals()).get('forward.lag')?.reason;
        expect(reason).toContain('lockgate.heartbeat is not part of what is copied');
      } finally {
        s.pair.relay.leaveOut();
      }
      await opened(s);
    });

    it('has a doctor that looks at both sides, and says what is not asked', { timeout: limit }, async () => {
      const { code, stdout, stderr } = await s.lockgate.run(['doctor', '--config', s.lockgate.configFile], {}, 60_000);
      expect(code, stdout + stderr).toBe(0);
      expect(stdout).toMatch(/PostgreSQL 18 answers/);
      expect(stdout).toMatch(/(MySQL|MariaDB) \d+.* answers/);
      expect(stdout.match(/this link comes by DMS: its lag is that of the heartbeat row alone/g)).toHaveLength(1);
      expect(stdout).toMatch(/shop is running/);
      expect(stdout).toMatch(/awsdms_apply_exceptions can be read and is empty/);
    });

    it('is set up without what only logical replication needs, and torn down', { timeout: limit }, async () => {
      const admins = [s.pair.source, s.pair.target].flatMap((side) => ['--admin', `${side.name}=${side.adminUrl()}`]);
      const run = (what: string) => s.lockgate.run([what, '--config', s.lockgate.configFile, ...admins], {}, 60_000);
      const again = await run('setup');
      expect(again.stdout).toMatch(/^0 done/m);
      expect(again.stdout).not.toMatch(/trigger|subscription/);
      await s.daemon.stop();
      await sleep(1_000);
      const gone = await run('teardown');
      expect(gone.code, gone.stdout + gone.stderr).toBe(0);
      for (const side of [s.pair.source, s.pair.target]) {
        expect(
          await side.ask("select table_name from information_schema.tables where table_schema = 'lockgate'"),
        ).toEqual([]);
      }
    });
  });
});
