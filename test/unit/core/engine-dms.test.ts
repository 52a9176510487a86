import { describe, expect, it } from 'vitest';
import type { ReadingPart } from '../../../daemon/core/observation.js';
import { stateAt, type DmsSignal, type LinkName } from '../../../daemon/core/signal.js';
import { Engine } from '../../../daemon/engine.js';
import { FakeClock } from '../../support/fake-clock.js';
import { load } from '../config-inputs.js';

const S = 1_000_000;
const via = (task: string) =>
  `{ via: dms, dms: { tasks: [ "arn:aws:dms:eu-west-1:1:task:${task}" ], region: eu-west-1 } }`;

/** An engine over two links, whose gate asks DMS. */
class Bench {
  readonly clock = new FakeClock();
  readonly engine: Engine;

  constructor(reverse = via('BACK')) {
    const config = load(`
databases:
  onprem: { engine: postgres, url: "postgres://lockgate@onprem/app" }
  aws: { engine: postgres, url: "postgres://lockgate@localhost/app" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: ${via('SHOP')}
    reverse: ${reverse}
    gates:
      runs: { require: [ dms.running is 1, dms.tables_errored is 0 ] }
      calm: { require: dms.apply_exceptions is 0 for 30s }
`);
    this.engine = new Engine(config, this.clock, {
      record: () => true,
      delay: () => undefined,
      direction: () => undefined,
      jumped: () => undefined,
    });
  }

  get now(): number {
    return this.clock.monotonicNow();
  }

  turn(direction: LinkName, epoch: number): void {
    const row = { migration: 'shop', direction, epoch, changedAt: null, changedBy: null, reason: null };
    for (const database of ['onprem', 'aws']) {
      this.engine.observe({ kind: 'direction-rows', database, rows: [row], reason: null, at: this.now });
    }
  }

  dms(signal: DmsSignal, value: number | null, link: LinkName = 'forward', askedAt = this.now): void {
    const reason = value === null ? 'AWS denies it' : null;
    const at = this.now;
    this.engine.observe({
      kind: 'dms-reading',
      link: `shop/${link}`,
      signal,
      value,
      reason,
      askedAt,
      at,
      freshUs: 600 * S,
    });
  }

  errors(part: ReadingPart, value: number | null, freshS: number): void {
    const reason = value === null ? `${part} failed` : null;
    const link = 'shop/forward' as const;
    this.engine.observe({
      kind: 'link-reading',
      link,
      signal: 'errors',
      part,
      value,
      reason,
      at: this.now,
      freshUs: freshS * S,
    });
  }

  reads(signal: string): string {
    const reading = this.engine.reading('shop', signal);
    const state = stateAt(reading, this.now);
    return state === 'ok' ? String(reading.value) : `${state}: ${reading.reason ?? ''}`;
  }

  state(gate: string): string | undefined {
    return this.engine.verdict(`shop/${gate}`)?.state;
  }
}

