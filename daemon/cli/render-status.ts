import { fenceOf } from './judge-fence.js';
import { isObject, numberOr, textOr, verdictOf } from './judge.js';
import { fenceWord, missingText, violationsText } from './render-fence.js';
import { briefReason, opensText, stateWord } from './render-verdict.js';
import { durationText, instantText, plain, valueText } from '../live/words.js';
import { columns, type Paint } from './text.js';

type Json = Record<string, unknown>;

/** What `status` shows of a daemon: its migrations with sides and links, then every gate with its state first. */
export function statusText(
  said: { migrations: readonly unknown[]; gates: readonly unknown[] },
  paint: Paint,
  from: string | null,
  now: number,
): string {
  const lines: string[] = from === null ? [] : [paint(from, 'bold')];
  for (const migration of said.migrations.filter(isObject)) {
    const name = textOr(migration['name'], '?');
    const direction = textOr(migration['direction'], 'unknown');
    const since = textOr(migration['direction_since'], null);
    const path = `${textOr(migration['source'], '?')} -> ${textOr(migration['target'], '?')}`;
    lines.push(
      `${paint(plain(name), 'bold')}  ${plain(path)}  direction ${plain(direction)}${since === null ? '' : ` since ${instantText(since, now)}`}`,
    );
    const sides = sideRows(migration['sides'], now);
    const links = linkRows(migration['links']);
    const rows = columns([...sides, ...links.map((link) => link.cells)]);
    rows.forEach((row, i) => {
      lines.push(`  ${row}`);
      // Several signals mostly fail for one reason, which is long: said once, on a line of its own.
      for (const reason of links[i - sides.length]?.reasons ?? []) lines.push(`    ${paint(reason, 'dim')}`);
    });
    lines.push(...alertLines(migration['alerts'], paint, now));
    lines.push(...fenceLines(migration['fence'], paint, now));
    lines.push(...gateLines(said.gates, (gate) => gate.startsWith(`${name}/`), paint));
  }
  const top = gateLines(said.gates, (gate) => !gate.includes('/'), paint);
  if (top.length > 0) lines.push(paint('across migrations', 'bold'), ...top);
  if (said.migrations.length === 0) lines.push('no migrations');
  return `${lines.join('\n')}\n`;
}

function sideRows(sides: unknown, now: number): string[][] {
  const rows: string[][] = [];
  for (const role of ['source', 'target']) {
    const side = isObject(sides) ? sides[role] : undefined;
    if (!isObject(side)) continue;
    const facts = [
      flagText(side['reachable'], 'reachable', 'NOT REACHABLE', 'reachability unknown'),
      flagText(side['writable'], 'writable', 'read-only', 'writability unknown'),
      strayText(side['stray_writes'], now),
    ];
    rows.push([
      role,
      textOr(side['database'], '') === '' ? '' : plain(textOr(side['database'], '')),
      facts.filter((f) => f !== '').join(', '),
    ]);
  }
  return rows;
}

function flagText(value: unknown, yes: string, no: string, unknown: string): string {
  return value === true ? yes : value === false ? no : unknown;
}

/** An unknown count is not shown here: where nobody can count, the gates that need it say so. */
function strayText(stray: unknown, now: number): string {
  if (!isObject(stray)) return '';
  const count = numberOr(stray['count'], null);
  if (count === null || count === 0) return '';
  const [at, position] = [textOr(stray['first_at'], null), textOr(stray['first_position'], null)];
  const first = [position === null ? '' : `at ${plain(position)}`, at === null ? '' : instantText(at, now)].filter(
    (p) => p !== '',
  );
  return `${String(count)} STRAY WRITES${first.length === 0 ? '' : ` (the first ${first.join(', ')})`}`;
}

