/**
 * The past of a signal as a window looks at it: stretches in which one reading stood, in blocks. A block that is complete
 * is summed up once, so that looking at an hour costs a hundred sums and the stretches at its two ends.
 */
import type { Us } from './clock.js';
import { growthFrom, staleFrom } from './compare.js';
import { Distribution } from './distribution.js';
import type { Reading } from './signal.js';

/** A stretch `[from, to)` in which one reading stood; the reading itself says when in it it was known. */
export interface Sample {
  from: Us;
  to: Us;
  reading: Reading;
}

/** A known part of a window: rises from `low` to `high` in a straight line (equal when constant) over `[from, to)`. */
interface Part {
  from: Us;
  to: Us;
  low: number;
  high: number;
}

/** What is known of a stretch of time, summed up. */
interface Sum {
  /** First and last instant known; `to` is the first one after. */
  from: Us;
  to: Us;
  /** Longest unknown stretch between two that are known. */
  gapUs: Us;
  /** How long it was known. */
  knownUs: Us;
  /** Greatest and least value. */
  high: number;
  low: number;
  /** Values times how long they stood. */
  area: number;
  /** The truth was at least this at some instant; -Infinity when nothing but exact values was seen. */
  least: number;
}

/** A stretch of a window in which something is known: its sum, and its values in order of size when they are asked for. */
export interface Piece {
  readonly sum: Sum;
  readonly distribution: () => Distribution;
}

/** Stretches in one block: enough to make few blocks of an hour, and few stretches at the ends of a window. */
const BLOCK = 128;

interface Block extends Piece {
  readonly samples: readonly Sample[];
  readonly from: Us;
  readonly to: Us;
}

/** Stretches that follow each other, oldest first. */
export class WindowPast {
  private blocks: Block[] = [];
  /** The newest stretches, not a block yet; the very last may still be prolonged. */
  private open: Sample[] = [];

  /** `blockSize`: how many stretches are summed up together. */
  constructor(private readonly blockSize = BLOCK) {}

  /** Takes a stretch that begins where the last one ended; it is joined to the last one when both say the same. */
  push(sample: Sample): void {
    if (sample.to <= sample.from) return;
    const last = this.open.at(-1);
    if (last?.to === sample.from && isSameReading(last.reading, sample.reading)) {
      last.to = sample.to;
      return;
    }
    if (this.open.length >= this.blockSize) {
      const block = blockOf(this.open);
      if (block !== null) this.blocks.push(block);
      this.open = [];
    }
    this.open.push({ ...sample });
  }

  /** Forgets blocks that end before `t`. */
  dropBefore(t: Us): void {
    let old = 0;
    while ((this.blocks[old]?.to ?? Infinity) < t) old += 1;
    if (old > 0) this.blocks.splice(0, old);
  }

  /** What is known of `[from, to)`, oldest first, with `present` as the stretch that follows the last one. */
  pieces(present: Sample | null, from: Us, to: Us): Piece[] {
    const pieces: Piece[] = [];
    const loose: Sample[] = [];
    const flush = (): void => {
      const piece = pieceOf(loose, from, to);
      if (piece !== null) pieces.push(piece);
      loose.length = 0;
    };
    for (let i = this.firstBlock(from); i < this.blocks.length; i += 1) {
      const block = this.blocks[i];
      if (block === undefined || block.from >= to) break;
      if (block.from >= from && block.to <= to) {
        flush();
        pieces.push(block);
      } else loose.push(...block.samples);
    }
    for (const sample of this.open) if (sample.to > from && sample.from < to) loose.push(sample);
    if (present !== null) loose.push(present);
    flush();
    return pieces;
  }

  /** The stretches that overlap `(from, to)`, oldest first. */
  overlapping(present: Sample | null, from: Us, to: Us): Sample[] {
    const found: Sample[] = [];
    const take = (sample: Sample): void => {
      if (sample.to > from && sample.from < to) found.push(sample);
    };
    for (let i = this.firstBlock(from); i < this.blocks.length; i += 1) {
      const block = this.blocks[i];
      if (block === undefined || block.from >= to) break;
      for (const sample of block.samples) take(sample);
    }
    for (const sample of this.open) take(sample);
    if (present !== null) take(present);
    return found;
  }

