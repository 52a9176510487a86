import { describe, expect, it } from 'vitest';
import type { Config, DatabaseConfig, LinkConfig } from '../../../daemon/core/config.js';
import type { Break, ChainFacts } from '../../../daemon/core/continuity.js';
import type { DirectionRow } from '../../../daemon/core/direction.js';
import { stateAt, type LinkName } from '../../../daemon/core/signal.js';
import { Engine } from '../../../daemon/engine.js';
import type { EngineMemories } from '../../../daemon/engine-output.js';
import { FakeClock } from '../../support/fake-clock.js';

const S = 1_000_000;

function config(via: LinkConfig['via']): Config {
  const database = (name: string): DatabaseConfig => ({
    name,
    engine: 'postgres',
    address: { host: name, port: 5432, database: 'app', user: 'lockgate' },
    password: null,
    tls: { mode: 'disable', ca: null, cert: null, key: null },
    read: 'auto',
  });
  const forward: LinkConfig = {
    name: 'forward',
    via,
    from: 'onprem',
    to: 'aws',
    flows: via === 'dms' ? [] : ['shop_sub'],
    publication: null,
    heartbeat: { intervalUs: S, watch: 'auto' },
    freshnessUs: 3 * S,
    tables: null,
    retentionLimitBytes: null,
  };
  const shop = {
    name: 'shop',
    source: 'onprem',
    target: 'aws',
    links: { forward },
    promotion: 'manual' as const,
    gates: new Map(),
  };
  return {
    file: 'lockgate.yaml',
    hash: 'hash',
    daemon: { id: 'a', listen: { host: '127.0.0.1', port: 0 }, tls: null, auth: null },
    store: { path: ':memory:', retainUs: 0 },
    databases: new Map(['onprem', 'aws'].map((name) => [name, database(name)])),
    migrations: new Map([['shop', shop]]),
    gates: new Map(),
    warnings: [],
  };
}

/** An engine whose memory can be carried into the next one, as over a restart of the daemon. */
class Bench {
  readonly clock = new FakeClock();
  readonly breaks: Break[] = [];
  readonly strays: string[] = [];
  engine: Engine;

  constructor(private readonly via: LinkConfig['via'] = 'postgres-logical') {
    this.engine = this.make();
  }

  restart(): void {
    this.engine = this.make(JSON.parse(JSON.stringify(this.engine.memories)) as EngineMemories);
  }

  rows(row: { epoch: number; direction: LinkName } | null, databases = ['onprem', 'aws']): void {
    const rows: DirectionRow[] =
      row === null ? [] : [{ migration: 'shop', ...row, changedAt: null, changedBy: null, reason: null }];
    for (const database of databases) {
      this.engine.observe({ kind: 'direction-rows', database, rows, reason: null, at: this.now });
    }
  }

  seen(broken: string[] = [], system = '1'): void {
    const identities = [{ key: 'source.system', what: 'the system', value: system }];
    const facts: ChainFacts = { identities, positions: [], broken };
    this.engine.observe({ kind: 'chain-seen', link: 'shop/forward', facts, at: this.now, freshUs: 3 * S });
  }

  watching(database = 'aws', emptyGap = false): void {
    const base = { kind: 'local-watch', database, upTo: null, reason: null, at: this.now } as const;
    this.engine.observe({ ...base, watching: true, emptyGap, mark: `mark ${this.now}` });
  }

  wrote(position: string, database = 'aws'): void {
    const writes = [{ position, committedAt: null }];
    this.engine.observe({ kind: 'local-writes', database, writes, at: this.now });
  }

  reads(signal: string): string {
    const reading = this.engine.reading('shop', signal);
    const state = stateAt(reading, this.now);
    return state === 'ok' ? String(reading.value) : state;
  }

  get now(): number {
    return this.clock.monotonicNow();
  }

  private make(kept?: EngineMemories): Engine {
    const output = {
      record: () => true,
      delay: () => undefined,
      direction: () => undefined,
      jumped: () => undefined,
      broke: (_: string, news: Break) => void this.breaks.push(news),
      stray: (_: string, side: string) => void this.strays.push(side),
    };
    return kept === undefined
      ? new Engine(config(this.via), this.clock, output)
      : new Engine(config(this.via), this.clock, output, kept);
  }
}

