import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../../daemon/cli/program.js';
import type { FenceJson } from '../../daemon/http/port.js';
import { json, startApi, type ApiServer, type Handler } from '../support/api-server.js';
import { FakeIo, noBackend, tenTimesFaster } from '../support/fake-io.js';
import { fence } from '../support/fake-port.js';

const open: ApiServer[] = [];
let io: FakeIo;

beforeEach(() => {
  io = new FakeIo();
  io.env = { LOCKGATE_TOKEN: 'operator-secret' };
  io.clock = tenTimesFaster(io.clock);
});

afterEach(async () => {
  expect(io.out + io.err).not.toContain('operator-secret');
  expect(io.out + io.err).not.toMatch(/\n\s+at .*\.(ts|js):/);
  expect(io.listeners).toBe(0);
  await Promise.all(open.splice(0).map((api) => api.close()));
});

async function api(handler: Handler): Promise<ApiServer> {
  const server = await startApi(handler);
  open.push(server);
  return server;
}

const cli = (...argv: string[]): Promise<number> => runCli(['fence', 'shop', ...argv], io, noBackend);
const says = (state: FenceJson['state'], change: Partial<FenceJson> = {}): Handler =>
  json(200, fence('f1', state, change));
const created = json(201, fence('f1', 'placed'));
const drop: Handler = (request) => void request.socket.destroy();

/** Answers with one handler after the other, the last one again and again. */
function script(...handlers: Handler[]): Handler {
  let n = 0;
  return (request, response) => {
    const handler = handlers[Math.min(n, handlers.length - 1)]!;
    n += 1;
    handler(request, response);
  };
}

const EXITS: [FenceJson['state'], number][] = [
  ['drained', 0],
  ['violated', 1],
  ['expired', 1],
  ['cancelled', 1],
  ['closed', 1],
  ['placed', 1],
  ['unknown', 3],
];

