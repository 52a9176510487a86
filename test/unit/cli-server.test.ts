import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Finding } from '../../collectors/collector.js';
import type {
  Backend,
  ExplainedGate,
  RulesFor,
  RunningDaemon,
  StepOptions,
  StepResult,
  TestAnswer,
} from '../../daemon/cli/backend.js';
import { runCli } from '../../daemon/cli/program.js';
import type { Condition } from '../../daemon/core/condition.js';
import type { Config, DatabaseConfig } from '../../daemon/core/config.js';
import { ConfigError, InvariantError, SourceError, UsageError } from '../../daemon/core/errors.js';
import { FakeClock } from '../support/fake-clock.js';
import { FakeIo } from '../support/fake-io.js';

let io: FakeIo;
let backend: FakeBackend;

beforeEach(() => {
  io = new FakeIo();
  backend = new FakeBackend();
});

const cli = (...argv: string[]): Promise<number> => runCli(argv, io, () => Promise.resolve(backend));

const database = (name: string): DatabaseConfig => ({
  name,
  engine: 'postgres',
  address: { host: 'db', port: 5432, database: 'app', user: 'lockgate' },
  password: null,
  tls: { mode: 'disable', ca: null, cert: null, key: null },
  read: 'auto',
});

const config: Config = {
  file: 'lockgate.yaml',
  hash: '0',
  daemon: { id: 'a', listen: { host: '127.0.0.1', port: 9188 }, tls: null, auth: null },
  store: { path: 'x', retainUs: 1 },
  databases: new Map(['onprem', 'aws'].map((name) => [name, database(name)])),
  migrations: new Map([
    [
      'shop',
      {
        name: 'shop',
        source: 'onprem',
        target: 'aws',
        links: {
          forward: {
            name: 'forward',
            via: 'none',
            from: 'onprem',
            to: 'aws',
            flows: [],
            publication: null,
            heartbeat: { intervalUs: 1_000_000, watch: 'auto' },
            freshnessUs: 3_000_000,
            retentionLimitBytes: null,
            tables: null,
          },
        },
        promotion: 'manual',
        gates: new Map(
          ['a', 'b'].map((n) => [n, { name: n, id: `shop/${n}`, migration: 'shop', require: [], gapToleranceUs: 0 }]),
        ),
      },
    ],
  ]),
  gates: new Map(),
  warnings: ['the heartbeat is slow'],
};

const problem = (line: number, message: string, hint: string | null) => ({
  file: 'bad.yaml',
  line,
  column: 5,
  path: 'a.b',
  message,
  hint,
});
const badConfig = new ConfigError([problem(3, 'unknown key', 'did you mean c?'), problem(9, 'missing', null)]);

class FakeBackend implements Backend {
  steps: (StepResult | Error)[] = [];
  findings: Finding[] = [];
  answers: TestAnswer[] = [];
  gates: ExplainedGate[] = [];
  stepOptions: StepOptions | null = null;
  onStart: (signal: AbortSignal) => Promise<RunningDaemon> = () => Promise.reject(badConfig);

  loadConfig(file: string): Promise<Config> {
    return file === 'bad.yaml' ? Promise.reject(badConfig) : Promise.resolve(config);
  }
  configSchema = () => Promise.resolve({ type: 'object' });
  explain = () => Promise.resolve(this.gates);
  grants = () =>
    Promise.resolve([
      { database: 'onprem', why: 'create the heartbeat table', sql: 'CREATE TABLE x (y int)' },
      { database: 'onprem', why: 'let it\nread', sql: 'GRANT SELECT ON x TO lockgate; -- that is all' },
    ]);
  rules = (_config: Config, what: RulesFor) => Promise.resolve(`for ${JSON.stringify(what)}\n`);
  setup = (_config: Config, options: StepOptions) => this.#run(options);
  teardown = (_config: Config, options: StepOptions) => this.#run(options);
  doctor = () => Promise.resolve(this.findings);
  testAlerts = () => Promise.resolve(this.answers);
  start = (_file: string, signal: AbortSignal) => this.onStart(signal);

