import { connect } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { verdict } from '../support/fake-port.js';
import type { Running } from '../support/http-server.js';
import { ask, startServer } from '../support/http-server.js';

let running: Running;

describe('gates', () => {
  beforeAll(async () => {
    running = await startServer();
  });
  afterAll(() => running.server.close(1000));

  it('lists every verdict', async () => {
    const answer = await running.ask('/v1/gates');
    expect(answer.status).toBe(200);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.json()).toEqual({ gates: [...running.port.verdicts.values()] });
  });

  it.each(['shop/flip-writes', 'shop/drained', 'shop/verified', 'all-shards'])(
    'answers 200 with the verdict of %s whatever it is',
    async (gate) => {
      const answer = await running.ask(`/v1/gates/${gate}`);
      expect(answer.status).toBe(200);
      expect(answer.json()).toEqual(running.port.verdicts.get(gate));
    },
  );

  describe.each(['GET', 'HEAD', 'POST'])('%s check', (method) => {
    it.each([
      ['shop/flip-writes', 200, undefined],
      ['shop/drained', 409, '188'],
      ['shop/verified', 503, undefined],
      ['all-shards', 200, undefined],
    ])('of %s answers %i', async (gate, status, retryAfter) => {
      const answer = await running.ask(`/v1/gates/${gate}/check`, { method });
      expect(answer.status).toBe(status);
      expect(answer.headers['retry-after']).toBe(retryAfter);
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(answer.headers['content-type']).toBe('application/json; charset=utf-8');
      if (method === 'HEAD') expect(answer.body).toBe('');
      else expect(answer.json()).toEqual(running.port.verdicts.get(gate));
    });

    it('of an unknown gate answers 404', async () => {
      for (const gate of ['shop/none', 'none', 'none/flip-writes']) {
        const answer = await running.ask(`/v1/gates/${gate}/check`, { method });
        expect(answer.status).toBe(404);
        if (method !== 'HEAD') expect(answer.json()).toMatchObject({ code: 'unknown_gate', status: 404 });
      }
    });
  });

  it('rounds Retry-After up to a whole second, and never to 0', async () => {
    for (const [seconds, header] of [
      [0.2, '1'],
      [-3, '1'],
      [1.2, '2'],
    ] as const) {
      running.port.verdicts.set('shop/soon', verdict('shop/soon', 'closed', seconds));
      for (const method of ['GET', 'HEAD']) {
        const answer = await running.ask('/v1/gates/shop/soon/check', { method });
        expect([answer.status, answer.headers['retry-after']]).toEqual([409, header]);
      }
    }
    running.port.verdicts.delete('shop/soon');
  });

  it('sends text beyond ASCII whole', async () => {
    const odd = { ...verdict('shop/odd', 'closed'), reason: 'Größe "≥" 3\n' };
    running.port.verdicts.set('shop/odd', odd);
    expect((await running.ask('/v1/gates/shop/odd/check')).json()).toEqual(odd);
    running.port.verdicts.delete('shop/odd');
  });

  it('takes a POST of any type, and refuses a large one', async () => {
    for (const type of ['application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
      const headers = { 'content-type': type };
      const path = '/v1/gates/shop/flip-writes/check';
      expect((await running.ask(path, { method: 'POST', headers, body: '{"not": json' })).status).toBe(200);
      const large = await running.ask(path, { method: 'POST', headers, body: 'x'.repeat(20_000) });
      expect([large.status, large.json()['code']]).toEqual([413, 'body_too_large']);
    }
  });

  it('takes the name percent-encoded', async () => {
    expect((await running.ask('/v1/gates/shop/flip%2Dwrites/check')).status).toBe(200);
  });

  it('says 500 without details when the daemon breaks, and logs it', async () => {
    running.port.fault = new Error('secret detail');
    // The fault hits the short way once; the route behind it still answers.
    expect((await running.ask('/v1/gates/shop/flip-writes/check')).status).toBe(200);
    running.port.fault = new Error('secret detail');
    const answer = await running.ask('/v1/gates/shop/flip-writes');
    expect([answer.status, answer.json()['code']]).toEqual([500, 'internal']);
    expect(answer.body).not.toContain('secret detail');
    expect(running.log.some((l) => l.level === 'error' && l.message === 'request failed')).toBe(true);
  });

  it('reads the history of a gate from the journal', async () => {
    const { port } = running;
    const evidence = verdict('shop/flip-writes', 'open');
    const data = { from: 'closed', to: 'open', verdict: evidence };
    port.record({ kind: 'gate', migration: 'shop', gate: 'flip-writes', data });
    port.record({ kind: 'gate', migration: 'shop', gate: 'drained', data });
    port.record({ kind: 'gate', migration: null, gate: 'all-shards', data: { from: 'open', to: 'unknown' } });
    const one = await running.ask('/v1/gates/shop/flip-writes/history');
    expect(one.json()).toEqual({
      transitions: [{ at: '2026-11-22T00:00:00.000Z', from: 'closed', to: 'open', verdict: evidence, id: 1 }],
      next: null,
    });
    const top = await running.ask('/v1/gates/all-shards/history?since=2026-11-22T00:00:02Z&limit=1');
    expect(top.json()).toMatchObject({ transitions: [{ id: 3, from: 'open', to: 'unknown' }], next: '3' });
    expect((await running.ask('/v1/gates/shop/flip-writes/history?since=2027-01-01T00:00:00Z')).json()).toEqual({
      transitions: [],
      next: null,
    });
    expect((await running.ask('/v1/gates/shop/none/history')).status).toBe(404);
  });
});

