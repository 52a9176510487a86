import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Config, GateConfig } from '../../daemon/core/config.js';
import { ConfigError } from '../../daemon/core/errors.js';
import { whyNotMeasured } from '../../daemon/config/available.js';
import { explainConfig, loadConfigFile } from '../../daemon/config/load.js';
import { goodText, load, problemsIn, small } from './config-inputs.js';

const FILES = { 'aws-password': 'from-a-file\n' };
const MINUTE = 60_000_000;

describe('a good configuration', () => {
  const config = load(goodText(), FILES);

  it('resolves every section', () => {
    expect(config.file).toBe('lockgate.yaml');
    expect(config.hash).toBe(createHash('sha256').update(goodText()).digest('hex'));
    expect(config.daemon.id).toBe('lockgate-a');
    expect(config.daemon.listen).toEqual({ host: '127.0.0.1', port: 9188 });
    expect(config.daemon.tls).toEqual({ cert: 'tls/cert.pem', key: '/etc/lockgate/key.pem' });
    expect(config.daemon.auth?.tokens.map((t) => [t.name, t.role, t.token.reveal()])).toEqual([
      ['runbook', 'operator', 'operator-token-0123456789'],
    ]);
    expect(config.store).toEqual({ path: 'lockgate.db', retainUs: 90 * 24 * 60 * MINUTE });
    expect([...config.databases.keys()]).toEqual(['onprem', 'aws']);
    expect(config.databases.get('onprem')).toMatchObject({
      engine: 'postgres',
      address: { host: 'db', port: 5432, database: 'app', user: 'lockgate' },
      tls: { mode: 'verify-full', ca: 'ca.pem', cert: null, key: null },
      read: 'auto',
    });
    expect(config.databases.get('aws')).toMatchObject({
      address: { host: 'aws.example', port: 5432 },
      tls: { mode: 'verify-full', ca: null },
      read: 'off',
    });
    expect(config.databases.get('onprem')?.password?.reveal()).toBe('p@ss:w/rd%41?#');
    expect(config.databases.get('aws')?.password?.reveal()).toBe('from-a-file');
  });

  it('resolves links with their defaults', () => {
    expect(config.migrations.get('shop')?.links).toEqual({
      forward: {
        name: 'forward',
        via: 'postgres-logical',
        from: 'onprem',
        to: 'aws',
        flows: ['shop_sub'],
        publication: 'shop_pub',
        heartbeat: { intervalUs: 2_000_000, watch: 'auto' },
        freshnessUs: 6_000_000,
        retentionLimitBytes: null,
        tables: { include: ['public.*'], exclude: ['public.sessions'] },
      },
      reverse: {
        name: 'reverse',
        via: 'postgres-logical',
        from: 'aws',
        to: 'onprem',
        flows: ['shop_back'],
        publication: null,
        heartbeat: { intervalUs: 1_000_000, watch: 'auto' },
        freshnessUs: 3_000_000,
        retentionLimitBytes: null,
        tables: null,
      },
    });
    expect(config.migrations.get('crm')?.links.forward).toMatchObject({
      flows: ['crm_a', 'crm_b'],
      freshnessUs: 30_000_000,
      retentionLimitBytes: 50 * 1024 ** 3,
    });
    expect(config.migrations.get('crm')?.links.reverse).toBeUndefined();
  });

  it('resolves gates, those of the preset and the one that overrides', () => {
    const shop = config.migrations.get('shop')!;
    expect([...shop.gates.keys()]).toEqual([
      ...['target-ready', 'replicated', 'verified', 'shift-reads', 'flip-writes', 'drained', 'ramp'],
      ...['rollback-ready', 'decommission'],
    ]);
    expect(shop.gates.get('flip-writes')).toEqual({
      name: 'flip-writes',
      id: 'shop/flip-writes',
      migration: 'shop',
      gapToleranceUs: 5_000_000,
      require: [
        expect.objectContaining({ signal: 'forward.lag', threshold: 2, forUs: 10 * MINUTE }),
        expect.objectContaining({ signal: 'forward.lag_by_position', forUs: 10 * MINUTE }),
        { kind: 'gate', text: 'gate shift-reads open', gate: 'shop/shift-reads', forUs: 0 },
      ],
    });
    expect(config.migrations.get('crm')?.gates.get('flip-writes')?.require).toMatchObject([
      { migration: 'crm', fn: { name: 'p99', windowUs: 5 * MINUTE }, threshold: 0.5 },
    ]);
    expect(config.gates.get('all-shards')).toMatchObject({
      id: 'all-shards',
      migration: null,
      gapToleranceUs: 0,
      require: [
        { gate: 'shop/flip-writes' },
        { gate: 'crm/flip-writes', forUs: MINUTE },
        { migration: 'crm', signal: 'forward.agreement' },
      ],
    });
    expect(config.warnings).toEqual([]);
  });

  it('explains where each condition comes from and what a preset leaves out', () => {
    const explained = explainConfig(config);
    expect(explained.map((g) => g.id).slice(-2)).toEqual(['crm/flip-writes', 'all-shards']);
    expect(explained[4]).toMatchObject({
      id: 'shop/flip-writes',
      conditions: [
        { origin: 'file', line: 28 },
        { origin: 'file', line: 28 },
        { origin: 'file', line: 28 },
      ],
      gapToleranceUs: 5_000_000,
      leftOut: [],
    });
    expect(explained[2]).toMatchObject({
      id: 'shop/verified',
      conditions: [{ origin: 'preset', line: null }, { condition: { text: 'attest.verified-by-hand.age < 1d' } }],
      leftOut: [{ text: 'verify.mismatched_rows is 0' }, {}, {}],
    });
  });

  it('has defaults for everything that may be left out', () => {
    const least = load(small(), {}, '/etc/lockgate/lockgate.yaml');
    expect(least.daemon).toEqual({
      id: 'db-watch-1',
      listen: { host: '127.0.0.1', port: 9188 },
      tls: null,
      auth: null,
    });
    expect(least.store).toEqual({ path: '/etc/lockgate/lockgate.db', retainUs: 90 * 24 * 60 * MINUTE });
    expect(least.databases.get('aws')).toEqual({
      name: 'aws',
      engine: 'postgres',
      address: { host: 'localhost', port: 5433, database: 'app', user: 'lockgate' },
      password: null,
      tls: { mode: 'prefer', ca: null, cert: null, key: null },
      read: 'auto',
    });
    expect(least.migrations.get('shop')).toMatchObject({ promotion: 'manual', gates: new Map() });
    expect(least.gates.size).toBe(0);
  });

  it('takes a physical standby as one flow', () => {
    const config = load(small({ forward: '{ via: postgres-physical }' }));
    expect(config.migrations.get('shop')?.links.forward).toMatchObject({
      via: 'postgres-physical',
      flows: ['standby'],
    });
  });

  it('takes anchors and aliases', () => {
    const config = load(small({ shop: 'gates:\n  a: &a { require: target.reachable is 1 }\n  b: *a' }));
    expect([...(config.migrations.get('shop')?.gates.values() ?? [])].map((g) => g.id)).toEqual(['shop/a', 'shop/b']);
  });

  it('listens where it is told', () => {
    expect(load(small({ top: 'daemon: { listen: "[::1]:80" }' })).daemon.listen).toEqual({ host: '::1', port: 80 });
    const open = load(small({ top: 'daemon: { listen: 0.0.0.0:9188, auth: none }' }));
    expect(open.daemon.auth).toBeNull();
    expect(open.warnings).toEqual(['daemon.auth: whoever reaches 0.0.0.0:9188 may promote and roll back']);
  });

  it('is read from a file', () => {
    const folder = mkdtempSync(join(tmpdir(), 'lockgate-config-'));
    try {
      const file = join(folder, 'lockgate.yaml');
      writeFileSync(file, small({ onprem: '{ engine: postgres, url: "postgres://l:${file:pw}@localhost/app" }' }));
      writeFileSync(join(folder, 'pw'), 'secret\n');
      const config = loadConfigFile(file, {});
      expect(config.databases.get('onprem')?.password?.reveal()).toBe('secret');
      expect(config.store.path).toBe(join(folder, 'lockgate.db'));
      expect(() => loadConfigFile(join(folder, 'none.yaml'), {})).toThrow(
        `${join(folder, 'none.yaml')}:1:1: the configuration cannot be read: ENOENT (check the path and who may read it)`,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('preset: runbook', () => {
  const preset = (forward: string, reverse?: string): ReadonlyMap<string, GateConfig> =>
    load(small({ forward, shop: `${reverse === undefined ? '' : `reverse: ${reverse}\n`}gates: { preset: runbook }` }))
      .migrations.get('shop')!.gates; // prettier-ignore
  const logical = '{ via: postgres-logical, subscription: a }';
  const back = '{ via: postgres-logical, subscription: b }';
  const texts = (gate: GateConfig | undefined) => gate?.require.map((c) => c.text) ?? [];

  it('asks only for what this version measures, and says what it leaves out', () => {
    const config = load(small({ shop: `reverse: ${back}\ngates: { preset: runbook }` }));
    const explained = explainConfig(config);
    const native = { forward: 'postgres-logical', reverse: 'postgres-logical' } as const;
    expect(explained.length).toBe(9);
    for (const { conditions, leftOut } of explained) {
      for (const { reason } of leftOut) expect(reason).not.toBe('');
      for (const { condition, origin } of conditions) {
        expect(origin).toBe('preset');
        if (condition.kind === 'signal') expect(whyNotMeasured(condition.signal, native), condition.text).toBeNull();
      }
    }
    expect(config.warnings).toEqual([]);
  });

  it('asks for an attestation of what cannot be measured, the gate or one before it', () => {
    for (const gates of [preset(logical, back), preset(logical), preset('{ via: postgres-physical }')]) {
      const attested = (id: string): boolean =>
        gates
          .get(id.replace('shop/', ''))!
          .require.some((c) => (c.kind === 'gate' ? attested(c.gate) : c.signal.startsWith('attest.')));
      // What makes these safe is measured whole.
      const measured = ['target-ready', 'replicated', 'drained'];
      for (const id of gates.keys()) expect(attested(id), id).toBe(!measured.includes(id));
    }
  });

  it('asks for what is measured: the chain, the tables, the drain, sequences, transactions and stray writes', () => {
    const gates = preset(logical, back);
    expect(texts(gates.get('target-ready'))).toContain('target.local_writes is 0 for 10m');
    expect(texts(gates.get('replicated'))).toEqual([
      'forward.lag < 10s for 10m',
      'forward.lag_by_position < 10s for 10m',
      'forward.agreement is 1 for 10m',
      'forward.running is 1 for 10m',
      'forward.continuity is 1',
      'forward.tables_uncovered is 0',
      'forward.tables_syncing is 0',
    ]);
    expect(texts(gates.get('shift-reads'))).toContain('standby.stray_writes is 0');
    expect(texts(gates.get('flip-writes'))).toEqual(
      expect.arrayContaining([
        'gate shift-reads open',
        'forward.continuity is 1',
        'forward.drain_eta_high < 1s for 1m',
        'source.longest_transaction < 5s for 1m',
        'sequences.behind is 0',
        'attest.rollback-rehearsed.age < 30d',
      ]),
    );
    expect(texts(gates.get('drained'))).toContain('fence.drained is 1');
    expect(texts(gates.get('rollback-ready'))).toEqual(
      expect.arrayContaining([
        'reverse.continuity is 1',
        'reverse.tables_uncovered is 0',
        'reverse.drain_eta_high < 1m',
        'standby.stray_writes is 0',
        'sequences.behind is 0',
      ]),
    );
    expect(texts(gates.get('ramp'))).toContain('standby.stray_writes is 0');
    expect(texts(gates.get('decommission'))).toEqual(
      expect.arrayContaining(['source.connections is 0 for 7d', 'source.last_local_write_age > 7d']),
    );
    // A restart of the daemon must not cost a week.
    expect(gates.get('decommission')?.gapToleranceUs).toBe(300_000_000);
  });

  it('leaves out, with the reason, what a link or a side cannot have', () => {
    const leftOut = (config: Config, gate: string): Record<string, string> =>
      Object.fromEntries(
        (explainConfig(config).find((g) => g.id === `shop/${gate}`)?.leftOut ?? []).map((o) => [o.text, o.reason]),
      );
    const onprem = '{ engine: postgres, url: "postgres://lockgate@localhost:5432/app", read: off }';
    const off = load(small({ onprem, shop: `reverse: ${back}\ngates: { preset: runbook }` }));
    const gatesOff = off.migrations.get('shop')?.gates;
    for (const gate of ['ramp', 'rollback-ready']) {
      expect(texts(gatesOff?.get(gate))).not.toContain('standby.stray_writes is 0');
      expect(leftOut(off, gate)['standby.stray_writes is 0']).toMatch(/`read: off`.*the source/);
    }
    expect(texts(gatesOff?.get('shift-reads'))).toContain('standby.stray_writes is 0');
    expect(texts(gatesOff?.get('decommission'))).toContain('attest.soak-complete.age < 1d');
    expect(leftOut(off, 'decommission')['source.last_local_write_age > 7d']).toMatch(/read: off/);

    const auto = load(small({ shop: `reverse: ${back}\ngates: { preset: runbook }` }));
    expect(leftOut(auto, 'replicated')['forward.errors is 0 for 10m']).toMatch(/servers before 15/);
    expect(leftOut(auto, 'replicated')['forward.runway > 1d']).toMatch(/retention_limit/);
    const limited = preset('{ via: postgres-logical, subscription: a, retention_limit: 50GiB }');
    expect(texts(limited.get('replicated'))).toContain('forward.runway > 1d');
  });

  it('does not ask a standby for apply errors, for sequences, nor to be writable', () => {
    const gates = preset('{ via: postgres-physical }');
    expect(texts(gates.get('target-ready'))).toContain('target.writable is 0 for 1m');
    for (const gate of gates.values()) {
      expect(
        texts(gate).filter((t) => /errors|sequences/.test(t)),
        gate.name,
      ).toEqual([]);
    }
  });

  it('leaves rollback-ready out without a way back', () => {
    expect(preset(logical).has('rollback-ready')).toBe(false);
    expect(load(small({ shop: 'gates: { preset: runbook }' })).warnings).toEqual([
      'migration shop: preset runbook leaves the gate rollback-ready out, because without a `reverse` link nothing ' +
        'carries the new writes back',
    ]);
  });
});

describe('warnings', () => {
  const warningsOf = (...require: string[]) =>
    load(small({ shop: `gates: { g: { require: ${JSON.stringify(require)} } }` })).warnings;

  it.each([
    [['forward.lag < 2s'], ['gate shop/g: `forward.lag` alone proves']],
    [['forward.lag < 2s', 'forward.agreement is 1'], []],
    [['forward.lag < 2s', 'forward.lag_by_position < 2s'], []],
    [['forward.lag < 2s', 'active.agreement is 1'], ['gate shop/g: `forward.lag` alone proves']],
    [['forward.lag_by_position == 2s'], ['gate shop/g: `forward.lag_by_position == 2s` compares a measured quantity']],
    [['forward.backlog_bytes is 0B'], ['gate shop/g: `forward.backlog_bytes is 0B` compares a measured quantity']],
    [['forward.errors is 0'], []],
    [['forward.errors >= 0'], ['gate shop/g: `forward.errors >= 0` is true of every value']],
    [['verify.coverage is 1'], ['gate shop/g: `verify.coverage` is not measured in this version']],
  ])('%j', (require, expected) => {
    const warnings = warningsOf(...require);
    expect(warnings.length).toBe(expected.length);
    for (const [i, start] of expected.entries()) expect(warnings[i]).toContain(start);
  });

  it('takes the second measure from a gate that is required', () => {
    const gates =
      'gates: { a: { require: forward.agreement is 1 }, g: { require: [ gate a open, forward.lag < 2s ] } }';
    expect(load(small({ shop: gates })).warnings).toEqual([]);
  });

  it('tells of passwords in the text and of connections that others can read', () => {
    const onprem = '{ engine: postgres, url: "postgres://lockgate:hunter2@db/app?sslmode=disable" }';
    const token = 'daemon: { auth: { tokens: [ { name: a, token: hunter2hunter2, role: reader } ] } }';
    const { warnings } = load(small({ onprem, top: token }));
    expect(warnings).toEqual([
      expect.stringMatching(/^daemon\.auth: the token of a is written in the configuration/),
      expect.stringMatching(/^databases\.onprem\.url: the password is written in the configuration/),
      expect.stringMatching(/^databases\.onprem: TLS mode `disable` to db /),
    ]);
    expect(warnings.join()).not.toContain('hunter2');
  });

  it('tells of two entries that are one database', () => {
    const twice = small({ shop: 'gates: {}', top: '  crm: { source: legacy, target: aws, forward: { via: postgres-logical, subscription: crm_sub } }' }).replace(
      'migrations:',
      '  legacy: { engine: postgres, url: "postgres://other@127.0.0.1/app" }\nmigrations:',
    ); // prettier-ignore
    expect(load(twice).warnings).toEqual([
      expect.stringMatching(
        /^databases\.onprem and databases\.legacy are the same database, localhost:5432\/app: heartbeats .*keep one entry/,
      ),
    ]);
  });

  it('tells of a database without use and of a subscription that two migrations watch', () => {
    const other = '  crm: { source: onprem, target: aws, forward: { via: postgres-logical, subscription: shop_sub } }';
    const text = small({ top: other }).replace(
      'migrations:',
      '  spare: { engine: postgres, url: "postgres://l@localhost/x" }\nmigrations:',
    );
    expect(load(text).warnings).toEqual([
      'shop.forward and crm.forward both watch the subscription `shop_sub` on aws',
      'databases.spare: no migration uses this database',
    ]);
  });
});

describe('any text', () => {
  it('is either a configuration or a list of problems with their places', () => {
    const good = goodText();
    const lines = good.split('\n').length + 2;
    const cut = fc.tuple(fc.nat(good.length), fc.nat(60), fc.constantFrom('', ' ', '\n', ': ', '[', '${', '"', '*a', '- ')); // prettier-ignore
    fc.assert(
      fc.property(fc.array(cut, { minLength: 1, maxLength: 3 }), (cuts) => {
        let text = good;
        for (const [at, length, instead] of cuts) text = text.slice(0, at) + instead + text.slice(at + length);
        try {
          load(text, FILES);
        } catch (error) {
          if (!(error instanceof ConfigError)) throw error;
          expect(error.problems.length).toBeGreaterThan(0);
          for (const p of error.problems) {
            expect(p.line).toBeGreaterThanOrEqual(1);
            expect(p.line).toBeLessThanOrEqual(lines + 3);
            expect(p.column).toBeGreaterThanOrEqual(1);
          }
          expect(error.message).not.toContain('p@ss');
          expect(error.message).not.toContain('operator-token');
          expect(error.message).not.toContain('from-a-file');
        }
      }),
      { numRuns: 300 },
    );
  });

  it.each(['', 'null', '[]', '42', '- a', '"text"', 'a', '{}', '\ufeff', '---', '\ue020: 1', '&a [*a]', 'a: &a [*a]'])(
    'survives %j',
    (text) => expect(problemsIn(text).length).toBeGreaterThan(0),
  );
});
