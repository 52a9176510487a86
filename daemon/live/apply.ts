/** Folds what comes over the stream of events into what is known. */
import type { MigrationJson, VerdictJson } from '../http/port.js';
import type { Now } from './connection.js';
import { BASE, heard, lose, wanting, type KnownGate, type LagPoint, type Model, type Resource } from './model.js';
import { fenceOf, isObject, numberOr, signalOf, textOr, verdictOf } from './read.js';
import { isSet } from './server-clock.js';
import type { Frame } from './sse.js';

type Json = Record<string, unknown>;

/** Signals that move with the comparisons that count. */
const COUNTED = [
  'verify.coverage',
  'verify.mismatched_rows',
  'verify.mismatched_tables',
  'verify.row_count_delta',
] as const;

/** Frames that may wait for everything to be fetched. */
const MOST_PENDING = 5_000;
/** Entries of the journal, and fences of a migration, that are kept. */
export const JOURNAL_KEPT = 100;
export const FENCES_KEPT = 20;
/** Points of lag that are kept: an hour. */
export const LAG_KEPT = 3_600;

/** What is journaled so, changes what only `/v1/migrations` tells: sides, attestations, alerts, the direction. */
const CHANGES_MIGRATIONS: ReadonlySet<string> = new Set([
  ...['alert', 'attestation', 'direction', 'promote', 'rollback', 'stray-write', 'split-brain', 'reload'],
]);

/** Adds an event. While the connection is lost nothing counts; while not everything is fetched it waits. */
export function apply(model: Model, frame: Frame, now: Now): Model {
  const m = heard(model, now);
  if (m.connection.state === 'lost') return m;
  if (m.connection.state === 'live') return fold(m, frame, now);
  if (m.pending.length >= MOST_PENDING) return lose(m, 'more happens than can be kept up with', now);
  return { ...m, pending: [...m.pending, frame] };
}

/** Folds one event into what was fetched; what cannot be understood is a loss, for it may have said anything. */
export function fold(m: Model, frame: Frame, now: Now): Model {
  if (frame.event === 'reset') return wanting({ ...m, clock: null }, ...everything(m));
  const tell = Object.hasOwn(FOLDS, frame.event) ? FOLDS[frame.event] : undefined;
  // Events of a newer daemon.
  if (tell === undefined) return m;
  let data: unknown;
  try {
    data = JSON.parse(frame.data);
  } catch {
    data = null;
  }
  const next = isObject(data) ? tell(m, data, now) : null;
  return next ?? lose(m, `an event (${frame.event}) cannot be understood`, now);
}

/** Everything that is known is in doubt. */
export function everything(m: Model): Resource[] {
  return [...BASE, ...[...m.migrations.keys()].flatMap((name) => partsOf(m, name))];
}

/** What there is to fetch of a migration besides what the list says. */
export function partsOf(m: Model, name: string): Resource[] {
  const links = Object.keys(m.migrations.get(name)?.links ?? {});
  return [`signals:${name}`, `verify:${name}`, `fences:${name}`, ...links.map((l) => `lag:${name}/${l}` as const)];
}

const FOLDS: Readonly<Record<string, (m: Model, data: Json, now: Now) => Model | null>> = {
  verdicts: foldVerdicts,
  gate: foldGate,
  signal: foldSignals,
  direction: foldDirection,
  fence: foldFence,
  verify: foldVerify,
  journal: foldJournal,
};

/** A verdict in which state and `open` disagree says nothing. */
export function believed(v: VerdictJson): VerdictJson {
  if (v.open === (v.state === 'open')) return v;
  return { ...v, state: 'unknown', open: false, opens_at: null, reason: 'the daemon contradicts itself' };
}

/** Puts a verdict beside what is known; an older one changes nothing. */
export function withVerdict(gates: Map<string, KnownGate>, verdict: VerdictJson): void {
  const atMs = Date.parse(verdict.evaluated_at);
  const known = gates.get(verdict.gate);
  if (known !== undefined && known.atMs > atMs) return;
  gates.set(verdict.gate, { verdict: believed(verdict), atMs });
}

/** The daemon's clock was set: nothing that it dated can be compared with now before it was asked anew. */
function undated(m: Model, atMs: number, now: Now): Model {
  if (m.clock === null) return wanting(m, 'gates');
  return isSet(m.clock, atMs, now.monotonicMs) ? wanting({ ...m, clock: null }, 'gates') : m;
}

function foldGate(model: Model, data: Json, now: Now): Model | null {
  const verdict = verdictOf(data['verdict']);
  if (verdict === null || verdict.gate !== data['gate'] || verdict.state !== data['to']) return null;
  const m = undated(model, Date.parse(verdict.evaluated_at), now);
  const gates = new Map(m.gates);
  withVerdict(gates, verdict);
  return { ...m, gates };
}

function foldVerdicts(model: Model, data: Json, now: Now): Model | null {
  const atMs = Date.parse(textOr(data['at'], ''));
  const { migration, gates: told, changed, config_hash: hash } = data;
  if (!Number.isFinite(atMs) || !Array.isArray(told) || !Array.isArray(changed)) return null;
  if (migration !== null && typeof migration !== 'string') return null;
  let m = undated(model, atMs, now);
  const gates = new Map(m.gates);
  for (const json of changed as unknown[]) {
    const verdict = verdictOf(json);
    if (verdict === null) return null;
    withVerdict(gates, verdict);
  }
  for (const json of told as unknown[]) {
    if (!isObject(json) || typeof json['gate'] !== 'string') return null;
    const known = gates.get(json['gate']);
    if (known === undefined) {
      m = wanting(m, ...everything(m));
      continue;
    }
    // What was said later counts.
    if (known.atMs > atMs) continue;
    const confirmed = confirm(known.verdict, json);
    if (confirmed === null) return null;
    gates.set(json['gate'], { verdict: { ...confirmed.verdict, evaluated_at: new Date(atMs).toISOString() }, atMs });
    if (!confirmed.whole) m = wanting(m, 'gates');
    else if (known.verdict.config_hash !== hash) m = wanting(m, ...everything(m));
  }
  if (migration === null) return { ...m, gates };
  return { ...m, gates, lag: withLag(m, migration, atMs) };
}

