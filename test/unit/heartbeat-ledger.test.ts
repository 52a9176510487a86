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
            // Every question here is asked after the last answer, so one that shows less shows a loss.
            const shown = heartbeat === undefined ? 0 : foreign ? model.seen : heartbeat.seq;
            if (asked && shown < model.seen) {
              expect(out.at(-1)).toMatchObject({ lost: { shown: model.seen } });
              model.seen = shown;
              expect(ledger.carrier(link)).toBe(heartbeat?.run ?? null);
            } else if (out.length > before) expect(out.at(-1)).not.toHaveProperty('lost');
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
        let last = 0;
        for (const o of out) {
          if (o.kind !== 'heartbeat-visible') continue;
          expect((o.upTo ?? 0) < last).toBe(o.lost !== undefined);
          last = o.upTo ?? 0;
        }
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

  describe('when the target shows less than before', () => {
    /** One is asked for at each tick, and answered with the next. */
    const see = ({ ledger, clock, emit }: ReturnType<typeof setUp>, run: string, seq: number): void => {
      const asked = clock.monotonicNow();
      clock.tick(1_000);
      ledger.visible(link, { run, seq }, asked, clock.monotonicNow(), 'poll', emit);
    };
    const seenTwo = (): ReturnType<typeof setUp> & { run: string } => {
      const all = setUp();
      const run = all.ledger.newRun(link);
      for (const seq of [1, 2]) {
        all.ledger.issue(link, run, all.emit);
        see(all, run, seq);
      }
      return { ...all, run };
    };

    test('to a question asked later, it has lost the rest', () => {
      const { ledger, clock, out, emit, run } = seenTwo();
      const asked = clock.monotonicNow();
      expect(ledger.visible(link, { run, seq: 1 }, asked, asked + 500, 'poll', emit)).toBe(false);
      expect(out.at(-1)).toMatchObject({ kind: 'heartbeat-visible', upTo: 1, lost: { shown: 2 } });
      expect([ledger.carrier(link), ledger.pending(link)]).toEqual([run, ledger.sentAt(link, run, 2)]);
      // And it is told once.
      ledger.visible(link, { run, seq: 1 }, asked + 600, asked + 700, 'poll', emit);
      expect(out.at(-1)).toMatchObject({ upTo: 1 });
      expect(out.at(-1)).not.toHaveProperty('lost');
      // What was asked before the loss was found, and answered after it, may be older than it.
      expect(ledger.visible(link, { run, seq: 2 }, asked + 400, asked + 800, 'poll', emit)).toBe(false);
      expect(out.at(-1)).toMatchObject({ upTo: 1 });
      expect(ledger.visible(link, { run, seq: 2 }, asked + 900, asked + 950, 'poll', emit)).toBe(true);
      expect(ledger.pending(link)).toBeNull();
    });

    test('or no row at all, the run is not updated any more', () => {
      const { ledger, clock, out, emit } = seenTwo();
      const asked = clock.monotonicNow();
      ledger.visible(link, null, asked, asked + 500, 'poll', emit);
      expect(out.at(-1)).toMatchObject({ upTo: null, lost: { shown: 2 } });
      expect(ledger.carrier(link)).toBeNull();
    });

    test('to a question asked before, it says nothing', () => {
      const { ledger, clock, out, emit, run } = seenTwo();
      const seenAt = clock.monotonicNow();
      ledger.visible(link, { run, seq: 1 }, seenAt - 1, seenAt + 500, 'poll', emit);
      expect(out.at(-1)).toMatchObject({ upTo: 2 });
      expect(out.at(-1)).not.toHaveProperty('lost');
      expect(ledger.pending(link)).toBeNull();
    });

    test('because its row was deleted on the source, it has lost nothing', () => {
      const { ledger, clock, out, emit, run } = seenTwo();
      ledger.lose(link, run);
      const asked = clock.monotonicNow();
      ledger.visible(link, null, asked, asked + 500, 'poll', emit);
      expect(out.at(-1)).toMatchObject({ upTo: 2 });
      expect(out.at(-1)).not.toHaveProperty('lost');
    });

    test('in a row of another process, it says nothing of this one', () => {
      const { ledger, clock, out, emit } = seenTwo();
      const asked = clock.monotonicNow();
      ledger.visible(link, { run: 'p2-1', seq: 1 }, asked, asked + 500, 'poll', emit);
      expect(out.at(-1)).not.toHaveProperty('lost');
    });

    test('of an older run, that run goes on', () => {
      const all = seenTwo();
      const { ledger, clock, out, emit, run } = all;
      const { run: second, seq } = ledger.issue(link, ledger.newRun(link), emit);
      see(all, second, seq);
      const asked = clock.monotonicNow();
      ledger.visible(link, { run, seq: 2 }, asked, asked + 500, 'poll', emit);
      expect(out.at(-1)).toMatchObject({ upTo: 2, lost: { shown: 3 } });
      expect(ledger.carrier(link)).toBe(run);
    });
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
