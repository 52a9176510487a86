import { execFileSync, spawn } from 'node:child_process';
import { copyFileSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'libsql';
import { afterEach, describe, expect, it } from 'vitest';
import type { VerdictJson } from '../../daemon/http/port.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { workspace, type CommandResult, type Daemon, type Workspace } from '../support/lockgate.js';

/** Secrets of these tests, distinctive enough to be found wherever they should not be. */
const password = 'zebra-PASSWORD-8812';
const token = 'giraffe-TOKEN-7734';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function place(yaml: (port: number) => string): Promise<Workspace> {
  const made = await workspace(yaml);
  cleanups.push(() => made.destroy());
  return made;
}

/** Nobody's stack trace, nobody's secret. */
function expectClean(text: string): void {
  expect(text).not.toMatch(/^\s+at .*:\d+:\d+\)?$/m);
  expect(text).not.toContain(password);
  expect(text).not.toContain(token);
  expect(text).not.toMatch(/MaxListeners|UnhandledPromise|DeprecationWarning/);
}

function expectRefused(result: CommandResult): void {
  expect(result.code, result.stderr).toBe(2);
  expect(result.stdout).toBe('');
  expectClean(result.stderr);
}

/** A configuration whose databases nobody answers for; `change` makes it wrong. */
function yamlOf(change: (text: string) => string, gates = 'lag: { require: "forward.lag < 2s for 10m" }') {
  return (port: number): string =>
    change(`daemon:
  id: tester
  listen: 127.0.0.1:${port}
databases:
  onprem: { engine: postgres, url: "postgres://lockgate:${password}@127.0.0.1:1/app?sslmode=disable" }
  aws: { engine: postgres, url: "postgres://lockgate:${password}@127.0.0.1:2/app?sslmode=disable" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub }
    gates:
      ${gates.trim().replaceAll('\n', '\n      ')}
`);
}

const asIs = (text: string): string => text;
const replace =
  (from: string, to: string) =>
  (text: string): string =>
    text.replace(from, to);

describe('a configuration that is wrong', () => {
  it.each([
    [
      'an unknown key',
      replace('source: onprem', 'sourc: onprem'),
      [
        '8:3: migrations.shop.source: this key is missing (add the name of a database)',
        '9:5: migrations.shop.sourc: unknown key (did you mean `source`?)',
      ],
    ],
    [
      'a unit that does not fit',
      replace('< 2s', '< 2KiB'),
      [
        '13:38: migrations.shop.gates.lag.require: the unit `KiB` does not fit `forward.lag`, which is a time in us, ms, s, min, h or d (write 2s or 2ms)',
      ],
    ],
    [
      'a missing unit',
      replace('< 2s', '< 2'),
      [
        '13:38: migrations.shop.gates.lag.require: `forward.lag` needs a unit: it is a time in us, ms, s, min, h or d (write 2s or 2ms)',
      ],
    ],
    [
      'an unknown signal',
      replace('forward.lag <', 'forward.lagg <'),
      ['13:24: migrations.shop.gates.lag.require: there is no signal `forward.lagg` (did you mean `forward.lag`?)'],
    ],
    [
      'gates in a circle',
      (text: string) =>
        `${text}      a: { require: [ "gate b open", "forward.lag < 2s" ] }\n      b: { require: gate a open }\n`,
      [
        '15:21: migrations.shop.gates.b.require: the gate depends on itself: shop/a → shop/b → shop/a (none of them could ever open; remove one step)',
      ],
    ],
    [
      'secrets that are missing',
      (text: string) => text.replace(password, '${env:LOCKGATE_NOT_SET}').replace(password, '${file:no/such/file}'),
      [
        '5:57: databases.onprem.url: the environment variable LOCKGATE_NOT_SET is not set (export LOCKGATE_NOT_SET first)',
        '6:54: databases.aws.url: the file no/such/file cannot be read: ENOENT (it is looked for at FOLDER/no/such/file; it must be readable for the user that lockgate runs as)',
      ],
    ],
  ] as const)('%s', async (_, change, problems) => {
    const lockgate = await place(yamlOf(change));
    const result = await lockgate.run(['run', '--config', lockgate.configFile]);
    expectRefused(result);
    const lines = problems.map((p) => `${lockgate.configFile}:${p.replaceAll('FOLDER', lockgate.folder)}`);
    const count = problems.length === 1 ? '1 problem' : `${String(problems.length)} problems`;
    expect(result.stderr).toBe([...lines, `lockgate: ${count} in the configuration`, ''].join('\n'));
    expect(readdirSync(lockgate.folder), 'nothing is left').toEqual(['lockgate.yaml']);
  });

  it('tells all problems at once, in the order of the file, and `config check` the same', async () => {
    const change = (text: string): string =>
      `${text
        .replace('id: tester', 'id: tester\n  lisen: here')
        .replace('< 2s', '< 2')
        .replace(
          `${password}@127.0.0.1:2`,
          '${env:LOCKGATE_NOT_SET}@127.0.0.1:2',
        )}      a: { require: [ "gate b open", "forward.lagg < 2s" ] }
      b: { require: gate a open }
      c: { require: "forward.lag < 3 GiB" }
`;
    const lockgate = await place(yamlOf(change));
    const ran = await lockgate.run(['run', '--config', lockgate.configFile]);
    const checked = await lockgate.run(['config', 'check', lockgate.configFile]);
    for (const result of [ran, checked]) expectRefused(result);
    expect(checked.stderr).toBe(ran.stderr);
    const lines = ran.stderr.trimEnd().split('\n');
    expect(lines.at(-1)).toBe('lockgate: 6 problems in the configuration');
    const found = lines.slice(0, -1).map((line) => /^.*?:(\d+):\d+: (\S+): /.exec(line)?.slice(1));
    expect(found).toEqual([
      ['3', 'daemon.lisen'],
      ['7', 'databases.aws.url'],
      ['14', 'migrations.shop.gates.lag.require'],
      ['15', 'migrations.shop.gates.a.require[1]'],
      ['16', 'migrations.shop.gates.b.require'],
      ['17', 'migrations.shop.gates.c.require'],
    ]);
  });
});