describe('fence: the exit code is the answer', () => {
  it.each(EXITS)('placed, then %s: %i', async (state, code) => {
    const server = await api(script(created, says('placed'), says(state)));
    expect(await cli('--url', server.url, '--wait', '3s')).toBe(code);
    expect(io.out).toMatch(new RegExp(`^${state.toUpperCase()}  shop  fence f1  forward\n`));
    expect(server.requests.slice(0, 2).map((r) => [r.method, r.url, r.body, r.headers.authorization])).toEqual([
      ['POST', '/v1/migrations/shop/fences', '{}', 'Bearer operator-secret'],
      [
        'GET',
        expect.stringMatching(/^\/v1\/migrations\/shop\/fences\/f1\?wait=[1-3]\d{3}ms$/),
        '',
        'Bearer operator-secret',
      ],
    ]);
    if (code !== 0) expect(io.out).not.toContain('DRAINED');
  });

  it.each(EXITS)('--id, %s: %i', async (state, code) => {
    const server = await api(says(state));
    expect(await cli('--url', server.url, '--id', 'f1', '--wait', '2s')).toBe(code);
    expect(server.requests.every((r) => r.method === 'GET')).toBe(true);
  });

  const refusals: [string, Handler, number, RegExp][] = [
    ['400', json(400, { detail: 'deadline must be 1s to 1h' }), 2, /refused \(400\): deadline must be/],
    ['401', json(401, { detail: 'no token' }), 2, /token is missing or not accepted/],
    ['403', json(403, { detail: 'a reader' }), 2, /does not allow this/],
    ['404', json(404, { detail: 'there is no migration "shop"' }), 2, /there is no migration/],
    ['409', json(409, { detail: 'f0 is open', hint: 'cancel it first' }), 2, /f0 is open \(cancel it first\)/],
    ['503', json(503, { detail: 'the source cannot be watched' }), 3, /the source cannot be watched/],
    ['500', json(500, {}), 4, /cannot answer \(500\)/],
    ['no JSON', (_q, r) => void r.writeHead(200).end('<html>'), 3, /cannot be understood/],
    ['no fence', json(201, { id: 'f1' }), 3, /gives no fence/],
    ['a state that does not exist', json(201, { ...fence('f1', 'placed'), state: 'dry' }), 3, /gives no fence/],
    ['another migration', json(201, fence('f1', 'drained', { migration: 'crm' })), 3, /of crm, not a new one of shop/],
  ];
  it.each(refusals)('placing: %s', async (_name, handler, code, printed) => {
    const { url, requests } = await api(handler);
    expect(await cli('--url', url, '--wait', '2s')).toBe(code);
    expect(io.err).toMatch(printed);
    expect([io.out, requests.length]).toEqual(['', 1]);
  });

  const doubts: [string, Handler, RegExp][] = [
    ['another fence', json(200, fence('f2', 'drained')), /about the fence f2 of shop, not f1/],
    [
      'drained but violated',
      says('drained', { violations: { count: 1, first_position: null, first_at: null } }),
      /contradicts/,
    ],
    ['drained but never', says('drained', { drained_at: null }), /contradicts/],
    ['from a cache', json(200, fence('f1', 'drained'), { age: '45' }), /cache that has kept it for 45s/],
    ['old', json(200, fence('f1', 'drained'), { date: new Date(Date.now() - 60_000).toUTCString() }), /is old/],
    [
      'future',
      json(200, fence('f1', 'drained'), { date: new Date(Date.now() + 60_000).toUTCString() }),
      /in the future/,
    ],
    [
      'undated',
      (_q, r) => {
        r.sendDate = false;
        r.end(JSON.stringify(fence('f1', 'drained')));
      },
      /has no date/,
    ],
  ];
  it.each(doubts)('never believes an answer that is %s', async (_name, handler, printed) => {
    const { url } = await api(handler);
    expect(await cli('--url', url, '--id', 'f1', '--wait', '1500ms')).toBe(3);
    expect(io.err).toMatch(printed);
    expect(io.out).toBe('');
  });

  it('believes older answers when it was told that clocks differ', async () => {
    const { url } = await api(json(200, fence('f1', 'drained'), { date: new Date(Date.now() - 60_000).toUTCString() }));
    expect(await cli('--url', url, '--id', 'f1', '--max-age', '2m')).toBe(0);
  });

  it('4 when nothing listens; says that a fence may be there when the connection broke', async () => {
    expect(await cli('--url', 'http://127.0.0.1:1')).toBe(4);
    expect(io.err).toContain('connection refused');
    expect(io.err).not.toContain('may have been placed');
    const { url } = await api(drop);
    expect(await cli('--url', url)).toBe(4);
    expect(io.err).toMatch(/the fence may have been placed all the same: .*lockgate status.*--cancel ID/);
  });

  it('survives a restart of the daemon, and a fence that cannot be proved for a moment', async () => {
    const { url } = await api(
      script(created, drop, json(503, { detail: 'starting' }), says('unknown'), says('drained')),
    );
    expect(await cli('--url', url)).toBe(0);
    expect(io.err).toMatch(/PLACED[^]*UNREACHABLE[^]*UNKNOWN[^]*starting[^]*UNKNOWN/);
  });

  it.each([
    ['503', json(503, { detail: 'shutting down' }), 3],
    ['gone', drop, 4],
    ['404', json(404, { detail: 'there is no fence "f1"' }), 2],
  ] as const)('ends by the last answer: %s', async (_name, handler, code) => {
    const { url } = await api(script(created, says('placed'), handler));
    expect(await cli('--url', url, '--wait', '3s')).toBe(code);
    expect(io.out).toBe('');
    if (code !== 2) expect(io.err).toContain('follow it: lockgate fence shop --id f1');
  });

  it('does not ask more than once a second, whatever the daemon does', async () => {
    const { url, requests } = await api(script(created, says('placed')));
    await cli('--url', url, '--wait', '2500ms');
    expect(requests.length).toBeLessThanOrEqual(5);
  });
});

