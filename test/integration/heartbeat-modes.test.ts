import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  installHeartbeats,
  leftovers,
  setTrigger,
  startBed,
  type Bed,
  type BedOptions,
} from '../support/heartbeat-bed.js';
import { testedMajors } from '../support/majors.js';
import { startPair, type Pair } from '../support/pair.js';

const settle = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

describe.each(testedMajors)('heartbeats between PostgreSQL %i servers', (major) => {
  let pair: Pair;
  let beds: Bed[] = [];
  const bedWith = (options: BedOptions = {}): Bed => {
    const bed = startBed(pair, options);
    beds.push(bed);
    return bed;
  };

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major });
    await installHeartbeats(pair);
  });
  afterEach(async () => {
    await Promise.all(beds.map((bed) => bed.stop()));
    beds = [];
  });
  afterAll(() => pair.destroy());

  test.each([
    { name: 'the target’s WAL', options: { watch: 'auto' }, by: 'wal', trigger: 'flush' },
    { name: 'a notification', options: { watch: 'auto', read: 'off' }, by: 'notify', trigger: 'notify' },
    { name: 'polling', options: { watch: 'poll' }, by: 'poll', trigger: 'flush' },
  ] as const)('arrive by $name', async ({ options, by, trigger }) => {
    await setTrigger(pair, 'notify', trigger === 'notify');
    const bed = bedWith(options);
    await bed.until('the mode to be chosen', () => bed.heartbeats.watchers.get('target')?.describe()[0]?.mode === by);
    const since = bed.mark();
    await bed.beats(since, 20);
    const news = bed.of('heartbeat-visible', since).filter((o, i, all) => o.upTo !== (all[i - 1]?.upTo ?? null));
    expect(news.filter((o) => o.by === by).length).toBeGreaterThanOrEqual(news.length * 0.8);
    const sent = new Map(bed.of('heartbeat-sent').map((o) => [o.seq, o.at]));
    const delays = news.map((o) => (o.at - (sent.get(o.upTo ?? 0) ?? NaN)) / 1_000).filter(Number.isFinite);
    delays.sort((a, b) => a - b);
    console.log(
      `${major} ${by}: p50 ${delays[delays.length >> 1]?.toFixed(2)} ms, max ${delays.at(-1)?.toFixed(2)} ms`,
    );
    expect(delays[delays.length >> 1]).toBeLessThan(100);
    await setTrigger(pair, 'notify', false);
  });

  test('one run is inserted and then updated, each heartbeat acknowledged and followed by a position', async () => {
    const bed = bedWith();
    await bed.beats(0, 12);
    const sent = bed.of('heartbeat-sent');
    expect(new Set(sent.map((o) => o.run)).size).toBe(1);
    expect(sent.map((o) => o.seq)).toEqual(sent.map((_, i) => (sent[0]?.seq ?? 0) + i));
    const rows = await pair.onSource<{ n: string }>('select count(*) as n from lockgate.heartbeat where daemon = $1', [
      bed.daemonId,
    ]);
    expect(rows[0]?.n).toBe('1');
    const positions = bed.of('position-sampled');
    expect(positions.length).toBeGreaterThanOrEqual(10);
    // One that was read in a tick without a heartbeat covers what was committed before it was asked for.
    const follow = positions.slice(1, 10).filter(({ sentAt }) => sent.some((o) => o.at === sentAt));
    expect(follow.length).toBeGreaterThanOrEqual(7);
    for (const { seq } of sent.slice(0, 10)) expect(bed.of('heartbeat-acked').some((o) => o.seq === seq)).toBe(true);
    expect(bed.of('heartbeat-failed')).toEqual([]);
    expect(bed.of('writer-fault')).toEqual([]);
    expect(bed.of('watch-fault')).toEqual([]);
  });

  test('nothing is updated before it was seen; while nothing is seen the position is still sampled', async () => {
    await pair.disableSubscription();
    const bed = bedWith();
    await settle(2_000);
    expect(bed.of('heartbeat-sent')).toHaveLength(1);
    expect(bed.of('position-sampled').length).toBeGreaterThan(8);
    const answers = bed.of('heartbeat-visible');
    expect(answers.length).toBeGreaterThan(3);
    expect(answers.every((o) => o.upTo === null && o.askedAt !== null)).toBe(true);
    const since = bed.mark();
    await pair.enableSubscription();
    await bed.beats(since, 5);
    expect(new Set(bed.of('heartbeat-sent').map((o) => o.run)).size).toBe(1);
  });

  test('a row that the target lost is replaced by a new run', async () => {
    const bed = bedWith();
    await bed.beats(0, 3);
    const first = bed.of('heartbeat-sent')[0]?.run;
    await pair.onTarget('delete from lockgate.heartbeat where daemon = $1', [bed.daemonId]);
    const since = bed.mark();
    // Updates of a row that is not there vanish; the target answers that it has lost what it had shown.
    await bed.until('another run', () => bed.of('heartbeat-sent', since).some((o) => o.run !== first));
    await bed.beats(bed.mark(), 5);
    expect(bed.of('heartbeat-sent').at(-1)?.run).not.toBe(first);
    expect(new Set(bed.of('heartbeat-sent').map((o) => o.run)).size).toBe(2);
  });

  test('a row that the source lost is replaced at once', async () => {
    const bed = bedWith();
    await bed.beats(0, 3);
    const since = bed.mark();
    await pair.onSource('delete from lockgate.heartbeat where daemon = $1', [bed.daemonId]);
    await bed.beats(since, 10, 4_000);
    expect(bed.of('heartbeat-failed', since).map((o) => o.outcome)).toEqual(['not-committed']);
  });

  test('the poll takes over when the stream falls silent', async () => {
    const bed = bedWith();
    await bed.until('reading WAL', () => bed.of('heartbeat-visible').some((o) => o.by === 'wal'));
    await pair.onTarget('drop publication lockgate');
    const since = bed.mark();
    await bed.beats(since, 30);
    expect(bed.of('heartbeat-visible', since).filter((o) => o.by === 'poll').length).toBeGreaterThan(10);
    expect(bed.heartbeats.watchers.get('target')?.describe()[0]?.mode).toBe('poll');
    await pair.onTarget('create publication lockgate for table lockgate.heartbeat');
  });

  test('a second process with the same daemon id is refused, and named', async () => {
    const first = bedWith({ daemonId: 'twin' });
    await first.beats(0, 2);
    const second = bedWith({ daemonId: 'twin' });
    await second.until('the refusal', () => second.of('writer-fault').length > 2);
    expect(second.of('writer-fault')[0]?.reason).toMatch(/backend \d+ .* from 127\.0\.0\.1.* as daemon twin already/);
    expect(second.of('heartbeat-sent')).toEqual([]);
    await first.stop();
    await second.beats(second.mark(), 3);
  });

  test('nothing is written on a read-only side', async () => {
    const bed = bedWith();
    await bed.beats(0, 2);
    await pair.onSource(`alter system set default_transaction_read_only = on`);
    await pair.onSource('select pg_reload_conf()');
    await bed.until('the fault', () => bed.of('writer-fault').some((o) => /read-only/.test(o.reason)));
    const since = bed.mark();
    await settle(500);
    expect(bed.of('heartbeat-sent', since)).toEqual([]);
    expect(bed.of('writer-fault', since).length).toBeGreaterThan(2);
    expect(bed.of('position-sampled', since).length).toBeGreaterThan(2);
    await pair.onSource('alter system reset default_transaction_read_only');
    await pair.onSource('select pg_reload_conf()');
    await bed.beats(since, 5);
  });

  test('old rows that are on both sides are pruned, others are kept', async () => {
    const daemonId = 'pruner';
    const row = `insert into lockgate.heartbeat values ('${daemonId}', 'shop/forward', $1, 1, now() - interval '1 hour')`;
    await pair.onSource(row, ['old-1']);
    await pair.onSource(row, ['only-here']);
    await pair.settled();
    await pair.onTarget(`delete from lockgate.heartbeat where run = 'only-here'`);
    const bed = bedWith({ daemonId });
    const runs = async (): Promise<string[]> =>
      (await pair.onSource<{ run: string }>('select run from lockgate.heartbeat where daemon = $1', [daemonId])).map(
        (r) => r.run,
      );
    await bed.until('the old row to go', async () => !(await runs()).includes('old-1'), 20_000);
    expect(await runs()).toContain('only-here');
    await bed.beats(bed.mark(), 5);
  });

  test('many links share one connection and are written together', async () => {
    const bed = bedWith({ links: 200, intervalMs: 1_000 });
    await settle(4_000);
    const seenLinks = new Set(
      bed.seen.flatMap((o) => (o.kind === 'heartbeat-visible' && (o.upTo ?? 0) >= 2 ? [o.link] : [])),
    );
    expect(seenLinks.size).toBe(200);
    const sessions = await pair.onSource(`select 1 from pg_stat_activity where application_name = $1`, [
      `lockgate/${bed.daemonId}/heartbeat`,
    ]);
    expect(sessions).toHaveLength(1);
  });

  test('after stopping no session and no slot is left', async () => {
    const bed = bedWith();
    await bed.until('reading WAL', () => bed.of('heartbeat-visible').some((o) => o.by === 'wal'));
    expect(await leftovers(pair, 'target', bed.daemonId)).toHaveLength(3);
    const startedAt = performance.now();
    await bed.stop();
    expect(performance.now() - startedAt).toBeLessThan(1_500);
    await bed.until(
      'all to be gone',
      async () => {
        return (
          [...(await leftovers(pair, 'source', bed.daemonId)), ...(await leftovers(pair, 'target', bed.daemonId))]
            .length === 0
        );
      },
      3_000,
    );
  });
});
