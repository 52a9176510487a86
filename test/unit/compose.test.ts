import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { rulesText } from '../support/rules.js';
import { load } from './config-inputs.js';

interface Service {
  image?: string;
  build?: { context: string; dockerfile: string };
  user: string;
  read_only: boolean;
  cap_drop: string[];
  cap_add?: string[];
  privileged?: boolean;
  security_opt: string[];
  command?: string[];
  environment?: Record<string, string>;
  volumes?: string[];
  secrets?: (string | { source: string; target: string })[];
  networks: string[];
  ports: string[];
  healthcheck: { test: string[] };
  deploy: { resources: { limits: { cpus: string; memory: string; pids: number } } };
}

interface Compose {
  services: Record<'alertmanager' | 'grafana' | 'lockgate' | 'prometheus', Service>;
  networks: Record<string, object>;
  volumes: Record<string, object>;
  secrets: Record<string, { file: string }>;
}

interface Scraping {
  rule_files: string[];
  scrape_configs: {
    job_name: string;
    scrape_interval: string;
    authorization: { credentials_file: string };
    static_configs: { targets: string[] }[];
  }[];
}

const DEPLOY = fileURLToPath(new URL('../../deploy/', import.meta.url));
const COMPOSE = join(DEPLOY, 'compose');
const FILE = join(COMPOSE, 'compose.yaml');
const read = (...path: string[]): string => readFileSync(join(DEPLOY, ...path), 'utf8');
const compose = parse(read('compose', 'compose.yaml'), { merge: true }) as Compose;
const services = Object.entries(compose.services);
const scraping = parse(read('compose', 'prometheus.yml')) as Scraping;

const folder = mkdtempSync(join(tmpdir(), 'lockgate-compose-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** What the linter says of files: it holds each against the published schema first. Its taste in the order of keys is not ours. */
function linted(files: readonly string[]): string[][] {
  const config = join(folder, '.dclintrc.json');
  writeFileSync(config, '{"rules":{"service-keys-order":0,"top-level-properties-order":0}}');
  const program = join(dirname(createRequire(import.meta.url).resolve('dclint/package.json')), 'bin/dclint.cjs');
  const args = [program, '--config', config, '--formatter', 'json', ...files];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 20_000 });
  expect(stderr).toBe('');
  const found = JSON.parse(stdout) as { filePath: string; messages: { message: string }[] }[];
  return files.map((file) => found.find((f) => f.filePath === file)?.messages.map((m) => m.message) ?? ['not linted']);
}

/** Where a service finds a mount or a secret in its container. */
function within({ volumes = [], secrets = [] }: Service): string[] {
  return [
    ...volumes.map((v) => v.split(':')[1] ?? ''),
    ...secrets.map((s) => (typeof s === 'string' ? `/run/secrets/${s}` : s.target)),
  ];
}

