/**
 * The board holds the latest reading of every signal, and a bounded history of it for charts: at least the last hour, in
 * buckets of a second with the last and the highest value. Signals that hardly ever change keep a short list of changes;
 * the others a ring of single-precision numbers.
 */
import type { Us } from './core/clock.js';
import { US_PER_S } from './core/clock.js';
import { stateAt, unknown, valueAt, type Reading } from './core/signal.js';

/** Seconds of history that are kept. */
const HISTORY_SECONDS = 3_660;
/** Changes kept as a list before a signal gets a ring. */
const SHORT_LIST = 48;
/** Seconds without a note that a list passes over: sweeps come a little late now and then. After more nobody knows what was. */
const LATE_SECONDS = 3;

/** One bucket of history; null where the signal was not known at any time in it. */
export interface Bucket {
  second: number;
  last: number | null;
  max: number | null;
}

interface Slot {
  reading: Reading;
  history: History;
}

/** Latest readings by key `migration.signal`, with their history. */
export class Board {
  private readonly slots = new Map<string, Slot>();

  /** `start` is the instant before which nothing was observed. */
  constructor(private readonly start: Us) {}

  /** The latest reading; unknown when there was none. */
  reading(key: string): Reading {
    return this.slots.get(key)?.reading ?? unknown('nothing has been observed yet', this.start);
  }

  /** Replaces a reading at instant `now`. */
  set(key: string, reading: Reading, now: Us): void {
    const slot = this.slots.get(key);
    if (slot === undefined) {
      const fresh: Slot = { reading, history: new History() };
      this.slots.set(key, fresh);
      note(fresh, now);
      return;
    }
    // The old reading is noted first: a lag that grew until just now peaks right before the arrival that ends it.
    note(slot, now);
    slot.reading = reading;
    note(slot, now);
  }

  /** Notes the value of every signal at `now`; called about once a second, so that growth and staleness show in the history. */
  sweep(now: Us): void {
    for (const slot of this.slots.values()) note(slot, now);
  }

  /** Buckets from the one that contains `since` on, oldest first. */
  history(key: string, since: Us, now: Us): Bucket[] {
    return this.slots.get(key)?.history.since(Math.floor(since / US_PER_S), Math.floor(now / US_PER_S)) ?? [];
  }

  /** Removes every signal for which `gone` says so, after a reload. */
  remove(gone: (key: string) => boolean): void {
    for (const key of this.slots.keys()) if (gone(key)) this.slots.delete(key);
  }

  /** Keys of all signals that have a reading. */
  keys(): string[] {
    return [...this.slots.keys()];
  }
}

function note(slot: Slot, now: Us): void {
  const usable = stateAt(slot.reading, now) === 'ok';
  slot.history.note(Math.floor(now / US_PER_S), usable ? (valueAt(slot.reading, now) ?? NaN) : NaN);
}

/** History of one signal: changes of a constant, or a ring once it has changed often. NaN stands for "not known". */
class History {
  private changes: { second: number; last: number; max: number }[] = [];
  private ring: { last: Float32Array; max: Float32Array; second: number } | null = null;
  /** The second in which anything was noted last. */
  private noted = Infinity;

  note(second: number, value: number): void {
    if (this.ring !== null) {
      this.noteRing(this.ring, second, value);
      return;
    }
    const silent = second > this.noted + LATE_SECONDS && !Number.isNaN(this.changes.at(-1)?.last ?? NaN);
    if (silent) this.changes.push({ second: this.noted + 1, last: NaN, max: NaN });
    this.noted = second;
    const last = this.changes.at(-1);
    if (last?.second === second) {
      last.last = value;
      if (!(last.max >= value)) last.max = Number.isNaN(value) ? last.max : value;
      return;
    }
    if (last !== undefined && Object.is(last.last, value) && Object.is(last.max, value)) return;
    this.changes.push({ second, last: value, max: value });
    while (this.changes.length > 1 && (this.changes[1]?.second ?? second) < second - HISTORY_SECONDS)
      this.changes.shift();
    if (this.changes.length > SHORT_LIST) this.toRing(second);
  }

  since(from: number, to: number): Bucket[] {
    const buckets: Bucket[] = [];
    const bucket = (second: number, last: number, max: number): void => {
      buckets.push({ second, last: numberOrNull(last), max: numberOrNull(max) });
    };
    if (this.ring !== null) {
      const first = Math.max(from, this.ring.second - HISTORY_SECONDS + 1);
      for (let s = first; s <= Math.min(to, this.ring.second); s += 1) {
        const i = s % HISTORY_SECONDS;
        bucket(s, this.ring.last[i] ?? NaN, this.ring.max[i] ?? NaN);
      }
      return buckets;
    }
    this.changes.forEach((change, i) => {
      const end = this.changes[i + 1]?.second ?? to + 1;
      for (let s = Math.max(from, change.second, to - HISTORY_SECONDS); s < Math.min(end, to + 1); s += 1) {
        bucket(s, change.last, s === change.second ? change.max : change.last);
      }
    });
    return buckets;
  }

  private toRing(second: number): void {
    const past = this.since(second - HISTORY_SECONDS + 1, second);
    const ring = {
      last: new Float32Array(HISTORY_SECONDS).fill(NaN),
      max: new Float32Array(HISTORY_SECONDS).fill(NaN),
      second,
    };
    for (const b of past) {
      ring.last[b.second % HISTORY_SECONDS] = b.last ?? NaN;
      ring.max[b.second % HISTORY_SECONDS] = b.max ?? NaN;
    }
    this.ring = ring;
    this.changes = [];
  }

  private noteRing(ring: NonNullable<History['ring']>, second: number, value: number): void {
    // Seconds in which nothing was noted are gaps, not a repetition of the last value.
    for (let s = Math.max(ring.second + 1, second - HISTORY_SECONDS + 1); s <= second; s += 1) {
      ring.last[s % HISTORY_SECONDS] = NaN;
      ring.max[s % HISTORY_SECONDS] = NaN;
    }
    ring.second = Math.max(ring.second, second);
    const i = second % HISTORY_SECONDS;
    ring.last[i] = value;
    const max = ring.max[i] ?? NaN;
    if (!(max >= value) && !Number.isNaN(value)) ring.max[i] = value;
  }
}

function numberOrNull(value: number): number | null {
  // Seven digits are what single precision holds; more would be noise in the answer.
  return Number.isNaN(value) ? null : Number(value.toPrecision(7));
}
