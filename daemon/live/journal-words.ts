/** Entries of the journal as people read them. */
import { missingText, violationsText } from './fence-words.js';
import { fenceOf, isObject, numberOr, textOr } from './read.js';
import { instantText, plain, plural, valueText } from './words.js';

type Json = Record<string, unknown>;

/** Fields that have a column of their own. */
const SHOWN = new Set(['id', 'at', 'kind', 'migration', 'gate', 'actor', 'by', 'data', 'from', 'to', 'note', 'name']);

/** What happened at a cutover is told in sentences; null when an entry does not have what its sentence needs. */
const SENTENCES: Readonly<Record<string, (data: Json, at: number) => string | null>> = {
  fence: fenceSentence,
  promote: changeSentence,
  rollback: changeSentence,
  direction: directionSentence,
  'stray-write': straySentence,
  alert: alertSentence,
  'verify-started': verifyStartedSentence,
  'verify-ended': verifyEndedSentence,
  'verify-mismatch': verifyMismatchSentence,
  'split-brain': ({ reason }) => `BOTH SIDES ARE WRITTEN TO${after(': ', textOr(reason, null))}`,
};

/** What became of an alert, and what it went by. */
function alertSentence(data: Json, at: number): string | null {
  const [state, rule] = [textOr(data['state'], null), textOr(data['rule'], null)];
  if (state === null) return null;
  const name = rule === null ? 'a change' : plain(rule);
  const severity = after(', ', textOr(data['severity'], null));
  const reason = after(': ', textOr(data['reason'], null));
  const value = numberOr(data['value'], null);
  const measured = value === null ? '' : `, at ${valueText(value, textOr(data['unit'], ''))}`;
  const until = textOr(data['until'], null);
  switch (state) {
    case 'fired':
      return `${name} FIRES${severity}${after(', ', textOr(data['when'], null))}${measured}${reason}`;
    case 'resolved':
      return `${name} resolved${reason}`;
    case 'silenced': {
      const note = after(': ', textOr(data['note'], '') === '' ? null : textOr(data['note'], null));
      return `${name} SILENCED by maintenance${until === null ? '' : ` until ${instantText(until, at)}`}${note}`;
    }
    case 'delivery-failed':
      return `${name} NOT DELIVERED to ${plain(textOr(data['sink'], '?'))} (${plain(textOr(data['event'], '?'))})${reason}`;
    default:
      return null;
  }
}

/** A change of direction is journaled before it is written to the databases, and once more when that is known to be done or not. */
const STEPS: Readonly<Record<string, string>> = {
  declaring: 'DECLARING',
  declared: 'DECLARED',
  failed: 'FAILED, see in `lockgate status` which direction holds',
};

/** The columns of an entry: when, what kind, about what, who, and the gist. */
export function entryCells(entry: Json): string[] {
  const data = isObject(entry['data']) ? entry['data'] : {};
  const field = (name: string): string => scalar(entry[name] ?? data[name]);
  const kind = field('kind');
  const subject = [field('migration'), field('gate') === '' ? field('name') : field('gate')].filter((p) => p !== '');
  const by = field('by') === '' ? field('actor') : `${field('by')} (${field('actor')})`;
  const tell = Object.hasOwn(SENTENCES, kind) ? SENTENCES[kind] : undefined;
  const at = instantOf(entry['at']);
  // The migration has a column of its own and need not be in the data once more.
  const gist = tell?.({ migration: entry['migration'], ...data }, Number.isFinite(at) ? at : 0) ?? anyGist(entry, data);
  return [timeCell(entry['at']), kind, subject.join('/') || '-', by || '-', gist];
}

/** Whatever can be said in a few characters. */
function anyGist(entry: Json, data: Json): string {
  const field = (name: string): string => scalar(entry[name] ?? data[name]);
  const change = field('to') === '' ? '' : `${field('from') === '' ? '?' : field('from')} -> ${field('to')}`;
  const rest = [...Object.entries(entry), ...Object.entries(data)]
    .filter(([key, value]) => !SHOWN.has(key) && scalar(value) !== '')
    .map(([key, value]) => `${plain(key)}=${scalar(value)}`);
  return [change, field('note'), ...rest].filter((p) => p !== '').join(' ');
}

function fenceSentence(data: Json, at: number): string | null {
  const fence = fenceOf(isObject(data['fence']) ? data['fence'] : data);
  if (fence === null) return null;
  const because = after(': ', fence.ended_because);
  const position = plain(fence.source_position);
  const told: Readonly<Record<typeof fence.state, string>> = {
    placed: `at ${position}, deadline ${instantText(fence.deadline_at, at)}`,
    drained: `in ${fence.drain_seconds === null ? '?' : valueText(fence.drain_seconds, 's')}, up to ${position}, by ${fence.basis.map(plain).join(', ') || '?'}`,
    unknown: missingText(fence),
    violated: violationsText(fence, at),
    expired: missingText(fence),
    closed: `it had drained up to ${position}${because}`,
    cancelled: because.slice(2),
  };
  // Why it was placed need not be told at every step.
  const note = fence.state === 'placed' ? plain(fence.note) : '';
  return [`${fence.link} fence ${plain(fence.id)} ${fence.state.toUpperCase()}`, told[fence.state], note]
    .filter((p) => p !== '')
    .join('; ');
}

