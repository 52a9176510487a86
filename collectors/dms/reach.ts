/** The ways to AWS. Apart from all else, because the SDK takes longer to load than most commands take as a whole. */
import type { Clock } from '../../daemon/core/clock.js';
import type { DmsConfig } from '../../daemon/core/config.js';
import type { AwsClients } from '../session/aws.js';
import { getMetricData, type MetricAnswer, type MetricQuery } from '../session/metric-data.js';
import { RequestRate } from '../session/request-rate.js';
import { DmsAsker } from './ask.js';

/** How the tasks of one link are asked about. */
export interface DmsReach {
  readonly asker: DmsAsker;
  /** See `getMetricData`. */
  readonly metrics: (
    queries: readonly MetricQuery[],
    between: { from: number; to: number },
    signal: AbortSignal,
  ) => Promise<MetricAnswer[]>;
}

/** Reaches every account and region with one pace for each. */
export class DmsReaches {
  private readonly rates = new Map<string, RequestRate>();

  constructor(
    private readonly clients: AwsClients,
    private readonly pace: () => RequestRate = () => new RequestRate(),
  ) {}

  /** What asks as configured. */
  of(dms: DmsConfig, clock: Clock): DmsReach {
    const account = JSON.stringify([dms.region, dms.assumeRole]);
    const rate = this.rates.get(account) ?? this.pace();
    this.rates.set(account, rate);
    // `endpoint` is DMS's; where CloudWatch's is another than AWS's own, the SDK is told by AWS_ENDPOINT_URL_CLOUDWATCH.
    const cloudwatch = this.clients.cloudwatch({ ...dms, endpoint: null });
    return {
      asker: new DmsAsker(this.clients.dms(dms), rate, clock),
      metrics: (queries, between, signal) => getMetricData(cloudwatch, queries, between, signal),
    };
  }
}
