import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FakeClock } from '../support/fake-clock.js';
import type { Running } from '../support/http-server.js';
import { daemonConfig, startServer, tokens } from '../support/http-server.js';

const READ = [
  '/v1/migrations',
  '/v1/gates/shop/flip-writes/check',
  '/v1/events?migration=none',
  '/metrics',
  '/openapi.json',
];
const ATTEST = '/v1/migrations/shop/attestations/backup';
const attestation = {
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: '{"by":"ann","note":"restored it"}',
};

let running: Running;

describe('with tokens', () => {
  const secrets = tokens();
  const clock = new FakeClock();
  beforeAll(async () => {
    running = await startServer({ config: daemonConfig({ auth: { tokens: secrets.list } }), clock });
  });
  afterAll(() => running.server.close(1000));

  it.each(['/livez', '/readyz', '/'])('%s needs none', async (path) => {
    expect((await running.ask(path)).status).toBe(200);
  });

  it.each([...READ, '/v1/nothing', '/nothing', '/v1/gates/shop/none/check'])('%s needs one', async (path) => {
    const answer = await running.ask(path);
    expect([answer.status, answer.json()['code']]).toEqual([401, 'token_missing']);
    expect(answer.headers['www-authenticate']).toBe('Bearer realm="lockgate"');
    expect(answer.headers['cache-control']).toBe('no-store');
    for (const token of ['wrong', 'reader-secre', 'reader-secretx', '']) {
      const refused = await running.ask(path, { token });
      expect([refused.status, refused.json()['code']]).toEqual([401, 'token_invalid']);
      expect(refused.headers['www-authenticate']).toContain('error="invalid_token"');
    }
  });

  it.each(['Basic cmVhZGVyOnNlY3JldA==', 'reader-secret', 'Bearer', 'Token reader-secret'])(
    'refuses Authorization: %s',
    async (authorization) => {
      expect((await running.ask('/v1/gates', { headers: { authorization } })).status).toBe(401);
    },
  );

  it('knows the scheme in any case', async () => {
    const headers = { authorization: 'bearer reader-secret' };
    expect((await running.ask('/v1/gates/shop/flip-writes/check', { headers })).status).toBe(200);
  });

  it.each(['reader-secret', 'operator-secret'])('%s may read everything', async (token) => {
    for (const path of ['/v1/migrations', '/v1/gates', '/metrics', '/openapi.json', '/v1/journal']) {
      expect((await running.ask(path, { token })).status).toBe(200);
    }
    expect((await running.ask('/v1/gates/all-shards/check', { token, method: 'POST' })).status).toBe(200);
    expect((await running.ask('/v1/nothing', { token })).status).toBe(404);
  });

  it('lets only an operator attest, before looking at the body', async () => {
    const refused = await running.ask(ATTEST, { ...attestation, token: 'reader-secret', body: 'x'.repeat(100_000) });
    expect([refused.status, refused.json()['code']]).toEqual([403, 'role_insufficient']);
    expect(refused.headers['www-authenticate']).toContain('insufficient_scope');
    const done = await running.ask(ATTEST, { ...attestation, token: 'operator-secret' });
    expect([done.status, done.json()['actor']]).toEqual([201, 'runbook']);
  });

  it('does not mind a foreign Host, which a token already answers', async () => {
    const headers = { host: 'gates.example.com', origin: 'https://elsewhere.example.com' };
    expect((await running.ask('/v1/gates', { token: 'reader-secret', headers })).status).toBe(200);
  });

  it('takes up a rotated token and lets go of the old one', async () => {
    secrets.reader.value = 'new-secret';
    await clock.advance(6_000_000);
    expect((await running.ask('/v1/gates', { token: 'new-secret' })).status).toBe(200);
    expect((await running.ask('/v1/gates', { token: 'reader-secret' })).status).toBe(401);
  });

  it('admits nobody with a token that cannot be read, logs it once, and goes on with the others', async () => {
    secrets.reader.value = '';
    for (let n = 0; n < 3; n += 1) {
      await clock.advance(6_000_000);
      expect((await running.ask('/v1/gates', { token: 'new-secret' })).status).toBe(401);
      expect((await running.ask('/v1/gates', { headers: { authorization: 'Bearer ' } })).status).toBe(401);
    }
    expect((await running.ask('/v1/gates', { token: 'operator-secret' })).status).toBe(200);
    expect(running.log.filter((l) => l.message === 'token is unreadable')).toHaveLength(1);
    secrets.reader.value = 'reader-secret';
    await clock.advance(6_000_000);
  });

  it('never logs a secret', () => {
    expect(JSON.stringify(running.log)).not.toMatch(/reader-secret|operator-secret|new-secret/);
  });

  it('takes the tokens of a reloaded configuration', async () => {
    const next = tokens();
    next.reader.value = 'reloaded';
    running.server.reload(daemonConfig({ auth: { tokens: next.list } }));
    expect((await running.ask('/v1/gates', { token: 'reloaded' })).status).toBe(200);
  });
});

