/** The tour, step by step: each says what it expects, and fails when that is not what the API says. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { verdictText } from '../../daemon/cli/render-verdict.js';
import { configYaml, GATE, MIGRATION, THRESHOLD } from './config.js';
import { cutover } from './cutover.js';
import { watchGate, type Sample } from './gate-watch.js';
import { Daemon, setup, writePrivate } from './lockgate.js';
import type { DemoShop, DemoWords } from './demo-shop.js';
import { runFolder } from './run-folder.js';
import type { Screen } from './screen.js';
import { DATABASE, FIRST_ORDERS, type Writer } from './shop.js';
import { seconds, stepsOn, until } from './steps.js';

/** How fast the shop sells. */
const ORDERS_PER_SECOND = 40;
/** The gate must not be open for longer than this once replication is broken, or lockgate blind. */
const CLOSES_WITHIN_MS = 3_000;
/** What the hold may be exceeded by until the gate is open: connecting, catching up, a busy machine. */
const OPENS_WITHIN_MS = 25_000;
/** For how long the break lasts after the gate has closed. */
const VERIFIED_WITHIN_MS = 60_000;
const BROKEN_MS = 3_000;
const COPIED_WITHIN_MS = 20_000;
const READY_WITHIN_MS = 20_000;

/** What the tour is given. */
export interface TourOptions {
  readonly screen: Screen;
  readonly signal: AbortSignal;
  readonly port: number;
  readonly holdSeconds: number;
  readonly words: DemoWords;
  /** Starts the servers. */
  readonly start: () => Promise<DemoShop>;
  /** Takes what undoes each part as soon as it exists. */
  readonly onEnd: (cleanup: () => Promise<void>) => void;
}

/** What runs when the tour is over. */
export interface Running {
  readonly shop: DemoShop;
  readonly writer: Writer;
  readonly daemon: Daemon;
  readonly configFile: string;
}

