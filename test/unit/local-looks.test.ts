import { describe, expect, it } from 'vitest';
import { Looks } from '../../collectors/postgres/local-looks.js';
import type { LocalLook } from '../../collectors/postgres/local-proof.js';

const s = 1_000_000;

function look(flushed: bigint, inserted = flushed, xids: [bigint, bigint] = [10n, 10n]): LocalLook {
  return {
    ...{ inRecovery: false, flushed, inserted, asyncUs: 600_000, mark: null, slotsLeft: 9, sendersLeft: 9, home: 'a' },
    ...{ xmin: xids[0], xmax: xids[1] },
  };
}

function settled(): Looks {
  const looks = new Looks();
  expect(looks.settle(look(0n), 0)).toBe(true);
  return looks;
}

describe('looks', () => {
  it('are confirmed when the stream has passed them, the newest first', () => {
    const looks = settled();
    for (const n of [1, 2, 3]) looks.asked(look(BigInt(n * 100)), n * s);
    expect(looks.passed(99n)).toBeNull();
    expect(looks.passed(200n)).toMatchObject({ at: 2 * s, exact: true });
    expect(looks.passed(200n)).toBeNull();
    expect(looks.passed(400n)).toMatchObject({ at: 3 * s });
  });

  it('count from an earlier instant while only the flushed WAL was passed', () => {
    const looks = settled();
    looks.asked(look(100n, 150n), 2 * s);
    expect(looks.passed(149n)).toMatchObject({ at: 2 * s - 600_000, exact: false });
    expect(looks.passed(149n)).toBeNull();
    expect(looks.passed(150n)).toMatchObject({ at: 2 * s, exact: true });
  });

  it('confirm nothing of the time before the stream began', () => {
    const looks = settled();
    looks.asked(look(100n, 150n), s / 2);
    expect(looks.passed(149n)).toBeNull();
    looks.asked(look(149n, 150n), 2 * s);
    expect(looks.passed(149n)).toMatchObject({ at: 2 * s - 600_000 });
  });

  it('confirm nothing while a transaction is open that may have begun before the slot', () => {
    const looks = new Looks();
    expect(looks.settle(look(0n, 0n, [5n, 10n]), s)).toBe(false);
    looks.asked(look(0n), 2 * s);
    expect(looks.settle(look(0n, 0n, [9n, 20n]), 3 * s)).toBe(false);
    expect(looks.settled).toBe(false);
    expect(looks.settle(look(0n, 0n, [10n, 30n]), 4 * s)).toBe(true);
    // The last of them may have ended after this one was asked for.
    looks.asked(look(0n), 4 * s - 1);
    expect(looks.passed(1_000n)).toBeNull();
    looks.asked(look(0n), 4 * s);
    expect(looks.passed(1_000n)).toMatchObject({ at: 4 * s });
  });

  it('never go back, and are bounded', () => {
    const looks = settled();
    looks.asked(look(100n), 10 * s);
    expect(looks.passed(100n)).toMatchObject({ at: 10 * s });
    looks.asked(look(100n), 9 * s);
    expect(looks.passed(100n)).toBeNull();
    for (let n = 0; n < 5_000; n++) looks.asked(look(200n + BigInt(n)), (20 + n) * s);
    expect(looks.passed(200n)).toMatchObject({ at: 20 * s });
    // The newest is kept, so that a stream that catches up confirms it.
    expect(looks.passed(10_000n)).toMatchObject({ at: 5_019 * s });
  });
});
