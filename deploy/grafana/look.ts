/** How the dashboards look: colours that everybody can tell apart, each with a word beside it, and what every panel shares. */
import type { Builder, Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import * as common from '@grafana/grafana-foundation-sdk/common';
import {
  MappingType,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  type DynamicConfigValue,
  type Panel,
  type Threshold,
  type ValueMapping,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TimelineBuilder } from '@grafana/grafana-foundation-sdk/statetimeline';
import { PanelBuilder as TimeSeriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';
import { DIRECTION, FENCE, GATE, UNKNOWN } from './promql.js';

/** Okabe and Ito's palette, which the colour-blind can tell apart; `good` belongs to an open gate, and little else. */
export const COLOUR = {
  good: '#009E73',
  bad: '#D55E00',
  unknown: '#8C8C8C',
  first: '#56B4E9',
  second: '#E69F00',
  third: '#CC79A7',
  fourth: '#F0E442',
  plain: 'text',
} as const;

/** The Prometheus that is chosen above the dashboard. */
export const DATASOURCE: common.DataSourceRef = { type: 'prometheus', uid: '${datasource}' };

/** What a panel asks: its PromQL, and what each series is called. */
export interface Ask {
  readonly expr: string;
  readonly legend?: string;
  /** Names the query, and its column in a table. */
  readonly id?: string;
}

/** What every panel has. */
export interface Frame {
  readonly title: string;
  /** Says to a tired person what is seen, and what an empty place means. */
  readonly about: string;
  /** Of 24. */
  readonly width: number;
  readonly height: number;
}

/** A word and a colour for a number. */
export type Words = Readonly<Record<string, readonly [text: string, colour: string]>>;

const Q = `${UNKNOWN}`;
/** For a number that is `UNKNOWN` when nobody can tell. */
export const OR_UNKNOWN: Words = { [Q]: ['?', COLOUR.unknown] };
/** States of a gate. */
export const GATE_WORDS: Words = {
  [GATE.open]: ['OPEN', COLOUR.good],
  [GATE.closed]: ['closed', COLOUR.bad],
  [GATE.unknown]: ['?', COLOUR.unknown],
};
/** Directions. */
export const DIRECTION_WORDS: Words = {
  [DIRECTION.forward]: ['forward', COLOUR.first],
  [DIRECTION.reverse]: ['reverse', COLOUR.second],
  [DIRECTION.unknown]: ['?', COLOUR.unknown],
  [DIRECTION.disagree]: ['daemons disagree', COLOUR.bad],
};
/** States of a fence. */
export const FENCE_WORDS: Words = {
  [FENCE.closed]: ['closed', COLOUR.plain],
  [FENCE.cancelled]: ['cancelled', COLOUR.plain],
  [FENCE.drained]: ['DRAINED', COLOUR.good],
  [FENCE.placed]: ['placed', COLOUR.first],
  [FENCE.expired]: ['EXPIRED', COLOUR.second],
  [FENCE.unknown]: ['?', COLOUR.unknown],
  [FENCE.violated]: ['VIOLATED', COLOUR.bad],
};
/** A flag that ought to be 1. */
export const OUGHT: Words = { ...OR_UNKNOWN, 0: ['NO', COLOUR.bad], 1: ['yes', COLOUR.plain] };
/** A flag that ought to be 0. */
export const OUGHT_NOT: Words = { ...OR_UNKNOWN, 0: ['no', COLOUR.plain], 1: ['YES', COLOUR.bad] };

/** Value mappings of Grafana. */
export function mapped(words: Words): ValueMapping[] {
  const options = Object.entries(words).map(([value, [text, color]], index) => [value, { text, color, index }]);
  return [
    {
      type: MappingType.ValueToText,
      options: Object.fromEntries(options) as Record<string, { text: string; color: string }>,
    },
  ];
}

/** Colours by steps: below 0 it is unknown, from there as plain text, and bad from `bad` on. */
export function steps(bad: number | null): Threshold[] {
  const plain = [
    { value: null, color: COLOUR.unknown },
    { value: 0, color: COLOUR.plain },
  ];
  return bad === null ? plain : [...plain, { value: bad, color: COLOUR.bad }];
}

/** The same for a builder. */
export function thresholds(bad: number | null): ThresholdsConfigBuilder {
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps(bad));
}

/** A query over the time that is looked at. */
export function over({ expr, legend, id }: Ask, refId: string): DataqueryBuilder {
  const query = new DataqueryBuilder()
    .datasource(DATASOURCE)
    .expr(expr)
    .range()
    .refId(id ?? refId);
  return legend === undefined ? query : query.legendFormat(legend);
}

/** A query of this instant: a panel that took the last value there was in a range would show an old one as the present. */
export function now({ expr, legend, id }: Ask, refId: string, table = false): DataqueryBuilder {
  const query = new DataqueryBuilder()
    .datasource(DATASOURCE)
    .expr(expr)
    .instant()
    .refId(id ?? refId);
  if (table) query.format(PromQueryFormat.Table);
  return legend === undefined ? query : query.legendFormat(legend);
}

interface AnyPanel<Self> extends Builder<Panel> {
  title(title: string): Self;
  description(text: string): Self;
  datasource(ref: common.DataSourceRef): Self;
  span(width: number): Self;
  height(height: number): Self;
  noValue(text: string): Self;
  withTarget(target: Builder<Dataquery>): Self;
}

/** Gives a panel what every panel has; without any series it says "?", or what is written here. */
export function framed<T extends AnyPanel<T>>(panel: T, frame: Frame, empty = '?'): T {
  return panel
    .datasource(DATASOURCE)
    .title(frame.title)
    .description(frame.about)
    .span(frame.width)
    .height(frame.height)
    .noValue(empty);
}

/** Letters for queries. */
export function refId(index: number): string {
  return String.fromCharCode('A'.charCodeAt(0) + index);
}

/** One number, as it is now. */
export interface StatLook {
  readonly unit?: string;
  readonly words?: Words;
  /** From here on it is bad. */
  readonly bad?: number;
  readonly decimals?: number;
  readonly empty?: string;
}

/** A number or a word, large; nothing of it is coloured unless it is bad, unknown, or an open gate. */
export function stat(frame: Frame, asks: readonly Ask[], look: StatLook = {}): StatBuilder {
  const panel = framed(new StatBuilder(), frame, look.empty)
    .colorMode(common.BigValueColorMode.Value)
    .graphMode(common.BigValueGraphMode.None)
    .textMode(asks[0]?.legend === undefined ? common.BigValueTextMode.Value : common.BigValueTextMode.ValueAndName)
    .reduceOptions(new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false))
    .thresholds(thresholds(look.bad ?? null))
    .mappings(mapped(look.words ?? OR_UNKNOWN));
  if (look.unit !== undefined) panel.unit(look.unit);
  if (look.decimals !== undefined) panel.decimals(look.decimals);
  asks.forEach((ask, i) => panel.withTarget(now(ask, refId(i))));
  return panel;
}

