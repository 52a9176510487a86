/** What `watch` shows, as lines for a terminal of a given size; a pure function of what is known and of the time. */
import type { ConditionState, GateState } from '../http/port.js';
import { conditionWords, holdText, tightestBound } from '../live/condition-words.js';
import type { Now } from '../live/connection.js';
import { missingText, violationsText } from '../live/fence-words.js';
import { entryCells } from '../live/journal-words.js';
import { becauseOf, conditionsByWeight, GLYPHS, headline } from '../live/rail.js';
import { connectionWords, daemonNow, doubtOf, fenceShown, isLive, signalShown } from '../live/shown.js';
import { durationText, instantText, plain, valueText } from '../live/words.js';
import { sparkline } from './sparkline.js';
import type { Colour } from './text.js';
import { drawLine, pad, SIGNS, type Line, type Piece, type Style } from './watch-style.js';
import { gateOfAll, migrationOf, migrationsOf, rowsOf, selectedGate, type View, type Watched } from './watch-view.js';

/** The size of a terminal. */
export interface Size {
  columns: number;
  rows: number;
}

const COLOURS: Readonly<Record<GateState | ConditionState, Colour>> = {
  ...({ open: 'green', closed: 'red', unknown: 'magenta', held: 'green', holding: 'yellow', broken: 'red' } as const),
};
/** The time that a line of lag shows. */
const LAG_RANGE_MS = 120_000;
/** A terminal as narrow as this has no room for phases. */
const NARROW = 60;
const HELP = 'up/down gate   left/right migration   a present gate   q quit';

type Found = NonNullable<ReturnType<typeof migrationOf>>;

/** Draws exactly `size.rows` lines of at most `size.columns`. */
export function render(view: View, now: Now, size: Size, style: Style): string[] {
  const lines = frame(view, now, size, style);
  const drawn = lines.slice(0, size.rows).map((line) => drawLine(line, size.columns, style));
  return [...drawn, ...new Array<string>(Math.max(0, size.rows - drawn.length)).fill('')];
}

function frame(view: View, now: Now, size: Size, style: Style): Line[] {
  const connections = connectionLines(view, now, size, style);
  const found = migrationOf(view, now);
  if (found === null) {
    const known = migrationsOf(view);
    const none =
      view.migration === null ? 'no migrations are known yet' : `no migration ${plain(view.migration)} is known`;
    return [...connections, [], [{ text: none }], [{ text: known.join(', '), colour: 'dim' }]];
  }
  const gate = selectedGate(view, now);
  const head = headLines(view, found, gate, now, style);
  const rail = railLines(view, found, gate, now, size, style);
  const lag = lagLines(found, gate, now, size, style);
  const detail = gate === null ? [] : detailLines(view, gate, now, style);
  const news = [...fenceLines(found, now), ...alertLines(found, now), ...verifyLines(found, now)];
  const rule: Line = [{ text: (style.unicode ? SIGNS.unicode : SIGNS.ascii).line.repeat(size.columns), colour: 'dim' }];
  const foot: Line[] = size.rows >= 16 ? [[{ text: HELP, colour: 'dim' }]] : [];

  let room = size.rows - connections.length - head.length - foot.length;
  // What comes first gives way last: the gates, what fires, the conditions, the lag, what happened.
  const shownRail = windowed(rail, gate, Math.max(1, room));
  room -= shownRail.length;
  const shownNews = news.slice(0, Math.max(0, Math.min(3, room)));
  room -= shownNews.length;
  const shownLag = room >= lag.length + 4 ? lag : [];
  room -= shownLag.length;
  const shownDetail = room >= 2 ? [rule, ...detail.slice(0, Math.max(1, room - (room > 6 ? 3 : 1)))] : [];
  room -= shownDetail.length;
  const shownJournal = room >= 2 ? [rule, ...journalLines(found, room - 1)] : [];
  room -= shownJournal.length;
  const body = [...connections, ...head, ...shownRail, ...shownNews, ...shownLag, ...shownDetail, ...shownJournal];
  return [...body, ...new Array<Line>(Math.max(0, room)).fill([]), ...foot];
}

/** A line for each daemon: who answers, since when it is lost, and the time by its clock. */
function connectionLines(view: View, now: Now, { columns }: Size, style: Style): Line[] {
  return view.daemons.map(({ url, model }): Line => {
    const name = model.daemon === null ? url : `${plain(model.daemon.id)} ${plain(model.daemon.version)}`;
    if (!isLive(model, now)) {
      const text = `${(doubtOf(model, now) ?? '').toUpperCase()}  ${name}  ${connectionWords(model, now)}`;
      return [{ text: pad(` ${text}`, columns), colour: 'inverse' }];
    }
    const clock = daemonNow(model, now);
    const left = ` lockgate  ${name}${view.daemons.length > 1 ? `  ${url}` : ''}`;
    const right = `${style.unicode ? '● ' : ''}live  ${clock === null ? '' : instantText(clock, clock)} `;
    return [
      { text: pad(left, Math.max(0, columns - right.length)), colour: 'bold' },
      { text: right, colour: 'green' },
    ];
  });
}

