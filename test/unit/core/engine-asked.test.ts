/** What was asked for counts from when it was asked, however long the answer took to be taken in. */
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../../daemon/config/load.js';
import type { DirectionRow } from '../../../daemon/core/direction.js';
import { stateAt, valueAt } from '../../../daemon/core/signal.js';
import { Engine } from '../../../daemon/engine.js';
import { FakeClock } from '../../support/fake-clock.js';

const S = 1_000_000;
const LINK = 'shop/forward';

const text = `
databases:
  onprem: { engine: postgres, url: "postgres://u@one:1/x?sslmode=disable" }
  aws: { engine: postgres, url: "postgres://u@two:1/x?sslmode=disable" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: s }
    reverse: { via: postgres-logical, subscription: r }
    gates:
      up: { require: "target.reachable is 1" }
  other:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: s }
`;

class Bench {
  readonly clock = new FakeClock();
  readonly jumps: string[] = [];
  readonly engine = new Engine(
    loadConfig({
      file: 'lockgate.yaml',
      text,
      env: {},
      hostName: 'test',
      readFile: () => {
        throw new Error('no secrets in this configuration');
      },
    }),
    this.clock,
    {
      record: () => true,
      delay: () => undefined,
      direction: () => undefined,
      jumped: (what) => this.jumps.push(what),
    },
  );

  get now(): number {
    return this.clock.monotonicNow();
  }

  reachable(askedAt: number): void {
    const o = { kind: 'side-reading', database: 'aws', signal: 'reachable', value: 1, reason: null } as const;
    this.engine.observe({ ...o, askedAt, at: this.now });
  }

  rows(database: string, askedAt: number, epoch = 0): void {
    const row: DirectionRow = {
      migration: 'shop',
      epoch,
      direction: epoch % 2 === 0 ? 'forward' : 'reverse',
      changedAt: null,
      changedBy: null,
      reason: null,
    };
    const rows = epoch === 0 ? [] : [row];
    this.engine.observe({ kind: 'direction-rows', database, rows, reason: null, askedAt, at: this.now });
  }

  state(signal: string): string {
    return stateAt(this.engine.reading('shop', signal), this.now);
  }
}

describe('an answer', () => {
  it('that was held up by a stall of the daemon is as old as its question', () => {
    const b = new Bench();
    const asked = b.now;
    b.clock.tick(2 * S);
    b.reachable(asked);
    expect(b.engine.verdict('shop/up')?.state).toBe('open');
    b.clock.tick(S);
    expect(b.engine.verdict('shop/up')?.state).toBe('open');
    b.clock.tick(1);
    expect(b.engine.verdict('shop/up')?.state).toBe('unknown');
    // A minute later: stale when it comes.
    b.clock.tick(60 * S);
    b.reachable(b.now - 60 * S);
    expect(b.engine.verdict('shop/up')?.state).toBe('unknown');
  });

  it('that was asked for before a suspend and came after it counts for nothing', () => {
    const b = new Bench();
    const asked = b.now;
    b.clock.tick(S / 100);
    b.clock.suspend(3600 * S);
    b.reachable(asked);
    expect(b.jumps).toHaveLength(1);
    expect(b.engine.verdict('shop/up')?.state).toBe('unknown');
    b.reachable(b.now);
    expect(b.engine.verdict('shop/up')?.state).toBe('open');
  });

  it('that tells of a fault counts whenever it was asked for', () => {
    const b = new Bench();
    b.reachable(b.now);
    b.clock.suspend(3600 * S);
    const o = { kind: 'side-reading', database: 'aws', signal: 'reachable', value: null, reason: 'no route' } as const;
    b.engine.observe({ ...o, askedAt: b.now - 1, at: b.now });
    expect(b.engine.reading('shop', 'target.reachable').reason).toBe('no route');
  });

  it('about a position does not make the time of a suspend disappear from the lag', () => {
    const b = new Bench();
    const sentAt = b.now;
    b.clock.tick(1_000);
    b.clock.suspend(3600 * S);
    const position = { kind: 'lsn', lsn: 5n } as const;
    b.engine.observe({ kind: 'position-sampled', link: LINK, position, sentAt, at: b.now });
    b.clock.tick(1_000);
    b.engine.observe({ kind: 'applied', link: LINK, flow: 's', position, askedAt: b.now - 500, at: b.now });
    expect(b.state('forward.lag_by_position')).toBe('unknown');
    b.engine.observe({ kind: 'position-sampled', link: LINK, position, sentAt: b.now, at: b.now });
    b.engine.observe({ kind: 'applied', link: LINK, flow: 's', position, askedAt: b.now, at: b.now });
    expect(b.state('forward.lag_by_position')).toBe('ok');
  });

  it('about an applied position ages from its question', () => {
    const b = new Bench();
    const sample = (lsn: bigint): void =>
      b.engine.observe({
        ...{ kind: 'position-sampled', link: LINK, sentAt: b.now, at: b.now },
        position: { kind: 'lsn', lsn },
      });
    const applied = (askedAt: number): void =>
      b.engine.observe({
        ...{ kind: 'applied', link: LINK, flow: 's', askedAt, at: b.now },
        position: { kind: 'lsn', lsn: 5n },
      });
    sample(5n);
    applied(b.now);
    sample(6n);
    const asked = b.now;
    b.clock.tick(2 * S);
    applied(asked);
    expect(valueAt(b.engine.reading('shop', 'forward.lag_by_position'), b.now)).toBe(2);
    expect(b.state('forward.lag_by_position')).toBe('ok');
    b.clock.tick(S + 1);
    expect(b.state('forward.lag_by_position')).toBe('stale');
  });

  it('about the direction is as old as its question, and nothing beside a suspend or a change', () => {
    const b = new Bench();
    const both = (askedAt: number, epoch = 0): void => {
      b.rows('onprem', askedAt, epoch);
      b.rows('aws', askedAt, epoch);
    };
    const asked = b.now;
    b.clock.tick(2 * S);
    both(asked);
    expect(b.engine.direction('shop').direction).toBe('forward');
    b.clock.tick(S + 1);
    expect(b.engine.direction('shop').direction).toBe('unknown');
    const before = b.now;
    b.clock.tick(100);
    b.clock.suspend(3600 * S);
    both(before);
    expect(b.engine.direction('shop').direction).toBe('unknown');
    both(b.now);
    expect(b.engine.direction('shop').direction).toBe('forward');
    // Its reader sees a change among the database's writes, while an older answer is still on its way.
    const early = b.now;
    b.clock.tick(100);
    b.engine.observe({ kind: 'direction-touched', database: 'aws', at: b.now });
    b.clock.tick(100);
    b.rows('aws', early);
    expect(b.engine.direction('shop').direction).toBe('unknown');
    both(b.now, 1);
    expect(b.engine.direction('shop').direction).toBe('reverse');
  });
});

describe('a row of lockgate.direction that makes no sense', () => {
  it('takes away the direction of its own migration only', () => {
    const b = new Bench();
    for (const database of ['onprem', 'aws']) {
      const unusable = database === 'aws' ? [{ migration: 'shop', reason: 'sideways is no direction' }] : [];
      b.engine.observe({
        kind: 'direction-rows',
        database,
        rows: [],
        unusable,
        reason: null,
        askedAt: b.now,
        at: b.now,
      });
    }
    expect(b.engine.direction('other').direction).toBe('forward');
    expect(b.engine.direction('shop')).toEqual({ direction: 'unknown', reason: 'target: sideways is no direction' });
  });
});
