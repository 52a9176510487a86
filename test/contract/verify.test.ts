import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Refusal } from '../../daemon/core/errors.js';
import { verification } from '../support/fake-port.js';
import type { Answer, Running } from '../support/http-server.js';
import { daemonConfig, startServer, tokens } from '../support/http-server.js';

const VERIFY = '/v1/migrations/shop/verify';
const ROWS = `${VERIFY}/rows`;

let running: Running;
beforeEach(async () => {
  running = await startServer({ config: daemonConfig({ auth: { tokens: tokens().list } }) });
});
afterEach(async () => {
  await running.server.close(1000);
  expect(JSON.stringify(running.log)).not.toMatch(/-secret|9\.50/);
});

const post = (path: string, body?: string, token = 'operator-secret'): Promise<Answer> =>
  running.ask(path, {
    ...{ method: 'POST', token },
    ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body }),
  });
const said = (answer: Answer): unknown[] => [answer.status, answer.json()['code']];

describe('starting a pass', () => {
  it.each([
    ['no body', undefined, null],
    ['an empty object', '{}', null],
    ['some tables', '{"tables":["public.orders","public.\\"a.b\\""]}', ['public.orders', 'public."a.b"']],
  ])('takes %s', async (_what, body, tables) => {
    const answer = await post(VERIFY, body);
    expect([answer.status, answer.headers['cache-control'], answer.json()]).toEqual([202, 'no-store', { pass: 'p1' }]);
    expect(running.port.verifyAsked).toEqual([{ migration: 'shop', tables, actor: 'runbook' }]);
  });

  it.each([
    ['an empty list', '{"tables":[]}', 'invalid_body'],
    ['a text', '{"tables":"public.orders"}', 'invalid_body'],
    ['null', '{"tables":null}', 'invalid_body'],
    ['a list of numbers', '{"tables":[1]}', 'invalid_body'],
    ['an empty name', '{"tables":[""]}', 'invalid_body'],
    ['too many', JSON.stringify({ tables: Array.from({ length: 1001 }, () => 'a.b') }), 'invalid_body'],
    ['an unknown field', '{"table":"public.orders"}', 'invalid_body'],
    ['no JSON', '{', 'malformed_json'],
  ])('refuses %s', async (_what, body, code) => {
    expect(said(await post(VERIFY, body))).toEqual([400, code]);
    expect(running.port.verifyAsked).toEqual([]);
  });

  it('is for operators, and for migrations that exist', async () => {
    expect(said(await post(VERIFY, '{}', 'reader-secret'))).toEqual([403, 'role_insufficient']);
    expect(said(await post('/v1/migrations/none/verify', '{}'))).toEqual([404, 'unknown_migration']);
    expect((await running.ask(VERIFY, { method: 'POST' })).status).toBe(401);
    expect(running.port.verifyAsked).toEqual([]);
  });

  it('names the pass that runs already', async () => {
    running.port.fault = new Refusal(409, 'verify_running', 'a pass is running already: p0', null, { pass: 'p0' });
    const answer = await post(VERIFY);
    expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8');
    expect(answer.json()).toMatchObject({ status: 409, code: 'verify_running', pass: 'p0' });
  });

  it('answers 503 while the journal cannot be written', async () => {
    running.port.writable = false;
    expect(said(await post(VERIFY))).toEqual([503, 'store_not_writable']);
    const ended = await running.ask(VERIFY, { method: 'DELETE', token: 'operator-secret' });
    expect(said(ended)).toEqual([503, 'store_not_writable']);
  });
});

describe('looking at it, and ending it', () => {
  it('tells readers what is known, of migrations that exist', async () => {
    const answer = await running.ask(VERIFY, { token: 'reader-secret' });
    expect([answer.status, answer.headers['cache-control']]).toEqual([200, 'no-store']);
    expect(answer.json()).toEqual(verification());
    const none = await running.ask('/v1/migrations/none/verify', { token: 'reader-secret' });
    expect(said(none)).toEqual([404, 'unknown_migration']);
  });

  it('ends the pass for operators', async () => {
    const end = (token: string) => running.ask(VERIFY, { method: 'DELETE', token });
    expect((await end('reader-secret')).status).toBe(403);
    const answer = await end('operator-secret');
    expect([answer.status, answer.json()]).toEqual([200, { pass: 'p1' }]);
    expect(running.port.verifyAsked).toEqual([{ migration: 'shop', ended: 'runbook' }]);
    running.port.fault = new Refusal(409, 'no_verify_running', 'no pass is running');
    expect(said(await end('operator-secret'))).toEqual([409, 'no_verify_running']);
  });
});

describe('the values of rows', () => {
  it('are for operators, not cached and not logged', async () => {
    const body = '{"table":"public.orders","keys":[{"id":"42"},{"id":"43","shop":"1"}]}';
    expect((await post(ROWS, body, 'reader-secret')).status).toBe(403);
    const answer = await post(ROWS, body);
    expect([answer.status, answer.headers['cache-control']]).toEqual([200, 'no-store']);
    expect(answer.json()).toEqual({
      rows: [
        { key: { id: '42' }, source: { id: '42', total: '9.50' }, target: null },
        { key: { id: '43', shop: '1' }, source: { id: '43', shop: '1', total: '9.50' }, target: null },
      ],
    });
    expect(running.port.verifyAsked).toEqual([
      { migration: 'shop', table: 'public.orders', keys: [{ id: '42' }, { id: '43', shop: '1' }] },
    ]);
  });

  it.each([
    ['no body', undefined],
    ['no table', '{"keys":[{"id":"1"}]}'],
    ['no keys', '{"table":"public.orders"}'],
    ['an empty list', '{"table":"public.orders","keys":[]}'],
    ['an empty key', '{"table":"public.orders","keys":[{}]}'],
    ['a number', '{"table":"public.orders","keys":[{"id":1}]}'],
    ['a list in place of a key', '{"table":"public.orders","keys":[["1"]]}'],
    ['21 keys', JSON.stringify({ table: 'public.orders', keys: Array.from({ length: 21 }, () => ({ id: '1' })) })],
  ])('refuses %s', async (_what, body) => {
    expect(said(await post(ROWS, body))).toEqual([400, 'invalid_body']);
    expect(running.port.verifyAsked).toEqual([]);
  });

  it('are not told to the log by an error either', async () => {
    const body = '{"table":"public.orders","keys":[{"id":"42"}]}';
    running.port.fault = new Refusal(503, 'unreachable', 'invalid input: "9.50"', 'ask again');
    const answer = await post(ROWS, body);
    expect(answer.json()).toMatchObject({ status: 503, code: 'unreachable', hint: 'ask again' });
    running.port.fault = new Error('secret 9.50');
    expect(said(await post(ROWS, body))).toEqual([500, 'rows_failed']);
    expect(JSON.stringify(running.log)).not.toContain('9.50');
  });
});
