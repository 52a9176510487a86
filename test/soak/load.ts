/** Writes on the source all the time: many small transactions, and now and then one of 20,000 rows. */
import { setTimeout as sleep } from 'node:timers/promises';
import { prepareLoad } from '../bench/load.js';
import { open, type Pair } from '../support/pair.js';

const SESSIONS = 2;
/** Transactions a second of each session. */
const TPS = 200;
const ROW_BYTES = 64;
const CHUNK_SECONDS = 2;
const BULK_ROWS = 20_000;
const BULK_EVERY_MS = 45_000;

/** The application's writes; they stop with the source and come back with it. */
export class Load {
  #paused = false;
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[] = [];

  private constructor(private readonly pair: Pair) {}

  /** Starts to write. */
  static async start(pair: Pair): Promise<Load> {
    await prepareLoad(pair);
    const load = new Load(pair);
    for (let n = 0; n < SESSIONS; n += 1) load.#loops.push(load.#small());
    load.#loops.push(load.#bulk());
    return load;
  }

  /** Writes nothing until told so; what is under way ends within two seconds. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
  }

  async #small(): Promise<void> {
    const { signal } = this.#stopping;
    let client: Awaited<ReturnType<typeof open>> | undefined;
    while (!signal.aborted) {
      try {
        if (this.#paused) {
          await sleep(100);
          continue;
        }
        client ??= await open(this.pair.source);
        await client.query(`call public.bench_load($1, 1, $2, clock_timestamp() + make_interval(secs => $3))`, [
          TPS,
          ROW_BYTES,
          CHUNK_SECONDS,
        ]);
      } catch {
        // The source is down, on purpose: again in a moment.
        client?.end().catch(() => undefined);
        client = undefined;
        await sleep(300);
      }
    }
    await client?.end().catch(() => undefined);
  }

  async #bulk(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await sleep(BULK_EVERY_MS, undefined, { signal }).catch(() => undefined);
      if (!this.#stopping.signal.aborted && !this.#paused) await this.pair.bulk(BULK_ROWS).catch(() => undefined);
    }
  }
}
