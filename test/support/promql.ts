/** The PromQL that dashboards and rules ask, and what each expression is made of by Prometheus' own grammar. */
import { readFileSync, readdirSync } from 'node:fs';
import { parser } from '@prometheus-io/lezer-promql';
import { promRules } from './rules.js';

/** An expression and where it stands. */
export interface Asked {
  readonly where: string;
  readonly expr: string;
}

interface Target {
  refId?: string;
  expr?: string;
  instant?: boolean;
}

/** A panel as it stands in the JSON of a dashboard. */
export interface PanelJson {
  id: number;
  type: string;
  title: string;
  description?: string;
  targets?: Target[];
  panels?: PanelJson[];
  gridPos: { x: number; y: number; w: number; h: number };
  datasource?: { uid: string };
  fieldConfig?: { defaults: { unit?: string; noValue?: string } };
}

/** A dashboard as it stands in its file. */
export interface DashboardJson {
  uid: string;
  title: string;
  panels: PanelJson[];
  templating: { list: { name: string; type: string; query: unknown }[] };
  annotations: { list?: { name: string; expr?: string; target?: Target }[] };
  links: { url: string }[];
}

const FOLDER = new URL('../../deploy/grafana/dashboards/', import.meta.url);

/** The committed dashboards, by the name of their file. */
export function committedDashboards(): Map<string, DashboardJson> {
  const names = readdirSync(FOLDER).filter((name) => name.endsWith('.json'));
  return new Map(names.map((name) => [name, JSON.parse(readFileSync(new URL(name, FOLDER), 'utf8')) as DashboardJson]));
}

/** The panels of a dashboard, those in rows included, rows not. */
export function panelsOf(dashboard: DashboardJson): PanelJson[] {
  return dashboard.panels.flatMap((p) => [p, ...(p.panels ?? [])]).filter((p) => p.type !== 'row');
}

/** Every expression of a dashboard: of its panels, its annotations, and what its variables are filled from. */
export function asksOf(dashboard: DashboardJson): Asked[] {
  const asked: Asked[] = [];
  for (const panel of panelsOf(dashboard)) {
    for (const { refId = '?', expr = '' } of panel.targets ?? []) {
      asked.push({ where: `${dashboard.uid} / ${panel.title} / ${refId}`, expr });
    }
  }
  for (const { name, expr = '', target } of dashboard.annotations.list ?? []) {
    asked.push({ where: `${dashboard.uid} / annotation ${name}`, expr: target?.expr ?? expr });
  }
  for (const { name, query } of dashboard.templating.list) {
    const text = typeof query === 'object' && query !== null ? String((query as { query?: unknown }).query) : '';
    const values = /^label_values\((.+), \w+\)$/.exec(text)?.[1];
    if (values !== undefined) asked.push({ where: `${dashboard.uid} / variable ${name}`, expr: values });
  }
  return asked;
}

/** What Grafana puts in the place of variables. */
export interface Chosen {
  readonly migration: string;
  /** Of `rate` and its like. */
  readonly interval: string;
}

/** An expression with its variables filled in as Grafana would, everything being chosen but the migration; throws when one is left. */
export function filled(expr: string, { migration, interval }: Chosen): string {
  const values: Record<string, string> = {
    job: '.*',
    instance: '.*',
    migration,
    link: 'forward|reverse',
    lag_limit: '2',
    __rate_interval: interval,
  };
  return expr.replaceAll(/\$\{?(\w+)\}?/g, (_, name: string) => {
    const value = values[name];
    if (value === undefined) throw new Error(`nothing fills $${name} in ${expr}`);
    return value;
  });
}

/** Selectors of an expression with their matchers, without ranges; throws where it is no PromQL. */
export function selectorsOf(expr: string): string[] {
  const found: string[] = [];
  parser.parse(expr).iterate({
    enter(node) {
      if (node.type.isError) throw new SyntaxError(`no PromQL at ${node.from}: ${expr}`);
      if (node.name === 'VectorSelector') found.push(expr.slice(node.from, node.to));
    },
  });
  return found;
}

/** The names of metrics in an expression; throws where it is no PromQL, or where a selector names none. */
export function metricsOf(expr: string): Set<string> {
  return new Set(
    selectorsOf(expr).map((selector) => {
      const name = /^[a-zA-Z_:][\w:]*/.exec(selector)?.[0];
      if (name === undefined) throw new SyntaxError(`${selector} names no metric`);
      return name;
    }),
  );
}

/** What an expression asks of signals by their names: for each matcher a pattern for every alternative that it lists. */
export function signalsOf(expr: string): { alternatives: RegExp[] }[] {
  return selectorsOf(expr)
    .flatMap((selector) => [...selector.matchAll(/signal(=~?)"([^"]+)"/g)])
    .map(([, op, names = '']) => {
      if (op === '=') return { alternatives: [new RegExp(`^${names.replaceAll('.', '[.]')}$`)] };
      return { alternatives: expanded(names).map((one) => new RegExp(`^(?:${one})$`)) };
    });
}

/** `(a|b).c|d` as `a.c`, `b.c` and `d`. */
function expanded(names: string): string[] {
  const group = /\(([^()]*)\)/.exec(names);
  if (group === null) return names.split('|');
  const top = names.replaceAll(/\([^()]*\)/g, '').includes('|');
  if (top) {
    const at = names.lastIndexOf('|');
    if (!names.slice(at).includes(')')) return [...expanded(names.slice(0, at)), ...expanded(names.slice(at + 1))];
  }
  return (group[1] ?? '').split('|').flatMap((one) => expanded(names.replace(group[0], one)));
}

/** Every rule's expression: `record` has the name of its series, `alert` that of its alert. */
export function rulesAsk(text: string): { name: string; kind: 'record' | 'alert'; expr: string }[] {
  return promRules(text).map(({ record, alert = '', expr }) =>
    record === undefined ? { name: alert, kind: 'alert', expr } : { name: record, kind: 'record', expr },
  );
}