function headLines(view: View, { by, migration }: Found, gate: string | null, now: Now, style: Style): Line[] {
  const { arrow } = style.unicode ? SIGNS.unicode : SIGNS.ascii;
  const others = migrationsOf(view).length;
  const live = isLive(by.model, now);
  const direction = live ? migration.direction : `${migration.direction} (old)`;
  const sides = (['source', 'target'] as const).flatMap((side): Piece[] => sideFaults(by, migration.name, side, now));
  const name: Line = [
    { text: ` ${plain(migration.name)}`, colour: 'bold' },
    { text: `  ${plain(migration.source)} ${arrow} ${plain(migration.target)}  direction ${direction}` },
    { text: others > 1 ? `  (one of ${others} migrations)` : '', colour: 'dim' },
    ...sides,
  ];
  if (gate === null) return [name];
  const all = gateOfAll(view, gate, now);
  if (all === null) return [name];
  const from = view.daemons.length > 1 ? ` (${all.by.url})` : '';
  return [name, [{ text: ` ${headline(all.shown)}${from}`, colour: COLOURS[all.state] }], []];
}

/** What is wrong with a side; nothing when nothing is. */
function sideFaults({ model }: Watched, migration: string, side: 'source' | 'target', now: Now): Piece[] {
  const reachable = signalShown(model, migration, `${side}.reachable`, now);
  const strays = model.migrations.get(migration)?.sides[side].stray_writes.count ?? 0;
  const pieces: Piece[] = [];
  if (reachable !== undefined && isLive(model, now) && reachable.value !== 1) {
    const text = reachable.value === 0 ? 'NOT REACHABLE' : 'reachability unknown';
    pieces.push({ text: `  ${side} ${text}`, colour: reachable.value === 0 ? 'red' : 'magenta' });
  }
  if (strays > 0) pieces.push({ text: `  ${side}: ${strays} STRAY WRITES`, colour: 'red' });
  return pieces;
}

function railLines(view: View, found: Found, gate: string | null, now: Now, size: Size, style: Style): Line[] {
  const { mark } = style.unicode ? SIGNS.unicode : SIGNS.ascii;
  const rows = rowsOf(found.by, found.migration);
  const names = rows.map((row) => row.gate.slice(row.gate.indexOf('/') + 1));
  const width = Math.max(0, ...names.map((n) => n.length));
  return rows.map((row, i): Line => {
    const all = gateOfAll(view, row.gate, now);
    if (all === null) return [];
    const chosen = row.gate === gate;
    const { shape, ascii } = GLYPHS[all.state];
    const why = becauseOf(all.shown);
    return [
      { text: chosen ? `${mark} ` : '  ', colour: 'bold' },
      { text: size.columns < NARROW ? '' : pad(row.phase, 15), colour: 'dim' },
      { text: `${style.unicode ? shape : ascii} ${pad(all.state.toUpperCase(), 8)}`, colour: COLOURS[all.state] },
      { text: pad(names[i] ?? '', width + 2), ...(chosen ? { colour: 'bold' as const } : {}) },
      { text: why, colour: 'dim' },
    ];
  });
}

/** As many lines of the rail as there is room for, with the chosen gate among them. */
function windowed(rail: readonly Line[], gate: string | null, room: number): readonly Line[] {
  if (rail.length <= room) return rail;
  const at = gate === null ? 0 : rail.findIndex((line) => line[0]?.text.trim() !== '');
  const from = Math.max(0, Math.min(rail.length - room, at - Math.floor(room / 2)));
  return rail.slice(from, from + room);
}

function lagLines(
  { by: { model }, migration }: Found,
  gate: string | null,
  now: Now,
  size: Size,
  style: Style,
): Line[] {
  const live = isLive(model, now);
  return Object.keys(migration.links).map((link): Line => {
    const points = model.lag.get(`${migration.name}/${link}`) ?? [];
    const signal = signalShown(model, migration.name, `${link}.lag`, now);
    const value = signal?.state === 'ok' ? valueText(signal.value, 's') : 'UNKNOWN';
    const role = migration.direction === 'unknown' ? [] : [link === migration.direction ? 'active.lag' : 'standby.lag'];
    const conditions = model.gates.get(gate ?? '')?.verdict.conditions ?? [];
    const asked = tightestBound(conditions, [`${link}.lag`, ...role])?.asked ?? null;
    const over = asked !== null && signal?.state === 'ok' && (signal.value ?? 0) >= asked.threshold;
    const needs = asked === null ? '' : `  needs ${asked.op} ${asked.thresholdText}`;
    const backlog = signalShown(model, migration.name, `${link}.backlog_bytes`, now);
    const behind = backlog?.state === 'ok' ? `  backlog ${valueText(backlog.value, 'B')}` : '';
    const toMs = daemonNow(model, now) ?? points.at(-1)?.atMs ?? 0;
    const columns = Math.max(0, Math.min(60, size.columns - 50));
    const drawn = sparkline({ points, toMs, rangeMs: LAG_RANGE_MS, columns, threshold: asked?.threshold ?? null, unicode: style.unicode }); // prettier-ignore
    return [
      { text: ` ${pad(link, 8)}lag `, colour: 'dim' },
      { text: pad(value, 9), ...(signal?.state !== 'ok' ? { colour: 'magenta' as const } : over ? { colour: 'red' as const } : {}) }, // prettier-ignore
      ...(live ? drawn : drawn.map((p): Piece => ({ ...p, colour: 'dim' }))),
      { text: `${needs}${behind}`, colour: 'dim' },
    ];
  });
}

