/**
 * Lag straight from the list of everything that was observed, looked through from the beginning at every question. It
 * is to lag what reference.ts is to gates: slow, without memory, and by the words of signals-and-gates.md.
 */
import type { LagObservation } from '../../../daemon/core/lag.js';
import { lsnOf, type Position } from '../../../daemon/core/position.js';
import type { Tick } from './reference.js';

/** An observation, or the instant at which the clocks jumped. */
export type LagEvent = LagObservation | { kind: 'reset'; at: Tick };

/** What the reference says about one signal: usable with its value in ticks, a lower bound only, or not usable. */
export type RefSignal =
  { state: 'ok'; value: number } | { state: 'stale' } | { state: 'unknown'; atLeast: number | null };

/** What the reference needs to know of the link. */
export interface RefLagOptions {
  lagFresh: Tick;
  fresh: Tick;
  flows: readonly string[];
}

/** What the reference says of a link. */
export interface RefLag {
  lag: RefSignal;
  low: RefSignal;
  byPosition: RefSignal;
  agreement: RefSignal;
}

interface Sent {
  id: number;
  sent: Tick;
  acked: Tick | null;
  uncertain: boolean;
  arrived: Tick | null;
  low: Tick;
}

interface Stream {
  items: Sent[];
  /** Newest instant at which the target was asked, and from which the age of its answer counts. */
  asked: Tick | null;
  answered: Tick | null;
  fault: boolean;
}

const UNKNOWN: RefSignal = { state: 'unknown', atLeast: null };

/** What is known at `t` from `events`, all of which were observed by then. */
export function referenceLag(events: readonly LagEvent[], options: RefLagOptions, t: Tick): RefLag {
  const rows = heartbeats(events);
  const flows = options.flows.map((flow) => positions(events, flow));
  const writer = writerState(events);
  const looked = events.at(-1)?.at ?? t;
  const { lag, low } = rowLag(rows, flows, writer, options, looked, t);
  const byPosition = positionLag(flows, options, t);
  const disagree = disagreement(rows, flows, options);
  const agree: RefSignal = lag.state === 'ok' && byPosition.state === 'ok' ? { state: 'ok', value: 1 } : UNKNOWN;
  return { lag, low, byPosition, agreement: disagree ? usable(0, looked, options.fresh, t) : agree };
}

/** Since the clocks jumped last, nothing that happened before counts. */
function sinceReset(events: readonly LagEvent[]): LagEvent[] {
  return events.slice(events.findLastIndex((e) => e.kind === 'reset') + 1);
}

function heartbeats(events: readonly LagEvent[]): Stream {
  const stream: Stream = { items: [], asked: null, answered: null, fault: false };
  for (const e of sinceReset(events)) {
    if (e.kind === 'heartbeat-sent')
      stream.items.push({ id: e.seq, sent: e.at, acked: null, uncertain: false, arrived: null, low: 0 });
    const item = 'seq' in e ? stream.items.find((i) => i.id === e.seq) : undefined;
    if (e.kind === 'heartbeat-acked' && item !== undefined && item.arrived === null) item.acked = e.at;
    if (e.kind === 'heartbeat-failed' && item !== undefined && item.arrived === null) {
      if (e.outcome === 'uncertain') item.uncertain = true;
      else stream.items = stream.items.filter((i) => i !== item);
    }
    if (e.kind === 'heartbeat-visible') {
      const { upTo } = e;
      if (e.lost !== undefined) lose(stream, upTo);
      if (upTo !== null) arrive(stream, (i) => i.id <= upTo, e.at);
      const shown = stream.items.find((i) => i.id === upTo);
      if (shown?.arrived === e.at) shown.uncertain = false;
      answer(stream, e);
    }
  }
  // Whether the target can be asked has nothing to do with the clocks.
  const watch = events.findLast((e) => e.kind === 'heartbeat-visible' || e.kind === 'watch-fault');
  stream.fault = watch?.kind === 'watch-fault';
  return stream;
}