describe('wait', () => {
  const path = '/v1/gates/shop/drained/wait';
  beforeEach(async () => {
    running = await startServer({ limits: { waiters: 2 } });
  });
  afterEach(() => running.server.close(1000));

  const waiting = async (n: number): Promise<void> => {
    await expect.poll(() => running.server.stats().waiters, { timeout: 3000 }).toBe(n);
  };

  it('answers at once when the gate is open', async () => {
    const answer = await running.ask('/v1/gates/shop/flip-writes/wait?timeout=10m');
    expect([answer.status, answer.json()['open']]).toEqual([200, true]);
  });

  it('answers as soon as the gate opens, and not before', async () => {
    const asked = running.ask(`${path}?timeout=30s`);
    await waiting(1);
    running.port.setGate('shop/drained', 'unknown');
    running.port.setGate('shop/drained', 'closed');
    await waiting(1);
    running.port.setGate('shop/drained', 'open');
    const answer = await asked;
    expect([answer.status, answer.json()['gate']]).toEqual([200, 'shop/drained']);
    expect(running.port.waiting('shop/drained')).toBe(0);
    expect(running.server.stats().waiters).toBe(0);
  });

  it('waits for a gate at top level too', async () => {
    running.port.setGate('all-shards', 'closed');
    const asked = running.ask('/v1/gates/all-shards/wait?timeout=30s');
    await waiting(1);
    running.port.setGate('all-shards', 'open');
    expect((await asked).status).toBe(200);
  });

  it('answers as check at the timeout', async () => {
    const closed = await running.ask(`${path}?timeout=50ms`);
    expect([closed.status, closed.headers['retry-after']]).toEqual([409, '188']);
    const unknown = await running.ask('/v1/gates/shop/verified/wait?timeout=50ms');
    expect([unknown.status, unknown.json()['state']]).toEqual([503, 'unknown']);
  });

  it.each(['11m', '600.1s', '0s', '60', '', 'soon', '-5s', '1h', '5x'])('refuses timeout=%s', async (timeout) => {
    const answer = await running.ask(`${path}?timeout=${timeout}`);
    expect(answer.status).toBe(400);
    expect(answer.headers['content-type']).toContain('application/problem+json');
  });

  it('takes 10m, and 60s when nothing is said', async () => {
    const asked = [running.ask(`${path}?timeout=10m`), running.ask(path)];
    await waiting(2);
    running.port.setGate('shop/drained', 'open');
    expect((await Promise.all(asked)).map((a) => a.status)).toEqual([200, 200]);
  });

  it('answers 404 for a gate that is not there, or goes with a reload', async () => {
    expect((await running.ask('/v1/gates/shop/none/wait')).status).toBe(404);
    const asked = running.ask(path);
    await waiting(1);
    running.port.setGate('shop/drained', undefined);
    expect((await asked).status).toBe(404);
  });

  it('turns away more waiters than it has room for', async () => {
    const asked = [running.ask(path), running.ask(path)];
    await waiting(2);
    const refused = await running.ask(path);
    expect([refused.status, refused.json()['code'], refused.headers['retry-after']]).toEqual([
      503,
      'too_many_waiters',
      '5',
    ]);
    running.port.setGate('shop/drained', 'open');
    await Promise.all(asked);
  });

  it('forgets a client that has gone', async () => {
    const socket = connect(running.tcpPort, '127.0.0.1');
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await waiting(1);
    socket.destroy();
    await waiting(0);
    expect(running.port.waiting('shop/drained')).toBe(0);
  });

  it('answers everyone at once on shutdown', async () => {
    const asked = [ask(running.tcpPort, path), ask(running.tcpPort, '/v1/gates/shop/verified/wait')];
    await waiting(2);
    const began = performance.now();
    const closed = running.server.close(5000);
    expect((await Promise.all(asked)).map((a) => a.status)).toEqual([409, 503]);
    await closed;
    expect(performance.now() - began).toBeLessThan(3000);
  });
});
