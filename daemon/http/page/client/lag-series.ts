/** What the chart draws of what is known: time without an observation is a gap, and never a line across it. */
import type { VerdictJson } from '../../port.js';
import { tightestBound } from '../../../live/condition-words.js';
import type { LagPoint } from '../../../live/model.js';
import { durationText } from '../../../live/words.js';

/** Seconds since 1970 and, for each of them, the lag of both directions in seconds or null. */
export interface LagSeries {
  at: number[];
  forward: (number | null)[];
  reverse: (number | null)[];
}

/** What a gate asks of the lag. */
export interface LagBound {
  seconds: number;
  text: string;
  /** Since when it has held, seconds since 1970; null while it does not. */
  heldSince: number | null;
}

/** What a gate may set a bound to. */
const LAGS = ['forward.lag', 'reverse.lag', 'active.lag', 'standby.lag'] as const;
/** At most so much is shown, and at least so much, however little is known yet. */
const SHOWN_S = 900;
const LEAST_S = 120;
/** The present comes every second: what lies further apart has a gap between. */
const GAP_S = 2.5;
/** The past comes in steps of ten seconds, each with its worst: those lie just as far apart, and have none. */
const STEP_S = 10;

/** The time before `nowS` of which anything is known, at most a quarter of an hour; it ends there, whenever the last point was. */
export function lagSeries(forward: readonly LagPoint[], reverse: readonly LagPoint[], nowS: number): LagSeries {
  const first = Math.min(...[forward, reverse].map(firstKnown), nowS - LEAST_S);
  const from = Math.max(Math.floor(first), nowS - SHOWN_S);
  const [f, r] = [bySecond(forward, from), bySecond(reverse, from)];
  const series: LagSeries = { at: [], forward: [], reverse: [] };
  const add = (at: number, a: number | null, b: number | null): void => {
    series.at.push(at);
    series.forward.push(a);
    series.reverse.push(b);
  };
  add(from - 0.5, null, null);
  let last = from - 0.5;
  for (const at of [...new Set([...f.keys(), ...r.keys()])].sort((a, b) => a - b)) {
    if (at - last > GAP_S && at - last !== STEP_S) add(last + 0.5, null, null);
    add(at, f.get(at) ?? null, r.get(at) ?? null);
    last = at;
  }
  if (nowS > last) {
    if (nowS - last > GAP_S) add(last + 0.5, null, null);
    add(Math.max(nowS, last + 0.6), null, null);
  }
  return series;
}

/** When anything was known first, seconds since 1970. */
function firstKnown(points: readonly LagPoint[]): number {
  return (points.find(({ value }) => value !== null)?.atMs ?? Infinity) / 1000;
}

/** The worst of each second, and null where any of it was not known. */
function bySecond(points: readonly LagPoint[], from: number): Map<number, number | null> {
  const seconds = new Map<number, number | null>();
  for (const { atMs, value } of points) {
    const second = Math.floor(atMs / 1000);
    if (second < from) continue;
    const known = seconds.get(second);
    seconds.set(second, known === undefined ? value : known === null || value === null ? null : Math.max(known, value));
  }
  return seconds;
}

/** The bound that a gate sets to the lag of a link, the tightest of several; null when it sets none. */
export function lagBound(verdict: VerdictJson | null, nowS: number): LagBound | null {
  const bound = tightestBound(verdict?.conditions ?? [], LAGS);
  if (bound === null) return null;
  const { asked, condition: c } = bound;
  const holds = c.state === 'held' || c.state === 'holding';
  const needs = c.needs_seconds > 0 ? ` for ${durationText(c.needs_seconds)}` : '';
  const text = `${asked.fn === null ? '' : `${asked.fn} `}${asked.signal} ${asked.op} ${asked.thresholdText}${needs}`;
  return { seconds: asked.threshold, text, heldSince: holds ? nowS - c.held_seconds : null };
}
