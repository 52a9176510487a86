import type { Us } from '../../daemon/core/clock.js';

const windowUs: Us = 300_000_000;
const recentUs: Us = 60_000_000;
/** Samples closer together than this tell nothing that the others do not. */
const everyUs: Us = 2_000_000;

/**
 * Learns how fast a server writes its log: the faster of the last minute and the last five, because what it did before a
 * batch began says nothing about the batch, and a pause of a minute does not end it.
 */
export class LogRate {
  readonly #samples: { at: Us; end: bigint }[] = [];

  /** Known once `leastUs` have been observed; a minute unless told. */
  constructor(private readonly leastUs: Us = recentUs) {}

  /** Takes the end of the log, in bytes from a fixed point, at an instant; instants rise. */
  observe(at: Us, end: bigint): void {
    const samples = this.#samples;
    const last = samples.at(-1);
    // The server was restored or failed over: what it wrote in its other life is not comparable.
    if (last !== undefined && end < last.end) samples.length = 0;
    // The newest sample is replaced until it is far enough from the one before it, so that the rate is never old.
    const before = samples.at(-2);
    if (before !== undefined && at - before.at < everyUs) samples.pop();
    samples.push({ at, end });
    while (samples.length > 2 && (samples[1]?.at ?? at) <= at - windowUs) samples.shift();
  }

  /** Bytes per second; null until enough has been observed. */
  perSecond(): number | null {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at - first.at < this.leastUs || last.at === first.at) {
      return null;
    }
    const since = (from: { at: Us; end: bigint }): number =>
      last.at === from.at ? 0 : (Number(last.end - from.end) / (last.at - from.at)) * 1e6;
    const recent = this.#samples.findLast((s) => s.at <= last.at - recentUs) ?? first;
    return Math.max(since(first), since(recent));
  }
}