function positions(events: readonly LagEvent[], flow: string): Stream {
  const stream: Stream = { items: [], asked: null, answered: null, fault: false };
  const wanted: Position[] = [];
  let applied: bigint | null = null;
  for (const e of sinceReset(events)) {
    if (e.kind === 'position-sampled') {
      const id = wanted.push(e.position) - 1;
      stream.items.push({ id, sent: e.sentAt, acked: e.at, uncertain: false, arrived: null, low: 0 });
    }
    if (e.kind === 'applied' && e.flow === flow) {
      const { position } = e;
      // A target that went back lacks what had arrived, and nothing says since when.
      if (applied !== null && lsnOf(position) < applied) stream.items = stream.items.filter((i) => i.arrived === null);
      applied = lsnOf(position);
      arrive(stream, (i) => lsnOf(wanted[i.id]!) <= lsnOf(position), e.at);
      answer(stream, e);
    }
  }
  const last = events.findLast((e) => (e.kind === 'applied' || e.kind === 'applied-fault') && e.flow === flow);
  stream.fault = last?.kind === 'applied-fault';
  return stream;
}

function arrive(stream: Stream, has: (item: Sent) => boolean, at: Tick): void {
  for (const item of stream.items.filter((i) => i.arrived === null && has(i))) {
    item.arrived = at;
    item.low = item.acked === null || stream.asked === null ? 0 : Math.max(0, stream.asked - item.acked);
  }
}

/** What had arrived beyond `upTo` is missing again, and was certainly committed by the time it was seen. */
function lose(stream: Stream, upTo: number | null): void {
  for (const item of stream.items) {
    if (item.arrived === null || item.id <= (upTo ?? -Infinity)) continue;
    item.acked ??= item.arrived;
    item.arrived = null;
  }
}

function answer(stream: Stream, e: { askedAt: Tick | null; at: Tick }): void {
  if (e.askedAt === null) return;
  stream.asked = Math.max(stream.asked ?? e.askedAt, e.askedAt);
  stream.answered = stream.asked;
}

const newestArrived = (stream: Stream): Sent | undefined => stream.items.findLast((i) => i.arrived !== null);
const missing = (stream: Stream): Sent[] => stream.items.filter((i) => i.arrived === null && !i.uncertain);

/** The newest heartbeat sent when the writer failed last (or the clocks jumped), and whether it has recovered since. */
function writerState(events: readonly LagEvent[]): { brokenAfter: number; failing: boolean } {
  let newest = 0;
  let brokenAfter = 0;
  let failing = false;
  for (const e of events) {
    if (e.kind === 'heartbeat-sent') newest = Math.max(newest, e.seq);
    if (e.kind === 'heartbeat-failed' || e.kind === 'writer-fault') failing = true;
    if (e.kind === 'heartbeat-failed' || e.kind === 'writer-fault' || e.kind === 'reset') brokenAfter = newest;
    if (e.kind === 'heartbeat-acked' && e.seq > brokenAfter) failing = false;
  }
  return { brokenAfter, failing };
}

const usable = (value: number, observed: Tick, fresh: Tick, t: Tick): RefSignal =>
  t - observed > fresh ? { state: 'stale' } : { state: 'ok', value };

const bound = (value: number, observed: Tick, fresh: Tick, t: Tick): RefSignal =>
  t - observed > fresh ? { state: 'stale' } : { state: 'unknown', atLeast: value };

