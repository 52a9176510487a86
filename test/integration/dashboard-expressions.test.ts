/** What the expressions of the dashboards yield with two daemons, with one that is gone, and with one that says old things. */
import { describe, expect, it } from 'vitest';
import {
  alertsFiring,
  direction,
  DIRECTION,
  fence,
  FENCE,
  GATE,
  gatesIn,
  gateStates,
  UNKNOWN,
  unknownSignals,
  worstOrUnknown,
} from '../../deploy/grafana/promql.js';
import { withoutPrometheus } from '../support/flavours.js';
import { filled } from '../support/promql.js';
import { promtoolExpressions } from '../support/rules.js';

/** When the expressions are looked at: late enough that what has ended a minute before is no longer seen by itself. */
const AT = 300;
const LIVE = 'x20';
/** Goes on until a minute before, and ends as a series of a target does that can no longer be scraped. */
const ENDS = 'x16 stale';

/** What a daemon has to say; `old`: it goes on saying it, but has judged nothing since the beginning. */
class Said {
  readonly series: Record<string, string> = {};

  constructor(readonly ends: readonly string[] = []) {}

  daemon(instance: string, { old = false } = {}): this {
    this.series[`lockgate_last_evaluation_timestamp_seconds{job="lockgate",instance="${instance}"}`] = old
      ? `0${LIVE}`
      : `0+15${this.#how(instance)}`;
    return this;
  }

  says(instance: string, metric: string, labels: string, value: number): this {
    const all = `job="lockgate",instance="${instance}",migration="shop"${labels === '' ? '' : `,${labels}`}`;
    this.series[`${metric}{${all}}`] = `${value}${this.#how(instance)}`;
    return this;
  }

  gate(instance: string, state: string): this {
    this.says(instance, 'lockgate_gate_open', 'gate="flip"', state === 'open' ? 1 : 0);
    for (const s of Object.keys(GATE)) {
      this.says(instance, 'lockgate_gate_state', `gate="flip",state="${s}"`, s === state ? 1 : 0);
    }
    return this;
  }

  direction(instance: string, towards: string): this {
    for (const d of ['forward', 'reverse', 'unknown']) {
      this.says(instance, 'lockgate_direction', `direction="${d}"`, d === towards ? 1 : 0);
    }
    return this;
  }

  fence(instance: string, state: string): this {
    for (const s of Object.keys(FENCE)) {
      this.says(instance, 'lockgate_fence_state', `state="${s}"`, s === state ? 1 : 0);
    }
    return this;
  }

  lag(instance: string, value: number | null): this {
    const label = 'signal="active.lag"';
    this.says(instance, 'lockgate_signal_known', label, value === null ? 0 : 1);
    return value === null ? this : this.says(instance, 'lockgate_signal', label, value);
  }

  #how(instance: string): string {
    return this.ends.includes(instance) ? ENDS : LIVE;
  }
}

async function yields(said: Said, expr: string, samples: Record<string, number>, at = AT): Promise<void> {
  await promtoolExpressions(said.series, [{ expr: filled(expr, { migration: '.*', interval: '60s' }), at, samples }]);
}

const both = (ends: string[] = [], old: string[] = []): Said =>
  new Said(ends).daemon('a:1', { old: old.includes('a:1') }).daemon('b:1', { old: old.includes('b:1') });
const gate = '{migration="shop",gate="flip"}';
const shop = '{migration="shop"}';

describe.skipIf(withoutPrometheus)('a gate', () => {
  it.each([
    ['open', 'open', GATE.open],
    ['open', 'closed', GATE.closed],
    ['open', 'unknown', GATE.unknown],
    ['closed', 'unknown', GATE.unknown],
  ])('that is %s to one daemon and %s to the other is %i', async (a, b, expected) => {
    await yields(both().gate('a:1', a).gate('b:1', b), gateStates(), { [gate]: expected });
  });

  it('that nobody watches any more is unknown for an hour, and never open', async () => {
    const said = both(['a:1', 'b:1']).gate('a:1', 'open').gate('b:1', 'open');
    await yields(said, gateStates(), { [gate]: GATE.unknown });
    await yields(said, gateStates(), {}, 4_200);
    await yields(said, gatesIn('open'), { [shop]: 0 });
    await yields(said, gatesIn('unknown'), { [shop]: 1 });
  });

  it('of which one says nothing new for a minute is unknown: a cache may say "open" for ever', async () => {
    await yields(new Said().daemon('a:1', { old: true }).gate('a:1', 'open'), gateStates(), { [gate]: GATE.unknown });
    const one = both([], ['a:1']).gate('a:1', 'open').gate('b:1', 'closed');
    await yields(one, gateStates(), { [gate]: GATE.closed });
  });

  it('is seen by the other daemon when one is gone', async () => {
    await yields(both(['b:1']).gate('a:1', 'open').gate('b:1', 'open'), gateStates(), { [gate]: GATE.open });
  });
});