describe('the compose file', () => {
  it('is what the published schema of the compose specification allows, and a linter has nothing to say', () => {
    const text = read('compose', 'compose.yaml');
    const bad = (
      [
        ['restart: unless-stopped', 'restart: [1]'],
        ['cap_drop:', 'cap_dorp:'],
        ['grafana/grafana:12.3.0', 'grafana/grafana:latest'],
        ["'127.0.0.1:3000:3000'", "'3000:3000'"],
      ] as const
    ).map(([from, to], i) => {
      expect(text).toContain(from);
      const file = join(folder, `${i}.yaml`);
      writeFileSync(file, text.replace(from, to));
      return file;
    });
    const [good, ...others] = linted([FILE, ...bad]);
    expect(good).toEqual([]);
    for (const other of others) expect(other).toHaveLength(1);
  });

  it.each(services)('gives %s nothing that it does not need', (name, service) => {
    expect(service.user).toMatch(/^[1-9]\d*:\d+$/);
    expect(service).toMatchObject({
      read_only: true,
      cap_drop: ['ALL'],
      security_opt: ['no-new-privileges:true'],
    });
    expect(service.cap_add ?? service.privileged).toBeUndefined();
    for (const port of service.ports) expect(port).toMatch(/^127\.0\.0\.1:\d+:\d+$/);
    expect(service.healthcheck.test[0]).toBe('CMD');
    const { cpus, memory, pids } = service.deploy.resources.limits;
    expect([cpus, memory, pids].every(Boolean), 'limits').toBe(true);
    if (name !== 'lockgate') expect(service.image).toMatch(/^[a-z/]+:v?\d+\.\d+\.\d+$/);
    // A mount that can be written is a volume, which is kept, and never a folder of the host.
    for (const volume of service.volumes ?? []) {
      expect(volume.startsWith('.') ? volume.endsWith(':ro') : volume.split(':')[0]! in compose.volumes, volume).toBe(
        true,
      );
    }
    for (const network of service.networks) expect(compose.networks, name).toHaveProperty(network);
    expect(JSON.stringify(service.environment ?? {})).not.toMatch(/(PASSWORD|TOKEN|KEY)"/);
  });

  it('mounts files that there are, and has every secret from a file that is not in the repository', () => {
    for (const [name, { volumes = [], secrets = [] }] of services) {
      for (const volume of volumes.filter((v) => v.startsWith('.'))) {
        expect(existsSync(join(COMPOSE, volume.split(':')[0] ?? '')), `${name}: ${volume}`).toBe(true);
      }
      for (const s of secrets) expect(compose.secrets, name).toHaveProperty(typeof s === 'string' ? s : s.source);
    }
    expect(read('compose', 'secrets', '.gitignore')).toMatch(/^\*$/m);
    for (const { file } of Object.values(compose.secrets)) expect(file).toMatch(/^\.\/secrets\/\w+$/);
  });

  it('lets Grafana reach Prometheus alone, and lockgate be asked by Prometheus alone', () => {
    const { alertmanager, grafana, lockgate, prometheus } = compose.services;
    const shared = (a: Service, b: Service): string[] => a.networks.filter((n) => b.networks.includes(n));
    expect(shared(grafana, prometheus)).toHaveLength(1);
    expect(shared(lockgate, prometheus)).toHaveLength(1);
    expect(shared(alertmanager, prometheus)).toHaveLength(1);
    expect(shared(lockgate, grafana)).toEqual([]);
    expect(shared(lockgate, alertmanager)).toEqual([]);
  });

  // It comes with the image, and says how the container is checked and as whom it runs.
  it.skipIf(!existsSync(join(DEPLOY, 'docker/Dockerfile')))('runs lockgate as its image is made to run', () => {
    const { build, user, healthcheck, volumes = [] } = compose.services.lockgate;
    expect(join(COMPOSE, build?.context ?? '', build?.dockerfile ?? '')).toBe(join(DEPLOY, 'docker/Dockerfile'));
    const dockerfile = read('docker', 'Dockerfile');
    expect(dockerfile).toContain(`USER ${user}`);
    expect(dockerfile).toContain(JSON.stringify(healthcheck.test.slice(1)).replaceAll(',', ', '));
    for (const place of ['/var/lib/lockgate', '/etc/lockgate/lockgate.yaml']) {
      expect(dockerfile).toContain(place);
      expect(volumes.some((v) => v.split(':')[1] === place)).toBe(true);
    }
  });
});

describe('the configuration beside it', () => {
  const text = read('compose', 'lockgate.yaml');
  const files = Object.fromEntries(
    [...text.matchAll(/\$\{file:([^}]+)\}/g)].map(([, path = '']) => [path, `${path}-0123456789\n`]),
  );

  it('of lockgate loads with the secrets that the container is given, and no others', () => {
    const config = load(text, files, '/etc/lockgate/lockgate.yaml');
    expect([...config.migrations.keys()]).toEqual(['shop']);
    expect(Object.keys(files).toSorted()).toEqual(
      within(compose.services.lockgate)
        .filter((p) => p.startsWith('/run/secrets/'))
        .toSorted(),
    );
    expect(text).toContain('path: /var/lib/lockgate/');
    expect(within(compose.services.lockgate)).toContain('/var/lib/lockgate');
  });

  it('makes the rules that are beside the examples (npx vitest run -u makes them anew)', async () => {
    await expect(await rulesText(load(text, files, '/etc/lockgate/lockgate.yaml'))).toMatchFileSnapshot(
      '../../deploy/prometheus/lockgate.rules.yml',
    );
  });

  it('of Prometheus names what its container is given, and scrapes as often as Grafana believes', () => {
    const places = within(compose.services.prometheus);
    for (const file of scraping.rule_files) expect(places).toContain(file);
    const [job] = scraping.scrape_configs;
    expect(places).toContain(job?.authorization.credentials_file);
    expect(job?.static_configs[0]?.targets).toEqual(['lockgate:9188']);
    const source = parse(read('grafana', 'provisioning', 'datasources', 'prometheus.yaml')) as {
      datasources: { uid: string; url: string; jsonData: { timeInterval: string } }[];
    };
    expect(source.datasources).toHaveLength(1);
    expect(source.datasources[0]).toMatchObject({
      url: 'http://prometheus:9090',
      jsonData: { timeInterval: job?.scrape_interval },
    });
  });

  it('of Grafana looks for the dashboards where they are mounted', () => {
    const { providers } = parse(read('grafana', 'provisioning', 'dashboards', 'lockgate.yaml')) as {
      providers: { options: { path: string } }[];
    };
    const mounted = (compose.services.grafana.volumes ?? []).find((v) => v.startsWith('../grafana/dashboards:'));
    expect(mounted?.split(':')[1]).toBe(providers[0]?.options.path);
    const home = compose.services.grafana.environment?.['GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH'] ?? '';
    expect(home).toBe(`${providers[0]?.options.path ?? ''}/overview.json`);
    expect(existsSync(join(DEPLOY, 'grafana/dashboards/overview.json'))).toBe(true);
  });

  it('of Alertmanager has its key where the container is given it', () => {
    const [, path = ''] = /routing_key_file: (\S+)/.exec(read('prometheus', 'alertmanager.yml')) ?? [];
    expect(within(compose.services.alertmanager)).toContain(path);
  });
});
