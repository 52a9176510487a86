import { describe, expect, it } from 'vitest';
import { lagFreshness, LagTracker, type LagReadings } from '../../../daemon/core/lag.js';
import { stateAt, valueAt, type LinkId, type Reading } from '../../../daemon/core/signal.js';

const LINK: LinkId = 'shop/forward';
const MS = 1_000;
const S = 1_000_000;

/** A link with a heartbeat a second, told in milliseconds. */
class Link {
  readonly tracker: LagTracker;

  constructor(flows: readonly string[] = [], lagFreshMs = 2_000, freshMs = 3_000) {
    this.tracker = new LagTracker({ lagFreshUs: lagFreshMs * MS, freshUs: freshMs * MS, flows });
  }

  sent(seq: number, at: number): void {
    this.tracker.observe({ kind: 'heartbeat-sent', link: LINK, run: 'r', seq, at: at * MS });
  }

  acked(seq: number, at: number): void {
    this.tracker.observe({ kind: 'heartbeat-acked', link: LINK, seq, at: at * MS });
  }

  failed(seq: number, at: number, outcome: 'not-committed' | 'uncertain'): void {
    this.tracker.observe({ kind: 'heartbeat-failed', link: LINK, seq, outcome, at: at * MS, reason: 'no commit' });
  }

  fault(at: number): void {
    this.tracker.observe({ kind: 'writer-fault', link: LINK, at: at * MS, reason: 'source down' });
  }

  seen(upTo: number | null, asked: number | null, at: number): number | null {
    const askedAt = asked === null ? null : asked * MS;
    return this.tracker.observe({ kind: 'heartbeat-visible', link: LINK, upTo, askedAt, at: at * MS, by: 'poll' });
  }

  /** An answer that shows less than `shown`, which had been there. */
  lost(upTo: number | null, shown: number, asked: number, at: number): void {
    const o = { kind: 'heartbeat-visible', link: LINK, upTo, askedAt: asked * MS, at: at * MS, by: 'poll' } as const;
    this.tracker.observe({ ...o, lost: { shown } });
  }

  sampled(lsn: number, sent: number, at: number): void {
    const position = { kind: 'lsn' as const, lsn: BigInt(lsn) };
    this.tracker.observe({ kind: 'position-sampled', link: LINK, position, sentAt: sent * MS, at: at * MS });
  }

  applied(flow: string, lsn: number, asked: number, at: number): void {
    const position = { kind: 'lsn' as const, lsn: BigInt(lsn) };
    this.tracker.observe({ kind: 'applied', link: LINK, flow, position, askedAt: asked * MS, at: at * MS });
  }

  /** Heartbeat `seq` every second from second `from` to `to`, each arriving after `delay`, with its position. */
  healthy(from: number, to: number, delay = 50): void {
    for (let s = from; s <= to; s += 1) {
      this.sent(s, s * 1000);
      this.acked(s, s * 1000 + 5);
      this.seen(s, s * 1000 + delay - 2, s * 1000 + delay);
    }
  }

  at(ms: number): LagReadings {
    return this.tracker.readings(ms * MS);
  }

  /** Milliseconds of lag at an instant, as it was read at `read`; or its state where there is no number. */
  lag(ms: number, read = ms): number | string {
    return said(this.at(read).lag, ms);
  }
}

const said = (r: Reading, ms: number): number | string => {
  const state = stateAt(r, ms * MS);
  return state === 'ok' ? Math.round(valueAt(r, ms * MS)! * 1000) : state;
};

