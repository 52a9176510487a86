import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { batchesOf, dataOf, takenAt, type Datum } from '../../daemon/publish/cloudwatch-data.js';
import { signal } from '../support/fake-port.js';
import { largeWorld, PublishedWorld } from '../support/published-port.js';

let world: PublishedWorld;
beforeEach(() => {
  world = new PublishedWorld();
});
const shown = (): string[] =>
  dataOf(world).map((d) => `${d.name}{${d.dimensions.map((x) => `${x.Name}=${x.Value}`).join()}} ${d.value} ${d.unit}`);

describe('rows that differ', () => {
  const sent = (values: [string, number][]) => {
    world.values.set('shop', new Map(values));
    return dataOf(world).filter((d) => d.name === 'MismatchedRows').map((d) => d.value); // prettier-ignore
  };

  it('are told by the tables where they are too many to be counted, or a table without rows is missing', () => {
    expect(sent([['verify.mismatched_rows', 3], ['verify.mismatched_tables', 2]])).toEqual([3]); // prettier-ignore
    expect(sent([['verify.mismatched_tables', 2]])).toEqual([2]);
    expect(sent([['verify.mismatched_rows', 0], ['verify.mismatched_tables', 1]])).toEqual([1]); // prettier-ignore
    expect(sent([['verify.mismatched_rows', 0], ['verify.mismatched_tables', 0]])).toEqual([0]); // prettier-ignore
    expect(sent([])).toEqual([]);
  });
});

describe('what is sent', () => {
  it('is what is known of links and migrations, and every gate', () => {
    world.values.set('shop', new Map([['forward.lag', 0.42], ['forward.backlog_bytes', 4096], ['split_brain', 0], ['verify.mismatched_rows', 3], ['active.lag', 0.42], ['forward.lag_low', 0.1]])); // prettier-ignore
    world.states.set('shop/flip-writes', 'open').set('all-shards', 'closed');
    expect(shown()).toEqual([
      'Lag{Migration=shop,Link=forward} 0.42 Seconds',
      'BacklogBytes{Migration=shop,Link=forward} 4096 Bytes',
      'MismatchedRows{Migration=shop} 3 Count',
      'SplitBrain{Migration=shop} 0 None',
      'GateOpen{Migration=shop,Gate=flip-writes} 1 None',
      'GateOpen{Gate=all-shards} 0 None',
    ]);
  });

  it('is nothing of a signal that is unknown, stale or no number, and never 0 for it', () => {
    world.values.set('shop', new Map([['forward.lag', null], ['reverse.lag', NaN], ['forward.backlog_bytes', Infinity], ['split_brain', null]])); // prettier-ignore
    expect(shown()).toEqual([]);
    world.signals = () => [{ ...signal('forward.lag', 0.1), state: 'stale' }];
    expect(shown()).toEqual([]);
  });

  it('is not open for a gate that is unknown or gone', () => {
    world.states.set('shop/a', 'unknown');
    world.gates = () => ['shop/a', 'shop/gone'];
    expect(shown()).toEqual(['GateOpen{Migration=shop,Gate=a} 0 None', 'GateOpen{Migration=shop,Gate=gone} 0 None']);
  });
});

describe('requests', () => {
  it('hold all numbers with their instants, in order, within 1000 metrics and 1 MB', () => {
    const datum = (length: number): Datum => ({ name: 'GateOpen', dimensions: [{ Name: 'Gate', Value: 'g'.repeat(length) }], unit: 'None', value: 1 }); // prettier-ignore
    const sizes = fc.array(fc.integer({ min: 0, max: 1500 }), { maxLength: 60 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 1024 }), (counts, length) => {
        const periods = counts.map((count, i) => ({ at: i, data: new Array<Datum>(count).fill(datum(length)) }));
        const batches = batchesOf(periods);
        expect(batches.flatMap((b) => b.data.map((d) => d.at))).toEqual(periods.flatMap((p) => p.data.map(() => p.at)));
        for (const { data } of batches) {
          expect(data.length).toBeGreaterThan(0);
          expect(data.length).toBeLessThanOrEqual(1000);
          expect(JSON.stringify(data).length).toBeLessThan(1_000_000);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('is one a period for 300 gates and 100 links', () => {
    expect(batchesOf([{ at: 0, data: dataOf(largeWorld()) }])).toHaveLength(1);
  });

  it('are not made of what CloudWatch takes no more, or not yet', () => {
    const day = 86_400_000;
    expect([0, 13 * day, 14 * day, -3_600_000, -3 * 3_600_000].map((age) => takenAt(100 * day - age, 100 * day))).toEqual([true, true, false, true, false]); // prettier-ignore
  });
});
