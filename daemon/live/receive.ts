/** Takes what was fetched. */
import type { FenceJson, MigrationJson, SignalJson, VerifyJson } from '../http/port.js';
import { FENCES_KEPT, fold, JOURNAL_KEPT, LAG_KEPT, partsOf, withVerdict } from './apply.js';
import type { Now } from './connection.js';
import { look, lose, wanting, type JournalLine, type KnownGate, type LagPoint, type Model, type Resource } from './model.js'; // prettier-ignore
import { fenceOf, isObject, numberOr, signalOf, textOr, verdictOf } from './read.js';
import { learn } from './server-clock.js';

type Json = Record<string, unknown>;

/** The path below `/v1` (with it) at which a resource is fetched. */
export function pathOf(resource: Resource): string {
  const colon = resource.indexOf(':');
  if (colon < 0) return resource === 'journal' ? `/v1/journal?limit=${JOURNAL_KEPT}&order=newest` : `/v1/${resource}`;
  const [kind, name] = [resource.slice(0, colon), resource.slice(colon + 1)];
  if (kind !== 'lag') return `/v1/migrations/${encodeURIComponent(name)}/${kind}`;
  const [migration = '', link = ''] = name.split('/');
  return `/v1/migrations/${encodeURIComponent(migration)}/signals/${encodeURIComponent(link)}.lag/history`;
}

/**
 * Takes the answer to a request for a resource that was sent at `sentMs` of the monotonic clock. Once everything has
 * been fetched what came over the stream meanwhile is folded in, and the connection is live. An answer that cannot be
 * understood, or none (any status but 200, and 404 where something may be gone), is a loss.
 */
export function receive(
  model: Model,
  resource: Resource,
  answer: { status: number; json: unknown },
  sentMs: number,
  now: Now,
): Model {
  let m = look(model, now);
  if (m.connection.state === 'lost') return m;
  const wants = new Map(m.wants);
  if ((wants.get(resource) ?? 0) <= sentMs) wants.delete(resource);
  m = { ...m, wants };
  if (answer.status === 404 && resource.includes(':')) return settle(m, now);
  if (answer.status !== 200 || !isObject(answer.json)) {
    const refused = answer.status === 401 || answer.status === 403;
    const detail = isObject(answer.json) ? textOr(answer.json['detail'], null) : null;
    const said = `${pathOf(resource).replace(/\?.*$/, '')} answered ${answer.status}${detail === null ? '' : `: ${detail}`}`;
    return lose(m, said, now, refused);
  }
  const next = take(m, resource, answer.json, sentMs, now);
  if (next === null) return lose(m, `the answer of ${pathOf(resource)} cannot be understood; is it lockgate?`, now);
  return settle(next, now);
}

function take(m: Model, resource: Resource, json: Json, sentMs: number, now: Now): Model | null {
  if (resource === 'gates') return takeGates(m, json, sentMs, now);
  if (resource === 'migrations') return takeMigrations(m, json);
  if (resource === 'journal') return takeJournal(m, json);
  const name = resource.slice(resource.indexOf(':') + 1);
  if (resource.startsWith('signals:')) return takeSignals(m, name, json);
  if (resource.startsWith('verify:')) {
    if (!Array.isArray(json['tables'])) return null;
    return { ...m, verify: new Map(m.verify).set(name, json as unknown as VerifyJson) };
  }
  if (resource.startsWith('fences:')) {
    const fences = listOf(json['fences'], fenceOf);
    return fences === null ? null : { ...m, fences: new Map(m.fences).set(name, fences.slice(0, FENCES_KEPT)) };
  }
  return takeLag(m, name, json);
}

/** Everything has been fetched: what came meanwhile is folded in, in its order. */
function settle(m: Model, now: Now): Model {
  if (m.connection.state !== 'connecting' || !m.connection.opened || m.wants.size > 0) return m;
  const live: Model = { ...m, connection: { state: 'live', since: now }, pending: [], asOf: now.wallMs };
  return m.pending.reduce(
    (known, frame) => (known.connection.state === 'lost' ? known : fold(known, frame, now)),
    live,
  );
}