describe.skipIf(withoutPrometheus)('a signal', () => {
  it('is the worst that is said, and 0 only where 0 was said', async () => {
    await yields(both().lag('a:1', 0.2).lag('b:1', 4), worstOrUnknown('active.lag'), { [shop]: 4 });
    await yields(both().lag('a:1', 0.2).lag('b:1', 4), worstOrUnknown('active.lag', 'min'), { [shop]: 0.2 });
    await yields(both().lag('a:1', 0).lag('b:1', 0), worstOrUnknown('active.lag'), { [shop]: 0 });
  });

  it('is unknown as soon as one that watches cannot tell, or nobody watches, or what is said is old', async () => {
    const unknown = { [shop]: UNKNOWN };
    await yields(both().lag('a:1', 0.2).lag('b:1', null), worstOrUnknown('active.lag'), unknown);
    await yields(both(['a:1', 'b:1']).lag('a:1', 0.2).lag('b:1', 0.2), worstOrUnknown('active.lag'), unknown);
    await yields(new Said().daemon('a:1', { old: true }).lag('a:1', 0.2), worstOrUnknown('active.lag'), unknown);
    await yields(new Said(['a:1']).daemon('a:1').lag('a:1', 0.2), worstOrUnknown('active.lag'), unknown);
  });

  it('is listed among the unknown then, and only then', async () => {
    const listed = { '{migration="shop",signal="active.lag"}': 1 };
    await yields(both().lag('a:1', 0.2).lag('b:1', null), unknownSignals('.+'), listed);
    await yields(new Said(['a:1']).daemon('a:1').lag('a:1', 0.2), unknownSignals('.+'), listed);
    await yields(both().lag('a:1', 0.2).lag('b:1', 0.2), unknownSignals('.+'), {});
  });
});

describe.skipIf(withoutPrometheus)('the direction', () => {
  it.each([
    ['forward', 'forward', DIRECTION.forward],
    ['reverse', 'reverse', DIRECTION.reverse],
    ['forward', 'unknown', DIRECTION.disagree],
    ['forward', 'reverse', DIRECTION.disagree],
    ['unknown', 'unknown', DIRECTION.unknown],
  ])('that is %s to one daemon and %s to the other is %i', async (a, b, expected) => {
    await yields(both().direction('a:1', a).direction('b:1', b), direction(), { [shop]: expected });
  });

  it('is unknown when nobody watches any more', async () => {
    await yields(new Said(['a:1']).daemon('a:1').direction('a:1', 'forward'), direction(), {
      [shop]: DIRECTION.unknown,
    });
  });
});

describe.skipIf(withoutPrometheus)('a fence', () => {
  it('is the worst that is said of it, unknown when nobody watches, and nothing where there is none', async () => {
    await yields(both().fence('a:1', 'drained').fence('b:1', 'violated'), fence(), { [shop]: FENCE.violated });
    await yields(both().fence('a:1', 'drained').fence('b:1', 'drained'), fence(), { [shop]: FENCE.drained });
    await yields(both().fence('a:1', 'drained').fence('b:1', 'placed'), fence(), { [shop]: FENCE.placed });
    const gone = new Said(['a:1']).daemon('a:1').fence('a:1', 'drained');
    await yields(gone, fence(), { [shop]: FENCE.unknown });
    await yields(both(), fence(), {});
  });
});

describe.skipIf(withoutPrometheus)('alerts', () => {
  const firing = 'ALERTS{alertname="LockgateLagHigh",alertstate="firing",migration="shop"}';

  it('are counted, and none is 0 only while somebody watches', async () => {
    const watched = new Said().daemon('a:1').direction('a:1', 'forward');
    await yields(watched, alertsFiring(), { [shop]: 0 });
    watched.series[firing] = `1${LIVE}`;
    await yields(watched, alertsFiring(), { [shop]: 1 });
    await yields(new Said(['a:1']).daemon('a:1').direction('a:1', 'forward'), alertsFiring(), { [shop]: UNKNOWN });
  });
});

describe.skipIf(withoutPrometheus)('these tests', () => {
  it('fail when an expression yields something else', async () => {
    await expect(yields(both().lag('a:1', 1).lag('b:1', 1), worstOrUnknown('active.lag'), {})).rejects.toThrow();
  });
});
