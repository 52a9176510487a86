import type { SignalCondition } from '../core/condition.js';
import type { AlertsConfig, LinkConfig, MigrationConfig } from '../core/config.js';
import type { LinkName } from '../core/signal.js';
import { viasOf, whyNotMeasured, type Vias } from './available.js';
import type { PlacedGate } from './gates.js';
import type { Scope } from './scope.js';

/** Signals that a kind of link never has a value of. */
const NEVER: Readonly<Partial<Record<LinkConfig['via'], readonly string[]>>> = { mysql: ['tables_syncing'] };

/** Warns of gates that are allowed but prove less than they seem to, or can never open. */
export function warnOfGates(
  gates: ReadonlyMap<string, PlacedGate>,
  viasIn: (migration: string) => Vias,
  scope: Scope,
): void {
  for (const [id, { gate, origin }] of gates) {
    // Nobody wrote a preset's conditions, so nobody needs to be told of them.
    if (origin.preset) continue;
    const own = gate.require.filter((c) => c.kind === 'signal');
    const all = signalsOf(id, gates, new Set());
    for (const condition of own) {
      const vias = viasIn(condition.migration);
      const link = /^(.*)\.lag$/.exec(condition.signal)?.[1];
      const seconded = all.some(
        (c) =>
          c.migration === condition.migration &&
          (c.signal === `${link ?? ''}.lag_by_position` || c.signal === `${link ?? ''}.agreement`),
      );
      const canBe = whyNotMeasured(`${link ?? ''}.agreement`, vias) === null;
      if (link !== undefined && canBe && !seconded) {
        scope.warn(
          `gate ${id}: \`${link}.lag\` alone proves that the heartbeat's row arrives, not that the data does: it stays ` +
            `small when an application table leaves the replication or a second flow stops (require ` +
            `\`${link}.lag_by_position\` or \`${link}.agreement is 1\` as well)`,
        );
      }
      if (isContinuous(condition) && (condition.op === '==' || condition.op === '!=')) {
        scope.warn(
          `gate ${id}: \`${condition.text}\` compares a measured quantity with one exact value, which it hardly ever has ` +
            '(use `<` or `>`)',
        );
      }
      if (condition.threshold === 0 && condition.op === '>=' && condition.signal.split('.')[1] !== 'clock_skew') {
        scope.warn(`gate ${id}: \`${condition.text}\` is true of every value, so it asks nothing`);
      }
      const [head = '', signal = ''] = condition.signal.split('.');
      // The two that follow the direction may stand for either link.
      const via = vias[(head === 'active' ? 'forward' : head === 'standby' ? 'reverse' : head) as LinkName];
      if (via !== undefined && NEVER[via]?.includes(signal) === true) {
        scope.warn(
          `gate ${id}: \`${condition.signal}\` is never known over \`via: ${via}\`, so \`${condition.text}\` stays unknown ` +
            'and the gate cannot open (compare the data, and ask for an attestation of it)',
        );
      }
      const why = whyNotMeasured(condition.signal, vias);
      if (why !== null) {
        scope.warn(
          `gate ${id}: \`${condition.signal}\` is not measured in this version (${why}), so \`${condition.text}\` stays ` +
            'unknown and the gate cannot open',
        );
      }
    }
  }
}

/** Warns of alerts that nobody is told of, and of rules that can never fire. */
export function warnOfRules(
  alerts: AlertsConfig | null,
  migrations: ReadonlyMap<string, MigrationConfig | null>,
  scope: Scope,
): void {
  if (alerts === null) return;
  if (alerts.pagerduty === null && alerts.webhook === null) {
    scope.warn('alerts: nobody is told of them; they are only judged and shown (add `pagerduty` or `webhook`)');
  }
  for (const { name, migration, when } of alerts.rules) {
    const config = migrations.get(migration) ?? null;
    if (when.kind !== 'signal' || config === null) continue;
    const why = whyNotMeasured(when.signal, viasOf(config));
    if (why === null) continue;
    scope.warn(
      `alerts: the rule ${name} can never fire for ${migration}: \`${when.signal}\` is not measured in this version (${why})`,
    );
  }
}

/** The signal conditions of a gate and of all gates that it requires to be open. */
function signalsOf(id: string, gates: ReadonlyMap<string, PlacedGate>, seen: Set<string>): SignalCondition[] {
  if (seen.has(id)) return [];
  seen.add(id);
  return (gates.get(id)?.gate.require ?? []).flatMap((c) =>
    c.kind === 'signal' ? [c] : signalsOf(c.gate, gates, seen),
  );
}

function isContinuous(condition: SignalCondition): boolean {
  const { unit, signal } = condition;
  return unit === 's' || unit === 'B' || unit === 'count/s' || (unit === 'ratio' && signal.startsWith('traffic.'));
}
