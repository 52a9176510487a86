import type { GateState, SignalJson } from '../../daemon/http/port.js';
import type { PublishedPort } from '../../daemon/publish/cloudwatch-data.js';
import { signal } from './fake-port.js';

/** What is published of a daemon: signals and gates that a test sets. */
export class PublishedWorld implements PublishedPort {
  /** By migration and signal; null is unknown. */
  values = new Map<string, Map<string, number | null>>();
  states = new Map<string, GateState>();

  migrations(): string[] {
    return [...this.values.keys()];
  }

  signals(migration: string): SignalJson[] | undefined {
    const own = this.values.get(migration);
    return own && [...own].map(([name, value]) => signal(name, value));
  }

  gates(): string[] {
    return [...this.states.keys()];
  }

  gateState(gate: string): ReturnType<PublishedPort['gateState']> {
    const state = this.states.get(gate);
    return state && { state, opensInSeconds: null };
  }
}

/** A hundred links in fifty migrations with the longest names there can be, and three hundred gates. */
export function largeWorld(): PublishedWorld {
  const world = new PublishedWorld();
  for (let m = 0; m < 50; m += 1) {
    const name = `migration-${m}-`.padEnd(63, 'x');
    const signals = ['forward.lag', 'reverse.lag', 'forward.backlog_bytes', 'reverse.backlog_bytes', 'split_brain', 'verify.mismatched_rows']; // prettier-ignore
    world.values.set(name, new Map(signals.map((s, i) => [s, (m + i) / 7])));
    for (let g = 0; g < 6; g += 1) world.states.set(`${name}/${`gate-${g}-`.padEnd(63, 'y')}`, 'open');
  }
  return world;
}
