/** How readings, verdicts and journal entries look to the outside: the JSON of the API. */
import { wallIso, US_PER_MS, US_PER_S, type Clock, type Us } from './core/clock.js';
import type { Verdict } from './core/gate.js';
import { stateAt, valueAt, type Reading } from './core/signal.js';
import { formatDurationUs, type Unit } from './core/units.js';
import type { SignalJson, VerdictJson } from './http/port.js';

/** One look at both clocks, for turning instants into times of day. */
export interface Instant {
  monotonic: Us;
  wall: number;
}

/** How far the clocks may drift against each other before instants are rendered by a new look at them. */
const DRIFT_US: Us = 2_000;

/**
 * Looks at both clocks in such a way that an instant is rendered as the same text at every question: the wall clock comes
 * in whole milliseconds, and a gate's `since` that goes to and fro by one would look like a change to whoever compares it.
 */
export class SteadyLook {
  #offsetUs: Us = -Infinity;

  constructor(private readonly clock: Clock) {}

  now(): Instant {
    // In this order: being interrupted in between makes the difference smaller, never larger.
    const wall = this.clock.wallNow();
    const monotonic = this.clock.monotonicNow();
    const offsetUs = wall * US_PER_MS - monotonic;
    // Milliseconds are cut off, so the largest difference is the nearest to the truth.
    if (offsetUs > this.#offsetUs || this.#offsetUs - offsetUs > DRIFT_US) this.#offsetUs = offsetUs;
    return { monotonic, wall: (monotonic + this.#offsetUs) / US_PER_MS };
  }
}

/** Texts of instants that are remembered before the memory starts afresh. */
const REMEMBERED_TEXTS = 256;

/** How units are spelled outside. */
export function unitLabel(unit: Unit | null): string {
  switch (unit) {
    case 'flag':
    case null:
      return '0/1';
    case 'ratio':
      return '0..1';
    case 'percent':
      return '%';
    default:
      return unit;
  }
}

/** Renders a reading at `now`; a stale value is shown as stale, without its value, so that nobody takes it for a present one. */
export function signalJson(name: string, unit: Unit, reading: Reading, now: Instant): SignalJson {
  const state = stateAt(reading, now.monotonic);
  const ageUs = Math.max(0, now.monotonic - reading.observedAt);
  const nothing = reading.value === null && reading.freshUs === Infinity;
  return {
    name,
    state,
    value: state === 'ok' ? valueAt(reading, now.monotonic) : null,
    unit: unitLabel(unit),
    observed_at: nothing ? null : wallIso(reading.observedAt, now),
    age_seconds: nothing ? null : ageUs / US_PER_S,
    reason: state === 'stale' ? staleReason(ageUs, reading) : reading.reason,
  };
}

function staleReason(ageUs: Us, reading: Reading): string {
  const why = reading.reason === null ? '' : `; it said: ${reading.reason}`;
  return `last observed ${formatDurationUs(ageUs)} ago, which is too old to be trusted (usable for ${formatDurationUs(reading.freshUs)})${why}`;
}

/** Converts instants as `wallIso` does and remembers the last texts: checks come in tight loops, many in one millisecond. */
export class IsoMemory {
  readonly #texts = new Map<number, string>();

  iso(at: Us, now: Instant): string {
    // A Date holds whole milliseconds, cut off.
    const millisecond = Math.trunc(now.wall - (now.monotonic - at) / US_PER_MS);
    let text = this.#texts.get(millisecond);
    if (text === undefined) {
      if (this.#texts.size >= REMEMBERED_TEXTS) this.#texts.clear();
      text = new Date(millisecond).toISOString();
      this.#texts.set(millisecond, text);
    }
    return text;
  }
}

/**
 * Renders a verdict; `configHash` and `daemon` say by whose rules and by whom it was judged. `memory` is for those who
 * render many.
 */
export function verdictJson(
  verdict: Verdict,
  now: Instant,
  configHash: string,
  daemon: string,
  memory: IsoMemory | null = null,
): VerdictJson {
  const iso = (at: Us): string => (memory === null ? wallIso(at, now) : memory.iso(at, now));
  return {
    gate: verdict.gate,
    state: verdict.state,
    open: verdict.state === 'open',
    since: iso(verdict.since),
    evaluated_at: iso(verdict.at),
    opens_at: verdict.opensAt === null ? null : iso(verdict.opensAt),
    conditions: verdict.conditions.map((c) => ({
      text: c.text,
      state: c.state,
      value: c.value,
      unit: unitLabel(c.unit),
      held_seconds: round(c.heldUs / US_PER_S),
      needs_seconds: c.needsUs / US_PER_S,
      last_broken: c.lastBroken === null ? null : { at: iso(c.lastBroken.at), value: c.lastBroken.value },
      reason: c.reason,
    })),
    reason: verdict.reason,
    config_hash: configHash,
    daemon,
  };
}

function round(seconds: number): number {
  return Math.round(seconds * 1000) / 1000;
}
