import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { connect } from '../../collectors/postgres/connection.js';
import { passwordFor } from '../../collectors/session/password.js';
import type { DatabaseConfig, Secret, TlsConfig } from '../../daemon/core/config.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';

let folder: string;
let secure: PostgresServer;
let plain: PostgresServer;

/** Makes an authority, and a certificate that it signed for the name localhost only. */
function certificates(): void {
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' });
  const ca = ['-x509', '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=test authority', '-days', '2'];
  openssl('req', '-newkey', 'rsa:2048', '-nodes', ...ca);
  openssl('req', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'db.key', '-out', 'db.csr', '-subj', '/CN=localhost');
  execFileSync('sh', ['-c', 'echo subjectAltName=DNS:localhost > ext'], { cwd: folder });
  const sign = ['-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-extfile', 'ext', '-days', '2'];
  openssl('x509', '-req', '-in', 'db.csr', ...sign, '-out', 'db.pem');
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'lockgate-tls-'));
  certificates();
  const tls = { cert: join(folder, 'db.pem'), key: join(folder, 'db.key') };
  secure = await startPostgres({ name: 'secure', tls });
  plain = await startPostgres({ name: 'plain' });
});
afterAll(async () => {
  await Promise.all([secure.destroy(), plain.destroy()]);
  rmSync(folder, { recursive: true });
});

function secret(text: string): Secret {
  return { reveal: () => text, toString: () => '[secret]', toJSON: () => '[secret]' };
}

type Address = DatabaseConfig['address'];

function config(server: PostgresServer, tls: Partial<TlsConfig> = {}, address: Partial<Address> = {}): DatabaseConfig {
  return {
    name: 'onprem',
    engine: 'postgres',
    address: { host: '127.0.0.1', port: server.port, database: 'postgres', user: 'postgres', ...address },
    password: secret(server.password),
    tls: { mode: 'disable', ca: null, cert: null, key: null, ...tls },
    read: 'off',
  };
}

async function encrypted(db: DatabaseConfig): Promise<boolean | undefined> {
  const connection = await connect(db, { applicationName: 'lockgate/test/tls' });
  try {
    expect(connection.serverVersion).toBeGreaterThan(100_000);
    const sql = 'SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()';
    return (await connection.query<{ ssl: boolean }>(sql))[0]?.ssl;
  } finally {
    await connection.close();
  }
}

const localhost = { host: 'localhost' };

test('each TLS mode demands what libpq demands', async () => {
  const ca = join(folder, 'ca.pem');
  expect(await encrypted(config(secure, { mode: 'disable' }))).toBe(false);
  expect(await encrypted(config(secure, { mode: 'prefer' }))).toBe(true);
  expect(await encrypted(config(plain, { mode: 'prefer' }))).toBe(false);
  expect(await encrypted(config(secure, { mode: 'require' }))).toBe(true);
  expect(await encrypted(config(secure, { mode: 'verify-ca', ca }))).toBe(true);
  expect(await encrypted(config(secure, { mode: 'verify-full', ca }, localhost))).toBe(true);
});

test.each([
  ['no TLS', () => config(plain, { mode: 'require' }), 'SourceError', 'tls_refused'],
  ['the name', () => config(secure, { mode: 'verify-full', ca: join(folder, 'ca.pem') }), 'SourceError', 'tls_name'],
  ['the chain', () => config(secure, { mode: 'verify-ca' }), 'SourceError', 'tls_chain'],
  ['no such file', () => config(secure, { mode: 'verify-ca', ca: '/nowhere' }), 'SourceError', 'tls_file'],
  ['no database', () => config(plain, {}, { database: 'nope' }), 'SourceError', 'pg_no_database'],
  ['no listener', () => config(plain, {}, { port: 1 }), 'TransientError', 'connection_refused'],
  [
    'no listener on any address',
    () => config(plain, {}, { port: 1, ...localhost }),
    'TransientError',
    'connection_refused',
  ],
  ['no password', () => ({ ...config(plain), password: null }), 'SourceError', 'pg_no_password'],
  ['a wrong password', () => ({ ...config(plain), password: secret('hunter2') }), 'SourceError', 'pg_wrong_password'],
] as const)('says what is wrong: %s', async (_, db, name, code) => {
  const error = await connect(db(), { applicationName: 'x' }).then(
    () => null,
    (e: unknown) => e as Error & { code: string; hint: string },
  );
  expect(error).toMatchObject({ name, code });
  expect(error?.message).toMatch(/^onprem \(database \w+ on (127\.0\.0\.1|localhost):\d+\): ./);
  expect(`${String(error?.message)} ${String(error?.hint)}`).not.toMatch(new RegExp(`hunter2|${plain.password}`));
  expect(error?.hint).toBeTruthy();
});

