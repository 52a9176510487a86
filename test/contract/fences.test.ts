import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Refusal } from '../../daemon/core/errors.js';
import { StoreError } from '../../daemon/store/store.js';
import { FakeClock } from '../support/fake-clock.js';
import type { Answer, Running } from '../support/http-server.js';
import { daemonConfig, startServer, tokens } from '../support/http-server.js';

const FENCES = '/v1/migrations/shop/fences';
const json = { 'content-type': 'application/json' };
const S = 1_000_000;

let running: Running;
let clock: FakeClock;
beforeEach(async () => {
  clock = new FakeClock();
  running = await startServer({
    config: daemonConfig({ auth: { tokens: tokens().list } }),
    limits: { waiters: 2 },
    clock,
  });
});
afterEach(async () => {
  // The deadline of closing is the fake clock's, too, and never comes.
  await running.server.close(1000);
  expect(running.port.fenceListeners.size).toBe(0);
  expect(running.server.stats().waiters).toBe(0);
  expect(JSON.stringify(running.log)).not.toContain('-secret');
});

const place = (body?: string, token = 'operator-secret', path = FENCES): Promise<Answer> =>
  running.ask(path, { method: 'POST', token, ...(body === undefined ? {} : { headers: json, body }) });
const get = (path: string): Promise<Answer> => running.ask(`${FENCES}${path}`, { token: 'reader-secret' });
const cancel = (id: string, token = 'operator-secret'): Promise<Answer> =>
  running.ask(`${FENCES}/${id}`, { method: 'DELETE', token });
const said = (answer: Answer): unknown[] => [answer.status, answer.json()['code']];

describe('placing a fence', () => {
  it('answers 201 with the fence and where to ask for it', async () => {
    const answer = await place('{"deadline":"90s","note":" cutover of shop "}');
    expect([answer.status, answer.headers['location'], answer.headers['cache-control']]).toEqual([
      201,
      `${FENCES}/f1`,
      'no-store',
    ]);
    expect(answer.json()).toEqual(running.port.fenceList[0]);
    expect(running.port.placed).toEqual([
      { migration: 'shop', deadlineMs: 90_000, note: 'cutover of shop', actor: 'runbook' },
    ]);
    expect((await get(answer.headers['location']?.slice(FENCES.length) ?? '')).json()['id']).toBe('f1');
  });

  it.each([
    ['no body', undefined, 60_000],
    ['an empty object', '{}', 60_000],
    ['an empty note', '{"note":""}', 60_000],
    ['the least', '{"deadline":"1s"}', 1_000],
    ['the most', '{"deadline":"1h"}', 3_600_000],
    ['minutes', '{"deadline":"1m30s"}', 90_000],
  ])('takes %s', async (_what, body, deadlineMs) => {
    expect((await place(body)).status).toBe(201);
    expect(running.port.placed).toEqual([{ migration: 'shop', deadlineMs, note: '', actor: 'runbook' }]);
  });

  it.each([
    ['no unit', '{"deadline":"60"}', 'invalid_duration'],
    ['a number', '{"deadline":60}', 'invalid_body'],
    ['null', '{"deadline":null}', 'invalid_body'],
    ['less than a second', '{"deadline":"999ms"}', 'duration_out_of_range'],
    ['more than an hour', '{"deadline":"1h1s"}', 'duration_out_of_range'],
    ['an empty deadline', '{"deadline":""}', 'invalid_duration'],
    ['an unknown field', '{"timeout":"60s"}', 'invalid_body'],
    ['__proto__', '{"__proto__":{}}', 'invalid_body'],
    ['an array', '[]', 'invalid_body'],
    ['nothing but null', 'null', 'invalid_body'],
    ['no JSON', '{', 'malformed_json'],
    ['a note of two lines', '{"note":"a\\nb"}', 'invalid_body'],
    ['a note that is no text', '{"note":1}', 'invalid_body'],
    ['a long note', JSON.stringify({ note: 'x'.repeat(2001) }), 'invalid_body'],
  ])('refuses %s', async (_what, body, code) => {
    expect(said(await place(body))).toEqual([400, code]);
    expect(running.port.placed).toEqual([]);
  });

  it('is for operators, for migrations that exist, and for JSON', async () => {
    expect(said(await place('{}', 'reader-secret'))).toEqual([403, 'role_insufficient']);
    expect((await running.ask(FENCES, { method: 'POST' })).status).toBe(401);
    expect(said(await place('{}', 'operator-secret', '/v1/migrations/none/fences'))).toEqual([
      404,
      'unknown_migration',
    ]);
    expect(said(await place('{}', 'operator-secret', `${FENCES}?deadline=5s`))).toEqual([400, 'unknown_parameter']);
    const text = { method: 'POST', token: 'operator-secret', headers: { 'content-type': 'text/plain' }, body: '{}' };
    expect((await running.ask(FENCES, text)).status).toBe(415);
    expect(running.port.placed).toEqual([]);
  });

  it('tells a refusal with its code and what to do', async () => {
    running.port.fault = new Refusal(409, 'fence_open', 'the fence f0 is still placed', 'cancel it first');
    const refused = await place('{}');
    expect([refused.status, refused.headers['content-type']]).toEqual([409, 'application/problem+json; charset=utf-8']);
    expect(refused.json()).toEqual({
      type: 'urn:lockgate:problem:fence_open',
      title: 'Conflict',
      status: 409,
      detail: 'the fence f0 is still placed',
      code: 'fence_open',
      hint: 'cancel it first',
    });
    running.port.fault = new Refusal(503, 'source_unwatched', 'the source cannot be watched');
    const later = await place('{}');
    expect([...said(later), later.headers['retry-after']]).toEqual([503, 'source_unwatched', '5']);
    expect(later.json()).not.toHaveProperty('hint');
  });

  it('answers 503 while the journal cannot be written', async () => {
    running.port.writable = false;
    const known = await place('{}');
    expect([...said(known), known.headers['retry-after']]).toEqual([503, 'store_not_writable', '5']);
    expect(said(await cancel('f1'))).toEqual([503, 'store_not_writable']);
    running.port.writable = true;
    running.port.fault = new StoreError('store_full', 'the store has no room left');
    expect(said(await place('{}'))).toEqual([503, 'store_full']);
    expect(running.port.placed).toEqual([]);
  });
});

