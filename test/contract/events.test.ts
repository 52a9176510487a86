import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { FakeClock } from '../support/fake-clock.js';
import type { Running } from '../support/http-server.js';
import { ask, daemonConfig, startServer, tokens } from '../support/http-server.js';

let running: Running;
const sockets: Socket[] = [];

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await running.server.close(1000);
});

/** A client on a bare socket, so that nothing reconnects or reads by itself. */
async function listen(path = '/v1/events', lastId?: string) {
  const socket = connect(running.tcpPort, '127.0.0.1');
  sockets.push(socket);
  let text = '';
  let ended = false;
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()));
  socket.on('close', () => (ended = true));
  socket.on('error', () => undefined);
  const header = lastId === undefined ? '' : `Last-Event-ID: ${lastId}\r\n`;
  socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n${header}\r\n`);
  await expect.poll(() => text, { timeout: 3000 }).toContain('retry: 2000');
  return {
    socket,
    text: () => text,
    ended: () => ended,
    ids: () => [...text.matchAll(/^id: (\S+)$/gm)].map((m) => m[1] ?? ''),
    events: () =>
      [...text.matchAll(/^event: (\w+)\ndata: (.*)$/gm)].map((m) => [m[1], JSON.parse(m[2] ?? '')] as const),
    until: (wanted: string) => expect.poll(() => text, { timeout: 3000 }).toContain(wanted),
  };
}

describe('events', () => {
  it('come named, numbered and as JSON on one line', async () => {
    running = await startServer();
    const client = await listen();
    expect(client.text()).toContain('content-type: text/event-stream');
    expect(client.text()).toContain('cache-control: no-store');
    running.port.publish('gate', { gate: 'shop/drained', note: 'two\nlines' });
    running.port.publish('journal', { id: 7 });
    await client.until('event: journal');
    expect(client.events()).toEqual([
      ['gate', { gate: 'shop/drained', note: 'two\nlines' }],
      ['journal', { id: 7 }],
    ]);
    expect(running.server.stats().eventClients).toBe(1);
  });

  it('are only those of one migration when asked for', async () => {
    running = await startServer();
    const client = await listen('/v1/events?migration=shop');
    running.port.publish('signal', { migration: 'crm', name: 'forward.lag' });
    running.port.publish('gate', { gate: 'shopping/x' });
    running.port.publish('signal', { migration: 'shop', name: 'forward.lag' });
    running.port.publish('gate', { gate: 'shop/drained' });
    await client.until('shop/drained');
    expect(client.events()).toHaveLength(2);
    expect((await running.ask('/v1/events?migration=none')).status).toBe(404);
  });

  it('tell how gates are judged every second to those who ask for it, without an id', async () => {
    running = await startServer();
    const plain = await listen();
    const asking = await listen('/v1/events?include=verdicts');
    const shop = await listen('/v1/events?include=verdicts&migration=shop');
    running.port.pass('verdicts', { migration: null });
    running.port.pass('verdicts', { migration: 'shop' });
    running.port.publish('journal', { migration: 'shop' });
    for (const client of [plain, asking, shop]) await client.until('event: journal');
    expect(plain.events().map(([name]) => name)).toEqual(['journal']);
    expect(asking.events().map(([name]) => name)).toEqual(['verdicts', 'verdicts', 'journal']);
    expect(shop.events().map(([name]) => name)).toEqual(['verdicts', 'journal']);
    expect(asking.ids()).toHaveLength(1);
    expect((await running.ask('/v1/events?include=all')).json()['code']).toBe('invalid_include');
  });

  it('resume after Last-Event-ID, nothing lost and nothing twice', async () => {
    running = await startServer();
    const first = await listen();
    for (let n = 0; n < 3; n += 1) running.port.publish('signal', { n });
    await first.until('"n":2');
    first.socket.destroy();
    await expect.poll(() => running.server.stats().eventClients).toBe(0);
    expect(running.port.subscribers.size).toBe(0);
    running.port.publish('signal', { n: 3 });
    const second = await listen('/v1/events', first.ids()[1]);
    running.port.publish('signal', { n: 4 });
    await second.until('"n":4');
    expect(second.events().map(([, data]) => (data as { n: number }).n)).toEqual([2, 3, 4]);
    expect(second.text()).not.toContain('reset');
  });

  it.each(['1', 'deadbeef-1', '99999', 'nonsense', '-1'])('say reset after Last-Event-ID %s', async (lastId) => {
    running = await startServer();
    running.port.past.push({ id: 5, event: 'signal', data: {} }, { id: 6, event: 'signal', data: {} });
    const client = await listen('/v1/events', lastId);
    await client.until('event: reset');
    expect(client.text()).toContain(': gap\n\nevent: reset\ndata: {}\n\n');
    running.port.publish('signal', { n: 7 });
    await client.until('"n":7');
    expect(client.events().map(([name]) => name)).toEqual(['reset', 'signal']);
  });

  it('take a bare number as an id of this process', async () => {
    running = await startServer();
    running.port.past.push({ id: 5, event: 'signal', data: {} }, { id: 6, event: 'gate', data: {} });
    const client = await listen('/v1/events', '5');
    await client.until('event: gate');
    expect(client.events()).toEqual([['gate', {}]]);
  });

  it('are kept alive by a comment every second', async () => {
    const clock = new FakeClock();
    running = await startServer({ clock });
    const client = await listen();
    await clock.advance(900_000);
    expect(client.text()).not.toContain('heartbeat');
    await clock.advance(100_000);
    await client.until(': heartbeat\n\n');
    client.socket.destroy();
    await expect.poll(() => running.server.stats().eventClients).toBe(0);
    expect(clock.sleepers).toBe(0);
  });

  it('cut off a client that does not read, and no other', async () => {
    running = await startServer({ limits: { eventBacklogBytes: 100_000 } });
    const slow = await listen();
    const quick = await listen();
    slow.socket.pause();
    const filling = 'x'.repeat(50_000);
    for (let n = 0; n < 400 && running.server.stats().eventClientsCut === 0; n += 1) {
      running.port.publish('signal', { n, filling });
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    expect(running.server.stats()).toMatchObject({ eventClients: 1, eventClientsCut: 1 });
    running.port.publish('gate', { last: true });
    await quick.until('"last":true');
    expect(running.log.filter((l) => l.message.includes('cut off'))).toHaveLength(1);
    slow.socket.resume();
    await expect.poll(() => slow.ended(), { timeout: 3000 }).toBe(true);
  });

  it('say reset rather than replay more than a client may lag behind', async () => {
    running = await startServer({ limits: { eventBacklogBytes: 10_000 } });
    for (let n = 0; n < 20; n += 1) running.port.publish('signal', { filling: 'x'.repeat(1000) });
    const client = await listen('/v1/events', '0');
    await client.until('event: reset');
    expect(running.server.stats().eventClientsCut).toBe(0);
  });

  it('have room for a bounded number of clients', async () => {
    running = await startServer({ limits: { eventClients: 1 } });
    await listen();
    const refused = await running.ask('/v1/events');
    expect([refused.status, refused.json()['code']]).toEqual([503, 'too_many_event_clients']);
  });

  it('end on shutdown', async () => {
    running = await startServer();
    const client = await listen();
    const began = performance.now();
    await running.server.close(5000);
    expect(performance.now() - began).toBeLessThan(3000);
    await expect.poll(() => client.ended()).toBe(true);
    expect(running.port.subscribers.size).toBe(0);
  });

  it('end when the tokens change, and then ask for the new one', async () => {
    running = await startServer({ config: daemonConfig({ auth: { tokens: tokens().list } }) });
    const stream = ask(running.tcpPort, '/v1/events', { token: 'reader-secret' });
    await expect.poll(() => running.server.stats().eventClients).toBe(1);
    running.server.reload(daemonConfig({ auth: { tokens: tokens().list.slice(1) } }));
    expect((await stream).status).toBe(200);
    expect((await running.ask('/v1/events', { token: 'reader-secret' })).status).toBe(401);
  });
});