describe('fence: usage', () => {
  const url = 'http://127.0.0.1:1';
  const cases: [string, string[], RegExp][] = [
    ['several URLs', ['--url', url, '--url', 'http://127.0.0.1:2'], /one daemon, not several/],
    ['--id and --cancel', ['--url', url, '--id', 'a', '--cancel', 'b'], /not both/],
    ['--id and --deadline', ['--url', url, '--id', 'a', '--deadline', '60s'], /for placing a fence/],
    ['--cancel and --note', ['--url', url, '--cancel', 'a', '--note', 'x'], /for placing a fence/],
    ['an id that is a path', ['--url', url, '--id', '../promote'], /the id of a fence/],
    ['a deadline without a unit', ['--url', url, '--deadline', '60'], /with its unit/],
    ['a wait without a unit', ['--url', url, '--wait', '30'], /with its unit/],
    ['no daemon', [], /set LOCKGATE_URL/],
  ];
  it.each(cases)('exit 2: %s', async (_name, argv, printed) => {
    expect(await cli(...argv)).toBe(2);
    expect(io.err).toMatch(printed);
  });

  it('exit 2 for several URLs of the environment', async () => {
    io.env = { LOCKGATE_URL: 'http://127.0.0.1:1 http://127.0.0.1:2' };
    expect(await cli()).toBe(2);
    expect(io.err).toContain('one daemon, not several');
  });

  it('sends deadline and note', async () => {
    const { url, requests } = await api(script(created, says('drained')));
    expect(await cli('--url', url, '--deadline', '1m30s', '--note', 'OPS-41')).toBe(0);
    expect(JSON.parse(requests[0]!.body)).toEqual({ deadline: '90000ms', note: 'OPS-41' });
  });
});

describe('fence --cancel', () => {
  it('0 when it was cancelled', async () => {
    const { url, requests } = await api(says('cancelled', { ended_because: 'cancelled by runbook' }));
    expect(await cli('--url', url, '--cancel', 'f1')).toBe(0);
    expect(requests.map((r) => [r.method, r.url])).toEqual([['DELETE', '/v1/migrations/shop/fences/f1']]);
    expect(io.out).toBe(
      'CANCELLED  shop  fence f1  forward\n  given up: cancelled by runbook\n  now: writes may go on as before, and nothing was switched\n',
    );
  });

  it.each([
    ['ended', json(409, { detail: 'it has ended' }), 2],
    ['none', json(404, { detail: 'there is no fence "f1"' }), 2],
    ['reader', json(403, { detail: 'a reader' }), 2],
    ['not writable', json(503, { detail: 'the journal cannot be written' }), 3],
    ['still placed', says('placed'), 1],
    ['still drained', says('drained'), 3],
    ['gone', drop, 4],
  ] as const)('%s', async (_name, handler, code) => {
    const { url } = await api(handler);
    expect(await cli('--url', url, '--cancel', 'f1')).toBe(code);
  });
});

