import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { HeartbeatLedger } from '../../collectors/heartbeat/ledger.js';
import type { Observation } from '../../daemon/core/observation.js';
import { FakeClock } from '../support/fake-clock.js';

const link = 'shop/forward';

function setUp(): { ledger: HeartbeatLedger; clock: FakeClock; out: Observation[]; emit: (o: Observation) => void } {
  const clock = new FakeClock();
  const out: Observation[] = [];
  return { ledger: new HeartbeatLedger(clock, 'p1'), clock, out, emit: (o) => void out.push(o) };
}

/** What the ledger should know, remembered without any bound. */
interface Model {
  sent: { run: string; seq: number; at: number; dead: boolean }[];
  seen: number;
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('issue' as const), fresh: fc.boolean() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('fail' as const), back: fc.nat(3), uncertain: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('see' as const),
      back: fc.nat(800),
      asked: fc.boolean(),
      foreign: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('see-nothing' as const) }) },
);

describe('the heartbeat ledger', () => {
  test('says the same as a model that forgets nothing', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 900, size: 'max' }), (steps) => {
        const { ledger, clock, out, emit } = setUp();
        const model: Model = { sent: [], seen: 0 };
        let run = ledger.newRun(link);
        for (const s of steps) {
          clock.tick(1_000);
          if (s.do === 'issue') {
            if (s.fresh) run = ledger.newRun(link);
            const { seq, sentAt } = ledger.issue(link, run, emit);
            expect(seq).toBe(model.sent.length + 1);
            model.sent.push({ run, seq, at: sentAt, dead: false });
          } else if (s.do === 'fail') {
            const heartbeat = model.sent.at(-1 - s.back);
            if (heartbeat === undefined || heartbeat.seq <= model.seen) continue;
            heartbeat.dead ||= !s.uncertain;
            ledger.failed(link, heartbeat.seq, s.uncertain ? 'uncertain' : 'not-committed', 'x', emit);
          } else {
            const heartbeat = s.do === 'see' ? model.sent.at(-1 - s.back) : undefined;
            const foreign = s.do === 'see' && s.foreign;
            const asked = s.do === 'see-nothing' || s.asked;
            const before = out.length;
            const sighting =
              heartbeat === undefined ? null : { run: foreign ? 'p2-1' : heartbeat.run, seq: heartbeat.seq };
            const news = ledger.visible(
              link,
              sighting,
              asked ? clock.monotonicNow() : null,
              clock.monotonicNow(),
              'poll',
              emit,
            );
            expect(news).toBe(heartbeat !== undefined && !foreign && heartbeat.seq > model.seen);
            if (news && heartbeat !== undefined) {
              model.seen = heartbeat.seq;
              expect(ledger.isSeen(link, heartbeat.run)).toBe(true);
            }
            // Every answer is told, an event only when it is news, and never more than once.
            expect(out.length - before).toBe(asked || news ? 1 : 0);
            if (out.length > before) expect(out.at(-1)).toMatchObject({ upTo: model.seen === 0 ? null : model.seen });
          }
          const unseen = model.sent.filter((h) => h.seq > model.seen && !h.dead);
          const pending = ledger.pending(link);
          expect(pending === null).toBe(unseen.length === 0);
          // Exact while no more is unseen than is remembered; later never earlier than the truth.
          if (pending !== null && unseen.length <= 500) expect(pending).toBe(unseen[0]?.at);
          if (pending !== null) expect(pending).toBeGreaterThanOrEqual(unseen[0]?.at ?? Infinity);
        }
        const seqs = out.flatMap((o) => (o.kind === 'heartbeat-visible' ? [o.upTo ?? 0] : []));
        expect(seqs).toEqual([...seqs].sort((a, b) => a - b));
      }),
      { numRuns: 30 },
    );
  });

  test('keeps the beginning of a stall of days, in bounded memory', () => {
    const { ledger, clock, emit } = setUp();
    const run = ledger.newRun(link);
    const first = ledger.issue(link, run, emit);
    for (let i = 0; i < 100_000; i++) {
      clock.tick(50_000);
      ledger.issue(link, run, emit);
    }
    expect(ledger.pending(link)).toBe(first.sentAt);
    expect(ledger.sentAt(link, run, 2)).toBeNull();
    expect(ledger.sentAt(link, run, 100_000)).not.toBeNull();
  });

  test('wakes listeners until they are taken off', () => {
    const { ledger, emit } = setUp();
    const woken: string[] = [];
    const off = ledger.onIssue((id) => void woken.push(id));
    ledger.issue(link, ledger.newRun(link), emit);
    off();
    ledger.issue(link, ledger.newRun(link), emit);
    expect(woken).toEqual([link]);
  });

  test('a heartbeat that the database shows which it was written to is a fault and not seen', () => {
    const { ledger, emit, out } = setUp();
    ledger.writesTo(link, 'server 1');
    const { run, seq } = ledger.issue(link, ledger.newRun(link), emit);
    expect(ledger.visible(link, { run, seq, home: 'server 1' }, 4, 5, 'poll', emit)).toBe(false);
    expect(out.at(-1)).toMatchObject({ kind: 'watch-fault', at: 5 });
    expect(ledger.carrier(link)).toBeNull();
    expect(ledger.visible(link, { run, seq, home: 'server 2' }, 6, 7, 'poll', emit)).toBe(true);
  });

  test('heartbeats that were never issued are not seen', () => {
    const { ledger, emit, out } = setUp();
    ledger.issue(link, ledger.newRun(link), emit);
    expect(ledger.visible(link, { run: 'p1-1', seq: 2 }, null, 5, 'wal', emit)).toBe(false);
    expect(out).toHaveLength(1);
    expect(ledger.carrier(link)).toBeNull();
  });

  test('knows which heartbeats between two committed', () => {
    const { ledger, emit } = setUp();
    const run = ledger.newRun(link);
    for (let n = 1; n <= 6; n += 1) ledger.issue(link, run, emit);
    ledger.acked(link, 2, emit);
    ledger.acked(link, 3, emit);
    ledger.failed(link, 4, 'not-committed', 'no', emit);
    ledger.failed(link, 5, 'uncertain', 'lost', emit);
    expect(ledger.committedBetween(link, 1, 6)).toBe(2);
    expect(ledger.committedBetween(link, 2, 6)).toBe(1);
    expect(ledger.committedBetween(link, 2, 3)).toBe(0);
    for (let n = 0; n < 600; n += 1) ledger.issue(link, run, emit);
    expect(ledger.committedBetween(link, 0, 1_000)).toBe(0);
  });
});
