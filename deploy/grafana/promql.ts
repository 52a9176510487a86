/** The PromQL of the dashboards: of several daemons the worst, and what is not known is told as not known. */

/** Variables of the dashboards: which daemons. */
const DAEMONS = 'job=~"$job",instance=~"$instance"';
const MIGRATION = 'migration=~"$migration"';
/**
 * For so long a series that has ended is shown as unknown instead of not at all. A migration whose last daemon has died
 * must not disappear from the wall.
 */
const REMEMBERED = '1h';
/** As the rules have it: what was evaluated longer ago is old, whatever it says. */
const OLD_AFTER_S = 60;

/** Stands for "unknown" where a panel shows one number; no signal that is shown so can be negative. */
export const UNKNOWN = -1;
/** States of a gate as numbers, so that of several daemons the greatest is the worst. */
export const GATE = { open: 1, closed: 2, unknown: 3 } as const;
/** Directions as numbers; `disagree`: the daemons do not say the same. */
export const DIRECTION = { forward: 1, reverse: 2, unknown: 3, disagree: 4 } as const;
/** States of a fence as numbers, the worst last. */
export const FENCE = { closed: 1, cancelled: 2, drained: 3, placed: 4, expired: 5, unknown: 6, violated: 7 } as const;

/** A selector of a metric of a daemon as such. */
export function ofDaemon(metric: string, labels = ''): string {
  return `${metric}{${[DAEMONS, labels].filter((l) => l !== '').join(',')}}`;
}

/** A selector of a metric of the migration that is looked at. */
export function ofMigration(metric: string, labels = ''): string {
  return ofDaemon(metric, [MIGRATION, labels].filter((l) => l !== '').join(','));
}

/** A selector of the values of signals, by a regular expression over their names or by one name. */
export function signals(names: string, metric = 'lockgate_signal'): string {
  return ofMigration(metric, `signal${/^[a-z_.]+$/.test(names) ? '=' : '=~'}"${names}"`);
}

/** Without what a daemon says that has judged nothing for a minute: a cache in between, a Prometheus that is fed no more. */
export function fresh(vector: string): string {
  const old = `(time() - ${ofDaemon('lockgate_last_evaluation_timestamp_seconds')} > ${OLD_AFTER_S})`;
  return `(${vector} unless on (job, instance) ${old})`;
}

/** The states of gates as numbers of `GATE`, the worst of all daemons; `which` narrows the gates. */
export function gateStates(which = MIGRATION): string {
  const of = (state: keyof typeof GATE): string =>
    `${GATE[state]} * ${fresh(`${ofDaemon('lockgate_gate_state', `${which},state="${state}"`)} == 1`)}`;
  const worst = `max by (migration, gate) (\n  ${of('open')}\n  or ${of('closed')}\n  or ${of('unknown')}\n)`;
  const gone = `max by (migration, gate) (last_over_time(${ofDaemon('lockgate_gate_open', which)}[${REMEMBERED}]))`;
  return `${worst}\nor ${GATE.unknown} + 0 * ${gone}`;
}

/** How many gates are in a state, 0 included; nothing where there is no gate. */
export function gatesIn(state: keyof typeof GATE): string {
  const states = gateStates();
  return `sum by (migration) ((${states}) == bool ${GATE[state]})`;
}

/** The direction as a number of `DIRECTION`. */
export function direction(): string {
  const told = fresh(`${ofMigration('lockgate_direction')} == 1`);
  const several = `count by (migration) (count by (migration, direction) (${told})) > 1`;
  const of = (name: 'forward' | 'reverse' | 'unknown'): string =>
    `${DIRECTION[name]} * ${fresh(`${ofMigration('lockgate_direction', `direction="${name}"`)} == 1`)}`;
  return [
    `${DIRECTION.disagree} + 0 * (${several})`,
    `or max by (migration) (\n  ${of('forward')}\n  or ${of('reverse')}\n  or ${of('unknown')}\n)`,
    `or ${DIRECTION.unknown} + 0 * ${gone(ofMigration('lockgate_direction'))}`,
  ].join('\n');
}

/**
 * One number a migration: the worst that a daemon says of a signal, or `UNKNOWN` as soon as one of those that watch it
 * cannot tell, or as nobody watches it any more.
 */
export function worstOrUnknown(signal: string, worst: 'max' | 'min' = 'max'): string {
  const blind = `${signals(signal, 'lockgate_signal_known')} == 0`;
  return [
    `(${worst} by (migration) (${fresh(signals(signal))}) unless on (migration) (${blind}))`,
    `or ${UNKNOWN} + 0 * ${gone(signals(signal, 'lockgate_signal_known'))}`,
  ].join('\n');
}

/** The worst that the daemons say of signals, by their names; a gap where none knows. */
export function worstSignals(names: string, worst: 'max' | 'min' = 'max'): string {
  return `${worst} by (migration, signal) (${fresh(signals(names))})`;
}

/** 1 where a signal is not known to every daemon that watches it, or nobody watches any more; nothing where it is known. */
export function unknownSignals(names: string): string {
  const known = signals(names, 'lockgate_signal_known');
  const blind = `max by (migration, signal) (${known} == bool 0) == 1`;
  const unwatched = `(1 + 0 * max by (migration, signal) (last_over_time(${known}[${REMEMBERED}])))`;
  return `(${blind})\nor (${unwatched} unless max by (migration, signal) (${fresh(known)}))`;
}

/** The state of the newest fence as a number of `FENCE`; nothing where there is none. */
export function fence(): string {
  const states = Object.entries(FENCE).map(
    ([state, number]) => `${number} * ${fresh(`${ofMigration('lockgate_fence_state', `state="${state}"`)} == 1`)}`,
  );
  return `max by (migration) (\n  ${states.join('\n  or ')}\n)\nor ${FENCE.unknown} + 0 * ${gone(ofMigration('lockgate_fence_state'))}`;
}

/** How many alerts fire by the rules of Prometheus; 0 only while somebody watches the migration. */
export function alertsFiring(): string {
  const firing = `count by (migration) (ALERTS{alertname=~"Lockgate.+",alertname!="LockgateMaintenance",alertstate="firing",${MIGRATION}})`;
  return `${firing}\nor 0 * max by (migration) (${fresh(ofMigration('lockgate_direction'))})\nor ${UNKNOWN} + 0 * ${gone(ofMigration('lockgate_direction'))}`;
}

/** One element for each migration that was there within the last hour. */
function gone(selector: string): string {
  return `max by (migration) (last_over_time(${selector}[${REMEMBERED}]))`;
}
