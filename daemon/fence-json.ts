import type { FenceVerdict } from './core/fence.js';
import type { FenceMemory } from './core/fence-memory.js';
import type { FenceJson } from './http/port.js';

/** Renders a fence as the API and the journal show it. */
export function fenceJson(m: FenceMemory, verdict: Pick<FenceVerdict, 'state' | 'missing' | 'basis'>): FenceJson {
  const { bytes, transactions, flows, reasons } = verdict.missing;
  const { count, firstAt, firstPosition } = m.violations;
  return {
    id: m.id,
    migration: m.migration,
    link: m.link,
    state: verdict.state,
    placed_at: iso(m.placedAt),
    deadline_at: iso(m.deadlineAt),
    source_position: m.position,
    basis: [...verdict.basis],
    drained_at: m.drainedAt === null ? null : iso(m.drainedAt),
    drain_seconds: m.drainedAt === null ? null : Math.max(0, m.drainedAt - m.placedAt) / 1_000,
    missing: { bytes, transactions, flows: [...flows], reasons: [...reasons] },
    violations: { count, first_position: firstPosition, first_at: firstAt === null ? null : iso(firstAt) },
    unwatched: m.unwatched.map((u) => ({ from: iso(u.from), to: u.to === null ? null : iso(u.to), reason: u.reason })),
    predicted: m.predicted === null ? null : { drain_eta: m.predicted.etaS, drain_eta_high: m.predicted.highS },
    note: m.note,
    placed_by: m.placedBy,
    ended_at: m.endedAt === null ? null : iso(m.endedAt),
    ended_because: m.endedBecause,
  };
}

function iso(wall: number): string {
  return new Date(wall).toISOString();
}
