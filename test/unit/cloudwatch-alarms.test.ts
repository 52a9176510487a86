import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ApiModel } from '../support/aws/model.js';
import { rulesText, shopBegins } from '../support/rules.js';
import { load } from './config-inputs.js';

interface Alarm {
  AlarmName: string;
  AlarmDescription: string;
  Namespace: string;
  MetricName: string;
  Dimensions: { Name: string; Value: string }[];
  Statistic?: string;
  ExtendedStatistic?: string;
  Period: number;
  EvaluationPeriods: number;
  DatapointsToAlarm: number;
  Threshold: number;
  ComparisonOperator: string;
  TreatMissingData: string;
  AlarmRule?: string;
}

interface Template {
  Parameters: Record<string, { Type: string; Default?: string }>;
  Resources: Record<string, { Type: string; DependsOn?: string[]; Properties: Alarm }>;
}

interface Setup {
  rules?: string;
  publish?: string;
  gates?: string;
  reverse?: string;
  more?: string;
}

const yaml = ({
  rules = '',
  publish = '{ region: eu-west-1 }',
  gates,
  reverse,
  more = '',
}: Setup): string => `${shopBegins}
    forward: { via: postgres-logical, subscription: a }
    reverse: ${reverse ?? '{ via: postgres-logical, subscription: b }'}
    gates: ${gates ?? '{ preset: runbook }'}
${more}
${publish === '' ? '' : `publish: { cloudwatch: ${publish} }`}
${rules === '' ? '' : `alerts: { rules: [ ${rules} ] }\n`}`;

const cloudwatch = { kind: 'cloudwatch' } as const;

async function made(setup: Setup = {}): Promise<{ text: string; template: Template; alarms: Map<string, Alarm> }> {
  const text = await rulesText(load(yaml(setup)), cloudwatch);
  const template = parse(text) as Template;
  const alarms = new Map(Object.values(template.Resources).map((r) => [r.Properties.AlarmName, r.Properties]));
  return { text, template, alarms };
}

/** A template's value as CloudFormation hands it to the API when nothing but what has no default was given. */
function resolved(value: unknown, parameters: Record<string, unknown>): unknown {
  if (Array.isArray(value)) return value.map((v) => resolved(v, parameters)).filter((v) => v !== undefined);
  if (typeof value !== 'object' || value === null) return value;
  const { Ref, 'Fn::If': condition } = value as { Ref?: string; 'Fn::If'?: unknown[] };
  if (Ref === 'AWS::NoValue') return undefined;
  if (Ref !== undefined) return parameters[Ref];
  if (condition !== undefined) return resolved(condition[parameters['AlarmTopic'] === '' ? 2 : 1], parameters);
  const entries = Object.entries(value).map(([key, v]) => [key, resolved(v, parameters)] as const);
  return Object.fromEntries(entries.filter(([, v]) => v !== undefined));
}

const model = new ApiModel('monitoring-2010-08-01');
const operations: Record<string, string> = {
  'AWS::CloudWatch::Alarm': 'PutMetricAlarm',
  'AWS::CloudWatch::CompositeAlarm': 'PutCompositeAlarm',
};

/** What AWS would refuse, by its model and by the limits that its documentation names. */
function faults({ Parameters, Resources }: Template, topic: string): string[] {
  const given = Object.fromEntries(Object.entries(Parameters).map(([name, p]) => [name, p.Default ?? 5]));
  const names = new Set<string>();
  return Object.entries(Resources).flatMap(([id, { Type, Properties, DependsOn = [] }]) => {
    const alarm = resolved(Properties, { ...given, AlarmTopic: topic }) as Alarm;
    const wrong = model.checkInput(operations[Type] ?? Type, alarm);
    const refuse = (fault: boolean, what: string): void => {
      if (fault) wrong.push(`${id}: ${what}`);
    };
    refuse(!/^[A-Za-z0-9]{1,255}$/.test(id), 'logical id');
    refuse(names.has(alarm.AlarmName), 'two alarms of one name');
    names.add(alarm.AlarmName);
    refuse(alarm.AlarmName.length > 255 || alarm.AlarmDescription.length > 1024, 'too long');
    refuse(
      DependsOn.some((d) => Resources[d] === undefined),
      'depends on nothing',
    );
    if (alarm.AlarmRule !== undefined) {
      refuse(alarm.AlarmRule.length > 10_240, 'rule too long');
      for (const [, child = ''] of alarm.AlarmRule.matchAll(/"([^"]*)"/g)) {
        const found = Object.entries(Resources).find(([, r]) => r.Properties.AlarmName === child);
        refuse(found === undefined || !DependsOn.includes(found[0]), `rule of ${child}, which need not be there yet`);
      }
      refuse(!/^(NOT OK|ALARM)\("[^"]+"\)( OR (NOT OK|ALARM)\("[^"]+"\))*$/.test(alarm.AlarmRule), 'grammar');
      return wrong;
    }
    refuse(![10, 20, 30].includes(alarm.Period) && alarm.Period % 60 !== 0, 'period');
    const most = alarm.Period >= 3_600 ? 604_800 : 86_400;
    refuse(alarm.EvaluationPeriods * alarm.Period > most, 'looks back too far');
    refuse(alarm.DatapointsToAlarm > alarm.EvaluationPeriods || alarm.DatapointsToAlarm < 1, 'datapoints');
    refuse((alarm.Statistic === undefined) === (alarm.ExtendedStatistic === undefined), 'one statistic');
    refuse(!['Maximum', 'Minimum', 'Average', undefined].includes(alarm.Statistic), 'statistic');
    refuse(!/^(p\d{1,2})?$/.test(alarm.ExtendedStatistic ?? ''), 'extended statistic');
    refuse(!/^(Greater|Less)Than(OrEqualTo)?Threshold$/.test(alarm.ComparisonOperator), 'comparison');
    refuse(!['breaching', 'ignore'].includes(alarm.TreatMissingData), 'missing data');
    return wrong;
  });
}

