import { describe, expect, it } from 'vitest';
import { Arrivals } from '../../../daemon/core/arrivals.js';

const upTo =
  (id: number) =>
  (item: { id: number }): boolean =>
    item.id <= id;

describe('arrivals', () => {
  it('bound a delay by what is certain', () => {
    const a = new Arrivals<null>(1_000);
    a.sent(1, 100, null);
    a.acked(1, 120);
    a.absent(150);
    expect(a.lowOutstandingUs()).toBe(30);
    expect(a.arrived(upTo(1), 180)).toEqual({ id: 1, sentAt: 100, at: 180, highUs: 80, lowUs: 30 });
    expect(a.newest()?.highUs).toBe(80);
    expect(a.oldestOutstanding()).toBeNull();
    expect(a.lowOutstandingUs()).toBe(0);
  });

  it('know no lower end before the commit, nor when nobody asked since', () => {
    const a = new Arrivals<null>(1_000);
    a.sent(1, 100, null);
    a.absent(150);
    expect(a.lowOutstandingUs()).toBe(0);
    expect(a.arrived(upTo(1), 180)?.lowUs).toBe(0);
    a.sent(2, 200, null);
    a.acked(2, 210);
    expect(a.lowOutstandingUs()).toBe(0);
    expect(a.arrived(upTo(2), 220)?.lowUs).toBe(0);
  });

  it('take the newest of several, and no answer twice', () => {
    const a = new Arrivals<null>(1_000);
    for (const id of [1, 2, 3]) a.sent(id, id * 100, null);
    expect(a.arrived(upTo(2), 250)).toMatchObject({ id: 2, highUs: 50 });
    expect(a.arrived(upTo(2), 260)).toBeNull();
    expect(a.oldestOutstanding()?.id).toBe(3);
    expect(a.size).toBe(1);
  });

  it('hold what has not arrived to rule out everything later', () => {
    const a = new Arrivals<number>(1_000);
    a.sent(1, 100, 50);
    a.sent(2, 200, 10);
    expect(a.arrived((item) => item.payload <= 20, 300)).toBeNull();
    expect(a.size).toBe(2);
  });

  it('forget what was not committed, and do not count what may not have been', () => {
    const a = new Arrivals<null>(1_000);
    for (const id of [1, 2, 3]) a.sent(id, id * 100, null);
    a.failed(1, 'not-committed');
    a.failed(2, 'uncertain');
    a.failed(9, 'not-committed');
    expect(a.size).toBe(2);
    expect(a.oldestOutstanding()?.id).toBe(3);
    expect(a.oldestCommitted()).toBeNull();
    a.acked(3, 310);
    expect(a.oldestCommitted()?.id).toBe(3);
    expect(a.arrived(upTo(2), 400)).toMatchObject({ id: 2, highUs: 200, lowUs: 0 });
  });

  it('keep the newest of the answers that came out of order', () => {
    const a = new Arrivals<null>(1_000);
    a.absent(200);
    a.absent(150);
    expect(a.askedAt).toBe(200);
  });

  it('tell since when everything up to an instant has arrived', () => {
    const a = new Arrivals<null>(1_000);
    for (const id of [1, 2, 3]) {
      a.sent(id, id * 100, null);
      a.arrived(upTo(id), id * 100 + 30);
    }
    expect([50, 100, 101, 300, 301].map((t) => a.arrivedPast(t))).toEqual([130, 130, 230, 330, null]);
  });

  it('remember as far back as they must at any pace, within a part of it', () => {
    const remember = 1_000_000;
    const a = new Arrivals<null>(remember);
    for (let id = 1; id <= 20_000; id += 1) {
      a.sent(id, id * 100, null);
      a.arrived(upTo(id), id * 100 + 30);
    }
    const now = 2_000_030;
    for (const back of [1_000_000, 700_000, 300_000, 9_000, 100]) {
      const told = a.arrivedPast(now - 30 - back)!;
      expect(told).toBeGreaterThanOrEqual(now - back);
      expect(told).toBeLessThanOrEqual(now - back + remember / 200);
    }
  });

  it('are outstanding again since they were sent, once they are lost', () => {
    const a = new Arrivals<null>(1_000, true);
    for (const id of [1, 2, 3, 4, 5]) a.sent(id, id * 100, null);
    a.acked(1, 110);
    a.failed(3, 'uncertain');
    a.arrived(upTo(1), 130);
    a.arrived(upTo(4), 450);
    a.lost(1);
    expect(a.newest()).toMatchObject({ id: 1, highUs: 30 });
    // 2 was seen at 450 with the others, so that it had been committed by then; whether 3 ever was nobody knows.
    expect(a.oldestOutstanding()).toMatchObject({ id: 2, oldestSentAt: 200, ackedAt: 450, state: 'acked' });
    expect(a.arrivedPast(150)).toBeNull();
    expect(a.size).toBe(3);
    expect(a.arrived(upTo(5), 900)).toMatchObject({ id: 5 });
    a.lost(4);
    expect(a.newest()).toMatchObject({ id: 4, sentAt: 400, at: 900 });
    a.lost(null);
    expect([a.newest(), a.oldestOutstanding()?.id, a.size]).toEqual([null, 1, 4]);
  });

  it('stay as old as the truth when they are lost after a long time', () => {
    const a = new Arrivals<null>(1_000, true);
    for (let id = 1; id <= 20_000; id += 1) {
      a.sent(id, id * 100, null);
      a.acked(id, id * 100 + 10);
      a.arrived(upTo(id), id * 100 + 30);
    }
    for (const id of [19_999, 19_990, 19_000, 7_000, 3]) {
      a.lost(id);
      expect(a.oldestOutstanding()!.oldestSentAt).toBeLessThanOrEqual((id + 1) * 100);
      expect(a.newest()?.id ?? 0).toBeLessThanOrEqual(id);
    }
    expect(a.size).toBeLessThanOrEqual(256);
  });

  it('start anew after a reset', () => {
    const a = new Arrivals<null>(1_000);
    a.sent(1, 100, null);
    a.sent(2, 200, null);
    a.acked(2, 210);
    a.absent(300);
    a.arrived(upTo(1), 310);
    a.reset();
    expect([a.newest(), a.oldestOutstanding(), a.askedAt, a.size]).toEqual([null, null, null, 0]);
    expect(a.arrived(upTo(2), 320)).toBeNull();
  });
});

