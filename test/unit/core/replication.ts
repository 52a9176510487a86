/**
 * A simulated replication of which the truth is known: when every application row and every heartbeat was committed and
 * applied, flow by flow, through stalls, writer faults, faults of the watch and a daemon that stands still. It makes the
 * observations that collectors would make of it.
 */
import type { LinkId } from '../../../daemon/core/signal.js';
import type { Tick } from './reference.js';
import type { LagEvent } from './reference-lag.js';

const LINK: LinkId = 'shop/forward';

/** What may go wrong in a simulation; everything off is an idle, healthy pair. */
export interface Troubles {
  seed: number;
  flows: number;
  /** Application rows are written. */
  busy: boolean;
  /** Flows stop applying for a while. */
  stalls: boolean;
  /** The writer cannot write, or loses its connection in a commit. */
  writerFaults: boolean;
  /** The target or a flow's position cannot be asked for a while. */
  watchFaults: boolean;
  /** The daemon stands still for a while. */
  freezes: boolean;
  /** The clocks jump. */
  resets: boolean;
  /** Some commits and some queries take long. */
  slow: boolean;
  /** A heartbeat is sent only after the one before it was answered for. */
  sequential: boolean;
  /** Arrivals are told by a stream as well as by queries. */
  stream: boolean;
  /** Heartbeats do not arrive: never, or from the middle on. */
  lost: 'no' | 'never' | 'later';
  /** The target is restored to an older state, and applies again from there. */
  restore: boolean;
}

/** Something that was committed on the source. */
export interface Committed {
  flow: number;
  /** Null for an application row. */
  seq: number | null;
  commit: Tick;
  /** Infinity when it never arrives. */
  apply: Tick;
  /** It was applied and is not there any more in `[from, to)`. */
  gone: { from: Tick; to: Tick } | null;
  lsn: number;
}

/** Whether something is there on the target at `t`. */
export function isThere({ apply, gone }: Pick<Committed, 'apply' | 'gone'>, t: Tick): boolean {
  return apply <= t && !(gone !== null && gone.from <= t && t < gone.to);
}

/** The truth, and what was observed of it in the order of observation. */
export interface Replication {
  items: Committed[];
  events: LagEvent[];
  sends: Tick[];
  interval: Tick;
  flowNames: string[];
  end: Tick;
  /** When the target was restored; null when it was not. */
  restoredAt: Tick | null;
}

type Random = (from: number, to: number) => number;

/** Whole numbers in `[from, to]`, the same ones for the same seed. */
function random(seed: number): Random {
  let state = seed | 0;
  return (from, to) => {
    state = (state + 0x6d2b79f5) | 0;
    let z = Math.imul(state ^ (state >>> 15), 1 | state);
    z = (z + Math.imul(z ^ (z >>> 7), 61 | z)) ^ z;
    return from + (((z ^ (z >>> 14)) >>> 0) % (to - from + 1));
  };
}

interface Stretch {
  from: Tick;
  to: Tick;
}

const INTERVAL = 100;
const END = 3000;

