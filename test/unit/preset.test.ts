import { describe, expect, it } from 'vitest';
import { whyNotMeasured } from '../../daemon/config/available.js';
import { explainConfig } from '../../daemon/config/load.js';
import { compare } from '../../daemon/core/compare.js';
import type { Config, GateConfig } from '../../daemon/core/config.js';
import { load, problemsIn } from './config-inputs.js';
import { bothWays, fenceable, valueOf, type Phase, type Setup } from './preset-world.js';

const DMS = 'via: dms, dms: { tasks: [ "arn:aws:dms:eu-west-1:1:task:X" ], region: eu-west-1 }';
const LINK: Readonly<Record<string, string>> = {
  'postgres-logical': 'via: postgres-logical, subscription: SUB',
  'postgres-physical': 'via: postgres-physical',
  mysql: 'via: mysql',
  dms: DMS,
  none: 'via: none',
};

function textOf(s: Setup): string {
  const engine = [s.forward, s.reverse].includes('mysql') ? 'mysql' : 'postgres';
  const database = (name: string, port: number, read: string) =>
    `  ${name}: { engine: ${engine}, url: "${engine}://lockgate@localhost:${port}/app", read: ${read} }`;
  return [
    'databases:',
    database('onprem', 5432, s.source),
    database('aws', 5433, s.target),
    'migrations:',
    '  shop:',
    '    source: onprem',
    '    target: aws',
    `    forward: { ${LINK[s.forward]!.replace('SUB', 'there')} }`,
    ...(s.reverse === null ? [] : [`    reverse: { ${LINK[s.reverse]!.replace('SUB', 'back')}, starts: ${s.starts} }`]),
    ...(s.verify === true ? ['    verify: {}'] : []),
    '    gates: { preset: runbook }',
    '',
  ].join('\n');
}

const pairs: [Setup['forward'], Setup['reverse']][] = [
  ...([null, 'postgres-logical', 'postgres-physical', 'dms'] as const).flatMap((r) =>
    (['postgres-logical', 'postgres-physical'] as const).map((f): [Setup['forward'], Setup['reverse']] => [f, r]),
  ),
  ...([null, 'mysql', 'dms'] as const).map((r): [Setup['forward'], Setup['reverse']] => ['mysql', r]),
  ...([null, 'postgres-logical', 'mysql', 'dms'] as const).map((r): [Setup['forward'], Setup['reverse']] => ['dms', r]),
];
const reads = ['auto', 'on', 'off'] as const;
const linked: Setup[] = pairs.flatMap(([forward, reverse]) =>
  (reverse === null ? (['before-flip'] as const) : (['before-flip', 'with-flip'] as const)).flatMap((starts) =>
    reads.flatMap((source) => reads.map((target) => ({ forward, reverse, starts, source, target }))),
  ),
);
const dual: Setup[] = reads.flatMap((source) =>
  reads.map((target): Setup => ({ forward: 'none', reverse: null, starts: 'before-flip', source, target })),
);
const compared = [...linked, ...dual].filter((s) => s.source === 'auto' && s.target === 'auto');
const setups: Setup[] = [...linked, ...dual, ...compared.map((s) => ({ ...s, verify: true }))];
const nameOf = (s: Setup): string =>
  `${s.forward}, back ${s.reverse ?? 'none'} ${s.starts}, read ${s.source}/${s.target}${s.verify === true ? ', compared' : ''}`;
/** Whether there is a gate for the way back. */
const goesBack = (s: Setup): boolean => s.reverse !== null || s.forward === 'none';

const gatesOf = (s: Setup): ReadonlyMap<string, GateConfig> => load(textOf(s)).migrations.get('shop')!.gates;

/** What stands between a gate and being open, holds aside. */
function obstacles(gates: ReadonlyMap<string, GateConfig>, id: string, phase: Phase, s: Setup): string[] {
  return gates.get(id.replace('shop/', ''))!.require.flatMap((c) => {
    if (c.kind === 'gate') return obstacles(gates, c.gate, phase, s);
    const value = valueOf(c.signal, phase, s);
    return value !== null && compare(value, c.op, c.threshold) ? [] : [`${c.text}: ${value ?? 'unknown'}`];
  });
}

