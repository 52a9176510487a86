import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { installHeartbeats, setTrigger, startBed, type Bed } from '../support/heartbeat-bed.js';
import { testedMajors } from '../support/majors.js';
import { startPair, type Pair } from '../support/pair.js';

const stateSql = `select srsubstate::text as state from pg_subscription_rel
  where srrelid = 'lockgate.heartbeat'::regclass`;

describe.each(testedMajors)('a heartbeat table that is copied anew (PostgreSQL %i)', (major) => {
  let pair: Pair;
  let bed: Bed | null = null;

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major });
    await installHeartbeats(pair);
    await setTrigger(pair, 'notify', true);
  });
  afterEach(async () => {
    await bed?.stop();
    bed = null;
  });
  afterAll(() => pair.destroy());

  test('proves nothing of the rest before the copy has joined it', async () => {
    const running = (bed = startBed(pair, { read: 'off' }));
    await running.beats(0, 5);
    await pair.onSource('alter publication shop_pub drop table lockgate.heartbeat');
    await pair.onTarget('alter subscription shop_sub refresh publication');
    await pair.onSource('alter publication shop_pub add table lockgate.heartbeat');
    // The rows that are there make the copy fail, again and again, so that the state stays where it is.
    await pair.onTarget('alter subscription shop_sub refresh publication with (copy_data = true)');
    const copying = (): boolean =>
      running.of('watch-fault').some((o) => o.reason.includes('shop_sub is still copying'));
    await running.until('the copy to be noticed', copying);
    const since = running.mark();
    await running.until('more looks', () => running.of('watch-fault', since).length >= 3);
    expect(running.of('heartbeat-visible', since)).toEqual([]);
    await pair.onTarget('truncate lockgate.heartbeat');
    await running.until(
      'the copy to have joined the rest',
      () => running.of('heartbeat-visible', since).length > 0,
      60_000,
    );
    expect(await pair.onTarget(stateSql)).toEqual([{ state: 'r' }]);
    await running.beats(running.mark(), 3, 30_000);
  }, 120_000);
});
