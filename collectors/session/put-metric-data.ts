import { PutMetricDataCommand, type CloudWatchClient, type MetricDatum } from '@aws-sdk/client-cloudwatch';
import { awsError } from './aws-errors.js';

/** Puts one request's worth of numbers; rejects with a LockgateError of the codes of `awsError`, or when `signal` aborts. */
export async function putMetricData(
  client: CloudWatchClient,
  namespace: string,
  data: readonly MetricDatum[],
  signal: AbortSignal,
): Promise<void> {
  const command = new PutMetricDataCommand({ Namespace: namespace, MetricData: [...data] });
  try {
    await client.send(command, { abortSignal: signal });
  } catch (error) {
    throw awsError(error, 'cloudwatch:PutMetricData');
  }
}