describe('what keeps the daemon from starting', () => {
  it('a port in use', async () => {
    const lockgate = await place(yamlOf(asIs));
    const port = Number(new URL(lockgate.url).port);
    const other = createServer();
    await new Promise<void>((done) => void other.listen(port, '127.0.0.1', done));
    cleanups.push(() => new Promise<void>((done) => void other.close(() => done())));
    const result = await lockgate.run(['run', '--config', lockgate.configFile]);
    expectRefused(result);
    expect(result.stderr).toContain(
      `lockgate: 127.0.0.1:${(other.address() as AddressInfo).port} is already in use (Stop what listens there (another lockgate?), or change daemon.listen.)\n`,
    );
  });

  it('TLS files that are missing, no PEM, or no pair', async () => {
    const lockgate = await place(yamlOf(replace('id: tester', 'id: tester\n  tls: { cert: cert.pem, key: key.pem }')));
    const file = (name: string): string => join(lockgate.folder, name);
    const refused = async (why: RegExp): Promise<void> => {
      const result = await lockgate.run(['run', '--config', lockgate.configFile]);
      expectRefused(result);
      expect(result.stderr).toMatch(
        new RegExp(
          `^lockgate: daemon\\.tls: ${file('cert.pem')} and ${file('key.pem')} cannot be used: .* \\(Both must be readable PEM files, and the key must belong to the certificate\\.\\)$`,
          'm',
        ),
      );
      expect(result.stderr).toMatch(why);
    };
    await refused(/ENOENT/);
    certificate(lockgate.folder, 'cert.pem', 'key.pem', 'DNS:localhost');
    writeFileSync(file('cert.pem'), 'this is no certificate');
    await refused(/cannot be used: \S+/);
    certificate(lockgate.folder, 'cert.pem', 'other.pem', 'DNS:localhost');
    await refused(/key values mismatch/);
  });

  it('a store that a newer lockgate wrote, which stays as it is', async () => {
    const lockgate = await place(yamlOf(asIs));
    const path = join(lockgate.folder, 'lockgate.db');
    const db = new Database(path);
    db.exec(`PRAGMA application_id=${0x6c6b6774}; PRAGMA user_version=99; CREATE TABLE future (id)`);
    db.close();
    const before = readFileSync(path);
    const result = await lockgate.run(['run', '--config', lockgate.configFile]);
    expectRefused(result);
    expect(result.stderr).toMatch(
      new RegExp(
        `^lockgate: the store ${path} has schema 99; this lockgate knows up to \\d+ \\(Run the lockgate that wrote it, or point store\\.path elsewhere\\.\\)$`,
        'm',
      ),
    );
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(readdirSync(lockgate.folder).sort()).toEqual(['lockgate.db', 'lockgate.yaml']);
  });

  it('a disk that is full', async () => {
    const lockgate = await place(yamlOf(asIs));
    const result = await lockgate.run(['run', '--config', lockgate.configFile], {}, 30_000, [
      'prlimit',
      '--fsize=4096:4096',
    ]);
    expectRefused(result);
    expect(result.stderr).toMatch(
      /^lockgate: the store \S+lockgate\.db (has no room left on its disk|cannot be read or written by the operating system) \(open: .*\) \(.*disk.*\)$/m,
    );
  });
});

