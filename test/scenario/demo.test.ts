import { spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, describe, expect, it } from 'vitest';
import { freePort, waitFor } from '../../deploy/demo/run-folder.js';
import { UID } from '../../deploy/grafana/frame.js';
import {
  direction,
  DIRECTION,
  fence,
  FENCE,
  GATE,
  gateStates,
  UNKNOWN,
  worstOrUnknown,
} from '../../deploy/grafana/promql.js';
import { demoCommand, demoRoot, interruptedAt, withDemo } from '../support/demo-process.js';
import { withoutPrometheus } from '../support/flavours.js';
import { documentedMetrics } from '../support/documented-metrics.js';
import { observeDemo, type ObservedDemo } from '../support/observed-demo.js';
import { asksOf, committedDashboards, filled, rulesAsk, selectorsOf, signalsOf } from '../support/promql.js';

let observed: ObservedDemo | null = null;
afterAll(() => observed?.stop());

describe('the demo', () => {
  it('observes every step of the unattended tour in time and leaves nothing behind', { timeout: 150_000 }, async () => {
    const port = await freePort();
    observed = withoutPrometheus ? null : await observeDemo(port);
    const started = performance.now();
    await withDemo(
      async (demo) => {
        const followed = observed?.follow(demo);
        const code = await demo.exit;
        expect(code, demo.output()).toBe(0);
        expect(performance.now() - started).toBeLessThan(120_000);
        await followed;
        expect(demo.output().match(/✓ seen/g)).toHaveLength(17);
        // Both moves, each with a pause that was measured and rows that were counted.
        expect(demo.output().match(/✓ seen {4}writes paused for [\d.]+ m?s, .*; 0 of \d+ acknowledged/g)).toHaveLength(
          2,
        );
        expect(demo.output()).toMatch(/1 stray write, at [0-9A-F]+\/[0-9A-F]+: seen [\d.]+ m?s after it was committed/);
        expect(demo.output(), 'no colours and no cursor movements outside a terminal').not.toContain('\u001b');
      },
      { port },
    );
  });

  it.each([0, 2_000, 6_000])('leaves nothing behind when it is interrupted %i ms after its start', async (afterMs) => {
    await withDemo(async (demo) => {
      // Before its first line the signal would end it as it ends any process.
      await waitFor('the demo to begin', 20_000, () => demo.output() !== '');
      await sleep(afterMs);
      demo.kill('SIGTERM');
      expect(await demo.exit, demo.output()).toBe(143);
    });
  });

  // The other steps are with the longer tests.
  interruptedAt(['The flip', 'The rollback']);

  it.each([
    [['--bogus'], 2, /unknown argument: --bogus/],
    [['--port', '0'], 2, /from 1 to 65535/],
    [['--help'], 0, /--once/],
  ])('answers %j with exit code %i', (args, code, says) => {
    const result = spawnSync(process.execPath, [...demoCommand, ...args], { cwd: demoRoot, encoding: 'utf8' });
    expect(result.status).toBe(code);
    expect(result.stdout + result.stderr).toMatch(says);
  });
});

/** What a demo of half a minute on PostgreSQL cannot have; the demo on MySQL is asked for these signals in mysql-demo.test.ts. */
const ON_MYSQL = ['forward.backlog_transactions', 'forward.runway'];

describe.skipIf(withoutPrometheus)('what Prometheus has seen of the demo', () => {
  const seen = (): ObservedDemo => {
    if (observed === null) throw new Error('the demo was not observed');
    return observed;
  };
  /** Whether an expression has data for one migration or the other. */
  const yields = async (expr: string): Promise<boolean> => {
    for (const migration of ['shop', 'crm']) {
      const found = await seen().query(filled(expr, { migration, interval: '4s' }));
      if (found.some(({ values }) => values.length > 0)) return true;
    }
    return false;
  };

  it.each([...committedDashboards()])('is data for every expression of %s', async (_, dashboard) => {
    for (const { where, expr } of asksOf(dashboard)) {
      // The dashboard of every migration has to do with all of them at once.
      const chosen = dashboard.uid === UID.migration ? expr : expr.replaceAll('$migration', '.*');
      if (await yields(chosen)) continue;
      const asked = signalsOf(filled(chosen, { migration: '.*', interval: '4s' }));
      const elsewhere = asked.every(({ alternatives }) => alternatives.some((a) => ON_MYSQL.some((s) => a.test(s))));
      expect(elsewhere && asked.length > 0, `${where} has no data:\n${expr}`).toBe(true);
    }
  });

  it('is data for every rule, or for what an alert that did not fire looks at', async () => {
    const rules = rulesAsk(seen().rules);
    expect(rules.length).toBeGreaterThan(30);
    for (const { name, kind, expr } of rules) {
      if ((await seen().query(expr)).length > 0) continue;
      expect(kind, `the recording ${name} has no data`).toBe('alert');
      for (const selector of selectorsOf(expr)) {
        // Its own ALERTS are there when it fires; that each rule does is in prometheus-rules.test.ts, by promtool.
        if (selector.startsWith('ALERTS')) continue;
        if (ON_MYSQL.some((s) => selector.includes(s.replace('forward', 'active')))) continue;
        // By either migration: DMS has no way back, and of the second one nobody has placed a fence.
        const any = selector.replace(/migration="[^"]*"/, 'migration=~".*"');
        expect((await seen().query(any)).length, `${name} looks at ${selector}`).toBeGreaterThan(0);
      }
    }
  });

  it('is recorded under the names that the rules give it', async () => {
    const recorded = rulesAsk(seen().rules).filter(({ kind }) => kind === 'record');
    for (const { name } of recorded) expect((await seen().query(name)).length, name).toBeGreaterThan(0);
  });

  it('is what the documentation of the metrics lists, and nothing else', () => {
    const told = seen().scrapes.flatMap((text) => [...text.matchAll(/^# TYPE (\S+) /gm)].map(([, name = '']) => name));
    expect(new Set(told)).toEqual(new Set(documentedMetrics().keys()));
  });

  it('shows the lag as unknown while it was, each gate in every state that it was in, and both directions', async () => {
    const values = async (expr: string, migration = 'shop'): Promise<Set<string>> => {
      const found = await seen().query(filled(expr, { migration, interval: '4s' }));
      return new Set(found.flatMap((series) => series.values.map(([, value]) => value)));
    };
    expect(await values(worstOrUnknown('active.lag'))).toContain(String(UNKNOWN));
    const flip = await values(gateStates('migration="shop",gate="flip-writes"'));
    expect(flip).toEqual(new Set([GATE.open, GATE.closed, GATE.unknown].map(String)));
    expect(await values(fence())).toContain(String(FENCE.closed));
    const directions = await values(direction());
    for (const each of [DIRECTION.forward, DIRECTION.reverse]) expect(directions).toContain(String(each));
    // The second daemon has left, and the demo has ended after it.
    expect(await seen().query('lockgate_build_info')).not.toEqual([]);
    const [gone] = await seen().query(filled(gateStates(), { migration: 'crm', interval: '4s' }));
    expect(gone?.values.at(-1)?.[1]).toBe(String(GATE.unknown));
  });
});
