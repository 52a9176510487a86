// What a daemon says that begins with an empty store where an earlier one has run: the words of docs/deployment.md.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Chains } from '../../daemon/chains.js';
import { forgottenMemories, keptMemories } from '../../daemon/keeper.js';
import type { Config } from '../../daemon/core/config.js';
import type { Direction } from '../../daemon/core/direction.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { openStore } from '../../daemon/store/sqlite.js';
import { Strays, type StrayMemories } from '../../daemon/strays.js';

const S = 1_000_000;
const AGAIN_MS = 1_000_000;
const nothingSeen = { identities: [], positions: [], broken: [] };
const watching = {
  kind: 'local-watch',
  watching: true,
  emptyGap: false,
  upTo: null,
  mark: null,
  reason: null,
} as const;

/** Stray writes as a daemon reads them that remembers nothing and has watched both sides for a second. */
function begunAnew(direction: Direction, kept: StrayMemories = {}): { value: number | null; reason: string | null } {
  const strays = new Strays(kept);
  strays.turn('shop', direction, AGAIN_MS);
  for (const at of [1_000 * S, 1_001 * S]) {
    for (const side of ['source', 'target'] as const) {
      strays.observe('shop', side, { ...watching, database: side, at }, at / 1_000);
    }
  }
  const { value, reason } = strays.reading('shop', direction, 1_001 * S);
  return { value, reason };
}

describe('a store that was lost', () => {
  it('makes stray writes unknown where the direction was ever changed: its row says since when nobody remembers', () => {
    const { value, reason } = begunAnew({ direction: 'reverse', epoch: 1, changedAt: '1970-01-01T00:08:20Z' });
    expect(value).toBeNull();
    expect(reason).toContain('forgotten');
  });

  it('FORGETS stray writes that were latched before the first flip, and says 0', () => {
    expect(begunAnew({ direction: 'forward', epoch: 0, changedAt: null }).value).toBe(0);
  });

  it('FORGETS that a chain was broken, and says 1', () => {
    const before = new Chains({});
    expect(before.broke('shop/forward', 'slot shop_sub was made anew', 1 * S, 1_000).reading.value).toBe(0);
    const kept = new Chains(before.kept);
    expect(kept.see('shop/forward', nothingSeen, 2 * S, 60 * S, 2_000).reading.value, 'with its store').toBe(0);
    expect(new Chains({}).see('shop/forward', nothingSeen, 2 * S, 60 * S, 2_000).reading.value, 'without').toBe(1);
  });

  it('is known to be lost where it was corrupt: neither chains nor strays read as if there had been none', () => {
    const links = { forward: { name: 'forward' } };
    const config = { migrations: new Map([['shop', { name: 'shop', links }]]) } as unknown as Config;
    const kept = JSON.parse(JSON.stringify(forgottenMemories(config, 1_000))) as ReturnType<typeof forgottenMemories>;
    const chains = new Chains(kept.chains);
    expect(chains.see('shop/forward', nothingSeen, 2 * S, 60 * S, 2_000).reading).toMatchObject({
      value: 0,
      reason: expect.stringContaining('the store was corrupt') as string,
    });
    const forward: Direction = { direction: 'forward', epoch: 0, changedAt: null };
    const { value, reason } = begunAnew(forward, kept.strays);
    expect([value, reason]).toEqual([null, expect.stringContaining('the store was corrupt')]);
    chains.clear('shop/forward', Infinity, 3_000);
    expect(chains.see('shop/forward', nothingSeen, 4 * S, 60 * S, 4_000).reading.value, 'once accepted').toBe(1);
  });

  it('leaves nothing of attestations, long holds, fences and comparisons', () => {
    const folder = mkdtempSync(join(tmpdir(), 'lockgate-store-'));
    const { store } = openStore(join(folder, 'lockgate.db'), new SystemClock());
    expect(store.attestations('shop')).toEqual([]);
    expect(store.loadHolds()).toEqual([]);
    expect(keptMemories(store)).toEqual({ chains: {}, strays: {} });
    store.close();
    rmSync(folder, { recursive: true });
  });
});
