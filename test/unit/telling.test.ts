import { describe, expect, it } from 'vitest';
import type { VerdictsJson } from '../../daemon/http/port.js';
import { Telling } from '../../daemon/telling.js';
import { FakePort, verdict } from '../support/fake-port.js';

/** What was told, each time. */
async function tell(telling: Telling, told: [string, unknown][]): Promise<[string, unknown][]> {
  told.length = 0;
  telling.tell();
  await Promise.resolve();
  return [...told];
}

describe('what is told every second', () => {
  it('is every verdict in brief, whole where more than values has changed, and the signals that have changed', async () => {
    const port = new FakePort();
    const told: [string, unknown][] = [];
    const note = (event: string, data: unknown): void => void told.push([event, data]);
    const telling = new Telling(port, { publish: note, pass: note });
    const brief = (all: [string, unknown][]): VerdictsJson[] =>
      all.filter(([e]) => e === 'verdicts').map(([, d]) => d as VerdictsJson);

    const first = await tell(telling, told);
    expect(first.map(([event]) => event)).toEqual(['signal', 'verdicts', 'verdicts']);
    expect(brief(first).map((v) => [v.migration, v.gates.length, v.changed.length])).toEqual([
      ['shop', 3, 3],
      [null, 1, 1],
    ]);
    expect(brief(first)[0]?.gates[1]).toEqual({
      ...{
        gate: 'shop/drained',
        state: 'closed',
        since: '2026-11-22T00:00:00.000Z',
        opens_at: '2026-11-22T00:03:08.000Z',
      },
      conditions: [['holding', 0.42, 412]],
    });

    expect(brief(await tell(telling, told)).map((v) => v.changed.length)).toEqual([0, 0]);

    const moved = verdict('shop/flip-writes', 'open');
    port.verdicts.set('shop/flip-writes', {
      ...moved,
      conditions: [{ ...moved.conditions[0]!, value: 1, held_seconds: 601 }],
    });
    expect(brief(await tell(telling, told)).map((v) => v.changed.length)).toEqual([0, 0]);
    expect(brief(told)[0]?.gates[0]?.conditions).toEqual([['held', 1, 601]]);

    port.verdicts.set('shop/flip-writes', verdict('shop/flip-writes', 'unknown'));
    expect(brief(await tell(telling, told)).map((v) => v.changed.map((c) => c.gate))).toEqual([
      ['shop/flip-writes'],
      [],
    ]);
  });
});
