/** What the dashboards have in common: variables, annotations, and the links from one to the other. */
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import {
  AnnotationQueryBuilder,
  CustomVariableBuilder,
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  TextBoxVariableBuilder,
  VariableHide,
  VariableRefresh,
  VariableSort,
  type Dashboard,
  type Panel,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { COLOUR, DATASOURCE } from './look.js';
import { ofMigration } from './promql.js';

/** The dashboards, by the name of their file. */
export type Name = 'overview' | 'migration' | 'daemon';
/** Their addresses in Grafana, `/d/UID`; links and bookmarks rely on them. */
export const UID: Readonly<Record<Name, string>> = {
  overview: 'lockgate-overview',
  migration: 'lockgate-migration',
  daemon: 'lockgate-daemon',
};

const TITLES: Readonly<Record<Name, string>> = {
  overview: 'lockgate / overview',
  migration: 'lockgate / one migration',
  daemon: 'lockgate / daemons',
};

const ALL = { text: 'All', value: '$__all', selected: true };

/** Begins a dashboard: its address, its time, its links to the others, and the choice of a data source and of daemons. */
export function dashboard(name: Name, about: string): DashboardBuilder {
  const builder = new DashboardBuilder(TITLES[name])
    .uid(UID[name])
    .description(about)
    .tags(['lockgate'])
    .timezone('browser')
    .time({ from: 'now-1h', to: 'now' })
    .refresh('5s')
    .tooltip(DashboardCursorSync.Crosshair)
    .withVariable(new DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'))
    .withVariable(
      everyOne('job', 'label_values(lockgate_build_info, job)').label('job').hide(VariableHide.HideVariable),
    )
    .withVariable(
      everyOne('instance', 'label_values(lockgate_build_info{job=~"$job"}, instance)')
        .label('daemon')
        .description('Of several daemons the one that has the worst to say counts, unless one is chosen here.'),
    );
  for (const other of Object.keys(UID) as Name[]) {
    if (other === name) continue;
    builder.link(
      new DashboardLinkBuilder(TITLES[other])
        .type(DashboardLinkType.Link)
        .icon('dashboard')
        .url(`/d/${UID[other]}`)
        .keepTime(true)
        .includeVars(true)
        .targetBlank(false),
    );
  }
  return builder;
}

/** Several migrations, all of them unless some are chosen. */
export function migrationsVariable(): QueryVariableBuilder {
  return everyOne('migration', `label_values(lockgate_direction{${DAEMONS}}, migration)`).label('migration');
}

/** One migration. */
export function migrationVariable(): QueryVariableBuilder {
  return query('migration', `label_values(lockgate_direction{${DAEMONS}}, migration)`).label('migration');
}

/** Which links are drawn. */
export function linkVariable(): CustomVariableBuilder {
  return new CustomVariableBuilder('link')
    .label('link')
    .values('forward,reverse')
    .multi(true)
    .includeAll(true)
    .allValue('forward|reverse')
    .current(ALL)
    .options(['forward', 'reverse'].map((text) => ({ text, value: text, selected: false })));
}

/** The lag that a dashed line is drawn at; no metric tells what the gates ask for. */
export function limitVariable(): TextBoxVariableBuilder {
  return new TextBoxVariableBuilder('lag_limit')
    .label('lag limit (s)')
    .description(
      'Where the dashed line is drawn. It is not read from the configuration: write here what your gate asks for.',
    )
    .defaultValue('2')
    .current({ text: '2', value: '2' })
    .options([{ text: '2', value: '2', selected: true }]);
}

const DAEMONS = 'job=~"$job",instance=~"$instance"';

function query(name: string, text: string): QueryVariableBuilder {
  return new QueryVariableBuilder(name)
    .datasource(DATASOURCE)
    .query({ qryType: 1, query: text, refId: `variable-${name}` })
    .definition(text)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc);
}

function everyOne(name: string, text: string): QueryVariableBuilder {
  return query(name, text).multi(true).includeAll(true).allValue('.*').current(ALL);
}

/** Marks on every panel over time: a gate that opened, one that is open no more, and a change of direction. */
export function transitions(): AnnotationQueryBuilder[] {
  const moved = (selector: string): string => `changes(${selector}[$__rate_interval]) > 0`;
  const open = ofMigration('lockgate_gate_open');
  const direction = ofMigration('lockgate_direction');
  const is = (state: string, value: number): string =>
    `max by (migration, gate) (${state} == ${value} and ${moved(state)}) + ${1 - value}`;
  return [
    mark('gate opened', COLOUR.good, is(open, 1), '{{gate}} opened', '{{migration}}/{{gate}}'),
    mark(
      'gate no longer open',
      COLOUR.bad,
      is(open, 0),
      '{{gate}} is no longer open',
      '{{migration}}/{{gate}}: closed or unknown',
    ),
    mark(
      'direction changed',
      COLOUR.third,
      `max by (migration, direction) (${direction} == 1 and ${moved(direction)})`,
      'direction: {{direction}}',
      '{{migration}}',
    ),
  ];
}

function mark(name: string, colour: string, expr: string, title: string, text: string): AnnotationQueryBuilder {
  const target: Builder<Dataquery> = new DataqueryBuilder().datasource(DATASOURCE).expr(expr).range().refId('Anno');
  return new AnnotationQueryBuilder()
    .name(name)
    .datasource(DATASOURCE)
    .enable(true)
    .iconColor(colour)
    .target(target)
    .expr(expr)
    .step('5s')
    .titleFormat(title)
    .textFormat(text)
    .tagKeys('migration,gate,direction')
    .useValueForTime(false);
}

/** Numbers the panels from 1, as Grafana would; the same dashboard gets the same numbers. */
export function numbered(built: Dashboard): Dashboard {
  let id = 0;
  const number = (panels: readonly object[]): void => {
    for (const panel of panels as { id?: number; panels?: Panel[] }[]) {
      id += 1;
      panel.id = id;
      number(panel.panels ?? []);
    }
  };
  number(built.panels ?? []);
  return built;
}
