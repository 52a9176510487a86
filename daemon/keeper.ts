/** Keeps what the engine must not lose across a restart: long holds, the chains' memory, latched stray writes, attestations. */
import type { Log } from '../collectors/collector.js';
import type { Config } from './core/config.js';
import { breakChain, newChain } from './core/continuity.js';
import { EMPTY_STRAYS, type StrayMemory } from './core/stray.js';
import { US_PER_MS, type Clock, type Us } from './core/clock.js';
import { messageOf } from './core/errors.js';
import { known, linkId, type Reading } from './core/signal.js';
import type { Engine } from './engine.js';
import type { EngineMemories } from './engine-output.js';
import type { Attestation, Store } from './store/store.js';

const MEMORIES = 'engine-memories';
const NOTHING: EngineMemories = { chains: {}, strays: {} };

/** What was remembered when the daemon last ran; empty for a new store. */
export function keptMemories(store: Store): EngineMemories {
  const text = store.get(MEMORIES);
  return text === null ? NOTHING : { ...NOTHING, ...(JSON.parse(text) as Partial<EngineMemories>) };
}

/**
 * What a daemon remembers whose store was corrupt: that breaks of chains and stray writes may have been latched in it. So
 * neither reads as if there had been none, until the data was compared or somebody has attested it. `wall`: when that was found.
 */
export function forgottenMemories(config: Pick<Config, 'migrations'>, wall: number): EngineMemories {
  const what = 'the store was corrupt, and with it was lost whether this chain had broken before';
  const reason = 'the store was corrupt, and what was latched in it is lost';
  const lost: StrayMemory = { ...EMPTY_STRAYS, gaps: [{ from: wall, to: wall, reason }] };
  const migrations = [...config.migrations.values()];
  const chains = migrations.flatMap((m) =>
    Object.values(m.links).map(
      ({ name }) => [linkId(m.name, name), breakChain(newChain(wall), [what], wall).memory] as const,
    ),
  );
  const strays = migrations.flatMap((m) =>
    (['source', 'target'] as const).map((side) => [`${m.name}.${side}`, lost] as const),
  );
  return { chains: Object.fromEntries(chains), strays: Object.fromEntries(strays) };
}

/** Carries the engine's memory to the store and back. */
export class Keeper {
  private saved = '';

  constructor(
    private readonly store: Store,
    private readonly engine: Engine,
    private readonly clock: Clock,
    private readonly log: Log,
  ) {}

  /** Takes up long holds and attestations from the store; instants of wall clock become instants of the monotonic clock. */
  restore(migrations: Iterable<string>): void {
    this.readAttestations(migrations);
    this.engine.restoreHolds(
      this.store.loadHolds().map((h) => ({
        gate: h.gate,
        condition: h.condition,
        trueFrom: this.monotonic(h.heldSince),
        observedUntil: this.monotonic(h.observedUntil),
      })),
    );
  }

  /** Sets the readings of all attestations; called again when the clocks have jumped, because their ages follow the wall clock. */
  readAttestations(migrations: Iterable<string>): void {
    for (const migration of migrations) for (const a of this.store.attestations(migration)) this.attested(a);
  }

  /** Sets the reading of an attestation, and does what its name stands for when it is a new one. */
  attested(a: Attestation): void {
    const reason = `attested by ${a.by} at ${new Date(a.at).toISOString()}${a.note === '' ? '' : `: ${a.note}`}`;
    const reading: Reading = {
      ...known(0, this.clock.monotonicNow(), Infinity, reason),
      growsFrom: Math.min(this.monotonic(a.at), this.clock.monotonicNow()),
    };
    this.engine.setReading(a.migration, `attest.${a.name}.age`, reading);
  }

  /** Writes what has changed; a store that cannot be written is tried again at the next call. */
  save(): void {
    try {
      this.store.saveHolds(
        this.engine.longHolds().map((h) => ({
          gate: h.gate,
          condition: h.condition,
          heldSince: this.wall(h.trueFrom),
          observedUntil: this.wall(h.observedUntil),
        })),
      );
      const text = JSON.stringify(this.engine.memories);
      if (text === this.saved) return;
      this.store.set(MEMORIES, text);
      this.saved = text;
    } catch (error) {
      this.log.error({}, `what must survive a restart could not be kept: ${messageOf(error)}`);
    }
  }

  private monotonic(wall: number): Us {
    return Math.round(this.clock.monotonicNow() - (this.clock.wallNow() - wall) * US_PER_MS);
  }

  private wall(at: Us): number {
    return this.clock.wallNow() - (this.clock.monotonicNow() - at) / US_PER_MS;
  }
}
