import { describe, expect, it } from 'vitest';
import { explainConfig } from '../../daemon/config/load.js';
import { whyNotMeasured } from '../../daemon/config/available.js';
import { appliedBySessions } from '../../daemon/strays.js';
import { load, problemsIn } from './config-inputs.js';

const dms = '{ via: dms, dms: { tasks: [ "arn:aws:dms:eu-west-1:1:task:X" ], region: eu-west-1 } }';

function text(gates: string, reverse = ''): string {
  return [
    'databases:',
    '  onprem: { engine: mysql, url: "mysql://lockgate@localhost/app" }',
    '  aws: { engine: postgres, url: "postgres://lockgate@localhost/app" }',
    'migrations:',
    '  shop:',
    '    source: onprem',
    '    target: aws',
    `    forward: ${dms}`,
    ...(reverse === '' ? [] : [`    reverse: ${reverse}`]),
    `    gates: ${gates}`,
    '',
  ].join('\n');
}

describe('a link by DMS', () => {
  it('runs between engines, has no flows, and warns of what is not looked at', () => {
    const config = load(text('{ flip: { require: "forward.lag < 1s for 5s" } }'));
    const link = config.migrations.get('shop')?.links.forward;
    expect(link).toMatchObject({ via: 'dms', from: 'onprem', to: 'aws', flows: [] });
    expect(link?.dms).toEqual({
      tasks: ['arn:aws:dms:eu-west-1:1:task:X'],
      region: 'eu-west-1',
      everyUs: 30_000_000,
      endpoint: null,
      assumeRole: null,
    });
    // Nothing could second it, so nobody is told to.
    expect(config.warnings.join('\n')).not.toContain('alone proves');
    expect([...appliedBySessions(config)]).toEqual(['aws']);
    expect([...appliedBySessions(load(text('{ preset: runbook }', dms)))].sort()).toEqual(['aws', 'onprem']);
  });

  it.each([
    ['forward.lag_by_position < 1s', /no applied position/],
    ['forward.agreement is 1', /no applied position/],
    ['forward.continuity is 1', /does not tell it/],
    ['active.backlog_bytes < 1MiB', /does not tell it/],
    ['target.local_writes < 1', /ordinary sessions/],
    ['sequences.behind is 0', /not compared over a link by DMS/],
  ])('warns of a gate on %s, which could never open', (condition, why) => {
    const { warnings } = load(text(`{ flip: { require: "${condition}" } }`));
    const own = warnings.find((w) => w.startsWith('gate shop/flip'));
    expect(own).toMatch(why);
    expect(own).toContain('the gate cannot open');
  });

  it('measures its other side and its row', () => {
    const vias = { forward: 'dms' } as const;
    for (const signal of [
      'forward.lag',
      'active.lag_low',
      'forward.running',
      'active.errors',
      'forward.tables_syncing',
      'dms.running',
      'source.local_writes',
      'target.reachable',
      'attest.x.age',
    ]) {
      expect(whyNotMeasured(signal, vias), signal).toBeNull();
    }
    // After a promotion the passive side is the source, where nothing but clients writes unless a link leads there.
    expect(whyNotMeasured('standby.stray_writes', vias)).toBeNull();
    expect(whyNotMeasured('standby.stray_writes', { forward: 'dms', reverse: 'dms' })).toContain('ordinary sessions');
    expect(whyNotMeasured('active.continuity', { forward: 'dms', reverse: 'mysql' })).toBeNull();
    expect(whyNotMeasured('dms.running', { forward: 'mysql', reverse: 'dms' })).toBeNull();
    expect(whyNotMeasured('dms.running', { forward: 'mysql' })).toContain('no link of this migration comes by DMS');
  });

  it.each(['', dms, '{ via: dms, dms: { tasks: [ "arn:aws:dms:eu-west-1:1:task:Y" ], region: eu-west-1 } }'])(
    'has a preset that asks for nothing that is never known, and says what it leaves out (reverse: %s)',
    (reverse) => {
      const config = load(text('{ preset: runbook }', reverse));
      const vias = { forward: 'dms', reverse: reverse === '' ? undefined : 'dms' } as const;
      const left: string[] = [];
      for (const { conditions, leftOut } of explainConfig(config)) {
        left.push(...leftOut.map((l) => l.text));
        for (const { condition } of conditions) {
          if (condition.kind !== 'signal') continue;
          expect(whyNotMeasured(condition.signal, vias), condition.text).toBeNull();
        }
      }
      expect(left).toEqual(expect.arrayContaining(['forward.agreement is 1 for 10m', 'forward.continuity is 1']));
      const asked = (gate: string): string[] =>
        config.migrations
          .get('shop')
          ?.gates.get(gate)
          ?.require.map((c) => c.text) ?? [];
      expect(asked('replicated')).toEqual([
        'forward.lag < 10s for 10m',
        'forward.running is 1 for 10m',
        'forward.errors is 0 for 10m',
        'attest.dms-checked.age < 1h',
        'forward.tables_uncovered is 0',
        'forward.tables_syncing is 0',
      ]);
      expect(asked('target-ready')).toContain('attest.target-prepared.age < 7d');
    },
  );

  it.each([
    [
      '[ "arn:aws:dms:eu-west-1:1:task:X", "arn:aws:dms:eu-west-1:1:task:Z" ]',
      '',
      /several DMS tasks is not available/,
    ],
    ['[]', '', /dms.tasks/],
    [
      '[ "arn:aws:dms:eu-west-1:1:rep:X" ]',
      '',
      /not the ARN of a DMS task \(write `arn:aws:dms:REGION:ACCOUNT:task:ID`/,
    ],
    ['[ shop ]', '', /not the ARN of a DMS task/],
    ['[ "arn:aws:dms:eu-central-1:1:task:X" ]', '', /this task is in eu-central-1, and `region` is eu-west-1/],
    ['[ "arn:aws:dms:eu-west-1:1:task:X" ]', ', every: 500ms', /DMS is asked at most every 1s/],
  ])('refuses tasks: %s%s', (tasks, every, message) => {
    const written = `{ via: dms, dms: { tasks: ${tasks}, region: eu-west-1${every} } }`;
    const found = problemsIn(text('{ flip: { require: "forward.lag < 1s" } }').replace(dms, written));
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(message);
  });

  it('may be a serverless replication, in any partition', () => {
    const arn = 'arn:aws-cn:dms:cn-north-1:123456789012:replication-config:AB-12';
    const written = `{ via: dms, dms: { tasks: [ "${arn}" ], region: cn-north-1, every: 10s } }`;
    const config = load(text('{ flip: { require: "forward.lag < 1s" } }').replace(dms, written));
    expect(config.migrations.get('shop')?.links.forward.dms).toMatchObject({ tasks: [arn], everyUs: 10_000_000 });
  });
});