describe('lag of a target that has lost heartbeats', () => {
  it('counts from the oldest that it has lost, and says so, until it has them back', () => {
    const l = new Link();
    l.healthy(1, 10);
    l.lost(4, 10, 10_100, 10_105);
    expect([10_105, 10_500].map((t) => l.lag(t, 10_105))).toEqual([5_105, 5_500]);
    expect(l.at(10_105).lag.reason).toContain('showed heartbeat 10 and later only 4');
    expect(l.at(10_105).lag_low.value).toBeCloseTo(5.095, 6);
    // A restored target that applies again from there.
    l.seen(9, 10_400, 10_405);
    expect(l.lag(10_500, 10_405)).toBe(1_405);
    expect(l.at(10_405).lag.reason).toContain('showed heartbeat 10');
    l.seen(10, 10_600, 10_605);
    expect(l.lag(10_700, 10_605)).toBe(605);
    expect(l.at(10_605).lag.reason).toBeNull();
  });

  it('is at least the age of the oldest that is remembered, when it shows none', () => {
    const l = new Link(['f']);
    l.sampled(1, 900, 901);
    l.applied('f', 5, 1_000, 1_010);
    l.healthy(1, 10);
    l.lost(null, 10, 10_100, 10_105);
    const { lag } = l.at(10_105);
    expect(lag).toMatchObject({ bound: 'at-least', value: 9.095 });
    expect(lag.reason).toContain('later none');
    l.sent(11, 11_000);
    l.seen(11, 11_040, 11_050);
    expect(l.lag(11_060)).toBe(50);
  });

  it('contradicts positions that say that all was applied', () => {
    const l = new Link(['f']);
    l.healthy(1, 10);
    l.sampled(7, 9_000, 9_005);
    l.applied('f', 7, 9_010, 9_015);
    l.seen(10, 10_060, 10_061);
    expect(l.at(10_065).agreement.value).toBe(1);
    l.lost(4, 10, 11_100, 11_105);
    l.sampled(9, 10_900, 10_905);
    l.applied('f', 9, 10_910, 10_915);
    l.seen(4, 14_100, 14_105);
    expect(l.at(14_105).agreement.value).toBe(0);
  });
});

