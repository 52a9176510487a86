/** What is sent to CloudWatch of one period: plain numbers out of the port, and how they are cut into requests. */
import type { DaemonPort, SignalJson } from '../http/port.js';

/** What is asked of the daemon. */
export type PublishedPort = Pick<DaemonPort, 'migrations' | 'signals' | 'gates' | 'gateState'>;

/** One number with the names it is found by. */
export interface Datum {
  name: 'Lag' | 'BacklogBytes' | 'GateOpen' | 'MismatchedRows' | 'SplitBrain';
  dimensions: readonly { Name: string; Value: string }[];
  unit: 'Seconds' | 'Bytes' | 'Count' | 'None';
  value: number;
}

/** All numbers of one instant. */
export interface Period {
  /** Wall clock, milliseconds since 1970. */
  at: number;
  data: readonly Datum[];
}

/** A request that CloudWatch takes. */
export interface Batch {
  data: readonly { at: number; datum: Datum }[];
}

/** As CloudWatch documents them for PutMetricData, the bytes with room for what the request says besides. */
const MOST_METRICS = 1_000;
const MOST_BYTES = 900_000;
/** Larger values are refused; no signal of ours comes near. */
const LARGEST = 2 ** 360;
/** CloudWatch refuses what is older than two weeks or more than two hours ahead; a little less, because sending takes time. */
const OLDEST_MS = 14 * 86_400_000 - 3_600_000;
const MOST_AHEAD_MS = 2 * 3_600_000 - 300_000;

/**
 * The numbers of this instant. A signal that is unknown or stale is left out, never sent as 0; a gate that is unknown is
 * not open, and every gate has its number in every period, so that silence means that nobody judges any more.
 */
export function dataOf(port: PublishedPort): Datum[] {
  const data: Datum[] = [];
  for (const migration of port.migrations()) {
    const signals = new Map((port.signals(migration) ?? []).map((s) => [s.name, s]));
    for (const link of ['forward', 'reverse']) {
      const dimensions = named({ Migration: migration, Link: link });
      add(data, signals.get(`${link}.lag`), { name: 'Lag', dimensions, unit: 'Seconds' });
      add(data, signals.get(`${link}.backlog_bytes`), { name: 'BacklogBytes', dimensions, unit: 'Bytes' });
    }
    const dimensions = named({ Migration: migration });
    add(data, mismatched(signals), { name: 'MismatchedRows', dimensions, unit: 'Count' });
    add(data, signals.get('split_brain'), { name: 'SplitBrain', dimensions, unit: 'None' });
  }
  for (const id of port.gates()) {
    const slash = id.indexOf('/');
    const gate = id.slice(slash + 1);
    const dimensions = named(slash < 0 ? { Gate: gate } : { Migration: id.slice(0, slash), Gate: gate });
    data.push({ name: 'GateOpen', dimensions, unit: 'None', value: port.gateState(id)?.state === 'open' ? 1 : 0 });
  }
  return data;
}

/**
 * Rows that differ; where there are too many to be counted, no number of them is exact, and the tables that differ, one row
 * each, are the least of it: an alarm on more than none must not fall silent when there are most.
 */
function mismatched(signals: ReadonlyMap<string, SignalJson>): SignalJson | undefined {
  const rows = signals.get('verify.mismatched_rows');
  const tables = signals.get('verify.mismatched_tables');
  const counted = rows?.state === 'ok' && (rows.value ?? 0) > 0;
  return !counted && tables?.state === 'ok' && (tables.value ?? 0) > 0 ? tables : rows;
}

function named(dimensions: Readonly<Record<string, string>>): Datum['dimensions'] {
  return Object.entries(dimensions).map(([Name, Value]) => ({ Name, Value }));
}

function add(data: Datum[], signal: SignalJson | undefined, frame: Omit<Datum, 'value'>): void {
  if (signal?.state !== 'ok' || signal.value === null) return;
  if (!Number.isFinite(signal.value) || Math.abs(signal.value) > LARGEST) return;
  data.push({ ...frame, value: signal.value });
}

/** Whether CloudWatch takes numbers of that instant at `wall`, both in milliseconds since 1970. */
export function takenAt(at: number, wall: number): boolean {
  return wall - at <= OLDEST_MS && at - wall <= MOST_AHEAD_MS;
}

/** Cuts periods, in their order, into as few requests as the limits allow. */
export function batchesOf(periods: readonly Period[]): Batch[] {
  const batches: Batch[] = [];
  let data: Batch['data'][number][] = [];
  let bytes = 0;
  for (const { at, data: all } of periods) {
    for (const datum of all) {
      // As long as it can get: the instant and the resolution come to it.
      const own = JSON.stringify(datum).length + 80;
      if (data.length === MOST_METRICS || bytes + own > MOST_BYTES) {
        batches.push({ data });
        data = [];
        bytes = 0;
      }
      data.push({ at, datum });
      bytes += own;
    }
  }
  if (data.length > 0) batches.push({ data });
  return batches;
}
