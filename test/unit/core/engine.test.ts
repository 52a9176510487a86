import { describe, expect, it } from 'vitest';
import type { Comparator, Condition, SignalCondition } from '../../../daemon/core/condition.js';
import type { Config, DatabaseConfig, GateConfig, LinkConfig } from '../../../daemon/core/config.js';
import type { Direction, DirectionRow } from '../../../daemon/core/direction.js';
import type { Transition } from '../../../daemon/core/gate.js';
import { known, stateAt, valueAt, type LinkName, type LinkSignal } from '../../../daemon/core/signal.js';
import { Engine } from '../../../daemon/engine.js';
import type { EngineMemories } from '../../../daemon/engine-output.js';
import { FakeClock } from '../../support/fake-clock.js';

const S = 1_000_000;

const on = (signal: string, op: Comparator, threshold: number, forS = 0): SignalCondition => ({
  kind: 'signal',
  text: `${signal} ${op} ${threshold} for ${forS}s`,
  migration: 'shop',
  signal,
  unit: 'count',
  fn: null,
  op,
  threshold,
  forUs: forS * S,
});
const gate = (name: string, require: Condition[], gapToleranceUs = 0): GateConfig => ({
  name,
  id: `shop/${name}`,
  migration: 'shop',
  require,
  gapToleranceUs,
});
const database = (name: string, host = `${name}.example`): DatabaseConfig => ({
  name,
  engine: 'postgres',
  address: { host, port: 5432, database: 'app', user: 'lockgate' },
  password: null,
  tls: { mode: 'disable', ca: null, cert: null, key: null },
  read: 'off',
});
const link = (name: LinkName, from: string, to: string): LinkConfig => ({
  name,
  via: 'postgres-logical',
  from,
  to,
  flows: [`${name}_sub`],
  publication: null,
  heartbeat: { intervalUs: S, watch: 'auto' },
  freshnessUs: 3 * S,
  retentionLimitBytes: null,
  tables: null,
});

function config(gates: GateConfig[], targetHost?: string): Config {
  const forward = link('forward', 'onprem', 'aws');
  const reverse = link('reverse', 'aws', 'onprem');
  return {
    file: 'lockgate.yaml',
    hash: 'hash',
    daemon: { id: 'a', listen: { host: '127.0.0.1', port: 0 }, tls: null, auth: null },
    store: { path: ':memory:', retainUs: 0 },
    databases: new Map([database('onprem'), database('aws', targetHost)].map((d) => [d.name, d])),
    migrations: new Map([
      [
        'shop',
        {
          name: 'shop',
          source: 'onprem',
          target: 'aws',
          links: { forward, reverse },
          promotion: 'manual',
          gates: new Map(gates.map((g) => [g.name, g])),
        },
      ],
    ]),
    gates: new Map(),
    warnings: [],
  };
}

/** An engine on a clock that the test moves. */
class Bench {
  readonly clock = new FakeClock();
  readonly transitions: Transition[] = [];
  readonly directions: [Direction['direction'], Direction['direction']][] = [];
  readonly jumps: string[] = [];
  readonly engine: Engine;

  constructor(...gates: GateConfig[]) {
    this.engine = new Engine(config(gates), this.clock, {
      record: (t) => this.transitions.push(t) > 0,
      delay: () => undefined,
      direction: (_, after, before) => this.directions.push([before.direction, after.direction]),
      jumped: (what) => this.jumps.push(what),
    });
  }

  get now(): number {
    return this.clock.monotonicNow();
  }

  observe(signal: LinkSignal, value: number | null, name: LinkName = 'forward'): void {
    this.engine.observe({
      kind: 'link-reading',
      link: `shop/${name}`,
      signal,
      value,
      reason: value === null ? 'cannot be seen' : null,
      at: this.now,
    });
  }