describe('lag by the heartbeat row', () => {
  it('is the delay of the newest heartbeat, and grows from the instant at which the oldest unseen one was sent', () => {
    const l = new Link();
    l.healthy(1, 3);
    expect(l.lag(3_900)).toBe(50);
    l.sent(4, 4_000);
    expect([4_000, 4_049, 4_051, 4_500].map((t) => l.lag(t))).toEqual([50, 50, 51, 500]);
    l.acked(4, 4_005);
    l.sent(5, 5_000);
    l.acked(5, 5_005);
    l.seen(3, 5_500, 5_510);
    expect(l.lag(6_000)).toBe(2_000);
    expect(l.at(6_000).lag_low.value).toBeCloseTo(1.495);
    expect(l.seen(5, 6_100, 6_110)).toBe(1_110 * MS);
    expect(l.lag(6_200)).toBe(1_110);
  });

  it('is fresh for two intervals, at least a second', () => {
    expect([50 * MS, 400 * MS, 500 * MS, S, 5 * S].map(lagFreshness)).toEqual([S, S, S, 2 * S, 10 * S]);
    const l = new Link();
    l.healthy(1, 3);
    expect([5_050, 5_051].map((t) => l.lag(t))).toEqual([50, 'stale']);
  });

  it('goes on growing while the target answers "not there", whatever becomes of the writer', () => {
    const l = new Link();
    l.healthy(1, 3);
    l.sent(4, 4_000);
    l.acked(4, 4_005);
    l.fault(5_000);
    for (let t = 5_000; t < 60_000; t += 1_000) {
      l.seen(3, t, t + 10);
      l.fault(t + 20);
      expect(l.lag(t + 30)).toBe(t + 30 - 4_000);
    }
    l.seen(4, 60_000, 60_010);
    expect(l.lag(60_010)).toBe('unknown');
    expect(l.at(60_010).lag.reason).toBe('source down');
  });

  it('is unknown at once when a heartbeat fails to commit with nothing committed outstanding', () => {
    const l = new Link();
    l.healthy(1, 3);
    l.sent(4, 4_000);
    l.failed(4, 4_100, 'not-committed');
    expect(l.lag(4_100)).toBe('unknown');
    expect(l.at(4_100).lag.reason).toBe('no commit');
    l.sent(5, 5_000);
    expect(l.lag(5_000)).toBe('unknown');
    l.acked(5, 5_005);
    // Nothing vouches for what was written while no heartbeat was.
    expect(l.lag(5_010)).toBe('unknown');
    l.seen(5, 5_045, 5_050);
    expect(l.lag(5_060)).toBe(50);
  });

  it('counts a heartbeat of uncertain outcome neither as outstanding nor as arrived, until it is seen', () => {
    const l = new Link();
    l.healthy(1, 3);
    l.sent(4, 4_000);
    l.failed(4, 4_100, 'uncertain');
    expect(l.lag(4_200)).toBe('unknown');
    expect(l.seen(4, 4_200, 4_210)).toBe(210 * MS);
    expect(l.lag(4_210)).toBe('unknown');
    l.sent(5, 5_000);
    l.acked(5, 5_005);
    l.seen(5, 5_040, 5_050);
    expect(l.lag(5_050)).toBe(50);
  });

  it('is unknown for the reason of the writer, even if an older heartbeat is answered for late', () => {
    const l = new Link();
    l.healthy(1, 3);
    l.sent(4, 4_000);
    l.sent(5, 5_000);
    l.failed(5, 5_010, 'not-committed');
    l.acked(4, 5_020);
    l.seen(3, 5_100, 5_110);
    expect(l.lag(5_500)).toBe(1_500);
    l.seen(4, 5_600, 5_610);
    expect(l.at(5_610).lag).toMatchObject({ value: null, reason: 'no commit' });
  });

  it('is unknown at once when the target cannot be asked, and known again with the next answer', () => {
    const l = new Link();
    l.healthy(1, 3);
    l.tracker.observe({ kind: 'watch-fault', link: LINK, at: 3_500 * MS, reason: 'target down' });
    expect([l.lag(3_500), l.at(3_500).lag.reason]).toEqual(['unknown', 'target down']);
    l.seen(3, 3_590, 3_600);
    expect(l.lag(3_600)).toBe(50);
  });

  it('is unknown after the daemon stood still, until a heartbeat sent since has arrived', () => {
    const l = new Link();
    l.healthy(1, 3);
    expect(l.lag(9_000, 3_100)).toBe('stale');
    l.sent(4, 9_000);
    l.acked(4, 9_005);
    l.seen(3, 9_010, 9_015);
    expect(l.lag(9_020)).toBe('unknown');
    expect(l.at(9_020).lag.reason).toContain('nothing was sent for 6s');
    expect(l.at(9_020).lag.bound).toBe('at-least');
    l.seen(4, 9_030, 9_040);
    expect(l.lag(9_040)).toBe(40);
  });

  it('tells that heartbeats never arrive although the positions do, and only then', () => {
    const l = new Link(['sub']);
    for (let s = 1; s <= 5; s += 1) {
      l.sent(s, s * 1000);
      l.acked(s, s * 1000 + 5);
      l.sampled(s * 10, s * 1000, s * 1000 + 8);
      l.applied('sub', s * 10, s * 1000 + 20, s * 1000 + 30);
      l.seen(null, s * 1000 + 40, s * 1000 + 50);
    }
    // The first sample that was asked for after the commit of the first heartbeat was applied at 2.030 s.
    expect(l.at(5_030).lag.reason).not.toContain('not part of this replication');
    expect(l.at(5_031).lag.reason).toContain('lockgate.heartbeat is not part of this replication');
    expect(l.lag(5_031)).toBe('unknown');
  });

  it('discards what was sent before the clocks jumped and is seen after', () => {
    const l = new Link(['sub']);
    l.healthy(1, 3);
    l.sent(4, 4_000);
    l.acked(4, 4_005);
    l.tracker.reset();
    expect(l.seen(4, 4_030, 4_040)).toBeNull();
    expect(l.lag(4_040)).toBe('unknown');
    l.sent(5, 5_000);
    l.acked(5, 5_005);
    expect(l.seen(5, 5_020, 5_030)).toBe(30 * MS);
    expect(l.lag(5_030)).toBe(30);
  });
});

