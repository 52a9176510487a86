/** Alerting and recording rules for those who alert by Prometheus, made from the configuration. */
import { Document, Scalar, visit } from 'yaml';
import { alertRules, type AlertRule } from '../daemon/core/alert-rule.js';
import type { Us } from '../daemon/core/clock.js';
import type { AlertsConfig, Config, MaintenanceWindow, MigrationConfig, Severity } from '../daemon/core/config.js';
import { alertName, promDuration, promTest, quoted } from './promql.js';

/** Whether a signal of a migration can be known at all in this configuration. */
export type Measures = (migration: MigrationConfig, signal: string) => boolean;

/** The scrape job of the examples. */
export const DEFAULT_JOB = 'lockgate';

const MINUTE_US: Us = 60_000_000;
/** A rule resolves when it has been known to be false for so long, unless the configuration says otherwise. */
const DEFAULT_RESOLVE_AFTER_US: Us = MINUTE_US;
/** How old the last evaluation of a gate may look, clocks of two machines being what they are. */
const DEAD_AFTER_S = 60;

interface AlertingRule {
  alert: string;
  expr: string;
  for?: string;
  keep_firing_for?: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
}

interface RecordingRule {
  record: string;
  expr: string;
}

interface RuleGroup {
  name: string;
  rules: readonly (AlertingRule | RecordingRule)[];
}

/** Every rule of a configuration, the built-in ones also where it has no `alerts`: those who alert elsewhere have none. */
export function rulesOf(config: Config, measures: Measures): AlertRule[] {
  return alertRules({ ...config, alerts: config.alerts ?? noAlerts }, measures);
}

const noAlerts: AlertsConfig = {
  resolveAfterUs: DEFAULT_RESOLVE_AFTER_US,
  pagerduty: null,
  webhook: null,
  rules: [],
};

/**
 * A rules file of Prometheus (2.42 or newer, for `keep_firing_for`) as YAML: what is wrong with each migration, what is
 * wrong with lockgate itself, and recordings for dashboards. `job` is the name of the scrape job.
 */
export function prometheusRules(config: Config, measures: Measures, job = DEFAULT_JOB): string {
  const rules = rulesOf(config, measures);
  const resolveAfterUs = config.alerts?.resolveAfterUs ?? DEFAULT_RESOLVE_AFTER_US;
  const groups: RuleGroup[] = [{ name: 'lockgate', rules: daemonRules(config, job) }];
  for (const m of config.migrations.values()) {
    const own: AlertingRule[] = rules
      .filter((rule) => rule.migration === m.name)
      .map((rule) => alertingRule(rule, resolveAfterUs));
    own.push(unwatched(m.name));
    if (config.alerts !== undefined && config.alerts !== null) own.push(forced(m.name));
    if (m.maintenance !== undefined && m.maintenance.length > 0) own.push(maintenance(m.name, m.maintenance));
    groups.push({ name: `lockgate/${m.name}`, rules: own });
  }
  groups.push({ name: 'lockgate-recordings', rules: recordings });
  return render(groups, config);
}

function alertingRule(rule: AlertRule, resolveAfterUs: Us): AlertingRule {
  const { expr, forUs, now } = promTest(rule);
  const condition = rule.test.kind === 'condition' ? literal(rule.test.condition.text) : literal(rule.summary);
  return {
    alert: alertName(rule.name),
    expr,
    ...(forUs === 0 ? {} : { for: promDuration(forUs) }),
    ...(resolveAfterUs === 0 ? {} : { keep_firing_for: promDuration(resolveAfterUs) }),
    labels: { severity: rule.severity, migration: rule.migration, rule: literal(rule.name) },
    annotations: {
      summary: `${rule.migration}: ${literal(rule.summary)}`,
      description: now === null ? condition : `${condition} (now: ${now})`,
      runbook: literal(rule.remedy),
    },
  };
}