describe('continuity', () => {
  it('is unknown before a look, 1 while whole, latched at 0, over restarts, until it is accepted', () => {
    const b = new Bench();
    expect(b.reads('forward.continuity')).toBe('unknown');
    b.seen();
    expect(b.reads('forward.continuity')).toBe('1');
    b.restart();
    b.seen([], '2');
    expect(b.reads('forward.continuity')).toBe('0');
    expect(b.breaks.map((x) => x.what)).toEqual(['the system changed from 1 to 2']);
    b.seen([], '2');
    b.engine.observe({ kind: 'chain-fault', link: 'shop/forward', reason: 'down', at: b.now });
    b.restart();
    b.engine.observe({ kind: 'chain-fault', link: 'shop/forward', reason: 'down', at: b.now });
    expect(b.reads('forward.continuity')).toBe('0');
    expect(b.breaks).toHaveLength(1);
    b.engine.acceptBreaks('shop');
    expect(b.reads('forward.continuity')).toBe('unknown');
    b.seen([], '2');
    expect(b.reads('forward.continuity')).toBe('1');
  });

  it('can be accepted although the wall clock was set back since the break', () => {
    const b = new Bench();
    b.seen(['slot gone']);
    b.clock.stepWall(-3_600 * S);
    b.engine.acceptBreaks('shop');
    b.seen();
    expect(b.reads('forward.continuity')).toBe('1');
  });

  it('is broken by heartbeats that were left out, unless positions had told that it was the table alone', () => {
    const b = new Bench();
    b.seen();
    const what = '3 heartbeats were left out';
    b.engine.observe({ kind: 'chain-broken', link: 'shop/forward', what, heartbeatsSince: b.now, at: b.now });
    expect(b.reads('forward.continuity')).toBe('0');

    const c = new Bench();
    c.seen();
    const since = c.now;
    const lsn = (n: bigint): { kind: 'lsn'; lsn: bigint } => ({ kind: 'lsn', lsn: n });
    const link = 'shop/forward';
    c.engine.observe({ kind: 'heartbeat-sent', link, run: 'r', seq: 1, at: c.now });
    c.engine.observe({ kind: 'heartbeat-acked', link, seq: 1, at: c.now });
    c.clock.tick(S / 10);
    c.engine.observe({ kind: 'position-sampled', link, position: lsn(5n), sentAt: c.now, at: c.now });
    for (let n = 0; n < 50; n += 1) {
      c.clock.tick(S / 10);
      const at = c.now;
      c.engine.observe({ kind: 'applied', link, flow: 'shop_sub', position: lsn(9n), askedAt: at, at });
      c.engine.observe({ kind: 'heartbeat-visible', link, upTo: null, askedAt: at, at, by: 'poll' });
    }
    expect(c.reads('forward.agreement')).toBe('0');
    c.engine.observe({ kind: 'chain-broken', link, what, heartbeatsSince: since, at: c.now });
    c.seen();
    expect(c.reads('forward.continuity')).toBe('1');
  });
});

