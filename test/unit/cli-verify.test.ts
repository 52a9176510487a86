import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../../daemon/cli/program.js';
import type { VerifyJson } from '../../daemon/http/port.js';
import { json, startApi, type ApiServer, type Handler } from '../support/api-server.js';
import { FakeIo, noBackend, tenTimesFaster } from '../support/fake-io.js';
import { verification } from '../support/fake-port.js';

const AT = '2026-11-22T00:00:00.000Z';
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

const [equal, different] = verification().tables as [VerifyJson['tables'][number], VerifyJson['tables'][number]];
const ended = (change: Partial<VerifyJson> = {}) =>
  verification({ last: { pass: 'p1', started_at: AT, ended_at: '2026-11-22T00:03:20.000Z', complete: true, reason: null }, ...change }); // prettier-ignore
const running = (change: Partial<NonNullable<VerifyJson['running']>> = {}) =>
  verification({
    running: {
      ...{ pass: 'p1', started_at: AT, tables_done: 1, tables_total: 2, rows_done: 1_500, rows_estimated: 3_000 },
      ...{ eta_seconds: 90, table: 'public.orders', paused: null, ...change },
    },
  });

interface Script {
  start?: Handler;
  looks: Handler[];
  rows?: Handler;
}

/** A daemon that answers the start of a pass, then one look after the other, the last one again and again. */
async function api({ start = json(202, { pass: 'p1' }), looks, rows }: Script): Promise<ApiServer> {
  let n = 0;
  const server = await startApi((request, response) => {
    const look = looks[Math.min(n, looks.length - 1)];
    if (request.url?.endsWith('/rows')) rows?.(request, response);
    else if (request.method === 'POST') start(request, response);
    else {
      n += 1;
      look?.(request, response);
    }
  });
  open.push(server);
  return server;
}

const cli = (server: ApiServer, ...argv: string[]): Promise<number> =>
  runCli(['verify', 'shop', '--url', server.url, ...argv], io, noBackend);
const problem = (status: number, code: string, more: object = {}): Handler =>
  json(status, { type: `urn:lockgate:problem:${code}`, title: 'x', status, detail: `it is ${code}`, code, ...more });

