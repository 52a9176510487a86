import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { DescribeReplicationTasksCommand } from '@aws-sdk/client-database-migration-service';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AwsClients } from '../../collectors/session/aws.js';

const ROLE = 'arn:aws:iam::123456789012:role/lockgate-reads-dms';
const SET = {
  AWS_ACCESS_KEY_ID: 'AKIDOWN',
  AWS_SECRET_ACCESS_KEY: 'own-secret',
  AWS_SESSION_TOKEN: undefined,
  AWS_ENDPOINT_URL_STS: undefined as string | undefined,
};

/** AssumeRole as the reference of STS describes its answer. */
const assumed = `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
  <Credentials><AccessKeyId>ASIATAKEN</AccessKeyId><SecretAccessKey>taken-secret</SecretAccessKey>
  <SessionToken>taken-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
  <AssumedRoleUser><AssumedRoleId>AROA:lockgate</AssumedRoleId><Arn>arn:aws:sts::123456789012:assumed-role/x/lockgate</Arn></AssumedRoleUser>
  </AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>`;
const denied = `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>AccessDenied</Code>
  <Message>User is not authorized to perform: sts:AssumeRole</Message></Error><RequestId>1</RequestId></ErrorResponse>`;

describe('a role to assume', () => {
  let server: Server;
  let url: string;
  let seen: { path: string; signedBy: string; token: string | undefined; body: string }[];
  let refuse: boolean;
  let clients: AwsClients;
  const before = Object.fromEntries(Object.keys(SET).map((name) => [name, process.env[name]]));
  const put = (values: Record<string, string | undefined>): void => {
    for (const [name, value] of Object.entries(values)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  };

  beforeEach(async () => {
    seen = [];
    refuse = false;
    server = createServer((request: IncomingMessage, response) => {
      void text(request).then((body) => {
        const signedBy = /Credential=([^/]+)\//.exec(request.headers.authorization ?? '')?.[1] ?? '';
        const token = request.headers['x-amz-security-token'];
        seen.push({ path: request.url ?? '', signedBy, token: typeof token === 'string' ? token : undefined, body });
        const ofSts = body.includes('Action=AssumeRole');
        response.statusCode = ofSts && refuse ? 403 : 200;
        response.setHeader('content-type', ofSts ? 'text/xml' : 'application/x-amz-json-1.1');
        response.end(ofSts ? (refuse ? denied : assumed) : '{"ReplicationTasks":[]}');
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    put({ ...SET, AWS_ENDPOINT_URL_STS: url });
    clients = new AwsClients();
  });
  afterEach(async () => {
    clients.close();
    put(before);
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  const ask = (): Promise<unknown> =>
    clients.dms({ region: 'eu-west-1', endpoint: url, assumeRole: ROLE }).send(new DescribeReplicationTasksCommand({}));

  it('is taken on with the credentials that are there, once, and its own sign what is asked', async () => {
    await ask();
    await ask();
    expect(seen.map(({ signedBy, token }) => [signedBy, token])).toEqual([
      ['AKIDOWN', undefined],
      ['ASIATAKEN', 'taken-token'],
      ['ASIATAKEN', 'taken-token'],
    ]);
    const form = new URLSearchParams(seen[0]?.body);
    expect(Object.fromEntries(form)).toMatchObject({
      Action: 'AssumeRole',
      RoleArn: ROLE,
      RoleSessionName: 'lockgate',
    });
  });

  it('that may not be taken on fails, and DMS is not asked as somebody else', async () => {
    refuse = true;
    await expect(ask()).rejects.toMatchObject({ name: 'AccessDenied' });
    expect(seen.map((s) => s.signedBy)).toEqual(['AKIDOWN']);
  });
});