describe('reading fences', () => {
  it('newest first, one by its id, 404 for what is not there', async () => {
    expect((await get('')).json()).toEqual({ fences: [] });
    running.port.setFence('f1', 'expired');
    running.port.setFence('f2', 'drained');
    expect(((await get('')).json()['fences'] as { id: string }[]).map((f) => f.id)).toEqual(['f2', 'f1']);
    expect((await get('/f2')).json()).toEqual(running.port.fenceList[0]);
    expect(said(await get('/f3'))).toEqual([404, 'unknown_fence']);
    expect(said(await get('/f3?wait=30s'))).toEqual([404, 'unknown_fence']);
    for (const path of ['/v1/migrations/none/fences', '/v1/migrations/none/fences/f1']) {
      expect(said(await running.ask(path, { token: 'reader-secret' }))).toEqual([404, 'unknown_migration']);
    }
  });

  it('a migration shows the newest', async () => {
    running.port.setFence('f1', 'violated');
    const shop = (await running.ask('/v1/migrations/shop', { token: 'reader-secret' })).json();
    expect(shop['fence']).toMatchObject({ id: 'f1', state: 'violated' });
  });

  it('is 200 in every state, at once without wait', async () => {
    for (const state of ['placed', 'drained', 'unknown', 'violated', 'expired', 'closed', 'cancelled'] as const) {
      running.port.setFence('f1', state);
      for (const query of ['', '?wait=0s']) {
        const answer = await get(`/f1${query}`);
        expect([answer.status, answer.json()['state']]).toEqual([200, state]);
      }
    }
  });
});

describe('cancelling a fence', () => {
  it('answers 200 with the fence, 409 when it has ended, 404 when there is none', async () => {
    running.port.setFence('f1', 'placed');
    expect(said(await cancel('f1', 'reader-secret'))).toEqual([403, 'role_insufficient']);
    expect(running.port.fenceList[0]?.state).toBe('placed');
    const done = await cancel('f1');
    expect([done.status, done.json()['state'], done.json()['ended_because']]).toEqual([
      200,
      'cancelled',
      'cancelled by runbook',
    ]);
    expect(said(await cancel('f1'))).toEqual([409, 'fence_ended']);
    expect(said(await cancel('f9'))).toEqual([404, 'unknown_fence']);
  });

  it('does not mind a client that names a type and sends no body', async () => {
    running.port.setFence('f1', 'placed');
    const how = { method: 'DELETE', token: 'operator-secret', headers: { ...json, 'content-length': '0' } };
    expect((await running.ask(`${FENCES}/f1`, how)).status).toBe(200);
  });
});

