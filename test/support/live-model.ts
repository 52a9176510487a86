import type { FenceJson, MigrationJson, SignalJson, VerdictJson } from '../../daemon/http/port.js';
import type { Now } from '../../daemon/live/connection.js';
import { nothing, opened, opening, type Model } from '../../daemon/live/model.js';
import { pathOf, receive } from '../../daemon/live/receive.js';

/** The instant at which everything in such a model was told. */
export const NOW: Now = { monotonicMs: 500_000, wallMs: Date.parse('2026-11-22T02:00:00Z') };

/** So much later. */
export function later(ms: number): Now {
  return { monotonicMs: NOW.monotonicMs + ms, wallMs: NOW.wallMs + ms };
}

/** What a daemon of one migration says. */
export interface Said {
  verdicts: VerdictJson[];
  migration?: Partial<MigrationJson>;
  signals?: SignalJson[];
  fences?: FenceJson[];
  journal?: object[];
  /** A lag of every second, the last one now. */
  lag?: (number | null)[];
}

/** A verdict of now. */
export function verdictOfNow(gate: string, change: Partial<VerdictJson>): VerdictJson {
  const at = new Date(NOW.wallMs).toISOString();
  const state = change.state ?? 'open';
  return {
    ...{ gate, state, open: state === 'open', since: '2026-11-22T01:00:00.000Z', evaluated_at: at, opens_at: null },
    ...{ conditions: [], reason: null, config_hash: 'c0ffee', daemon: 'lockgate-test', ...change },
  };
}

/** A condition as a verdict has it. */
export function condition(
  text: string,
  state: VerdictJson['conditions'][number]['state'],
  change: Partial<VerdictJson['conditions'][number]> = {},
): VerdictJson['conditions'][number] {
  const value = state === 'unknown' ? null : 0.4;
  return {
    text,
    state,
    value,
    unit: 's',
    held_seconds: 0,
    needs_seconds: 0,
    last_broken: null,
    reason: null,
    ...change,
  };
}

/** A client that has just heard all of this. */
export function liveModel(said: Said): Model {
  const side = (database: string): MigrationJson['sides']['source'] => ({
    ...{ database, reachable: true, writable: true },
    stray_writes: { count: 0, first_at: null, first_position: null },
  });
  const migration = {
    ...{ name: 'shop', direction: 'forward', epoch: 1, direction_since: null, source: 'onprem', target: 'aws' },
    ...{ links: { forward: {} }, sides: { source: side('onprem'), target: side('aws') }, alerts: [], attestations: [] },
    gates: said.verdicts
      .filter((v) => v.gate.startsWith('shop/'))
      .map((v) => ({ name: v.gate.slice(5), state: v.state })),
    fence: null,
    ...said.migration,
  };
  const points = (said.lag ?? []).map((value, i, { length }) => ({
    at: new Date(NOW.wallMs - (length - 1 - i) * 1000).toISOString(),
    ...{ value, max: value },
  }));
  const answers = {
    gates: { gates: said.verdicts },
    migrations: { migrations: [migration] },
    journal: { entries: said.journal ?? [] },
    'signals:shop': { signals: said.signals ?? [] },
    'verify:shop': { tables: [] },
    'fences:shop': { fences: said.fences ?? [] },
    'lag:shop/forward': { points },
    'lag:shop/reverse': { points: [] },
  } as const;
  let model = opening(nothing(NOW), NOW);
  model = opened(model, { id: 'lockgate-test', version: '0.9.0', role: 'reader' }, NOW);
  while (model.wants.size > 0) {
    const [[resource] = ['gates' as const]] = model.wants;
    const json = answers[resource as keyof typeof answers];
    model = receive(model, resource, { status: 200, json }, NOW.monotonicMs, NOW);
    if (model.connection.state === 'lost') throw new Error(`${pathOf(resource)}: ${model.connection.reason}`);
  }
  return model;
}
