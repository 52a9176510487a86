import { describe, expect, it } from 'vitest';
import type { FenceJson } from '../../../daemon/http/port.js';
import { AlertBench, alertsConfig, FakeSink } from '../../support/alert-bench.js';
import { directionChange, fence } from '../../support/fake-port.js';

const RULES = [
  'resolve_after: 10s',
  'pagerduty: { routing_key: "${env:PD_KEY}" }',
  'rules: [ { name: errs, when: "forward.errors > 0 for 5s", severity: error } ]',
];
const KEY = 'lockgate/shop/errs';
const bench = (): AlertBench => new AlertBench(alertsConfig(RULES));

describe('an alert', () => {
  it('is pending, fires with what it went by, and ends when it is known to be over for long enough', async () => {
    const b = bench();
    await b.errors(0, 2);
    expect(b.state('errs')).toBe('inactive');
    await b.errors(3, 3);
    expect(b.state('errs')).toBe('pending');
    expect(b.journal).toEqual([]);
    await b.errors(3, 3);
    expect(b.state('errs')).toBe('firing');
    const [event] = b.sink.taken;
    expect(event).toMatchObject({
      ...{ kind: 'trigger', key: KEY, rule: 'errs', migration: 'shop', severity: 'error', daemon: 'lockgate-a' },
      summary: '[shop] errs: forward.errors > 0 for 5s (3)',
      details: { value: 3, when: 'forward.errors > 0 for 5s', config_hash: b.config.hash },
    });
    await b.errors(0, 9);
    expect(b.state('errs')).toBe('firing');
    await b.errors(0, 3);
    expect(b.state('errs')).toBe('resolved');
    expect(b.sink.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
    expect(b.journaled()).toEqual(['fired', 'resolved']);
  });

  it('makes one incident of a signal that flaps, not twenty', async () => {
    const b = bench();
    for (let n = 0; n < 20; n += 1) {
      await b.errors(1, 6);
      await b.errors(0, 4);
    }
    await b.errors(0, 12);
    expect(b.sink.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
  });

  it('does not end because data went missing', async () => {
    const b = bench();
    await b.errors(1, 7);
    await b.errors(null, 30);
    await b.errors('unseen', 30);
    await b.errors(0, 6);
    await b.errors('unseen', 8);
    expect(b.state('errs')).toBe('firing');
    await b.errors(0, 9);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
    await b.errors(0, 3);
    expect(b.sink.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
  });

  it('fires when nothing is known for long, and says why', async () => {
    const b = bench();
    b.direction('forward', 1);
    await b.pass(305);
    expect(b.state('replication-unknown')).toBe('firing');
    expect(b.sink.said).toEqual(['trigger lockgate/shop/replication-unknown']);
    expect(b.sink.taken[0]?.summary).toMatch(/nothing is known of the lag: active\.lag: ./);
  });

  it('goes out although the store cannot be written, and is not told twice when it can', async () => {
    const b = bench();
    b.diskFull = true;
    await b.errors(1, 7);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
    b.diskFull = false;
    await b.errors(1, 2);
    await b.kill();
    b.start();
    await b.errors(1, 10);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
  });
});

describe('the gates behind rules', () => {
  it('are nobody else’s: neither asked for, nor journaled, nor kept', async () => {
    const b = bench();
    await b.errors(1, 7);
    expect(b.engine.ruleVerdict('rule shop/errs fires')?.state).toBe('open');
    expect(b.engine.verdict('rule shop/errs fires')).toBeUndefined();
    expect(b.gates).toEqual([]);
  });

  it('follow other gates and the direction', async () => {
    const ready = 'gates: { rollback-ready: { require: "forward.errors == 0" } }';
    const b = new AlertBench(alertsConfig(RULES.slice(0, 2), [ready]));
    const key = 'lockgate/shop/rollback-not-ready';
    const pass = async (direction: 'forward' | 'reverse', epoch: number, errors: number, s: number): Promise<void> => {
      for (let n = 0; n < s; n += 1) {
        b.direction(direction, epoch, '2026-11-21T00:00:00Z');
        await b.errors(errors, 1);
      }
    };
    const said = (): string[] => b.sink.said.filter((s) => s.endsWith(key));
    await pass('forward', 1, 1, 70);
    expect(said()).toEqual([]);
    await pass('reverse', 2, 1, 65);
    expect(said()).toEqual([`trigger ${key}`]);
    expect(b.sink.taken.at(-1)?.details['reason']).toBe('gate shop/rollback-ready waits for forward.errors == 0');
    await pass('reverse', 2, 0, 5);
    await pass('forward', 3, 1, 8);
    expect(said()).toHaveLength(1);
    await pass('forward', 3, 1, 4);
    expect(said()).toEqual([`trigger ${key}`, `resolve ${key}`]);
    expect(b.gates).toContain('shop/rollback-ready');
  });
});

describe('a restart makes no second incident', () => {
  const begin = async (): Promise<AlertBench> => {
    const b = bench();
    await b.errors(0, 2);
    return b;
  };

  it('of an alert that is inactive or pending', async () => {
    const b = await begin();
    await b.kill();
    b.start();
    await b.errors(1, 4);
    await b.kill();
    b.start();
    await b.errors(1, 4);
    expect(b.sink.said).toEqual([]);
    await b.errors(1, 3);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
  });

  it('of one that fires and was told, and it ends although the end was never seen', async () => {
    const b = await begin();
    await b.errors(1, 7);
    await b.kill();
    b.start();
    expect(b.state('errs')).toBe('firing');
    await b.errors(1, 20);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
    await b.kill();
    b.start();
    await b.errors(0, 12);
    expect(b.sink.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
    expect(b.journaled('errs')).toEqual(['fired', 'resolved']);
  });

  it('of one that waits to be told', async () => {
    const b = await begin();
    b.sink.answers = 'retry';
    await b.errors(1, 7);
    await b.kill();
    b.start();
    b.sink.answers = 'delivered';
    await b.errors(1, 20);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
    // The same event, by which a receiver knows it.
    expect(new Set(b.sink.tried.map((e) => e.id)).size).toBe(1);
  });

  it('of one that was on its way, taken or not', async () => {
    for (const answers of ['silent', 'unsaid'] as const) {
      const b = await begin();
      b.sink.answers = answers;
      await b.errors(1, 7);
      await b.kill();
      b.start();
      b.sink.answers = 'delivered';
      await b.errors(1, 20);
      expect(b.sink.incidents).toEqual({ open: [KEY], begun: 1 });
      expect(new Set(b.sink.taken.map((e) => e.id)).size).toBe(1);
    }
  });

  it('of one that was over for a while, but not for long enough', async () => {
    const b = await begin();
    await b.errors(1, 7);
    await b.errors(0, 8);
    await b.kill();
    b.start();
    await b.errors(0, 8);
    expect(b.state('errs')).toBe('firing');
    await b.errors(1, 8);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
  });

  it('of one whose end waits to be told, and the end is not lost', async () => {
    const b = await begin();
    await b.errors(1, 7);
    b.sink.answers = 'retry';
    await b.errors(0, 12);
    await b.kill();
    b.start();
    b.sink.answers = 'delivered';
    await b.errors(0, 5);
    expect(b.sink.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
    await b.kill();
    b.start();
    await b.errors(0, 30);
    expect(b.sink.said).toHaveLength(2);
  });

  it('of one that is silenced', async () => {
    const b = new AlertBench(
      alertsConfig(RULES, [
        'maintenance: [ { from: 2026-11-22T00:00:00Z, to: 2026-11-22T00:01:00Z, note: patching } ]',
      ]),
    );
    await b.errors(1, 10);
    await b.kill();
    b.start();
    await b.errors(1, 10);
    expect(b.sink.said).toEqual([]);
    await b.kill();
    b.start();
    await b.errors(1, 60);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
    expect(b.journaled('errs')).toEqual(['fired', 'silenced']);
  });
});

describe('a maintenance window', () => {
  const windows = (...all: string[]): AlertBench =>
    new AlertBench(alertsConfig(RULES, [`maintenance: [ ${all.join(', ')} ]`]));
  const window = (from: string, to: string): string => `{ from: 2026-11-22T00:${from}Z, to: 2026-11-22T00:${to}Z }`;

  it('keeps quiet what begins in it and is over before its end', async () => {
    const b = windows(window('00:00', '01:00'));
    await b.errors(1, 10);
    expect(b.alerting.json().alerts.find((a) => a.rule === 'errs')).toMatchObject({
      ...{ state: 'firing', silenced_until: '2026-11-22T00:01:00.000Z' },
    });
    await b.errors(0, 60);
    expect(b.sink.said).toEqual([]);
    expect(b.journaled('errs')).toEqual(['fired', 'silenced', 'resolved']);
  });

  it('lets an end out at once, and what still fires when the last of them ends', async () => {
    const b = windows(window('00:10', '00:40'), window('00:30', '01:00'));
    await b.errors(1, 9);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
    await b.errors(0, 12);
    expect(b.sink.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
    await b.errors(1, 35);
    expect(b.sink.said).toHaveLength(2);
    await b.errors(1, 10);
    expect(b.sink.said.slice(2)).toEqual([`trigger ${KEY}`]);
  });
});

describe('what waits when a maintenance window begins', () => {
  it('waits for its end', async () => {
    const b = new AlertBench(
      alertsConfig(RULES, ['maintenance: [ { from: 2026-11-22T00:00:20Z, to: 2026-11-22T00:01:30Z } ]']),
    );
    b.sink.answers = 'retry';
    await b.errors(1, 21);
    b.sink.answers = 'delivered';
    await b.errors(1, 60);
    expect(b.sink.said).toEqual([]);
    await b.errors(1, 12);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
  });
});

describe('a reload', () => {
  it('leaves what fires and what is about to as it is, and ends what has no rule any more', async () => {
    const b = bench();
    await b.errors(1, 4);
    b.reload(alertsConfig(RULES, ['maintenance: [ { from: 2027-11-22T00:00:00Z, to: 2027-11-22T00:01:00Z } ]']));
    await b.errors(1, 2);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
    b.reload(alertsConfig(RULES.slice(0, 2)));
    await b.pass(1);
    expect(b.sink.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
    expect(b.sink.taken[1]?.details).toMatchObject({ why: 'the rule was removed from the configuration' });
    expect(b.state('errs')).toBeUndefined();
  });

  it('goes on with an incident whose rule asks something else now', async () => {
    const b = bench();
    await b.errors(1, 7);
    b.reload(alertsConfig([...RULES.slice(0, 2), RULES[2]!.replace('> 0', '> 5')]));
    await b.errors(1, 9);
    expect(b.state('errs')).toBe('firing');
    await b.errors(1, 4);
    expect(b.sink.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
  });

  it('ends after a restart, too, what has no rule any more', async () => {
    const b = bench();
    await b.errors(1, 7);
    await b.kill();
    b.config = alertsConfig(RULES.slice(0, 2));
    b.start();
    await b.pass(1);
    expect(b.sink.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
  });

  it('tells a new sink of what fires already, and keeps nothing for one that has gone', async () => {
    const b = bench();
    await b.errors(1, 7);
    const hook = new FakeSink('webhook');
    b.sinks = [b.sink, hook];
    b.reload(b.config);
    await b.errors(1, 2);
    expect([b.sink.said, hook.said]).toEqual([[`trigger ${KEY}`], [`trigger ${KEY}`]]);
    b.sinks = [hook];
    b.reload(b.config);
    await b.errors(1, 2);
    b.sinks = [b.sink, hook];
    b.reload(b.config);
    await b.errors(1, 2);
    // Nobody knows what has become of it meanwhile.
    expect([b.sink.said.length, hook.said.length]).toEqual([2, 1]);
    b.sinks = [hook];
    b.reload(b.config);
    await b.errors(0, 12);
    expect(b.sink.said).toHaveLength(2);
    expect(hook.said).toEqual([`trigger ${KEY}`, `resolve ${KEY}`]);
  });
});

describe('fences', () => {
  const told = (b: AlertBench, f: FenceJson): void => {
    b.newest = f;
    b.alerting.fence(f);
  };
  const alerts = (b: AlertBench): string[] => b.sink.said.filter((s) => !s.startsWith('change'));

  it('fire until a newer one is there for a while', async () => {
    const b = bench();
    b.direction('forward', 1);
    told(b, fence('f1', 'placed', { placed_at: '2026-11-22T00:00:01Z' }));
    await b.pass(2);
    told(b, fence('f1', 'violated', { placed_at: '2026-11-22T00:00:01Z' }));
    await b.pass(60);
    expect(alerts(b)).toEqual(['trigger lockgate/shop/fence-violated']);
    b.direction('forward', 1);
    told(b, fence('f2', 'placed', { placed_at: '2026-11-22T00:01:01Z' }));
    await b.pass(5);
    told(b, fence('f2', 'violated', { placed_at: '2026-11-22T00:01:01Z' }));
    await b.pass(20);
    told(b, fence('f3', 'placed', { placed_at: '2026-11-22T00:02:01Z' }));
    await b.pass(8);
    expect(alerts(b)).toEqual(['trigger lockgate/shop/fence-violated']);
    told(b, fence('f3', 'drained', { placed_at: '2026-11-22T00:02:01Z' }));
    await b.pass(4);
    expect(alerts(b)).toEqual(['trigger lockgate/shop/fence-violated', 'resolve lockgate/shop/fence-violated']);
    expect(b.sink.said.filter((s) => s.startsWith('change'))).toEqual([
      'change [shop] fence f1 violated: 0 writes after it',
      'change [shop] fence f2 violated: 0 writes after it',
      'change [shop] fence f3 drained: in 1.3 s',
    ]);
  });

  it('do not end because they cannot be seen, and end when the direction is changed past them', async () => {
    const b = bench();
    b.direction('forward', 1);
    told(b, fence('f1', 'expired', { placed_at: '2026-11-22T00:00:01Z' }));
    await b.pass(2);
    expect(alerts(b)).toEqual(['trigger lockgate/shop/fence-expired']);
    await b.kill();
    const { newest } = b;
    b.newest = null;
    b.start();
    await b.pass(30);
    b.newest = newest;
    await b.pass(30);
    expect(alerts(b)).toHaveLength(1);
    for (let n = 0; n < 14; n += 1) {
      b.direction('reverse', 2);
      await b.pass(1);
    }
    expect(alerts(b)).toEqual(['trigger lockgate/shop/fence-expired', 'resolve lockgate/shop/fence-expired']);
  });
});

describe('a change of direction', () => {
  it('is told as a change, once, also over a restart', async () => {
    const b = bench();
    b.direction('forward', 1);
    await b.pass(1);
    b.direction('reverse', 2);
    await b.pass(1);
    await b.kill();
    b.start();
    b.direction('reverse', 2);
    await b.pass(2);
    expect(b.sink.said).toEqual(['change [shop] direction forward -> reverse']);
  });

  it('that was forced is an alert until somebody has looked into it', async () => {
    const b = bench();
    b.alerting.declared(
      directionChange({ forced: true, fence: null, changed_by: 'ann', reason: 'the source is gone' }),
    );
    await b.pass(120);
    const key = 'lockgate/shop/direction-forced';
    expect(b.sink.said).toEqual([`trigger ${key}`]);
    expect(b.sink.taken[0]).toMatchObject({
      severity: 'critical',
      details: { reason: expect.stringContaining('by ann') as string },
    });
    await b.kill();
    b.start();
    await b.pass(2);
    b.alerting.attested({ migration: 'shop', name: 'backup', by: 'bob' });
    expect(b.state('direction-forced')).toBe('firing');
    b.alerting.attested({ migration: 'shop', name: 'forced-change-reviewed', by: 'bob' });
    await b.pass(1);
    expect(b.sink.said).toEqual([`trigger ${key}`, `resolve ${key}`]);
    b.alerting.declared(directionChange({ forced: true }));
    await b.pass(2);
    b.alerting.declared(directionChange({ forced: false, action: 'rollback' }));
    await b.pass(2);
    expect(b.sink.said.slice(2)).toEqual([`trigger ${key}`, `resolve ${key}`]);
  });
});

describe('deliveries', () => {
  it('that are refused are journaled and not tried again', async () => {
    const b = bench();
    b.sink.answers = 'refused';
    await b.errors(1, 30);
    expect(b.sink.tried).toHaveLength(1);
    expect(b.journal.at(-1)).toMatchObject({
      ...{ state: 'delivery-failed', rule: 'errs', sink: 'pagerduty', event: 'trigger', reason: 'it answered 400' },
    });
    expect(b.alerting.json().sinks).toEqual([
      expect.objectContaining({ waiting: 0, refused: 1, last_error: 'it answered 400', last_delivered_at: null }),
    ]);
  });

  it('are tried again with longer and longer pauses, and are given up after ten seconds without an answer', async () => {
    const b = bench();
    b.sink.answers = 'silent';
    await b.errors(1, 180);
    // Attempts of 10 s, and pauses of 0.75, 1.5, 3, 6, 12, 24, 45 s.
    expect(b.sink.tried.length).toBeGreaterThanOrEqual(6);
    expect(b.sink.tried.length).toBeLessThanOrEqual(8);
    b.sink.answers = 'delivered';
    await b.errors(1, 60);
    expect(b.sink.said).toEqual([`trigger ${KEY}`]);
    expect(b.alerting.json().sinks[0]).toMatchObject({ waiting: 0, delivered: 1, last_error: null });
  });

  it('are no more than about 120 a minute', async () => {
    const rules = Array.from({ length: 200 }, (_, i) => `{ name: r${i}, when: "forward.errors > 0", severity: info }`);
    const b = new AlertBench(alertsConfig([...RULES.slice(0, 2), `rules: [ ${rules.join(', ')} ]`]));
    await b.errors(1, 60);
    expect(b.sink.taken.length).toBeGreaterThan(90);
    expect(b.sink.taken.length).toBeLessThanOrEqual(121);
  });

  it('are on the disk before they are sent, and no longer than until they are taken', async () => {
    const b = bench();
    const onDisk = (): string => [...b.disk.values()].join();
    const kept: boolean[] = [];
    b.sink.onTry = (event) => void kept.push(onDisk().includes(event.id));
    b.direction('forward', 1);
    await b.errors(1, 7);
    b.direction('reverse', 2);
    await b.errors(0, 12);
    expect(kept).toEqual([true, true, true]);
    for (const { id } of b.sink.taken) expect(onDisk()).not.toContain(id);
  });

  it('leave nothing asleep when they are stopped', async () => {
    const b = bench();
    b.sink.answers = 'retry';
    await b.errors(1, 7);
    await b.kill();
    expect(b.clock.sleepers).toBe(0);
  });
});