describe('a store that fails', () => {
  it('is renamed aside when it is corrupt, loudly, and the daemon runs with a new one', async () => {
    const lockgate = await place(yamlOf(asIs));
    const path = join(lockgate.folder, 'lockgate.db');
    writeFileSync(path, Buffer.alloc(20_000, 'this is no database '));
    const daemon = await lockgate.start();
    const aside = readdirSync(lockgate.folder).find((name) => name.startsWith('lockgate.db.corrupt-'));
    expect(aside).toBeDefined();
    expect(statSync(join(lockgate.folder, aside ?? '')).size).toBe(20_000);
    expect(daemon.log()).toContain('THE STORE WAS CORRUPT');
    const { body } = await daemon.get<{ entries: { kind: string; moved_to?: string }[] }>('/v1/journal');
    expect(body.entries[0]).toMatchObject({
      kind: 'store-recovered',
      moved_to: join(lockgate.folder, aside ?? ''),
    });
    expect(body.entries.map((e) => e.kind)).toContain('start');
    expect(await daemon.stop()).toBe(0);
    expectClean(daemon.log());
  });

  it('opens no gate while its disk is full, judges the open ones, and goes on once there is room', async () => {
    const lockgate = await place(
      yamlOf(
        asIs,
        `open: { require: "attest.ok.age < 1h" }
brief: { require: "attest.ok.age < 6s" }
late: { require: "attest.ok.age < 1h for 4s" }
later: { require: "attest.ok.age > 2s" }`,
      ),
    );
    const daemon = await lockgate.start();
    const attest = (name: string): Promise<CommandResult> =>
      lockgate.run(['attest', 'shop', name, '--by', 'Ana', '--note', 'checked']);
    expect((await attest('ok')).code).toBe(0);
    await fill(daemon, lockgate);

    const state = async (gate: string): Promise<VerdictJson['state']> => (await daemon.verdict(`shop/${gate}`)).state;
    expect(await state('open')).toBe('open');
    // By its conditions it would be open by now, and by now the other one is open no longer.
    await waitFor(
      'the gate that is open for a while to close',
      10_000,
      async () => (await state('brief')) === 'closed',
    );
    for (const gate of ['late', 'later']) {
      const verdict = await daemon.verdict(`shop/${gate}`);
      expect(verdict).toMatchObject({ state: 'closed', open: false });
      expect(verdict.conditions.map((c) => c.state)).toEqual(['held']);
      expect(verdict.reason).toMatch(/journal cannot be written/);
    }
    expect(await state('open')).toBe('open');
    expect(await metric(daemon, 'lockgate_store_writable')).toBe('0');
    const refused = await attest('other');
    expect(refused.code).toBe(4);
    expect(refused.stderr).toMatch(/the daemon cannot answer \(503\): the journal cannot be written now/);
    expect((await fetch(`${lockgate.url}/readyz`)).status).toBe(200);

    limit(daemon, 'unlimited');
    await waitFor(
      'gates to open',
      5_000,
      async () => (await state('late')) === 'open' && (await state('later')) === 'open',
    );
    expect(await metric(daemon, 'lockgate_store_writable')).toBe('1');
    expect((await attest('other')).code).toBe(0);
    const { body } = await daemon.get<{ entries: Record<string, unknown>[] }>('/v1/journal?limit=1000');
    const told = body.entries.map((e) => `${String(e['gate'])} ${String(e['from'])} ${String(e['to'])}`);
    // What happened meanwhile was kept in memory and written afterwards.
    expect(told).toContain('brief open closed');
    expect(told).toContain('late closed open');
    expect(await daemon.stop()).toBe(0);
    expectClean(daemon.log());
    expect(daemon.log().match(/the journal cannot be written/g)?.length ?? 0).toBeLessThan(10);
  });
});

/** Makes a certificate and its key; `name` is a subjectAltName. */
function certificate(folder: string, cert: string, key: string, name: string): void {
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  args.push('-subj', '/CN=lockgate test', '-addext', `subjectAltName=${name}`);
  execFileSync('openssl', [...args, '-keyout', join(folder, key), '-out', join(folder, cert)], { stdio: 'ignore' });
}

/** Limits the size of the files of a process: a disk that is full for it alone, without privileges. */
function limit(daemon: Daemon, bytes: number | 'unlimited'): void {
  execFileSync('prlimit', ['--pid', String(daemon.pid), `--fsize=${String(bytes)}:unlimited`]);
}

/** Lets the store's log grow no further, and waits until the daemon has noticed. */
async function fill(daemon: Daemon, lockgate: Workspace): Promise<void> {
  limit(daemon, 4_096);
  await waitFor('the store to be full', 15_000, async () => (await metric(daemon, 'lockgate_store_writable')) === '0');
  expect(existsSync(join(lockgate.folder, 'lockgate.db-wal'))).toBe(true);
}

async function metric(daemon: Daemon, name: string): Promise<string | undefined> {
  const text = await (await fetch(`${daemon.url}/metrics`)).text();
  return new RegExp(`^${name.replace(/[{}"]/g, '\\$&')} (\\S+)$`, 'm').exec(text)?.[1];
}
