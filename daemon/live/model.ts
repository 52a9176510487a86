/**
 * What one client knows of one daemon, and what becomes of that with everything that arrives. It is pure: each function
 * takes what was known, what happened and the time, and gives what is known then. Whoever shows it asks `shown.ts`, which
 * lets nothing look good that is not known now; `follow.ts` fetches what `wants` names.
 */
import type { FenceJson, MigrationJson, SignalJson, VerdictJson, VerifyJson } from '../http/port.js';
import { whyLost, type Connection, type Now } from './connection.js';
import type { ServerClock } from './server-clock.js';
import type { Frame } from './sse.js';

/** What can be fetched: `lag:shop/forward` is the past of a link's lag, for charts. */
export type Resource = 'gates' | 'migrations' | 'journal' | `${'signals' | 'verify' | 'fences' | 'lag'}:${string}`;

/** A verdict, and when the daemon last said that it is so (by its own clock, milliseconds since 1970). */
export interface KnownGate {
  verdict: VerdictJson;
  atMs: number;
}

/** The lag of a link at an instant of the daemon's clock; null: it was not known, or nobody told. */
export interface LagPoint {
  atMs: number;
  value: number | null;
}

/** An entry of the journal as the API gives it. */
export type JournalLine = Readonly<Record<string, unknown>> & { id: number };

/** What one client knows of one daemon. Old knowledge is kept when the connection is lost, and shown as that. */
export interface Model {
  connection: Connection;
  /** When this was last looked at or added to, and when the daemon was last heard, on the monotonic clock. */
  looked: Now;
  heardMs: number;
  /** When it was last known to be so, by the client's wall clock; null: never yet. */
  asOf: number | null;
  daemon: { id: string; version: string; role: 'reader' | 'operator' } | null;
  clock: ServerClock | null;
  /** By id, in the daemon's order. */
  gates: ReadonlyMap<string, KnownGate>;
  migrations: ReadonlyMap<string, MigrationJson>;
  /** By migration and name. */
  signals: ReadonlyMap<string, ReadonlyMap<string, SignalJson>>;
  verify: ReadonlyMap<string, VerifyJson>;
  /** By migration, newest first. */
  fences: ReadonlyMap<string, readonly FenceJson[]>;
  /** Oldest first, the last ones only. */
  journal: readonly JournalLine[];
  /** By `migration/link`, oldest first, at most an hour. */
  lag: ReadonlyMap<string, readonly LagPoint[]>;
  /** What must be fetched (again), and since when: an answer to what was asked before does not do. */
  wants: ReadonlyMap<Resource, number>;
  /** What came over the stream before everything was fetched. */
  pending: readonly Frame[];
}

/** What is fetched first; each migration brings more. */
export const BASE: readonly Resource[] = ['gates', 'migrations', 'journal'];

/** Nothing is known yet. */
export function nothing(now: Now): Model {
  return {
    connection: { state: 'connecting', since: now, opened: false, after: null },
    ...{ looked: now, heardMs: now.monotonicMs, asOf: null, daemon: null, clock: null },
    ...{ gates: new Map(), migrations: new Map(), signals: new Map(), verify: new Map(), fences: new Map() },
    ...{ journal: [], lag: new Map(), wants: new Map(), pending: [] },
  };
}

/** An attempt begins: the stream is being asked for, and then everything. */
export function opening(model: Model, now: Now): Model {
  return {
    ...model,
    connection: { state: 'connecting', since: now, opened: false, after: lossOf(model) },
    ...{ looked: now, heardMs: now.monotonicMs, clock: null, pending: [] },
    wants: new Map(BASE.map((resource) => [resource, now.monotonicMs])),
  };
}

function lossOf({ connection: c, asOf }: Model): string | null {
  if (asOf === null) return null;
  return c.state === 'lost' ? c.reason : c.state === 'connecting' ? c.after : null;
}

/** The stream has begun; `daemon` is what its headers say of the daemon. */
export function opened(model: Model, daemon: Model['daemon'], now: Now): Model {
  const heard_ = heard(model, now);
  if (heard_.connection.state !== 'connecting') return heard_;
  return { ...heard_, daemon, connection: { ...heard_.connection, opened: true } };
}

/** Any byte has arrived over the stream. */
export function heard(model: Model, now: Now): Model {
  const looked = look(model, now);
  return looked.connection.state === 'lost' ? looked : { ...looked, heardMs: now.monotonicMs };
}

/** Time has passed: to be called several times a second, and by whoever adds anything. */
export function look(model: Model, now: Now): Model {
  const reason = whyLost(model.connection, model.looked, model.heardMs, now);
  if (reason !== null) return lose(model, reason, now);
  const asOf = model.connection.state === 'live' ? now.wallMs - (now.monotonicMs - model.heardMs) : model.asOf;
  return { ...model, looked: now, asOf };
}

/** The connection is lost, for a reason in words; `refused`: by the daemon's own word. */
export function lose(model: Model, reason: string, now: Now, refused = false): Model {
  if (model.connection.state === 'lost') return { ...model, looked: now };
  return {
    ...model,
    connection: { state: 'lost', since: now, reason, refused },
    ...{ looked: now, clock: null, wants: new Map(), pending: [] },
    // Whatever is drawn from points shows that some are lacking.
    lag: new Map([...model.lag].map(([link, points]) => [link, broken(points)])),
  };
}

function broken(points: readonly LagPoint[]): readonly LagPoint[] {
  const last = points.at(-1);
  return last === undefined || last.value === null ? points : [...points, { atMs: last.atMs + 1, value: null }];
}

/** Names more that must be fetched, as of the moment at which the model was last looked at. */
export function wanting(model: Model, ...resources: readonly Resource[]): Model {
  const wants = new Map(model.wants);
  for (const resource of resources) wants.set(resource, model.looked.monotonicMs);
  return { ...model, wants };
}
