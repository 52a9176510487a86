/** Alarms of CloudWatch over what lockgate publishes there, as a CloudFormation template made from the configuration. */
import { Document } from 'yaml';
import type { AlertRule } from '../daemon/core/alert-rule.js';
import type { Us } from '../daemon/core/clock.js';
import type { Comparator, SignalCondition } from '../daemon/core/condition.js';
import type { CloudWatchPublishConfig, Config, GateConfig, MigrationConfig } from '../daemon/core/config.js';
import { UsageError } from '../daemon/core/errors.js';
import type { LinkName } from '../daemon/core/signal.js';
import { rulesOf, type Measures } from './prometheus-rules.js';

/** As AWS names the properties, in CloudFormation and in its API alike. */
interface MetricAlarm {
  AlarmName: string;
  AlarmDescription: string;
  Namespace: string;
  MetricName: string;
  Dimensions: { Name: string; Value: string }[];
  Statistic?: 'Maximum' | 'Minimum' | 'Average';
  ExtendedStatistic?: string;
  Period: number;
  EvaluationPeriods: number;
  DatapointsToAlarm: number;
  Threshold: number | { Ref: string };
  ComparisonOperator: string;
  TreatMissingData: 'breaching' | 'ignore';
}

interface CompositeAlarm {
  AlarmName: string;
  AlarmDescription: string;
  AlarmRule: string;
  AlarmActions: unknown;
  OKActions: unknown;
}

const COMPARISONS: Readonly<Partial<Record<Comparator, string>>> = {
  '<': 'LessThanThreshold',
  '<=': 'LessThanOrEqualToThreshold',
  '>': 'GreaterThanThreshold',
  '>=': 'GreaterThanOrEqualToThreshold',
};

const SECOND_US: Us = 1_000_000;
const MINUTE_S = 60;
/** The longest stretch that an alarm may look back over: a day, a week for periods of an hour or more. */
const MOST_S = { short: 86_400, long: 604_800 } as const;
/** CloudFormation takes no larger template. */
const MOST_RESOURCES = 500;
const TOPIC = 'AlarmTopic';

/**
 * A CloudFormation template, as YAML, with an alarm for each metric that lockgate publishes to CloudWatch and a composite
 * alarm for each direction of a migration, for deployments that are to roll back. Throws a UsageError where nothing is published.
 */
export function cloudwatchAlarms(config: Config, measures: Measures): string {
  const published = config.publish?.cloudwatch;
  if (published === undefined || published === null) {
    throw new UsageError(
      'nothing_published',
      `${config.file} publishes nothing to CloudWatch, so there is nothing to alarm on`,
      'add `publish: { cloudwatch: { region: … } }`',
    );
  }
  const template = new Template(published);
  const rules = rulesOf(config, measures);
  for (const m of config.migrations.values()) {
    addMigration(
      template,
      m,
      rules.filter((rule) => rule.migration === m.name),
      measures,
    );
  }
  for (const gate of config.gates.values()) addGate(template, gate);
  const resources = template.count;
  if (resources > MOST_RESOURCES) {
    throw new UsageError(
      'too_many_alarms',
      `${config.file} would make ${String(resources)} alarms, and CloudFormation takes ${String(MOST_RESOURCES)} in a template`,
      'make the template from a file with some of the migrations, and a second one from the others',
    );
  }
  return template.render(config);
}