describe('waiting for a fence', () => {
  beforeEach(() => void running.port.setFence('f1', 'placed'));

  const waiting = async (n: number): Promise<void> => {
    await expect.poll(() => running.server.stats().waiters, { timeout: 3000 }).toBe(n);
  };

  it.each(['drained', 'unknown', 'violated', 'expired', 'cancelled'] as const)(
    'answers as soon as it is %s, and not before',
    async (state) => {
      let answered = false;
      const asked = get('/f1?wait=30s').finally(() => (answered = true));
      await waiting(1);
      await clock.advance(29 * S);
      running.port.setFence('f1', 'placed', { missing: { bytes: 1, transactions: 1, flows: [], reasons: [] } });
      running.port.setFence('f0', 'drained');
      await clock.advance(0);
      expect([answered, running.server.stats().waiters]).toEqual([false, 1]);
      running.port.setFence('f1', state);
      const answer = await asked;
      expect([answer.status, answer.json()['state']]).toEqual([200, state]);
    },
  );

  it('answers at the timeout by what can be proved then', async () => {
    const asked = get('/f1?wait=30s');
    await waiting(1);
    running.port.fenceAsked = 0;
    await clock.advance(30 * S);
    const answer = await asked;
    expect([answer.status, answer.json()['state'], running.port.fenceAsked]).toEqual([200, 'placed', 1]);
  });

  it('does not sleep through a change that comes while it is being proved', async () => {
    const port = running.port;
    const prove = port.fence.bind(port);
    port.fence = async (migration, id) => {
      const then = await prove(migration, id);
      if (port.fenceAsked === 1) port.setFence('f1', 'drained');
      return then;
    };
    expect((await get('/f1?wait=30s')).json()['state']).toBe('drained');
  });

  it('answers what went wrong while waiting', async () => {
    const asked = get('/f1?wait=30s');
    await waiting(1);
    running.port.fault = new Refusal(503, 'source_silent', 'the source cannot be asked');
    running.port.setFence('f1', 'drained');
    expect(said(await asked)).toEqual([503, 'source_silent']);
    expect(clock.sleepers).toBe(0);
  });

  it.each(['11m', '600.1s', '60', '', 'soon', '-5s', '1h'])('refuses wait=%s', async (wait) => {
    expect((await get(`/f1?wait=${wait}`)).status).toBe(400);
  });

  it('shares its room with those who wait for gates', async () => {
    const token = 'reader-secret';
    const asked = [get('/f1?wait=10m'), running.ask('/v1/gates/shop/drained/wait', { token })];
    await waiting(2);
    const refused = await get('/f1?wait=1s');
    expect([...said(refused), refused.headers['retry-after']]).toEqual([503, 'too_many_waiters', '5']);
    expect((await get('/f1')).status).toBe(200);
    expect(said(await running.ask('/v1/gates/shop/verified/wait', { token }))).toEqual([503, 'too_many_waiters']);
    running.port.setFence('f1', 'drained');
    running.port.setGate('shop/drained', 'open');
    expect((await Promise.all(asked)).map((a) => a.status)).toEqual([200, 200]);
  });

  it('forgets a client that has gone', async () => {
    const socket = connect(running.tcpPort, '127.0.0.1');
    socket.write(
      `GET ${FENCES}/f1?wait=10m HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer reader-secret\r\n\r\n`,
    );
    await waiting(1);
    socket.destroy();
    await waiting(0);
    expect(clock.sleepers).toBe(0);
  });

  it('answers everyone at once when the server closes, without asking the databases again', async () => {
    const asked = get('/f1?wait=10m');
    await waiting(1);
    running.port.fenceAsked = 0;
    const closed = running.server.close(5000);
    const answer = await asked;
    expect([answer.status, answer.json()['state'], answer.headers['connection']]).toEqual([200, 'placed', 'close']);
    expect(running.port.fenceAsked).toBe(0);
    await closed;
  });
});

describe('fence events', () => {
  it('reach those who watch the migration', async () => {
    const socket = connect(running.tcpPort, '127.0.0.1');
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
    socket.write(
      'GET /v1/events?migration=shop HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer reader-secret\r\n\r\n',
    );
    await expect.poll(() => running.port.subscribers.size, { timeout: 3000 }).toBe(1);
    running.port.publish('fence', { ...running.port.setFence('f9', 'drained'), migration: 'other' });
    const published = running.port.setFence('f1', 'drained');
    running.port.publish('fence', published);
    await expect.poll(() => text, { timeout: 3000 }).toContain(`event: fence\ndata: ${JSON.stringify(published)}\n`);
    expect(text).not.toContain('"f9"');
    socket.destroy();
    await expect.poll(() => running.port.subscribers.size, { timeout: 3000 }).toBe(0);
  });
});
