/**
 * The one place where clients of AWS are made. Every client has timeouts that really end a request, few retries of its own,
 * and keeps its connections; clients of the same service, region, endpoint and role are one.
 */
import { CloudWatchClient } from '@aws-sdk/client-cloudwatch';
import { DatabaseMigrationServiceClient } from '@aws-sdk/client-database-migration-service';
import { fromTemporaryCredentials } from '@aws-sdk/credential-providers';
import type { AwsConfig } from '../../daemon/core/config.js';

/** A connection that is not there after this long is none. */
const CONNECTION_MS = 3_000;
/** The longest that one try of a request may take. */
const REQUEST_MS = 10_000;
/** Tries of one request to CloudWatch, the first included; the callers have a backoff of their own. */
const ATTEMPTS = 3;
/** To DMS only one: each try counts for its limit of requests, so that whoever asks paces them all himself. */
const DMS_ATTEMPTS = 1;

/** Makes clients of AWS and closes them all. */
export class AwsClients {
  private readonly dmsClients = new Map<string, DatabaseMigrationServiceClient>();
  private readonly cloudwatchClients = new Map<string, CloudWatchClient>();

  /** The client of DMS for what is configured. */
  dms(config: AwsConfig): DatabaseMigrationServiceClient {
    return once(this.dmsClients, config, () => new DatabaseMigrationServiceClient(settings(config, DMS_ATTEMPTS)));
  }

  /** The client of CloudWatch for what is configured. */
  cloudwatch(config: AwsConfig): CloudWatchClient {
    return once(this.cloudwatchClients, config, () => new CloudWatchClient(settings(config, ATTEMPTS)));
  }

  /** Closes all connections; a client that is asked for again is made anew. */
  close(): void {
    for (const client of [...this.dmsClients.values(), ...this.cloudwatchClients.values()]) client.destroy();
    this.dmsClients.clear();
    this.cloudwatchClients.clear();
  }
}

function once<T>(clients: Map<string, T>, { region, endpoint, assumeRole }: AwsConfig, make: () => T): T {
  const key = JSON.stringify([region, endpoint, assumeRole]);
  let client = clients.get(key);
  if (client === undefined) clients.set(key, (client = make()));
  return client;
}

function settings({ region, endpoint, assumeRole }: AwsConfig, maxAttempts: number) {
  return {
    region,
    ...(endpoint === null ? {} : { endpoint }),
    ...(assumeRole === null
      ? {}
      : {
          credentials: fromTemporaryCredentials({
            params: { RoleArn: assumeRole, RoleSessionName: 'lockgate' },
            clientConfig: { region },
          }),
        }),
    maxAttempts,
    requestHandler: { connectionTimeout: CONNECTION_MS, requestTimeout: REQUEST_MS, throwOnRequestTimeout: true },
  };
}
