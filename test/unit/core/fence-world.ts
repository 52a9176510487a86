/**
 * A pair of databases with a fence on it, simulated in milliseconds: what is really committed, open, applied and prepared,
 * and what the observers tell of it, late and with gaps. Everything follows from the seed.
 */
import type { FenceCase, FenceEvent } from './reference-fence.js';

export interface WorldTroubles {
  seed: number;
  /** Writes go on after the place was taken, or transactions that were open then commit later. */
  late: 'none' | 'open' | 'writes';
  gaps: boolean;
  faults: boolean;
  regress: boolean;
  identity: boolean;
  prepared: boolean;
  direction: boolean;
  restarts: boolean;
  jumps: boolean;
  ends: boolean;
  slow: boolean;
  deadline: boolean;
  flows: number;
  marked: boolean;
  proof: 'position' | 'marker';
}

/** A row change of the application. */
interface Commit {
  lsn: number;
  t: number;
  flow: number;
  began: number;
}

export interface World {
  fence: FenceCase;
  events: FenceEvent[];
  commits: Commit[];
  /** The greatest position that a flow had applied at any moment of a stretch. */
  appliedWithin: (flow: number, from: number, to: number) => number;
  /** Whether at some moment of a stretch nothing was prepared on the target. */
  unprepared: (from: number, to: number) => boolean;
  /** Since when nothing troubles it, so that it must drain in the end. */
  calmFrom: number;
  end: number;
}

const STEP = 5;
const FRESH = 300;

