import { RDS } from 'aws-sdk';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { passwordFor } from '../../collectors/session/password.js';
import { load, problemsIn } from '../unit/config-inputs.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';

const KEYS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'secret-example' };
const SET = {
  AWS_ACCESS_KEY_ID: KEYS.accessKeyId as string | undefined,
  AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey as string | undefined,
  AWS_SESSION_TOKEN: undefined,
  AWS_PROFILE: undefined,
  AWS_CONFIG_FILE: '/nowhere',
  AWS_SHARED_CREDENTIALS_FILE: '/nowhere',
  AWS_EC2_METADATA_DISABLED: 'true',
};
const text = (url: string, tls: string): string =>
  [
    'databases:',
    '  onprem: { engine: postgres, url: "postgres://lockgate@localhost/app" }',
    `  aws: { engine: postgres, url: "${url}", password: { rds_iam: { region: eu-west-1 } }, tls: { mode: ${tls} } }`,
    'migrations:',
    '  shop: { source: onprem, target: aws, forward: { via: postgres-logical, subscription: s } }',
    '',
  ].join('\n');
const HOST = 'db.abc.eu-west-1.rds.amazonaws.com';

describe('signing in to RDS with tokens of IAM', () => {
  const before = Object.fromEntries(Object.keys(SET).map((name) => [name, process.env[name]]));
  const put = (values: Record<string, string | undefined>): void => {
    for (const [name, value] of Object.entries(values)) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  };
  beforeEach(() => put(SET));
  afterEach(() => {
    vi.useRealTimers();
    put(before);
  });

  const database = (): DatabaseConfig => {
    const config = load(text(`postgres://lock%40gate@${HOST}:5433/app`, 'verify-full'));
    const found = config.databases.get('aws');
    if (found === undefined) throw new Error('no database');
    return found;
  };

  it('makes the token that the other SDK of AWS makes of the same keys, host, port, user and time, anew for each session', async () => {
    const db = database();
    expect(db).toMatchObject({ password: null, rdsIam: { region: 'eu-west-1' } });
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-12-01T01:02:03Z') });
    const other = new RDS.Signer({
      region: 'eu-west-1',
      hostname: HOST,
      port: 5433,
      username: 'lock@gate',
      credentials: KEYS as never,
    });
    const theirs = new URL(`https://${other.getAuthToken({})}`);
    const first = await passwordFor(db);
    const ours = new URL(`https://${first ?? ''}`);
    expect(ours.host).toBe(theirs.host);
    expect(ours.searchParams.get('DBUser')).toBe('lock@gate');
    for (const name of ['Action', 'X-Amz-Expires', 'X-Amz-Date', 'X-Amz-Credential']) {
      expect([name, ours.searchParams.get(name)]).toEqual([name, theirs.searchParams.get(name)]);
    }
    expect(ours.searchParams.get('X-Amz-Signature')).toBe(theirs.searchParams.get('X-Amz-Signature'));
    vi.setSystemTime(new Date('2026-12-01T01:20:00Z'));
    expect(await passwordFor(db)).not.toBe(first);
    expect(JSON.stringify(db)).not.toContain('X-Amz');
  });

  it('says what is missing when there are no credentials, and never what they are', async () => {
    put({ AWS_ACCESS_KEY_ID: undefined, AWS_SECRET_ACCESS_KEY: undefined });
    await expect(passwordFor(database())).rejects.toMatchObject({
      code: 'rds_iam_credentials',
      message: expect.stringMatching(/no token of IAM could be made/) as string,
      hint: expect.stringContaining('rds-db:connect') as string,
    });
  });

  it('is refused without TLS, and beside a password', () => {
    expect(problemsIn(text(`postgres://lockgate@${HOST}/app`, 'prefer')).join()).toMatch(/over TLS only/);
    expect(problemsIn(text(`postgres://lockgate:pw@${HOST}/app`, 'require')).join()).toMatch(/in the URL as well/);
  });
});