  rows(name: string, row: { epoch: number; direction: LinkName } | null | 'dead'): void {
    const rows: DirectionRow[] | null =
      row === 'dead' || row === null
        ? row === null
          ? []
          : null
        : [{ migration: 'shop', ...row, changedAt: null, changedBy: null, reason: null }];
    this.engine.observe({ kind: 'direction-rows', database: name, rows, reason: 'refused', at: this.now });
  }

  both(row: { epoch: number; direction: LinkName } | null): void {
    this.rows('onprem', row);
    this.rows('aws', row);
  }

  /** Lets `seconds` pass, doing `each` at every one of them. */
  pass(seconds: number, each: () => void): void {
    for (let i = 0; i < seconds; i += 1) {
      this.clock.tick(S);
      each();
    }
  }

  state(name: string): string | undefined {
    return this.engine.verdict(`shop/${name}`)?.state;
  }
}

describe('the engine', () => {
  it('opens a gate when its hold is complete, closes it at once, and knows no other gate', () => {
    const b = new Bench(gate('g', [on('forward.errors', '==', 0, 5)]));
    expect(b.state('g')).toBe('unknown');
    b.observe('errors', 0);
    b.pass(4, () => b.observe('errors', 0));
    expect(b.engine.verdict('shop/g')).toMatchObject({ state: 'closed', opensAt: b.now + S });
    b.clock.tick(S);
    expect(b.state('g')).toBe('open');
    b.observe('errors', 1);
    expect(b.transitions.at(-1)).toMatchObject({ to: 'closed', at: b.now });
    expect(b.engine.verdict('shop/h')).toBeUndefined();
  });

  it('judges freshness when asked, not when a timer last ran', () => {
    const b = new Bench(gate('g', [on('forward.errors', '==', 0)]));
    b.observe('errors', 0);
    b.clock.tick(3 * S);
    expect(b.state('g')).toBe('open');
    b.clock.tick(1);
    expect(b.state('g')).toBe('unknown');
    expect(b.transitions.at(-1)?.at).toBe(b.now);
  });

  it('takes the worst of what lies between two observations', () => {
    const b = new Bench(gate('g', [{ ...on('forward.lag', '<', 1.2), unit: 's' }]));
    const heartbeat = (seq: number): void => {
      b.engine.observe({ kind: 'heartbeat-sent', link: 'shop/forward', run: 'r', seq, at: b.now });
      b.clock.tick(1_000);
      b.engine.observe({ kind: 'heartbeat-acked', link: 'shop/forward', seq, at: b.now });
    };
    const seen = (upTo: number): void =>
      b.engine.observe({
        kind: 'heartbeat-visible',
        link: 'shop/forward',
        upTo,
        askedAt: b.now,
        at: b.now,
        by: 'poll',
      });
    heartbeat(1);
    seen(1);
    expect(b.state('g')).toBe('open');
    b.clock.tick(S);
    const sent = b.now;
    heartbeat(2);
    b.clock.tick(S / 2);
    seen(1);
    b.clock.tick(S);
    // Nobody asked while the lag was above; the arrival that ends it tells how bad it was.
    seen(2);
    expect(b.transitions.slice(-1)).toMatchObject([{ from: 'open', to: 'closed', at: sent + 1.2 * S }]);
    expect(b.state('g')).toBe('closed');
  });
});

