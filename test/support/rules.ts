/** Definitions for other alerting systems as the command makes them, and promtool's own unit tests over them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { createBackend } from '../../daemon/app.js';
import type { RulesFor } from '../../daemon/cli/backend.js';
import type { Config } from '../../daemon/core/config.js';
import { LazyAws } from '../../collectors/session/lazy-aws.js';
import { FakeClock } from './fake-clock.js';
import { runTool } from './prometheus.js';

/** What `lockgate rules …` prints for a configuration. */
export function rulesText(config: Config, what: RulesFor = { kind: 'prometheus', job: 'lockgate' }): Promise<string> {
  const log = { debug: ignore, info: ignore, warn: ignore, error: ignore };
  const options = { clock: new FakeClock(), env: {}, nodeVersion: 'v20.0.0', version: '0.0.0-test', log };
  return createBackend({ ...options, engines: [], services: [], aws: new LazyAws() }).rules(config, what);
}

function ignore(): void {
  // Nobody reads it.
}

/** The beginning of a configuration: two databases, and of the migration `shop` all but its links and gates. */
export const shopBegins = `
databases:
  onprem: { engine: postgres, url: "postgres://l:p@db/app?sslmode=disable" }
  aws: { engine: postgres, url: "postgres://l:p@db2/app?sslmode=disable" }
migrations:
  shop:
    source: onprem
    target: aws`;

/** A rule as it stands in a rules file. */
export interface PromRule {
  alert?: string;
  record?: string;
  expr: string;
  for?: string;
  keep_firing_for?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
}

/** All rules of a rules file. */
export function promRules(text: string): PromRule[] {
  return (parse(text) as { groups: { rules: PromRule[] }[] }).groups.flatMap((group) => group.rules);
}

/** The alerting rule of a name; throws when there is none. */
export function alertOf(text: string, name: string): PromRule {
  const found = promRules(text).find((rule) => rule.alert === name);
  if (found === undefined) throw new Error(`there is no rule ${name}`);
  return found;
}

/** Time passes in steps of this in promtool's tests; rules are evaluated as often. */
export const stepS = 15;

/** What fires at an instant: for each alert the texts its templates become, in order, and labels besides the rule's own. */
export interface Expected {
  /** Seconds from the beginning. */
  at: number;
  firing: Record<string, { now?: string; labels?: Record<string, string> }[]>;
}

/**
 * Runs `promtool test rules`: `series` are its input series in its own notation, a value every 15 s, and at each instant
 * every alert of the file that is not named must not fire. Throws with what promtool says.
 */
export async function promtoolTest(text: string, series: Record<string, string>, expected: Expected[]): Promise<void> {
  const names = [...new Set(promRules(text).flatMap((rule) => (rule.alert === undefined ? [] : [rule.alert])))];
  await promtoolRules(text, series, {
    alert_rule_test: expected.flatMap(({ at, firing }) =>
      names.map((name) => ({
        eval_time: `${at}s`,
        alertname: name,
        exp_alerts: (firing[name] ?? []).map((one) => {
          const { labels = {}, annotations = {} } = alertOf(text, name);
          return {
            exp_labels: { ...labels, ...one.labels },
            exp_annotations: Object.fromEntries(
              Object.entries(annotations).map(([key, value]) => [key, rendered(value, one)]),
            ),
          };
        }),
      })),
    ),
  });
}

/** What an expression yields at an instant: the value by its labels, as Prometheus writes both (`{gate="a"}`). */
export interface ExpectedSamples {
  readonly expr: string;
  /** Seconds from the beginning. */
  readonly at: number;
  readonly samples: Readonly<Record<string, number>>;
}

/** Runs `promtool test rules` over expressions and `series` in its own notation, a value every 15 s; throws with what it says. */
export async function promtoolExpressions(series: Record<string, string>, expected: ExpectedSamples[]): Promise<void> {
  await promtoolRules('groups: []\n', series, {
    promql_expr_test: expected.map(({ expr, at, samples }) => ({
      expr,
      eval_time: `${at}s`,
      exp_samples: Object.entries(samples).map(([labels, value]) => ({ labels, value })),
    })),
  });
}

/** One test of promtool over a rules file; `part` is what it expects. */
async function promtoolRules(text: string, series: Record<string, string>, part: object): Promise<void> {
  await withRules(text, async (folder, file) => {
    const input = Object.entries(series).map(([name, values]) => ({ series: name, values }));
    const test = {
      rule_files: [file],
      evaluation_interval: `${stepS}s`,
      tests: [{ interval: `${stepS}s`, input_series: input, ...part }],
    };
    // JSON is YAML.
    const testFile = join(folder, 'test.yml');
    writeFileSync(testFile, JSON.stringify(test));
    await promtool(['test', 'rules', testFile]);
  });
}

/** Runs `promtool check rules`; throws with what it says when it finds anything. */
export async function promtoolCheck(text: string): Promise<void> {
  await withRules(text, (_, file) => promtool(['check', 'rules', '--lint-fatal', file]));
}

async function promtool(args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await runTool('promtool', args);
  if (code !== 0) throw new Error(`promtool ended with ${String(code)}:\n${stdout}${stderr}`);
}

async function withRules(text: string, work: (folder: string, file: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'lockgate-rules-'));
  const file = join(folder, 'rules.yml');
  try {
    writeFileSync(file, text);
    await work(folder, file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function rendered(template: string, one: { now?: string; labels?: Record<string, string> }): string {
  return template
    .replace(/\{\{ with query .*\{\{ end \}\}/, one.now ?? '')
    .replace(/\{\{ \$value \| humanizeDuration \}\}/, one.now ?? '')
    .replaceAll(/\{\{ \$labels\.(\w+) \}\}/g, (_, label: string) => one.labels?.[label] ?? '');
}
