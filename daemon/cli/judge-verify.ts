import type { VerifyJson, VerifyRowJson, VerifyTableJson } from '../http/port.js';
import type { Answer } from './client.js';
import { EXIT, type ExitCode } from './io.js';
import { isObject, judgeCommand, numberOr, textOr, type Judged } from './judge.js';

const STATES: readonly VerifyTableJson['state'][] = ['mismatch', 'not-settled', 'not-covered', 'unknown', 'match'];

/** A pass as it was started or found running, or why not. */
export interface JudgedStart extends Judged {
  pass: string | null;
  /** It was running already. */
  joined: boolean;
}

/** What is known of a migration's data, or why it must not be believed. */
export interface JudgedVerify extends Judged {
  verify: VerifyJson | null;
}

/** Judges the answer to the start of a pass; a pass that runs already is one to follow when everything was asked for. */
export function judgeStart(answer: Answer, everything: boolean): JudgedStart {
  const pass = answer.kind === 'answer' && isObject(answer.json) ? textOr(answer.json['pass'], null) : null;
  if (answer.kind === 'answer' && answer.status === 409 && everything && pass !== null) {
    return { exit: EXIT.ok, message: null, pass, joined: true };
  }
  const judged = judgeCommand(answer);
  if (judged.exit !== EXIT.ok) return { ...judged, pass: null, joined: false };
  if (pass !== null) return { ...judged, pass, joined: false };
  return { exit: EXIT.unknown, message: 'the answer names no pass; is it lockgate?', pass: null, joined: false };
}

/** Judges what a daemon says of verification. */
export function judgeVerify(answer: Answer): JudgedVerify {
  const judged = judgeCommand(answer);
  if (judged.exit !== EXIT.ok || answer.kind !== 'answer') return { ...judged, verify: null };
  const verify = verifyOf(answer.json);
  if (verify !== null) return { ...judged, verify };
  return { exit: EXIT.unknown, message: 'the answer is not about verification; is it lockgate?', verify: null };
}

/** The exit code of a pass that has ended: what was compared in it, and whether that is everything. */
export function exitOf(verify: VerifyJson, pass: string, tables: readonly VerifyTableJson[]): ExitCode {
  if (verify.last?.pass !== pass || !verify.last.complete || tables.length === 0) return EXIT.unknown;
  if (tables.some((t) => t.state === 'unknown')) return EXIT.unknown;
  return tables.every((t) => t.state === 'match') ? EXIT.ok : EXIT.closed;
}

/** The rows of an answer; null when it has none. */
export function rowsOf(answer: Answer): VerifyRowJson[] | null {
  if (answer.kind !== 'answer' || answer.status !== 200 || !isObject(answer.json)) return null;
  const rows = answer.json['rows'];
  if (!Array.isArray(rows)) return null;
  const values = (side: unknown): Record<string, string | null> | null =>
    isObject(side) ? Object.fromEntries(Object.entries(side).map(([name, v]) => [name, textOr(v, null)])) : null;
  return (rows as unknown[]).filter(isObject).map((row) => ({
    key: textsOf(row['key']),
    source: values(row['source']),
    target: values(row['target']),
  }));
}

function verifyOf(json: unknown): VerifyJson | null {
  if (!isObject(json) || !Array.isArray(json['tables']) || !('running' in json) || !('last' in json)) return null;
  const { running, last } = json;
  const tables = (json['tables'] as unknown[]).map(tableOf);
  if (tables.includes(null)) return null;
  return {
    running: isObject(running) ? runningOf(running) : null,
    last: isObject(last) ? lastOf(last) : null,
    next_at: textOr(json['next_at'], null),
    narrower: textOr(json['narrower'], null),
    tables: tables.filter((t) => t !== null),
  };
}

function runningOf(json: Record<string, unknown>): NonNullable<VerifyJson['running']> {
  return {
    pass: textOr(json['pass'], ''),
    started_at: textOr(json['started_at'], ''),
    tables_done: numberOr(json['tables_done'], 0),
    tables_total: numberOr(json['tables_total'], 0),
    rows_done: numberOr(json['rows_done'], 0),
    rows_estimated: numberOr(json['rows_estimated'], 0),
    eta_seconds: numberOr(json['eta_seconds'], null),
    table: textOr(json['table'], null),
    paused: textOr(json['paused'], null),
  };
}

function lastOf(json: Record<string, unknown>): NonNullable<VerifyJson['last']> {
  return {
    pass: textOr(json['pass'], ''),
    started_at: textOr(json['started_at'], ''),
    ended_at: textOr(json['ended_at'], ''),
    complete: json['complete'] === true,
    reason: textOr(json['reason'], null),
  };
}

function tableOf(json: unknown): VerifyTableJson | null {
  if (!isObject(json) || typeof json['table'] !== 'string') return null;
  const mismatches = Array.isArray(json['mismatches']) ? (json['mismatches'] as unknown[]).filter(isObject) : [];
  return {
    table: json['table'],
    // A word that is not known is not a match.
    state: STATES.find((state) => state === json['state']) ?? 'unknown',
    reason: textOr(json['reason'], null),
    compared_at: textOr(json['compared_at'], null),
    source_rows: numberOr(json['source_rows'], null),
    target_rows: numberOr(json['target_rows'], null),
    rows_compared: numberOr(json['rows_compared'], 0),
    ignored_columns: Array.isArray(json['ignored_columns'])
      ? (json['ignored_columns'] as unknown[]).map((c) => textOr(c, '?'))
      : [],
    mismatched_rows: numberOr(json['mismatched_rows'], null),
    mismatched_at_least: json['mismatched_at_least'] === true,
    mismatches: mismatches.map(({ kind, key }) => ({
      kind: kind === 'missing' || kind === 'extra' ? kind : 'different',
      key: textsOf(key),
    })),
    mismatches_truncated: json['mismatches_truncated'] === true,
  };
}

function textsOf(json: unknown): Record<string, string> {
  if (!isObject(json)) return {};
  return Object.fromEntries(Object.entries(json).map(([name, value]) => [name, textOr(value, '?')]));
}
