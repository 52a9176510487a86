import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../../daemon/cli/program.js';
import type { VerdictJson } from '../../daemon/http/port.js';
import { json, startApi, verdict, verdictAnswer, type ApiServer, type Handler } from '../support/api-server.js';
import { FakeIo, noBackend } from '../support/fake-io.js';

const GATE = 'shop/flip-writes';
const open: ApiServer[] = [];
let io: FakeIo;

beforeEach(() => {
  io = new FakeIo();
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()));
});

async function api(handler: Handler, tls?: { key: string; cert: string }): Promise<ApiServer> {
  const server = await startApi(handler, tls);
  open.push(server);
  return server;
}

const cli = (...argv: string[]): Promise<number> => runCli(argv, io, noBackend);
const ago = (seconds: number): string => new Date(Date.now() - seconds * 1000).toISOString();

describe('check: the exit code is the answer', () => {
  const text: Handler = (_request, response) => void response.writeHead(200).end('<html>');
  const cases: [string, Handler, number, RegExp][] = [
    ['open', verdictAnswer(), 0, /^OPEN {5}shop\/flip-writes/],
    ['closed', verdictAnswer({ state: 'closed' }), 1, /^CLOSED {3}shop\/flip-writes/],
    ['unknown', verdictAnswer({ state: 'unknown' }), 3, /^UNKNOWN {2}shop\/flip-writes/],
    ['401', json(401, { title: 'Unauthorized', detail: 'no token' }), 2, /token is missing or not accepted.*no token/],
    ['403', json(403, { title: 'Forbidden' }), 2, /does not allow this/],
    ['404', json(404, { detail: 'there is no gate "shop/x"' }), 2, /there is no gate "shop\/x"/],
    ['400', json(400, { detail: 'bad' }), 2, /refused \(400\): bad/],
    ['429', json(429, {}), 4, /too busy/],
    ['500', json(500, { title: 'Internal Server Error' }), 4, /cannot answer \(500\)/],
    ['500 with an open verdict', (q, r) => json(500, verdict())(q, r), 4, /cannot answer/],
    ['502 from a proxy', (_q, r) => void r.writeHead(502).end('bad gateway'), 4, /cannot answer \(502\)/],
    ['503 without a verdict', json(503, { title: 'x', detail: 'starting' }), 4, /starting/],
    ['not JSON', text, 3, /UNKNOWN[^]*gives no verdict/],
    ['JSON that is no verdict', json(200, { ok: true }), 3, /gives no verdict/],
    ['null', json(200, null), 3, /gives no verdict/],
    ['a state that does not exist', (q, r) => json(200, { ...verdict(), state: 'ajar' })(q, r), 3, /gives no verdict/],
    ['no state', (q, r) => json(200, { ...verdict(), state: undefined })(q, r), 3, /gives no verdict/],
    ['no evaluated_at', (q, r) => json(200, { ...verdict(), evaluated_at: null })(q, r), 3, /gives no verdict/],
    ['another gate', verdictAnswer({ gate: 'shop/drained' }), 3, /about the gate shop\/drained, not shop\/flip-writes/],
    ['closed with status 200', (q, r) => json(200, verdict({ state: 'closed' }))(q, r), 3, /contradicts itself/],
    ['open with status 409', (q, r) => json(409, verdict())(q, r), 3, /contradicts itself/],
    ['state open, open false', verdictAnswer({ open: false }), 3, /contradicts itself/],
    ['a redirect', (_q, r) => void r.writeHead(302, { location: '/' }).end(), 3, /gives no verdict/],
    ['evaluated a minute ago', (q, r) => verdictAnswer({ evaluated_at: ago(60) })(q, r), 3, /is old/],
    ['dated in the future', (q, r) => verdictAnswer({ evaluated_at: ago(-60) })(q, r), 3, /clocks/],
    ['a cached answer', (q, r) => json(200, verdict(), { age: '45' })(q, r), 3, /cache that has kept it for 45s/],
    [
      'an answer cut short',
      (_q, r) => void r.writeHead(200, { 'content-length': '99' }).write('{', () => r.destroy()),
      4,
      /connection was lost/,
    ],
  ];
  it.each(cases)('%s', async (_name, handler, code, printed) => {
    const { url } = await api(handler);
    expect(await cli('check', GATE, '--url', url)).toBe(code);
    expect(io.out + io.err).toMatch(printed);
    expect(io.out + io.err).not.toMatch(/\n\s+at .*\.(ts|js):/);
    if (code !== 0) expect(io.out).not.toMatch(/OPEN/);
  });

  it('4 when nothing listens, when there is no such host, and when no answer comes in time', async () => {
    const { url } = await api(() => undefined);
    expect(await cli('check', GATE, '--url', 'http://127.0.0.1:1')).toBe(4);
    expect(io.err).toContain('connection refused');
    expect(await cli('check', GATE, '--url', url, '--timeout', '100ms')).toBe(4);
    expect(io.err).toContain('no answer within 0.1s');
    expect(io.out).toBe('');
  });

  it('4 when the headers come but the rest does not', async () => {
    const { url } = await api((_q, r) => void r.writeHead(200).write('{'));
    expect(await cli('check', GATE, '--url', url, '--timeout', '150ms')).toBe(4);
  });

  it('believes an older verdict when it was told to', async () => {
    const evaluated = ago(30);
    const { url } = await api((q, r) =>
      json(200, verdict({ evaluated_at: evaluated }), { date: new Date(evaluated).toUTCString() })(q, r),
    );
    expect(await cli('check', GATE, '--url', url)).toBe(3);
    expect(await cli('check', GATE, '--url', url, '--max-age', '2m')).toBe(0);
  });

  it("notices an old verdict by the answer's own date when this clock is as wrong as the verdict is old", async () => {
    const { url } = await api(verdictAnswer({ evaluated_at: ago(60) }));
    const system = io.clock;
    io.clock = { ...clockOf(system), wallNow: () => system.wallNow() - 60_000 };
    expect(await cli('check', GATE, '--url', url)).toBe(3);
    expect(io.err).toMatch(/evaluated (59.*|1m)s? before it was sent/);
  });
});

