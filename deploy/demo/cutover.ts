/** The tour's second half: the writes are moved, a write goes astray, and the writes are moved back, while the shop sells. */
import { setTimeout as sleep } from 'node:timers/promises';
import { changeText, fenceText, missingText } from '../../daemon/cli/render-fence.js';
import { entryCells } from '../../daemon/live/journal-words.js';
import { verdictText } from '../../daemon/cli/render-verdict.js';
import { columns } from '../../daemon/cli/text.js';
import { valueText } from '../../daemon/live/words.js';
import type { FenceJson } from '../../daemon/http/port.js';
import { DRAINED, GATE, MIGRATION, ROLLBACK_READY } from './config.js';
import { STRAY, type DemoShop, type DemoWords } from './demo-shop.js';
import { watchGate, type Watching } from './gate-watch.js';
import type { Daemon } from './lockgate.js';
import type { Screen } from './screen.js';
import type { Side, Writer } from './shop.js';
import { seconds, until, type Step } from './steps.js';

/** What the cutover is carried out on. */
export interface CutoverOptions {
  readonly screen: Screen;
  readonly signal: AbortSignal;
  readonly words: DemoWords;
  readonly shop: DemoShop;
  readonly writer: Writer;
  readonly daemon: Daemon;
  readonly holdSeconds: number;
  readonly step: Step;
}

/** A fence that is not drained by then is given up: the shop must not stand still for long. */
const FENCE_DEADLINE = '20s';
/** How often a fence that is not decided yet is told of. */
const PROGRESS = '250ms';
/** What a hold may be exceeded by until the way back is open. */
const OPENS_WITHIN_MS = 20_000;
const STRAY_SEEN_WITHIN_MS = 1_000;
const CLOSES_WITHIN_MS = 1_000;
const SELLS_WITHIN_MS = 5_000;
/** For how long the shop sells on the new side before the tour goes on. */
const SELLS_MS = 1_500;
/** The answers that tell the cutover, in the journal. */
const TOLD = new Set(['fence', 'promote', 'rollback', 'direction', 'stray-write', 'split-brain', 'attestation']);

const NAME: Readonly<Record<Side, string>> = { source: 'onprem', target: 'aws' };

/** What the proofs of a drain are called, in words. */
const PROOFS: Readonly<Record<string, string>> = {
  marker: "a row of lockgate's own, written behind all orders, which has arrived",
  position: "the servers' own positions",
};

/** One change of direction. */
interface Move {
  readonly action: 'promote' | 'rollback';
  readonly from: Side;
  readonly to: Side;
}
const FLIP: Move = { action: 'promote', from: 'source', to: 'target' };
const BACK: Move = { action: 'rollback', from: 'target', to: 'source' };

