import type { Schema } from './route.js';
import { ref } from './route.js';

const string = { type: 'string' };
const number = { type: 'number' };
const integer = { type: 'integer' };
const boolean = { type: 'boolean' };
const instant = { type: 'string', format: 'date-time' };
const orNull = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] });
const list = (items: Schema): Schema => ({ type: 'array', items });
const oneOf = (...values: string[]): Schema => ({ type: 'string', enum: values });
const map = (values: Schema): Schema => ({ type: 'object', additionalProperties: values });

/** An object all of whose fields are always there; more may be added, so clients must bear unknown ones. */
const object = (properties: Readonly<Record<string, Schema>>): Schema => ({
  type: 'object',
  properties,
  required: Object.keys(properties),
});

const gateState = oneOf('open', 'closed', 'unknown');

const link = oneOf('forward', 'reverse');

const severity = oneOf('critical', 'error', 'warning', 'info');

const side = object({
  database: string,
  reachable: orNull(boolean),
  writable: orNull(boolean),
  stray_writes: object({ count: orNull(integer), first_at: orNull(instant), first_position: orNull(string) }),
});

/** The component schemas of the OpenAPI document: the JSON of DaemonPort as it leaves the server. */
export const SCHEMAS: Readonly<Record<string, Schema>> = {
  Problem: {
    ...object({ type: string, title: string, status: integer, detail: string, code: string }),
    properties: {
      type: string,
      title: string,
      status: integer,
      detail: string,
      code: string,
      // Only where there is something to do about it.
      hint: string,
    },
  },
  Health: object({ status: string }),
  Condition: object({
    text: string,
    state: oneOf('held', 'holding', 'broken', 'unknown'),
    value: orNull(number),
    unit: string,
    held_seconds: number,
    needs_seconds: number,
    last_broken: orNull(object({ at: instant, value: orNull(number) })),
    reason: orNull(string),
  }),
  Verdict: object({
    gate: string,
    state: gateState,
    open: boolean,
    since: instant,
    evaluated_at: instant,
    opens_at: orNull(instant),
    conditions: list(ref('Condition')),
    reason: orNull(string),
    config_hash: string,
    daemon: string,
  }),
  Gates: object({ gates: list(ref('Verdict')) }),
  Transition: object({
    at: instant,
    from: orNull(gateState),
    to: orNull(gateState),
    // The verdict as it was journaled: a store may hold verdicts of earlier versions.
    verdict: orNull({ type: 'object' }),
    id: integer,
  }),
  GateHistory: object({ transitions: list(ref('Transition')), next: orNull(string) }),
  Signal: object({
    name: string,
    state: oneOf('ok', 'stale', 'unknown'),
    value: orNull(number),
    unit: string,
    observed_at: orNull(instant),
    age_seconds: orNull(number),
    reason: orNull(string),
  }),
  Signals: object({ signals: list(ref('Signal')) }),
  SignalHistory: object({
    signal: string,
    unit: orNull(string),
    step_seconds: number,
    points: list(object({ at: instant, value: orNull(number), max: orNull(number) })),
  }),
  Migration: object({
    name: string,
    direction: oneOf('forward', 'reverse', 'unknown'),
    epoch: orNull(integer),
    direction_since: orNull(instant),
    source: string,
    target: string,
    links: map(map(ref('Signal'))),
    sides: object({ source: side, target: side }),
    gates: list(object({ name: string, state: gateState, opens_at: orNull(instant) })),
    fence: orNull(ref('Fence')),
    attestations: list(object({ name: string, at: instant, by: string, note: string, age_seconds: number })),
    alerts: list(
      object({
        ...{ rule: string, severity, since: instant, value: orNull(number), unit: orNull(string) },
        ...{ reason: orNull(string), summary: string, silenced_until: orNull(instant) },
      }),
    ),
  }),
  Alert: object({
    migration: string,
    rule: string,
    severity,
    state: oneOf('inactive', 'pending', 'firing', 'resolved'),
    since: instant,
    value: orNull(number),
    unit: orNull(string),
    reason: orNull(string),
    when: string,
    summary: string,
    remedy: string,
    built_in: boolean,
    silenced_until: orNull(instant),
  }),
  AlertSink: object({
    name: string,
    waiting: integer,
    delivered: integer,
    retried: integer,
    refused: integer,
    dropped: integer,
    last_error: orNull(string),
    last_delivered_at: orNull(instant),
  }),
  Alerts: object({ alerts: list(ref('Alert')), sinks: list(ref('AlertSink')) }),
  Fence: object({
    id: string,
    migration: string,
    link,
    state: oneOf('placed', 'drained', 'unknown', 'violated', 'expired', 'closed', 'cancelled'),
    placed_at: instant,
    deadline_at: instant,
    source_position: string,
    basis: list(string),
    drained_at: orNull(instant),
    drain_seconds: orNull(number),
    missing: object({
      bytes: orNull(number),
      transactions: orNull(number),
      flows: list(string),
      reasons: list(string),
    }),
    violations: object({ count: integer, first_position: orNull(string), first_at: orNull(instant) }),
    unwatched: list(object({ from: instant, to: orNull(instant), reason: string })),
    predicted: orNull(object({ drain_eta: number, drain_eta_high: number })),
    note: string,
    placed_by: string,
    ended_at: orNull(instant),
    ended_because: orNull(string),
  }),
  Fences: object({ fences: list(ref('Fence')) }),
  DirectionChange: object({
    migration: string,
    action: oneOf('promote', 'rollback'),
    direction: link,
    epoch: integer,
    changed_at: instant,
    changed_by: string,
    reason: string,
    forced: boolean,
    fence: orNull(ref('Fence')),
    old_side_position: orNull(string),
    warnings: list(string),
  }),
  Verification: {
    ...object({
      running: orNull(
        object({
          ...{ pass: string, started_at: instant, tables_done: integer, tables_total: integer, rows_done: integer },
          ...{ rows_estimated: integer, eta_seconds: orNull(number), table: orNull(string), paused: orNull(string) },
        }),
      ),
      last: orNull(
        object({ pass: string, started_at: instant, ended_at: instant, complete: boolean, reason: orNull(string) }),
      ),
      next_at: orNull(instant),
      narrower: orNull(string),
      tables: list(ref('VerifyTable')),
    }),
    description:
      'Also `configured`: whether the migration has a `verify` section; `last_complete_at`: when the newest complete pass ended.',
  },
  VerifyTable: object({
    ...{ table: string, state: oneOf('match', 'mismatch', 'not-settled', 'not-covered', 'unknown') },
    ...{ reason: orNull(string), compared_at: orNull(instant), source_rows: orNull(integer) },
    ...{ target_rows: orNull(integer), rows_compared: integer, ignored_columns: list(string) },
    ...{ mismatched_rows: orNull(integer), mismatched_at_least: boolean },
    mismatches: list(object({ kind: oneOf('missing', 'extra', 'different'), key: map(string) })),
    mismatches_truncated: boolean,
  }),
  VerifyPass: object({ pass: string }),
  VerifyRows: object({
    rows: list(object({ key: map(string), source: orNull(map(orNull(string))), target: orNull(map(orNull(string))) })),
  }),
  Migrations: object({ migrations: list(ref('Migration')) }),
  JournalEntry: object({
    id: integer,
    at: instant,
    kind: string,
    migration: orNull(string),
    gate: orNull(string),
    actor: string,
    by: orNull(string),
    data: { type: 'object' },
  }),
  Journal: object({ entries: list(ref('JournalEntry')), next: orNull(string) }),
  Attestation: object({ migration: string, name: string, at: instant, by: string, note: string, actor: string }),
};
