/** The documented limits of the operations that lockgate uses, which the API models do not tell; a clause for each one passed. */
import type { PutDatum } from './cloudwatch-world.js';

type Datum = Omit<PutDatum, 'Namespace'> & { StatisticValues?: object };

interface MetricQuery {
  Id: string;
  Expression?: string;
  Period?: number;
  MetricStat?: { Period: number; Stat: string; Metric: { Namespace?: string; MetricName?: string } };
}

const MIB = 1024 * 1024;
const UNITS = new Set(
  (
    'Seconds Microseconds Milliseconds Bytes Kilobytes Megabytes Gigabytes Terabytes Bits Kilobits Megabits Gigabits Terabits ' +
    'Percent Count Bytes/Second Kilobytes/Second Megabytes/Second Gigabytes/Second Terabytes/Second Bits/Second ' +
    'Kilobits/Second Megabits/Second Gigabits/Second Terabits/Second Count/Second None'
  ).split(' '),
);

/** What a request of PutMetricData breaks; `sentBytes` is its size on the wire, `now` in seconds since 1970. */
export function putMetricDataLimits(
  input: { Namespace: string; MetricData: readonly Datum[] },
  sentBytes: number,
  now: number,
): string[] {
  const { Namespace: namespace, MetricData: data } = input;
  return [
    ...(sentBytes > MIB ? [`a request of ${sentBytes} bytes is above 1 MB`] : []),
    ...(namespace.length < 1 || namespace.length > 255 || namespace.startsWith(':')
      ? ['Namespace: not a namespace']
      : []),
    ...(namespace.startsWith('AWS/') ? ['Namespace: AWS/ is for AWS'] : []),
    ...(data.length > 1000 ? [`${data.length} metrics are above 1000`] : []),
    ...(data.length === 0 ? ['MetricData: is empty'] : []),
    ...data.flatMap((datum, i) => datumLimits(datum, now).map((clause) => `MetricData[${i}]: ${clause}`)),
  ];
}

function datumLimits(d: Datum, now: number): string[] {
  const dimensions = d.Dimensions ?? [];
  const values = d.Values ?? [];
  const given = [d.Value, d.Values, d.StatisticValues].filter((v) => v !== undefined).length;
  const at = d.Timestamp;
  const numbers = [d.Value ?? 0, ...values];
  return [
    ...(given === 1 ? [] : ['exactly one of Value, Values and StatisticValues is wanted']),
    ...(d.MetricName.length < 1 || d.MetricName.length > 255 ? ['MetricName: 1 to 255 characters'] : []),
    ...(dimensions.length > 30 ? [`${dimensions.length} dimensions are above 30`] : []),
    ...(new Set(dimensions.map((x) => x.Name)).size < dimensions.length ? ['a dimension stands twice'] : []),
    ...dimensions.flatMap((x) => [
      ...(x.Name.length < 1 || x.Name.length > 255 || x.Name.startsWith(':') ? ['a dimension with a bad name'] : []),
      ...(x.Value.trim().length < 1 || x.Value.length > 1024 ? ['a dimension with a bad value'] : []),
      ...(hasOtherThanAscii(x.Name + x.Value) ? ['a dimension with other characters than ASCII'] : []),
    ]),
    ...(values.length > 150 ? [`${values.length} values are above 150`] : []),
    ...(d.Counts !== undefined && d.Counts.length !== values.length ? ['as many Counts as Values are wanted'] : []),
    ...(numbers.some((v) => !Number.isFinite(v) || Math.abs(v) > 2 ** 360) ? ['a value out of range'] : []),
    ...(at !== undefined && at < now - 14 * 86_400 ? ['Timestamp: more than two weeks ago'] : []),
    ...(at !== undefined && at > now + 2 * 3_600 ? ['Timestamp: more than two hours ahead'] : []),
    ...(d.Unit !== undefined && !UNITS.has(d.Unit) ? [`Unit: no unit ${d.Unit}`] : []),
    ...(d.StorageResolution !== undefined && ![1, 60].includes(d.StorageResolution)
      ? ['StorageResolution: 1 or 60']
      : []),
  ];
}

/** Printable ASCII only. */
function hasOtherThanAscii(text: string): boolean {
  return !/^[\x20-\x7e]*$/.test(text);
}

/** What a request of GetMetricData breaks. */
export function getMetricDataLimits(input: {
  MetricDataQueries: readonly MetricQuery[];
  StartTime: number;
  EndTime: number;
  MaxDatapoints?: number;
  ScanBy?: string;
}): string[] {
  const queries = input.MetricDataQueries;
  return [
    ...(queries.length > 500 ? [`${queries.length} queries are above 500`] : []),
    ...(queries.length === 0 ? ['MetricDataQueries: is empty'] : []),
    ...(input.StartTime >= input.EndTime ? ['StartTime: not before EndTime'] : []),
    ...((input.MaxDatapoints ?? 1) > 100_800 ? ['MaxDatapoints: at most 100800'] : []),
    ...(['TimestampAscending', 'TimestampDescending', undefined].includes(input.ScanBy) ? [] : ['ScanBy: unknown']),
    ...(new Set(queries.map((q) => q.Id)).size < queries.length ? ['an Id stands twice'] : []),
    ...queries.flatMap((q, i) => queryLimits(q).map((clause) => `MetricDataQueries[${i}]: ${clause}`)),
  ];
}

function queryLimits(q: MetricQuery): string[] {
  const period = q.MetricStat?.Period ?? q.Period ?? 60;
  return [
    ...(/^[a-z][a-zA-Z0-9_]{0,254}$/.test(q.Id) ? [] : [`Id: ${q.Id} is none`]),
    ...((q.Expression === undefined) === (q.MetricStat === undefined)
      ? ['either Expression or MetricStat is wanted']
      : []),
    ...([1, 5, 10, 20, 30].includes(period) || (period > 0 && period % 60 === 0) ? [] : [`Period: ${period} is none`]),
  ];
}

/** By operation: the least and the greatest MaxRecords, and how many are answered without one. */
const MAX_RECORDS: Readonly<Record<string, { least: number; most: number }>> = {
  DescribeTableStatistics: { least: 20, most: 500 },
  DescribeReplicationTableStatistics: { least: 20, most: 500 },
};

/** What the paging of a Describe operation of DMS breaks. */
export function pagingLimits(operation: string, input: { MaxRecords?: number }): string[] {
  const { least, most } = MAX_RECORDS[operation] ?? { least: 20, most: 100 };
  const wanted = input.MaxRecords;
  if (wanted === undefined || (wanted >= least && wanted <= most)) return [];
  return [`MaxRecords: ${wanted} is not between ${least} and ${most}`];
}