/** What is wrong with lockgate, so that nothing else can be relied upon to fire. */
function daemonRules(config: Config, job: string): AlertingRule[] {
  const judged = config.gates.size > 0 || [...config.migrations.values()].some((m) => m.gates.size > 0);
  // A daemon without a gate has never evaluated one.
  const pulse = judged ? 'lockgate_last_evaluation_timestamp_seconds' : 'lockgate_build_info';
  const up = `up{job=${quoted(job)}}`;
  const rules: AlertingRule[] = [
    daemonRule('down', 'critical', MINUTE_US, `absent(${pulse})`, {
      summary: 'no lockgate answers',
      description: 'No daemon has been scraped. Nobody watches any migration, and no gate can be relied upon.',
      runbook: 'see whether the daemon runs and whether Prometheus may scrape it (token, certificate, network)',
    }),
    daemonRule('daemon-down', 'warning', MINUTE_US, `${up} == 0`, {
      summary: 'the lockgate at {{ $labels.instance }} does not answer',
      description: 'It could not be scraped. If there are others, they still watch.',
      runbook: 'see whether the daemon runs and whether Prometheus may scrape it (token, certificate, network)',
    }),
    daemonRule('store-not-writable', 'error', MINUTE_US, 'lockgate_store_writable == 0', {
      summary: 'the journal of {{ $labels.instance }} cannot be written',
      description: 'No gate newly opens, and operators are refused, until it can be written again.',
      runbook: "see the daemon's log and the space on the disk of store.path",
    }),
    // The share of time, because one that fails at once is up for an instant at every try.
    daemonRule('collector-down', 'warning', 5 * MINUTE_US, 'avg_over_time(lockgate_collector_up[5m]) < 0.5', {
      summary: 'the collector {{ $labels.collector }} of {{ $labels.instance }} does not run',
      description: 'It is tried again and again; what it observes is unknown meanwhile.',
      runbook: 'see the reason of the signals that are unknown, with `lockgate status` or `lockgate doctor`',
    }),
    daemonRule('config-reload-failed', 'warning', MINUTE_US, 'lockgate_config_reload_success == 0', {
      summary: 'the configuration of {{ $labels.instance }} was not taken up',
      description: 'The old one goes on running; a restart would fail.',
      runbook: 'run `lockgate config check FILE`, mend the file and reload again',
    }),
  ];
  const { pagerduty = null, webhook = null } = config.alerts ?? {};
  if (pagerduty !== null || webhook !== null) {
    const refused = 'lockgate_alert_deliveries_total{outcome="refused"}';
    // The first refusal of a daemon makes the series, and what was not there before has not increased.
    const newly = `(${refused} unless ${refused} offset 15m) or increase(${refused}[15m]) > 0`;
    rules.push(
      daemonRule('alert-refused', 'error', 0, newly, {
        summary: '{{ $labels.sink }} refused an alert of {{ $labels.instance }}',
        description: 'It will not be sent again: nobody was told.',
        runbook: "see the journal's entries of kind `alert`, and try the sink with `lockgate alerts test`",
      }),
      daemonRule('alerts-wait', 'error', 5 * MINUTE_US, 'min_over_time(lockgate_alert_queue_length[2m]) > 0', {
        summary: '{{ $labels.sink }} takes no alerts of {{ $labels.instance }}',
        description: 'They wait and are tried again; nobody is told meanwhile.',
        runbook: 'see what the sink answers in `GET /v1/alerts`',
      }),
    );
  }
  if (judged) {
    const old = `time() - ${pulse} > ${String(DEAD_AFTER_S)}`;
    const stale = daemonRule('evaluation-old', 'critical', MINUTE_US, old, {
      summary: 'the gates of {{ $labels.instance }} were last evaluated {{ $value | humanizeDuration }} ago',
      description: 'What is scraped is old: a cache in between, a daemon that hangs, or a clock that is wrong.',
      runbook: 'hold the clocks of both machines against each other, and ask the daemon with `lockgate status`',
    });
    rules.splice(1, 0, stale);
  }
  return rules;
}

