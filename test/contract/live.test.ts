import { afterEach, describe, expect, it } from 'vitest';
import { follow } from '../../daemon/live/follow.js';
import { nothing, type Model } from '../../daemon/live/model.js';
import { fenceShown, gateShown, isLive, signalShown } from '../../daemon/live/shown.js';
import { fence, signal, verdict } from '../support/fake-port.js';
import { daemonConfig, startServer, tokens, type Running } from '../support/http-server.js';
import { fetching, REAL, tellNow } from '../support/live-client.js';

let running: Running;
let stop: AbortController;
let endTelling: () => void;

afterEach(async () => {
  stop.abort();
  endTelling();
  await running.server.close(1000);
});

/** A daemon whose verdicts are of now, as those of a real one are, told every 100 ms; and a client that follows it. */
async function start(token?: string) {
  running = await startServer(token === undefined ? {} : { config: daemonConfig({ auth: { tokens: tokens().list } }) });
  const { port, url } = running;
  endTelling = tellNow(port);
  stop = new AbortController();
  let model: Model = nothing(REAL.now());
  let asked = 0;
  const transport = fetching(url, token);
  const done = follow({
    ...{
      transport: { ...transport, get: (path, s) => ((asked += 1), transport.get(path, s)) },
      clock: REAL,
      signal: stop.signal,
      random: () => 0,
    },
    changed: (next) => (model = next),
  });
  return {
    done,
    model: () => model,
    asked: () => asked,
    state: (gate: string) => gateShown(model, gate, REAL.now()).state,
    live: () => isLive(model, REAL.now()),
  };
}

const soon = { timeout: 5000, interval: 20 };

describe('a client that follows a daemon', () => {
  it('knows what it says, and keeps up by events alone', async () => {
    const client = await start();
    await expect.poll(client.live, soon).toBe(true);
    expect(client.model().daemon).toEqual({ id: 'lockgate-test', version: '0.0.0-test', role: 'operator' });
    expect(['shop/flip-writes', 'shop/drained', 'shop/verified', 'all-shards'].map(client.state)).toEqual([
      ...['open', 'closed', 'unknown', 'open'],
    ]);
    const asked = client.asked();
    running.port.verdicts.set('shop/flip-writes', verdict('shop/flip-writes', 'closed', 60));
    await expect.poll(() => client.state('shop/flip-writes'), soon).toBe('closed');
    running.port.signalsOf.set('shop', [signal('forward.lag', 4)]);
    await expect.poll(() => signalShown(client.model(), 'shop', 'forward.lag', REAL.now())?.value, soon).toBe(4);
    await expect.poll(() => client.model().lag.get('shop/forward')?.at(-1)?.value, soon).toBe(4);
    running.port.publish('fence', fence('f9', 'placed'));
    await expect.poll(() => fenceShown(client.model(), 'shop', REAL.now())?.fence.id, soon).toBe('f9');
    expect(client.asked()).toBe(asked);
  });

  it('shows nothing as open when the daemon is gone, and all of it again when it is back', async () => {
    const client = await start();
    await expect.poll(() => client.state('all-shards'), soon).toBe('open');
    running.server.reload(daemonConfig({ auth: { tokens: tokens().list } }));
    await expect.poll(() => client.state('all-shards'), soon).toBe('unknown');
    expect(client.live()).toBe(false);
    const ended = await client.done;
    expect(ended.connection).toMatchObject({ state: 'lost', refused: true });
  });

  it('is refused without the right token', async () => {
    const client = await start('wrong');
    expect((await client.done).connection).toMatchObject({
      state: 'lost',
      refused: true,
      reason: 'the token is not known',
    });
  });

  it('shows nothing as open that is not confirmed any more', async () => {
    const client = await start();
    await expect.poll(() => client.state('all-shards'), soon).toBe('open');
    endTelling();
    running.port.verdict = () => undefined;
    await expect.poll(() => client.state('all-shards'), soon).toBe('unknown');
  });
});