/** Carries the cutover out, and back; rejects with StepFailed at the first step that is not observed as expected. */
export async function cutover(options: CutoverOptions): Promise<void> {
  const { screen, signal, shop, writer, daemon, holdSeconds, step } = options;
  const watching: Watching = { gate: ROLLBACK_READY, daemon, screen, signal };
  const began = Date.now();

  await step(
    'Before the writes are moved from onprem to aws: may they be stopped?',
    `gate ${GATE} is open: aws is close behind, and the way back runs already`,
    async () => {
      const asked = { ...watching, gate: GATE };
      const { verdict } = await watchGate(asked, performance.now(), OPENS_WITHIN_MS, (sample) => sample.verdict.open);
      screen.say(verdictText(verdict, screen.paint, null));
      const back = await daemon.verdict(ROLLBACK_READY);
      screen.say(`gate ${ROLLBACK_READY} is ${back.state}: there is nothing to go back from yet`);
      if (back.open) throw new Error('the way back is open before anything was moved');
      const drain = (await daemon.signals(MIGRATION)).get('forward.drain_eta_high')?.value ?? null;
      return [undefined, `open; once writes stop, the rest is predicted to arrive within ${valueText(drain, 's')}`];
    },
  );

  await step(
    'The flip: onprem falls silent, aws takes over',
    'a short pause, and every order that a customer was told of is on aws before it takes over',
    async () => [undefined, await moveWrites(options, FLIP)],
  );

  await step(
    'The way back: can we still return to onprem?',
    `what is sold on aws arrives on onprem, and gate ${ROLLBACK_READY} is open`,
    async () => {
      const from = performance.now();
      await watchGate(watching, from, holdSeconds * 1000 + OPENS_WITHIN_MS, ({ verdict }) => verdict.open);
      const opened = seconds(from);
      await sleep(SELLS_MS, undefined, { signal });
      const lag = (await daemon.signals(MIGRATION)).get('reverse.lag');
      if (lag?.state !== 'ok') throw new Error(`reverse.lag is ${lag?.state ?? 'missing'}: ${lag?.reason ?? ''}`);
      const before = [...writer.numbers];
      await until(signal, SELLS_WITHIN_MS, 'orders are missing on onprem', async () => {
        return (await shop.missing('source', before)) === 0;
      });
      return [
        undefined,
        `open after ${opened}; onprem is ${valueText(lag.value, 's')} behind aws; none of ${before.length} orders is missing on onprem`,
      ];
    },
  );

  await step(
    'A mistake: an administrator writes to onprem, which should be silent',
    `seen within ${STRAY_SEEN_WITHIN_MS / 1000} s, with its place in the server's log; gate ${ROLLBACK_READY} closes`,
    async () => {
      await shop.addStray();
      const from = performance.now();
      let found = (await daemon.migration(MIGRATION)).sides.source.stray_writes;
      await until(
        signal,
        STRAY_SEEN_WITHIN_MS,
        'the write is not seen',
        async () => {
          found = (await daemon.migration(MIGRATION)).sides.source.stray_writes;
          return found.count !== null && found.count > 0;
        },
        10,
      );
      const seenAfter = performance.now() - from;
      const closed = await watchGate(watching, from, CLOSES_WITHIN_MS, ({ verdict }) => verdict.state === 'closed');
      screen.say(verdictText(closed.verdict, screen.paint, null));
      return [
        undefined,
        `${found.count ?? 0} stray write, at ${found.first_position ?? 'an unknown place'}: seen ${ms(seenAfter)} after it was committed`,
      ];
    },
  );

  await step(
    'Put right: the row is taken out on aws, and somebody signs for it',
    `gone on both sides; gate ${ROLLBACK_READY} opens again once it is signed for, not before`,
    async () => {
      await until(signal, SELLS_WITHIN_MS, 'replication has not carried the row to aws', async () => {
        return (await shop.strays()).target === 1;
      });
      screen.say(`customer "${STRAY}": replication has carried it from onprem to aws as well`);
      await shop.removeStray();
      await until(signal, SELLS_WITHIN_MS, 'the row is not gone', async () => {
        const { source, target } = await shop.strays();
        return source + target === 0;
      });
      const still = await daemon.verdict(ROLLBACK_READY);
      screen.say(`taken out on aws; gone on onprem, too. Gate ${ROLLBACK_READY} is still ${still.state}`);
      if (still.open) throw new Error('the gate has opened although nobody has signed');
      const from = performance.now();
      const note = 'customer removed on both sides';
      await daemon.attest(MIGRATION, 'stray-writes-reconciled', 'Ana', note);
      screen.say(`lockgate attest ${MIGRATION} stray-writes-reconciled --by Ana --note "${note}"`);
      await watchGate(watching, from, OPENS_WITHIN_MS, ({ verdict }) => verdict.open);
      return [undefined, `signed by Ana; the gate is open ${seconds(from)} later`];
    },
  );

  await step(
    'The rollback: aws falls silent, onprem takes over again',
    'the same in the other direction, with a fence of its own; nothing is lost on the way back either',
    async () => [undefined, await moveWrites(options, BACK)],
  );

  await step(
    'The whole night, told by the journal alone',
    'both moves in order: who (here nobody has to log in), what, and the positions',
    async () => {
      const told = (await daemon.journal(began)).filter((entry) => TOLD.has(String(entry['kind'])));
      for (const line of columns(told.map(entryCells))) screen.say(line);
      const order = told.map(({ kind }) => String(kind)).filter((kind) => kind === 'promote' || kind === 'rollback');
      if (order[0] !== 'promote' || order.at(-1) !== 'rollback' || !told.some((e) => e['kind'] === 'stray-write')) {
        throw new Error('the journal does not tell it');
      }
      return [undefined, `${told.length} entries (lockgate journal shows those of the gates, too)`];
    },
  );
}

