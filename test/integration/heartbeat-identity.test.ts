import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { installHeartbeats, setTrigger, startBed, type Bed } from '../support/heartbeat-bed.js';
import { startPair, type Pair } from '../support/pair.js';

describe('a target that is really the source', () => {
  let pair: Pair;
  let bed: Bed;

  beforeAll(async () => {
    pair = await startPair({ source: 18, target: 18 });
    await installHeartbeats(pair);
    await setTrigger(pair, 'notify', true);
  });
  afterEach(() => bed.stop());
  afterAll(() => pair.destroy());

  test.each(['wal', 'notify', 'poll'] as const)('shows no heartbeat, watched by %s', async (watch) => {
    bed = startBed(pair, { watch, targetLeadsTo: 'source' });
    const faults = (): number => bed.of('watch-fault').filter((o) => o.reason.includes('same database')).length;
    await bed.until('a heartbeat and several faults', () => bed.of('heartbeat-acked').length > 0 && faults() > 3);
    expect(bed.of('heartbeat-visible').filter((o) => o.upTo !== null)).toEqual([]);
  });
});
