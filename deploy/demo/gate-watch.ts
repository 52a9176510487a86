import { setTimeout as sleep } from 'node:timers/promises';
import { briefReason } from '../../daemon/cli/render-verdict.js';
import { durationText } from '../../daemon/live/words.js';
import type { VerdictJson } from '../../daemon/http/port.js';
import type { Daemon } from './lockgate.js';
import type { Screen } from './screen.js';

const EVERY_MS = 100;
/** Reasons can be long, and the whole verdict is quoted anyway. */
const BRIEF = 120;

/** A verdict and when it was given. */
export interface Sample {
  readonly verdict: VerdictJson;
  /** `performance.now()` when it had arrived. */
  readonly at: number;
  /** What of it is news, for the watch that goes on from here. */
  readonly news: string;
}

/** Where to ask, and where to tell of it. */
export interface Watching {
  readonly gate: string;
  readonly daemon: Daemon;
  readonly screen: Screen;
  readonly signal: AbortSignal;
}

/**
 * Asks for the gate's verdict again and again and shows how it changes, until `enough` says so; throws with the last
 * verdict after `limitMs`. Times are told from `from` on (`performance.now()`); what `before` said already is not.
 */
export async function watchGate(
  { gate, daemon, screen, signal }: Watching,
  from: number,
  limitMs: number,
  enough: (sample: Sample) => boolean,
  before?: Sample,
): Promise<Sample> {
  let told = before?.news;
  for (;;) {
    const verdict = await daemon.verdict(gate);
    const brief = inBrief(verdict, screen);
    // What changes with every answer (values, what is left of a hold) is no news.
    const sample: Sample = { verdict, at: performance.now(), news: brief.replace(/[\d.]+ ?m?s\b/g, '') };
    const after = `${((sample.at - from) / 1000).toFixed(1).padStart(5)} s`;
    if (sample.news !== told) screen.say(`${screen.paint(after, 'dim')}  ${brief}`);
    else screen.live(`${after}  ${verdict.state}  ${opensIn(verdict)}${valuesOf(verdict)}`);
    told = sample.news;
    if (enough(sample)) return sample;
    if (sample.at - from > limitMs) {
      throw new Error(`not within ${durationText(limitMs / 1000)}: it is ${verdict.state} ${briefReason(verdict)}`);
    }
    await sleep(EVERY_MS, undefined, { signal });
  }
}

/** A verdict on one line, with the conditions that keep the gate from being open. */
export function inBrief(verdict: VerdictJson, screen: Screen): string {
  const colour = ({ open: 'green', closed: 'red', unknown: 'magenta' } as const)[verdict.state];
  const word = screen.paint(verdict.state.padEnd(7), colour);
  const reason =
    verdict.opens_at === null ? briefReason(verdict) : `every condition true, held until it ${opensIn(verdict)}`;
  return `${word}  ${reason.length > BRIEF ? `${reason.slice(0, BRIEF)} …` : reason}`.trimEnd();
}

function opensIn(verdict: VerdictJson): string {
  if (verdict.opens_at === null) return '';
  const left = (Date.parse(verdict.opens_at) - Date.parse(verdict.evaluated_at)) / 1000;
  return `opens in ${Math.max(0, left).toFixed(1)} s  `;
}

/** The values behind the conditions on lag, for the line that is rewritten. */
function valuesOf(verdict: VerdictJson): string {
  return verdict.conditions
    .filter((c) => c.unit === 's')
    .map((c) => `${c.text.split(' ')[0] ?? ''} ${c.value === null ? 'unknown' : `${c.value.toFixed(3)} s`}`)
    .join('  ');
}
