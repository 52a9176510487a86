/** Panels that more than one dashboard has. */
import type { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import type { PanelBuilder as TimeSeriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';
import { byLink, greyed, LIMIT_LINE, lines, now, refId, valueOf, type Ask, type Frame } from './look.js';
import { fresh, ofMigration, unknownSignals } from './promql.js';

/** The lag of each link by its heartbeat, of several daemons the worst. */
export const HEARTBEAT_LAG: Ask = {
  expr: `max by (link) (${fresh(ofMigration('lockgate_lag_seconds', 'link=~"$link"'))})`,
  legend: '{{link}}',
};

/** A lag with the line that it is held against, and grey where these signals are unknown. */
export function againstLimit(frame: Frame, lag: Ask, signals: string): TimeSeriesBuilder {
  const asks: Ask[] = [
    lag,
    { expr: 'vector($lag_limit)', legend: 'lag limit', id: 'limit' },
    { expr: unknownSignals(signals), legend: '{{signal}} unknown', id: 'unknown' },
  ];
  return greyed(byLink(lines(frame, asks, { unit: 's' })).overrideByQuery('limit', LIMIT_LINE), 'unknown');
}

/** Makes one table of several questions: a row for each value of the label `by`, and a column for each question by its name. */
export function joined(
  panel: TableBuilder,
  by: string,
  columns: readonly { readonly name: string; readonly expr: string }[],
): TableBuilder {
  columns.forEach(({ expr }, i) => panel.withTarget(now({ expr }, refId(i), true)));
  const values = columns.map((_, i) => valueOf(i));
  return panel.withTransformation({ id: 'merge', options: {} }).withTransformation({
    id: 'organize',
    options: {
      excludeByName: { Time: true },
      indexByName: Object.fromEntries([by, ...values].map((name, i) => [name, i])),
      renameByName: Object.fromEntries(columns.map(({ name }, i) => [valueOf(i), name])),
    },
  });
}
