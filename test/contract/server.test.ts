import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { UsageError } from '../../daemon/core/errors.js';
import { createServer } from '../../daemon/http/server.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { FakePort } from '../support/fake-port.js';
import type { Running } from '../support/http-server.js';
import { daemonConfig, startServer } from '../support/http-server.js';

const folder = mkdtempSync(join(tmpdir(), 'lockgate-tls-'));
const running: Running[] = [];
afterAll(() => rmSync(folder, { recursive: true, force: true }));
afterEach(async () => {
  for (const one of running.splice(0)) await one.server.close(500);
});

async function started(...options: Parameters<typeof startServer>): Promise<Running> {
  const one = await startServer(...options);
  running.push(one);
  return one;
}

async function errorOf(work: Promise<unknown>): Promise<UsageError> {
  const error = await work.then(
    () => null,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(UsageError);
  return error as UsageError;
}

function certificate(name: string): { cert: string; key: string } {
  const [cert, key] = [join(folder, `${name}.pem`), join(folder, `${name}.key`)];
  const subject = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1'];
  execFileSync(
    'openssl',
    [
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-days',
      '1',
      '-keyout',
      key,
      '-out',
      cert,
      ...subject,
    ],
    { stdio: 'ignore' },
  );
  return { cert, key };
}

/** The status of a check, and the name in the certificate it was answered with. */
function askTls(port: number): Promise<[number, unknown]> {
  return new Promise((resolve, reject) => {
    const options = {
      port,
      host: '127.0.0.1',
      path: '/v1/gates/all-shards/check',
      rejectUnauthorized: false,
      agent: false,
    };
    const request = httpsRequest(options, (response) => {
      const socket = response.socket as unknown as { getPeerCertificate(): { subject: { CN: string } } };
      const name = socket.getPeerCertificate().subject.CN;
      response.resume().on('end', () => resolve([response.statusCode ?? 0, name]));
    });
    request.on('error', reject).end();
  });
}

describe('tls', () => {
  it('serves, takes up a new certificate, and refuses what it cannot use', async () => {
    const [one, two] = [certificate('one'), certificate('two')];
    const server = await started({ config: daemonConfig({ tls: one }) });
    expect(server.url).toMatch(/^https:/);
    expect(await askTls(server.tcpPort)).toEqual([200, 'one']);

    server.server.reload(daemonConfig({ tls: two }));
    expect(await askTls(server.tcpPort)).toEqual([200, 'two']);

    const mixed = { cert: one.cert, key: two.key };
    expect(() => server.server.reload(daemonConfig({ tls: mixed }))).toThrow(UsageError);
    expect(await askTls(server.tcpPort)).toEqual([200, 'two']);

    const missing = { cert: join(folder, 'none.pem'), key: one.key };
    const garbage = { cert: join(folder, 'garbage.pem'), key: one.key };
    writeFileSync(garbage.cert, 'no certificate');
    for (const tls of [mixed, missing, garbage]) {
      const error = await errorOf(startServer({ config: daemonConfig({ tls }) }));
      expect(error.code).toBe('tls_unusable');
      expect(error.message).toContain(tls.cert);
    }
  });
});

describe('listening', () => {
  it('says which address is taken and what to do', async () => {
    const first = await started();
    const error = await errorOf(
      startServer({ config: daemonConfig({ listen: { host: '127.0.0.1', port: first.tcpPort } }) }),
    );
    expect(error.code).toBe('port_in_use');
    expect(error.message).toBe(`127.0.0.1:${first.tcpPort} is already in use`);
    expect(error.hint).toContain('daemon.listen');
  });

  it('says when the address is not of this machine', async () => {
    const error = await errorOf(startServer({ config: daemonConfig({ listen: { host: '192.0.2.1', port: 0 } }) }));
    expect(error.code).toBe('listen_failed');
  });

  it('listens on IPv6', async () => {
    const server = await started({ config: daemonConfig({ listen: { host: '[::1]', port: 0 } }) });
    expect(server.url).toBe(`http://[::1]:${server.tcpPort}`);
  });
});

describe('closing', () => {
  it('drops idle and silent connections, refuses new ones, and can be asked twice', async () => {
    const one = await started();
    const silent = connect(one.tcpPort, '127.0.0.1');
    const idle = connect(one.tcpPort, '127.0.0.1');
    const answered = new Promise((resolve) => idle.once('data', resolve));
    idle.write('GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await answered;
    const ended = Promise.all([silent, idle].map((s) => new Promise((resolve) => s.once('close', resolve))));
    const began = performance.now();
    await Promise.all([one.server.close(5000), one.server.close(5000)]);
    await ended;
    expect(performance.now() - began).toBeLessThan(3000);
    await expect(one.ask('/livez')).rejects.toThrow();
  });

  it('lets a request finish, and answers no further one on its connection', async () => {
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const one = await started({
      metrics: () => ({ text: () => held.then(() => 'done 1\n'), contentType: 'text/plain' }),
    });
    const asked = one.ask('/metrics');
    await new Promise((resolve) => setTimeout(resolve, 100));
    const closed = one.server.close(5000);
    await new Promise((resolve) => setTimeout(resolve, 50));
    release();
    expect((await asked).body).toBe('done 1\n');
    await closed;
  });

  it('cuts off at the deadline what does not finish', async () => {
    const one = await started({
      metrics: () => ({ text: () => new Promise<string>(() => undefined), contentType: 'text/plain' }),
    });
    const asked = one.ask('/metrics').catch((error: unknown) => error);
    await new Promise((resolve) => setTimeout(resolve, 100));
    const began = performance.now();
    await one.server.close(200);
    expect(performance.now() - began).toBeLessThan(2000);
    expect(await asked).toBeInstanceOf(Error);
    expect(one.log.some((l) => l.level === 'warn' && l.message.includes('cut off'))).toBe(true);
  });

  it('refuses requests that come in while it drains', async () => {
    const one = await started();
    const socket = connect(one.tcpPort, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    // A request that is half sent keeps the connection open.
    socket.write('GET /v1/gates/all-shards/check HTTP/1.1\r\nHost: localhost\r\n');
    await new Promise((resolve) => setTimeout(resolve, 50));
    const closed = one.server.close(3000);
    socket.write('\r\n');
    await expect.poll(() => text).toContain('shutting_down');
    expect(text).toMatch(/^HTTP\/1\.1 503 /);
    await closed;
  });

  it('works without ever having listened', async () => {
    const log = { debug: nothing, info: nothing, warn: nothing, error: nothing };
    const metrics = { text: () => Promise.resolve(''), contentType: 'text/plain' };
    const clock = new SystemClock();
    const server = await createServer(new FakePort(), { config: daemonConfig(), metrics, log, clock });
    await server.close(1000);
  });
});

function nothing(): void {
  // Nobody reads this log.
}
