/** Which fault comes when, and for how long: all of it follows from the seed. */

/** Numbers from [0, 1) that look random and follow from a seed (mulberry32). */
export type Random = () => number;

/** Makes the numbers of one seed. */
export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What the schedule needs to know of a kind of fault. */
export interface Scheduled {
  readonly name: string;
  /** How often it comes, beside the others, once each has had its turn; 1 unless told. */
  readonly weight?: number;
  /** It ends the daemon's process, so it may come in the first third only: memory is judged over the last life. */
  readonly restarts?: boolean;
}

/** Hands out kinds of faults: first each of them once in random order, then by weight. */
export class Schedule<F extends Scheduled> {
  readonly #faults: readonly F[];
  readonly #random: Random;
  readonly #deck: F[];

  constructor(faults: readonly F[], random: Random) {
    this.#faults = faults;
    this.#random = random;
    this.#deck = shuffled(faults, random);
  }

  /** The next fault, when the share `elapsed` (0 to 1) of the run is over. */
  next(elapsed: number): F {
    const early = elapsed < 1 / 3;
    // Those that can come only now go first once time gets short for them.
    const first = this.#deck.findIndex((f) => (early ? f.restarts === true || elapsed < 1 / 6 : f.restarts !== true));
    const index = first >= 0 ? first : this.#deck.findIndex((f) => f.restarts !== true);
    const [dealt] = index >= 0 ? this.#deck.splice(index, 1) : [];
    return dealt ?? this.#byWeight();
  }

  /** Whether each kind that can still come has come. */
  get dealt(): boolean {
    return this.#deck.every((f) => f.restarts === true);
  }

  /** So many milliseconds, mostly short: from 2 s to `longestMs`. */
  duration(longestMs: number): number {
    return Math.round(2_000 + (longestMs - 2_000) * this.#random() ** 2);
  }

  #byWeight(): F {
    const eligible = this.#faults.filter((f) => f.restarts !== true);
    let left = this.#random() * eligible.reduce((sum, f) => sum + (f.weight ?? 1), 0);
    const found = eligible.find((f) => (left -= f.weight ?? 1) < 0) ?? eligible[0];
    if (found === undefined) throw new Error('there is no fault to choose from');
    return found;
  }
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  return items
    .map((item) => ({ item, key: random() }))
    .sort((a, b) => a.key - b.key)
    .map(({ item }) => item);
}