describe('what DMS says of a migration', () => {
  it('is what it says of the link of the present direction, and unknown while that is unknown', () => {
    const b = new Bench();
    b.dms('dms.running', 1);
    b.dms('dms.tables_errored', 0);
    b.dms('dms.running', 0, 'reverse');
    expect(b.reads('dms.running')).toContain('the direction is unknown');
    expect(b.state('runs')).toBe('unknown');
    b.turn('forward', 1);
    expect(b.reads('dms.running')).toBe('1');
    expect(b.state('runs')).toBe('open');
    b.turn('reverse', 2);
    expect(b.reads('dms.running')).toBe('0');
    expect(b.reads('dms.tables_errored')).toContain('nothing has been observed yet');
    expect(b.state('runs')).toBe('closed');
    b.clock.tick(4 * S);
    b.engine.tick();
    // Nobody has read the direction lately.
    expect(b.state('runs')).toBe('unknown');
  });

  it('closes and blinds a gate at once, with no regard to the other link', () => {
    const b = new Bench();
    b.turn('forward', 1);
    b.dms('dms.running', 1);
    b.dms('dms.tables_errored', 0);
    b.dms('dms.running', 0, 'reverse');
    expect(b.state('runs')).toBe('open');
    b.dms('dms.tables_errored', null);
    expect(b.state('runs')).toBe('unknown');
    b.dms('dms.running', 0);
    expect(b.state('runs')).toBe('closed');
  });

  it('starts holds again when the direction changes', () => {
    const b = new Bench();
    for (const link of ['forward', 'reverse'] as const) b.dms('dms.apply_exceptions', 0, link);
    for (let n = 0; n <= 40; n += 1) {
      b.turn('forward', 1);
      b.clock.tick(S);
    }
    b.turn('forward', 1);
    expect(b.state('calm')).toBe('open');
    b.turn('reverse', 2);
    expect(b.reads('dms.apply_exceptions')).toBe('0');
    expect(b.state('calm')).toBe('closed');
  });

  it('is as old as the sample, and stale ten minutes after it', () => {
    const b = new Bench();
    b.clock.tick(1_000 * S);
    b.turn('forward', 1);
    b.dms('dms.cdc_latency_source', 3, 'forward', b.now - 540 * S);
    expect(b.reads('dms.cdc_latency_source')).toBe('3');
    b.clock.tick(61 * S);
    b.turn('forward', 1);
    expect(b.reads('dms.cdc_latency_source')).toContain('stale');
  });
});

describe('what DMS says of a migration whose way back is of another kind', () => {
  it('is unknown while that one is the active link', () => {
    const b = new Bench('{ via: postgres-logical, subscription: back }');
    b.turn('forward', 1);
    b.dms('dms.running', 1);
    expect(b.reads('dms.running')).toBe('1');
    b.turn('reverse', 2);
    expect(b.reads('dms.running')).toContain('the reverse link, which is the active one, does not come by DMS');
    expect(b.state('runs')).toBe('unknown');
  });
});

describe('errors over DMS', () => {
  it('are those of the tasks and those on the target, known when both are', () => {
    const b = new Bench();
    b.errors('dms-tasks', 0, 600);
    expect(b.reads('forward.errors')).toContain('control tables on the target were not read yet');
    b.errors('dms-control-tables', 0, 15);
    expect(b.reads('forward.errors')).toBe('0');
    b.errors('dms-control-tables', 2, 15);
    b.errors('dms-tasks', 1, 600);
    expect(b.reads('forward.errors')).toBe('3');
  });

  it('are unknown when one part is, but for what the other found', () => {
    const b = new Bench();
    b.errors('dms-tasks', 0, 600);
    b.errors('dms-control-tables', null, 15);
    expect(b.reads('forward.errors')).toBe('unknown: dms-control-tables failed');
    expect(b.engine.reading('shop', 'forward.errors').value).toBeNull();
    b.errors('dms-tasks', 4, 600);
    const reading = b.engine.reading('shop', 'forward.errors');
    expect(reading).toMatchObject({ value: 4, bound: 'at-least' });
  });

  it('are as old as the older part, and stale when the first of them is', () => {
    const b = new Bench();
    b.errors('dms-tasks', 0, 600);
    b.clock.tick(300 * S);
    b.errors('dms-control-tables', 0, 15);
    expect(b.reads('forward.errors')).toBe('0');
    b.clock.tick(16 * S);
    expect(b.reads('forward.errors')).toContain('stale');
    b.errors('dms-tasks', 0, 600);
    expect(b.reads('forward.errors')).toContain('a part of it is stale');
  });

  it('of before a jump of the clocks do not count', () => {
    const b = new Bench();
    b.errors('dms-tasks', 0, 600);
    b.clock.suspend(5 * S);
    b.engine.tick();
    b.errors('dms-control-tables', 0, 15);
    expect(b.reads('forward.errors')).toContain('the DMS tasks were not asked yet');
  });
});
