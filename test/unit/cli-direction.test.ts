import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../../daemon/cli/program.js';
import { json, startApi, type ApiServer, type Handler } from '../support/api-server.js';
import { FakeIo, noBackend, tenTimesFaster } from '../support/fake-io.js';
import { directionChange, fence } from '../support/fake-port.js';

const open: ApiServer[] = [];
let io: FakeIo;

beforeEach(() => {
  io = new FakeIo();
  io.env = { LOCKGATE_TOKEN: 'operator-secret' };
  io.clock = tenTimesFaster(io.clock);
});

afterEach(async () => {
  expect(io.out + io.err).not.toContain('operator-secret');
  expect(io.listeners).toBe(0);
  await Promise.all(open.splice(0).map((api) => api.close()));
});

async function api(handler: Handler): Promise<ApiServer> {
  const server = await startApi(handler);
  open.push(server);
  return server;
}

/** Answers with one handler after the other, the last one again and again. */
function script(...handlers: Handler[]): Handler {
  let n = 0;
  return (request, response) => {
    const handler = handlers[Math.min(n, handlers.length - 1)]!;
    n += 1;
    handler(request, response);
  };
}

const cli = (action: string, ...argv: string[]): Promise<number> =>
  runCli([action, 'shop', '--reason', 'cutover', ...argv], io, noBackend);
const promoted = json(200, directionChange());
const rolledBack = json(200, directionChange({ action: 'rollback', direction: 'forward', fence: null, forced: true }));
const drop: Handler = (request) => void request.socket.destroy();
const keys = ({ requests }: ApiServer): Set<unknown> => new Set(requests.map((r) => r.headers['idempotency-key']));