const by = (alarm: Alarm | undefined): Record<string, string> =>
  Object.fromEntries((alarm?.Dimensions ?? []).map(({ Name, Value }) => [Name, Value]));

describe('alarms of CloudWatch', () => {
  it.each<[string, Setup]>([
    ['of the preset', {}],
    ['without a threshold of lag', { gates: '{ up: { require: "source.reachable is 1" } }' }],
    ['of every minute and less', { publish: '{ region: eu-west-1, every: 5s, high_resolution: true }' }],
    ['of every five minutes', { publish: '{ region: eu-west-1, every: 5m, namespace: Ours/Lockgate }' }],
    [
      'of every kind of rule',
      {
        rules: [
          ...['max', 'min', 'avg', 'p50', 'p99'].map(
            (fn) => `{ name: "${fn}", when: "${fn}(forward.lag, 90s) >= 2s for 10m", severity: error }`,
          ),
          ...['a b', 'a-b', 'a"b'].map((n) => `{ name: '${n}', when: "active.lag > 2s for 7d", severity: critical }`),
          ...['c d', 'c-d', 'c"d'].map((n) => `{ name: '${n}', when: "active.lag > 2s for 1d", severity: critical }`),
          '{ name: eq, when: "forward.lag == 2s", severity: info }',
          '{ name: bytes, when: "reverse.backlog_bytes > 1GiB", severity: warning }',
        ].join(', '),
      },
    ],
    [
      'of names that are nearly alike',
      {
        gates:
          '{ a-1: { require: "forward.lag < 1s" }, a1: { require: "forward.lag < 1s" }, forward: { require: "gate a1 open" } }',
        more: '  shop-gate: { source: onprem, target: aws, forward: { via: postgres-logical, subscription: c }, gates: { x: { require: "forward.lag < 1s" } } }',
      },
    ],
  ])('%s are what AWS takes', async (_, setup) => {
    const { template } = await made(setup);
    expect(faults(template, '')).toEqual([]);
    expect(faults(template, 'arn:aws:sns:eu-west-1:123456789012:pages')).toEqual([]);
  });

  it('look at what is published, and take silence for the worst', async () => {
    const { alarms } = await made({
      rules: '{ name: lag-high, when: "active.lag > 30s for 2m", severity: critical }',
      publish: '{ region: eu-west-1, namespace: Ours }',
      more: 'gates: { all-shards: { require: "gate shop/flip-writes open" } }',
    });
    for (const link of ['forward', 'reverse']) {
      const lag = alarms.get(`lockgate/shop/${link}/rule/lag-high`);
      expect(lag).toMatchObject({
        ...{ Namespace: 'Ours', MetricName: 'Lag', Statistic: 'Maximum', Period: 60, EvaluationPeriods: 2 },
        ...{ DatapointsToAlarm: 2, Threshold: 30, ComparisonOperator: 'GreaterThanThreshold' },
        TreatMissingData: 'breaching',
      });
      expect(by(lag)).toEqual({ Migration: 'shop', Link: link });
    }
    const gate = alarms.get('lockgate/shop/gate/flip-writes');
    expect(gate).toMatchObject({
      ...{ MetricName: 'GateOpen', Statistic: 'Minimum', Threshold: 1, ComparisonOperator: 'LessThanThreshold' },
      ...{ EvaluationPeriods: 1, TreatMissingData: 'breaching' },
    });
    expect(by(gate)).toEqual({ Migration: 'shop', Gate: 'flip-writes' });
    expect(by(alarms.get('lockgate/gate/all-shards'))).toEqual({ Gate: 'all-shards' });
    const split = alarms.get('lockgate/shop/split-brain');
    expect(split).toMatchObject({ MetricName: 'SplitBrain', Threshold: 0, TreatMissingData: 'ignore' });
    expect(by(split)).toEqual({ Migration: 'shop' });
  });

  it('make one composite alarm for each direction, in which anything but OK of lag and gate counts', async () => {
    const { alarms } = await made({
      rules: [
        '{ name: lag-high, when: "active.lag > 30s for 2m", severity: critical }',
        '{ name: lag-some, when: "active.lag > 5s for 2m", severity: warning }',
      ].join(', '),
    });
    expect(alarms.get('lockgate/shop/forward')?.AlarmRule).toBe(
      'NOT OK("lockgate/shop/forward/rule/lag-high") OR ALARM("lockgate/shop/split-brain")',
    );
    expect(alarms.get('lockgate/shop/reverse')?.AlarmRule).toBe(
      'NOT OK("lockgate/shop/reverse/rule/lag-high") OR NOT OK("lockgate/shop/gate/rollback-ready") OR ALARM("lockgate/shop/split-brain")',
    );
    expect(alarms.has('lockgate/shop/forward/rule/lag-some')).toBe(true);
  });

  it('take a threshold from the gates where no rule names one, and ask for it where no gate does', async () => {
    const gates =
      '{ a: { require: "forward.lag < 2s for 1m" }, b: { require: [ "forward.lag < 5s", "reverse.running is 1" ] } }';
    const { template, alarms } = await made({ gates });
    expect(alarms.get('lockgate/shop/forward/lag')).toMatchObject({
      Threshold: 5,
      ComparisonOperator: 'GreaterThanOrEqualToThreshold',
      TreatMissingData: 'breaching',
    });
    const { Threshold } = alarms.get('lockgate/shop/reverse/lag') as unknown as { Threshold: { Ref: string } };
    expect(template.Parameters[Threshold.Ref]).toMatchObject({ Type: 'Number' });
    expect(template.Parameters[Threshold.Ref]).not.toHaveProperty('Default');
  });

  it('lose none to another of nearly the same name', async () => {
    const { alarms, template } = await made({
      rules: ['c d', 'c-d', 'c"d']
        .map((n) => `{ name: '${n}', when: "forward.lag > 2s", severity: critical }`)
        .join(', '),
      gates: '{ a-1: { require: "forward.lag < 1s" }, a1: { require: "forward.lag < 1s" } }',
    });
    const names = [...alarms.keys()];
    expect(names.filter((name) => name.startsWith('lockgate/shop/forward/rule/'))).toHaveLength(3);
    expect(names.filter((name) => name.startsWith('lockgate/shop/gate/'))).toHaveLength(2);
    expect(names).toHaveLength(Object.keys(template.Resources).length);
    expect(alarms.get('lockgate/shop/forward')?.AlarmRule?.match(/NOT OK/g)).toHaveLength(3);
  });

  it('say which rules they cannot express', async () => {
    const { text, alarms } = await made({
      rules: '{ name: forever, when: "active.lag > 2s for 7d", severity: critical }',
    });
    expect(text).toMatch(/^#.*CloudWatch is not told of it.*$/m);
    for (const name of ['forever', 'replication-stopped', 'stray-writes']) expect(text).toContain(`#   shop/${name}\n`);
    for (const name of ['split-brain', 'replication-unknown', 'rollback-not-ready']) {
      expect(text).not.toContain(`#   shop/${name}\n`);
    }
    expect([...alarms.keys()].filter((name) => name.includes('forever'))).toEqual([]);
  });

  it('leave out what this version does not know', async () => {
    const { alarms } = await made();
    expect([...alarms.values()].some((alarm) => alarm.MetricName === 'MismatchedRows')).toBe(false);
  });

  it('are refused where nothing is published, and where CloudFormation takes no more', async () => {
    await expect(made({ publish: '' })).rejects.toMatchObject({
      code: 'nothing_published',
      hint: expect.stringContaining('publish:') as string,
    });
    const many = Array.from({ length: 500 }, (_, i) => `g${i}: { require: "forward.lag < 1s" }`).join(', ');
    await expect(made({ gates: `{ ${many} }` })).rejects.toMatchObject({ code: 'too_many_alarms' });
  });
});