/** Methods of a class instance are not own properties, so that a spread alone would lose them. */
function clockOf(clock: FakeIo['clock']): FakeIo['clock'] {
  return {
    wallNow: () => clock.wallNow(),
    monotonicNow: () => clock.monotonicNow(),
    uptime: () => clock.uptime(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
  };
}

describe('check: usage', () => {
  const cases: [string, string[], Record<string, string>, RegExp][] = [
    ['no daemon', ['check', GATE], {}, /set LOCKGATE_URL/],
    ['no gate', ['check', '--url', 'http://x'], {}, /missing required argument/],
    ['not a gate', ['check', 'Shop/Flip', '--url', 'http://x'], {}, /MIGRATION\/GATE/],
    ['a path', ['check', 'a/b/c', '--url', 'http://x'], {}, /MIGRATION\/GATE/],
    ['not a URL', ['check', GATE, '--url', 'localhost:9188'], {}, /URL/],
    ['credentials in the URL', ['check', GATE, '--url', 'http://u:hunter2@h'], {}, /must not carry credentials/],
    ['no such file', ['check', GATE, '--url', 'http://x', '--token-file', '/nonexistent'], {}, /cannot read/],
    ['a token of two lines', ['check', GATE, '--url', 'http://x'], { LOCKGATE_TOKEN: 'hunter2\nx' }, /no token has/],
    ['a timeout without a unit', ['check', GATE, '--url', 'http://x', '--timeout', '5'], {}, /with its unit/],
    ['an unknown option', ['check', GATE, '--force'], {}, /unknown option/],
    ['an unknown command', ['chek'], {}, /Did you mean check/],
    ['nothing', [], {}, /Usage: lockgate/],
  ];
  it.each(cases)('exit 2: %s', async (_name, argv, env, printed) => {
    io.env = env;
    expect(await cli(...argv)).toBe(2);
    expect(io.err).toMatch(printed);
    expect(io.err).not.toContain('hunter2');
  });

  it('prints help with examples for every command, and the version', async () => {
    expect(await cli('--version')).toBe(0);
    expect(io.out).toBe('1.2.3\n');
    const commands = ['run', 'config check', 'config schema', 'gates explain', 'grants', 'setup', 'doctor', 'teardown'];
    commands.push('status', 'check', 'wait', 'fence', 'promote', 'rollback', 'attest', 'journal');
    for (const command of commands) {
      io.out = '';
      expect(await cli(...command.split(' '), '--help')).toBe(0);
      expect(io.out).toContain('Examples:');
      expect(io.out).toContain(`lockgate ${command}`);
    }
  });
});

describe('check: several daemons, the worst answer counts', () => {
  const handlers: Record<string, Handler> = {
    open: verdictAnswer(),
    closed: verdictAnswer({ state: 'closed' }),
    unknown: verdictAnswer({ state: 'unknown' }),
    missing: json(404, { detail: 'there is no such gate' }),
    broken: json(500, {}),
  };
  const cases: [string, number][] = [
    ['open open', 0],
    ['open closed', 1],
    ['closed unknown', 3],
    ['unknown missing', 2],
    ['open missing', 2],
    ['missing broken', 4],
    ['broken unknown closed open', 4],
  ];
  it.each(cases)('%s', async (names, code) => {
    const servers = await Promise.all(names.split(' ').map((name) => api(handlers[name]!)));
    io.env = { LOCKGATE_URL: servers.map((s) => s.url).join(', ') };
    expect(await cli('check', GATE)).toBe(code);
    for (const server of servers) expect(io.out + io.err).toContain(server.url);
  });

  it('prints one JSON value a line in the order of the URLs, also for those that gave none', async () => {
    const [a, b] = [await api(handlers['open']!), await api(handlers['missing']!)];
    const code = await cli('check', GATE, '--json', '--url', a.url, '--url', 'http://127.0.0.1:1', '--url', b.url);
    expect(code).toBe(4);
    const lines = io.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toMatchObject([
      { state: 'open' },
      { url: 'http://127.0.0.1:1', error: 'connection refused' },
      { detail: 'there is no such gate' },
    ]);
  });
});

describe('check: what is sent', () => {
  it('asks …/check below the URL, with the token of the environment or of a file', async () => {
    const server = await api(verdictAnswer({ gate: 'all-shards' }));
    io.env = { LOCKGATE_TOKEN: 'from-env' };
    expect(await cli('check', 'all-shards', '--url', `${server.url}/lockgate/`)).toBe(0);
    const folder = mkdtempSync(join(tmpdir(), 'lockgate-cli-'));
    try {
      writeFileSync(join(folder, 'token'), 'from-file\n');
      await cli('check', 'all-shards', '--url', server.url, '--token-file', join(folder, 'token'));
    } finally {
      rmSync(folder, { recursive: true });
    }
    expect(server.requests.map((r) => [r.url, r.headers.authorization])).toEqual([
      ['/lockgate/v1/gates/all-shards/check', 'Bearer from-env'],
      ['/v1/gates/all-shards/check', 'Bearer from-file'],
    ]);
  });

  it('trusts a certificate that it was given, and no other', async () => {
    const file = (name: string): string => join(import.meta.dirname, '../fixtures/tls', name);
    const read = (name: string): string => readFileSync(file(name), 'utf8');
    const server = await api(verdictAnswer(), { key: read('loopback-key.pem'), cert: read('loopback-cert.pem') });
    expect(await cli('check', GATE, '--url', server.url)).toBe(4);
    expect(io.err).toContain('not trusted here (--ca FILE)');
    expect(await cli('check', GATE, '--url', server.url, '--ca', file('loopback-cert.pem'))).toBe(0);
    expect(await cli('check', GATE, '--url', server.url, '--ca', file('loopback-key.pem'))).toBe(2);
    expect(await cli('check', GATE, '--url', server.url.replace('https', 'http'))).toBe(4);
  });
});

describe('check: what people read', () => {
  const evaluated = '2026-11-22T02:10:45.000Z';
  const detailed: Partial<VerdictJson> = {
    state: 'closed',
    evaluated_at: evaluated,
    opens_at: '2026-11-22T02:14:05.000Z',
    reason: 'the journal cannot be written',
    conditions: [
      {
        text: 'forward.lag < 2s for 10m',
        state: 'holding',
        value: 0.42,
        unit: 's',
        held_seconds: 400,
        needs_seconds: 600,
        last_broken: { at: '2026-11-22T02:04:05.000Z', value: 3.1 },
        reason: null,
      },
      {
        text: 'reverse.running is 1',
        state: 'unknown',
        value: null,
        unit: 'flag',
        held_seconds: 0,
        needs_seconds: 0,
        last_broken: { at: '2026-11-21T23:59:00.000Z', value: null },
        reason: 'cannot connect\u001b[31m\n(start it)',
      },
    ],
  };
  const at = (clock: FakeIo['clock']): FakeIo['clock'] => ({ ...clockOf(clock), wallNow: () => Date.parse(evaluated) });
  const then: Handler = (q, r) => json(409, verdict(detailed), { date: new Date(evaluated).toUTCString() })(q, r);

  it('shows state, evidence and when it could open', async () => {
    io.clock = at(io.clock);
    const { url } = await api(then);
    expect(await cli('check', GATE, '--url', url)).toBe(1);
    expect(io.out).toBe(
      [
        'CLOSED   shop/flip-writes  opens in 3m 20s (at 02:14:05Z)',
        '  held back: the journal cannot be written',
        '  holding  forward.lag < 2s for 10m  420 ms   held 6m 40s of 10m',
        '    last broken 02:04:05Z, 3.1 s',
        '  unknown  reverse.running is 1      unknown',
        '    cannot connect [31m (start it); last broken 2026-11-21 23:59:00Z',
        '',
      ].join('\n'),
    );
  });

  it('paints only in a terminal, and not for NO_COLOR', async () => {
    io.clock = at(io.clock);
    const { url } = await api(then);
    io.isTTY = true;
    await cli('check', GATE, '--url', url);
    expect(io.out).toContain('\u001b[31mCLOSED ');
    io.out = '';
    io.env = { NO_COLOR: '1' };
    await cli('check', GATE, '--url', url);
    expect(io.out).not.toContain('\u001b');
    expect(io.out).toMatch(/^CLOSED/);
  });

  it('prints exactly what the API said with --json, also when it is not believed', async () => {
    const body = '{ "gate": "shop/flip-writes",\n  "state": "open" }';
    const { url } = await api((_q, r) => void r.writeHead(200).end(body));
    expect(await cli('check', GATE, '--url', url, '--json')).toBe(3);
    expect(io.out).toBe(`${body}\n`);
    expect(io.err).toContain('gives no verdict');
  });
});
