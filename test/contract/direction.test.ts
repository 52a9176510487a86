import { connect } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Refusal } from '../../daemon/core/errors.js';
import { StoreError } from '../../daemon/store/store.js';
import type { Answer, Running } from '../support/http-server.js';
import { daemonConfig, startServer, tokens } from '../support/http-server.js';

let running: Running;
beforeAll(async () => {
  running = await startServer({ config: daemonConfig({ auth: { tokens: tokens().list } }) });
});
afterAll(async () => {
  expect(JSON.stringify(running.log)).not.toContain('-secret');
  await running.server.close(1000);
});
beforeEach(() => void running.port.changes.splice(0));

interface How {
  token?: string;
  headers?: Record<string, string>;
}

function change(action: string, body: unknown, { token = 'operator-secret', headers = {} }: How = {}): Promise<Answer> {
  return running.ask(`/v1/migrations/shop/${action}`, {
    method: 'POST',
    token,
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

const said = (answer: Answer): unknown[] => [answer.status, answer.json()['code']];
const good = { reason: 'cutover', expect: 'forward' };

describe.each(['promote', 'rollback'] as const)('%s', (action) => {
  it('answers 200 with what was changed', async () => {
    const body = { reason: ' Umzug über Nacht ', expect: 'forward', force: true };
    const answer = await change(action, body, { headers: { 'Idempotency-Key': 'runbook step 7' } });
    expect([answer.status, answer.headers['cache-control']]).toEqual([200, 'no-store']);
    expect(answer.json()).toMatchObject({ migration: 'shop', action, forced: true, changed_by: 'runbook' });
    expect(running.port.changes).toEqual([
      {
        migration: 'shop',
        action,
        reason: 'Umzug über Nacht',
        expect: 'forward',
        force: true,
        actor: 'runbook',
        idempotencyKey: 'runbook step 7',
      },
    ]);
  });

  it('forces nothing and has no key unless asked to', async () => {
    await change(action, { ...good, expect: 'reverse' });
    expect(running.port.changes[0]).toMatchObject({ expect: 'reverse', force: false, idempotencyKey: null });
  });

  it.each([
    ['nothing', '', 'malformed_json'],
    ['null', 'null', 'invalid_body'],
    ['no reason', { expect: 'forward' }, 'invalid_body'],
    ['no expect', { reason: 'x' }, 'invalid_body'],
    ['an empty reason', { ...good, reason: '  ' }, 'invalid_body'],
    ['a reason of two lines', { ...good, reason: 'a\nb' }, 'invalid_body'],
    ['a reason that reorders text', { ...good, reason: 'a\u202eb' }, 'invalid_body'],
    ['a long reason', { ...good, reason: 'x'.repeat(501) }, 'invalid_body'],
    ['a reason that is no text', { ...good, reason: 1 }, 'invalid_body'],
    ['an unknown direction', { ...good, expect: 'unknown' }, 'invalid_body'],
    ['expect in other letters', { ...good, expect: 'Forward' }, 'invalid_body'],
    ['force as a text', { ...good, force: 'true' }, 'invalid_body'],
    ['force as null', { ...good, force: null }, 'invalid_body'],
    ['force as a number', { ...good, force: 1 }, 'invalid_body'],
    ['a surplus field', { ...good, forced: true }, 'invalid_body'],
  ])('refuses %s', async (_what, body, code) => {
    expect(said(await change(action, body))).toEqual([400, code]);
    expect(running.port.changes).toEqual([]);
  });

  it('takes a reason of 500 characters and refuses to go without a body', async () => {
    expect((await change(action, { ...good, reason: 'x'.repeat(500) })).status).toBe(200);
    const none = await running.ask(`/v1/migrations/shop/${action}`, { method: 'POST', token: 'operator-secret' });
    expect(said(none)).toEqual([400, 'invalid_body']);
  });

  it('is for operators and for migrations that exist', async () => {
    expect(said(await change(action, good, { token: 'reader-secret' }))).toEqual([403, 'role_insufficient']);
    expect((await running.ask(`/v1/migrations/shop/${action}`, { method: 'POST' })).status).toBe(401);
    const none = { method: 'POST', token: 'operator-secret', headers: { 'content-type': 'application/json' } };
    const answer = await running.ask(`/v1/migrations/none/${action}`, { ...none, body: JSON.stringify(good) });
    expect(said(answer)).toEqual([404, 'unknown_migration']);
    expect(running.port.changes).toEqual([]);
  });

  it.each(['', ' ', 'x'.repeat(129), 'é'])('refuses Idempotency-Key: %s', async (key) => {
    const answer = await change(action, good, { headers: { 'Idempotency-Key': key } });
    expect(said(answer)).toEqual([400, 'invalid_idempotency_key']);
    expect(running.port.changes).toEqual([]);
  });

  it('takes a key of 128 characters, and refuses two of them', async () => {
    const key = '~'.repeat(128);
    expect((await change(action, good, { headers: { 'Idempotency-Key': key } })).status).toBe(200);
    expect(running.port.changes.splice(0)[0]?.idempotencyKey).toBe(key);
    const body = JSON.stringify(good);
    const text = await new Promise<string>((resolve) => {
      const socket = connect(running.tcpPort, '127.0.0.1');
      socket.write(
        `POST /v1/migrations/shop/${action} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n` +
          `Authorization: Bearer operator-secret\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n` +
          `Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n${body}`,
      );
      let answer = '';
      socket.on('data', (chunk: Buffer) => (answer += chunk.toString()));
      socket.on('close', () => resolve(answer));
    });
    expect(text).toMatch(/^HTTP\/1\.1 400 [^]*invalid_idempotency_key/);
    expect(running.port.changes).toEqual([]);
  });

  it.each([
    [409, 'not_drained', 'place a fence'],
    [409, 'direction_unexpected', null],
    [503, 'old_side_silent', 'start it'],
    [404, 'no_reverse_link', null],
  ] as const)('passes on a refusal: %i %s', async (status, code, hint) => {
    running.port.fault = new Refusal(status, code, 'it is not as it ought to be', hint);
    const answer = await change(action, good);
    expect([answer.headers['content-type'], answer.headers['retry-after']]).toEqual([
      'application/problem+json; charset=utf-8',
      status === 503 ? '5' : undefined,
    ]);
    expect(answer.json()).toMatchObject({ status, code, detail: 'it is not as it ought to be' });
    expect(answer.json()['hint'] ?? null).toBe(hint);
    expect(running.port.changes).toEqual([]);
  });

  it('answers 503 while the journal cannot be written', async () => {
    running.port.writable = false;
    expect(said(await change(action, good))).toEqual([503, 'store_not_writable']);
    running.port.writable = true;
    running.port.fault = new StoreError('store_full', 'the store has no room left');
    expect(said(await change(action, good))).toEqual([503, 'store_full']);
    expect(running.port.changes).toEqual([]);
  });

  it('does not tell what a bug says', async () => {
    running.port.fault = new Error('password=hunter2');
    const answer = await change(action, good);
    expect([answer.status, answer.body.includes('hunter2')]).toEqual([500, false]);
  });
});