describe('a long stall', () => {
  it('is bounded in memory and does not make the oldest younger', () => {
    const a = new Arrivals<null>(1_000);
    for (let id = 1; id <= 50_000; id += 1) {
      a.sent(id, id * 100, null);
      a.acked(id, id * 100 + 10);
    }
    expect(a.size).toBeLessThanOrEqual(1_024);
    expect(a.oldestOutstanding()).toMatchObject({ id: 1, oldestSentAt: 100 });
    // Whatever has arrived, the oldest of what has not is at least as old as the truth.
    for (let id = 500; id < 50_000; id += 777) {
      a.arrived(upTo(id), 6_000_000);
      expect(a.oldestOutstanding()!.oldestSentAt).toBeLessThanOrEqual((id + 1) * 100);
    }
    a.arrived(upTo(50_000), 6_000_001);
    expect(a.size).toBe(0);
  });

  it('does not lose the age of a committed item to one whose outcome is not certain', () => {
    const a = new Arrivals<null>(1_000);
    for (let id = 1; id <= 5_000; id += 1) {
      a.sent(id, id * 100, null);
      if (id % 3 === 0) a.failed(id, 'uncertain');
      else a.acked(id, id * 100 + 10);
    }
    for (let id = 2; id < 5_000; id += 1) {
      a.arrived(upTo(id), 1_000_000);
      const oldest = (id + 1) % 3 === 0 ? id + 2 : id + 1;
      expect({ id, ok: a.oldestOutstanding()!.oldestSentAt <= oldest * 100 }).toEqual({ id, ok: true });
    }
  });

  it('does not lose it to one that fails later either', () => {
    const a = new Arrivals<null>(1_000);
    for (let id = 1; id <= 1_025; id += 1) {
      a.sent(id, id * 100, null);
      if (id < 1_023) a.acked(id, id * 100 + 10);
    }
    for (const id of [1_023, 1_024, 1_025]) a.failed(id, 'not-committed');
    a.arrived(upTo(1_021), 200_000);
    expect(a.oldestOutstanding()?.oldestSentAt).toBe(102_200);
  });
});