function takeGates(m: Model, json: Json, sentMs: number, now: Now): Model | null {
  const verdicts = listOf(json['gates'], verdictOf);
  if (verdicts === null) return null;
  const stranger = verdicts.find((v) => m.daemon !== null && v.daemon !== '' && v.daemon !== m.daemon.id);
  if (stranger !== undefined) return lose(m, `two daemons answer here: ${m.daemon?.id ?? '?'} and ${stranger.daemon}`, now); // prettier-ignore
  const earliest = Math.min(...verdicts.map((v) => Date.parse(v.evaluated_at)));
  const clock = verdicts.length === 0 ? m.clock : learn(m.clock, earliest, sentMs, now.monotonicMs);
  // Where the daemon's clock was set back since, what it said before looks newer than what it says now.
  const kept = clock !== null && m.clock !== null && clock.low <= m.clock.high && clock.high >= m.clock.low;
  const gates = new Map<string, KnownGate>();
  for (const verdict of verdicts) {
    const known = m.gates.get(verdict.gate);
    if (kept && known !== undefined) gates.set(verdict.gate, known);
    withVerdict(gates, verdict);
  }
  return { ...m, gates, clock };
}

function takeMigrations(m: Model, json: Json): Model | null {
  const list = listOf(json['migrations'], migrationOf);
  if (list === null) return null;
  const migrations = new Map(list.map((one) => [one.name, one]));
  const next: Model = { ...m, migrations };
  const parts = list
    .map(({ name }) => name)
    .filter((name) => m.connection.state === 'connecting' || !m.signals.has(name))
    .flatMap((name) => partsOf(next, name));
  return wanting(next, ...parts);
}

function takeSignals(m: Model, name: string, json: Json): Model | null {
  const signals = listOf<SignalJson>(json['signals'], signalOf);
  if (signals === null) return null;
  return { ...m, signals: new Map(m.signals).set(name, new Map(signals.map((s) => [s.name, s]))) };
}

function takeJournal(m: Model, json: Json): Model | null {
  const entries = listOf<JournalLine>(json['entries'], (entry) => {
    const id = isObject(entry) ? numberOr(entry['id'], null) : null;
    return id === null || !isObject(entry) ? null : { ...entry, id };
  });
  return entries === null ? null : { ...m, journal: entries.slice(-JOURNAL_KEPT) };
}

function takeLag(m: Model, link: string, json: Json): Model | null {
  const points = listOf<LagPoint>(json['points'], (point) => {
    const atMs = isObject(point) ? Date.parse(textOr(point['at'], '')) : NaN;
    // The worst of a second, as a gate would take it.
    return Number.isFinite(atMs) && isObject(point) ? { atMs, value: numberOr(point['max'], null) } : null;
  });
  return points === null ? null : { ...m, lag: new Map(m.lag).set(link, points.slice(-LAG_KEPT)) };
}

/** Reads a list of which every member can be read; null otherwise. */
function listOf<T>(json: unknown, read: (member: unknown) => T | null): T[] | null {
  if (!Array.isArray(json)) return null;
  const members = (json as unknown[]).map(read);
  return members.every((member) => member !== null) ? members : null;
}

function migrationOf(json: unknown): MigrationJson | null {
  if (!isObject(json) || typeof json['name'] !== 'string') return null;
  const { direction, links, sides, gates, alerts, attestations } = json;
  if (direction !== 'forward' && direction !== 'reverse' && direction !== 'unknown') return null;
  if (!isObject(links) || !isObject(sides) || !isObject(sides['source']) || !isObject(sides['target'])) return null;
  if (!Array.isArray(gates)) return null;
  const whole = {
    ...json,
    alerts: Array.isArray(alerts) ? (alerts as unknown[]).filter(isObject) : [],
    attestations: Array.isArray(attestations) ? (attestations as unknown[]).filter(isObject) : [],
    fence: fenceOf(json['fence']) satisfies FenceJson | null,
  };
  return whole as unknown as MigrationJson;
}
