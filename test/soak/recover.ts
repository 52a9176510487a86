/** After a fault is healed: waits for both gates, and attests what an operator would have to. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { VerdictJson } from '../../daemon/http/port.js';
import type { Daemon } from '../support/lockgate.js';
import { GATES, type Asker } from './gates.js';
import type { SoakFault } from './fault.js';

type ConditionJson = VerdictJson['conditions'][number];

/** How a recovery went. */
export interface Recovery {
  /** From healing to both gates open, in ms; null when that did not come about in time. */
  readonly openedMs: number | null;
  /** When something was first attested, by `performance.now()`; null when nothing had to be. */
  readonly attestedAt: number | null;
  readonly attested: readonly string[];
  /** Latched signals that nothing had given reason for. */
  readonly forNothing: readonly string[];
  /** What the gates said at the end, when they did not open. */
  readonly stuckOn: string | null;
}

/** The gates must open within this after healing. */
export const OPEN_WITHIN_MS = 60_000;
/** A gate that must stay shut is watched for so long before somebody attests. */
const LATCHED_FOR_MS = 3_000;
const ATTEST_EVERY_MS = 2_000;

/** Waits until both gates are open, since `healed`. */
export async function recover(
  fault: Pick<SoakFault, 'strays' | 'mayBreak' | 'latches'>,
  healed: number,
  asker: Asker,
  daemon: () => Daemon,
): Promise<Recovery> {
  const attested: string[] = [];
  const forNothing: string[] = [];
  let attestedAt: number | null = null;
  let notBefore = healed + (fault.latches === true ? LATCHED_FOR_MS : 500);
  for (;;) {
    const now = performance.now();
    // An answer from before the latch was watched for long enough proves nothing.
    const since = fault.latches === true && attestedAt === null ? Infinity : healed;
    if (GATES.every((gate) => asker.latest(gate, since)?.state === 'open')) {
      return { openedMs: now - healed, attestedAt, attested, forNothing, stuckOn: null };
    }
    if (now > healed + OPEN_WITHIN_MS) {
      const stuckOn = GATES.map((gate) => `${gate}: ${wanting(asker, gate).map(say).join(', ')}`).join(' · ');
      return { openedMs: null, attestedAt, attested, forNothing, stuckOn };
    }
    if (now >= notBefore) {
      for (const name of await due(fault, asker, daemon(), healed, forNothing)) {
        attestedAt ??= performance.now();
        if (!(await attest(daemon(), name))) continue;
        attested.push(name);
        notBefore = performance.now() + ATTEST_EVERY_MS;
      }
    }
    await sleep(100);
  }
}

/** The conditions that keep a gate from being open, by its newest answer. */
function wanting(asker: Asker, gate: (typeof GATES)[number], since = 0): ConditionJson[] {
  return asker.latest(gate, since)?.verdict?.conditions.filter((c) => c.state !== 'held') ?? [];
}

function say({ text, state, value, reason }: ConditionJson): string {
  return `${text} is ${state} (${String(value)}${reason === null ? '' : `, ${reason}`})`;
}

/** Which attestations are wanted now. */
async function due(
  fault: Pick<SoakFault, 'strays' | 'mayBreak'>,
  asker: Asker,
  daemon: Daemon,
  healed: number,
  forNothing: string[],
): Promise<string[]> {
  const names: string[] = [];
  for (const condition of wanting(asker, 'whole', healed)) {
    const { text, state, reason } = condition;
    const wantsAttest = state === 'broken' || /reconciled|continuity-accepted/.test(reason ?? '');
    if (!wantsAttest) continue;
    if (text.includes('continuity')) {
      names.push('continuity-accepted');
      if (fault.mayBreak !== true && state === 'broken') forNothing.push(say(condition));
    } else if (text.includes('stray_writes')) {
      // What is attested while the side is not watched does not cover what comes until it is.
      const watched = (await daemon.signals().catch(() => undefined))?.get('target.local_writes')?.state === 'ok';
      if (!watched) continue;
      names.push('stray-writes-reconciled');
      if (fault.strays !== true && state === 'broken') forNothing.push(say(condition));
    }
  }
  return names;
}

async function attest({ url }: Daemon, name: string): Promise<boolean> {
  const answer = await fetch(`${url}/v1/migrations/shop/attestations/${name}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ by: 'the soak', note: 'it was the soak' }),
    signal: AbortSignal.timeout(5_000),
  }).catch(() => undefined);
  return answer?.status === 201;
}
