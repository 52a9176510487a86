import type { SideName } from '../core/signal.js';
import { NO_LINK, Recipe, unwatched, type PresetGate, type PresetLink, type PresetSide } from './preset-recipe.js';

/** What a migration has, as far as a preset depends on it. */
export interface PresetContext {
  forward: PresetLink;
  /** Null: no reverse link. */
  reverse: PresetLink | null;
  /** How the log of each side is read. */
  sides: Readonly<Record<SideName, PresetSide>>;
  /** Names of the traffic queries and of the DNS records that are watched. */
  traffic: readonly string[];
  dns: readonly string[];
  /** The data of both sides is compared. */
  verify: boolean;
}

/** The gates of `preset: runbook`, and those that it cannot offer for this migration, with the reason. */
export interface Preset {
  gates: readonly PresetGate[];
  missing: readonly { name: string; why: string }[];
}

const MINUTE_US = 60_000_000;
/** The target carries the production writes. Without it what is asked of the way back could be true before the flip. */
const FLIPPED = 'direction.reverse is 1';

/**
 * The gates of the runbook, by the signals that this version measures and this migration has. What cannot be measured
 * (thresholds of traffic, rehearsals and approvals; the data, without a `verify` section) is asked for as a fresh attestation, so that a gate is never
 * green because little is known: `lockgate attest MIGRATION NAME` by whoever has checked it by hand.
 */
export function runbookPreset(context: PresetContext): Preset {
  const { forward } = context;
  // With dual writes nothing has to run the other way.
  const reverse = forward.via === 'none' ? forward : context.reverse;
  const gates = [
    targetReady(context),
    replicated(context),
    verified(context),
    shiftReads(context),
    flipWrites(context),
    drained(context),
    ramp(context),
    ...(reverse === null ? [] : [rollbackReady(context, reverse)]),
    decommission(context),
  ];
  const missing =
    reverse === null
      ? [{ name: 'rollback-ready', why: 'without a `reverse` link nothing carries the new writes back' }]
      : [];
  return { gates: gates.map((g) => g.gate), missing };
}

function targetReady({ forward, sides }: PresetContext): Recipe {
  const gate = new Recipe('target-ready');
  gate.ask('source.reachable is 1 for 1m', 'target.reachable is 1 for 1m', 'source.writable is 1 for 1m');
  // A standby refuses writes until it is promoted, and ought to.
  if (forward.via === 'postgres-physical') gate.ask('target.writable is 0 for 1m');
  else if (forward.via === 'mysql') {
    gate.leaveOut('target.writable is 1 for 1m', 'a replica may be kept read_only until the flip, and does well to be');
  } else gate.ask('target.writable is 1 for 1m');
  const why = unwatched(sides.target);
  if (why === null) return gate.ask('target.local_writes is 0 for 10m');
  return gate
    .ask('attest.target-prepared.age < 7d')
    .leaveOut('target.local_writes is 0 for 10m', `${why}: attest target-prepared`);
}

function replicated({ forward }: PresetContext): Recipe {
  const gate = new Recipe('replicated');
  if (forward.via === 'none') gate.ask('attest.dual-writes-checked.age < 1d');
  return gate.level('forward', forward, '10s').carried('forward', forward).roomFor('forward', forward);
}

function verified({ verify }: PresetContext): Recipe {
  return new Recipe('verified').ask('gate replicated open').compared(verify, 'verified-by-hand');
}

function shiftReads({ forward, sides, traffic, dns }: PresetContext): Recipe {
  return new Recipe('shift-reads')
    .ask('gate verified open')
    .level('forward', forward, '5s')
    .noStrays('target', sides.target)
    .trafficChecked(traffic)
    .lowTtl(dns);
}

function flipWrites({ forward, reverse, sides }: PresetContext): Recipe {
  const gate = new Recipe('flip-writes')
    .ask('gate shift-reads open', 'direction.reverse is 0')
    .level('forward', forward, '2s')
    // Drained within the pause of a second that writes are stopped for.
    .unlessDms(forward, 'forward.backlog_bytes < 16MiB for 10m', 'forward.drain_eta_high < 1s for 1m')
    .ask('source.longest_transaction < 5s for 1m')
    .fenceable('source', sides.source);
  sequences(gate, forward);
  if (reverse === null) return gate.ask('attest.flip-prepared.age < 1h');
  gate.ask('attest.rollback-rehearsed.age < 30d');
  const why = notBeforeFlip(forward, reverse);
  if (why !== null) {
    const rehearsed = `${why}; that the way back works is attested: rollback-rehearsed`;
    return gate.leaveOut('reverse.running is 1 for 1m', rehearsed).leaveOut('reverse.lag < 5s for 1m', rehearsed);
  }
  if (reverse.via === 'mysql') {
    gate
      .sound('reverse', reverse, '1m')
      .leaveOut(
        'reverse.lag < 5s for 1m',
        'while the target is read_only, as it should be before the flip, no heartbeat is written there',
      );
  } else gate.level('reverse', reverse, '5s', '1m');
  return gate.carried('reverse', reverse);
}

/** Why the way back does not run before the flip; null when it can, and then it is proven before it is needed. */
function notBeforeFlip(forward: PresetLink, reverse: PresetLink): string | null {
  if (reverse.startsWithFlip) return '`starts: with-flip` says that the way back does not run before the flip';
  if ([forward.via, reverse.via].includes('postgres-physical')) {
    return 'a standby sends nothing before it is promoted, so that the way back starts with the flip';
  }
  if ([forward.via, reverse.via].includes('dms')) {
    return 'what DMS writes would be sent round for ever by a way back that runs at the same time';
  }
  return null;
}