/** States as coloured stretches with their words in them. */
export function timeline(frame: Frame, asks: readonly Ask[], words: Words): TimelineBuilder {
  const panel = framed(new TimelineBuilder(), frame)
    .mappings(mapped(words))
    .thresholds(thresholds(null))
    .showValue(common.VisibilityMode.Auto)
    .mergeValues(true)
    .rowHeight(0.85)
    .fillOpacity(85)
    .spanNulls(false)
    .legend(new common.VizLegendOptionsBuilder().showLegend(false));
  asks.forEach((ask, i) => panel.withTarget(over(ask, refId(i))));
  return panel;
}

/** How lines look. */
export interface LineLook {
  readonly unit: string;
  readonly stacked?: boolean;
  readonly max?: number;
  /** It may be below 0. */
  readonly negative?: boolean;
}

/** Lines with gaps where nothing is known: nothing is drawn across them. */
export function lines(frame: Frame, asks: readonly Ask[], look: LineLook): TimeSeriesBuilder {
  const panel = framed(new TimeSeriesBuilder(), frame)
    .unit(look.unit)
    .lineWidth(2)
    .fillOpacity(look.stacked === true ? 60 : 0)
    .showPoints(common.VisibilityMode.Auto)
    .spanNulls(false)
    .legend(
      new common.VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom)
        .calcs([]),
    )
    .tooltip(
      new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending),
    );
  if (look.stacked === true) panel.stacking(new common.StackingConfigBuilder().mode(common.StackingMode.Normal));
  if (look.max !== undefined) panel.max(look.max);
  if (look.negative !== true) panel.min(0);
  asks.forEach((ask, i) => panel.withTarget(over(ask, refId(i))));
  return panel;
}

/** A fixed colour for series. */
export function coloured(colour: string): DynamicConfigValue {
  return { id: 'color', value: { mode: 'fixed', fixedColor: colour } };
}

/** Forward and reverse in their colours, wherever a series is called by a name that begins so. */
export function byLink(panel: TimeSeriesBuilder): TimeSeriesBuilder {
  return panel
    .overrideByRegexp('/^forward/', [coloured(COLOUR.first)])
    .overrideByRegexp('/^reverse/', [coloured(COLOUR.second), dashed([8, 4])]);
}

/** Dashes tell lines apart without colour. */
export function dashed(dash: readonly number[]): DynamicConfigValue {
  return { id: 'custom.lineStyle', value: { fill: 'dash', dash: [...dash] } };
}

/** The line that a lag is held against. */
export const LIMIT_LINE: DynamicConfigValue[] = [
  coloured(COLOUR.third),
  dashed([10, 10]),
  { id: 'custom.lineWidth', value: 1 },
];

/** Draws the query of this name as grey bars from the bottom to the top: where something is unknown. */
export function greyed(panel: TimeSeriesBuilder, id: string): TimeSeriesBuilder {
  return panel.overrideByQuery(id, [
    coloured(COLOUR.unknown),
    { id: 'custom.drawStyle', value: 'bars' },
    { id: 'custom.fillOpacity', value: 35 },
    { id: 'custom.lineWidth', value: 0 },
    { id: 'custom.barWidthFactor', value: 1 },
    { id: 'custom.axisPlacement', value: 'hidden' },
    { id: 'unit', value: 'none' },
    { id: 'max', value: 1 },
    { id: 'mappings', value: mapped({ 1: ['?', COLOUR.unknown] }) },
  ]);
}