/** Stops the writes on one side, proves that the other has everything, declares the change and lets the shop sell there. */
async function moveWrites(options: CutoverOptions, move: Move): Promise<string> {
  const { screen, signal, words, shop, writer, daemon } = options;
  const { action, from, to } = move;

  await writer.stop();
  selling(writer);
  const lastAt = writer.lastAt ?? NaN;
  const tell = (text: string): void => {
    signal.throwIfAborted(); // after an interrupt nothing more is done or told
    screen.say(`${screen.paint(ms(performance.now() - lastAt).padStart(8), 'dim')}  ${text}`);
  };
  const all = writer.acknowledged;
  screen.say(`${ms(0).padStart(8)}  the last order is acknowledged by ${NAME[from]}; the shop waits`);
  await shop.silence(from);
  tell(`${NAME[from]} is closed to the shop: ${words.silences}`);

  const fence = await drained(options, move, tell);
  const missing = await shop.missing(to, writer.numbers);
  if (missing > 0) throw new Error(`${missing} of ${all} acknowledged orders are missing on ${NAME[to]}`);
  tell(`counted: none of the ${all} orders that customers were told of is missing on ${NAME[to]}`);
  const status = await daemon.check(DRAINED);
  if (status !== 200) throw new Error(`${DRAINED}/check answers ${status}`);
  tell(`gate ${DRAINED} is open`);

  await shop.admit(to);
  tell(`${NAME[to]} is open to the shop: ${words.admits}`);
  const change = await daemon.change(MIGRATION, action, `demo: writes to ${NAME[to]}`);
  tell(`declared: lockgate ${action} ${MIGRATION}`);
  await writer.start(to);
  await until(signal, SELLS_WITHIN_MS, 'nothing was sold', () => selling(writer), 1);
  const pause = (writer.firstAt ?? NaN) - lastAt;
  screen.say(`${screen.paint(ms(pause).padStart(8), 'dim')}  the first order is acknowledged by ${NAME[to]}`);

  const lost = await shop.missing(to, writer.numbers.slice(0, all));
  if (lost > 0) throw new Error(`${lost} acknowledged orders are missing on ${NAME[to]}`);
  screen.say(changeText(change, screen.paint, Date.now()));
  return (
    `writes paused for ${ms(pause)}, of which ${ms((fence.drain_seconds ?? NaN) * 1000)} to drain; ` +
    `0 of ${all} acknowledged orders are missing on ${NAME[to]}`
  );
}

/** Places a fence and follows it until it is drained; throws, with the fence told, when it ends in any other way. */
async function drained(
  { screen, daemon }: CutoverOptions,
  { action, from, to }: Move,
  tell: (text: string) => void,
): Promise<FenceJson> {
  let fence = await daemon.placeFence(MIGRATION, FENCE_DEADLINE, `demo: before the ${action}`);
  tell(`fence: a mark in the log of ${NAME[from]}, where it stopped: ${fence.source_position}`);
  while (fence.state === 'placed') {
    const next = await daemon.fence(MIGRATION, fence.id, PROGRESS);
    if (next.state === 'placed') tell(`not there yet: ${missingText(next)}`);
    fence = next;
  }
  if (fence.state !== 'drained') {
    screen.say(fenceText(fence, screen.paint, Date.now()));
    throw new Error(`the fence is ${fence.state}`);
  }
  tell(
    `drained: ${NAME[to]} has everything up to the mark, safely on disk, after ${valueText(fence.drain_seconds, 's')}`,
  );
  tell(`proved by ${fence.basis.map((basis) => PROOFS[basis] ?? basis).join(', and by ')}`);
  return fence;
}

/** Whether it has sold since it was started; throws once it cannot any more. */
function selling(writer: Writer): boolean {
  if (writer.failure !== null) throw new Error(`the shop could not sell: ${writer.failure.message}`);
  return writer.firstAt !== null;
}

function ms(value: number): string {
  return value < 10 ? `${value.toFixed(1)} ms` : `${value.toFixed(0)} ms`;
}
