import { describe, expect, test } from 'vitest';
import { lsnOf } from '../../daemon/core/position.js';
import type { LinkPlan } from '../../collectors/collector.js';
import { HeartbeatLedger } from '../../collectors/heartbeat/ledger.js';
import { createHeartbeatWriter, type WriterSession } from '../../collectors/heartbeat/writer.js';
import type { Observation, PositionSampled } from '../../daemon/core/observation.js';
import { FakeClock } from '../support/fake-clock.js';

const MS = 1_000;
const link = 'shop/forward';

/** A source that flushes what others committed without waiting only when told, or with a heartbeat. */
interface Source {
  head: bigint;
  flushed: bigint;
  /** When the last transaction was committed. */
  committedAt: number;
}

async function start(links: readonly LinkPlan['id'][] = [link]): Promise<{
  clock: FakeClock;
  ledger: HeartbeatLedger;
  source: Source;
  commit: () => void;
  samples: () => PositionSampled[];
  /** How many rows each transaction so far had. */
  writes: readonly number[];
  stop: () => Promise<void>;
}> {
  const clock = new FakeClock();
  const ledger = new HeartbeatLedger(clock, 'p1');
  const source: Source = { head: 100n, flushed: 100n, committedAt: -Infinity };
  const writes: number[] = [];
  const write = (rows: number): void => {
    writes.push(rows);
    source.head += 10n;
    source.flushed = source.head;
  };
  const session: WriterSession = {
    home: null,
    claim: () => Promise.resolve(null),
    look: () =>
      Promise.resolve({
        refusal: null,
        position: { kind: 'lsn', lsn: source.flushed },
        head: { kind: 'lsn', lsn: source.head },
      }),
    insert: (rows) => {
      write(rows.length);
      return Promise.resolve();
    },
    update: (rows) => {
      write(rows.length);
      return Promise.resolve(new Set(rows.map((row) => row.link)));
    },
    prune: () => Promise.resolve(0),
    outcomeOf: () => 'not-committed',
    refusalIn: () => null,
  };
  const out: Observation[] = [];
  const quiet = (): void => undefined;
  const plans = links.map((id) => ({ id, config: { heartbeat: { intervalUs: 100 * MS } } }) as unknown as LinkPlan);
  const writer = createHeartbeatWriter({
    name: 'onprem/heartbeat',
    context: { clock, log: { debug: quiet, info: quiet, warn: quiet, error: quiet }, daemonId: 'd' },
    ledger,
    links: plans,
    existsOnTarget: () => Promise.resolve([]),
    sessions: (use) => use(session, quiet),
  });
  const stopping = new AbortController();
  const take = (o: Observation): void => {
    out.push(o);
    if (o.kind !== 'heartbeat-sent' || links.length === 1) return;
    ledger.visible(o.link, { run: o.run, seq: o.seq }, null, clock.monotonicNow(), 'notify', take);
  };
  const running = writer.run(take, stopping.signal);
  await clock.advance(0);
  return {
    clock,
    ledger,
    source,
    commit() {
      source.head += 10n;
      source.committedAt = clock.monotonicNow();
    },
    samples: () => out.filter((o) => o.kind === 'position-sampled'),
    writes,
    async stop() {
      stopping.abort();
      await running;
    },
  };
}

test('the heartbeats of all links of a database are one transaction per interval', async () => {
  const bench = await start(Array.from({ length: 20 }, (_, n): LinkPlan['id'] => `shop${n}/forward`));
  await bench.clock.advance(1_050 * MS);
  expect(bench.writes.length).toBeGreaterThanOrEqual(10);
  expect(bench.writes.length).toBeLessThanOrEqual(11);
  expect(new Set(bench.writes)).toEqual(new Set([20]));
  await bench.stop();
});

describe('the position sampled by the heartbeat writer', () => {
  // Nothing is seen on the target, so after the first heartbeat none is written for five seconds.
  test('covers what was committed without waiting for the disk only once it is there', async () => {
    const bench = await start();
    await bench.clock.advance(250 * MS);
    bench.commit();
    const { committedAt, head } = bench.source;
    const before = bench.samples().length;
    await bench.clock.advance(1_000 * MS);
    const during = bench.samples().slice(before);
    // No sample may claim that everything up to an instant after the commit is at or before a position that lacks it.
    expect(during.filter((s) => lsnOf(s.position) < head && s.sentAt > committedAt)).toEqual([]);
    bench.source.flushed = head;
    await bench.clock.advance(200 * MS);
    expect(bench.samples().at(-1)).toMatchObject({ position: { lsn: head } });
    expect(bench.samples().at(-1)?.sentAt).toBeGreaterThan(committedAt);
    const instants = bench.samples().map((s) => s.sentAt);
    expect(instants).toEqual([...instants].sort((a, b) => a - b));
    await bench.stop();
  });

  test('goes on covering what is older while others keep committing so', async () => {
    const bench = await start();
    await bench.clock.advance(250 * MS);
    for (let n = 0; n < 20; n += 1) {
      // What was committed a tick ago is flushed, what was committed just now is not.
      bench.source.flushed = bench.source.head;
      bench.commit();
      await bench.clock.advance(100 * MS);
    }
    const last = bench.samples().at(-1);
    expect(last?.at).toBeGreaterThan(bench.clock.monotonicNow() - 150 * MS);
    expect(last?.sentAt).toBeGreaterThan(bench.clock.monotonicNow() - 350 * MS);
    await bench.stop();
  });
});