/** The verdict as it is now by the brief word; not `whole` when that is about another verdict than the one that is known. */
function confirm(known: VerdictJson, brief: Json): { verdict: VerdictJson; whole: boolean } | null {
  const { state, conditions } = brief;
  if (state !== 'open' && state !== 'closed' && state !== 'unknown') return null;
  if (!Array.isArray(conditions)) return null;
  const cells = conditions as unknown[];
  const same = cells.length === known.conditions.length;
  const verdict: VerdictJson = {
    ...known,
    ...{ state, open: state === 'open', since: textOr(brief['since'], ''), opens_at: textOr(brief['opens_at'], null) },
    conditions: known.conditions.map((c, i) => {
      const cell = cells[i];
      if (!same || !Array.isArray(cell)) return { ...c, state: 'unknown', value: null, reason: 'asked anew' };
      const [s, value, held] = cell as unknown[];
      const known_ = s === 'held' || s === 'holding' || s === 'broken' ? s : 'unknown';
      return { ...c, state: known_, value: numberOr(value, null), held_seconds: numberOr(held, 0) };
    }),
  };
  return { verdict, whole: same && known.since === verdict.since && known.state === state };
}

function withLag(m: Model, migration: string, atMs: number): Model['lag'] {
  const lag = new Map(m.lag);
  for (const link of Object.keys(m.migrations.get(migration)?.links ?? {})) {
    const signal = m.signals.get(migration)?.get(`${link}.lag`);
    const value = signal?.state === 'ok' ? signal.value : null;
    const before = lag.get(`${migration}/${link}`) ?? [];
    const last = before.at(-1);
    // The past was fetched up to a moment ago.
    if (last !== undefined && last.atMs >= atMs) continue;
    const point: LagPoint = { atMs, value };
    lag.set(`${migration}/${link}`, [...before.slice(-LAG_KEPT + 1), point]);
  }
  return lag;
}

function foldSignals(m: Model, data: Json): Model | null {
  const { migration, signals: told } = data;
  if (typeof migration !== 'string' || !Array.isArray(told)) return null;
  const signals = new Map(m.signals.get(migration));
  for (const json of told as unknown[]) {
    const signal = signalOf(json);
    if (signal === null) return null;
    signals.set(signal.name, signal);
  }
  const next = { ...m, signals: new Map(m.signals).set(migration, signals) };
  // Only what has changed is told: a pass, the direction, a broken chain or another schema changed what counts.
  const changed = COUNTED.some((name) => signals.get(name) !== m.signals.get(migration)?.get(name));
  return changed && m.verify.has(migration) ? wanting(next, `verify:${migration}`) : next;
}

function foldDirection(m: Model, data: Json): Model | null {
  const { migration, direction } = data;
  if (typeof migration !== 'string') return null;
  if (direction !== 'forward' && direction !== 'reverse' && direction !== 'unknown') return null;
  const known = m.migrations.get(migration);
  // What was compared before does not count any more.
  const next = wanting(m, 'migrations', `verify:${migration}`);
  if (known === undefined) return next;
  const epoch = numberOr(data['epoch'], null);
  const since = textOr(data['changedAt'], null);
  const changed: MigrationJson = { ...known, direction, epoch, direction_since: since };
  return { ...next, migrations: new Map(m.migrations).set(migration, changed) };
}

function foldFence(m: Model, data: Json): Model | null {
  const fence = fenceOf(data);
  if (fence === null) return null;
  const before = m.fences.get(fence.migration) ?? [];
  const known = before.some((f) => f.id === fence.id);
  const after = known ? before.map((f) => (f.id === fence.id ? fence : f)) : [fence, ...before].slice(0, FENCES_KEPT);
  return { ...m, fences: new Map(m.fences).set(fence.migration, after) };
}

function foldVerify(m: Model, data: Json): Model | null {
  const { migration } = data;
  if (typeof migration !== 'string') return null;
  const known = m.verify.get(migration);
  if (known === undefined) return wanting(m, `verify:${migration}`);
  const next = { ...known };
  if ('running' in data) next.running = isObject(data['running']) ? (data['running'] as unknown as typeof known.running) : null; // prettier-ignore
  const { table, last } = data;
  if (isObject(last)) next.last = last as unknown as typeof known.last;
  if (isObject(table) && typeof table['table'] === 'string') {
    const result = table as unknown as (typeof known.tables)[number];
    const there = known.tables.some((t) => t.table === result.table);
    next.tables = there ? known.tables.map((t) => (t.table === result.table ? result : t)) : [...known.tables, result];
  }
  const told: Model = { ...m, verify: new Map(m.verify).set(migration, next) };
  // At the end of a pass more has changed than is told.
  return data['running'] === null ? wanting(told, `verify:${migration}`) : told;
}

function foldJournal(m: Model, data: Json): Model | null {
  const id = numberOr(data['id'], null);
  if (id === null) return null;
  const next = CHANGES_MIGRATIONS.has(textOr(data['kind'], '')) ? wanting(m, 'migrations') : m;
  if (m.journal.some((line) => line.id === id)) return next;
  return { ...next, journal: [...m.journal, { ...data, id }].slice(-JOURNAL_KEPT) };
}
