import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { StoreError } from '../../daemon/store/store.js';
import { FakeClock } from '../support/fake-clock.js';
import type { Running } from '../support/http-server.js';
import { startServer } from '../support/http-server.js';

let running: Running;
const clock = new FakeClock({ wall: '2026-11-22T12:00:00Z' });
beforeAll(async () => {
  running = await startServer({ clock });
});
afterAll(() => running.server.close(1000));

describe('requests', () => {
  it.each([
    '/nothing',
    '/v1',
    '/v1/',
    '/v1/nothing',
    '/v1/gates/',
    '/index.html',
    '/v1/gates/a/b/c',
    '//',
    '/v1/migrations/shop/verified',
  ])('404 for %s, and never the page', async (path) => {
    const answer = await running.ask(path);
    expect(answer.status).toBe(404);
    expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8');
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(Object.keys(answer.json())).toEqual(['type', 'title', 'status', 'detail', 'code']);
  });

  it.each([
    ['POST', '/v1/migrations/shop/verified', 404, undefined],
    ['GET', '/v1/migrations/shop/promote', 405, 'POST'],
    ['PUT', '/v1/migrations/shop/fences', 405, 'POST, GET, HEAD'],
    ['POST', '/v1/migrations/shop/fences/f1', 405, 'GET, DELETE'],
    ['DELETE', '/v1/gates/shop/drained/check', 405, 'GET, HEAD, POST'],
    ['POST', '/v1/gates/shop/drained', 405, 'GET, HEAD'],
    ['PUT', '/v1/gates', 405, 'GET, HEAD'],
    ['HEAD', '/v1/events', 405, 'GET'],
    ['GET', '/v1/migrations/shop/attestations/backup', 405, 'POST'],
    ['OPTIONS', '/metrics', 405, 'GET, HEAD'],
    ['POST', '/', 405, 'GET, HEAD'],
  ])('%s %s is %i', async (method, path, status, allow) => {
    const answer = await running.ask(path, { method });
    expect([answer.status, answer.headers['allow']]).toEqual([status, allow]);
    if (method !== 'HEAD') expect(answer.json()['status']).toBe(status);
  });

  it.each([
    ['/v1/gates?x=1', 'unknown_parameter'],
    ['/v1/gates/shop/drained/check?gate=x', 'unknown_parameter'],
    ['/v1/journal?sincee=2026-01-01T00:00:00Z', 'unknown_parameter'],
    ['/v1/journal?limit=1&limit=2', 'repeated_parameter'],
    ['/v1/journal?__proto__=1', 'unknown_parameter'],
    ['/v1/journal?limit=0', 'invalid_number'],
    ['/v1/journal?limit=1001', 'invalid_number'],
    ['/v1/journal?limit=1e2', 'invalid_number'],
    ['/v1/journal?limit=-1', 'invalid_number'],
    ['/v1/journal?after=x', 'invalid_number'],
    ['/v1/journal?after=', 'invalid_number'],
  ])('400 for %s', async (path, code) => {
    const answer = await running.ask(path);
    expect([answer.status, answer.json()['code']]).toEqual([400, code]);
  });

  it('names the parameters it knows', async () => {
    const answer = (await running.ask('/v1/journal?x=1')).json();
    expect(answer['known']).toEqual(['since', 'limit', 'after', 'kind', 'migration', 'gate', 'order']);
    expect(answer['detail']).toContain('since, limit, after');
  });

  it.each([
    '2026-11-22',
    'yesterday',
    '1700000000',
    '2026-11-22T00:00:00',
    '2026-11-22 00:00:00Z',
    '2026-02-30T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-00-01T00:00:00Z',
    '2026-11-22T24:00:00Z',
    '2026-11-22T00:60:00Z',
    '2026-11-22T00:00:00+2:00',
    '2026-11-22T00:00:00+02:00',
    '',
    '20261122T000000Z',
  ])('since=%s is refused', async (since) => {
    for (const path of [
      '/v1/journal',
      '/v1/gates/shop/drained/history',
      '/v1/migrations/shop/signals/forward.lag/history',
    ]) {
      const answer = await running.ask(`${path}?since=${since.replace(' ', '%20')}`);
      expect([answer.status, answer.json()['code']]).toEqual([400, 'invalid_instant']);
    }
  });

  it.each([
    '2026-11-22T00:00:00Z',
    '2026-11-22t00:00:00.123456z',
    '2026-11-22T02:00:00%2B02:00',
    '2024-02-29T00:00:00-05:30',
  ])('since=%s is taken', async (since) => expect((await running.ask(`/v1/journal?since=${since}`)).status).toBe(200));

  it('refuses long URLs, long headers, broken encodings and what is not HTTP', async () => {
    expect((await running.ask(`/v1/gates/${'x'.repeat(3000)}`)).status).toBe(414);
    expect((await running.ask(`/v1/journal?since=${'x'.repeat(3000)}`)).status).toBe(414);
    expect((await running.ask(`/v1/gates/${'x'.repeat(300)}/check`)).status).toBe(414);
    const long = await running.ask('/v1/gates', { headers: { 'x-filling': 'x'.repeat(20_000) } });
    expect([long.status, long.json()['code']]).toEqual([431, 'header_too_large']);
    const broken = await running.ask('/v1/gates/%zz/check');
    expect([broken.status, broken.headers['content-type']]).toEqual([400, 'application/problem+json; charset=utf-8']);
    const answer = await new Promise<string>((resolve) => {
      const socket = connect(running.tcpPort, '127.0.0.1', () => socket.write('what is this\r\n\r\n'));
      let text = '';
      socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
      socket.on('close', () => resolve(text));
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\nContent-Type: application\/problem\+json/);
  });

  it('answers HEAD like GET, without the body', async () => {
    for (const path of ['/v1/gates', '/v1/migrations/shop', '/metrics', '/', '/livez', '/v1/nothing']) {
      const [get, head] = [await running.ask(path), await running.ask(path, { method: 'HEAD' })];
      expect([head.status, head.headers['content-type'], head.body]).toEqual([
        get.status,
        get.headers['content-type'],
        '',
      ]);
    }
  });
});

describe('resources', () => {
  it('migrations and signals', async () => {
    const shop = (await running.ask('/v1/migrations/shop')).json();
    expect(shop).toMatchObject({ name: 'shop', direction: 'forward', links: { forward: {} }, fence: null });
    expect((await running.ask('/v1/migrations')).json()).toEqual({ migrations: [shop] });
    expect((await running.ask('/v1/migrations/shop/signals')).json()).toEqual({
      signals: running.port.signals('shop'),
    });
    for (const path of [
      '/v1/migrations/none',
      '/v1/migrations/none/signals',
      '/v1/migrations/none/signals/x/history',
    ]) {
      const answer = await running.ask(path);
      expect([answer.status, answer.json()['code']]).toEqual([404, 'unknown_migration']);
    }
  });

  it('the history of a signal, in steps that stay bounded', async () => {
    const path = '/v1/migrations/shop/signals/forward.lag/history';
    const now = Date.parse('2026-11-22T12:00:00Z');
    running.port.historyCalls.length = 0;
    const answer = await running.ask(path);
    expect(answer.json()).toMatchObject({ signal: 'forward.lag', unit: 's', step_seconds: 10 });
    expect(answer.json()['points']).toEqual([
      { at: '2026-11-22T00:00:00.000Z', value: 0.1, max: 0.4 },
      { at: '2026-11-22T00:00:00.000Z', value: null, max: null },
    ]);
    await running.ask(`${path}?since=2026-11-22T11:59:00Z&step=15s`);
    await running.ask(`${path}?since=1970-01-01T00:00:00Z&step=1h`);
    await running.ask(`${path}?since=2030-01-01T00:00:00Z`);
    expect(running.port.historyCalls).toEqual([
      ['shop', 'forward.lag', now - 3_600_000, 10],
      ['shop', 'forward.lag', now - 60_000, 15],
      ['shop', 'forward.lag', now - 7 * 86_400_000, 3600],
      ['shop', 'forward.lag', Date.parse('2030-01-01T00:00:00Z'), 1],
    ]);
    for (const query of ['step=15', 'step=0s', 'step=1500ms', 'step=2d', 'since=2026-11-15T13:00:00Z&step=1s']) {
      expect((await running.ask(`${path}?${query}`)).status, query).toBe(400);
    }
    expect((await running.ask('/v1/migrations/shop/signals/forward.none/history')).json()['code']).toBe(
      'unknown_signal',
    );
  });

  it('the journal, in pages', async () => {
    running.port.entries.length = 0;
    for (let n = 0; n < 5; n += 1)
      running.port.record({ kind: n % 2 === 0 ? 'gate' : 'start', migration: 'shop', data: { n } });
    const first = (await running.ask('/v1/journal?limit=3')).json();
    expect(first['next']).toBe('3');
    expect((first['entries'] as unknown[])[0]).toEqual({
      id: 1,
      at: '2026-11-22T00:00:00.000Z',
      kind: 'gate',
      migration: 'shop',
      gate: null,
      actor: 'lockgate',
      by: null,
      data: { n: 0 },
    });
    const second = (await running.ask(`/v1/journal?limit=3&after=${String(first['next'])}`)).json();
    expect([(second['entries'] as { id: number }[]).map((e) => e.id), second['next']]).toEqual([[4, 5], null]);
    const late = (await running.ask('/v1/journal?since=2026-11-22T00:00:03Z&kind=gate&migration=shop')).json();
    expect((late['entries'] as { id: number }[]).map((e) => e.id)).toEqual([5]);
    const newest = (await running.ask('/v1/journal?limit=2&order=newest')).json();
    expect((newest['entries'] as { id: number }[]).map((e) => e.id)).toEqual([4, 5]);
    expect((await running.ask('/v1/journal?order=oldest')).json()['code']).toBe('invalid_order');
    running.port.fault = new StoreError('store_io', 'the store cannot be read');
    const broken = await running.ask('/v1/journal');
    expect([broken.status, broken.json()['code'], broken.headers['retry-after']]).toEqual([503, 'store_io', '5']);
  });

  it('health', async () => {
    expect((await running.ask('/livez?from=probe')).status).toBe(200);
    expect((await running.ask('/readyz')).status).toBe(200);
    running.port.reasons = ['store not open', 'no collector started'];
    const answer = await running.ask('/readyz');
    expect([answer.status, answer.json()['reasons']]).toEqual([503, running.port.reasons]);
    expect((await running.ask('/livez')).status).toBe(200);
    running.port.reasons = [];
  });
});

describe('attestations', () => {
  const path = '/v1/migrations/shop/attestations/backup';
  const post = (body: string, how: { path?: string; type?: string | null } = {}) =>
    running.ask(how.path ?? path, {
      method: 'POST',
      headers: how.type === null ? {} : { 'content-type': how.type ?? 'application/json' },
      body,
    });
  const good = JSON.stringify({ by: ' Änn ', note: ' restored it \u{1f44d} ' });
  beforeEach(() => (running.port.entries.length = 0));

  it('answer 201 with what was journaled, trimmed', async () => {
    const answer = await post(good);
    expect(answer.status).toBe(201);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.json()).toEqual({
      migration: 'shop',
      name: 'backup',
      at: '2026-11-22T00:00:00.000Z',
      by: 'Änn',
      note: 'restored it \u{1f44d}',
      actor: 'anonymous',
    });
    expect(running.port.entries).toHaveLength(1);
    expect((await post(good, { type: 'application/json; charset=utf-8' })).status).toBe(201);
  });

  it.each([
    ['nothing', '', 400, 'malformed_json'],
    ['no object', '[]', 400, 'invalid_body'],
    ['null', 'null', 400, 'invalid_body'],
    ['not JSON', '{"by":', 400, 'malformed_json'],
    ['no by', '{"note":"x"}', 400, 'invalid_body'],
    ['no note', '{"by":"x"}', 400, 'invalid_body'],
    ['an empty by', '{"by":"  ","note":"x"}', 400, 'invalid_body'],
    ['a number', '{"by":1,"note":"x"}', 400, 'invalid_body'],
    ['a surplus field', '{"by":"x","note":"x","at":"y"}', 400, 'invalid_body'],
    ['__proto__', '{"by":"x","note":"x","__proto__":{}}', 400, 'invalid_body'],
    ['a line break', '{"by":"x\\ny","note":"x"}', 400, 'invalid_body'],
    ['an escape', '{"by":"x","note":"\\u001b[2Jx"}', 400, 'invalid_body'],
    ['reversed text', '{"by":"x","note":"\\u202ex"}', 400, 'invalid_body'],
    ['half a character', '{"by":"x","note":"\\ud800"}', 400, 'invalid_body'],
    ['a long by', JSON.stringify({ by: 'x'.repeat(201), note: 'x' }), 400, 'invalid_body'],
    ['a long note', JSON.stringify({ by: 'x', note: 'x'.repeat(2001) }), 400, 'invalid_body'],
    ['a large body', JSON.stringify({ by: 'x', note: 'x'.repeat(20_000) }), 413, 'body_too_large'],
  ])('refuse %s', async (_what, body, status, code) => {
    const answer = await post(body);
    expect([answer.status, answer.json()['code']]).toEqual([status, code]);
    expect(running.port.entries).toEqual([]);
  });

  it('refuse other types, other names, unknown migrations and parameters', async () => {
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'nonsense', null]) {
      const answer = await post(good, { type });
      expect([answer.status, answer.json()['code']]).toEqual([415, 'unsupported_media_type']);
    }
    for (const name of ['Backup', '-x', 'a_b', 'x'.repeat(64), 'a%2Fb', '%00']) {
      expect((await post(good, { path: `/v1/migrations/shop/attestations/${name}` })).status, name).toBe(400);
    }
    const unknown = await post(good, { path: '/v1/migrations/none/attestations/backup' });
    expect([unknown.status, unknown.json()['code']]).toEqual([404, 'unknown_migration']);
    expect((await post(good, { path: `${path}?force=1` })).status).toBe(400);
    expect(running.port.entries).toEqual([]);
  });

  it('answer 503 while the journal cannot be written', async () => {
    running.port.writable = false;
    const known = await post(good);
    expect([known.status, known.json()['code'], known.headers['retry-after']]).toEqual([
      503,
      'store_not_writable',
      '5',
    ]);
    running.port.writable = true;
    expect(running.port.entries).toEqual([]);
    running.port.migration('shop');
    const attest = running.port.attest.bind(running.port);
    running.port.attest = () => {
      throw new StoreError('store_full', 'the store has no room left', 'Free space');
    };
    const found = await post(good);
    expect([found.status, found.json()['code']]).toEqual([503, 'store_full']);
    running.port.attest = attest;
  });
});