function daemonRule(
  name: string,
  severity: Severity,
  forUs: Us,
  expr: string,
  annotations: { summary: string; description: string; runbook: string },
): AlertingRule {
  return {
    alert: alertName(name),
    expr,
    ...(forUs === 0 ? {} : { for: promDuration(forUs) }),
    labels: { severity, component: 'lockgate' },
    annotations,
  };
}

/** No signal tells it: only the daemon that was asked to knows, and it keeps it until somebody has looked. */
function forced(migration: string): AlertingRule {
  return {
    alert: alertName('direction-forced'),
    expr: `max(lockgate_alert_firing{migration=${quoted(migration)},rule="direction-forced"}) == 1`,
    labels: { severity: 'critical', migration, rule: 'direction-forced' },
    annotations: {
      summary: `${migration}: the direction was changed by force, without a drained fence`,
      description: 'Writes may be missing on the side that serves now.',
      runbook: 'look for writes that were not carried over, then attest forced-change-reviewed',
    },
  };
}

/** A daemon is there and does not know the migration: the rules and the configuration have parted. */
function unwatched(migration: string): AlertingRule {
  return {
    alert: alertName('migration-unwatched'),
    expr: `max(absent(lockgate_direction{migration=${quoted(migration)}})) unless on () absent(lockgate_build_info)`,
    for: '1m',
    labels: { severity: 'critical', migration },
    annotations: {
      summary: `${migration}: no lockgate watches this migration`,
      description: 'Daemons answer, but none of them has this migration in its configuration.',
      runbook: 'if the migration is over, generate the rules again; else put it back into the configuration',
    },
  };
}

/** Fires in each window; Alertmanager inhibits by it whatever has the same `migration`. */
function maintenance(migration: string, windows: readonly MaintenanceWindow[]): AlertingRule {
  const notes = [...new Set(windows.map((w) => w.note).filter((note) => note !== ''))];
  return {
    alert: alertName('maintenance'),
    expr: windows
      .map(({ from, to }) => `vector(time()) >= ${String(from / 1_000)} < ${String(to / 1_000)}`)
      .join('\nor\n'),
    labels: { severity: 'info', migration },
    annotations: {
      summary: `${migration}: a maintenance window is open`,
      description: `Alerts of this migration are silent${notes.length === 0 ? '' : `: ${literal(notes.join('; '))}`}.`,
    },
  };
}

const recordings: readonly RecordingRule[] = [
  ...[0.5, 0.99].map((q) => ({
    record: `migration_link:lockgate_heartbeat_delay_seconds:p${String(q * 100)}_5m`,
    expr: `histogram_quantile(${String(q)}, sum by (migration, link, le) (rate(lockgate_heartbeat_delay_seconds_bucket[5m])))`,
  })),
  { record: 'migration_link:lockgate_lag_seconds:max', expr: 'max by (migration, link) (lockgate_lag_seconds)' },
  { record: 'migration_link:lockgate_backlog_bytes:max', expr: 'max by (migration, link) (lockgate_backlog_bytes)' },
  {
    record: 'migration_gate:lockgate_gate_open:ratio_1h',
    expr: 'min by (migration, gate) (avg_over_time(lockgate_gate_open[1h]))',
  },
  {
    record: 'migration:lockgate_lag_known:ratio_1h',
    expr: 'min by (migration) (avg_over_time(lockgate_signal_known{signal="active.lag"}[1h]))',
  },
];

/** Text for a template of Prometheus that is to be shown as it is. */
function literal(text: string): string {
  return text.replaceAll('{{', '{{ "{{" }}');
}

function render(groups: readonly RuleGroup[], config: Config): string {
  const document = new Document({ groups });
  document.commentBefore =
    ` Made by \`lockgate rules prometheus\` from ${config.file.replaceAll(/[^\x20-\x7e]/g, '?')}\n` +
    ` (SHA-256 ${config.hash}). Make it again when that changes; Prometheus 2.42 or newer.`;
  visit(document, {
    Scalar(key, node) {
      if (key === 'value' && typeof node.value === 'string' && node.value.includes('\n')) {
        node.type = Scalar.BLOCK_LITERAL;
      }
    },
  });
  return document.toString({ lineWidth: 0 });
}
