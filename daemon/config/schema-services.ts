import { z } from 'zod';
import { choice, duration, endpoint, flag, httpUrl, instant, list, named, section, text } from './schema-fields.js';

const region = () => text('AWS region, for example `eu-west-1`.', 'a region');
const role = () =>
  text('ARN of a role to assume; the credentials found are used as they are by default.', 'the ARN of a role');
const patterns = (description: string) => list(description, text('A pattern of tables such as `public.*`.'));

/** `password.rds_iam`: a token signed with the AWS credentials of the daemon. */
export const rdsIam = section('Sign in to RDS with a token of IAM.', { region: region() });

/** `dms` of a link: the tasks that carry it. */
export const dms = section('The AWS DMS tasks of this link.', {
  tasks: list('ARNs of every task of this link; the worst counts.', text('ARN of a task.')),
  region: region(),
  every: duration('How often DMS is asked; 30s by default.').optional(),
  endpoint: endpoint().optional(),
  assume_role: role().optional(),
});

const share = z
  .union([z.string(), z.number()], { error: 'a share such as `20%`' })
  .refine((v) => {
    const n = typeof v === 'number' ? v : /^\s*\d+(?:\.\d+)?\s*%\s*$/.test(v) ? parseFloat(v) / 100 : NaN;
    return n > 0 && n <= 1;
  }, 'this is not a share\nwrite it like `20%` or `0.2`')
  .meta({ description: 'Share of the time that the source may be busy with comparing; 20% by default.' });

const cron = z
  .string({ error: 'a cron expression' })
  .refine((v) => /^\s*\S+(?:\s+\S+){4,5}\s*$/.test(v), {
    error: 'this is not a cron expression\nwrite five fields, for example `*/15 * * * *`',
  })
  .meta({ description: 'When passes start, as a cron expression; only on demand by default.' });

const running = z
  .int({ error: 'a whole number, or null' })
  .min(1, { error: 'this would never compare anything\nwrite 1 or more, or null to compare whatever else runs' })
  .nullable()
  .meta({
    description:
      'Comparing pauses while other clients of the side that carries the writes execute more statements than this; 50 by ' +
      'default, null: never.',
  });

const standIn = z
  .union([z.string(), z.number(), z.null()], { error: 'text, a number or null' })
  .meta({ description: 'What the other side holds instead.' });

/** `verify`: comparing the data of both sides. */
export const verify = section('Comparing the data of both sides.', {
  schedule: cron.optional(),
  tables: patterns('Patterns of the tables to compare.').optional(),
  exclude: patterns('Patterns of tables to leave out.').optional(),
  ignore_columns: named(
    'Columns that may differ, by table.',
    list('Columns of one table.', text('A column.'), 'a list of columns'),
  ).optional(),
  filters: named(
    'Only rows that fulfil all of these are compared, by table.',
    list('Conditions on the rows of one table.', text('A condition such as `tenant_id = 42`.'), 'a list of conditions'),
  ).optional(),
  schemas: named('Schema on the target, by schema on the source.', text('A schema.')).optional(),
  chunk: duration('How long one comparison may take; 500ms by default.').optional(),
  source_share: share.optional(),
  pause_above_lag: duration('Comparing pauses while lag is above this; 5s by default.').optional(),
  pause_above_running: running.optional(),
  stand_ins: named('What stands for values that the other engine cannot hold.', standIn).optional(),
});

const cloudwatchQuery = section('One CloudWatch metric.', {
  region: region(),
  namespace: text('Namespace of the metric.'),
  metric: text('Name of the metric.'),
  stat: text('Statistic, for example `p99` or `Average`.'),
  dimensions: named('Dimensions of the metric.', text('Value of the dimension.')).optional(),
  endpoint: endpoint().optional(),
  assume_role: role().optional(),
});

const query = section('One number that is asked for; either `prometheus` or `cloudwatch`.', {
  prometheus: httpUrl('Base URL of Prometheus.').optional(),
  query: text('PromQL that yields exactly one sample.').optional(),
  token: text('Bearer token for Prometheus, as `${env:NAME}` or `${file:PATH}`.', 'a token').optional(),
  cloudwatch: cloudwatchQuery.optional(),
  every: duration('How often it is asked for; by default 15s, of CloudWatch 60s.').optional(),
  unit: choice('Unit of the number; `%` means that 0.5 is half a percent.', [
    '%',
    'ratio',
    's',
    'ms',
    'us',
    'B',
    'count',
    'count/s',
  ]).optional(),
});

/** `traffic`: what the users see, from monitoring systems. */
export const traffic = named('Error rates and latencies, as signals `traffic.NAME`.', query);

/** `dns`: records whose TTL must be low. */
export const dns = named(
  'DNS records, as signals `dns.NAME.ttl`.',
  section('One record.', {
    name: text('Name of the record.'),
    resolver: text("Address of the resolver to ask; the system's by default.").optional(),
  }),
);

/** `maintenance`: windows in which alerts are silent. */
export const maintenance = list(
  'Windows that silence alerts; they never open a gate.',
  section('One window.', {
    from: instant('Begin of the window, RFC 3339.'),
    to: instant('End of the window, RFC 3339.'),
    note: text('Why.').optional(),
  }),
);

/** `publish`: where signals and gates are written to. */
export const publish = section('Where signals and gates are written to, besides /metrics.', {
  cloudwatch: section('Metrics in CloudWatch.', {
    region: region(),
    namespace: text('Namespace of the metrics.').optional(),
    every: duration('Period; 60s by default, below 60s only with high_resolution.').optional(),
    high_resolution: flag('Store with a resolution of one second (costs more).').optional(),
    endpoint: endpoint().optional(),
    assume_role: role().optional(),
  }).optional(),
});

const rule = section('One rule; it fires for every migration unless `migration` narrows it.', {
  name: text('Name of the rule.'),
  when: text('A condition relative to the migration, such as `forward.lag > 30s for 2m`.', 'a condition'),
  severity: choice('As PagerDuty spells it.', ['critical', 'error', 'warning', 'info']),
  migration: text('Only this migration.', 'the name of a migration').optional(),
});

/** `alerts`: who is told what. */
export const alerts = section('Alerts.', {
  resolve_after: duration('A rule resolves when it has been known to be false for so long; 60s by default.').optional(),
  pagerduty: section('Events to PagerDuty.', {
    routing_key: text('Integration key, as `${env:NAME}` or `${file:PATH}`.', 'a routing key'),
    region: choice('Service region; `us` by default.', ['us', 'eu']).optional(),
    endpoint: endpoint().optional(),
  }).optional(),
  webhook: section('Events to an address of yours.', {
    url: httpUrl('Where events are posted to.'),
    secret: text('Key of the signature, as `${env:NAME}` or `${file:PATH}`.', 'a secret').optional(),
  }).optional(),
  rules: list('The rules.', rule, 'a list of rules').optional(),
});
