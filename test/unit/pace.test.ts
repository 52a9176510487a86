import { describe, expect, it } from 'vitest';
import { Pace, keepLooking } from '../../collectors/session/pace.js';
import { SampledPositions } from '../../collectors/heartbeat/needs.js';
import { FakeClock } from '../support/fake-clock.js';

const a = 'a/forward';
const b = 'b/forward';

describe('Pace', () => {
  it('waits for the rest of the interval while nobody waits for a position', () => {
    const pace = new Pace(1000);
    expect(pace.next([], 30)).toBe(970);
    expect(pace.next([], 1200)).toBe(0);
  });

  it('asks soon and then ever less often while someone waits', () => {
    const pace = new Pace(1000);
    expect(Array.from({ length: 8 }, () => pace.next([a], 0))).toEqual([10, 20, 40, 80, 160, 250, 250, 250]);
    expect(pace.next([a], 900)).toBe(100);
  });

  it('begins anew when a link begins to wait, whatever another one is doing', () => {
    const pace = new Pace(1000);
    for (let i = 0; i < 6; i++) pace.next([a], 0);
    expect(pace.next([a, b], 0)).toBe(10);
    expect(pace.next([a, b], 0)).toBe(20);
    pace.next([a], 0);
    expect(pace.next([a, b], 0)).toBe(10);
    pace.next([], 0);
    expect(pace.next([a], 0)).toBe(10);
  });
});

describe('keepLooking', () => {
  const start = (
    look: (full: boolean) => boolean,
    closely?: () => boolean,
  ): {
    clock: FakeClock;
    needs: SampledPositions;
    looks: string[];
    stop: () => Promise<void>;
    want: (lsn: bigint) => void;
  } => {
    const clock = new FakeClock();
    const begin = clock.monotonicNow();
    const needs = new SampledPositions([{ id: a, flows: ['f'] }]);
    const looks: string[] = [];
    const stopping = new AbortController();
    const done = keepLooking(
      {
        clock,
        needs,
        links: [a],
        intervalMs: 1000,
        ...(closely === undefined ? {} : { closely }),
        look: (full) => {
          looks.push(`${String((clock.monotonicNow() - begin) / 1000)}${full ? ' full' : ''}`);
          return Promise.resolve({ blind: look(full) ? new Set() : new Set([a] as const) });
        },
      },
      stopping.signal,
    );
    return {
      clock,
      needs,
      looks,
      want: (lsn) => needs.want(a, { kind: 'lsn', lsn }),
      stop: async () => {
        stopping.abort();
        await done;
        expect(clock.sleepers).toBe(0);
      },
    };
  };

  it('looks every second, and in between while a position is waited for', async () => {
    const { clock, needs, looks, want, stop } = start(() => true);
    await clock.advance(1_500_000);
    want(7n);
    await clock.advance(100_000);
    needs.observe({ kind: 'applied', link: a, flow: 'f', position: { kind: 'lsn', lsn: 7n }, askedAt: 0, at: 0 });
    await clock.advance(1_000_000);
    await stop();
    // The look under way when the position was reached is still taken, and then the second is waited for.
    expect(looks).toEqual(['0 full', '1000 full', '1510', '1530', '1570', '1650', '2000 full']);
  });

  it('is not put off by new needs of a link that waits already', async () => {
    const { clock, looks, want, stop } = start(() => true);
    await clock.advance(0);
    for (let i = 1; i <= 20; i++) {
      want(BigInt(i));
      await clock.advance(50_000);
    }
    await stop();
    expect(looks).toEqual(['0 full', '10', '30', '70', '150', '310', '560', '810', '1000 full']);
  });

  it('does not look more often for a link whose positions cannot be told', async () => {
    const { clock, looks, want, stop } = start(() => false);
    await clock.advance(100_000);
    want(7n);
    await clock.advance(1_000_000);
    await stop();
    expect(looks).toEqual(['0 full', '1000 full']);
  });

  it('looks every 50 ms while somebody watches closely, soon after that begins, and not where nothing can be told', async () => {
    let closely = false;
    const { clock, looks, stop } = start(
      () => true,
      () => closely,
    );
    await clock.advance(420_000);
    closely = true;
    await clock.advance(230_000);
    closely = false;
    await clock.advance(500_000);
    await stop();
    expect(looks).toEqual(['0 full', '450', '500', '550', '600', '650', '1000 full']);
    const blind = start(
      () => false,
      () => true,
    );
    await blind.clock.advance(900_000);
    await blind.stop();
    expect(blind.looks).toEqual(['0 full']);
  });
});
