import { formatValue } from '../../daemon/core/units.js';

/**
 * How much WAL a link's slots keep back on the source, and how long that can go on. Pure: what a slot looks like comes
 * from the positions' own query, and every instant is a parameter.
 */

/** What a slot keeps back, as the source shows it. */
export interface SlotRetention {
  readonly walStatus: string | null;
  /** The oldest WAL that it needs; null when it needs none yet, or has lost it. */
  readonly restart: bigint | null;
  /** Bytes that may still be written before the slot is in danger; null where the server has no limit. */
  readonly safeWalSize: number | null;
}

/** One slot of a link and what it is called in messages; `slot` null when it does not exist. */
export interface RetainedFlow {
  readonly flow: string;
  readonly slotName: string | null;
  readonly slot: SlotRetention | null;
}

/** A value, or null with the reason why there is none. */
export interface Retained {
  value: number | null;
  reason: string | null;
}

/** Longer than any migration; a rate of nothing must not make it infinite. */
const longestS = 3650 * 86_400;

/** Bytes of WAL kept back for the worst of a link's flows; `head` is the end of the flushed WAL. */
export function judgeRetained(from: string, flows: readonly RetainedFlow[], head: bigint): Retained {
  let worst: Retained | null = null;
  for (const flow of flows) {
    const value = retainedOf(flow, head);
    if (value === null) return { value: null, reason: whyNothing(from, flow) };
    if (worst === null || value > (worst.value ?? 0)) {
      worst = { value, reason: flows.length > 1 ? `${flow.flow}: slot ${flow.slotName ?? ''}` : null };
    }
  }
  return worst ?? { value: null, reason: 'the link has no flow' };
}

/**
 * Seconds until the WAL that the worst of a link's flows needs is removed, at `rate` bytes per second (null while it is
 * being learnt); `limitBytes` is the configured limit of what may be kept back. Where the server has a limit too, the
 * nearer one counts.
 */
export function judgeRunway(
  from: string,
  flows: readonly RetainedFlow[],
  head: bigint,
  limitBytes: number | null,
  rate: number | null,
): Retained {
  const each = flows.map((flow) => runwayOf(from, flow, head, limitBytes, rate));
  const cut = each.find(({ value }) => value === 0);
  if (cut !== undefined) return cut;
  const untold = each.find(({ value }) => value === null);
  if (untold !== undefined) return untold;
  const [first, ...others] = each;
  if (first === undefined) return { value: null, reason: 'the link has no flow' };
  return others.reduce((worst, one) => ((one.value ?? 0) < (worst.value ?? 0) ? one : worst), first);
}

function runwayOf(
  from: string,
  flow: RetainedFlow,
  head: bigint,
  limitBytes: number | null,
  rate: number | null,
): Retained {
  const { slot } = flow;
  const name = `${flow.flow}: slot ${flow.slotName ?? ''} on ${from}`;
  if (slot?.walStatus === 'lost') return { value: 0, reason: `${name} has lost WAL that it needs` };
  if (slot?.walStatus === 'unreserved') {
    return { value: 0, reason: `${name} is beyond its limit: the next checkpoint removes WAL that it needs` };
  }
  const retained = retainedOf(flow, head);
  if (slot === null || retained === null) return { value: null, reason: whyNothing(from, flow) };
  const rooms = [slot.safeWalSize, limitBytes === null ? null : limitBytes - retained].filter((room) => room !== null);
  if (rooms.length === 0) {
    return {
      value: null,
      reason: `${name} keeps back WAL without a limit, until the disk is full: set max_slot_wal_keep_size or retention_limit`,
    };
  }
  const room = Math.min(...rooms);
  if (room <= 0) return { value: 0, reason: `${name} keeps back as much as its limit allows` };
  if (rate === null) return { value: null, reason: `the rate at which ${from} writes WAL is being learnt (a minute)` };
  const value = rate <= 0 ? longestS : Math.min(longestS, room / rate);
  return { value, reason: `${name}: ${formatValue(room, 'B')} left at ${formatValue(rate, 'B')}/s` };
}

function retainedOf({ slot }: RetainedFlow, head: bigint): number | null {
  if (slot === null || slot.restart === null) return null;
  return head > slot.restart ? Number(head - slot.restart) : 0;
}

function whyNothing(from: string, { flow, slotName, slot }: RetainedFlow): string {
  if (slotName === null) return `${flow}: it has no slot, so nothing is kept back for it on ${from}`;
  if (slot === null) return `${flow}: slot ${slotName} does not exist on ${from}, so nothing is kept back for it`;
  if (slot.walStatus === 'lost') return `${flow}: slot ${slotName} on ${from} has lost WAL that it needs`;
  return `${flow}: slot ${slotName} on ${from} has not reserved any WAL yet`;
}