/** Sequences and counters of the side that is passive are in step; there is nothing to set where they come with the log. */
function sequences(gate: Recipe, forward: PresetLink): void {
  if (forward.via === 'postgres-physical') {
    gate.leaveOut('sequences.behind is 0', 'a standby has its sequences from the WAL: there is nothing to set');
  } else if (forward.via === 'none') {
    gate.leaveOut(
      'sequences.behind is 0',
      `${NO_LINK}, and sequences are compared along a link only: set them before the flip`,
    );
  } else gate.unlessDms(forward, 'sequences.behind is 0');
}

function drained({ forward, reverse, sides }: PresetContext): Recipe {
  const gate = new Recipe('drained');
  const why = unwatched(sides.source);
  if (why === null) {
    gate
      .ask('fence.drained is 1')
      .leaveOut(
        'source.local_writes is 0 for 5s',
        'the fence sees every write after it was placed; the rate looks ten seconds back, which is longer than the pause',
      );
    // As daemon/fences.ts asks for it itself; here it shows before the fence is placed.
    if (forward.via === 'dms') gate.ask('attest.dms-applies-in-order.age < 1d');
  } else {
    gate
      .ask('attest.drained-by-hand.age < 5m', 'source.longest_transaction < 1s')
      .leaveOut(
        'fence.drained is 1',
        `${why}, so that no fence can be placed: compare the positions, attest drained-by-hand, and promote with force`,
      );
  }
  gate.leaveOut(
    'forward.lag < 1s',
    'a side that was made read-only takes no heartbeat, and lag is unknown then; small lag would not prove that writes have stopped',
  );
  if (forward.via === 'dms') {
    return gate
      .ask('active.running is 1')
      .unlessDms(forward, 'forward.continuity is 1', 'forward.tables_uncovered is 0', 'sequences.behind is 0');
  }
  if (forward.via === 'none') {
    return gate.unlessDms(forward, 'active.continuity is 1', 'active.tables_uncovered is 0', 'sequences.behind is 0');
  }
  // Positions pass over what was skipped and what is not carried. Before a rollback it is the other link that counts.
  const link = reverse === null || reverse.via === 'dms' ? 'forward' : 'active';
  gate.ask(`${link}.continuity is 1`, `${link}.tables_uncovered is 0`);
  if (forward.via !== 'mysql') gate.ask(`${link}.tables_syncing is 0`);
  sequences(gate, forward);
  return gate;
}

function ramp({ reverse, sides, traffic }: PresetContext): Recipe {
  const gate = new Recipe('ramp').ask(FLIPPED, 'target.reachable is 1 for 5m', 'target.writable is 1 for 5m');
  if (reverse !== null) gate.level('reverse', reverse, '5s', '5m').carried('reverse', reverse);
  return gate.noStrays('source', sides.source).trafficChecked(traffic);
}

function rollbackReady({ forward, sides, verify }: PresetContext, reverse: PresetLink): Recipe {
  const gate = new Recipe('rollback-ready').ask(FLIPPED, 'source.reachable is 1 for 1m');
  oldSideTakesWrites(gate, reverse);
  gate
    // Held briefly: the way back should count as soon as it works.
    .level('reverse', reverse, '2s', '1m')
    .carried('reverse', reverse)
    .roomFor('reverse', reverse)
    // Of the five minutes that a rollback may take, one is for the drain, and what is open must have ended by then.
    .unlessDms(reverse, 'reverse.drain_eta_high < 1m')
    .ask('target.longest_transaction < 1m')
    .noStrays('source', sides.source)
    .fenceable('target', sides.target);
  // Nothing sets the sequences of the side that a rollback would write to again.
  if (reverse.via === 'postgres-physical' || reverse.via === 'none') sequences(gate, reverse);
  else if (reverse.via === 'dms' || forward.via === 'dms') {
    gate.leaveOut('sequences.behind is 0', 'counters are not compared over a link by DMS: look at them, and attest rollback-access'); // prettier-ignore
  } else gate.ask('sequences.behind is 0');
  return gate
    .ask('attest.rollback-access.age < 1d')
    .compared(verify, 'rollback-verified')
    .ask('attest.rollback-rehearsed.age < 30d')
    .leaveOut(
      'the application may log in and write on the source again',
      'replication proves its own rights only: look at grants, network and connection strings, and attest rollback-access',
    );
}

function oldSideTakesWrites(gate: Recipe, { via }: PresetLink): void {
  const condition = 'source.writable is 1 for 1m';
  if (via === 'mysql') {
    gate.leaveOut(
      condition,
      'an old side that is read_only is as it should be, and replication writes to it all the same; the rollback sets it off',
    );
  } else if (via === 'postgres-physical') {
    gate.leaveOut(condition, 'the old side is a standby by then, and takes writes once the rollback promotes it');
  } else gate.ask(condition);
}

function decommission({ sides }: PresetContext): Recipe {
  const gate = new Recipe('decommission', 5 * MINUTE_US)
    .ask(FLIPPED, 'target.reachable is 1 for 1h', 'source.connections is 0 for 7d')
    .noStrays('source', sides.source)
    .ask('attest.backup-checked.age < 1d', 'attest.decommission-approved.age < 1d');
  // That the application has stopped writing here as well is the end of dual writes, too.
  const why = unwatched({ ...sides.source, dual: false });
  if (why === null) return gate.ask('source.last_local_write_age > 7d');
  return gate
    .ask('attest.soak-complete.age < 1d')
    .leaveOut('source.last_local_write_age > 7d', `${why}: attest soak-complete`);
}
