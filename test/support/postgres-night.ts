/** A night on which the cutover between two PostgreSQL servers goes wrong: one bed for many cases. */
import { readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { FenceJson, SignalJson } from '../../daemon/http/port.js';
import type { JournalEntry } from '../../daemon/store/store.js';
import type { Side } from './cutover.js';
import { Night } from './cutover-night.js';
import { startPostgresCutover, type PostgresCutover, type PostgresCutoverOptions } from './cutover-postgres.js';

const GATES = ['drained', 'flip-writes', 'rollback-ready', 'ramp'];

/** A bed with an operator, and gates that are asked all the time. */
export class PostgresNight extends Night<PostgresCutover> {
  /** The configuration as it was at the beginning. */
  readonly yaml: string;
  private journaled = 0;

  private constructor(bed: PostgresCutover) {
    super(bed, GATES);
    this.yaml = readFileSync(bed.lockgate.configFile, 'utf8');
  }

  /** Starts everything, and waits until the flip could begin. */
  static async start(options: PostgresCutoverOptions): Promise<PostgresNight> {
    const night = new PostgresNight(await startPostgresCutover(options));
    await night.timeline.of('flip-writes').until(['open'], 60_000);
    return night;
  }

  get pair(): PostgresCutover['pair'] {
    return this.bed.pair;
  }

  on(side: Side): PostgresCutover['pair']['onSource'] {
    return side === 'source' ? this.pair.onSource : this.pair.onTarget;
  }

  /** Inserts an order on a side, and answers its note, by which `has` finds it. */
  async order(side: Side = 'source'): Promise<string> {
    const note = `case ${Math.random()}`;
    await this.on(side)('insert into public.orders (customer_id, note) values (1, $1)', [note]);
    return note;
  }

  /** Whether a side shows the order. */
  async has(side: Side, note: string): Promise<boolean> {
    return (await this.on(side)('select from public.orders where note = $1', [note])).length > 0;
  }

  /**
   * Asks for a fence again and again: once it gives the reason, it stays placed, or unknown where it was drained, for so
   * long. From the first question on it is never drained. Answers what it said last.
   */
  async withheld(id: string, reason: RegExp, forMs = 600): Promise<FenceJson> {
    const says = async (): Promise<FenceJson> => {
      const fence = await this.look(id);
      expect(['placed', 'unknown'], JSON.stringify(fence, null, 1)).toContain(fence.state);
      return fence;
    };
    let last = await waitFor(`the fence to say ${String(reason)}`, 6_000, async () => {
      const fence = await says();
      return fence.missing.reasons.some((r) => reason.test(r)) && fence;
    });
    for (const until = performance.now() + forMs; performance.now() < until;) {
      await sleep(20);
      last = await says();
      expect(last.missing.reasons).toContainEqual(expect.stringMatching(reason));
    }
    return last;
  }

  /** Waits until a fence is in a state. */
  async until(id: string, state: FenceJson['state'], timeoutMs = 10_000): Promise<FenceJson> {
    let last: FenceJson | undefined;
    return waitFor(`fence ${id} to be ${state}`, timeoutMs, async () => {
      last = await this.look(id);
      return last.state === state && last;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}; it is ${JSON.stringify(last, null, 1)}`);
    });
  }

  /** Asserts that nothing was said to be drained since then. */
  notGreen(since: number, gate = 'drained'): void {
    this.timeline.said(gate, since, performance.now(), ['closed', 'unknown', 'unreachable']);
  }

  async signal(name: string): Promise<SignalJson> {
    const found = (await this.bed.daemon.signals()).get(name);
    if (found === undefined) throw new Error(`there is no signal ${name}`);
    return found;
  }

  /** Waits until so many stray writes of a side are counted, and asserts that they stay as many. */
  async countedStrays(side: Side, count: number, forMs = 400): Promise<void> {
    await waitFor(`${count} stray writes of the ${side}`, 5_000, async () => ((await this.strays(side)) ?? 0) >= count);
    await sleep(forMs);
    expect(await this.strays(side)).toBe(count);
  }

  /** The journal's entries of a kind since `mark` was called last. */
  async journal(kind?: string): Promise<JournalEntry[]> {
    const all = (await this.operator.journal()).slice(this.journaled);
    return kind === undefined ? all : all.filter((e) => e.kind === kind);
  }

  /** From here on `journal` counts. */
  async mark(): Promise<void> {
    this.journaled = (await this.operator.journal()).length;
  }

  async attest(name: string): Promise<void> {
    const { status } = await this.operator.post(`attestations/${name}`, { by: 'ops', note: 'compared' });
    expect(status).toBeLessThan(300);
  }

  /** Stops the daemon, has `meanwhile` done, and starts it again with a configuration. */
  async restart(meanwhile: () => Promise<unknown> = () => Promise.resolve(), yaml?: string): Promise<void> {
    if (!this.bed.daemon.exited()) await this.bed.daemon.stop();
    await meanwhile();
    if (yaml !== undefined) this.bed.lockgate.write(yaml);
    this.bed.daemon = await this.bed.lockgate.start();
  }

  /** Waits until the direction is known to be this one. */
  async direction(wanted: 'forward' | 'reverse', timeoutMs = 8_000): Promise<void> {
    await waitFor(`the direction to be ${wanted}`, timeoutMs, async () => {
      return (await this.operator.migration()).direction === wanted;
    });
  }

  override async tidy(): Promise<void> {
    await this.mend();
    await super.tidy();
    await this.attest('stray-writes-reconciled');
  }

  /** Takes back what a case that failed half way has left on the servers, so that the next ones tell of themselves. */
  private async mend(): Promise<void> {
    for (const on of [this.pair.onSource, this.pair.onTarget]) {
      await on(`select pg_terminate_backend(pid) from pg_stat_activity where state = 'idle in transaction'`);
      const left = await on<{ sql: string }>(
        `select format('rollback prepared %L', gid) as sql from pg_prepared_xacts
         union all select format('alter subscription %I enable', subname) from pg_subscription where not subenabled`,
      );
      for (const { sql } of left) await on(sql);
    }
  }

  async stop(): Promise<void> {
    await this.timeline.stop();
    await this.bed.destroy();
  }
}