describe('clocks that jump', () => {
  it('make a hold start again, also when the next thing is an observation', () => {
    const b = new Bench(gate('g', [on('forward.errors', '==', 0, 5)]));
    b.observe('errors', 0);
    b.pass(4, () => b.observe('errors', 0));
    b.clock.suspend(3600 * S);
    b.observe('errors', 0);
    expect(b.jumps).toEqual(['the machine was suspended for 1h']);
    b.clock.tick(S);
    b.observe('errors', 0);
    expect(b.engine.verdict('shop/g')).toMatchObject({ state: 'closed', opensAt: b.now + 4 * S });
  });

  it('are a gap as long as the suspend, not as short as it seemed', () => {
    const gates = [gate('little', [on('forward.errors', '==', 0, 5)], 10 * S)];
    const b = new Bench(...gates, gate('much', [on('forward.errors', '==', 0, 5)], 7200 * S));
    b.observe('errors', 0);
    b.pass(4, () => b.observe('errors', 0));
    b.clock.suspend(3600 * S);
    b.engine.tick();
    b.clock.tick(S);
    b.observe('errors', 0);
    expect(b.state('little')).toBe('closed');
    expect(b.state('much')).toBe('open');
  });

  it('are noticed by a question for a reading and for the direction as well', () => {
    const b = new Bench(gate('g', [on('active.errors', '==', 0)]));
    b.both(null);
    b.observe('errors', 0);
    expect(stateAt(b.engine.reading('shop', 'active.errors'), b.now)).toBe('ok');
    b.clock.suspend(60 * S);
    expect(stateAt(b.engine.reading('shop', 'forward.errors'), b.now)).toBe('unknown');
    expect(b.engine.direction('shop').direction).toBe('unknown');
    // What is observed from now on is known, but not yet which link is the active one.
    b.observe('errors', 0);
    expect(stateAt(b.engine.reading('shop', 'forward.errors'), b.now)).toBe('ok');
    expect(b.engine.reading('shop', 'active.errors')).toMatchObject({
      value: null,
      reason: 'the direction was not read from both sides lately',
    });
    expect(b.state('g')).toBe('unknown');
    b.both(null);
    expect(b.state('g')).toBe('open');
  });

  it('may part by a second', () => {
    const b = new Bench(gate('g', [on('forward.errors', '==', 0)]));
    b.observe('errors', 0);
    b.clock.stepWall(S);
    b.engine.tick();
    expect(b.state('g')).toBe('open');
    b.clock.stepWall(-S - 1);
    expect(b.state('g')).toBe('unknown');
    expect(b.jumps).toHaveLength(1);
  });

  it('leave nothing known of stray writes until their reader has spoken again', () => {
    const b = new Bench(gate('g', [on('standby.stray_writes', '==', 0)]));
    const watched = (): void =>
      b.engine.observe({
        kind: 'local-watch',
        database: 'aws',
        watching: true,
        emptyGap: false,
        upTo: null,
        mark: null,
        reason: null,
        at: b.now,
      });
    b.both(null);
    watched();
    b.engine.tick();
    expect(b.state('g')).toBe('open');
    b.clock.suspend(3600 * S);
    b.both(null);
    b.clock.tick(1.5 * S);
    b.engine.tick();
    expect(b.state('g')).toBe('unknown');
    watched();
    expect(b.state('g')).toBe('open');
  });

  it('leave alone what does not age', () => {
    const b = new Bench(gate('g', [on('attest.backup.age', '<', 100)]));
    b.engine.setReading('shop', 'attest.backup.age', known(1, b.now, Infinity));
    b.clock.suspend(60 * S);
    expect(valueAt(b.engine.reading('shop', 'attest.backup.age'), b.now)).toBe(1);
  });
});

