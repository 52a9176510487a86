/**
 * A fence as the specification words it, worked out from the list of everything that was told so far; it keeps nothing
 * between two questions but that list. Instants are milliseconds.
 */
import type { FenceState } from '../../../daemon/core/fence-memory.js';

export type FenceEvent = { t: number } & (
  | { kind: 'watching'; at: number; evidence: boolean }
  | { kind: 'lost' | 'jump' | 'judge' }
  | { kind: 'restart'; watchedUntil: number }
  | { kind: 'writes'; lsns: number[] }
  | { kind: 'applied'; flow: number; lsn: number; askedAt: number }
  | { kind: 'applied-fault'; flow: number }
  | { kind: 'look'; side: 'source' | 'target'; identity: string; marker: boolean; open: boolean; askedAt: number }
  | { kind: 'look-fault'; side: 'source' | 'target' }
  | { kind: 'direction'; known: boolean }
  | { kind: 'end'; state: 'closed' | 'cancelled' }
);

export interface FenceCase {
  place: number;
  placedAt: number;
  deadlineAt: number;
  fresh: number;
  flows: number;
  marked: boolean;
  proof: 'position' | 'marker';
}

/** Whether all four parts of the proof hold at `now`, by what was told. */
function proved(c: FenceCase, told: readonly FenceEvent[], now: number): boolean {
  const restart = told.findLastIndex((e) => e.kind === 'restart');
  const life = told.slice(restart + 1);
  const born = restart < 0 ? c.placedAt : told[restart]!.t;
  const jumped = life.findLast((e) => e.kind === 'jump')?.t ?? -Infinity;
  const counts = (askedAt: number): boolean => askedAt >= born && askedAt >= jumped && askedAt >= now - c.fresh;

  // Every stretch from a loss or a restart to the next confirmation must have been shown to be empty.
  for (const [i, e] of told.entries()) {
    if (e.kind !== 'lost' && e.kind !== 'restart') continue;
    const next = told.slice(i).find((x) => x.kind === 'watching');
    if (next === undefined || !next.evidence) return false;
  }
  const confirmed = Math.max(...life.flatMap((e) => (e.kind === 'watching' ? [e.at] : [])));
  if (!counts(confirmed)) return false;

  const looks = (side: string) => life.filter((e) => (e.kind === 'look' || e.kind === 'look-fault') && e.side === side);
  const firstTarget = told.find((e) => e.kind === 'look' && e.side === 'target');
  const [source, target] = [looks('source').at(-1), looks('target').at(-1)];
  if (source?.kind !== 'look' || source.open || source.identity !== 'src' || !counts(source.askedAt)) return false;
  const silent = looks('source').some(
    (e) => e.kind === 'look' && !e.open && e.identity === 'src' && counts(e.askedAt) && e.t <= confirmed,
  );
  if (!silent) return false;
  if (target?.kind !== 'look' || target.open || !counts(target.askedAt)) return false;
  if (firstTarget?.kind !== 'look' || target.identity !== firstTarget.identity) return false;
  if (c.marked && !target.marker) return false;
  if (life.findLast((e) => e.kind === 'direction')?.known === false) return false;
  if (c.proof === 'marker') return c.marked;
  for (let flow = 0; flow < c.flows; flow += 1) {
    const last = life.findLast((e) => (e.kind === 'applied' || e.kind === 'applied-fault') && e.flow === flow);
    if (last?.kind !== 'applied' || last.lsn < c.place || !counts(last.askedAt)) return false;
  }
  return c.flows > 0;
}

/** What the fence must be said to be at the last event, which is a question; every earlier question counts as asked. */
export function referenceFence(c: FenceCase, told: readonly FenceEvent[]): FenceState | 'unknown' {
  let everDrained = false;
  let drained = false;
  for (const [i, e] of told.entries()) {
    if (e.kind === 'writes' && e.lsns.some((lsn) => lsn > c.place)) return 'violated';
    if (e.kind === 'end') return e.state;
    if (e.kind === 'restart') drained = false;
    if (e.kind !== 'judge') continue;
    if (proved(c, told.slice(0, i + 1), e.t)) {
      drained = true;
      everDrained = true;
    } else if (!everDrained && e.t >= c.deadlineAt) return 'expired';
    else if (i === told.length - 1) return drained ? 'unknown' : 'placed';
  }
  return 'drained';
}
