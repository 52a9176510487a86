/** Signals that stand for those of one of the links, by the present direction: `active.`, `standby.`, `dms.`. */
import type { Us } from './core/clock.js';
import { isDmsSignal, MIGRATION_SIGNALS, unknown, type LinkName, type Reading } from './core/signal.js';
import { withinDirection, type MigrationState } from './direction-state.js';

/** Whether a signal stands for that of one of the links, by the present direction. */
export function isAlias(signal: string): boolean {
  if (isDmsSignal(signal)) return true;
  return /^(active|standby)\./.test(signal) && !Object.hasOwn(MIGRATION_SIGNALS, signal);
}

/** What new readings of the links say under the names that are used of those that stand for them. */
export function aliased(
  m: MigrationState,
  used: ReadonlySet<string> | undefined,
  readings: ReadonlyMap<string, Reading>,
): [string, Reading][] {
  if (used === undefined || m.direction.direction === 'unknown') return [];
  const found: [string, Reading][] = [];
  for (const [signal, reading] of readings) {
    const [head = '', ...rest] = signal.split('.');
    if (head !== 'forward' && head !== 'reverse') continue;
    const name = rest.join('.');
    const isActive = head === m.direction.direction;
    if (isDmsSignal(name) && !isActive) continue;
    const alias = isDmsSignal(name) ? name : `${isActive ? 'active' : 'standby'}.${name}`;
    if (used.has(alias)) found.push([alias, withinDirection(m, reading)]);
  }
  return found;
}

/** The reading behind such a name, and no fresher than the direction; unknown while the direction is. `read` gives readings of the links. */
export function aliasReading(m: MigrationState, signal: string, read: (signal: string) => Reading, now: Us): Reading {
  if (m.direction.direction === 'unknown') return unknown(`the direction is unknown: ${m.direction.reason}`, now);
  const [head = '', ...rest] = signal.split('.');
  const other: LinkName = m.direction.direction === 'forward' ? 'reverse' : 'forward';
  const ofDms = isDmsSignal(signal);
  const link = head === 'active' || ofDms ? m.direction.direction : other;
  const via = m.config.links[link]?.via;
  if (via === undefined) return unknown(`there is no ${link} link in the configuration`, now);
  if (ofDms && via !== 'dms') return unknown(`the ${link} link, which is the active one, does not come by DMS`, now);
  return withinDirection(m, read(ofDms ? `${link}.${signal}` : `${link}.${rest.join('.')}`));
}
