/** What the fake CloudWatch holds: what was put into it, and the series that tests let it answer. */
import { AwsError } from './aws-error.js';

/** One metric of one PutMetricData, as it was put. */
export interface PutDatum {
  Namespace: string;
  MetricName: string;
  Dimensions?: readonly { Name: string; Value: string }[];
  /** Epoch seconds. */
  Timestamp?: number;
  Value?: number;
  Values?: readonly number[];
  Counts?: readonly number[];
  Unit?: string;
  StorageResolution?: number;
}

/** A series that GetMetricData answers to the query with exactly this namespace, metric and dimensions. */
export interface Series {
  namespace: string;
  metric: string;
  dimensions: Readonly<Record<string, string>>;
  /** Only for this statistic; left out for every one. */
  stat?: string;
  points: readonly { at: Date; value: number }[];
  /** `Complete` when left out; `InternalError`, `Forbidden` and `PartialData` are others. */
  status?: string;
}

interface Query {
  Id: string;
  Label?: string;
  Expression?: string;
  ReturnData?: boolean;
  MetricStat?: {
    Stat: string;
    Period: number;
    Metric: { Namespace?: string; MetricName?: string; Dimensions?: readonly { Name: string; Value: string }[] };
  };
}

/** See above. */
export class CloudWatchWorld {
  /** Everything that was put, oldest first. */
  readonly stored: PutDatum[] = [];
  /** What is answered; a query that matches none of them is answered with no points, as CloudWatch does. */
  series: Series[] = [];
  /** Results on a page. */
  pageSize = Infinity;

  put(input: Record<string, unknown>): object {
    const { Namespace, MetricData } = input as { Namespace: string; MetricData: Omit<PutDatum, 'Namespace'>[] };
    this.stored.push(...MetricData.map((datum) => ({ Namespace, ...datum })));
    return {};
  }

  answer(input: Record<string, unknown>): object {
    const { MetricDataQueries, StartTime, EndTime, NextToken, ScanBy } = input as {
      MetricDataQueries: Query[];
      StartTime: number;
      EndTime: number;
      NextToken?: string;
      ScanBy?: string;
    };
    const start = NextToken === undefined ? 0 : Number(NextToken);
    if (!Number.isInteger(start)) throw new AwsError('InvalidParameterValue', 'NextToken: not one of ours');
    const all = MetricDataQueries.filter((q) => q.ReturnData !== false).map((query) => {
      const found = this.series.find((s) => matches(s, query));
      const points = (found?.points ?? [])
        .filter(({ at }) => at.getTime() / 1000 >= StartTime && at.getTime() / 1000 < EndTime)
        .sort((a, b) => (ScanBy === 'TimestampAscending' ? 1 : -1) * (a.at.getTime() - b.at.getTime()));
      return {
        Id: query.Id,
        Label: query.Label ?? query.MetricStat?.Metric.MetricName ?? query.Id,
        Timestamps: points.map((p) => p.at),
        Values: points.map((p) => p.value),
        StatusCode: found?.status ?? 'Complete',
      };
    });
    const end = start + this.pageSize;
    return {
      MetricDataResults: all.slice(start, end),
      Messages: [],
      ...(end < all.length ? { NextToken: String(end) } : {}),
    };
  }
}

function matches(series: Series, { MetricStat: wanted }: Query): boolean {
  if (wanted?.Metric.Namespace !== series.namespace || wanted.Metric.MetricName !== series.metric) return false;
  if (series.stat !== undefined && series.stat !== wanted.Stat) return false;
  const asked = wanted.Metric.Dimensions ?? [];
  return (
    asked.length === Object.keys(series.dimensions).length &&
    asked.every(({ Name, Value }) => series.dimensions[Name] === Value)
  );
}