function addMigration(template: Template, m: MigrationConfig, rules: readonly AlertRule[], measures: Measures): void {
  const expressed = new Set<AlertRule>();
  const lags = new Map<LinkName, string[]>();
  for (const link of Object.values(m.links)) {
    if (link.via === 'none') continue;
    const alarms: string[] = [];
    for (const rule of rules) {
      const condition = conditionOf(rule);
      const metric = condition === null ? null : linkMetric(condition.signal, link.name);
      if (condition === null || metric === null) continue;
      const what = `${rule.summary} (${condition.text}); ${rule.remedy}`;
      const name = template.compare(
        [m.name, link.name, 'rule', rule.name],
        what,
        metric,
        { Migration: m.name, Link: link.name },
        condition,
      );
      if (name === null) continue;
      expressed.add(rule);
      if (metric === 'Lag' && isTooMuch(condition) && isGrave(rule)) alarms.push(name);
    }
    if (alarms.length === 0) alarms.push(addLag(template, m, link.name));
    lags.set(link.name, alarms);
  }
  const whole: string[] = [];
  for (const { signal, metric, name, what } of WHOLE) {
    if (!measures(m, signal)) continue;
    for (const rule of rules) if (conditionOf(rule)?.signal === signal) expressed.add(rule);
    whole.push(
      template.alarm(
        [m.name, name],
        what,
        metric,
        { Migration: m.name },
        {
          ...{ Statistic: 'Maximum', ComparisonOperator: 'GreaterThanThreshold', Threshold: 0 },
          // Nothing was compared, or nobody could look: what was known last stands.
          ...{ TreatMissingData: 'ignore' },
          ...template.once,
        },
      ),
    );
  }
  const gates = new Map([...m.gates.values()].map((gate) => [gate.name, addGate(template, gate)]));
  const ready = gates.get('rollback-ready');
  for (const rule of rules) {
    const { kind } = rule.test;
    // Missing data is breaching, and that says both.
    if (kind === 'gate-shut' || (rule.test.kind === 'unknown' && rule.test.signal === 'active.lag'))
      expressed.add(rule);
  }
  template.leaveOut(rules.filter((rule) => !expressed.has(rule)));

  const forward = lags.get('forward') ?? [];
  if (forward.length > 0) {
    template.composite(
      [m.name, 'forward'],
      'For deployments while the source carries the production writes: the way there is late or unknown, or the data is wrong.',
      { ok: forward, quiet: whole },
    );
  }
  const back = [...(lags.get('reverse') ?? []), ...(ready === undefined ? [] : [ready])];
  if (back.length > 0) {
    template.composite(
      [m.name, 'reverse'],
      'For deployments while the target carries the production writes: the way back is late, unknown or not ready, or the data is wrong.',
      { ok: back, quiet: whole },
    );
  }
}

const WHOLE = [
  {
    ...{ signal: 'split_brain', metric: 'SplitBrain', name: 'split-brain' },
    what: 'Both sides are being written to. Stop the writes on the passive side at once.',
  },
  {
    ...{ signal: 'verify.mismatched_rows', metric: 'MismatchedRows', name: 'mismatched-rows' },
    what: 'The two sides hold different rows. Do not switch before they are explained.',
  },
] as const;

/** Lag without a rule of its own: the largest that any gate lets pass, else what whoever deploys the template says. */
function addLag(template: Template, m: MigrationConfig, link: LinkName): string {
  const passing = [...m.gates.values()]
    .flatMap((gate) => gate.require)
    .filter((c): c is SignalCondition => c.kind === 'signal' && (c.op === '<' || c.op === '<='))
    .filter((c) => c.migration === m.name && (c.signal === `${link}.lag` || c.signal === 'active.lag'))
    .map((c) => c.threshold);
  const what = `Lag of ${m.name}/${link}: more than any gate lets pass, or unknown.`;
  const Threshold = passing.length > 0 ? Math.max(...passing) : template.ask([m.name, link, 'lag'], what);
  return template.alarm(
    [m.name, link, 'lag'],
    what,
    'Lag',
    { Migration: m.name, Link: link },
    {
      ...{ Statistic: 'Maximum', ComparisonOperator: 'GreaterThanOrEqualToThreshold', Threshold },
      ...{ TreatMissingData: 'breaching' },
      ...template.once,
    },
  );
}

/** Of two daemons that publish the same gate the one that holds it shut counts. */
function addGate(template: Template, gate: GateConfig): string {
  const dimensions = gate.migration === null ? { Gate: gate.name } : { Migration: gate.migration, Gate: gate.name };
  const what = `The gate ${gate.id} is closed or unknown, or nothing was heard of it.`;
  return template.alarm(
    [...(gate.migration === null ? [] : [gate.migration]), 'gate', gate.name],
    what,
    'GateOpen',
    dimensions,
    {
      ...{ Statistic: 'Minimum', ComparisonOperator: 'LessThanThreshold', Threshold: 1, TreatMissingData: 'breaching' },
      ...template.once,
    },
  );
}