describe('the gates of the runbook, for every kind of link and of reading', () => {
  it.each(setups.map((s): [string, Setup] => [nameOf(s), s]))('%s: each opens in its phase', (_, s) => {
    const gates = gatesOf(s);
    const order = ['target-ready', 'replicated', 'verified', 'shift-reads', 'flip-writes', 'drained', 'ramp'];
    const back = goesBack(s) ? ['rollback-ready'] : [];
    expect([...gates.keys()]).toEqual([...order, ...back, 'decommission']);
    for (const id of order.slice(0, 5)) expect(obstacles(gates, id, 'before', s), id).toEqual([]);
    expect(obstacles(gates, 'drained', 'drained', s)).toEqual([]);
    for (const id of ['ramp', ...back, 'decommission']) expect(obstacles(gates, id, 'after', s), id).toEqual([]);
  });

  it.each(setups.map((s): [string, Setup] => [nameOf(s), s]))('%s: none opens out of its phase', (_, s) => {
    const gates = gatesOf(s);
    for (const phase of ['before', 'drained'] as const) {
      const later = ['ramp', 'decommission', ...(goesBack(s) ? ['rollback-ready'] : [])];
      for (const id of later) expect(obstacles(gates, id, phase, s), id).not.toEqual([]);
    }
    expect(obstacles(gates, 'flip-writes', 'after', s)).not.toEqual([]);
    // Attested by hand, it says what somebody has seen.
    if (fenceable(s)) expect(obstacles(gates, 'drained', 'before', s)).not.toEqual([]);
  });

  it.each(setups.map((s): [string, Setup] => [nameOf(s), s]))('%s: names nothing that is not measured', (_, s) => {
    const vias = { forward: s.forward, reverse: s.reverse ?? undefined, verify: s.verify === true };
    for (const { id, conditions, leftOut } of explainConfig(load(textOf(s)))) {
      const asked = conditions.map(({ condition }) => condition.text);
      expect(new Set(asked).size, `${id}: twice the same`).toBe(asked.length);
      for (const { text, reason } of leftOut) {
        expect(reason.length, `${id}: ${text}`).toBeGreaterThan(20);
        expect(asked, `${id}: asked for and left out`).not.toContain(text);
      }
      for (const { condition } of conditions) {
        if (condition.kind === 'signal') expect(whyNotMeasured(condition.signal, vias), condition.text).toBeNull();
      }
    }
  });
});

const base: Setup = {
  forward: 'postgres-logical',
  reverse: 'postgres-logical',
  starts: 'before-flip',
  source: 'auto',
  target: 'auto',
};
const asked = (s: Partial<Setup>, gate: string): string[] =>
  gatesOf({ ...base, ...s })
    .get(gate)!
    .require.map((c) => c.text);
const leftOut = (config: Config, gate: string): Record<string, string> =>
  Object.fromEntries(
    explainConfig(config)
      .find((g) => g.id === `shop/${gate}`)!
      .leftOut.map((l) => [l.text, l.reason]),
  );

describe('verified', () => {
  it('asks for a comparison of everything where there is one, else for somebody who has done it', () => {
    expect(asked({ verify: true }, 'verified')).toEqual([
      'gate replicated open',
      'verify.mismatched_rows is 0',
      'verify.coverage >= 100%',
      'verify.age < 1d',
      'verify.mismatched_tables is 0',
    ]);
    expect(asked({}, 'verified')).toEqual(['gate replicated open', 'attest.verified-by-hand.age < 1d']);
    const back = asked({ verify: true }, 'rollback-ready');
    expect(back).toEqual(expect.arrayContaining(['verify.mismatched_rows is 0', 'verify.coverage >= 100%', 'verify.age < 1d'])); // prettier-ignore
    expect(back).not.toContain('attest.rollback-verified.age < 1d');
    const without = leftOut(load(textOf(base)), 'verified');
    expect(without['verify.coverage >= 100%']).toContain('no `verify` section');
  });

  it.each(['verified', 'rollback-ready'])('%s does not open on anything that is not equal or not known', (gate) => {
    const s: Setup = { ...base, verify: true };
    const phase = gate === 'verified' ? 'before' : 'after';
    for (const signal of ['mismatched_rows', 'mismatched_tables', 'coverage', 'age'].map((n) => `verify.${n}`)) {
      const condition = gatesOf(s)
        .get(gate)!
        .require.find((c) => c.kind === 'signal' && c.signal === signal);
      expect(condition, signal).toBeDefined();
      expect(obstacles(gatesOf(s), gate, phase, { ...s, verify: false })).toHaveLength(4);
    }
  });
});