  async *#run(options: StepOptions): AsyncGenerator<StepResult> {
    this.stepOptions = options;
    for (const step of this.steps) {
      await Promise.resolve();
      if (step instanceof Error) throw step;
      yield step;
    }
  }
}

describe('config', () => {
  it('check prints every problem with its place, and their number', async () => {
    expect(await cli('config', 'check', 'bad.yaml')).toBe(2);
    expect(io.err).toBe(
      'bad.yaml:3:5: a.b: unknown key (did you mean c?)\nbad.yaml:9:5: a.b: missing\nlockgate: 2 problems in the configuration\n',
    );
  });

  it('check counts what is good, and warns', async () => {
    expect(await cli('config', 'check', 'good.yaml')).toBe(0);
    expect(io.out).toBe('warning: the heartbeat is slow\nok: 1 migration, 2 gates, 1 warning\n');
  });

  it('schema prints JSON', async () => {
    expect(await cli('config', 'schema')).toBe(0);
    expect(JSON.parse(io.out)).toEqual({ type: 'object' });
  });

  it.each([
    'run',
    'grants',
    'setup',
    'teardown',
    'doctor',
    'gates explain',
    'alerts test',
    'rules prometheus',
    'rules cloudwatch',
  ])('%s wants --config', async (command) => {
    const argv = command.split(' ');
    expect(await cli(...argv)).toBe(2);
    expect(io.err).toContain("required option '--config <file>'");
    expect(await cli(...argv, '--config', 'bad.yaml')).toBe(2);
  });
});