/** What fires, a line each. */
function alertLines(alerts: unknown, paint: Paint, now: number): string[] {
  if (!Array.isArray(alerts)) return [];
  return alerts.filter(isObject).map((a) => {
    const [since, until] = [textOr(a['since'], null), textOr(a['silenced_until'], null)];
    const facts = [
      plain(textOr(a['severity'], '?')),
      since === null ? '' : `since ${instantText(since, now)}`,
      until === null ? '' : `silenced until ${instantText(until, now)}`,
      plain(textOr(a['reason'], textOr(a['summary'], ''))),
    ];
    const told = facts.filter((f) => f !== '').join(', ');
    return `  ${paint('ALERT', 'red')}  ${plain(textOr(a['rule'], '?'))}  ${told}`;
  });
}

/** The newest fence in one line: its state as it was last proved, and what that rests on. */
function fenceLines(json: unknown, paint: Paint, now: number): string[] {
  const fence = fenceOf(json);
  if (fence === null) return isObject(json) ? ['  fence  UNKNOWN  (not to be understood)'] : [];
  const { state } = fence;
  const ended = fence.ended_at === null ? '' : `at ${instantText(fence.ended_at, now)}`;
  const because = fence.ended_because === null ? '' : plain(fence.ended_because);
  const told: Readonly<Record<typeof state, string>> = {
    placed: `until ${instantText(fence.deadline_at, now)}; ${missingText(fence)}`,
    drained: `in ${fence.drain_seconds === null ? '?' : valueText(fence.drain_seconds, 's')}, up to ${plain(fence.source_position)}`,
    unknown: missingText(fence),
    violated: violationsText(fence, now),
    expired: missingText(fence),
    closed: [ended, because].filter((p) => p !== '').join(': '),
    cancelled: [ended, because].filter((p) => p !== '').join(': '),
  };
  return [`  fence  ${plain(fence.id)}  ${fence.link}  ${fenceWord(state, paint)}  ${told[state]}`.trimEnd()];
}

function linkRows(links: unknown): { cells: string[]; reasons: string[] }[] {
  if (!isObject(links)) return [];
  return Object.entries(links)
    .filter((entry): entry is [string, Json] => isObject(entry[1]))
    .map(([name, signals]) => {
      const shown = [signals['lag'], signals['lag_by_position'], signals['running']];
      return {
        cells: [
          plain(name),
          signalText(signals['lag'], 'lag'),
          [signalText(signals['lag_by_position'], 'by position'), runningText(signals['running'])]
            .filter((p) => p !== '')
            .join(', '),
        ],
        reasons: [...new Set(shown.map(reasonOf).filter((reason) => reason !== ''))],
      };
    });
}

function signalText(signal: unknown, label: string): string {
  if (!isObject(signal)) return '';
  const state = textOr(signal['state'], 'unknown');
  if (state === 'ok') return `${label} ${valueText(numberOr(signal['value'], null), textOr(signal['unit'], ''))}`;
  const age = numberOr(signal['age_seconds'], null);
  const seen = state === 'stale' && age !== null ? ` (last seen ${durationText(age)} ago)` : '';
  return `${label} ${plain(state).toUpperCase()}${seen}`;
}

function runningText(signal: unknown): string {
  if (!isObject(signal)) return '';
  if (signal['state'] !== 'ok') return signalText(signal, 'running');
  return signal['value'] === 1 ? 'running' : 'NOT RUNNING';
}

/** Why a signal is not known, or why what ought to run does not; a known lag needs no remark here. */
function reasonOf(signal: unknown): string {
  if (!isObject(signal) || (signal['state'] === 'ok' && signal['value'] !== 0)) return '';
  return plain(textOr(signal['reason'], ''));
}

function gateLines(gates: readonly unknown[], belongs: (gate: string) => boolean, paint: Paint): string[] {
  const verdicts = gates.map(verdictOf).filter((v) => v !== null && belongs(v.gate));
  const rows = verdicts.flatMap((v) =>
    v === null ? [] : [{ v, cells: [plain(v.gate), opensText(v.opens_at, v.evaluated_at) || briefReason(v)] }],
  );
  const aligned = columns(rows.map((r) => r.cells));
  return rows.map(({ v }, i) => `  ${stateWord(v.state, paint)}  ${aligned[i] ?? ''}`);
}
