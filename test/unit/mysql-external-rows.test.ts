import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ExternalRows } from '../../collectors/mysql/external-rows.js';
import { lagFreshness, LagTracker, type LagObservation } from '../../daemon/core/lag.js';
import { stateAt, valueAt } from '../../daemon/core/signal.js';
import type { Observation } from '../../daemon/core/observation.js';

const MS = 1_000;
const S = 1_000_000;
const link = 'shop/forward';
const lookUs = 100 * MS;

const fresh = (): ExternalRows =>
  new ExternalRows({ link, intervalUs: S, lookUs, where: 'percona.heartbeat on onprem' });
const kinds = (observations: readonly Observation[]): string[] => observations.map((o) => o.kind);

describe('a heartbeat that another tool writes', () => {
  it('takes the first row for none, because nobody knows since when it is there', () => {
    const rows = fresh();
    expect(rows.source('a', 0, 1 * MS)).toEqual([]);
    expect(rows.source('b', 100 * MS, 101 * MS)).toEqual([
      { kind: 'heartbeat-sent', link, run: 'external', seq: 2, at: 0 },
      { kind: 'heartbeat-acked', link, seq: 2, at: 101 * MS },
    ]);
  });

  it('tells a dead writer from lag, whatever the target shows, and its return', () => {
    const rows = fresh();
    rows.source('a', 0, 1 * MS);
    expect(rows.source('a', 2 * S, 2 * S + MS)).toEqual([]);
    const [dead] = rows.source('a', 3 * S, 3 * S + MS);
    expect(dead).toMatchObject({ kind: 'writer-fault', reason: expect.stringContaining('dead or stopped') as string });
    expect(kinds(rows.source('b', 4 * S, 4 * S + MS))).toEqual(['heartbeat-sent', 'heartbeat-acked']);
  });

  it('counts nothing from before a look that failed', () => {
    const rows = fresh();
    rows.source('a', 0, MS);
    rows.source('b', S, S + MS);
    expect(kinds(rows.sourceFailed('gone', 2 * S))).toEqual(['writer-fault']);
    expect(rows.source('c', 9 * S, 9 * S + MS)).toEqual([]);
    expect(rows.source('d', 10 * S, 10 * S + MS)[0]).toMatchObject({ kind: 'heartbeat-sent', at: 9 * S });
    expect(kinds(rows.source(null, 11 * S, 11 * S + MS))).toContain('writer-fault');
  });

  it('waits for nothing that is gone from the source', () => {
    const rows = fresh();
    rows.source('a', 0, MS);
    rows.source('b', S, S + MS);
    rows.target('b', S + 2 * MS, S + 3 * MS);
    rows.source('c', 2 * S, 2 * S + MS);
    const gone = rows.source(null, 3 * S, 3 * S + MS);
    expect(kinds(gone)).toEqual(['heartbeat-failed', 'writer-fault']);
    expect(gone[0]).toMatchObject({ seq: 3, outcome: 'uncertain' });
    expect(rows.target(null, 4 * S, 4 * S + MS)[0]).not.toHaveProperty('lost');
    // A row that comes back under the old name is a new one.
    expect(rows.source('c', 5 * S, 5 * S + MS)).toEqual([]);
  });

  it('says that the target has lost rows, and that it has none', () => {
    const rows = fresh();
    rows.source('a', 0, MS);
    rows.source('b', S, S + MS);
    expect(rows.target('b', S + 2 * MS, S + 3 * MS)).toMatchObject([{ upTo: 2 }]);
    expect(rows.target('a', 2 * S, 2 * S + MS)).toMatchObject([{ upTo: 1, lost: { shown: 2 } }]);
    expect(rows.target(null, 3 * S, 3 * S + MS)).toMatchObject([{ upTo: null, lost: { shown: 1 } }]);
    expect(rows.target(null, 4 * S, 4 * S + MS)).toEqual([
      { kind: 'heartbeat-visible', link, upTo: null, askedAt: 4 * S, at: 4 * S + MS, by: 'poll' },
    ]);
  });

  it('waits for the source to say whether a row it has not shown is older or newer', () => {
    const rows = fresh();
    rows.source('b', 0, MS);
    expect(rows.target('c', 50 * MS, 51 * MS)).toEqual([]);
    rows.source('c', 100 * MS, 101 * MS);
    expect(rows.target('c', 150 * MS, 151 * MS)).toMatchObject([{ upTo: 2 }]);
    // An old one stays what the target shows while the source goes on.
    const late = fresh();
    late.source('z', 0, MS);
    expect(late.target('old', 50 * MS, 51 * MS)).toEqual([]);
    late.source('z', 300 * MS, 301 * MS);
    expect(late.target('old', 400 * MS, 401 * MS)).toMatchObject([{ upTo: null, askedAt: 50 * MS }]);
  });

  it('says so when rows pass that it never sees on the source', () => {
    const rows = fresh();
    rows.source('s0', 0, MS);
    let last: Observation[] = [];
    for (let n = 1; n < 60; n += 1) {
      rows.source(`s${n}`, n * 100 * MS, n * 100 * MS + MS);
      last = rows.target(`t${n}`, n * 100 * MS + 50 * MS, n * 100 * MS + 51 * MS);
    }
    expect(last).toMatchObject([{ kind: 'watch-fault' }]);
  });

  it('never tells less lag than there is, nor a lower bound above it, whatever the pace of everybody', () => {
    const delays = fc.array(fc.integer({ min: 0, max: 4_000 }), { minLength: 20, maxLength: 60 });
    const looks = fc.array(fc.tuple(fc.integer({ min: 5, max: 180 }), fc.integer({ min: 0, max: 60 }), fc.nat(100)), {
      minLength: 50,
      maxLength: 400,
    });
    fc.assert(
      fc.property(delays, looks, looks, (delay, sourceLooks, targetLooks) => {
        // The truth: row n is committed at n s and applied some time later, in order.
        let newest = 0;
        const applied = delay.map((ms, n) => (newest = Math.max(newest, n * S + ms * MS)));
        const shownAt = (times: readonly number[], at: number): string | null => {
          const n = times.findLastIndex((t) => t <= at);
          return n < 0 ? null : `row ${n}`;
        };
        const committed = delay.map((_, n) => n * S);
        type Look = { side: 'source' | 'target'; asked: number; read: number; at: number };
        const plan = (side: Look['side'], list: typeof sourceLooks): Look[] => {
          let asked = 0;
          return list.map(([pause, took, share]) => {
            asked += pause * MS;
            const look = { side, asked, read: asked + Math.floor((took * MS * share) / 100), at: asked + took * MS };
            asked = look.at;
            return look;
          });
        };
        const all = [...plan('source', sourceLooks), ...plan('target', targetLooks)].sort((a, b) => a.at - b.at);
        const rows = fresh();
        const tracker = new LagTracker({ lagFreshUs: lagFreshness(S), freshUs: 3 * S, flows: [] });
        let seen = 0;
        for (const { side, asked, read, at } of all) {
          const row = shownAt(side === 'source' ? committed : applied, read);
          const observations = side === 'source' ? rows.source(row, asked, at) : rows.target(row, asked, at);
          for (const o of observations) {
            const arrived = tracker.observe(o as LagObservation);
            if (arrived === null || o.kind !== 'heartbeat-visible') continue;
            seen = Number(/\d+/.exec(row ?? '')?.[0]);
            const truth = (applied[seen] ?? 0) - (committed[seen] ?? 0);
            expect(arrived, `row ${seen} at ${at}`).toBeGreaterThanOrEqual(truth);
            const { lag_low } = tracker.readings(at);
            expect((valueAt(lag_low, at) ?? 0) * S).toBeLessThanOrEqual(
              Math.max(truth, at - (committed[seen + 1] ?? at)),
            );
          }
          const { lag } = tracker.readings(at);
          if (stateAt(lag, at) !== 'ok') continue;
          // The oldest row that is committed, not applied, and was shown to us by a look that has ended.
          const missing = applied.findIndex((t, n) => t > at && (committed[n] ?? 0) <= at);
          const shown = all.some(
            (l) => l.side === 'source' && l.at <= at && l.read >= (committed[missing] ?? Infinity),
          );
          if (missing > 0 && shown) {
            expect((valueAt(lag, at) ?? 0) * S + 1).toBeGreaterThanOrEqual(at - (committed[missing] ?? at));
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
