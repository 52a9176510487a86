import type { LinkConfig, OmittedCondition } from '../core/config.js';

/** A gate as a preset writes it. */
export interface PresetGate {
  name: string;
  require: readonly string[];
  omitted: readonly OmittedCondition[];
}

/** What a migration has, as far as a preset depends on it. */
export interface PresetContext {
  forward: LinkConfig['via'];
  /** Null: no reverse link. */
  reverse: LinkConfig['via'] | null;
}

/** The gates of `preset: runbook`, and those that it cannot offer for this migration, with the reason. */
export interface Preset {
  gates: readonly PresetGate[];
  missing: readonly { name: string; why: string }[];
}

const omit = (condition: string, why: string): OmittedCondition => ({ condition, why });
const NOT_MEASURED = 'not measured in this version';

/** A link is level: small by both measures, which agree, and with nothing wrong in the machinery. */
function level(link: 'forward' | 'reverse', via: LinkConfig['via'], limit: string): string[] {
  const conditions = [
    `${link}.running is 1 for 10m`,
    `${link}.lag < ${limit} for 10m`,
    `${link}.lag_by_position < ${limit} for 10m`,
    `${link}.agreement is 1 for 10m`,
  ];
  // A standby replays bytes: it has no apply errors to count, only stops, and then `running` is 0.
  if (via !== 'postgres-physical') conditions.push(`${link}.errors is 0 for 10m`);
  return conditions;
}

function unprovenChain(link: 'forward' | 'reverse'): OmittedCondition {
  return omit(`${link}.continuity is 1`, `${NOT_MEASURED}: make sure that no slot or subscription was made anew`);
}

/**
 * The gates of the runbook with the conditions that this version can judge. Where most of what makes a step safe cannot
 * be measured yet, the gate asks for a fresh attestation instead, so that a gate is never green because little is known:
 * `lockgate attest MIGRATION NAME` by whoever checked the omitted conditions by hand.
 */
export function runbookPreset(context: PresetContext): Preset {
  const { forward, reverse } = context;
  const physical = forward === 'postgres-physical';
  const gates: PresetGate[] = [
    {
      name: 'target-ready',
      require: [
        'source.reachable is 1 for 1m',
        'target.reachable is 1 for 1m',
        'source.writable is 1 for 1m',
        // A standby refuses writes until it is promoted, and ought to.
        physical ? 'target.writable is 0 for 1m' : 'target.writable is 1 for 1m',
        'attest.target-prepared.age < 7d',
      ],
      omitted: [
        omit(
          'target.local_writes == 0 for 10m',
          `${NOT_MEASURED}: attest target-prepared when only replication writes`,
        ),
      ],
    },
    {
      name: 'replicated',
      require: [...level('forward', forward, '10s'), 'attest.tables-complete.age < 1d'],
      omitted: [
        omit('forward.tables_uncovered == 0', `${NOT_MEASURED}: attest tables-complete when every table is carried`),
        omit('forward.tables_syncing == 0', `${NOT_MEASURED}: attest tables-complete when every table is copied`),
        omit('forward.runway > 1d', `${NOT_MEASURED}: watch the space that the slot keeps back on the source`),
        unprovenChain('forward'),
      ],
    },
    {
      name: 'verified',
      require: ['gate replicated open', 'attest.verified-by-hand.age < 1d'],
      omitted: [
        omit('verify.mismatched_rows == 0', 'verification is not available in this version: attest verified-by-hand'),
        omit('verify.coverage >= 100%', 'verification is not available in this version: attest verified-by-hand'),
        omit('verify.age < 1d', 'verification is not available in this version: attest verified-by-hand'),
      ],
    },
    {
      name: 'shift-reads',
      require: ['gate verified open', ...level('forward', forward, '5s'), 'attest.traffic-checked.age < 1h'],
      omitted: [
        omit('dns.NAME.ttl <= 60s', 'DNS is not watched in this version: attest traffic-checked'),
        omit('traffic.NAME < … for 10m', 'traffic is not watched in this version: attest traffic-checked at each step'),
      ],
    },
    {
      name: 'flip-writes',
      require: [
        'gate shift-reads open',
        ...level('forward', forward, '2s'),
        'forward.backlog_bytes < 16MiB for 10m',
        'attest.flip-prepared.age < 1h',
      ],
      omitted: [
        omit('forward.drain_eta_high < 1s', `${NOT_MEASURED}: attest flip-prepared when the pause is long enough`),
        omit('sequences.behind == 0', `${NOT_MEASURED}: attest flip-prepared when the sequences are set`),
        omit('source.longest_transaction < 5s', `${NOT_MEASURED}: attest flip-prepared when none is open for long`),
        omit('reverse.running is 1', 'starts with the flip: attest flip-prepared when the way back was rehearsed'),
      ],
    },
    {
      name: 'drained',
      require: [
        'forward.lag < 1s for 5s',
        'forward.lag_by_position < 1s for 5s',
        'forward.agreement is 1 for 5s',
        'attest.drained-by-hand.age < 5m',
      ],
      omitted: [
        omit(
          'fence.drained is 1',
          `${NOT_MEASURED}: small lag does not prove that writes stopped; compare the positions and attest drained-by-hand`,
        ),
      ],
    },
    {
      name: 'ramp',
      require: [
        'target.reachable is 1 for 10m',
        'target.writable is 1 for 10m',
        ...(reverse === null ? [] : level('reverse', reverse, '5s')),
        'attest.traffic-checked.age < 1h',
      ],
      omitted: [
        omit('traffic.NAME < … for 10m', 'traffic is not watched in this version: attest traffic-checked at each step'),
        omit('standby.stray_writes == 0', `${NOT_MEASURED}: make sure that nobody writes to the old side`),
        omit('split_brain is 0', `${NOT_MEASURED}: make sure that only one side is written to`),
      ],
    },
  ];
  if (reverse !== null) {
    gates.push({
      name: 'rollback-ready',
      require: [
        'source.reachable is 1 for 1m',
        ...level('reverse', reverse, '2s'),
        'attest.rollback-verified.age < 1h',
        'attest.rollback-rehearsed.age < 30d',
      ],
      omitted: [
        omit(
          'standby.stray_writes == 0',
          `${NOT_MEASURED}: attest rollback-verified when nobody wrote to the old side`,
        ),
        omit('verify.mismatched_rows == 0', 'verification is not available in this version: attest rollback-verified'),
        unprovenChain('reverse'),
      ],
    });
  }
  gates.push({
    name: 'decommission',
    require: [
      'target.reachable is 1 for 1h',
      'attest.soak-complete.age < 1d',
      'attest.backup-checked.age < 1d',
      'attest.decommission-approved.age < 1d',
    ],
    omitted: [
      omit('source.last_local_write_age > 7d', `${NOT_MEASURED}: attest soak-complete when the old side was silent`),
      omit('source.connections == 0 for 7d', `${NOT_MEASURED}: attest soak-complete when nobody connects any more`),
    ],
  });
  const missing =
    reverse === null
      ? [{ name: 'rollback-ready', why: 'without a `reverse` link nothing carries the new writes back' }]
      : [];
  return { gates, missing };
}