  /** The first block that ends after `t`. */
  private firstBlock(t: Us): number {
    let lo = 0;
    let hi = this.blocks.length;
    while (lo < hi) {
      const mid = (lo + hi) >> 1;
      if ((this.blocks[mid]?.to ?? Infinity) > t) hi = mid;
      else lo = mid + 1;
    }
    return lo;
  }
}

/** Whether a reading tells the value itself. */
export function isExact(reading: Reading): boolean {
  return reading.value !== null && Number.isFinite(reading.value) && reading.bound === 'exact';
}

function blockOf(samples: readonly Sample[]): Block | null {
  const [first] = samples;
  const last = samples.at(-1);
  if (first === undefined || last === undefined) return null;
  const parts = partsOf(samples, first.from, last.to);
  let distribution: Distribution | null = null;
  return {
    samples,
    from: first.from,
    to: last.to,
    sum: sumOf(parts, leastOf(samples, first.from, last.to)),
    distribution: () => (distribution ??= new Distribution(parts)),
  };
}

function pieceOf(samples: readonly Sample[], from: Us, to: Us): Piece | null {
  if (samples.length === 0) return null;
  const parts = partsOf(samples, from, to);
  let distribution: Distribution | null = null;
  return {
    sum: sumOf(parts, leastOf(samples, from, to)),
    distribution: () => (distribution ??= new Distribution(parts)),
  };
}

function partsOf(samples: readonly Sample[], from: Us, to: Us): Part[] {
  const parts: Part[] = [];
  for (const { reading, ...span } of samples) {
    const a = Math.max(span.from, from);
    const b = Math.min(span.to, to, staleFrom(reading));
    if (b <= a || !isExact(reading)) continue;
    const value = reading.value ?? 0;
    if (reading.growsFrom === null) {
      parts.push({ from: a, to: b, low: value, high: value });
      continue;
    }
    const growth = Math.min(Math.max(growthFrom(reading), a), b);
    if (growth > a) parts.push({ from: a, to: growth, low: value, high: value });
    if (b > growth) {
      parts.push({
        from: growth,
        to: b,
        low: (growth - reading.growsFrom) / 1e6,
        high: (b - 1 - reading.growsFrom) / 1e6,
      });
    }
  }
  return parts;
}

/** The greatest value that the truth was not below, by readings that are bounds. */
function leastOf(samples: readonly Sample[], from: Us, to: Us): number {
  let least = -Infinity;
  for (const { reading, ...span } of samples) {
    if (reading.bound !== 'at-least' || reading.value === null || !Number.isFinite(reading.value)) continue;
    const a = Math.max(span.from, from);
    const b = Math.min(span.to, to, staleFrom(reading));
    if (b <= a) continue;
    const grown = reading.growsFrom === null ? -Infinity : (b - 1 - reading.growsFrom) / 1e6;
    least = Math.max(least, reading.value, grown);
  }
  return least;
}

function sumOf(parts: readonly Part[], least: number): Sum {
  const sum: Sum = {
    ...{ from: Infinity, to: -Infinity, gapUs: 0, knownUs: 0 },
    ...{ high: -Infinity, low: Infinity, area: 0, least },
  };
  for (const { from, to, low, high } of parts) {
    if (sum.knownUs > 0) sum.gapUs = Math.max(sum.gapUs, from - sum.to);
    else sum.from = from;
    sum.to = to;
    sum.knownUs += to - from;
    sum.high = Math.max(sum.high, high);
    sum.low = Math.min(sum.low, low);
    sum.area += ((low + high) / 2) * (to - from);
  }
  return sum;
}

/** Whether two readings say the same at every instant: most observations of a link leave its lag as it was. */
function isSameReading(a: Reading, b: Reading): boolean {
  return (
    a === b ||
    (a.value === b.value &&
      a.growsFrom === b.growsFrom &&
      a.bound === b.bound &&
      a.observedAt === b.observedAt &&
      a.freshUs === b.freshUs)
  );
}