describe('the direction', () => {
  it('says which link is the active one', () => {
    const b = new Bench(gate('a', [on('active.errors', '==', 1)]), gate('s', [on('standby.errors', '==', 1)]));
    b.observe('errors', 1, 'forward');
    b.observe('errors', 2, 'reverse');
    expect([b.state('a'), b.state('s')]).toEqual(['unknown', 'unknown']);
    b.both(null);
    expect([b.state('a'), b.state('s')]).toEqual(['open', 'closed']);
    b.rows('aws', { epoch: 1, direction: 'reverse' });
    expect([b.state('a'), b.state('s')]).toEqual(['closed', 'open']);
    b.rows('aws', 'dead');
    expect([b.state('a'), b.state('s')]).toEqual(['unknown', 'unknown']);
    expect(b.directions).toEqual([
      ['unknown', 'forward'],
      ['forward', 'reverse'],
      ['reverse', 'unknown'],
    ]);
  });

  it('is a signal, which a gate may ask', () => {
    const b = new Bench(gate('r', [on('direction.reverse', '==', 1)]), gate('f', [on('direction.reverse', '==', 0)]));
    expect([b.state('r'), b.state('f')]).toEqual(['unknown', 'unknown']);
    b.both(null);
    expect([b.state('r'), b.state('f')]).toEqual(['closed', 'open']);
    b.both({ epoch: 1, direction: 'reverse' });
    expect([b.state('r'), b.state('f')]).toEqual(['open', 'closed']);
    b.rows('aws', 'dead');
    expect([b.state('r'), b.state('f')]).toEqual(['unknown', 'unknown']);
    b.both({ epoch: 1, direction: 'reverse' });
    // One side alone proves nothing: the other may hold the newer row.
    b.pass(4, () => b.rows('aws', { epoch: 1, direction: 'reverse' }));
    expect([b.state('r'), b.state('f')]).toEqual(['unknown', 'unknown']);
  });

  it('is not known from a look that is too old', () => {
    const b = new Bench(gate('a', [on('active.errors', '==', 0)]));
    b.both(null);
    b.pass(2, () => b.rows('onprem', null));
    b.observe('errors', 0);
    expect(b.state('a')).toBe('open');
    b.pass(2, () => {
      b.observe('errors', 0);
      b.rows('onprem', null);
    });
    expect(b.state('a')).toBe('unknown');
    expect(b.engine.direction('shop').direction).toBe('unknown');
  });

  const steady = (b: Bench, row: { epoch: number; direction: LinkName } | null): void => {
    b.both(row);
    b.observe('errors', 0, 'forward');
    b.observe('errors', 0, 'reverse');
  };

  it.each<[string, (b: Bench) => void, number]>([
    ['changes', () => undefined, 1],
    ['changes by way of unknown', (b) => b.rows('aws', 'dead'), 1],
    ['was another one meanwhile', () => undefined, 2],
  ])('makes holds on active and standby start again when it %s', (_, between, epoch) => {
    const tolerant = 60 * S;
    const b = new Bench(
      gate('a', [on('active.errors', '==', 0, 5)], tolerant),
      gate('f', [on('forward.errors', '==', 0, 5)], tolerant),
    );
    steady(b, null);
    b.pass(6, () => steady(b, null));
    expect([b.state('a'), b.state('f')]).toEqual(['open', 'open']);
    between(b);
    b.clock.tick(S / 10);
    steady(b, { epoch, direction: epoch === 1 ? 'reverse' : 'forward' });
    expect([b.state('a'), b.state('f')]).toEqual(['closed', 'open']);
  });

  it('that was unknown for a moment and is the same is a gap like any other', () => {
    const b = new Bench(gate('a', [on('active.errors', '==', 0, 5)], 60 * S));
    steady(b, null);
    b.pass(6, () => steady(b, null));
    b.rows('aws', 'dead');
    expect(b.state('a')).toBe('unknown');
    b.clock.tick(S / 10);
    steady(b, null);
    expect(b.state('a')).toBe('open');
  });
});

/** The engine of a daemon that was stopped and started at once, perhaps with another configuration. */
function restarted(before: Bench, gates: GateConfig[], targetHost?: string): Engine {
  const output = { record: () => true, delay: () => undefined, direction: () => undefined, jumped: () => undefined };
  // As the store gives it back.
  const memories = JSON.parse(JSON.stringify(before.engine.memories)) as EngineMemories;
  const engine = new Engine(config(gates, targetHost), before.clock, output, memories);
  engine.restoreHolds(before.engine.longHolds());
  return engine;
}