function changeSentence(data: Json): string | null {
  const told = Object.entries(STEPS).find(([step]) => step === data['step']);
  if (told === undefined) return null;
  const [step, word] = told;
  if (step === 'failed') return `${word}${after(': ', textOr(data['why'], null))}`;
  const direction = textOr(data['direction'], null);
  if (direction === null) return null;
  const fence = textOr(data['fence'], null);
  const side = direction === 'reverse' ? 'target' : direction === 'forward' ? 'source' : null;
  const where = [after('the ', side), after(side === null ? '' : '= ', textOr(data['new_side'], null))]
    .join(' ')
    .trim();
  const old = textOr(data['old_side'], null);
  const stood = textOr(data['old_side_position'], null);
  const warnings = Array.isArray(data['warnings']) ? (data['warnings'] as unknown[]).map(scalar) : [];
  const belong = after('writes belong on ', where === '' ? null : where);
  const head = `${word}${data['forced'] === true ? ' BY FORCE' : ''}${after(': ', belong)}`;
  // What it rests on was told when it began.
  const rests = [
    fence === null ? 'no fence' : `on fence ${plain(fence)}`,
    `${old === null ? 'the old side' : plain(old)} ${stood === null ? 'could not be asked where it stood' : `stood at ${plain(stood)}`}`,
    after('reason: ', textOr(data['reason'], null)),
  ];
  return [
    `${head} (direction ${plain(direction)}${after(', epoch ', epochOf(data))})`,
    ...(step === 'declaring' ? rests : []),
    ...warnings.map((warning) => after('WARNING: ', warning)),
  ]
    .filter((p) => p !== '')
    .join('; ');
}

function verifyStartedSentence(data: Json): string | null {
  const [pass, tables] = [textOr(data['pass'], null), numberOr(data['tables'], null)];
  return pass === null || tables === null ? null : `pass ${plain(pass)} over ${plural(tables, 'table')}`;
}

function verifyEndedSentence(data: Json): string | null {
  const pass = textOr(data['pass'], null);
  if (pass === null) return null;
  const counts = ['mismatch', 'not-settled', 'not-covered', 'match']
    .map((state) => [numberOr(data[state], 0), state] as const)
    .filter(([n]) => n > 0)
    .map(([n, state]) => `${String(n)} ${state}`);
  const seconds = numberOr(data['seconds'], null);
  const end = data['complete'] === true ? 'complete' : 'NOT COMPLETE';
  return `pass ${plain(pass)} ${end}${seconds === null ? '' : ` in ${valueText(seconds, 's')}`}${after(': ', counts.join(', '))}${after('; ', textOr(data['reason'], null))}`;
}

function verifyMismatchSentence(data: Json): string | null {
  const [table, rows] = [textOr(data['table'], null), numberOr(data['mismatched_rows'], null)];
  if (table === null || rows === null) return null;
  const keys = (Array.isArray(data['keys']) ? (data['keys'] as unknown[]) : [])
    .filter(isObject)
    .slice(0, 3)
    .map(({ kind, key }) => `${scalar(kind)} ${isObject(key) ? Object.entries(key).map(([n, v]) => `${plain(n)}=${scalar(v)}`).join(',') : '?'}`); // prettier-ignore
  return `${plain(table)} DIFFERS in ${data['at_least'] === true ? 'at least ' : ''}${plural(rows, 'row')}${after(': ', keys.join('; '))}${after(' ', textOr(data['reason'], null))}`;
}

/** Both what was seen on the databases (`direction`, `reason`) and a plain change (`from`, `to`). */
function directionSentence(data: Json): string | null {
  const to = textOr(data['to'], null) ?? textOr(data['direction'], null);
  if (to === null) return null;
  const from = textOr(data['from'], null);
  return `${from === null ? '' : `${plain(from)} -> `}${plain(to)}${epochText(data)}${after(': ', textOr(data['reason'], null))}`;
}

function straySentence(data: Json, at: number): string | null {
  const count = numberOr(data['count'], null);
  if (count === null) return null;
  const side = textOr(data['side'], null);
  const first = [after('at ', textOr(data['first_position'], null)), instantCell(data['first_at'], at)].filter(
    (p) => p !== '',
  );
  return `${plural(count, 'stray write')}${after(' on the ', side)}${first.length === 0 ? '' : `, the first ${first.join(', ')}`}`;
}

function epochText(data: Json): string {
  const epoch = epochOf(data);
  return epoch === null ? '' : ` (epoch ${epoch})`;
}

function epochOf(data: Json): string | null {
  const epoch = numberOr(data['epoch'], null);
  return epoch === null ? null : String(epoch);
}

/** The text behind a word that leads to it, or nothing where there is none. */
function after(lead: string, text: string | null): string {
  return text === null || text === '' ? '' : `${lead}${plain(text)}`;
}

function instantCell(value: unknown, at: number): string {
  return typeof value === 'string' ? instantText(value, at) : '';
}

function instantOf(at: unknown): number {
  return typeof at === 'number' ? at : typeof at === 'string' ? Date.parse(at) : NaN;
}

function timeCell(at: unknown): string {
  const ms = instantOf(at);
  return Number.isFinite(ms) ? new Date(ms).toISOString().replace(/\.\d+Z$/, 'Z') : '?';
}

/** A value in a few characters; evidence in depth is for `--json`. */
function scalar(value: unknown): string {
  if (typeof value === 'string') return plain(value);
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : '';
}