describe('without authentication', () => {
  afterEach(() => running.server.close(1000));

  it.each(READ.slice(0, 2))('answers its own names only: %s', async (path) => {
    running = await startServer();
    const { tcpPort } = running;
    for (const host of ['localhost', 'LOCALHOST:1', `127.0.0.1:${tcpPort}`, '127.8.9.1', '[::1]:80', 'localhost.']) {
      expect((await running.ask(path, { headers: { host } })).status, host).toBe(200);
    }
    for (const host of ['evil.example.com', 'localhost.evil.com', '127.0.0.1.evil.com', '10.0.0.1', '[::2]', 'a b']) {
      const answer = await running.ask(path, { headers: { host } });
      expect([answer.status, answer.headers['cache-control']], host).toEqual([403, 'no-store']);
      expect(answer.json()['code']).toBe('foreign_host');
    }
  });

  it('refuses what another page asks for', async () => {
    running = await startServer();
    const { tcpPort } = running;
    const from = async (origin: string) => (await running.ask('/v1/gates', { headers: { origin } })).status;
    expect(await from(`http://127.0.0.1:${tcpPort}`)).toBe(200);
    expect(await from(`http://localhost:${tcpPort}`)).toBe(200);
    for (const origin of [
      'http://evil.example.com',
      'null',
      'http://127.0.0.1:1',
      'file://',
      `ftp://127.0.0.1:${tcpPort}`,
    ]) {
      expect(await from(origin), origin).toBe(403);
    }
    const posted = await running.ask(ATTEST, {
      ...attestation,
      headers: { ...attestation.headers, origin: 'http://evil.example.com' },
    });
    expect([posted.status, posted.json()['code']]).toEqual([403, 'foreign_origin']);
    expect(running.port.entries).toEqual([]);
  });

  it('guards the page, unknown paths and probes alike', async () => {
    running = await startServer();
    for (const path of ['/', '/nothing', '/metrics']) {
      expect((await running.ask(path, { headers: { host: 'evil.example.com' } })).status).toBe(403);
    }
  });

  it('answers to the address it was reached at when it listens on every address', async () => {
    running = await startServer({ config: daemonConfig({ listen: { host: '0.0.0.0', port: 0 } }) });
    const status = async (host: string) => (await running.ask('/v1/gates', { headers: { host } })).status;
    expect(await status('127.0.0.1')).toBe(200);
    expect(await status('0.0.0.0')).toBe(200);
    expect(await status('10.0.0.1')).toBe(403);
    expect(await status('evil.example.com')).toBe(403);
  });

  it('lets anyone on the loopback attest, and says who that was', async () => {
    running = await startServer();
    const done = await running.ask(ATTEST, attestation);
    expect([done.status, done.json()['actor']]).toEqual([201, 'anonymous']);
  });
});