test('a server that accepts and says nothing is given up on, and so is one when we are to stop', async () => {
  const mute = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => mute.once('listening', done));
  const { port } = mute.address() as AddressInfo;
  for (const mode of ['disable', 'prefer'] as const) {
    const db = config(plain, { mode }, { port });
    const started = performance.now();
    await expect(connect(db, { applicationName: 'x', connectTimeoutMs: 200 })).rejects.toMatchObject({
      code: 'connect_timeout',
    });
    expect(performance.now() - started).toBeLessThan(1_000);
    await expect(connect(db, { applicationName: 'x' }, AbortSignal.timeout(100))).rejects.toMatchObject({
      code: 'aborted',
    });
  }
  mute.close();
});

test('an answer that does not come destroys the session, and its loss is told once', async () => {
  const connection = await connect(config(plain), { applicationName: 'x' });
  const losses: Error[] = [];
  connection.onLost((error) => losses.push(error));
  const after = connection.query('SELECT 1');
  await expect(connection.query('SELECT pg_sleep(5)', undefined, { timeoutMs: 100 })).rejects.toMatchObject({
    code: 'query_timeout',
  });
  await expect(after).resolves.toHaveLength(1);
  await expect(connection.query('SELECT 1')).rejects.toMatchObject({ code: 'query_timeout' });
  expect(losses).toEqual([connection.lost]);
  await connection.close();
  await connection.close();
});

test('errors of a statement leave the session usable, those that end it do not', async () => {
  const connection = await connect(config(plain), { applicationName: 'x', statementTimeoutMs: 100 });
  await expect(connection.query('SELECT nothing')).rejects.toMatchObject({
    code: 'pg_missing_column',
    name: 'SourceError',
  });
  await expect(connection.query('SELECT pg_sleep(5)')).rejects.toMatchObject({ code: 'pg_statement_timeout' });
  expect(await connection.query<{ one: number }>('SELECT $1::int AS one', [1])).toEqual([{ one: 1 }]);
  await expect(connection.query('SELECT pg_terminate_backend(pg_backend_pid())')).rejects.toMatchObject({
    code: 'pg_shutdown',
  });
  expect(connection.lost).not.toBeNull();
  await connection.close();
});

test('a token of IAM is made for the session and logs in, by TLS', async () => {
  const variables = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'secret-example' };
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  // Signed at the same second it is the same token.
  vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-12-01T01:02:03Z') });
  try {
    const db: DatabaseConfig = {
      ...config(secure, { mode: 'verify-full', ca: join(folder, 'ca.pem') }, { host: 'localhost', user: 'by_token' }),
      password: null,
      rdsIam: { region: 'eu-west-1' },
    };
    const admin = await connect(config(secure), { applicationName: 'lockgate/test/admin' });
    await admin.query(`CREATE ROLE by_token LOGIN PASSWORD '${(await passwordFor(db)) ?? ''}'`);
    await admin.close();
    expect(await encrypted(db)).toBe(true);
    vi.setSystemTime(new Date('2026-12-01T01:20:00Z'));
    await expect(encrypted(db)).rejects.toMatchObject({ code: 'pg_wrong_password' });
  } finally {
    vi.useRealTimers();
    for (const [name, value] of before) {
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
  }
});
