/** Database clocks that are wrong, with the real daemon: nothing that lockgate measures may follow them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { fakeTime, statisticsByFakeTime, type FakeTime } from './fake-time.js';
import { open } from './pair.js';
import { acceptObserver, healthy, signalOf, standstill } from './environment.js';
import { opened, runFault, startScenario, type Scenario } from './scenario.js';
import { timing } from './scenario-setup.js';

/** How many seconds ahead of the true time each server's clock is. */
export interface Clocks {
  readonly source: number;
  readonly target: number;
}

/** Declares the tests: with these clocks from the start, and after both were stepped to the opposite while all runs. */
export function clockSuite(major: number, clocks: Clocks): void {
  const title = `PostgreSQL ${major}, clocks of ${clocks.source} s (source) and ${clocks.target} s (target)`;
  describe(title, { timeout: 90_000 }, () => {
    let scenario: Scenario;
    let source: FakeTime;
    let target: FakeTime;
    beforeAll(async () => {
      [source, target] = [await fakeTime(clocks.source), await fakeTime(clocks.target)];
      scenario = await startScenario({
        source: major,
        target: major,
        // A clock that jumps lets these expire, and after a jump back a worker is not started again before its old time comes:
        // that is replication standing still, and not what is asked here.
        settings: { wal_sender_timeout: '0', wal_receiver_timeout: '0' },
        sourceEnv: source.env,
        targetEnv: target.env,
        require: [
          'forward.tables_uncovered is 0',
          'forward.tables_syncing is 0',
          'forward.drain_eta_high < 5s',
          'source.longest_transaction < 60s',
          'target.longest_transaction < 60s',
        ],
      });
      for (const server of [scenario.pair.source, scenario.pair.target]) await statisticsByFakeTime(server);
      await acceptObserver(scenario);
    });
    afterAll(() => scenario.destroy());

    it('disturb nothing', async () => {
      await healthy(scenario, 6_000);
      await expectUndisturbed(scenario, clocks);
    });

    it('do not hide that replication stands still', async () => {
      await runFault(scenario, standstill);
    });

    it('disturb nothing when they are set while all runs', async () => {
      const opposite = { source: -clocks.source, target: -clocks.target };
      // What the servers themselves do about it (workers that time out and start again) the observer sees.
      await runFault(scenario, {
        name: 'clocks set',
        class: 'load',
        expect: 'truth',
        make() {
          source.set(opposite.source);
          target.set(opposite.target);
          return Promise.resolve(undefined);
        },
      });
      await healthy(scenario, 4_000);
      await expectUndisturbed(scenario, opposite);
      await runFault(scenario, standstill);
    });

    it('do not mix up what is counted from now on', async () => {
      const { daemon, lockgate, pair } = scenario;
      // A server whose clock was set forward has ended the readers of its WAL, as if they had been silent for long. The
      // gap must show: nobody knows what was written in it.
      const gap = await signalOf(daemon, 'standby.stray_writes', (s) => s.state !== 'stale');
      if (gap.state === 'unknown') expect(gap.reason).toMatch(/not watched from/);
      else expect(gap.value).toBe(0);
      await lockgate.run(['attest', 'shop', 'stray-writes-reconciled', '--by', 'tester', '--note', 'nobody wrote']);
      await signalOf(daemon, 'standby.stray_writes', (s) => s.state === 'ok' && s.value === 0);
      await pair.onTarget('create table public.scratch (id int)');
      await pair.onTarget('insert into public.scratch values (1)');
      await signalOf(daemon, 'standby.stray_writes', (s) => s.state === 'ok' && s.value === 1);
      const age = await signalOf(daemon, 'target.last_local_write_age', (s) => s.reason === null);
      expect(age.value).toBeLessThan(30);
      expect(age.value).toBeGreaterThanOrEqual(0);
    });
  });
}

/** Asserts that every signal shows the truth, and the skews what the clocks were set to. */
async function expectUndisturbed(s: Scenario, clocks: Clocks): Promise<void> {
  const { daemon, pair } = s;
  await opened(s);
  await signalOf(daemon, 'forward.continuity', (x) => x.value === 1);
  const transaction = await open(pair.source);
  await transaction.query('begin; insert into public.customers (name) values (1)');
  const longest = await signalOf(daemon, 'source.longest_transaction', (x) => (x.value ?? 0) > 1);
  expect(longest.value).toBeLessThan(30);
  await transaction.query('rollback');
  await transaction.end();

  // After a step the readers of WAL come back by themselves; nothing else may have to.
  const known = [
    'forward.backlog_bytes',
    'forward.retained_bytes',
    'target.local_writes',
    'target.longest_transaction',
  ];
  for (const name of known) await signalOf(daemon, name, (x) => x.state === 'ok', 20_000);

  const signals = await daemon.signals();
  for (const side of ['source', 'target'] as const) {
    const skew = signals.get(`${side}.clock_skew`);
    expect(skew?.state).toBe('ok');
    expect(Math.abs((skew?.value ?? 0) - clocks[side]), `${side}: ${String(skew?.value)}`).toBeLessThan(1.5);
  }
  for (const name of ['forward.lag', 'forward.lag_by_position', 'forward.lag_low']) {
    const signal = signals.get(name);
    expect(signal, name).toMatchObject({ state: 'ok' });
    expect(signal?.value, name).toBeLessThan(timing.thresholdMs / 1_000);
    expect(signal?.value, name).toBeGreaterThanOrEqual(0);
  }
  await waitFor('no signal to be stale', 5_000, async () =>
    [...(await daemon.signals()).values()].every((x) => x.state !== 'stale'),
  );
  const { body } = await daemon.get<{ entries: { kind: string }[] }>('/v1/journal?limit=1000');
  expect(body.entries.map((entry) => entry.kind)).not.toContain('clock-jump');
  await waitFor('the gates to be open', 5_000, () => s.wholeGate.state === 'open' && s.lagGate.state === 'open');
}