function detailLines(view: View, gate: string, now: Now, style: Style): Line[] {
  const all = gateOfAll(view, gate, now);
  const verdict = all?.shown.verdict ?? null;
  if (all === null || verdict === null) return [[{ text: ` ${plain(gate)}: nothing is known of it`, colour: 'dim' }]];
  const doubted = all.shown.doubt !== null;
  const title = doubted ? ' as it was said last: ' : ' ';
  const head: Line = [
    { text: `${title}${plain(gate)}`, colour: 'bold' },
    { text: verdict.since === '' ? '' : `  since ${instantText(verdict.since, now.wallMs)}`, colour: 'dim' },
    { text: all.shown.opensIn === null ? '' : `  could open in ${durationText(all.shown.opensIn)}`, colour: 'yellow' },
  ];
  const { full, empty } = style.unicode ? SIGNS.unicode : SIGNS.ascii;
  const conditions = conditionsByWeight(verdict).map((c): Line => {
    const { shape, ascii } = GLYPHS[c.state];
    const share = c.needs_seconds > 0 ? Math.min(1, c.held_seconds / c.needs_seconds) : 0;
    const done = Math.floor(share * 8);
    const bar = c.needs_seconds > 0 ? `  ${full.repeat(done)}${empty.repeat(8 - done)} ${holdText(c)}` : '';
    const why = c.reason === null || c.state === 'unknown' ? '' : `  ${plain(c.reason)}`;
    const mark = style.unicode ? shape : ascii;
    return [
      // What was said last has the shape of nothing good.
      doubted
        ? { text: ` ? was ${pad(c.state, 8)} `, colour: 'dim' }
        : { text: ` ${mark} ${pad(c.state, 8)} `, colour: COLOURS[c.state] },
      { text: c.state === 'holding' ? conditionWords({ ...c, state: 'held' }) : conditionWords(c) },
      { text: c.state === 'held' ? '' : bar, colour: 'dim' },
      { text: why, colour: 'dim' },
    ];
  });
  return [head, ...conditions];
}

function fenceLines({ by, migration }: Found, now: Now): Line[] {
  const shown = fenceShown(by.model, migration.name, now);
  if (shown === null || shown.fence.ended_at !== null) return [];
  const { fence, state, doubt, left } = shown;
  const colour: Colour = state === 'drained' ? 'green' : state === 'placed' ? 'yellow' : state === 'unknown' ? 'magenta' : 'red'; // prettier-ignore
  const told =
    doubt ??
    (state === 'drained'
      ? `in ${fence.drain_seconds === null ? '?' : valueText(fence.drain_seconds, 's')}, up to ${plain(fence.source_position)}`
      : state === 'violated'
        ? violationsText(fence, now.wallMs)
        : missingText(fence));
  const time = left === null ? '' : `  ${durationText(left)} left`;
  return [[{ text: ` fence ${state.toUpperCase()}${time}`, colour }, { text: `  ${told}` }]];
}

function alertLines({ by, migration }: Found, now: Now): Line[] {
  const old = isLive(by.model, now) ? '' : ' (old)';
  return migration.alerts.map(({ rule, severity, since, reason, summary }): Line => [
    { text: ` ALERT${old} ${plain(rule)}`, colour: 'red' },
    { text: `  ${severity} since ${instantText(since, now.wallMs)}  ${plain(reason ?? summary)}` },
  ]);
}

function verifyLines({ by, migration }: Found, now: Now): Line[] {
  const running = by.model.verify.get(migration.name)?.running ?? null;
  if (running === null || !isLive(by.model, now)) return [];
  const share = running.rows_estimated > 0 ? Math.min(1, running.rows_done / running.rows_estimated) : 0;
  const left = running.eta_seconds === null ? '' : `, about ${durationText(running.eta_seconds)} left`;
  const where = running.paused === null ? plain(running.table ?? '') : `PAUSED: ${plain(running.paused)}`;
  const told = `${Math.floor(share * 100)} %, ${running.tables_done}/${running.tables_total} tables${left}`;
  return [[{ text: ' verify', colour: 'bold' }, { text: `  ${told}  ${where}` }]];
}

function journalLines({ by, migration }: Found, rows: number): Line[] {
  const lines = by.model.journal.filter((l) => l['migration'] === migration.name || l['migration'] === null);
  return lines.slice(-rows).map((line): Line => {
    const [when = '', kind = '', subject = '', , gist = ''] = entryCells(line);
    const time = when.replace(/^.*T/, '');
    return [
      { text: ` ${time}  `, colour: 'dim' },
      { text: `${pad(kind, 10)} ${subject.replace(`${migration.name}/`, '')}  ${gist}` },
    ];
  });
}