function conditionOf({ test }: AlertRule): SignalCondition | null {
  return test.kind === 'condition' && test.condition.kind === 'signal' ? test.condition : null;
}

/** What a signal is published as, for this link; a rule over `active.` is for both. */
function linkMetric(signal: string, link: LinkName): 'Lag' | 'BacklogBytes' | null {
  const [head = '', name = ''] = signal.split('.');
  if (head !== link && head !== 'active') return null;
  return name === 'lag' ? 'Lag' : name === 'backlog_bytes' ? 'BacklogBytes' : null;
}

function isTooMuch({ op }: SignalCondition): boolean {
  return op === '>' || op === '>=';
}

/** Bad enough to undo a deployment. */
function isGrave({ severity }: AlertRule): boolean {
  return severity === 'critical' || severity === 'error';
}

type Rest = Omit<MetricAlarm, 'AlarmName' | 'AlarmDescription' | 'Namespace' | 'MetricName' | 'Dimensions'>;

/** The template while it is made: names are unique, and what cannot be said is kept to be told. */
class Template {
  /** How an alarm that is to fire at once looks at a metric. */
  readonly once: { Period: number; EvaluationPeriods: number; DatapointsToAlarm: number };
  private readonly resources = new Map<string, { Type: string; DependsOn?: string[]; Properties: unknown }>();
  private readonly parameters = new Map<string, { Type: string; Description: string; Default?: string }>();
  private readonly names = new Set<string>();
  private readonly ids = new Set<string>([TOPIC]);
  private readonly leftOut: string[] = [];

  constructor(private readonly published: CloudWatchPublishConfig) {
    this.once = { Period: this.period(published.everyUs), EvaluationPeriods: 1, DatapointsToAlarm: 1 };
    this.parameters.set(TOPIC, {
      Type: 'String',
      Description: 'ARN of the SNS topic that the composite alarms notify; empty for none.',
      Default: '',
    });
  }

  get count(): number {
    return this.resources.size;
  }

  /** Adds an alarm and returns its name. */
  alarm(
    parts: readonly string[],
    what: string,
    metric: string,
    dimensions: Record<string, string>,
    rest: Rest,
  ): string {
    const Properties: MetricAlarm = {
      AlarmName: this.name(parts),
      AlarmDescription: what.slice(0, 1_024),
      Namespace: this.published.namespace,
      MetricName: metric,
      Dimensions: Object.entries(dimensions).map(([Name, Value]) => ({ Name, Value })),
      ...rest,
    };
    this.resources.set(this.id(parts), { Type: 'AWS::CloudWatch::Alarm', Properties });
    return Properties.AlarmName;
  }

  /** Adds an alarm with the comparison of a condition; null where CloudWatch cannot compare so, or not for so long. */
  compare(
    parts: readonly string[],
    what: string,
    metric: string,
    dimensions: Record<string, string>,
    condition: SignalCondition,
  ): string | null {
    const ComparisonOperator = COMPARISONS[condition.op];
    if (ComparisonOperator === undefined) return null;
    const Period = condition.fn === null ? this.once.Period : this.period(condition.fn.windowUs);
    const periods = Math.max(1, Math.ceil(condition.forUs / (Period * SECOND_US)));
    if (periods * Period > (Period >= 3_600 ? MOST_S.long : MOST_S.short)) return null;
    return this.alarm(parts, what, metric, dimensions, {
      ...statistic(condition),
      ...{ Period, EvaluationPeriods: periods, DatapointsToAlarm: periods, Threshold: condition.threshold },
      ...{ ComparisonOperator, TreatMissingData: 'breaching' },
    });
  }