describe('verify', () => {
  it('starts a pass, follows it and tells what it found', async () => {
    const server = await api({ looks: [json(200, running()), json(200, ended())] });
    expect(await cli(server)).toBe(1);
    expect(server.requests.map((r) => [r.method, r.url, r.body])).toEqual([
      ['POST', '/v1/migrations/shop/verify', '{}'],
      ['GET', '/v1/migrations/shop/verify', ''],
      ['GET', '/v1/migrations/shop/verify', ''],
    ]);
    expect(io.err).toContain('50 %  1/2 tables  1 500 rows  about 1m 30s left  public.orders');
    expect(io.out).toBe(
      [
        'MISMATCH  public.orders     2 of 3 rows differ',
        '    missing on the target: id=42',
        '    different: id=43',
        'match     public.customers  3 rows',
        'shop: 1 mismatch of 2 tables in 3m 20s',
        '',
      ].join('\n'),
    );
  });

  it.each([
    ['all equal', ended({ tables: [equal] }), 0],
    ['a mismatch', ended({ tables: [equal, different] }), 1],
    ['one that kept changing', ended({ tables: [equal, { ...equal, state: 'not-settled' }] }), 1],
    ['one that cannot be compared', ended({ tables: [equal, { ...equal, state: 'not-covered', reason: 'xml' }] }), 1],
    ['one that nothing is known of', ended({ tables: [equal, { ...equal, state: 'unknown' }] }), 3],
    ['no table', ended({ tables: [] }), 3],
    ['an incomplete pass', ended({ tables: [equal], last: { pass: 'p1', started_at: AT, ended_at: AT, complete: false, reason: 'ended by ann' } }), 3], // prettier-ignore
    ['another pass', ended({ tables: [equal], last: { pass: 'p2', started_at: AT, ended_at: AT, complete: true, reason: null } }), 3], // prettier-ignore
    ['no last pass', ended({ tables: [equal], last: null }), 3],
  ])('exits by what was found: %s', async (_what, body, code) => {
    expect(await cli(await api({ looks: [json(200, body)] }))).toBe(code);
  });

  it('takes a word that it does not know for no match', async () => {
    const odd = { ...ended(), tables: [{ ...equal, state: 'fine' }] };
    expect(await cli(await api({ looks: [json(200, odd)] }))).toBe(3);
  });

  it('compares only the tables that are named, and judges by them', async () => {
    const server = await api({ looks: [json(200, ended())] });
    expect(await cli(server, '--table', 'public.customers', '--table', 'public.customers')).toBe(0);
    expect(server.requests[0]?.body).toBe('{"tables":["public.customers"]}');
    expect(io.out).not.toContain('public.orders');
    expect(await cli(await api({ looks: [json(200, ended())] }), '--table', 'public.gone')).toBe(3);
  });

  it('follows the pass that runs, unless tables were named', async () => {
    const busy = problem(409, 'verify_running', { pass: 'p1' });
    expect(await cli(await api({ start: busy, looks: [json(200, ended({ tables: [equal] }))] }))).toBe(0);
    expect(io.err).toContain('pass p1 is running already, and is followed');
    const server = await api({ start: busy, looks: [] });
    expect(await cli(server, '--table', 'public.orders')).toBe(2);
    expect(server.requests).toHaveLength(1);
  });

  it.each([
    [problem(409, 'not_configured'), 2],
    [problem(404, 'unknown_table'), 2],
    [problem(401, 'token_missing'), 2],
    [problem(403, 'role_insufficient'), 2],
    [problem(503, 'tables_unknown'), 3],
    [json(202, { id: 'p1' }), 3],
    [json(200, 'ok'), 3],
  ])('tells a refusal', async (start, code) => {
    expect(await cli(await api({ start, looks: [] }))).toBe(code);
    expect(io.err).not.toBe('');
  });

  it('only starts it with --no-wait', async () => {
    const server = await api({ looks: [] });
    expect(await cli(server, '--no-wait')).toBe(0);
    expect(io.out).toBe('pass p1 is running; `lockgate verify shop` follows it\n');
    expect(await cli(await api({ looks: [] }), '--no-wait', '--json')).toBe(0);
    expect(io.out).toContain('{"pass":"p1"}');
  });

  it('prints what the API said with --json', async () => {
    const body = ended({ tables: [equal] });
    expect(await cli(await api({ looks: [json(200, body)] }), '--json')).toBe(0);
    expect(JSON.parse(io.out)).toEqual(body);
  });

  it('bears a daemon that is away for a while, and gives up after the timeout', async () => {
    const drop: Handler = (request) => void request.socket.destroy();
    const back = await api({ looks: [drop, problem(503, 'starting'), json(200, ended({ tables: [equal] }))] });
    expect(await cli(back)).toBe(0);
    expect(io.err).toContain('no answer: ');
    expect(await cli(await api({ looks: [drop] }), '--timeout', '2s')).toBe(4);
    expect(io.err).toContain('the pass is left as it is');
    const nobody = await api({ start: drop, looks: [] });
    expect(await cli(nobody)).toBe(4);
    expect(io.err).toContain('a pass may have been started all the same');
  });

  it('is interrupted without ending the pass', async () => {
    const server = await api({ looks: [json(200, running())] });
    const done = cli(server);
    await expect.poll(() => server.requests.length).toBeGreaterThan(1);
    io.send('SIGINT');
    expect(await done).toBe(3);
    expect(io.err).toContain('interrupted: pass p1 goes on; lockgate verify shop follows it');
    expect(server.requests.map((r) => r.method)).not.toContain('DELETE');
  });

  it('draws a bar in a terminal, no wider than that, and says why it waits', async () => {
    [io.isErrTTY, io.columns] = [true, 60];
    const server = await api({ looks: [json(200, running({ paused: 'the lag is above 5s' })), json(200, ended())] });
    expect(await cli(server)).toBe(1);
    const lines = io.err.split('\r\u001b[K');
    expect(lines[1]).toMatch(/^shop \[#{10}-{10}\] {3}50 % {2}1\/2 tables/);
    expect(Math.max(...lines.map((l) => l.length))).toBeLessThan(60);
    [io.isErrTTY, io.err] = [false, ''];
    await cli(await api({ looks: [json(200, running({ paused: 'the lag is above 5s' })), json(200, ended())] }));
    expect(io.err).toContain('PAUSED: the lag is above 5s');
  });

  it('shows values in a terminal only', async () => {
    const server = await api({ looks: [] });
    expect(await cli(server, '--values')).toBe(2);
    [io.isTTY, io.env] = [true, { ...io.env, NO_COLOR: '1' }];
    expect(await cli(server, '--values', '--json')).toBe(2);
    expect(await cli(server, '--values', '--no-wait')).toBe(2);
    expect(server.requests).toEqual([]);
    const many = { ...different, mismatches: Array.from({ length: 30 }, (_, i) => ({ kind: 'different' as const, key: { id: String(i) } })) }; // prettier-ignore
    const rows = json(200, {
      rows: [
        { key: { id: '42' }, source: { id: '42', note: 'a\u001b[31m', total: null }, target: { id: '42', note: 'b', total: null } }, // prettier-ignore
        { key: { id: '43' }, source: { id: '43' }, target: null },
      ],
    });
    const shown = await api({ looks: [json(200, ended({ tables: [many] }))], rows });
    io.out = '';
    expect(await cli(shown, '--values')).toBe(1);
    const asked = JSON.parse(shown.requests.at(-1)?.body ?? '') as { keys: unknown[] };
    expect(asked).toMatchObject({ table: 'public.orders', keys: { length: 20 } });
    expect(io.out).toContain("note  'a [31m'  'b'");
    expect(io.out).not.toContain('\u001b');
    expect(io.out).toContain("id  '43'    (no row)");
    expect(io.out).not.toContain('NULL');
  });

  it('asks one daemon only', async () => {
    const server = await api({ looks: [] });
    expect(await cli(server, '--url', 'http://127.0.0.1:1')).toBe(2);
    expect(server.requests).toEqual([]);
  });
});