describe('lag by position', () => {
  it('is that of the worst flow, and says which', () => {
    const l = new Link(['a', 'b']);
    for (let s = 1; s <= 4; s += 1) {
      l.sampled(s * 10, s * 1000, s * 1000 + 8);
      l.applied('a', s * 10, s * 1000 + 20, s * 1000 + 30);
      l.applied('b', 20, s * 1000 + 20, s * 1000 + 30);
    }
    const { lag_by_position } = l.at(4_500);
    expect(said(lag_by_position, 4_500)).toBe(1_500);
    expect(lag_by_position.reason).toBe('b has applied 0/14 of 0/1E');
    l.applied('b', 40, 4_600, 4_610);
    expect(said(l.at(4_610).lag_by_position, 4_610)).toBe(610);
  });

  it('is unknown while one flow cannot be told, and without flows', () => {
    const l = new Link(['a', 'b']);
    l.sampled(10, 1_000, 1_008);
    l.applied('a', 10, 1_020, 1_030);
    expect(l.at(1_030).lag_by_position.reason).toBe('b: no applied position has been read yet');
    l.applied('b', 10, 1_020, 1_030);
    expect(said(l.at(1_030).lag_by_position, 1_030)).toBe(30);
    l.tracker.observe({ kind: 'applied-fault', link: LINK, flow: 'a', at: 1_040 * MS, reason: 'no privilege' });
    expect(l.at(1_040).lag_by_position.reason).toBe('a: no privilege');
    expect(new Link().at(0).lag_by_position.value).toBeNull();
    expect(new Link().at(0).agreement.value).toBeNull();
  });
});

