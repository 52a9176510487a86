/**
 * What may be shown of what is known. Whatever looks good (an open gate, a drained fence, a value) is asked for here, at
 * the moment at which it is drawn: it is good only while the connection is live and the daemon has confirmed it within
 * the last few seconds, however long ago the last event was folded in.
 */
import type { FenceJson, FenceStateJson, GateState, SignalJson, VerdictJson } from '../http/port.js';
import { whyLost, type Now } from './connection.js';
import type { Model } from './model.js';
import { oldestAge, serverNow } from './server-clock.js';
import { durationText, instantText, plain } from './words.js';

/** A verdict that the daemon has not confirmed for longer is not shown as its present one. The daemon confirms every second. */
export const FRESH_MS = 3_000;

/** A gate as it may be shown. */
export interface GateShown {
  gate: string;
  state: GateState;
  /** Why it is unknown although the daemon once said something else; null when `state` is the daemon's own word. */
  doubt: string | null;
  /** What was said last, for its evidence; null when nothing ever was. Its state is not to be shown: `state` is. */
  verdict: VerdictJson | null;
  /** Seconds until it could open if nothing breaks; null when that is not known. */
  opensIn: number | null;
}

/** Why nothing that is known may be taken for what is so now; null while the connection is live. */
export function doubtOf(model: Model, now: Now): string | null {
  const { connection: c } = model;
  const asOf = model.asOf === null ? '' : `, as of ${instantText(model.asOf, now.wallMs)}`;
  if (c.state === 'lost') return `${model.asOf === null ? 'not connected' : 'connection lost'}${asOf}`;
  // Being tried again it is as lost as before.
  // Whoever draws may do so later than anything was last looked at.
  const lost = whyLost(c, model.looked, model.heardMs, now);
  if (lost !== null) return `connection lost${asOf}`;
  if (c.state === 'connecting') return model.asOf === null ? 'connecting' : `connection lost${asOf}`;
  return null;
}

/** Whether what is known is the daemon's present word. */
export function isLive(model: Model, now: Now): boolean {
  return doubtOf(model, now) === null;
}

/** A gate as it may be shown now. */
export function gateShown(model: Model, gate: string, now: Now): GateShown {
  const known = model.gates.get(gate);
  const verdict = known?.verdict ?? null;
  const doubt = doubtOf(model, now) ?? doubtAboutGate(model, known?.atMs, now);
  if (doubt !== null || verdict === null) return { gate, state: 'unknown', doubt, verdict, opensIn: null };
  return { gate, state: verdict.state, doubt: null, verdict, opensIn: opensIn(model, verdict, now) };
}

function doubtAboutGate(model: Model, atMs: number | undefined, now: Now): string | null {
  if (atMs === undefined) return 'the daemon says nothing of it';
  if (model.clock === null) return 'it cannot be told how old its verdict is; asked anew';
  const age = oldestAge(model.clock, atMs, now.monotonicMs);
  return age <= FRESH_MS ? null : `its verdict may be ${durationText(age / 1000)} old`;
}

function opensIn({ clock }: Model, { opens_at: at }: VerdictJson, now: Now): number | null {
  const opensAt = at === null ? NaN : Date.parse(at);
  if (clock === null || !Number.isFinite(opensAt)) return null;
  return Math.max(0, (opensAt - serverNow(clock, now.monotonicMs)) / 1000);
}

const WORST: readonly GateState[] = ['open', 'closed', 'unknown'];

/** The worst of several states: unknown before closed before open; none at all is unknown. */
export function worstState(states: readonly GateState[]): GateState {
  if (states.length === 0) return 'unknown';
  return states.reduce((a, b) => (WORST.indexOf(b) > WORST.indexOf(a) ? b : a));
}

/** A signal as it may be shown: its value only while the connection is live. Undefined when the daemon knows none of that name. */
export function signalShown(model: Model, migration: string, name: string, now: Now): SignalJson | undefined {
  const signal = model.signals.get(migration)?.get(name);
  const doubt = signal === undefined ? null : doubtOf(model, now);
  return signal === undefined || doubt === null ? signal : { ...signal, state: 'unknown', value: null, reason: doubt };
}

/** A fence as it may be shown; what has ended stays what it was. */
export interface FenceShown {
  fence: FenceJson;
  state: FenceStateJson;
  doubt: string | null;
  /** Seconds until its deadline, of a fence that is placed. */
  left: number | null;
}

/** The newest fence of a migration; null when there has been none. */
export function fenceShown(model: Model, migration: string, now: Now): FenceShown | null {
  const fence = model.fences.get(migration)?.[0];
  if (fence === undefined) return null;
  const ended = fence.ended_at !== null;
  const doubt = ended ? null : doubtOf(model, now);
  const deadline = Date.parse(fence.deadline_at);
  const left =
    fence.state === 'placed' && doubt === null && model.clock !== null && Number.isFinite(deadline)
      ? Math.max(0, (deadline - serverNow(model.clock, now.monotonicMs)) / 1000)
      : null;
  return { fence, state: doubt === null ? fence.state : 'unknown', doubt, left };
}

/** The connection in a few words, for example `lost: nothing was heard for 3 s`. */
export function connectionWords(model: Model, now: Now): string {
  const { connection: c } = model;
  if (c.state === 'lost') return `lost: ${plain(c.reason)}`;
  const lost = whyLost(c, model.looked, model.heardMs, now);
  if (lost !== null) return `lost: ${lost}`;
  return c.state === 'connecting' && c.after !== null ? `lost: ${plain(c.after)}; trying again` : c.state;
}

/** The daemon's clock, milliseconds since 1970; null while it is not known. */
export function daemonNow(model: Model, now: Now): number | null {
  return model.clock === null || !isLive(model, now) ? null : serverNow(model.clock, now.monotonicMs);
}
