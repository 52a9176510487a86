import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { LazySession } from '../../collectors/postgres/lazy-session.js';
import { databaseAt } from '../support/listening.js';
import { FakeClock } from '../support/fake-clock.js';

/** A server that hangs up on everyone. */
async function rude(): Promise<{ url: string; count: () => number; close: () => Promise<void> }> {
  let count = 0;
  const server = createServer((socket) => {
    count += 1;
    socket.destroy();
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no port');
  return {
    url: `postgres://lg:lg@127.0.0.1:${address.port}/app`,
    count: () => count,
    close: () => new Promise((done) => server.close(() => done())),
  };
}

describe('LazySession', () => {
  it('doubles the time between attempts up to the bound, and repeats the last error in between', async () => {
    const server = await rude();
    const clock = new FakeClock();
    const options = { applicationName: 'test', attempts: { minMs: 500, maxMs: 2_000 }, random: () => 1 };
    const session = new LazySession(databaseAt('onprem', server.url), options, clock);
    const { signal } = new AbortController();
    const pauses: number[] = [];
    for (let i = 0; i < 5; i++) {
      const error: unknown = await session.get(signal).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(Error);
      pauses.push(session.pauseMs());
      expect(server.count()).toBe(i + 1);
      await expect(session.get(signal)).rejects.toBe(error);
      expect(server.count()).toBe(i + 1);
      await clock.advance(session.pauseMs() * 1000);
    }
    expect(pauses).toEqual([500, 1000, 2000, 2000, 2000]);
    await server.close();
  });
});