/** Simulates one run. */
export function simulate(troubles: Troubles): Replication {
  const rnd = random(troubles.seed);
  const stretches = (wanted: boolean, most: number, longest: number): Stretch[] =>
    !wanted
      ? []
      : Array.from({ length: rnd(1, most) }, () => {
          const from = rnd(200, END - 200);
          return { from, to: from + rnd(5, longest) };
        }).sort((a, b) => a.from - b.from);
  const within = (list: readonly Stretch[], t: Tick): Stretch | undefined => list.find((s) => t >= s.from && t < s.to);
  const freezes = stretches(troubles.freezes, 2, 500);
  /** When the daemon gets to do what is due at `t`. */
  const awake = (t: Tick): Tick => {
    const asleep = within(freezes, t);
    return asleep === undefined ? t : awake(asleep.to);
  };
  const pause = (): Tick => (troubles.slow && rnd(0, 7) === 0 ? rnd(20, 450) : rnd(1, 4));

  // The source: heartbeats and application rows.
  const items: Committed[] = [];
  const events: LagEvent[] = [];
  const sends: Tick[] = [];
  const acks: { sent: Tick; at: Tick }[] = [];
  const faults = stretches(troubles.writerFaults, 3, 500);
  let seq = 0;
  let committed = 0;
  let answered = 0;
  for (let due = rnd(0, 50); due < END;) {
    const at = awake(due);
    const fault = within(faults, at);
    due = at + INTERVAL;
    const kind = fault === undefined ? 'works' : (['absent', 'refused', 'lost', 'lost-committed'] as const)[rnd(0, 3)]!;
    if (kind === 'absent') {
      events.push({ kind: 'writer-fault', link: LINK, at, reason: 'no connection' });
      continue;
    }
    seq += 1;
    sends.push(at);
    events.push({ kind: 'heartbeat-sent', link: LINK, run: 'r', seq, at });
    // One connection writes them, so they are committed and answered for in the order in which they were sent.
    const commit = Math.max(committed + 1, at + pause());
    committed = commit;
    answered = awake(Math.max(answered, commit + pause()));
    if (kind === 'works' || kind === 'lost-committed')
      items.push({ flow: 0, seq, commit, apply: 0, gone: null, lsn: 0 });
    if (kind === 'works') {
      events.push({ kind: 'heartbeat-acked', link: LINK, seq, at: answered });
      acks.push({ sent: at, at: answered });
    } else {
      const outcome = kind === 'refused' ? 'not-committed' : 'uncertain';
      events.push({ kind: 'heartbeat-failed', link: LINK, seq, outcome, at: answered, reason: 'connection lost' });
    }
    if (troubles.sequential) due = Math.max(due, answered);
  }
  if (troubles.busy) {
    for (let t = rnd(0, 40); t < END; t += rnd(1, 60))
      items.push({ flow: rnd(0, troubles.flows - 1), seq: null, commit: t, apply: 0, gone: null, lsn: 0 });
  }
  items.sort((a, b) => a.commit - b.commit);
  items.forEach((item, i) => (item.lsn = i + 1));

  // The target: every flow applies in the order of commit, and not while it is stalled.
  const lostFrom = troubles.lost === 'never' ? 0 : troubles.lost === 'later' ? END / 3 : Infinity;
  for (let flow = 0; flow < troubles.flows; flow += 1) {
    const stalls = stretches(troubles.stalls && rnd(0, 2) > 0, 3, 900);
    let last = 0;
    for (const item of items.filter((i) => i.flow === flow)) {
      let apply = Math.max(last, item.commit + rnd(1, 12));
      for (let stall = within(stalls, apply); stall !== undefined; stall = within(stalls, apply)) apply = stall.to;
      last = apply;
      item.apply = item.seq !== null && item.commit >= lostFrom ? Infinity : apply;
      // A heartbeat that is not replicated does not hold up the position either.
      if (item.apply === Infinity) item.flow = -1;
    }
  }
  let restoredAt: Tick | null = null;
  if (troubles.restore) {
    const at = rnd(700, 2400);
    const state = at - rnd(50, 650);
    const back = at + rnd(1, 500);
    restoredAt = at;
    for (const item of items) {
      if (item.apply > state && item.apply <= at) item.gone = { from: at, to: back };
      else if (item.apply > at && item.apply !== Infinity) item.apply = Math.max(item.apply, back);
    }
  }
  const applied = (flow: number, t: Tick): bigint => {
    const waiting = items.find((i) => i.flow === flow && i.commit <= t && !isThere(i, t));
    return BigInt(waiting === undefined ? items.filter((i) => i.commit <= t).length : waiting.lsn - 1);
  };

  // What the daemon sees of it.
  const flowNames = Array.from({ length: troubles.flows }, (_, i) => `flow${i}`);
  const loop = (ask: (asked: Tick, looked: Tick, at: Tick) => void, every: Tick): void => {
    for (let asked = awake(rnd(0, every)); asked < END;) {
      const looked = asked + pause();
      const at = awake(looked + pause());
      ask(asked, looked, at);
      asked = awake(at + every);
    }
  };
  const visible = (t: Tick): number | null => items.findLast((i) => i.seq !== null && isThere(i, t))?.seq ?? null;
  const watchFaults = stretches(troubles.watchFaults, 2, 400);
  loop((askedAt, looked, at) => {
    if (within(watchFaults, looked) !== undefined)
      events.push({ kind: 'watch-fault', link: LINK, at, reason: 'the target does not answer' });
    else events.push({ kind: 'heartbeat-visible', link: LINK, upTo: visible(looked), askedAt, at, by: 'poll' });
  }, 30);
  if (troubles.stream) {
    for (const item of items.filter(
      (i) => i.seq !== null && i.apply < END && within(watchFaults, i.apply) === undefined,
    ))
      events.push({
        kind: 'heartbeat-visible',
        link: LINK,
        upTo: item.seq,
        askedAt: null,
        at: awake(item.apply + 2),
        by: 'wal',
      });
  }
  let sampled = 0;
  for (const ack of acks) {
    if (ack.at < sampled) continue;
    const looked = ack.at + pause();
    const position = { kind: 'lsn' as const, lsn: BigInt(items.filter((i) => i.commit <= looked).length) };
    sampled = awake(looked + pause());
    events.push({ kind: 'position-sampled', link: LINK, position, sentAt: ack.sent, at: sampled });
  }
  flowNames.forEach((flow, i) => {
    const flowFaults = stretches(troubles.watchFaults && rnd(0, 1) === 0, 2, 300);
    loop((askedAt, looked, at) => {
      if (within(flowFaults, looked) !== undefined)
        events.push({ kind: 'applied-fault', link: LINK, flow, at, reason: 'cannot be read' });
      else {
        const position = { kind: 'lsn' as const, lsn: applied(i, looked) };
        events.push({ kind: 'applied', link: LINK, flow, position, askedAt, at });
      }
    }, 40);
  });
  if (troubles.resets) events.push({ kind: 'reset', at: awake(rnd(500, END - 500)) });
  return { items, events: told(inOrder(events)), sends, interval: INTERVAL, flowNames, end: END, restoredAt };
}

/** What is said of visible heartbeats by whoever asks: less than before only where the target itself shows less. */
function told(events: readonly LagEvent[]): LagEvent[] {
  let seen: number | null = null;
  let seenAt = 0;
  let lostAt = 0;
  return events.map((e): LagEvent => {
    if (e.kind !== 'heartbeat-visible') return e;
    const { upTo, askedAt, at } = e;
    if (seen !== null && askedAt !== null && askedAt >= seenAt && (upTo ?? 0) < seen) {
      const shown = seen;
      seen = upTo;
      seenAt = at;
      lostAt = at;
      return { ...e, lost: { shown } };
    }
    if ((upTo ?? 0) > (seen ?? 0) && (askedAt ?? at) >= lostAt) {
      seen = upTo;
      seenAt = at;
    }
    return { ...e, upTo: seen };
  });
}

/** By the instant of observation; samples of a position in the order in which they were read. */
function inOrder(events: LagEvent[]): LagEvent[] {
  return events
    .map((e, i) => [e, i] as const)
    .sort(([a, i], [b, j]) => a.at - b.at || i - j)
    .map(([e]) => e);
}