describe('rules', () => {
  it('prints them, or writes them to a file', async () => {
    expect(await cli('rules', 'prometheus', '--config', 'x')).toBe(0);
    expect(io.out).toBe('for {"kind":"prometheus","job":"lockgate"}\n');
    const folder = mkdtempSync(join(tmpdir(), 'lockgate-rules-'));
    try {
      const out = join(folder, 'alarms.yaml');
      expect(await cli('rules', 'cloudwatch', '--config', 'x', '--out', out)).toBe(0);
      expect(readFileSync(out, 'utf8')).toBe('for {"kind":"cloudwatch"}\n');
      expect(await cli('rules', 'cloudwatch', '--config', 'x', '--out', join(folder, 'none', 'x'))).toBe(2);
      expect(io.err).toContain('ENOENT');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('wants a kind, and takes a job for Prometheus alone', async () => {
    expect(await cli('rules', 'prometheus', '--config', 'x', '--job', 'ours')).toBe(0);
    expect(io.out).toContain('"job":"ours"');
    expect(await cli('rules', 'cloudwatch', '--config', 'x', '--job', 'ours')).toBe(2);
    expect(await cli('rules', 'nagios', '--config', 'x')).toBe(2);
  });
});

describe('grants', () => {
  it('prints SQL that can be run as it is, per database', async () => {
    expect(await cli('grants', '--config', 'x')).toBe(0);
    expect(io.out).toBe(
      [
        '-- onprem: postgres, database app at db:5432',
        '',
        '-- create the heartbeat table',
        'CREATE TABLE x (y int);',
        '',
        '-- let it',
        '-- read',
        'GRANT SELECT ON x TO lockgate; -- that is all',
        ';',
        '',
        '-- aws: postgres, database app at db:5432',
        '-- nothing to run',
        '',
        '',
      ].join('\n'),
    );
  });

  it('prints one database only, or refuses one that is not there', async () => {
    expect(await cli('grants', '--config', 'x', '--database', 'aws')).toBe(0);
    expect(io.out).not.toContain('onprem');
    expect(await cli('grants', '--config', 'x', '--database', 'awz')).toBe(2);
    expect(io.err).toContain('known: onprem, aws');
  });
});

describe('setup and teardown', () => {
  const step = { database: 'onprem', why: 'create the heartbeat table', sql: 'CREATE TABLE x\n(y int)' };

  it('say what came of each step', async () => {
    backend.steps = [
      { step, outcome: 'done' },
      { step, outcome: 'unchanged' },
    ];
    expect(await cli('setup', '--config', 'x', '--admin', 'onprem=postgres://root:hunter2@db/app')).toBe(0);
    expect(io.out).toBe(
      'done       onprem: create the heartbeat table\nunchanged  onprem: create the heartbeat table\n1 done, 1 unchanged\n',
    );
    expect(backend.stepOptions?.admin.get('onprem')).toBe('postgres://root:hunter2@db/app');
    expect(backend.stepOptions?.dryRun).toBe(false);
  });

  it('show the SQL of a dry run', async () => {
    backend.steps = [{ step, outcome: 'would-do' }];
    expect(await cli('teardown', '--config', 'x', '--dry-run')).toBe(0);
    expect(io.out).toBe(
      'would do   onprem: create the heartbeat table\n    CREATE TABLE x\n    (y int)\n1 to do, 0 unchanged\n',
    );
    expect(backend.stepOptions?.dryRun).toBe(true);
  });

  it('print JSON lines', async () => {
    backend.steps = [{ step, outcome: 'done' }];
    expect(await cli('setup', '--config', 'x', '--json')).toBe(0);
    expect(JSON.parse(io.out)).toEqual({ ...step, outcome: 'done' });
  });

  it('2 when the database refuses, with the remedy', async () => {
    backend.steps = [{ step, outcome: 'done' }, new SourceError('no_privilege', 'permission denied', 'use --admin')];
    expect(await cli('setup', '--config', 'x')).toBe(2);
    expect(io.err).toBe('lockgate: permission denied (use --admin)\n');
    backend.steps = [Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })];
    expect(await cli('setup', '--config', 'x')).toBe(2);
  });

  it.each([
    ['onprem', /NAME=URL/],
    ['=postgres://h', /NAME=URL/],
    ['other=postgres://root:hunter2@h', /not configured: other.*known: onprem, aws/],
    ['onprem=hunter2', /not a URL/],
  ])('2 for --admin %s, without repeating the secret', async (admin, printed) => {
    expect(await cli('setup', '--config', 'x', '--admin', admin)).toBe(2);
    expect(io.err).toMatch(printed);
    expect(io.err).not.toContain('hunter2');
  });
});

describe('doctor', () => {
  const finding = (change: Partial<Finding>): Finding => ({
    level: 'ok',
    database: 'onprem',
    link: null,
    message: 'reachable',
    signals: [],
    remedy: null,
    ...change,
  });

  it('groups what it found, with the remedy', async () => {
    backend.findings = [
      finding({}),
      finding({
        link: 'shop/forward',
        database: null,
        level: 'fault',
        message: 'no subscription',
        signals: ['forward.lag', 'forward.running'],
        remedy: 'create it',
      }),
      finding({ level: 'warning', message: 'no pg_monitor', remedy: 'GRANT pg_monitor\nTO lockgate;' }),
    ];
    expect(await cli('doctor', '--config', 'x')).toBe(1);
    expect(io.out).toBe(
      [
        'database onprem',
        '  ✓ ok       reachable',
        '  ! warning  no pg_monitor',
        '      to mend it: GRANT pg_monitor',
        '                  TO lockgate;',
        'link shop/forward',
        '  ✗ fault    no subscription',
        '      would be unknown: forward.lag, forward.running',
        '      to mend it: create it',
        '1 fault, 1 warning, 1 ok',
        '',
      ].join('\n'),
    );
  });

  it('0 with warnings only, 1 when nothing at all was looked at', async () => {
    backend.findings = [finding({}), finding({ level: 'warning' })];
    expect(await cli('doctor', '--config', 'x', '--json')).toBe(0);
    expect(JSON.parse(io.out)).toEqual({ findings: backend.findings });
    backend.findings = [];
    expect(await cli('doctor', '--config', 'x')).toBe(1);
  });
});

describe('alerts test', () => {
  const answer = (sink: string, event: 'trigger' | 'resolve', delivery: TestAnswer['delivery']): TestAnswer => ({
    ...{ sink, event, delivery },
  });

  it('says what each sink answered, and exits 1 when one did not take it', async () => {
    backend.answers = [
      answer('pagerduty', 'trigger', { outcome: 'delivered', answer: '202 {"status":"success"}' }),
      answer('pagerduty', 'resolve', { outcome: 'delivered', answer: '202' }),
    ];
    expect(await cli('alerts', 'test', '--config', 'good.yaml')).toBe(0);
    expect(io.out).toBe(
      'pagerduty  trigger  delivered  it answered 202 {"status":"success"}\npagerduty  resolve  delivered  it answered 202\n',
    );
    backend.answers.push(answer('webhook', 'trigger', { outcome: 'refused', reason: 'it answered 400' }));
    backend.answers.push(
      answer('webhook', 'resolve', { outcome: 'retry', reason: 'no answer in time', afterMs: null }),
    );
    io.out = '';
    expect(await cli('alerts', 'test', '--config', 'good.yaml')).toBe(1);
    expect(io.out).toContain(
      'webhook  trigger  REFUSED    it answered 400\nwebhook  resolve  NOT TAKEN  no answer in time\n',
    );
    io.out = '';
    expect(await cli('alerts', 'test', '--config', 'good.yaml', '--json')).toBe(1);
    expect((JSON.parse(io.out) as { answers: object[] }).answers.at(-1)).toEqual({
      ...{ sink: 'webhook', event: 'resolve', outcome: 'retry', answer: 'no answer in time' },
    });
  });

  it('exits 2 when nobody would be told', async () => {
    expect(await cli('alerts', 'test', '--config', 'good.yaml')).toBe(2);
    expect(io.err).toContain('names no sink of alerts');
  });
});

describe('gates explain', () => {
  const signal = (change: Partial<Condition>): Condition =>
    ({
      kind: 'signal',
      text: 't',
      migration: 'shop',
      signal: 'forward.lag',
      unit: 's',
      fn: null,
      op: '<',
      threshold: 2,
      forUs: 0,
      ...change,
    }) as Condition;
  const words: [Condition, string][] = [
    [signal({}), 'forward.lag of shop is below 2 s'],
    [signal({ forUs: 600_000_000 }), 'forward.lag of shop has been below 2 s for 10m without a break'],
    [
      signal({ fn: { name: 'p99', windowUs: 300_000_000 }, threshold: 0.25 }),
      'the 99th percentile of forward.lag of shop over the last 5m is below 250 ms',
    ],
    [signal({ signal: 'forward.running', unit: 'flag', op: '==', threshold: 1 }), 'forward.running of shop is 1 (yes)'],
    [
      signal({ signal: 'verify.coverage', unit: 'ratio', op: '>=', threshold: 0.995 }),
      'verify.coverage of shop is at least 99.5 %',
    ],
    [
      signal({ signal: 'source.local_writes', unit: 'count/s', op: '<=', threshold: 3 }),
      'source.local_writes of shop is at most 3/s',
    ],
    [signal({ signal: 'attest.backup.age', threshold: 604_800 }), 'attest.backup.age of shop is below 7d'],
    [{ kind: 'gate', text: 't', gate: 'crm/x', forUs: 0 }, 'gate crm/x is open'],
    [{ kind: 'gate', text: 't', gate: 'crm/x', forUs: 60_000_000 }, 'gate crm/x has been open for 1m without a break'],
  ];
  it.each(words)('$text: %#', async (condition, expected) => {
    backend.gates = [
      { id: 'shop/a', conditions: [{ condition, origin: 'file', line: 7 }], gapToleranceUs: 0, leftOut: [] },
    ];
    expect(await cli('gates', 'explain', '--config', 'x.yaml')).toBe(0);
    expect(io.out).toBe(`shop/a is open when\n  ${expected}\n    t  (x.yaml:7)\n\n`);
  });

  it('says what a preset recommends but this configuration cannot have', async () => {
    backend.gates = [
      {
        id: 'shop/a',
        conditions: [{ condition: signal({}), origin: 'preset', line: null }],
        gapToleranceUs: 5_000_000,
        leftOut: [{ text: 'reverse.lag < 5s', reason: 'there is no reverse link' }],
      },
    ];
    expect(await cli('gates', 'explain', '--config', 'x')).toBe(0);
    expect(io.out).toContain('(preset runbook)');
    expect(io.out).toContain('Unknown stretches of up to 5s do not restart a hold.');
    expect(io.out).toContain('left out: reverse.lag < 5s: there is no reverse link');
    io.out = '';
    expect(await cli('gates', 'explain', '--config', 'x', '--json')).toBe(0);
    expect(JSON.parse(io.out)).toMatchObject({ gates: [{ gate: 'shop/a', gap_tolerance_seconds: 5, left_out: [{}] }] });
  });
});

describe('run', () => {
  let clock: FakeClock;
  let crash: (error: Error) => void;
  let reloads: number;
  let stops: number;
  let stopping: () => Promise<void>;
  let reloading: () => Promise<void>;
  let running: Promise<number>;

  beforeEach(() => {
    clock = new FakeClock();
    io.clock = clock;
    reloads = 0;
    stops = 0;
    stopping = () => Promise.resolve();
    reloading = () => Promise.resolve();
    backend.onStart = () =>
      Promise.resolve({
        address: 'http://127.0.0.1:9188',
        reload: () => ((reloads += 1), reloading()),
        stop: () => ((stops += 1), stopping()),
        crashed: new Promise<never>((_resolve, reject) => (crash = reject)),
      });
  });

  const start = async (): Promise<void> => {
    running = cli('run', '--config', 'x');
    await clock.advance(0);
  };

  it.each(['SIGTERM', 'SIGINT'] as const)('stops on %s and leaves nothing behind', async (signal) => {
    await start();
    io.send(signal);
    expect(await running).toBe(0);
    await clock.advance(0);
    expect([stops, io.listeners, clock.sleepers, io.exits.length]).toEqual([1, 0, 0, 0]);
  });

  it('ends at once on a second signal', async () => {
    stopping = () => new Promise(() => undefined);
    await start();
    io.send('SIGTERM');
    io.send('SIGINT');
    expect(io.exits).toEqual([130]);
    io.send('SIGTERM');
    expect(io.exits).toEqual([130, 143]);
  });

  it('ends after ten seconds when something does not close', async () => {
    stopping = () => new Promise(() => undefined);
    await start();
    io.send('SIGTERM');
    await clock.advance(9_900_000);
    expect(io.exits).toEqual([]);
    await clock.advance(200_000);
    expect(io.exits).toEqual([143]);
  });

  it('reloads on SIGHUP and goes on when the file is bad', async () => {
    await start();
    io.send('SIGHUP');
    await clock.advance(0);
    expect(io.err).toContain('configuration reloaded');
    reloading = () => Promise.reject(badConfig);
    io.send('SIGHUP');
    await clock.advance(0);
    expect(io.err).toContain('bad.yaml:3:5');
    expect(io.err).toContain('not reloaded, the old configuration goes on');
    reloading = () => Promise.reject(new UsageError('x', 'listen cannot change', 'restart'));
    io.send('SIGHUP');
    await clock.advance(0);
    expect(io.err).toContain('listen cannot change (restart)');
    expect(reloads).toBe(3);
    io.send('SIGTERM');
    expect(await running).toBe(0);
  });

  it.each([
    ['bad configuration', badConfig, 2],
    ['a newer store', new UsageError('store_newer', 'the store is newer', 'upgrade'), 2],
    ['port in use', Object.assign(new Error('listen EADDRINUSE: 127.0.0.1:9188'), { code: 'EADDRINUSE' }), 2],
    ['a bug', new InvariantError('two and two'), 70],
  ])('does not start: %s', async (_name, error, code) => {
    backend.onStart = () => Promise.reject(error);
    await start();
    expect(await running).toBe(code);
    expect(io.err).not.toBe('');
    expect(io.err).not.toMatch(/\n\s+at /);
    expect(io.listeners).toBe(0);
  });

  it('gives up starting when it is told to stop', async () => {
    backend.onStart = (signal) =>
      new Promise((_resolve, reject) =>
        signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true }),
      );
    await start();
    io.send('SIGINT');
    expect(await running).toBe(0);
  });

  it('70 after a bug, having closed everything', async () => {
    await start();
    crash(new InvariantError('two and two'));
    expect(await running).toBe(70);
    expect(stops).toBe(1);
    expect(io.err).toContain('two and two (This is a bug in lockgate');
  });
});
