import { execFileSync } from 'node:child_process';
import { chownSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'libsql';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { VerdictJson } from '../../daemon/http/port.js';
import { APPLICATION_ID } from '../../daemon/store/schema.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { serverUser, waitFor } from '../../deploy/demo/run-folder.js';
import { workspace, type CommandResult, type Daemon, type Workspace } from '../support/lockgate.js';
import { runAll, startPair, type Pair } from '../support/pair.js';
import { startProxy, type Proxy } from '../support/proxy.js';

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
    db.exec(`PRAGMA application_id=${String(APPLICATION_ID)}; PRAGMA user_version=99; CREATE TABLE future (id)`);
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
    const { body } = await daemon.get<{ entries: { kind: string; data: object }[] }>('/v1/journal');
    expect(body.entries[0]).toMatchObject({
      kind: 'store-recovered',
      data: { moved_to: join(lockgate.folder, aside ?? '') },
    });
    expect(body.entries.map((e) => e.kind)).toContain('start');
    // What may have been latched in it does not read as if nothing had been.
    const lost = await waitFor('a look at the chain', 10_000, async () => {
      const continuity = (await daemon.signals()).get('forward.continuity');
      return continuity?.value === 0 && continuity;
    });
    expect(lost.reason).toContain('the store was corrupt');
    expect((await daemon.signals()).get('standby.stray_writes')?.state).toBe('unknown');
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
    const { body } = await daemon.get<{ entries: { gate: string | null; data: { from?: string; to?: string } }[] }>(
      '/v1/journal?limit=1000',
    );
    const told = body.entries.map((e) => [e.gate, e.data.from, e.data.to].join(' '));
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

describe('databases at fault', () => {
  /** Of whoever replicates; every flow runs in a database of its own, so that one daemon can be shown all faults at once. */
  interface Flow {
    readonly name: string;
    readonly source: PostgresServer;
    readonly target: PostgresServer;
    readonly onSource: (sql: string) => Promise<unknown[]>;
    readonly onTarget: (sql: string) => Promise<unknown[]>;
  }

  interface Fault {
    readonly name: string;
    /** Whose setup is left out at first. */
    readonly bare?: boolean;
    readonly user?: string;
    readonly read?: 'on' | 'auto';
    /** What the source's entry differs in while the fault lasts. */
    readonly tls?: string;
    /** Which gate shows it, and what it must say: the database, the cause, the remedy. */
    readonly gate: 'lag' | 'reader';
    readonly state: 'unknown' | 'closed';
    readonly says: readonly RegExp[];
    readonly doctor: RegExp;
    readonly remedy: RegExp;
    make(flow: Flow): Promise<unknown>;
    heal(flow: Flow): Promise<unknown>;
  }

  const faults: readonly Fault[] = [
    {
      name: 'unreachable',
      gate: 'lag',
      state: 'unknown',
      says: [/unreachable-src \(database unreachable on 127\.0\.0\.1:\d+\)/, /ECONNREFUSED/, /nothing listens there/],
      doctor: /ECONNREFUSED/,
      remedy: /nothing listens there/,
      make: () => proxy.cut(),
      heal: () => proxy.restore(),
    },
    {
      name: 'wrong-password',
      user: 'lg_password',
      gate: 'lag',
      state: 'unknown',
      says: [
        /wrong-password-src/,
        /password authentication failed for user "lg_password"/,
        /check the user and the secret/,
      ],
      doctor: /password authentication failed/,
      remedy: /check the user and the secret/,
      make: (flow) => flow.onSource(`alter role lg_password password 'another'`),
      heal: (flow) => flow.onSource(`alter role lg_password password '${password}'`),
    },
    ...(['on', 'auto'] as const).map((read): Fault => ({
      name: `no-replication-${read}`,
      user: `lg_read_${read}`,
      read,
      gate: 'reader',
      state: 'unknown',
      says: [new RegExp(`no-replication-${read}-src`), /42501/, /ALTER ROLE "?lg_read_\w+"? (WITH )?REPLICATION/],
      doctor: /no replication connection/,
      remedy: /ALTER ROLE "lg_read_\w+" REPLICATION/,
      make: (flow) => flow.onSource(`alter role lg_read_${read} noreplication`),
      heal: (flow) => flow.onSource(`alter role lg_read_${read} replication`),
    })),
    {
      name: 'wal-level',
      read: 'on',
      gate: 'reader',
      state: 'unknown',
      says: [/wal-level-src/, /wal_level is replica/, /set wal_level = logical and restart/],
      doctor: /wal_level is replica/,
      remedy: /ALTER SYSTEM SET wal_level = logical/,
      async make(flow) {
        await flow.onTarget('alter subscription "wal-level" disable');
        await waitFor('the slot to be free', 10_000, async () => {
          const sql = `select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = 'wal_level' and not active`;
          return (await flow.onSource(sql)).length > 0;
        });
        await flow.onSource(`alter system set wal_level = 'replica'`);
        await flow.source.stop();
        await flow.source.start();
      },
      async heal(flow) {
        await flow.onSource(`alter system reset wal_level`);
        await flow.source.stop();
        await flow.source.start();
        await flow.onSource(`select pg_create_logical_replication_slot('wal_level', 'pgoutput')`);
        await flow.onTarget('alter subscription "wal-level" enable');
      },
    },
    {
      name: 'no-slot',
      read: 'on',
      gate: 'reader',
      state: 'unknown',
      says: [/no-slot-src/, /fewer than 2 replication slots/, /raise max_replication_slots/],
      doctor: /only 0 of max_replication_slots = 5 free/,
      remedy: /ALTER SYSTEM SET max_replication_slots/,
      make: (flow) =>
        flow.onSource(`select pg_create_physical_replication_slot('spare_' || n) from generate_series(1, 4) n`),
      heal: (flow) => flow.onSource(`select pg_drop_replication_slot('spare_' || n) from generate_series(1, 4) n`),
    },
    {
      name: 'tls-name',
      tls: `, tls: { mode: verify-full, ca: ca.pem }`,
      gate: 'lag',
      state: 'unknown',
      says: [/tls-name-src/, /127\.0\.0\.1/, /ERR_TLS_CERT_ALTNAME_INVALID/, /certificate is for another name/],
      doctor: /ERR_TLS_CERT_ALTNAME_INVALID/,
      remedy: /certificate is for another name/,
      make: () => presentCertificate('DNS:db.example'),
      heal: () => presentCertificate('IP:127.0.0.1'),
    },
    {
      name: 'missing-database',
      gate: 'lag',
      state: 'unknown',
      says: [
        /missing-database-src/,
        /database "missing-database" does not exist/,
        /check the database name in the URL/,
      ],
      doctor: /database "missing-database" does not exist/,
      remedy: /check the database name in the URL/,
      async make(flow) {
        await flow.onTarget('alter subscription "missing-database" disable');
        await waitFor('the database to be renamed', 10_000, () =>
          pair.onSource('alter database "missing-database" rename to "another-name"').then(() => true),
        );
      },
      async heal(flow) {
        await pair.onSource('alter database "another-name" rename to "missing-database"');
        await flow.onTarget('alter subscription "missing-database" enable');
      },
    },
    {
      name: 'no-setup',
      bare: true,
      gate: 'lag',
      state: 'unknown',
      says: [/no-setup-(src|dst)/, /lockgate\.heartbeat/, /lockgate setup/],
      doctor: /heartbeat table is missing/,
      remedy: /CREATE TABLE/,
      make: () => Promise.resolve(),
      heal: () => setUp(yamlOfFaults(faults)),
    },
  ];

  let pair: Pair;
  let folder: string;
  let proxy: Proxy;
  let lockgate: Workspace;
  const flows = new Map<string, Flow>();
  const undo: (() => Promise<void>)[] = [];

  const flowOf = (fault: Fault): Flow => {
    const flow = flows.get(fault.name);
    if (flow === undefined) throw new Error(`no flow ${fault.name}`);
    return flow;
  };

  beforeAll(async () => {
    const room = { max_replication_slots: '40', max_wal_senders: '40', max_worker_processes: '40' };
    pair = await startPair({
      settings: room,
      targetSettings: {
        ...room,
        max_logical_replication_workers: '20',
        max_active_replication_origins: '40',
        wal_retrieve_retry_interval: '500ms',
      },
    });
    undo.push(() => pair.destroy());
    const server = async (name: string, settings: Record<string, string>): Promise<PostgresServer> => {
      const made = await startPostgres({ name, settings });
      undo.push(() => made.destroy());
      return made;
    };
    const sources = new Map([
      ['wal-level', await server('wal-level', {})],
      ['no-slot', await server('no-slot', { max_replication_slots: '5' })],
    ]);
    for (const { name } of faults)
      flows.set(name, await replicate(name, sources.get(name) ?? pair.source, pair.target, undo));
    proxy = await startProxy(pair.source);
    undo.push(() => proxy.close());
    lockgate = await workspace(yamlOfFaults(faults));
    undo.push(() => lockgate.destroy());
    ({ folder } = lockgate);
    writeFileSync(join(folder, 'ca.pem'), '');
    await setUp(yamlOfFaults(faults.filter((f) => f.bare !== true).map((f) => ({ ...f, tls: undefined }))));
    lockgate.write(yamlOfFaults(faults)(portOf(lockgate)));
    await Promise.all(faults.map((fault) => fault.make(flowOf(fault))));
  }, 120_000);
  afterAll(() => runAll(undo));

  function portOf({ url }: Workspace): number {
    return Number(new URL(url).port);
  }

  async function setUp(yaml: (port: number) => string): Promise<void> {
    const text = yaml(portOf(lockgate));
    lockgate.write(text);
    const args = ['setup', '--config', lockgate.configFile];
    for (const [name, { source, target }] of flows) {
      for (const [side, server] of [
        ['src', source],
        ['dst', target],
      ] as const) {
        if (text.includes(`${name}-${side}:`))
          args.push('--admin', `${name}-${side}=${server.adminUrl(name)}?sslmode=disable`);
      }
    }
    for (const [name, server] of [
      ['onprem', pair.source],
      ['aws', pair.target],
    ] as const)
      args.push('--admin', `${name}=${server.adminUrl(pair.database)}`);
    const result = await lockgate.run(args, {}, 60_000);
    expect(result.code, result.stdout + result.stderr).toBe(0);
    expectClean(result.stdout + result.stderr);
  }

  async function presentCertificate(name: string): Promise<void> {
    const { dataDir } = pair.source;
    certificate(folder, 'server.crt', 'server.key', name);
    // Both that were ever presented: the authority is not what fails here.
    const [cert, key] = ['server.crt', 'server.key'].map((f) => readFileSync(join(folder, f), 'utf8'));
    writeFileSync(join(folder, 'ca.pem'), readFileSync(join(folder, 'ca.pem'), 'utf8') + (cert ?? ''));
    for (const [file, text] of [
      ['server.crt', cert],
      ['server.key', key],
    ] as const) {
      const path = join(dataDir, file);
      writeFileSync(path, text ?? '', { mode: 0o600 });
      const user = serverUser();
      if (user !== null) chownSync(path, user.uid, user.gid);
    }
    await pair.onSource('alter system set ssl = on');
    await pair.onSource('select pg_reload_conf()');
  }

  function yamlOfFaults(
    shown: readonly (Omit<Fault, 'tls'> & { tls?: string | undefined })[],
  ): (port: number) => string {
    const url = (name: string, port: number, user = 'lockgate'): string =>
      `postgres://${user}:${password}@127.0.0.1:${port}/${name}`;
    const databases = shown.map(({ name, user, read, tls = ', tls: { mode: disable }' }) => {
      const { source, target } = flows.get(name) ?? pair;
      const port = name === 'unreachable' ? proxy.port : source.port;
      return `
  ${name}-src: { engine: postgres, url: "${url(name, port, user)}", read: ${read ?? 'auto'}${tls} }
  ${name}-dst: { engine: postgres, url: "${url(name, target.port)}?sslmode=disable", read: off }`;
    });
    const migrations = shown.map(
      ({ name }) => `
  ${name}:
    source: ${name}-src
    target: ${name}-dst
    forward: { via: postgres-logical, subscription: ${name}, heartbeat: { interval: 500ms } }
    gates: { lag: { require: [ "forward.lag < 5s for 1s", "forward.running is 1" ] }, reader: { require: "forward.capture_delay < 1m" } }`,
    );
    return (port) => `
daemon: { id: tester, listen: 127.0.0.1:${port} }
databases:
  onprem: { engine: postgres, url: "${url(pair.database, pair.source.port)}?sslmode=disable" }
  aws: { engine: postgres, url: "${url(pair.database, pair.target.port)}?sslmode=disable" }${databases.join('')}
migrations:
  healthy:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub, heartbeat: { interval: 500ms } }
    gates: { lag: { require: [ "forward.lag < 5s for 1s", "forward.running is 1" ] }, reader: { require: "forward.capture_delay < 1m" } }${migrations.join('')}
`;
  }

  it(
    'never end the daemon or open a gate, are told with cause and remedy, and heal without a restart',
    { timeout: 240_000 },
    async () => {
      const daemon = await lockgate.start();
      const gates = async (): Promise<Map<string, VerdictJson>> => {
        const { body } = await daemon.get<{ gates: VerdictJson[] }>('/v1/gates');
        return new Map(body.gates.map((g) => [g.gate, g]));
      };
      const gateOf = ({ name, gate }: Fault): string => `${name}/${gate}`;
      const doctor = lockgate.run(['doctor', '--config', lockgate.configFile, '--json'], {}, 60_000);
      await waitFor('the healthy gates to open', 30_000, async () => {
        const now = await gates();
        return now.get('healthy/lag')?.open === true && now.get('healthy/reader')?.open === true;
      });
      // Every gate for a while: long enough for several attempts to connect.
      let last = await gates();
      for (const until = performance.now() + 6_000; performance.now() < until; last = await gates()) {
        for (const fault of faults) expect(last.get(gateOf(fault))?.open, gateOf(fault)).toBe(false);
        expect(last.get('healthy/lag')?.open).toBe(true);
        expect((await fetch(`${daemon.url}/readyz`)).status).toBe(200);
        await sleep(200);
      }
      const findings = (
        JSON.parse((await doctor).stdout) as {
          findings: { level: string; database: string | null; message: string; remedy: string | null }[];
        }
      ).findings;
      expect((await doctor).code).toBe(1);
      expectClean((await doctor).stdout + (await doctor).stderr);
      for (const fault of faults) {
        const verdict = last.get(gateOf(fault));
        expect.soft(verdict?.state, JSON.stringify(verdict)).toBe(fault.state);
        const reasons = verdict?.conditions.map((c) => c.reason).join('\n') ?? '';
        for (const says of fault.says) expect.soft(reasons, fault.name).toMatch(says);
        const found = findings.filter((f) => f.level === 'fault' && f.database?.startsWith(`${fault.name}-`) === true);
        const matching = found.find((f) => fault.doctor.test(f.message));
        expect.soft(matching?.remedy, `${fault.name}: ${JSON.stringify(found, null, 1)}`).toMatch(fault.remedy);
      }

      for (const fault of faults) await fault.heal(flowOf(fault));
      const opened = new Set<string>();
      await waitFor('all gates to open', 90_000, async () => {
        for (const [id, verdict] of await gates()) if (verdict.open) opened.add(id);
        return faults.every((fault) => opened.has(gateOf(fault)));
      }).catch(async (error: unknown) => {
        const shut = [...(await gates()).values()].filter((g) => !g.open);
        throw new Error(`${String(error)}: ${JSON.stringify(shut, null, 1)}`);
      });
      expect(daemon.exited()).toBe(false);
      const again = await lockgate.run(['doctor', '--config', lockgate.configFile], {}, 60_000);
      expect(again.code, again.stdout).toBe(0);
      expect(await daemon.stop()).toBe(0);
      expectClean(daemon.log());
      for (const { onSource } of flows.values()) {
        expect(await onSource(`select from pg_replication_slots where temporary`)).toEqual([]);
        expect(await onSource(`select from pg_stat_activity where application_name like 'lockgate%'`)).toEqual([]);
      }
    },
  );
});

/** Makes a database with one table on both servers, and a subscription for it of the same name. */
async function replicate(name: string, source: PostgresServer, target: PostgresServer, undo: (() => Promise<void>)[]) {
  const pool = (server: PostgresServer, database: string): pg.Pool => {
    const made = new pg.Pool({ connectionString: server.adminUrl(database), max: 1, idleTimeoutMillis: 100 });
    made.on('error', () => undefined); // servers are restarted here on purpose
    undo.push(() => made.end());
    return made;
  };
  const slot = name.replaceAll('-', '_');
  for (const server of [source, target]) {
    const admin = pool(server, 'postgres');
    await admin.query(`create database "${name}"`);
  }
  const [from, to] = [pool(source, name), pool(target, name)];
  for (const side of [from, to]) await side.query('create table public.t (id bigint primary key)');
  await from.query(`create publication "${name}" for table public.t`);
  await from.query(`select pg_create_logical_replication_slot('${slot}', 'pgoutput')`);
  await to.query(
    `create subscription "${name}" connection 'host=127.0.0.1 port=${source.port} dbname=${name} user=postgres password=${source.password}'
      publication "${name}" with (create_slot = false, slot_name = '${slot}')`,
  );
  const run = (side: pg.Pool) => async (sql: string) => (await side.query(sql)).rows as unknown[];
  return { name, source, target, onSource: run(from), onTarget: run(to) };
}