describe('dual writes', () => {
  const s: Setup = { ...base, forward: 'none', reverse: null, verify: true };

  it('leave every condition on a link out, and list it', () => {
    for (const { id, conditions } of explainConfig(load(textOf(s)))) {
      const texts = conditions.map(({ condition }) => condition.text).join();
      expect(texts, id).not.toMatch(/\b(forward|reverse|active)\.|stray|split_brain|fence\.|sequences/);
    }
    expect(asked(s, 'replicated')).toEqual(['attest.dual-writes-checked.age < 1d']);
    expect(leftOut(load(textOf(s)), 'replicated')['forward.lag < 10s for 10m']).toContain('`via: none`');
  });
});

describe('drained', () => {
  it('is the fence, and what positions pass over, in whichever direction the writes run', () => {
    expect(asked({}, 'drained')).toEqual([
      'fence.drained is 1',
      'active.continuity is 1',
      'active.tables_uncovered is 0',
      'active.tables_syncing is 0',
      'sequences.behind is 0',
    ]);
    expect(asked({ reverse: null }, 'drained')).toContain('forward.continuity is 1');
    expect(asked({ forward: 'mysql', reverse: 'mysql' }, 'drained').join()).not.toContain('tables_syncing');
  });

  it('over DMS is the fence, with what it asks to be vouched for', () => {
    expect(asked({ forward: 'dms', reverse: null }, 'drained')).toEqual([
      'fence.drained is 1',
      'attest.dms-applies-in-order.age < 1d',
      'active.running is 1',
      'attest.dms-checked.age < 1h',
    ]);
  });

  it.each<[string, Partial<Setup>, RegExp]>([
    ['with read: off', { source: 'off' }, /`read: off`.*promote with force/],
    ['where DMS writes to the source', { reverse: 'dms' }, /ordinary sessions.*promote with force/],
  ])('is attested by hand where no fence can be placed: %s', (_, s, why) => {
    expect(asked(s, 'drained')).toEqual(expect.arrayContaining(['attest.drained-by-hand.age < 5m']));
    expect(leftOut(load(textOf({ ...base, ...s })), 'drained')['fence.drained is 1']).toMatch(why);
    expect(leftOut(load(textOf({ ...base, ...s })), 'flip-writes')['source.local_writes >= 0 for 1m']).toMatch(/no fence can be placed/); // prettier-ignore
  });

  it('knows of DMS of another migration that writes to the same database', () => {
    const other = `  crm: { source: aws, target: onprem, forward: { ${DMS} } }\n`;
    const config = load(textOf(base) + other);
    const texts = config.migrations
      .get('shop')!
      .gates.get('drained')!
      .require.map((c) => c.text);
    expect(texts).not.toContain('fence.drained is 1');
    expect(leftOut(config, 'rollback-ready')['standby.stray_writes is 0']).toMatch(/ordinary sessions/);
  });
});

describe('flip-writes', () => {
  it.each(setups.map((s): [string, Setup] => [nameOf(s), s]).filter(([, s]) => s.reverse !== null))(
    '%s: has the way back proven before, or says why not',
    (_, s) => {
      const proven = asked(s, 'flip-writes').includes('reverse.running is 1 for 1m');
      expect(proven).toBe(bothWays(s));
      const why = leftOut(load(textOf(s)), 'flip-writes')['reverse.running is 1 for 1m'];
      if (!proven) expect(why).toMatch(/rollback-rehearsed/);
      expect(asked(s, 'flip-writes')).toContain('attest.rollback-rehearsed.age < 30d');
    },
  );

  it('asks lag of a way back only where heartbeats are written before the flip', () => {
    expect(asked({}, 'flip-writes')).toContain('reverse.lag_by_position < 5s for 1m');
    const mysql: Partial<Setup> = { forward: 'mysql', reverse: 'mysql' };
    expect(asked(mysql, 'flip-writes').join()).not.toMatch(/reverse\.(lag|agreement)/);
    expect(asked(mysql, 'flip-writes')).toEqual(expect.arrayContaining(['reverse.errors is 0 for 1m', 'reverse.tables_uncovered is 0'])); // prettier-ignore
    expect(leftOut(load(textOf({ ...base, ...mysql })), 'flip-writes')['reverse.lag < 5s for 1m']).toMatch(/read_only/);
  });

  it('wants the source to be watched already with read: on', () => {
    expect(asked({ source: 'on' }, 'flip-writes')).toContain('source.local_writes >= 0 for 1m');
    expect(leftOut(load(textOf(base)), 'flip-writes')['source.local_writes >= 0 for 1m']).toMatch(/read: on/);
  });
});

