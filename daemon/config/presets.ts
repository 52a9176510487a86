import type { DatabaseConfig } from '../core/config.js';
import { BY_SESSIONS, Recipe, type PresetGate, type PresetLink } from './preset-recipe.js';

/** What a migration has, as far as a preset depends on it. */
export interface PresetContext {
  forward: PresetLink;
  /** Null: no reverse link. */
  reverse: PresetLink | null;
  /** How WAL is read on each side. */
  read: Readonly<Record<'source' | 'target', DatabaseConfig['read']>>;
}

/** The gates of `preset: runbook`, and those that it cannot offer for this migration, with the reason. */
export interface Preset {
  gates: readonly PresetGate[];
  missing: readonly { name: string; why: string }[];
}

const MINUTE_US = 60_000_000;
const NO_VERIFICATION = 'verification is not available in this version';

/**
 * The gates of the runbook, by the signals that this version measures and this migration has. What cannot be measured
 * (verification, traffic, DNS, fences, rehearsals and approvals) is asked for as a fresh attestation, so that a gate is
 * never green because little is known: `lockgate attest MIGRATION NAME` by whoever has checked it by hand.
 */
export function runbookPreset(context: PresetContext): Preset {
  const { reverse } = context;
  const gates = [
    targetReady(context),
    replicated(context),
    verified(),
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

function targetReady({ forward, read }: PresetContext): Recipe {
  const gate = new Recipe('target-ready');
  gate.ask('source.reachable is 1 for 1m', 'target.reachable is 1 for 1m', 'source.writable is 1 for 1m');
  // A standby refuses writes until it is promoted, and ought to.
  if (forward.via === 'postgres-physical') gate.ask('target.writable is 0 for 1m');
  else if (forward.via === 'mysql') {
    gate.leaveOut('target.writable is 1 for 1m', 'a replica may be kept read_only until the flip, and does well to be');
  } else gate.ask('target.writable is 1 for 1m');
  if (forward.via === 'dms') {
    return gate.ask('attest.target-prepared.age < 7d').leaveOut('target.local_writes is 0 for 10m', BY_SESSIONS);
  }
  if (read.target !== 'off') return gate.ask('target.local_writes is 0 for 10m');
  return gate
    .ask('attest.target-prepared.age < 7d')
    .leaveOut('target.local_writes is 0 for 10m', 'with `read: off` nobody watches them: attest target-prepared');
}

function replicated({ forward }: PresetContext): Recipe {
  return new Recipe('replicated')
    .level('forward', forward, '10s')
    .carried('forward', forward)
    .roomFor('forward', forward);
}

function verified(): Recipe {
  const gate = new Recipe('verified').ask('gate replicated open', 'attest.verified-by-hand.age < 1d');
  for (const condition of ['verify.mismatched_rows is 0', 'verify.coverage >= 100%', 'verify.age < 1d']) {
    gate.leaveOut(condition, `${NO_VERIFICATION}: attest verified-by-hand`);
  }
  return gate;
}

function shiftReads({ forward, read }: PresetContext): Recipe {
  return new Recipe('shift-reads')
    .ask('gate verified open')
    .level('forward', forward, '5s')
    .noStrays(read.target, 'target', forward)
    .trafficChecked()
    .leaveOut('dns.NAME.ttl <= 60s', 'DNS is not watched in this version: attest traffic-checked');
}

function flipWrites({ forward, reverse }: PresetContext): Recipe {
  const gate = new Recipe('flip-writes')
    .ask('gate shift-reads open')
    .level('forward', forward, '2s')
    // Drained within the pause of a second that writes are stopped for.
    .unlessDms(forward, 'forward.backlog_bytes < 16MiB for 10m', 'forward.drain_eta_high < 1s for 1m')
    .ask('source.longest_transaction < 5s for 1m');
  if (forward.via === 'postgres-physical') {
    gate.leaveOut('sequences.behind is 0', 'a standby has its sequences from the WAL: there is nothing to set');
  } else gate.unlessDms(forward, 'sequences.behind is 0');
  if (reverse === null) return gate.ask('attest.flip-prepared.age < 1h');
  return gate
    .ask('attest.rollback-rehearsed.age < 30d')
    .leaveOut(
      'reverse.running is 1',
      'the way back starts with the flip; that it works is attested: rollback-rehearsed',
    );
}

function drained({ forward, reverse, read }: PresetContext): Recipe {
  const gate = new Recipe('drained')
    .ask('forward.lag < 1s for 5s')
    .unlessDms(
      forward,
      ...['forward.lag_by_position < 1s for 5s', 'forward.agreement is 1 for 5s', 'forward.continuity is 1'],
    )
    // What is open may still commit.
    .ask('source.longest_transaction < 1s')
    .ask('attest.drained-by-hand.age < 5m')
    .leaveOut(
      'fence.drained is 1',
      'there are no fences in this version, and small lag does not prove that writes have stopped: compare the positions and attest drained-by-hand',
    );
  if (reverse?.via === 'dms') return gate.leaveOut('source.local_writes is 0 for 5s', BY_SESSIONS);
  if (read.source === 'on') return gate.ask('source.local_writes is 0 for 5s');
  return gate.leaveOut(
    'source.local_writes is 0 for 5s',
    'on the side that carries production writes they are watched only with `read: on`',
  );
}

function ramp({ reverse, read }: PresetContext): Recipe {
  const gate = new Recipe('ramp').ask('target.reachable is 1 for 10m', 'target.writable is 1 for 10m');
  if (reverse !== null) gate.level('reverse', reverse, '5s').carried('reverse', reverse);
  return gate
    .noStrays(read.source, 'source', reverse)
    .trafficChecked()
    .leaveOut('split_brain is 0', 'not measured in this version: `standby.stray_writes` sees one half of it');
}

function rollbackReady({ read }: PresetContext, reverse: PresetLink): Recipe {
  const gate = new Recipe('rollback-ready')
    .ask('source.reachable is 1 for 1m')
    .level('reverse', reverse, '2s')
    .carried('reverse', reverse)
    .roomFor('reverse', reverse)
    // Of the five minutes that a rollback may take, one is for the drain.
    .unlessDms(reverse, 'reverse.drain_eta_high < 1m')
    .noStrays(read.source, 'source', reverse)
    .ask('attest.rollback-verified.age < 1h', 'attest.rollback-rehearsed.age < 30d')
    .leaveOut('verify.mismatched_rows is 0', `${NO_VERIFICATION}: attest rollback-verified`);
  // Nothing sets the sequences of the side that a rollback would write to again.
  return reverse.via === 'postgres-physical' || reverse.via === 'dms' ? gate : gate.ask('sequences.behind is 0');
}

function decommission({ reverse, read }: PresetContext): Recipe {
  const gate = new Recipe('decommission', 5 * MINUTE_US)
    .ask('target.reachable is 1 for 1h', 'source.connections is 0 for 7d')
    .ask('attest.backup-checked.age < 1d', 'attest.decommission-approved.age < 1d');
  const bySessions = reverse?.via === 'dms';
  if (read.source !== 'off' && !bySessions) return gate.ask('source.last_local_write_age > 7d');
  if (bySessions) {
    return gate
      .ask('attest.soak-complete.age < 1d')
      .leaveOut('source.last_local_write_age > 7d', `${BY_SESSIONS}: attest soak-complete`);
  }
  return gate
    .ask('attest.soak-complete.age < 1d')
    .leaveOut('source.last_local_write_age > 7d', 'with `read: off` nobody watches local writes: attest soak-complete');
}