describe('agreement', () => {
  /** Everything is fine up to second 3. */
  const fine = (flows: string[]): Link => {
    const l = new Link(flows);
    for (let s = 1; s <= 3; s += 1) {
      l.healthy(s, s);
      l.sampled(s * 10, s * 1000, s * 1000 + 8);
      for (const f of flows) l.applied(f, s * 10, s * 1000 + 20, s * 1000 + 60);
    }
    return l;
  };

  it('is 0 when a flow is stuck behind rows that arrive, for longer than the freshness, and names it', () => {
    const l = fine(['a', 'b']);
    expect(l.at(3_100).agreement.value).toBe(1);
    for (let s = 4; s <= 9; s += 1) {
      l.healthy(s, s);
      l.sampled(s * 10, s * 1000, s * 1000 + 8);
      l.applied('a', s * 10, s * 1000 + 20, s * 1000 + 60);
      l.applied('b', 30, s * 1000 + 20, s * 1000 + 60);
      // The first heartbeat sent after position 40 was read arrived at 5.050 s; b was asked more than 3 s later at 9.020 s.
      expect({ s, agreement: l.at(s * 1000 + 60).agreement.value }).toEqual({ s, agreement: s < 9 ? 1 : 0 });
    }
    expect(l.at(9_100).agreement.reason).toContain('b had still not applied');
  });

  it('falls for longer than the freshness, not for as long as it', () => {
    const stuck = (asked: number): number | null => {
      const l = fine(['a', 'b']);
      l.sampled(40, 4_000, 4_008);
      l.healthy(5, 5);
      l.applied('a', 40, 5_060, 5_070);
      l.applied('b', 30, asked, asked + 10);
      return l.at(asked + 10).agreement.value;
    };
    expect(stuck(8_050)).not.toBe(0);
    expect(stuck(8_051)).toBe(0);
    const missing = (asked: number): number | null => {
      const l = fine(['a']);
      l.sent(4, 4_000);
      l.acked(4, 4_005);
      l.sampled(40, 4_006, 4_008);
      l.applied('a', 40, 4_020, 4_030);
      l.seen(3, asked, asked + 10);
      return l.at(asked + 10).agreement.value;
    };
    expect([6_030, 6_031].map(missing)).toEqual([1, 0]);
  });

  it('does not fall when everything stops between a heartbeat and the position read after it', () => {
    const l = fine(['a']);
    l.sent(4, 4_000);
    l.acked(4, 4_005);
    // A large transaction was committed between the heartbeat and the look at the position; its apply takes long.
    l.sampled(99, 4_000, 4_008);
    l.seen(4, 4_040, 4_050);
    for (let s = 5; s <= 20; s += 1) {
      l.sent(s, s * 1000);
      l.acked(s, s * 1000 + 5);
      l.sampled(s * 100, s * 1000, s * 1000 + 8);
      l.applied('a', 40, s * 1000 + 20, s * 1000 + 30);
      l.seen(4, s * 1000 + 40, s * 1000 + 50);
      expect({ s, agreement: l.at(s * 1000 + 60).agreement.value }).toEqual({ s, agreement: 1 });
    }
  });

  it('does not fall when a position is read before a slow commit', () => {
    const l = fine(['a']);
    l.sent(4, 4_000);
    l.sampled(40, 4_001, 4_002);
    l.applied('a', 40, 4_010, 4_020);
    l.acked(4, 4_500);
    for (let s = 5; s <= 20; s += 1) {
      l.sent(s, s * 1000);
      l.acked(s, s * 1000 + 5);
      l.applied('a', 40, s * 1000 + 20, s * 1000 + 30);
      l.seen(3, s * 1000 + 40, s * 1000 + 50);
      expect({ s, agreement: l.at(s * 1000 + 60).agreement.value }).toEqual({ s, agreement: 1 });
    }
  });

  it('goes by when a question was asked, not by when its slow answer came', () => {
    const l = fine(['a']);
    l.sent(4, 4_000);
    l.acked(4, 4_005);
    l.sampled(40, 4_006, 4_008);
    l.applied('a', 40, 4_020, 4_030);
    l.seen(3, 4_010, 9_000);
    expect(l.at(9_000).agreement.reason ?? '').not.toContain('no longer replicated');
    l.seen(3, 9_000, 9_010);
    expect(l.at(9_010).agreement).toMatchObject({ value: 0 });
  });

  it('falls also when the freshness is many heartbeats long', () => {
    const l = new Link(['a', 'b'], 1_000, 10_000);
    for (let n = 1; n <= 600; n += 1) {
      const at = n * 50;
      l.sent(n, at);
      l.acked(n, at + 1);
      l.sampled(n, at, at + 2);
      l.seen(n, at + 3, at + 4);
      l.applied('a', n, at + 3, at + 5);
      l.applied('b', Math.min(n, 100), at + 3, at + 5);
    }
    expect(l.at(30_010).agreement).toMatchObject({ value: 0 });
  });
});

describe('a flow whose applied position goes back', () => {
  it('is as far behind as nobody can say, until it has applied something that was sampled since', () => {
    const l = new Link(['sub']);
    for (let s = 1; s <= 60; s += 1) {
      l.sampled(s * 10, s * 1000, s * 1000 + 5);
      l.applied('sub', s * 10, s * 1000 + 20, s * 1000 + 30);
    }
    expect(stateAt(l.at(60_100).lag_by_position, 60_100 * MS)).toBe('ok');
    // The target was restored as it was 50 seconds ago, and answers again.
    l.applied('sub', 100, 60_500, 60_510);
    expect(stateAt(l.at(60_510).lag_by_position, 60_510 * MS)).toBe('unknown');
    l.sampled(610, 61_000, 61_005);
    l.applied('sub', 100, 61_020, 61_030);
    expect(stateAt(l.at(61_030).lag_by_position, 61_030 * MS)).toBe('unknown');
    l.applied('sub', 400, 61_500, 61_510);
    expect(stateAt(l.at(61_510).lag_by_position, 61_510 * MS)).toBe('unknown');
    l.applied('sub', 610, 62_000, 62_010);
    expect(valueAt(l.at(62_010).lag_by_position, 62_010 * MS)).toBe(1.01);
  });
});