describe('fence: what people read', () => {
  it('progress in plain lines', async () => {
    const { url } = await api(
      script(
        created,
        says('placed', { missing: { bytes: 1, transactions: 1, flows: [], reasons: [] } }),
        says('drained'),
      ),
    );
    expect(await cli('--url', url)).toBe(0);
    expect(io.err.trimEnd().split('\n')).toEqual([
      expect.stringMatching(
        /^\d\d:\d\d:\d\dZ PLACED {2}shop fence f1 {2}waited 0s of 30s {2}missing 4 KiB, 12 transactions, on shop_sub; a transaction is open on the source$/,
      ),
      expect.stringMatching(/ PLACED {2}shop fence f1 {2}waited [\d.]+s of 30s {2}missing 1 B, 1 transaction$/),
    ]);
  });

  it('progress in one line that is rewritten in a terminal, cut to its width', async () => {
    io.isErrTTY = true;
    io.columns = 60;
    const missing = { bytes: 1, transactions: 1, flows: [], reasons: ['x'.repeat(200)] };
    const { url, requests } = await api(script(created, says('placed', { missing }), says('drained')));
    expect(await cli('--url', url, '--json')).toBe(0);
    expect(io.err).not.toContain('\n');
    const shown = io.err.split('\r\u001b[K').map((line) => line.replaceAll(/\u001b\[\d*m/g, ''));
    expect(shown.length).toBeGreaterThanOrEqual(3);
    for (const line of shown) expect(line.length).toBeLessThan(60);
    expect(requests[1]?.url).toContain('?wait=1000ms');
    expect(JSON.parse(io.out)).toEqual(fence('f1', 'drained'));
  });

  const texts: [FenceJson['state'], Partial<FenceJson>, string[]][] = [
    [
      'drained',
      {},
      [
        'the target has everything that the source had when the fence was placed (up to 0/16B3748)',
        'drain time 1.3 s (predicted 800 ms, at most 2.1 s); proved by marker, position',
        'now: keep writes stopped, and declare it: lockgate promote shop --reason "..."',
      ],
    ],
    [
      'drained',
      { link: 'reverse', predicted: null },
      [
        'the source has everything that the target had when the fence was placed (up to 0/16B3748)',
        'drain time 1.3 s; proved by marker, position',
        'now: keep writes stopped, and declare it: lockgate rollback shop --reason "..."',
      ],
    ],
    [
      'violated',
      { violations: { count: 3, first_position: '0/16B3900', first_at: '2001-01-01T02:00:31.000Z' } },
      [
        'writes on the source had not really stopped: 3 writes, the first at 0/16B3900, 2001-01-01 02:00:31Z after 0/16B3748',
        'now: do not switch; find and stop what writes there, then place a new fence: lockgate fence shop',
      ],
    ],
    [
      'expired',
      {
        deadline_at: '2001-01-01T02:00:00Z',
        unwatched: [{ from: '2001-01-01T01:59:00Z', to: null, reason: 'no\u001b[2J slot' }],
      },
      [
        'not drained by its deadline 2001-01-01 02:00:00Z: missing 4 KiB, 12 transactions, on shop_sub; a transaction is open on the source',
        'now: do not switch; let writes go on, mend what is missing, then stop them again and place a new fence: lockgate fence shop',
        'not watched from 2001-01-01 01:59:00Z to now: no [2J slot',
      ],
    ],
    [
      'unknown',
      { missing: { bytes: null, transactions: null, flows: [], reasons: ['the target cannot be asked'] } },
      [
        'it cannot be proved now whether the target has everything (up to 0/16B3748): the target cannot be asked',
        'now: do not switch; mend what keeps it from being proved',
        'follow it: lockgate fence shop --id f1',
        'cancel it: lockgate fence shop --cancel f1',
      ],
    ],
    [
      'placed',
      { deadline_at: '2001-01-01T02:00:00Z' },
      [
        'the target does not have everything yet (up to 0/16B3748): missing 4 KiB, 12 transactions, on shop_sub; a transaction is open on the source',
        'it stays placed until 2001-01-01 02:00:00Z; do not switch before it is drained',
        'follow it: lockgate fence shop --id f1',
        'cancel it: lockgate fence shop --cancel f1',
      ],
    ],
    [
      'closed',
      { ended_at: '2001-01-01T02:00:00Z', ended_because: 'promote by runbook' },
      [
        'a change of direction was declared on it at 2001-01-01 02:00:00Z: promote by runbook; it says nothing about now',
        'for another switch place a new fence: lockgate fence shop',
      ],
    ],
  ];
  it.each(texts)('%s %#', async (state, change, lines) => {
    const { url } = await api(says(state, change));
    await cli('--url', url, '--id', 'f1', '--wait', '1100ms');
    expect(io.out.split('\n').slice(1)).toEqual([...lines.map((line) => `  ${line}`), '']);
  });
});

describe('fence: interrupted', () => {
  const hang: Handler = () => undefined;

  it('leaves the fence as it is, and says how to follow or cancel it', async () => {
    const server = await api(script(created, hang));
    const running = cli('--url', server.url, '--wait', '5m');
    await expect.poll(() => server.requests.length).toBe(2);
    io.send('SIGINT');
    expect(await running).toBe(1);
    expect(io.out).toMatch(
      /^PLACED[^]*follow it: lockgate fence shop --id f1\n {2}cancel it: lockgate fence shop --cancel f1\n$/,
    );
    expect(io.err).toContain('interrupted: the fence is left as it is');
    expect(server.requests.map((r) => r.method)).toEqual(['POST', 'GET']);
  });

  it('says the same on standard error with --json', async () => {
    const server = await api(script(created, hang));
    const running = cli('--url', server.url, '--wait', '5m', '--json');
    await expect.poll(() => server.requests.length).toBe(2);
    io.send('SIGTERM');
    expect(await running).toBe(1);
    expect(JSON.parse(io.out)).toEqual(fence('f1', 'placed'));
    expect(io.err).toContain('lockgate: cancel it: lockgate fence shop --cancel f1\n');
  });

  it('is not sure of a fence whose placing was interrupted, nor of one that was never seen', async () => {
    const server = await api(hang);
    const placing = cli('--url', server.url);
    await expect.poll(() => server.requests.length).toBe(1);
    io.send('SIGINT');
    expect(await placing).toBe(4);
    expect(io.err).toContain('the fence may have been placed all the same');
    const following = cli('--url', server.url, '--id', 'f1');
    await expect.poll(() => server.requests.length).toBe(2);
    io.send('SIGINT');
    expect(await following).toBe(3);
    expect(io.out).toBe('');
  });
});