function randomOf(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let x = Math.imul(a ^ (a >>> 15), 1 | a);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export function simulateFence(k: WorldTroubles): World {
  const random = randomOf(k.seed);
  const chance = (p: number): boolean => random() < p;
  const upTo = (n: number): number => Math.floor((random() * n) / STEP) * STEP;
  const calmFrom = 1_500;
  const end = 2_200;
  const placedAt = 200;

  // The truth about the source: commits before the place, and what comes after it.
  const commits: Commit[] = [];
  let lsn = 100;
  for (let t = 0; t < placedAt; t += 10 + upTo(40))
    commits.push({ lsn: (lsn += 10), t, flow: upTo(5 * k.flows) / 5, began: t });
  const place = lsn;
  const markerLsn = (lsn += 5);
  if (k.late !== 'none') {
    const times: number[] = [];
    for (let i = 0; i < 1 + upTo(15) / STEP; i += 1) times.push(placedAt + 1 + upTo(1_000));
    times.sort((a, b) => a - b);
    for (const t of times) {
      const began = k.late === 'open' ? Math.min(t, placedAt - 1 - upTo(100)) : t - upTo(100);
      commits.push({ lsn: (lsn += 10), t, flow: upTo(5 * k.flows) / 5, began });
    }
  }
  const isOpenAt = (t: number): boolean => commits.some((c) => c.began <= t && c.t > t && c.began < c.t);

  const heads: number[] = [];
  for (let t = 0, i = 0, head = 0; t <= end; t += 1) {
    for (; i < commits.length && commits[i]!.t <= t; i += 1) head = commits[i]!.lsn;
    heads.push(head);
  }
  const headAt = (t: number): number => (t < 0 ? 0 : heads[t]!);

  // The truth about the target: how far each flow has applied at each step, and what is prepared.
  const history: number[][] = Array.from({ length: k.flows }, () => []);
  const prepared: boolean[] = [];
  const applied = Array.from({ length: k.flows }, () => 0);
  const delay = k.slow ? 50 + upTo(900) : upTo(100);
  let preparedUntil = -1;
  for (let t = 0; t <= end; t += STEP) {
    const calm = t >= calmFrom;
    for (let flow = 0; flow < k.flows; flow += 1) {
      const head = headAt(t - (calm ? 0 : delay));
      const there = t - (calm ? 0 : delay) >= placedAt ? Math.max(head, markerLsn) : head;
      if (!calm && k.regress && chance(0.01)) applied[flow] = Math.max(0, applied[flow]! - upTo(200));
      else if (calm || chance(0.6)) applied[flow] = Math.max(applied[flow]!, there);
      history[flow]!.push(applied[flow]!);
    }
    if (k.prepared && !calm && chance(0.01)) preparedUntil = t + upTo(300);
    prepared.push(t <= preparedUntil);
  }
  const at = (t: number): number => Math.min(history[0]!.length - 1, Math.max(0, Math.floor(t / STEP)));
  const stretch = <T>(all: readonly T[], from: number, to: number): T[] => all.slice(at(from), at(to) + 1);

  // What is told of it.
  const events: FenceEvent[] = [];
  const tell = (e: FenceEvent): void => void events.push(e);
  const answers: { due: number; tell: (t: number) => void }[] = [];
  let seenUntil = placedAt;
  let watched = true;
  let [sourceId, targetId] = ['src', 'tgt'];
  for (let t = placedAt; t <= end; t += STEP) {
    const calm = t >= calmFrom;
    if (calm) [sourceId, targetId] = ['src', 'tgt'];
    else if (k.identity && chance(0.005)) {
      if (chance(0.5)) sourceId = sourceId === 'src' ? 'src2' : 'src';
      else targetId = targetId === 'tgt' ? 'tgt2' : 'tgt';
    }
    for (const a of answers.filter((x) => x.due <= t)) {
      answers.splice(answers.indexOf(a), 1);
      a.tell(t);
    }
    if (!calm && k.gaps && watched && chance(0.006)) {
      watched = false;
      tell({ t, kind: 'lost' });
    } else if (watched ? chance(0.25) : calm || chance(0.05)) {
      // It has read up to some moment not long ago; what was written in a gap it does not tell.
      const to = Math.max(seenUntil, t - 1 - (calm ? 0 : upTo(k.slow ? 150 : 30)));
      const between = commits.filter((c) => c.t > seenUntil && c.t <= to);
      const evidence = !watched && between.length === 0 && (calm || chance(0.8));
      if (watched && between.length > 0) tell({ t, kind: 'writes', lsns: between.map((c) => c.lsn) });
      tell({ t, kind: 'watching', at: to, evidence });
      seenUntil = to;
      watched = true;
    }
    const latency = (): number => t + upTo(calm ? 10 : 60);
    if (t % 25 === 0) {
      const dead = !calm && k.faults && chance(0.05);
      const asked = { askedAt: t, due: latency() };
      const which = t % 50 === 0 ? 'source' : 'target';
      // A look may show what was at any moment between question and answer.
      const moment = t + Math.floor(((asked.due - t) * random()) / STEP) * STEP;
      const identity = which === 'source' ? sourceId : targetId;
      const open = which === 'source' ? isOpenAt(moment) : prepared[at(moment)]!;
      const marker = k.marked && history[0]![at(moment)]! >= markerLsn;
      answers.push({
        due: asked.due,
        tell: (now) =>
          dead
            ? tell({ t: now, kind: 'look-fault', side: which })
            : tell({
                t: now,
                kind: 'look',
                side: which,
                identity,
                marker: which === 'target' && marker,
                open,
                askedAt: t,
              }),
      });
    }
    if (t % 20 === 0) {
      const flow = Math.floor(random() * k.flows);
      if (!calm && k.faults && chance(0.04)) tell({ t, kind: 'applied-fault', flow });
      else tell({ t, kind: 'applied', flow, lsn: history[flow]![at(t)]!, askedAt: t });
    }
    if (!calm && k.direction && chance(0.03)) tell({ t, kind: 'direction', known: chance(0.5) });
    if (calm && t - calmFrom < STEP) tell({ t, kind: 'direction', known: true });
    if (!calm && k.jumps && chance(0.005)) tell({ t, kind: 'jump' });
    if (!calm && k.restarts && chance(0.003)) {
      // What the answers were to belongs to a process that has gone.
      answers.length = 0;
      watched = false;
      tell({ t, kind: 'restart', watchedUntil: seenUntil });
    }
    if (!calm && k.ends && chance(0.003)) tell({ t, kind: 'end', state: chance(0.5) ? 'closed' : 'cancelled' });
    if (chance(0.3) || t % 50 === 0) tell({ t, kind: 'judge' });
  }
  tell({ t: end, kind: 'judge' });

  return {
    fence: {
      ...{ place, placedAt, fresh: FRESH, flows: k.flows, marked: k.marked, proof: k.proof },
      deadlineAt: k.deadline ? placedAt + 50 + upTo(1_000) : 10_000,
    },
    ...{ events, commits, calmFrom, end },
    appliedWithin: (flow, from, to) => Math.max(...stretch(history[flow]!, from, to)),
    unprepared: (from, to) => stretch(prepared, from, to).includes(false),
  };
}