function rowLag(
  rows: Stream,
  flows: readonly Stream[],
  writer: { brokenAfter: number; failing: boolean },
  { lagFresh, fresh }: RefLagOptions,
  looked: Tick,
  t: Tick,
): { lag: RefSignal; low: RefSignal } {
  const both = (s: RefSignal): { lag: RefSignal; low: RefSignal } => ({ lag: s, low: s });
  const newest = newestArrived(rows);
  const unseen = missing(rows);
  const [committed] = unseen.filter((i) => i.acked !== null);
  const [oldest] = unseen;
  if (rows.fault) return both(UNKNOWN);
  if (committed === undefined && writer.failing) return both(UNKNOWN);
  if (newest === undefined && committed !== undefined && flows.length > 0 && flows.every((f) => !f.fault)) {
    const passed = Math.max(...flows.map((f) => firstPast(f, committed.acked!)));
    // That rows never arrive is judged with each observation, like everything that is not growth or age.
    if (looked - passed > fresh) return both(UNKNOWN);
  }
  if (oldest === undefined) {
    if (newest === undefined || newest.id <= writer.brokenAfter) return both(UNKNOWN);
    return {
      lag: usable(newest.arrived! - newest.sent, newest.arrived!, lagFresh, t),
      low: usable(newest.low, newest.arrived!, lagFresh, t),
    };
  }
  const observed = Math.max(newest?.arrived ?? oldest.sent, rows.answered ?? -Infinity);
  const least = committed === undefined || rows.asked === null ? 0 : Math.max(0, rows.asked - committed.acked!);
  // Something that was committed before the writer failed, and is not there yet, tells for as long as that lasts.
  const chain =
    newest !== undefined &&
    oldest.sent - newest.sent <= lagFresh &&
    (newest.id > writer.brokenAfter || (committed !== undefined && committed.id <= writer.brokenAfter));
  if (!chain) return both(committed === undefined ? UNKNOWN : bound(least, observed, lagFresh, t));
  return {
    lag: usable(Math.max(newest.arrived! - newest.sent, t - oldest.sent), observed, lagFresh, t),
    low: usable(Math.max(newest.low, least), observed, lagFresh, t),
  };
}

/** When a stream first said that everything up to `instant` has arrived; Infinity when it has not. */
function firstPast(stream: Stream, instant: Tick): Tick {
  return Math.min(...stream.items.filter((i) => i.arrived !== null && i.sent >= instant).map((i) => i.arrived!));
}

function positionLag(flows: readonly Stream[], { fresh }: RefLagOptions, t: Tick): RefSignal {
  if (flows.length === 0) return UNKNOWN;
  const each = flows.map((flow) => {
    const newest = newestArrived(flow);
    const [oldest] = missing(flow);
    if (flow.fault || flow.answered === null || (newest === undefined && oldest === undefined)) return null;
    if (oldest === undefined)
      return { value: newest!.arrived! - newest!.sent, exact: true, observed: newest!.arrived! };
    const observed = Math.max(flow.answered, newest?.arrived ?? -Infinity);
    if (newest === undefined || oldest.sent - newest.sent > fresh)
      return { value: Math.max(0, flow.asked! - oldest.acked!), exact: false, observed };
    return { value: Math.max(newest.arrived! - newest.sent, t - oldest.sent), exact: true, observed };
  });
  if (each.some((e) => e === null)) return UNKNOWN;
  const known = each.filter((e) => e !== null);
  const value = Math.max(...known.map((e) => e.value));
  const observed = Math.min(...known.map((e) => e.observed));
  return known.every((e) => e.exact) ? usable(value, observed, fresh, t) : bound(value, observed, fresh, t);
}

/** Whether one of the two measures said "arrived" and the other was asked a freshness later and said "not arrived". */
function disagreement(rows: Stream, flows: readonly Stream[], { lagFresh, fresh }: RefLagOptions): boolean {
  if (rows.fault) return false;
  // A row that was sent after a position was read lies behind it in the log.
  const stuck = (flow: Stream): boolean => missing(flow).some((i) => flow.asked! - firstPast(rows, i.acked!) > fresh);
  // And a position that was read after a row was committed lies behind the row; every flow has to have passed it.
  const passed = (i: Sent): Tick => Math.max(...flows.map((f) => firstPast(f, i.acked!)));
  const notCarried = (): boolean =>
    missing(rows).some((i) => i.acked !== null && rows.asked !== null && rows.asked - passed(i) > lagFresh);
  return flows.some((flow) => !flow.fault && ((flow.asked !== null && stuck(flow)) || notCarried()));
}