describe('the passive side', () => {
  it('is known once the direction is, and not while it is unknown', () => {
    const b = new Bench();
    expect([b.engine.isPassive('aws'), b.engine.isPassive('onprem')]).toEqual([null, null]);
    b.rows(null);
    expect([b.engine.isPassive('aws'), b.engine.isPassive('onprem')]).toEqual([true, false]);
    b.rows({ epoch: 1, direction: 'reverse' });
    expect([b.engine.isPassive('aws'), b.engine.isPassive('onprem')]).toEqual([false, true]);
    expect(b.engine.isPassive('elsewhere')).toBeNull();
  });

  it('counts the stray writes of the new passive side from the instant at which the direction changes', () => {
    const b = new Bench();
    b.rows(null);
    b.watching();
    expect(b.reads('standby.stray_writes')).toBe('0');
    b.rows({ epoch: 1, direction: 'reverse' });
    expect(b.reads('standby.stray_writes')).toBe('unknown');
  });

  it('latches stray writes over restarts, told once, until they are reconciled', () => {
    const b = new Bench();
    b.rows(null);
    b.watching();
    expect(b.reads('standby.stray_writes')).toBe('0');
    b.wrote('0/1');
    b.wrote('0/2');
    b.wrote('0/3', 'onprem');
    expect(b.reads('standby.stray_writes')).toBe('2');
    expect(b.strays).toEqual(['target']);
    expect(b.engine.strayWrites('shop', 'target')).toMatchObject({ count: 2, firstPosition: '0/1' });
    expect(b.engine.strayWrites('shop', 'source').count).toBe(0);
    b.restart();
    b.rows(null);
    b.clock.tick(S);
    b.watching('aws', true);
    expect(b.reads('standby.stray_writes')).toBe('2');
    b.engine.reconcileStrays('shop');
    expect(b.reads('standby.stray_writes')).toBe('0');
    b.wrote('0/4');
    expect(b.strays).toEqual(['target', 'target']);
  });

  it('is unknown after a restart, unless the gap was empty, and hands the mark to the reader', () => {
    const b = new Bench();
    b.rows(null);
    b.watching();
    const mark = b.engine.localMark('aws');
    expect(mark).toBe(`mark ${b.now}`);
    b.restart();
    expect(b.engine.localMark('aws')).toBe(mark);
    b.clock.tick(S);
    b.rows(null);
    b.watching();
    expect(b.reads('standby.stray_writes')).toBe('unknown');
  });

  it('does not take production writes for stray ones when the direction changes under its reader', () => {
    const b = new Bench();
    b.rows(null);
    b.watching();
    b.wrote('0/1');
    b.clock.tick(1_000);
    b.engine.observe({ kind: 'direction-touched', database: 'aws', at: b.now });
    expect(b.engine.isPassive('aws')).toBeNull();
    b.wrote('0/2');
    // An answer from before the change says nothing about it.
    const late = { kind: 'direction-rows', database: 'aws', rows: [], reason: null, at: b.now - 500 } as const;
    b.engine.observe(late);
    expect(b.engine.direction('shop').direction).toBe('unknown');
    b.clock.tick(1_000);
    b.rows({ epoch: 1, direction: 'reverse' });
    b.wrote('0/3');
    expect(b.engine.strayWrites('shop', 'target')).toMatchObject({ count: 1, firstPosition: '0/1' });
    expect(b.strays).toEqual(['target']);
  });

  it('is not counted twice for its confirmations, and goes stale without them', () => {
    const b = new Bench();
    b.rows(null);
    b.watching();
    for (let n = 0; n < 5; n += 1) {
      b.clock.tick(S);
      b.rows(null);
      b.engine.tick();
    }
    expect(b.reads('standby.stray_writes')).toBe('stale');
    expect(b.reads('target.local_writes')).toBe('stale');
    b.watching();
    expect(b.reads('standby.stray_writes')).toBe('0');
  });
});

describe('a side that DMS writes to', () => {
  it('has unknown local and stray writes, whatever a reader says, and latches none', () => {
    const b = new Bench('dms');
    b.rows(null);
    b.watching();
    b.wrote('1');
    b.watching();
    for (const signal of ['target.local_writes', 'target.last_local_write_age', 'standby.stray_writes']) {
      expect(b.reads(signal), signal).toBe('unknown');
      expect(b.engine.reading('shop', signal).reason, signal).toContain('DMS applies through ordinary sessions');
    }
    expect(b.strays).toEqual([]);
    b.watching('onprem');
    expect(b.engine.reading('shop', 'source.local_writes').reason ?? '').not.toContain('DMS');
  });

  it('has a link of which what DMS does not tell is unknown, with the reason', () => {
    const b = new Bench('dms');
    for (const signal of ['forward.running', 'forward.continuity', 'active.errors', 'forward.lag_by_position']) {
      expect(b.reads(signal), signal).toBe('unknown');
    }
    expect(b.engine.reading('shop', 'forward.continuity').reason).toContain('does not tell it');
    expect(b.engine.reading('shop', 'forward.running').reason).toBe('nothing has been observed yet');
  });
});
