/** What is told once a second to those who read events: which signals have changed, and how every gate is judged now. */
import type { EventStream } from './events.js';
import type { DaemonPort, SignalJson, VerdictJson, VerdictsJson } from './http/port.js';

/** Tells of signals and verdicts; it remembers what it told last, so that little has to be told again. */
export class Telling {
  private readonly signals = new Map<string, string>();
  /** By gate, whatever of its verdict does not move by itself. */
  private readonly verdicts = new Map<string, string>();

  constructor(
    private readonly port: Pick<DaemonPort, 'migrations' | 'signals' | 'gates' | 'verdict'>,
    private readonly events: Pick<EventStream, 'publish' | 'pass'>,
  ) {}

  /** Tells what there is to tell; costs nothing when nobody calls it. */
  tell(): void {
    for (const migration of this.port.migrations()) this.tellSignals(migration);
    const judged = [...new Set(this.port.gates())].flatMap((gate) => this.port.verdict(gate) ?? []);
    // Judging may have changed a gate, which is told as soon as that is done: this must come after it.
    queueMicrotask(() => this.tellVerdicts(judged));
  }

  private tellSignals(migration: string): void {
    const changed: SignalJson[] = [];
    for (const s of this.port.signals(migration) ?? []) {
      const key = `${migration}.${s.name}`;
      const text = JSON.stringify([s.state, s.value, s.reason]);
      if (this.signals.get(key) === text) continue;
      this.signals.set(key, text);
      changed.push(s);
    }
    if (changed.length > 0) this.events.publish('signal', { migration, signals: changed });
  }

  private tellVerdicts(judged: readonly VerdictJson[]): void {
    const byMigration = new Map<string | null, VerdictJson[]>();
    for (const verdict of judged) {
      const migration = migrationOf(verdict.gate);
      byMigration.set(migration, [...(byMigration.get(migration) ?? []), verdict]);
    }
    for (const [migration, verdicts] of byMigration) {
      const [first] = verdicts;
      if (first === undefined) continue;
      const data: VerdictsJson = {
        migration,
        // The oldest, should the clock have moved on between two of them.
        at: verdicts.map((v) => v.evaluated_at).reduce((a, b) => (a < b ? a : b)),
        config_hash: first.config_hash,
        gates: verdicts.map(({ gate, state, since, opens_at, conditions }) => ({
          ...{ gate, state, since, opens_at },
          conditions: conditions.map((c) => [c.state, c.value, c.held_seconds]),
        })),
        changed: verdicts.filter((v) => this.isNews(v)),
      };
      this.events.pass('verdicts', data);
    }
  }

  private isNews({ gate, state, since, config_hash, reason, conditions }: VerdictJson): boolean {
    const text = JSON.stringify([
      ...[state, since, config_hash, reason],
      // While it is broken it is last broken at this moment, again and again: that is no news.
      ...conditions.map((c) => [c.text, c.state, c.state === 'broken' ? null : c.last_broken?.at, c.reason]),
    ]);
    if (this.verdicts.get(gate) === text) return false;
    this.verdicts.set(gate, text);
    return true;
  }
}

function migrationOf(gate: string): string | null {
  const slash = gate.indexOf('/');
  return slash < 0 ? null : gate.slice(0, slash);
}
