import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { installHeartbeats, leftovers, startBed, type Bed, type BedOptions } from '../support/heartbeat-bed.js';
import { testedMajors } from '../support/majors.js';
import { startPair, type Pair } from '../support/pair.js';

const settle = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/** Holds up this process as a suspended one would be: no timer fires and no socket is read. */
function freezeOurselves(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe.each(testedMajors)('faults of PostgreSQL %i servers', (major) => {
  let pair: Pair;
  let bed: Bed;

  const start = async (options: BedOptions = {}): Promise<void> => {
    bed = startBed(pair, options);
    await bed.until('reading WAL', () => bed.of('heartbeat-visible').some((o) => o.by === 'wal'));
  };
  beforeAll(async () => {
    pair = await startPair({ source: major, target: major });
    await installHeartbeats(pair);
  });
  afterEach(async () => {
    pair.targetProxy.thaw();
    pair.sourceProxy.thaw();
    await bed.stop();
  });
  afterAll(() => pair.destroy());

  test('a killed target is a watch fault at once, and watched again when it is back', async () => {
    await start();
    const since = bed.mark();
    await pair.target.kill();
    await bed.until('the fault', () => bed.of('watch-fault', since).length > 0, 2_000);
    await settle(500);
    const dead = bed.mark();
    await settle(500);
    expect(bed.of('heartbeat-visible', dead)).toEqual([]);
    await pair.target.start();
    await bed.beats(bed.mark(), 5, 20_000);
    await bed.until('reading WAL again', () => bed.of('heartbeat-visible', dead).some((o) => o.by === 'wal'), 20_000);
  });

  test('a killed source is a writer fault at once, and written again when it is back', async () => {
    await start();
    const since = bed.mark();
    await pair.source.kill();
    await bed.until('the fault', () => bed.of('writer-fault', since).length > 0, 2_000);
    const dead = bed.mark();
    await settle(500);
    expect(bed.of('heartbeat-acked', dead)).toEqual([]);
    await pair.source.start();
    await bed.beats(bed.mark(), 5, 20_000);
    const acked = bed.of('heartbeat-acked').map((o) => o.seq);
    const failed = bed.of('heartbeat-failed').map((o) => o.seq);
    const sent = bed.of('heartbeat-sent').map((o) => o.seq);
    // Every heartbeat that was sent ended in one way, but for one that may be under way at this moment.
    expect(sent.filter((seq) => !acked.includes(seq) && !failed.includes(seq)).length).toBeLessThanOrEqual(1);
    expect(new Set([...acked, ...failed]).size).toBe(acked.length + failed.length);
  });

  test('a frozen way to the target is a watch fault within two seconds, and seen to be over', async () => {
    await start();
    const since = bed.mark();
    pair.targetProxy.freeze();
    await bed.until('the fault', () => bed.of('watch-fault', since).length > 0, 2_500);
    await settle(4_000);
    pair.targetProxy.thaw();
    const thawed = bed.mark();
    await bed.beats(thawed, 5, 10_000);
    await bed.until('reading WAL again', () => bed.of('heartbeat-visible', thawed).some((o) => o.by === 'wal'), 20_000);
    await bed.until(
      'the abandoned sessions to end',
      async () => (await leftovers(pair, 'target', bed.daemonId)).length <= 3,
      15_000,
    );
  });

  test('a frozen way to the source leaves the heartbeat of uncertain outcome', async () => {
    await start();
    const since = bed.mark();
    pair.sourceProxy.freeze();
    await bed.until('the fault', () => bed.of('writer-fault', since).length > 0, 6_000);
    const failed = bed.of('heartbeat-failed', since);
    expect(failed.length).toBeLessThanOrEqual(1);
    for (const { outcome } of failed) expect(outcome).toBe('uncertain');
    pair.sourceProxy.thaw();
    await bed.beats(bed.mark(), 5, 15_000);
  });

  test('a frozen network between the servers is neither a writer fault nor a watch fault', async () => {
    await start();
    await settle(500);
    const since = bed.mark();
    pair.replicationProxy.freeze();
    await settle(2_000);
    pair.replicationProxy.thaw();
    const answers = bed.of('heartbeat-visible', since).filter((o) => o.askedAt !== null);
    expect(answers.length).toBeGreaterThan(3);
    expect(bed.of('watch-fault', since)).toEqual([]);
    expect(bed.of('writer-fault', since)).toEqual([]);
    await bed.beats(bed.mark(), 5);
  });

  test('our own freeze is not taken for a fault of the servers', async () => {
    await start();
    const since = bed.mark();
    freezeOurselves(4_500);
    await bed.beats(since, 10);
    expect(bed.of('watch-fault', since)).toEqual([]);
    expect(bed.of('writer-fault', since)).toEqual([]);
    expect(bed.of('heartbeat-failed', since)).toEqual([]);
    expect(bed.logged.filter((line) => line.includes('interrupted'))).toEqual([]);
  });

  test('stopping does not wait for servers that hang', async () => {
    await start();
    pair.targetProxy.freeze();
    pair.sourceProxy.freeze();
    await settle(300);
    const startedAt = performance.now();
    await bed.stop();
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    pair.targetProxy.thaw();
    pair.sourceProxy.thaw();
    await bed.until(
      'nothing left',
      async () => {
        const both = [await leftovers(pair, 'source', bed.daemonId), await leftovers(pair, 'target', bed.daemonId)];
        return both.flat().length === 0;
      },
      15_000,
    );
  });

  test('a locked heartbeat table is said to be locked, and the session is kept', async () => {
    await start();
    const since = bed.mark();
    const release = await pair.lockTable('lockgate.heartbeat');
    await bed.until('the fault', () => bed.of('watch-fault', since).length > 0, 6_000);
    expect(bed.of('watch-fault', since)[0]?.reason).toMatch(/57014|55P03/);
    await release();
    await bed.beats(bed.mark(), 5);
  });

  test('a missing table is a writer fault that says what to do', async () => {
    await start();
    await pair.onSource('alter table lockgate.heartbeat rename to hidden');
    await bed.until('the fault', () => bed.of('writer-fault').some((o) => /42P01.*lockgate setup/.test(o.reason)));
    expect(bed.of('heartbeat-failed').at(-1)?.outcome).toBe('not-committed');
    await pair.onSource('alter table lockgate.hidden rename to heartbeat');
    await bed.beats(bed.mark(), 5);
  });
});