describe('rollback-ready', () => {
  it('asks all that a rollback rests on, each by itself', () => {
    expect(asked({ target: 'on' }, 'rollback-ready')).toEqual([
      'direction.reverse is 1',
      'source.reachable is 1 for 1m',
      'source.writable is 1 for 1m',
      'reverse.lag < 2s for 1m',
      'reverse.lag_by_position < 2s for 1m',
      'reverse.agreement is 1 for 1m',
      'reverse.running is 1 for 1m',
      'reverse.continuity is 1',
      'reverse.tables_uncovered is 0',
      'reverse.tables_syncing is 0',
      'reverse.drain_eta_high < 1m',
      'target.longest_transaction < 1m',
      'standby.stray_writes is 0',
      'split_brain is 0',
      'target.local_writes >= 0 for 1m',
      'sequences.behind is 0',
      'attest.rollback-access.age < 1d',
      'attest.rollback-verified.age < 1d',
      'attest.rollback-rehearsed.age < 30d',
    ]);
  });

  it('takes a MySQL old side that is read_only for what it should be', () => {
    const mysql: Setup = { ...base, forward: 'mysql', reverse: 'mysql' };
    expect(asked(mysql, 'rollback-ready').join()).not.toContain('writable');
    expect(leftOut(load(textOf(mysql)), 'rollback-ready')['source.writable is 1 for 1m']).toMatch(/read_only/);
  });

  it.each<[string, number | null]>([
    ['reverse.running', 0],
    ['reverse.lag', 30],
    ['reverse.lag_by_position', null],
    ['standby.stray_writes', 1],
    ['split_brain', 1],
    ['sequences.behind', 2],
    ['source.writable', 0],
  ])('says that %s is in the way', (signal, value) => {
    const gate = gatesOf(base).get('rollback-ready')!;
    const broken = gate.require.filter((c) => {
      if (c.kind === 'gate') return false;
      const is = c.signal === signal ? value : valueOf(c.signal, 'after', base);
      return is === null || !compare(is, c.op, c.threshold);
    });
    expect(broken.map((c) => c.kind === 'signal' && c.signal)).toEqual([signal]);
  });
});

describe('starts', () => {
  it('is of the way back only', () => {
    const text = textOf({ ...base, reverse: null }).replace('there }', 'there, starts: with-flip }');
    expect(problemsIn(text).join('\n')).toMatch(/forward\.starts: the forward link has no `starts`/);
  });
});

describe('traffic and DNS', () => {
  const watched = `${textOf(base)}    traffic: { errors: { prometheus: "http://p", query: up, unit: "%" } }\n    dns: { app: { name: app.example.com }, api_v2: { name: api.example.com } }\n`; // prettier-ignore
  const texts = (text: string, gate: string): string[] =>
    load(text)
      .migrations.get('shop')!
      .gates.get(gate)!
      .require.map((c) => c.text);

  it('a low TTL is asked of every name that is configured', () => {
    expect(texts(watched, 'shift-reads')).toEqual(expect.arrayContaining(['dns.app.ttl <= 60s', 'dns.api_v2.ttl <= 60s'])); // prettier-ignore
    expect(Object.keys(leftOut(load(watched), 'shift-reads')).join()).not.toContain('dns.');
    expect(leftOut(load(textOf(base)), 'shift-reads')['dns.NAME.ttl <= 60s']).toMatch(/no `dns` is configured/);
  });

  it.each(['shift-reads', 'ramp'])(
    'no threshold of traffic is made up: %s is attested, and names what it leaves out',
    (gate) => {
      for (const text of [watched, textOf(base)]) {
        expect(texts(text, gate)).toContain('attest.traffic-checked.age < 1h');
        expect(texts(text, gate).join()).not.toContain('traffic.');
      }
      expect(leftOut(load(watched), gate)['traffic.errors < … for 10m']).toMatch(/threshold never defaults/);
      expect(leftOut(load(textOf(base)), gate)['traffic.NAME < … for 10m']).toMatch(/no `traffic` is configured/);
    },
  );

  it('both are measured, so that a gate that asks for them can open', () => {
    expect(whyNotMeasured('traffic.errors', {})).toBeNull();
    expect(whyNotMeasured('dns.app.ttl', {})).toBeNull();
  });
});