/** Runs the whole tour; rejects with StepFailed at the first step that is not observed as expected. */
export async function tour(options: TourOptions): Promise<Running> {
  const { screen, signal, port, holdSeconds, onEnd, words } = options;
  const step = stepsOn(screen, signal);

  const shop = await step(words.servers, 'both accept connections', async () => {
    const from = performance.now();
    const started = await options.start();
    onEnd(() => started.destroy());
    screen.say(`onprem  127.0.0.1:${started.source.port}  the source: ${FIRST_ORDERS} orders`);
    screen.say(`aws     127.0.0.1:${started.target.port}  the target: ${words.targetHas}`);
    return [started, `up and filled after ${seconds(from)}`];
  });

  const writer = await step(
    `${words.replication} while the shop goes on selling`,
    'every table copied, and orders placed meanwhile arrive',
    async () => {
      const from = performance.now();
      const writing = shop.writer(ORDERS_PER_SECOND);
      await writing.start('source');
      onEnd(() => writing.stop());
      await shop.replicate();
      await until(signal, COPIED_WITHIN_MS, 'the initial copy is not finished', () => shop.copied());
      const placed = writing.acknowledged;
      await until(signal, COPIED_WITHIN_MS, 'the orders placed meanwhile are missing', async () => {
        return (await shop.orders()).target >= FIRST_ORDERS + placed && placed > 0;
      });
      if (shop.backBeforeSetup) await wayBack(shop, screen);
      return [writing, `copied and caught up after ${seconds(from)}, ${placed} orders placed meanwhile`];
    },
  );

  const password = randomBytes(16).toString('hex');
  const configFile = writePrivate(
    'lockgate.yaml',
    configYaml({
      port,
      password,
      holdSeconds,
      storePath: join(runFolder().path, 'lockgate.db'),
      shop,
    }),
  );
  await step(
    'lockgate setup, once, as administrator',
    'a least-privileged user and what it needs, on both sides',
    async () => {
      const from = performance.now();
      const steps = await setup(
        configFile,
        { onprem: shop.source.adminUrl(DATABASE), aws: shop.target.adminUrl(DATABASE) },
        signal,
      );
      // Grants and settings go without saying here; what is new in the databases does not.
      const shown = steps.filter(({ why }) => /^create |carry|take up/.test(why));
      for (const { database, why } of shown) screen.say(`${database.padEnd(7)} ${why}`);
      screen.say(`        and ${steps.length - shown.length} grants and settings`);
      if (steps.length === 0) throw new Error('setup did nothing');
      if (!shop.backBeforeSetup) await wayBack(shop, screen);
      return [undefined, `${steps.length} steps after ${seconds(from)}; the daemon itself creates nothing`];
    },
  );

  const url = `http://127.0.0.1:${port}`;
  const daemon = await step('lockgate run, as that user', `${url}/readyz answers 200`, async () => {
    const started = new Daemon(configFile, url);
    onEnd(() => started.stop());
    await until(signal, READY_WITHIN_MS, 'the daemon is not ready', () => started.ready());
    return [started, `ready after ${seconds(started.startedAt)}`];
  });
  const watching = { gate: GATE, daemon, screen, signal };

  const opens = async (from: number): Promise<Sample> => {
    const sample = await watchGate(watching, from, holdSeconds * 1000 + OPENS_WITHIN_MS, ({ verdict }) => verdict.open);
    const short = sample.verdict.conditions.find((c) => c.state !== 'held' || c.held_seconds < c.needs_seconds);
    if (short !== undefined) throw new Error(`open although "${short.text}" is ${short.state}`);
    await expectStatus(daemon, 200);
    return sample;
  };
  /** The same where the hold begins anew with `from`. */
  const opensAfterHold = async (from: number): Promise<Sample> => {
    const sample = await opens(from);
    const took = (sample.at - from) / 1000;
    if (took < holdSeconds) throw new Error(`open after ${took.toFixed(2)} s, before its hold of ${holdSeconds} s`);
    return sample;
  };
  const quote = (sample: Sample): void => screen.say(verdictText(sample.verdict, screen.paint, null));

  await step(
    `May I proceed? Gate ${GATE}`,
    `not open before lag was below ${THRESHOLD} for ${holdSeconds} s; then open`,
    async () => {
      const sample = await opensAfterHold(daemon.startedAt);
      quote(sample);
      return [undefined, `open ${seconds(daemon.startedAt)} after the daemon's start; /check answers 200`];
    },
  );

  await step(
    `Replication breaks: ${words.breaks}`,
    `closed within ${CLOSES_WITHIN_MS / 1000} s, naming what broke; lag grows by a second per second`,
    async () => {
      const from = performance.now();
      await shop.break();
      const closed = await watchGate(watching, from, CLOSES_WITHIN_MS, ({ verdict }) => {
        return verdict.state === 'closed' && verdict.conditions.some((c) => c.state === 'broken');
      });
      const first = await lagOf(daemon);
      const last = await watchGate(
        watching,
        from,
        CLOSES_WITHIN_MS + BROKEN_MS + 10_000,
        ({ verdict, at }) => {
          if (verdict.state !== 'closed') throw new Error(`it is ${verdict.state} while replication is broken`);
          return at - closed.at >= BROKEN_MS;
        },
        closed,
      );
      const second = await lagOf(daemon);
      const grown = second.value - first.value;
      const passed = (second.at - first.at) / 1000;
      quote(last);
      const missing = await shop.orders();
      screen.say(`orders on onprem: ${missing.source}, on aws: ${missing.target}`);
      screen.say(`meanwhile, on ${words.customaryAt}:  ${words.customary}  ->  ${await shop.customaryLag()}`);
      if (missing.source <= missing.target) throw new Error('no order is missing on aws: nothing was broken');
      // The first answer may still be from before the oldest heartbeat that is missing was sent.
      if (grown < passed - 1 || grown > passed + 1) {
        throw new Error(`lag grew by ${grown.toFixed(1)} s in ${passed.toFixed(1)} s`);
      }
      await expectStatus(daemon, 409);
      return [
        undefined,
        `closed after ${((closed.at - from) / 1000).toFixed(1)} s; lag grew by ${grown.toFixed(1)} s in ${passed.toFixed(1)} s; ` +
          `${missing.source - missing.target} orders missing; /check answers 409`,
      ];
    },
  );

  await step(`Healed: ${words.heals}`, `catches up, holds for ${holdSeconds} s anew, opens`, async () => {
    const from = performance.now();
    await shop.heal();
    await opensAfterHold(from);
    return [undefined, `open ${seconds(from)} after it was healed`];
  });

  await step(
    'lockgate cannot measure: its right to write heartbeats is revoked',
    `unknown within ${CLOSES_WITHIN_MS / 1000} s, which is neither open nor "no lag"`,
    async () => {
      const from = performance.now();
      await shop.blind();
      const sample = await watchGate(watching, from, CLOSES_WITHIN_MS, ({ verdict }) => verdict.state === 'unknown');
      quote(sample);
      await expectStatus(daemon, 503);
      const after = `unknown after ${((sample.at - from) / 1000).toFixed(1)} s; /check answers 503`;
      const granted = performance.now();
      await shop.heal();
      await opensAfterHold(granted);
      return [undefined, `${after}; granted again, open after ${seconds(granted)}`];
    },
  );

  await step(
    'Is the data the same? lockgate verify, while the shop sells',
    'every table of the shop matches; rows that are still on their way are no difference',
    async () => {
      const from = performance.now();
      const pass = await daemon.startVerify(MIGRATION);
      let done = await daemon.verification(MIGRATION);
      await until(signal, VERIFIED_WITHIN_MS, 'the comparison has not ended', async () => {
        done = await daemon.verification(MIGRATION);
        return done.running === null && done.last?.pass === pass;
      });
      for (const t of done.tables) {
        const rows = `${String(t.rows_compared).padStart(6)} rows`;
        screen.say(`${t.table.padEnd(18)} ${t.state.padEnd(11)} ${rows}${t.reason === null ? '' : `   ${t.reason}`}`);
      }
      const odd = done.tables.find((t) => t.state !== 'match');
      if (odd !== undefined) throw new Error(`${odd.table} is ${odd.state}: ${odd.reason ?? ''}`);
      const signals = await daemon.signals(MIGRATION);
      const coverage = signals.get('verify.coverage')?.value;
      if (coverage !== 1 || signals.get('verify.mismatched_rows')?.value !== 0)
        throw new Error('the signals say otherwise');
      return [undefined, `${done.tables.length} tables match, ${seconds(from)}; verify.coverage is 100 %`];
    },
  );

  await cutover({ screen, signal, words, shop, writer, daemon, holdSeconds, step });

  await step(
    'The shop sells on as in the beginning, then stops, and both sides are counted',
    `gate ${GATE} opens again; the same rows on both sides, every acknowledged order among them`,
    async () => {
      await opens(performance.now());
      await writer.stop();
      if (writer.failure !== null) throw new Error(`the shop could not sell: ${writer.failure.message}`);
      await until(signal, 10_000, 'aws never had all orders', async () => {
        const { source, target } = await shop.orders();
        return source === target;
      });
      const counts = await shop.compare();
      for (const c of counts) {
        screen.say(
          `${c.table.padEnd(12)} onprem ${String(c.source).padStart(6)}   aws ${String(c.target).padStart(6)}`,
        );
      }
      const differs = counts.find((c) => !c.same);
      if (differs !== undefined) throw new Error(`${differs.table} differs`);
      const sold = (counts.find((c) => c.table === 'orders')?.target ?? 0) - FIRST_ORDERS;
      if (sold !== writer.acknowledged) throw new Error(`${writer.acknowledged} orders acknowledged, ${sold} on aws`);
      return [undefined, `equal, contents included; all ${sold} acknowledged orders are on aws`];
    },
  );

  return { shop, writer, daemon, configFile };
}

async function wayBack(shop: DemoShop, screen: Screen): Promise<void> {
  await shop.replicateBack();
  screen.say('and a second stream for the way back, from aws to onprem: nothing to carry yet');
}

async function lagOf(daemon: Daemon): Promise<{ value: number; at: number }> {
  const lag = (await daemon.signals(MIGRATION)).get('forward.lag');
  const value = lag?.value ?? null;
  if (value === null) throw new Error(`forward.lag is ${lag?.state ?? 'missing'}: ${lag?.reason ?? 'no reason'}`);
  return { value, at: performance.now() };
}

async function expectStatus(daemon: Daemon, status: number): Promise<void> {
  const got = await daemon.check(GATE);
  if (got !== status) throw new Error(`/check answers ${got}, not ${status}`);
}
