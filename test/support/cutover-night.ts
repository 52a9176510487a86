/** A night on which the cutover goes wrong: what tests ask again and again of fences, gates, strays and the journal. */
import { expect } from 'vitest';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { DirectionChangeJson, FenceJson } from '../../daemon/http/port.js';
import type { JournalEntry } from '../../daemon/store/store.js';
import { Operator, Timeline, type CutoverBed, type Side } from './cutover.js';

/** Everything that one daemon says over a night. */
export class Night<B extends Pick<CutoverBed, 'lockgate' | 'daemon'> = CutoverBed> {
  readonly operator: Operator;
  readonly timeline: Timeline;

  constructor(
    readonly bed: B,
    gates: readonly string[] = ['drained', 'flip-writes', 'rollback-ready'],
  ) {
    this.operator = new Operator(bed.lockgate.url);
    this.timeline = new Timeline(bed.lockgate.url, gates);
  }

  /** A fence as it can be proved now. */
  async look(id: string): Promise<FenceJson> {
    const url = `${this.bed.lockgate.url}/v1/migrations/shop/fences/${id}`;
    const response = await fetch(url, { signal: AbortSignal.timeout(15_000) });
    const body = (await response.json()) as FenceJson;
    expect(response.status, JSON.stringify(body)).toBe(200);
    return body;
  }

  /** Asserts that a fence says neither drained nor anything final for so long, and at the end why; nor may the gate open. */
  async holdsBack(id: string, forMs: number, because: RegExp): Promise<FenceJson> {
    const from = performance.now();
    let fence: FenceJson;
    do {
      fence = await this.look(id);
      expect(['placed', 'unknown'], JSON.stringify(fence, null, 1)).toContain(fence.state);
      await sleep(50);
    } while (performance.now() - from < forMs);
    expect(fence.missing.reasons.join('; ')).toMatch(because);
    this.timeline.said('drained', from, performance.now(), ['closed', 'unknown']);
    return fence;
  }

  /** Waits until a fence is drained, and the gate with it. */
  async drains(id: string, withinMs = 15_000): Promise<FenceJson> {
    let fence = await this.look(id);
    await waitFor('the fence to drain', withinMs, async () => {
      fence = await this.look(id);
      return fence.state === 'drained';
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(fence, null, 1)}\n${this.bed.daemon.log().slice(-3_000)}`);
    });
    await this.timeline.of('drained').until(['open'], 3_000);
    return fence;
  }

  /** Waits until a fence is in a state in which the gate is not open. */
  async ends(id: string, state: FenceJson['state'], withinMs = 10_000): Promise<FenceJson> {
    let fence = await this.look(id);
    await waitFor(`the fence to be ${state}`, withinMs, async () => {
      fence = await this.look(id);
      return fence.state === state;
    }).catch((error: unknown) => {
      throw new Error(`${String(error)}: ${JSON.stringify(fence, null, 1)}`);
    });
    await this.timeline.of('drained').until(['closed', 'unknown'], 2_000);
    return fence;
  }

  /** Asserts that a change of direction is refused, and answers in which words. */
  async refused(action: 'promote' | 'rollback', code: string, extra: Record<string, unknown> = {}): Promise<string> {
    const { status, body } = await this.operator.change(action, extra);
    const problem = body as unknown as { code: string; detail: string };
    expect([status === 200, problem.code], JSON.stringify(body)).toEqual([false, code]);
    return JSON.stringify(body);
  }

  /** What the API counts of a side's strays: null when it does not know. */
  async strays(side: Side): Promise<number | null> {
    return (await this.operator.migration()).sides[side].stray_writes.count;
  }

  /** Waits for so many strays of a side, and asserts that a moment later it is not one more. */
  async strayed(side: Side, count: number): Promise<void> {
    await waitFor(`${count} strays on the ${side}`, 10_000, async () => (await this.strays(side)) === count);
    await sleep(300);
    expect(await this.strays(side)).toBe(count);
  }

  /** Entries of the journal since an instant, all or of one kind. */
  async entries(since: number, kind?: string): Promise<JournalEntry[]> {
    const of = kind === undefined ? '' : `&kind=${kind}`;
    const at = encodeURIComponent(new Date(since).toISOString());
    const response = await fetch(`${this.bed.lockgate.url}/v1/journal?limit=1000&since=${at}${of}`);
    return ((await response.json()) as { entries: JournalEntry[] }).entries;
  }

  /** Which states the journal has told of a fence, in order. */
  async told(id: string): Promise<string[]> {
    const all = await this.entries(0, 'fence');
    return all.filter((e) => e.data['id'] === id).map((e) => String(e.data['state']));
  }

  /** Takes up a configuration that was changed by `edit`; answers what takes the old one up again. */
  async reconfigure(edit: (text: string) => string): Promise<() => Promise<void>> {
    const { lockgate } = this.bed;
    const before = readFileSync(lockgate.configFile, 'utf8');
    const take = async (text: string): Promise<void> => {
      const at = Date.now();
      lockgate.write(text);
      this.bed.daemon.signal('SIGHUP');
      await waitFor('the reload', 10_000, async () => (await this.entries(at, 'reload')).length > 0);
    };
    const after = edit(before);
    expect(after).not.toBe(before);
    await take(after);
    return () => take(before);
  }

  async killDaemon(): Promise<void> {
    await this.bed.daemon.kill();
  }

  async startDaemon(): Promise<void> {
    this.bed.daemon = await this.bed.lockgate.start();
  }

  /** Declares, and answers whether that was done or refused. */
  async tries(action: 'promote' | 'rollback'): Promise<{ done: DirectionChangeJson | null; why: string }> {
    const { status, body } = await this.operator.change(action);
    return { done: status === 200 ? body : null, why: JSON.stringify(body) };
  }

  /** Waits until the direction is known. */
  async directed(): Promise<string> {
    return waitFor('the direction to be known', 20_000, async () => {
      const { direction } = await this.operator.migration();
      return direction === 'unknown' ? undefined : direction;
    });
  }

  /** Leaves everything as it was in the beginning: forward, no fence open, nothing stray. */
  async tidy(): Promise<void> {
    if (this.bed.daemon.exited()) await this.startDaemon();
    await this.directed();
    const { fence } = await this.operator.migration();
    if (fence !== null && ['placed', 'drained', 'unknown'].includes(fence.state)) await this.operator.cancel(fence.id);
    if ((await this.operator.migration()).direction === 'reverse') {
      const back = await this.operator.fence();
      await this.drains(back.id, 20_000);
      await this.operator.changed('rollback');
    }
    await waitFor('no strays to be left', 15_000, async () => {
      const { sides } = await this.operator.migration();
      const counts = [sides.source.stray_writes.count, sides.target.stray_writes.count];
      if (sides.target.stray_writes.count === 0 && (counts[0] ?? 0) === 0) return true;
      await this.operator.post('attestations/stray-writes-reconciled', { by: 'a test', note: 'compared' });
      return false;
    });
    expect((await this.operator.migration()).direction).toBe('forward');
  }
}