describe('a direction whose epoch goes back', () => {
  it('is unknown until a higher one is written', () => {
    const b = new Bench(gate('a', [on('active.errors', '==', 0)]));
    b.both({ epoch: 1, direction: 'reverse' });
    b.observe('errors', 0, 'forward');
    b.both(null);
    expect(b.engine.direction('shop')).toMatchObject({ direction: 'unknown' });
    expect(b.state('a')).toBe('unknown');
    b.both({ epoch: 1, direction: 'forward' });
    expect(b.engine.direction('shop').direction).toBe('unknown');
    b.both({ epoch: 2, direction: 'forward' });
    expect(b.engine.direction('shop').direction).toBe('forward');
  });

  it('is unknown after a restart as well, unless the databases are others', () => {
    const first = new Bench();
    first.both({ epoch: 1, direction: 'reverse' });
    const directionAfterRestart = (host?: string): string => {
      const engine = restarted(first, [], host);
      for (const database of ['onprem', 'aws'])
        engine.observe({ kind: 'direction-rows', database, rows: [], reason: null, at: first.now });
      return engine.direction('shop').direction;
    };
    expect(directionAfterRestart()).toBe('unknown');
    expect(directionAfterRestart('elsewhere.example')).toBe('forward');
  });
});

describe('a reload', () => {
  const gates = (forS = 5): GateConfig[] => [
    gate('a', [on('active.errors', '==', 0, 5)]),
    gate('f', [on('forward.errors', '==', 0, forS)]),
  ];
  const running = (): Bench => {
    const b = new Bench(...gates());
    const steady = (): void => {
      b.both(null);
      b.observe('errors', 0);
    };
    steady();
    b.pass(6, steady);
    expect([b.state('a'), b.state('f')]).toEqual(['open', 'open']);
    b.transitions.length = 0;
    return b;
  };

  it('of the same configuration changes nothing, and journals nothing', () => {
    const b = running();
    const before = [b.engine.verdict('shop/a'), b.engine.verdict('shop/f')];
    b.engine.reload(config(gates()));
    expect([b.engine.verdict('shop/a'), b.engine.verdict('shop/f')]).toEqual(before);
    expect(b.transitions).toEqual([]);
  });

  it('makes a changed gate start without the past, and only that one', () => {
    const b = running();
    b.engine.reload(config(gates(6)));
    expect([b.state('a'), b.state('f')]).toEqual(['open', 'closed']);
    expect(b.engine.verdict('shop/f')?.opensAt).toBe(b.now + 6 * S);
    expect(b.transitions.map((t) => [t.gate, t.to])).toEqual([['shop/f', 'closed']]);
  });

  it('to another database forgets what was observed of the one before', () => {
    const b = running();
    b.engine.setReading('shop', 'attest.backup.age', known(1, b.now, Infinity));
    b.engine.reload(config([...gates(), gate('n', [on('forward.errors', '==', 0)])], 'elsewhere.example'));
    expect([b.state('a'), b.state('f'), b.state('n')]).toEqual(['unknown', 'unknown', 'unknown']);
    expect(b.engine.direction('shop').direction).toBe('unknown');
    expect(b.engine.reading('shop', 'attest.backup.age').value).toBe(1);
    b.observe('errors', 0);
    expect([b.state('f'), b.state('n')]).toEqual(['closed', 'open']);
  });

  it('makes a gate on a changed gate start without the past, too', () => {
    const outer = {
      ...gate('o', []),
      require: [{ kind: 'gate', text: 'gate f open for 5s', gate: 'shop/f', forUs: 5 * S }],
    };
    const b = new Bench(gate('f', [on('forward.errors', '==', 0)]), outer as GateConfig);
    b.observe('errors', 0);
    b.pass(6, () => b.observe('errors', 0));
    expect(b.state('o')).toBe('open');
    b.engine.reload(config([gate('f', [on('forward.errors', '<', 5)]), outer as GateConfig]));
    expect([b.state('f'), b.state('o')]).toEqual(['open', 'closed']);
  });

  it.each(['traffic.errors', 'dns.app.ttl'] as const)(
    'that asks otherwise for %s forgets what it was, and its holds',
    (signal) => {
      const asking = (what: string): Config => {
        const c = config([gate('now', [on(signal, '<', 1)]), gate('held', [on(signal, '<', 1, 5)], 60 * S)]);
        const errors = {
          ...{ name: 'errors', everyUs: S, unit: 'ratio' as const, scale: 1 },
          ask: { kind: 'prometheus', url: 'http://prom', query: what, authorization: null },
        } as const;
        const [shop] = [...c.migrations.values()];
        if (shop === undefined) throw new Error('no migration');
        const traffic = new Map([['errors', errors]]);
        const dns = new Map([['app', { name: 'app', record: what, resolver: null }]]);
        return { ...c, migrations: new Map([['shop', { ...shop, traffic, dns }]]) };
      };
      const b = new Bench();
      const told = (): void =>
        b.engine.observe({
          ...{ kind: 'migration-reading', migration: 'shop', signal, value: 0, reason: null },
          ...{ at: b.now, freshUs: 600 * S },
        });
      b.engine.reload(asking('old'));
      told();
      b.pass(6, told);
      b.engine.reload(asking('old'));
      expect([b.state('now'), b.state('held')]).toEqual(['open', 'open']);
      b.engine.reload(asking('new'));
      expect([b.state('now'), b.state('held')]).toEqual(['unknown', 'unknown']);
      expect(b.engine.reading('shop', signal).reason).toContain('configuration was changed');
      told();
      expect([b.state('now'), b.state('held')]).toEqual(['open', 'closed']);
    },
  );

  it('without the migration removes its signals', () => {
    const b = running();
    b.engine.reload({ ...config([]), migrations: new Map() });
    expect(b.engine.board.keys()).toEqual([]);
    expect(b.state('a')).toBeUndefined();
  });
});

