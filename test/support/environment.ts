/** What the scenarios about a pair's surroundings share. */
import { expect } from 'vitest';
import type { SignalJson } from '../../daemon/http/port.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { Daemon } from './lockgate.js';
import { runFault, type Fault, type Scenario } from './scenario.js';

/** Replication stands still without any process ending: apply waits for a lock. */
export const standstill: Fault = {
  name: 'replication stands still',
  class: 'apply',
  expect: 'breaks',
  state: 'closed',
  async make({ pair }) {
    const release = await pair.lockTable('public.orders');
    await pair.placeOrder();
    return release;
  },
};

/** Asserts that neither gate leaves `open` for so long, while `during` (if there is one) runs. */
export async function healthy(
  s: Scenario,
  lastsMs: number,
  during: () => Promise<(() => Promise<void>) | undefined> = () => Promise.resolve(undefined),
): Promise<void> {
  await runFault(s, { name: 'none', class: 'load', expect: 'healthy', lastsMs, make: during });
}

/** Waits until a signal is as wanted and returns it; the error says how it was last. */
export async function signalOf(
  daemon: Daemon,
  name: string,
  fits: (s: SignalJson) => boolean,
  timeoutMs = 10_000,
): Promise<SignalJson> {
  let last: SignalJson | undefined;
  return waitFor(`${name} to be as wanted`, timeoutMs, async () => {
    last = (await daemon.signals()).get(name);
    return last !== undefined && fits(last) ? last : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}; it is ${JSON.stringify(last)}`, { cause: error });
  });
}

/**
 * Attests what the observer has done (its table was taken up without a copy), so that `continuity` is 1; it is latched,
 * so that it shows at the end whether anything has broken it since.
 */
export async function acceptObserver(s: Scenario): Promise<void> {
  // What is seen only afterwards has not been accepted.
  await signalOf(s.daemon, 'forward.continuity', (x) => x.value === 0);
  const args = [
    'attest',
    'shop',
    'continuity-accepted',
    '--by',
    'tester',
    '--note',
    'the table is the one of the observer',
  ];
  const result = await s.lockgate.run(args);
  expect(result.code, result.stdout + result.stderr).toBe(0);
  await signalOf(s.daemon, 'forward.continuity', (x) => x.value === 1);
}