describe('lag where only the row tells', () => {
  it('says what may be wrong when nothing newer arrives for long, and not before', () => {
    const l = new Link();
    l.healthy(1, 10);
    l.sent(11, 11_000);
    l.acked(11, 11_005);
    l.seen(10, 13_900, 13_901);
    expect(l.at(13_901).lag.reason).toBeNull();
    l.seen(10, 14_100, 14_101);
    expect(l.lag(14_101)).toBe(3_101);
    expect(l.at(14_101).lag.reason).toContain('it copies lockgate.heartbeat no longer');
    const withFlow = new Link(['sub']);
    withFlow.healthy(1, 10);
    withFlow.sent(11, 11_000);
    withFlow.seen(10, 14_100, 14_101);
    expect(withFlow.at(14_101).lag.reason).toBeNull();
  });

  it('names both reasons when nothing has ever come', () => {
    const l = new Link();
    l.sent(1, 1_000);
    l.acked(1, 1_005);
    l.seen(null, 5_000, 5_001);
    expect(l.lag(5_001)).toBe('unknown');
    expect(l.at(5_001).lag.reason).toContain('lockgate.heartbeat is not part of what is copied');
  });
});

describe('an instant that the target has certainly passed', () => {
  const passed = (link: Link): number => link.tracker.passedAt() / MS;

  it('is when the newest heartbeat seen was sent, and the newest position that every flow has applied', () => {
    const link = new Link(['a', 'b']);
    expect(passed(link)).toBe(-Infinity);
    link.sent(1, 1_000);
    link.acked(1, 1_005);
    link.sampled(100, 1_006, 1_008);
    link.seen(1, 1_040, 1_050);
    expect(passed(link)).toBe(-Infinity);
    link.applied('a', 100, 1_060, 1_061);
    expect(passed(link)).toBe(-Infinity);
    link.applied('b', 100, 1_070, 1_071);
    expect(passed(link)).toBe(1_000);
    link.sent(2, 2_000);
    link.acked(2, 2_005);
    link.sampled(200, 2_006, 2_008);
    link.seen(2, 2_040, 2_050);
    link.applied('a', 200, 2_060, 2_061);
    // The other flow still has to apply the second position.
    expect(passed(link)).toBe(1_006);
    link.applied('b', 199, 2_070, 2_071);
    expect(passed(link)).toBe(1_006);
    link.applied('b', 200, 2_080, 2_081);
    expect(passed(link)).toBe(2_000);
  });

  it('goes by the row alone where no position can be read', () => {
    const link = new Link([]);
    link.sent(1, 1_000);
    link.acked(1, 1_005);
    expect(passed(link)).toBe(-Infinity);
    link.seen(1, 1_040, 1_050);
    expect(passed(link)).toBe(1_000);
  });

  it('is nothing after a fault of watching, a loss, a regression or a jump of the clocks', () => {
    const sound = (): Link => {
      const link = new Link(['a']);
      link.sent(1, 1_000);
      link.acked(1, 1_005);
      link.sampled(100, 1_006, 1_008);
      link.seen(1, 1_040, 1_050);
      link.applied('a', 100, 1_060, 1_061);
      expect(passed(link)).toBe(1_000);
      return link;
    };
    const blind = sound();
    blind.tracker.observe({ kind: 'watch-fault', link: LINK, at: 1_100 * MS, reason: 'target down' });
    expect(passed(blind)).toBe(-Infinity);
    const deaf = sound();
    deaf.tracker.observe({ kind: 'applied-fault', link: LINK, flow: 'a', at: 1_100 * MS, reason: 'no right' });
    expect(passed(deaf)).toBe(-Infinity);
    const lossy = sound();
    lossy.lost(null, 1, 1_100, 1_101);
    expect(passed(lossy)).toBe(-Infinity);
    const back = sound();
    back.applied('a', 90, 1_100, 1_101);
    expect(passed(back)).toBe(-Infinity);
    const jumped = sound();
    jumped.tracker.reset();
    expect(passed(jumped)).toBe(-Infinity);
  });
});