  /** `ok`: alarms of which anything but OK counts, as in "never evaluated yet"; `quiet`: those that count when they alarm. */
  composite(parts: readonly string[], what: string, of: { ok: readonly string[]; quiet: readonly string[] }): void {
    const topic = { 'Fn::If': ['HasAlarmTopic', [{ Ref: TOPIC }], { Ref: 'AWS::NoValue' }] };
    const Properties: CompositeAlarm = {
      AlarmName: this.name(parts),
      AlarmDescription: what,
      AlarmRule: [...of.ok.map((name) => `NOT OK("${name}")`), ...of.quiet.map((name) => `ALARM("${name}")`)].join(
        ' OR ',
      ),
      AlarmActions: topic,
      OKActions: topic,
    };
    const children = new Set([...of.ok, ...of.quiet]);
    const DependsOn = [...this.resources]
      .filter(([, { Properties: p }]) => children.has((p as MetricAlarm).AlarmName))
      .map(([id]) => id);
    this.resources.set(this.id(parts), { Type: 'AWS::CloudWatch::CompositeAlarm', DependsOn, Properties });
  }

  /** A threshold that nothing in the configuration tells: without a default, so that somebody has to say it. */
  ask(parts: readonly string[], what: string): { Ref: string } {
    const Ref = this.id([...parts, 'seconds']);
    this.parameters.set(Ref, { Type: 'Number', Description: `Seconds, no gate and no rule names any. ${what}` });
    return { Ref };
  }

  leaveOut(rules: readonly AlertRule[]): void {
    for (const { migration, name } of rules) this.leftOut.push(`${migration}/${name}`);
  }

  render(config: Config): string {
    const template = {
      AWSTemplateFormatVersion: '2010-09-09',
      Description: 'Alarms on what lockgate publishes to CloudWatch.',
      Parameters: Object.fromEntries(this.parameters),
      Conditions: { HasAlarmTopic: { 'Fn::Not': [{ 'Fn::Equals': [{ Ref: TOPIC }, ''] }] } },
      Resources: Object.fromEntries(this.resources),
    };
    const document = new Document(template, { aliasDuplicateObjects: false });
    const left = this.leftOut.map((rule) => `   ${rule.replaceAll(/[^\x20-\x7e]/g, '?')}`);
    document.commentBefore =
      ` Made by \`lockgate rules cloudwatch\` from ${config.file.replaceAll(/[^\x20-\x7e]/g, '?')}\n` +
      ` (SHA-256 ${config.hash}). Make it again when that changes.` +
      (left.length === 0
        ? ''
        : `\n Without an alarm here, because CloudWatch is not told of it or cannot compare so:\n${left.join('\n')}`);
    return document.toString({ lineWidth: 0 });
  }

  /** The shortest period of an alarm that holds a value of every daemon in each. */
  private period(us: Us): number {
    const seconds = us / SECOND_US;
    const short = this.published.highResolution ? [10, 20, 30].find((s) => s >= seconds) : undefined;
    return short ?? Math.max(1, Math.ceil(seconds / MINUTE_S)) * MINUTE_S;
  }

  /** Unique, also among rules whose names differ in nothing that a composite alarm could quote. */
  private name(parts: readonly string[]): string {
    const written = parts.map((part) => part.replaceAll(/[^A-Za-z0-9_-]+/g, '-'));
    return unused(['lockgate', ...written].join('/').slice(0, 250), this.names, '-');
  }

  /** Letters and digits only, as CloudFormation wants it; `a-1` and `a1` do not meet in one. */
  private id(parts: readonly string[]): string {
    const words = parts.flatMap((part) => part.split(/[^A-Za-z0-9]+/));
    const plain = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
    return unused(plain.slice(0, 250), this.ids, 'X');
  }
}

function unused(wanted: string, taken: Set<string>, separator: string): string {
  let name = wanted;
  for (let n = 2; taken.has(name); n += 1) name = `${wanted}${separator}${String(n)}`;
  taken.add(name);
  return name;
}

function statistic({ fn, op }: SignalCondition): Pick<MetricAlarm, 'Statistic' | 'ExtendedStatistic'> {
  switch (fn?.name) {
    case undefined:
      return { Statistic: op === '<' || op === '<=' ? 'Minimum' : 'Maximum' };
    case 'max':
      return { Statistic: 'Maximum' };
    case 'min':
      return { Statistic: 'Minimum' };
    case 'avg':
      return { Statistic: 'Average' };
    default:
      return { ExtendedStatistic: fn?.name ?? 'p99' };
  }
}
