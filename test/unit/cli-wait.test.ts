import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../../daemon/cli/program.js';
import { json, startApi, verdict, verdictAnswer, type ApiServer, type Handler } from '../support/api-server.js';
import { FakeIo, noBackend, tenTimesFaster } from '../support/fake-io.js';

const GATE = 'shop/flip-writes';
const open: ApiServer[] = [];
let io: FakeIo;

beforeEach(() => {
  io = new FakeIo();
  io.clock = tenTimesFaster(io.clock);
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()));
});

async function api(handler: Handler): Promise<ApiServer> {
  const server = await startApi(handler);
  open.push(server);
  return server;
}

const wait = (...argv: string[]): Promise<number> => runCli(['wait', GATE, ...argv], io, noBackend);
const closed = verdictAnswer({ state: 'closed' });

/** Answers with one handler after the other, the last one again and again. */
function script(...handlers: Handler[]): Handler {
  let n = 0;
  return (request, response) => {
    const handler = handlers[Math.min(n, handlers.length - 1)]!;
    n += 1;
    handler(request, response);
  };
}

describe('wait', () => {
  it('0 as soon as the gate is open, and says each change once', async () => {
    const { url, requests } = await api(script(closed, closed, verdictAnswer()));
    expect(await wait('--url', url, '--timeout', '60s')).toBe(0);
    expect(io.out).toMatch(/^OPEN/);
    expect(io.err.match(/CLOSED {2}shop\/flip-writes/g)).toHaveLength(1);
    expect(requests[0]?.url).toBe('/v1/gates/shop/flip-writes/wait?timeout=5s');
  });

  it.each([
    ['closed', closed, 1],
    ['unknown', verdictAnswer({ state: 'unknown' }), 3],
    ['foreign', verdictAnswer({ gate: 'shop/other' }), 3],
    ['broken', json(500, {}), 4],
  ] as const)('ends at its own timeout by the last state: %s', async (_name, handler, code) => {
    const { url } = await api(handler);
    const started = io.clock.monotonicNow();
    expect(await wait('--url', url, '--timeout', '1200ms')).toBe(code);
    expect(io.clock.monotonicNow() - started).toBeGreaterThanOrEqual(1_200_000);
  });

  it('does not ask more than once a second, whatever the daemon does', async () => {
    const { url, requests } = await api(closed);
    await wait('--url', url, '--timeout', '2500ms');
    expect(requests.length).toBeLessThanOrEqual(5);
  });

  it('2 at once when the daemon refuses, also while another is away', async () => {
    const { url } = await api(json(404, { detail: 'there is no gate' }));
    expect(await wait('--url', url, '--timeout', '1m')).toBe(2);
    expect(await wait('--url', 'http://127.0.0.1:1', '--url', url, '--timeout', '1m')).toBe(4);
  });

  it('survives a restart of the daemon', async () => {
    const drop: Handler = (request) => void request.socket.destroy();
    const { url } = await api(script(closed, drop, json(503, { detail: 'starting' }), verdictAnswer()));
    expect(await wait('--url', url, '--timeout', '60s')).toBe(0);
    expect(io.err).toMatch(/CLOSED[^]*UNREACHABLE[^]*/);
  });

  it('4 when nobody answers until the timeout', async () => {
    expect(await wait('--url', 'http://127.0.0.1:1', '--timeout', '1500ms')).toBe(4);
    expect(io.err).toContain('connection refused');
  });

  it('wants the gate open at all daemons at once, asked in the same moment', async () => {
    // The first is open when asked first, but has closed by the time the second opens.
    const first = await api(script(verdictAnswer(), closed, verdictAnswer()));
    const second = await api(script(verdictAnswer()));
    expect(await wait('--url', first.url, '--url', second.url, '--timeout', '60s')).toBe(0);
    expect(first.requests.map((r) => r.url.replace(/.*\//, ''))).toEqual([
      'wait?timeout=5s',
      'check',
      'wait?timeout=5s',
      'check',
    ]);
  });

  it('rewrites one line in a terminal, cut to its width', async () => {
    io.isErrTTY = true;
    io.columns = 60;
    const reason = 'x'.repeat(200);
    const { url } = await api(
      script((q, r) => json(503, verdict({ state: 'unknown', reason }))(q, r), verdictAnswer()),
    );
    expect(await wait('--url', url, '--timeout', '60s', '--json')).toBe(0);
    expect(io.err).not.toContain('\n');
    const shown = io.err.split('\r\u001b[K').map((line) => line.replaceAll(/\u001b\[\d*m/g, ''));
    expect(shown.length).toBeGreaterThanOrEqual(2);
    for (const line of shown) expect(line.length).toBeLessThanOrEqual(60);
    expect(JSON.parse(io.out)).toMatchObject({ state: 'open' });
  });
});