describe('long holds', () => {
  it('are handed out, and taken up by an engine that was away for less than is tolerated', () => {
    const soak = gate('soak', [on('forward.errors', '==', 0, 7200)], 60 * S);
    const b = new Bench(soak, gate('short', [on('forward.errors', '==', 0, 3600)], 60 * S));
    b.observe('errors', 0);
    b.pass(7000, () => b.observe('errors', 0));
    const holds = b.engine.longHolds();
    expect(holds.map((h) => h.gate)).toEqual(['shop/soak']);

    const after = new Bench(soak);
    const away = 30 * S;
    const shift = after.now - b.now - away;
    after.engine.restoreHolds(
      holds.map((h) => ({ ...h, trueFrom: h.trueFrom + shift, observedUntil: h.observedUntil + shift })),
    );
    after.clock.tick(S);
    after.observe('errors', 0);
    expect(after.engine.verdict('shop/soak')?.conditions[0]).toMatchObject({ state: 'holding', heldUs: 7031 * S });
  });

  it('are not taken up for other databases, or for a gate that rests on another one', () => {
    const soak = gate('soak', [on('forward.errors', '==', 0, 7200)], 60 * S);
    const b = new Bench(soak);
    b.observe('errors', 0);
    b.pass(7000, () => b.observe('errors', 0));
    const held = (engine: Engine): number => {
      b.clock.tick(S);
      const at = b.now;
      engine.observe({ kind: 'link-reading', link: 'shop/forward', signal: 'errors', value: 0, reason: null, at });
      return engine.verdict('shop/soak')?.conditions[0]?.heldUs ?? NaN;
    };
    expect(held(restarted(b, [soak]))).toBeGreaterThan(7000 * S);
    expect(held(restarted(b, [soak], 'elsewhere.example'))).toBe(0);
    expect(held(restarted(b, [{ ...soak, gapToleranceUs: 61 * S }]))).toBe(0);
  });
});