describe('promote and rollback', () => {
  it('promote sends what it was told, with a key of its own', async () => {
    const server = await api(promoted);
    expect(await cli('promote', '--url', server.url)).toBe(0);
    expect(await cli('promote', '--url', server.url, '--expect', 'reverse', '--force')).toBe(0);
    expect(server.requests.map((r) => [r.method, r.url, JSON.parse(r.body) as unknown])).toEqual([
      ['POST', '/v1/migrations/shop/promote', { reason: 'cutover', expect: 'forward', force: false }],
      ['POST', '/v1/migrations/shop/promote', { reason: 'cutover', expect: 'reverse', force: true }],
    ]);
    expect(keys(server).size).toBe(2);
    for (const key of keys(server)) expect(key).toMatch(/^[\x20-\x7e]{16,128}$/);
  });

  it('rollback expects reverse', async () => {
    const { url, requests } = await api(rolledBack);
    expect(await cli('rollback', '--url', url)).toBe(0);
    expect([requests[0]?.url, JSON.parse(requests[0]!.body)]).toEqual([
      '/v1/migrations/shop/rollback',
      { reason: 'cutover', expect: 'reverse', force: false },
    ]);
  });

  it('says where writes belong now, and what to watch', async () => {
    const at = '2001-01-01T02:00:00Z';
    const { url } = await api(json(200, directionChange({ changed_at: at })));
    await cli('promote', '--url', url);
    expect(io.out).toBe(
      [
        'DONE  shop  promote  writes belong on the target now (direction reverse, epoch 2, since 2001-01-01 02:00:00Z)',
        '  fence f1 had drained in 1.3 s, up to 0/16B3748',
        '  the source stood at 0/16B3800: every write there from then on is a stray',
        '  now: point writes at the target, and keep them off the source',
        '',
      ].join('\n'),
    );
    const forced = directionChange({
      action: 'rollback',
      direction: 'forward',
      fence: null,
      forced: true,
      old_side_position: null,
      warnings: ['strays\u001b[2J may have gone unseen'],
      changed_at: at,
    });
    const other = await api(json(200, forced));
    io.out = '';
    await cli('rollback', '--url', other.url, '--force');
    expect(io.out).toBe(
      [
        'DONE  shop  rollback  writes belong on the source now (direction forward, epoch 2, since 2001-01-01 02:00:00Z)',
        '  FORCED without proof that the source has everything: compare the data before you trust it',
        '  where the target stood could not be asked',
        '  WARNING strays [2J may have gone unseen',
        '  now: point writes at the source, and keep them off the target',
        '',
      ].join('\n'),
    );
  });

  it('prints what the API said with --json', async () => {
    const { url } = await api(promoted);
    expect(await cli('promote', '--url', url, '--json')).toBe(0);
    expect(JSON.parse(io.out)).toEqual(directionChange());
    const other = await api(json(409, { status: 409, detail: 'not drained' }));
    io.out = '';
    expect(await cli('promote', '--url', other.url, '--json')).toBe(2);
    expect(JSON.parse(io.out)).toEqual({ status: 409, detail: 'not drained' });
  });

  const cases: [string, Handler, number, RegExp][] = [
    ['400', json(400, { detail: 'reason must not be empty' }), 2, /reason must not be empty/],
    ['401', json(401, {}), 2, /token is missing/],
    ['403', json(403, {}), 2, /does not allow/],
    ['404', json(404, { detail: 'there is no migration "shop"' }), 2, /there is no migration/],
    ['409', json(409, { detail: 'no fence is drained', hint: 'place one' }), 2, /no fence is drained \(place one\)/],
    ['503', json(503, { detail: 'the old side cannot be asked' }), 3, /the old side cannot be asked/],
    ['500', json(500, {}), 4, /cannot answer \(500\)[^]*may have been carried out/],
    ['not JSON', (_q, r) => void r.writeHead(200).end('<html>'), 3, /is it lockgate[^]*may have been carried out/],
    ['a fence', json(200, fence('f1', 'drained')), 3, /does not say that the direction of shop is reverse now/],
    ['another migration', json(200, directionChange({ migration: 'crm' })), 3, /does not say/],
    ['the other action', rolledBack, 3, /does not say/],
    ['the other action with our direction', json(200, directionChange({ action: 'rollback' })), 3, /does not say/],
    ['the old direction', json(200, directionChange({ direction: 'forward' })), 3, /does not say/],
  ];
  it.each(cases)('%s', async (name, handler, code, printed) => {
    const { url, requests } = await api(handler);
    expect(await cli('promote', '--url', url)).toBe(code);
    expect(io.err).toMatch(printed);
    expect([io.out, requests.length]).toEqual(['', 1]);
    if (code === 2 || name === '503') expect(io.err).not.toContain('may have been carried out');
  });

  it('keeps its key over its own retries when the connection broke', async () => {
    const bad = (_q: unknown, r: Parameters<Handler>[1]): void => void r.writeHead(502).end('bad gateway');
    const server = await api(script(drop, bad, json(503, { detail: 'starting' }), promoted));
    expect(await cli('promote', '--url', server.url)).toBe(0);
    expect([server.requests.length, keys(server).size]).toEqual([4, 1]);
    expect(io.err.match(/asking again with the same key/g)).toHaveLength(3);
    expect(io.err).not.toContain('may have been carried out');
  });

  it('asks once where nobody listens, and until the timeout where somebody may have done it', async () => {
    expect(await cli('promote', '--url', 'http://127.0.0.1:1')).toBe(4);
    expect(io.err).toBe('lockgate: http://127.0.0.1:1: connection refused\n');
    const server = await api(drop);
    expect(await cli('promote', '--url', server.url, '--timeout', '3500ms')).toBe(4);
    expect(server.requests.length).toBeGreaterThanOrEqual(2);
    expect(keys(server).size).toBe(1);
    expect(io.err).toContain('it may have been carried out all the same: `lockgate status` shows the direction');
  });

  it('does not take a refusal after a broken connection for proof that nothing was done', async () => {
    const { url } = await api(script(drop, json(409, { detail: 'the direction is reverse, not forward' })));
    expect(await cli('promote', '--url', url)).toBe(2);
    expect(io.err).toContain('it may have been carried out all the same');
  });

  it('says so when it is interrupted', async () => {
    const server = await api(() => undefined);
    const running = cli('promote', '--url', server.url);
    await expect.poll(() => server.requests.length).toBe(1);
    io.send('SIGINT');
    expect(await running).toBe(4);
    expect(io.err).toMatch(/interrupted[^]*it may have been carried out/);
  });

  it.each([
    ['several URLs', ['promote', 'shop', '--reason', 'x', '--url', 'http://a', '--url', 'http://b'], /one daemon/],
    ['no reason', ['promote', 'shop', '--url', 'http://a'], /--reason/],
    ['no direction', ['rollback', 'shop', '--reason', 'x', '--url', 'http://a', '--expect', 'back'], /Allowed choices/],
    ['no migration', ['rollback', '--reason', 'x', '--url', 'http://a'], /missing required argument/],
    ['no daemon', ['promote', 'shop', '--reason', 'x'], /set LOCKGATE_URL/],
  ] as const)('exit 2: %s', async (_name, argv, printed) => {
    expect(await runCli([...argv], io, noBackend)).toBe(2);
    expect(io.err).toMatch(printed);
  });
});
