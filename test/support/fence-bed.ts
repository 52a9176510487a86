/** A fence with everything that it is told spelled out in seconds. */
import { Fence, type FenceOptions, type FenceVerdict } from '../../daemon/core/fence.js';
import type { FenceMemory } from '../../daemon/core/fence-memory.js';
import { parsePosition, type Position } from '../../daemon/core/position.js';

const S = 1_000_000;
export const WALL = Date.parse('2026-11-22T00:00:00Z');

/** The wall clock, in milliseconds, so many seconds after the fence was placed. */
export const wallAt = (t: number): number => WALL + t * 1_000;

export function memory(part: Partial<FenceMemory> = {}): FenceMemory {
  return {
    ...{ id: 'f1', migration: 'shop', link: 'forward', epoch: 0, state: 'placed', placedAt: WALL },
    ...{ deadlineAt: WALL + 60_000, position: '0/1000', marker: 'fence-f1', schema: 'sum', note: '', placedBy: 'ops' },
    identity: { source: 'src', target: null },
    predicted: null,
    violations: { count: 0, firstAt: null, firstPosition: null },
    ...{ unwatched: [], evidence: [], drainedAt: null, endedAt: null, endedBecause: null, lacked: null },
    ...part,
  };
}

export const position = (text: string): Position => {
  const found = parsePosition(text);
  if (found === null) throw new Error(`no position: ${text}`);
  return found;
};

/** Instants are seconds since the fence was placed; the process's clock reads 1,000 s then. */
export class FenceBed {
  fence: Fence;
  readonly options: FenceOptions;

  constructor(part: Partial<FenceMemory> = {}, options: Partial<FenceOptions> = {}, at = 0) {
    const names = { source: 'onprem', target: 'aws' };
    this.options = { flows: ['sub'], proof: 'position', freshUs: 3 * S, names, ...options };
    this.fence = new Fence(memory(part), this.options, this.us(at), wallAt(at));
  }

  us(t: number): number {
    return 1_000 * S + Math.round(t * S);
  }

  restart(t: number, watchedUntil: number | null = null): this {
    const kept = JSON.parse(JSON.stringify(this.fence.memory)) as FenceMemory;
    const until = watchedUntil === null ? null : wallAt(watchedUntil);
    this.fence = Fence.takenUp(kept, this.options, this.us(t), wallAt(t), until);
    return this;
  }

  watching(t: number, emptyGap = false, because: string | null = null): this {
    this.fence.watching(this.us(t), wallAt(t), emptyGap, because);
    return this;
  }

  lost(t: number, reason = 'the reader died'): this {
    this.fence.notWatching(wallAt(t), reason);
    return this;
  }

  wrote(t: number, ...positions: string[]): number {
    const writes = positions.map((p) => ({ position: p, committedAt: wallAt(t) - 5 }));
    return this.fence.wrote(writes, wallAt(t));
  }

  applied(t: number, text: string, flow = 'sub'): this {
    this.fence.applied(flow, position(text), this.us(t));
    return this;
  }

  source(t: number, open: string[] = [], identity = 'src'): this {
    this.fence.looked('source', { identity, marker: null, open, askedAt: this.us(t), at: this.us(t) });
    return this;
  }

  target(t: number, marker: boolean | null = true, open: string[] = [], identity = 'tgt'): this {
    this.fence.looked('target', { identity, marker, open, askedAt: this.us(t), at: this.us(t) });
    return this;
  }

  /** All is well at `t`. */
  well(t: number, at = '0/1000'): this {
    this.source(t).target(t).watching(t);
    for (const flow of this.options.flows) this.applied(t, at, flow);
    return this;
  }

  judge(t: number): FenceVerdict {
    return this.fence.judge(this.us(t), wallAt(t));
  }

  /** The state, and whatever is in the way. */
  says(t: number): string {
    const { state, missing } = this.judge(t);
    return [state, ...missing.reasons].join(' | ');
  }
}
