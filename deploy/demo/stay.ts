/** After the tour: everything stays up, with one line that tells how it is, and keys to break it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../daemon/core/errors.js';
import { GATE, MIGRATION } from './config.js';
import { inBrief } from './gate-watch.js';
import type { Screen } from './screen.js';
import type { Running } from './tour.js';
import { DATABASE, type Side } from './shop.js';

const EVERY_MS = 250;

/** Calls back for each key; returns what gives the keyboard back. */
export type Keys = (listener: (key: string) => void) => () => void;

/** Says what can be tried, then shows the gate until `stop` is aborted; `quit` is called for q. */
export async function stay(
  { shop, writer, daemon, configFile }: Running,
  screen: Screen,
  keys: Keys | null,
  stop: AbortSignal,
  quit: () => void,
): Promise<void> {
  const { url } = daemon;
  await writer.start('source');
  screen.line();
  screen.line(screen.paint('It stays up, and the shop sells again. Try:', 'bold'));
  for (const command of [
    `curl -s ${url}/v1/gates/${GATE}`,
    `curl -s -o /dev/null -w '%{http_code}\\n' ${url}/v1/gates/${GATE}/check`,
    `curl -s ${url}/v1/migrations/${MIGRATION}/signals`,
    `curl -s ${url}/metrics`,
    `curl -sN ${url}/v1/events`,
    `npx tsx daemon/main.ts check ${GATE} --url ${url}`,
    `npx tsx daemon/main.ts status --url ${url}`,
    `npx tsx daemon/main.ts journal --url ${url}`,
    `npx tsx daemon/main.ts doctor --config ${configFile}`,
  ]) {
    screen.say(command);
  }
  screen.say(`onprem: ${shop.source.adminUrl(DATABASE)}`);
  screen.say(`aws:    ${shop.target.adminUrl(DATABASE)}`);
  screen.line();
  screen.line(
    keys === null
      ? 'Ctrl-C ends it and removes everything.'
      : '[b]reak  [h]eal  [s]top selling, for a fence, and go on where writes belong  [q]uit: ends it and removes everything',
  );

  const act = (what: string, done: Promise<string | void>): void => {
    void done.then(
      (more) => screen.line(what + (more ?? '')),
      (error: unknown) => screen.line(`${what}: ${messageOf(error)}`),
    );
  };
  const till = new SwitchedTill(shop, writer, daemon);
  const release = keys?.((key) => {
    if (key === 'b') act(`broken: ${shop.words.breaks}`, shop.break());
    if (key === 'h') act(`healed: ${shop.words.heals}`, shop.heal());
    if (key === 's') act('the shop: ', till.turn());
    if (key === 'q') quit();
  });
  try {
    let told = '';
    while (!stop.aborted) {
      const line = await daemon.verdict(GATE).then(
        (verdict) => {
          const lag = verdict.conditions.find((c) => c.unit === 's')?.value ?? null;
          const state = verdict.state + (verdict.opens_at === null ? '' : ', holding');
          if (state !== told) screen.line(`${new Date().toISOString().slice(11, 19)}Z  ${inBrief(verdict, screen)}`);
          told = state;
          const opens = verdict.opens_at === null ? '' : `  opens at ${verdict.opens_at.slice(11, 19)}Z`;
          return `${state}${opens}  lag ${lag === null ? 'unknown' : `${lag.toFixed(3)} s`}  ${writer.acknowledged} orders`;
        },
        (error: unknown) => `the daemon does not answer: ${messageOf(error)}`,
      );
      screen.live(line);
      await sleep(EVERY_MS, undefined, { signal: stop }).catch(() => undefined);
    }
  } finally {
    release?.();
  }
}

/** The shop's writes, stopped and started by one key, so that a whole cutover can be carried out by hand. */
class SwitchedTill {
  #on: Side | null = 'source';
  #turning: Promise<unknown> = Promise.resolve();

  constructor(
    readonly shop: Running['shop'],
    readonly writer: Running['writer'],
    readonly daemon: Running['daemon'],
  ) {}

  /** Stops the writes, or begins them on the side where the present direction has them; answers what was done. */
  turn(): Promise<string> {
    const turned = this.#turning.then(() => (this.#on === null ? this.#begin() : this.#end(this.#on)));
    this.#turning = turned.catch(() => undefined);
    return turned;
  }

  async #end(side: Side): Promise<string> {
    await this.writer.stop();
    this.#on = null;
    await this.shop.silence(side);
    await this.shop.admit(otherThan(side));
    return `stopped; now lockgate fence ${MIGRATION}, then promote or rollback, or go on as before`;
  }

  async #begin(): Promise<string> {
    const { direction } = await this.daemon.migration(MIGRATION);
    if (direction === 'unknown') return 'waits: the direction is unknown';
    const side: Side = direction === 'forward' ? 'source' : 'target';
    await this.shop.silence(otherThan(side));
    await this.shop.admit(side);
    await this.writer.start(side);
    this.#on = side;
    return `sells on ${side === 'source' ? 'onprem' : 'aws'}`;
  }
}

function otherThan(side: Side): Side {
  return side === 'source' ? 'target' : 'source';
}
