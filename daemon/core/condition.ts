import type { Us } from './clock.js';
import { quote, Rejected, Scanner } from './scanner.js';
import { findSignal, signalNames, type SignalContext, type SignalDefinition } from './signal.js';
import { didYouMean } from './suggest.js';
import { bytesPer, formatDurationUs, parseDurationUs, secondsPer, type Unit } from './units.js';

export type Comparator = '<' | '<=' | '>' | '>=' | '==' | '!=';
export type WindowFunction = 'max' | 'min' | 'avg' | 'p50' | 'p90' | 'p95' | 'p99';

/** A condition that was parsed and checked against the signals that exist. */
export type Condition = SignalCondition | GateCondition;

/** `forward.lag < 2s for 10m`, or `p99(forward.lag, 5m) < 2s`. */
export interface SignalCondition {
  kind: 'signal';
  /** As the user wrote it, white space folded. */
  text: string;
  /** The migration whose signal it is. */
  migration: string;
  /** Relative to the migration, for example `forward.lag`. */
  signal: string;
  unit: Unit;
  fn: { name: WindowFunction; windowUs: Us } | null;
  op: Comparator;
  /** In the signal's unit. */
  threshold: number;
  /** 0 when there is no `for`. */
  forUs: Us;
}

/** `gate shop/flip-writes open for 5m`. */
export interface GateCondition {
  kind: 'gate';
  text: string;
  /** Gate id. */
  gate: string;
  forUs: Us;
  /**
   * What is asked of it: `open` when left out, which is all that can be written. Rules of alerts also ask whether it is
   * known to be `closed`, and whether it is `not-open`, closed or unknown, which is never unknown itself.
   */
  is?: 'closed' | 'not-open';
}

/** Where a condition stands, and so what its names mean; `gates` are the ids of every gate of the daemon. */
export type ConditionContext =
  | { migration: string; signals: SignalContext; gates: ReadonlySet<string> }
  | { migration: null; migrations: ReadonlyMap<string, SignalContext>; gates: ReadonlySet<string> };

/** The outcome of parsing: a condition, or what is wrong with the text, at which column (from 1), and what would be right. */
export type ParsedCondition =
  { ok: true; condition: Condition } | { ok: false; message: string; hint: string | null; column: number };

/** The longest window of a function: what the board keeps of every signal. */
const MAX_WINDOW_US: Us = 3_600_000_000;
/** The longest hold: ten years, so that instants in microseconds stay exact. */
const MAX_DURATION_US: Us = 3650 * 86_400_000_000;

const FUNCTIONS: readonly WindowFunction[] = ['max', 'min', 'avg', 'p50', 'p90', 'p95', 'p99'];
const OPERATOR_WORDS: Readonly<Record<string, Comparator>> = {
  under: '<',
  below: '<',
  over: '>',
  above: '>',
  is: '==',
};
const OPERATORS = '`<`, `<=`, `>`, `>=`, `==`, `!=`, `under`, `below`, `over`, `above` or `is`';
const DURATIONS = 'write it like `500ms`, `10m`, `1h30m` or `7d`';
const EXAMPLE = 'write for example `forward.lag < 2s for 10m`';

/** Parses one condition and checks its names, units and numbers; it is pure and throws on no text whatever. */
export function parseCondition(text: string, context: ConditionContext): ParsedCondition {
  const scan = new Scanner(text);
  try {
    const folded = text.trim().replace(/\s+/g, ' ');
    const condition = scan.has(/gate(?=\s|$)/y)
      ? gateCondition(scan, folded, context)
      : signalCondition(scan, folded, context);
    return { ok: true, condition };
  } catch (error) {
    if (!(error instanceof Rejected)) throw error;
    return { ok: false, message: error.message, hint: error.hint, column: error.at + 1 };
  }
}

/** Writes a condition in one canonical spelling, which parses to the same condition where it stands (`top`: across migrations). */
export function formatCondition(condition: Condition, where: 'migration' | 'top'): string {
  const hold = condition.forUs === 0 ? '' : ` for ${exactDuration(condition.forUs)}`;
  if (condition.kind === 'gate') return `gate ${condition.gate} open${hold}`;
  const name = where === 'top' ? `${condition.migration}.${condition.signal}` : condition.signal;
  const operand =
    condition.fn === null ? name : `${condition.fn.name}(${name}, ${exactDuration(condition.fn.windowUs)})`;
  const unit = condition.unit === 's' || condition.unit === 'B' ? condition.unit : '';
  return `${operand} ${condition.op} ${plainDecimal(condition.threshold)}${unit}${hold}`;
}

function gateCondition(scan: Scanner, text: string, context: ConditionContext): GateCondition {
  scan.take(/gate/y);
  const at = scan.at();
  const name = scan.take(/[^\s(),]+/y);
  if (name === null || (name === 'open' && scan.atEnd())) {
    return scan.reject('the name of the gate is missing', 'write `gate NAME open`', at);
  }
  const gate = context.migration !== null && !name.includes('/') ? `${context.migration}/${name}` : name;
  if (!context.gates.has(gate)) scan.reject(`there is no gate ${quote(name)}`, unknownGateHint(name, context), at);
  if (scan.take(/open(?![^\s])/y) === null) {
    scan.reject(`expected \`open\` after the gate's name, found ${scan.seen()}`, 'write `gate NAME open`');
  }
  return { kind: 'gate', text, gate, forUs: holdFor(scan) };
}

function unknownGateHint(name: string, context: ConditionContext): string | null {
  const { migration, gates } = context;
  if (migration !== null && gates.has(name)) {
    return 'a gate of a migration cannot depend on a gate across migrations; name the gates it stands for';
  }
  // Inside a migration its own gates are written without the prefix, so they are suggested in that form.
  const names = [...gates].map((id) =>
    migration !== null && id.startsWith(`${migration}/`) ? id.slice(migration.length + 1) : id,
  );
  const other = names.find((id) => id.endsWith(`/${name}`));
  if (other !== undefined) return `did you mean \`${other}\`?`;
  return didYouMean(name, names, names.length === 0 ? null : `the gates are ${names.slice(0, 12).join(', ')}`);
}

function signalCondition(scan: Scanner, text: string, context: ConditionContext): SignalCondition {
  if (scan.atEnd()) scan.reject('the condition is empty', EXAMPLE);
  let at = scan.at();
  let name = scan.take(/[A-Za-z0-9_][A-Za-z0-9_.-]*/y);
  if (name === null) return scan.reject(`expected a signal, found ${scan.seen()}`, EXAMPLE);
  let fn: SignalCondition['fn'] = null;
  if (scan.has(/\(/y)) {
    const called = FUNCTIONS.find((f) => f === name);
    if (called === undefined) {
      const hint = didYouMean(name, FUNCTIONS, `the functions are ${FUNCTIONS.join(', ')}`);
      return scan.reject(`there is no function ${quote(name)}`, hint, at);
    }
    scan.take(/\(/y);
    at = scan.at();
    name = scan.take(/[A-Za-z0-9_][A-Za-z0-9_.-]*/y);
    if (name === null) return scan.reject(`expected a signal, found ${scan.seen()}`, `write \`${called}(SIGNAL, 5m)\``);
    fn = { name: called, windowUs: window(scan, called, name) };
  }
  const found = resolveSignal(scan, at, name, context);
  const op = comparator(scan);
  const threshold = thresholdOf(scan, name, found.definition.unit);
  return {
    kind: 'signal',
    text,
    migration: found.migration,
    signal: found.signal,
    unit: found.definition.unit,
    fn,
    op,
    threshold,
    forUs: holdFor(scan),
  };
}

function window(scan: Scanner, fn: string, signal: string): Us {
  if (scan.take(/,/y) === null) {
    scan.reject(`expected a window, found ${scan.seen()}`, `write \`${fn}(${signal}, 5m)\``);
  }
  const at = scan.at();
  const written = scan.take(/[^(),<>=!]*/y)?.trim() ?? '';
  const us = duration(scan, at, written, 'the window');
  if (us > MAX_WINDOW_US) {
    scan.reject(
      `the window ${quote(written)} is longer than an hour`,
      `compare the signal itself over long stretches: \`${signal} < … for ${written}\``,
      at,
    );
  }
  if (scan.take(/\)/y) === null) scan.reject(`expected \`)\`, found ${scan.seen()}`, `write \`${fn}(${signal}, 5m)\``);
  return us;
}

function resolveSignal(
  scan: Scanner,
  at: number,
  name: string,
  context: ConditionContext,
): { migration: string; signal: string; definition: SignalDefinition } {
  let migration: string;
  let signal = name;
  let signals: SignalContext;
  let prefix = '';
  if (context.migration !== null) {
    ({ migration, signals } = context);
  } else {
    const dot = name.indexOf('.');
    migration = dot < 0 ? name : name.slice(0, dot);
    const known = context.migrations.get(migration);
    if (known === undefined) return scan.reject(...unknownMigration(name, migration, context.migrations), at);
    signals = known;
    signal = dot < 0 ? '' : name.slice(dot + 1);
    prefix = `${migration}.`;
  }
  const definition = findSignal(signal, signals);
  if (definition !== undefined) return { migration, signal, definition };
  return scan.reject(`there is no signal ${quote(name)}`, unknownSignalHint(signal, prefix, migration, signals), at);
}

function unknownMigration(
  name: string,
  migration: string,
  migrations: ReadonlyMap<string, SignalContext>,
): [string, string | null] {
  for (const [m, signals] of migrations) {
    if (findSignal(name, signals) !== undefined) {
      return [`${quote(name)} does not say of which migration`, `across migrations write \`${m}.${name}\``];
    }
  }
  return [
    `there is no migration ${quote(migration)}`,
    didYouMean(migration, migrations.keys(), `across migrations a signal is written \`MIGRATION.${name}\``),
  ];
}

function unknownSignalHint(signal: string, prefix: string, migration: string, signals: SignalContext): string | null {
  const [head = '', ...tail] = signal.split('.');
  if (prefix === '' && head === migration && findSignal(tail.join('.'), signals) !== undefined) {
    return `inside the migration write \`${tail.join('.')}\``;
  }
  if (head === 'attest') return `an attestation is written \`${prefix}attest.NAME.age\``;
  if ((head === 'reverse' || head === 'standby') && !signals.links.includes('reverse')) {
    return `the migration ${migration} has no \`reverse\` link`;
  }
  const names = signalNames(signals).map((n) => prefix + n);
  if (head === 'traffic' || head === 'dns') {
    const own = names.filter((n) => n.startsWith(`${prefix}${head}.`));
    return own.length === 0 ? `the migration ${migration} has no \`${head}\`` : `there is ${own.join(', ')}`;
  }
  // A signal written without its link or side (`lag`) means one of those that end so.
  const whole = names.find((n) => n.endsWith(`.${signal}`));
  if (whole !== undefined) return `did you mean \`${whole}\`?`;
  return didYouMean(prefix + signal, names, null);
}

function comparator(scan: Scanner): Comparator {
  const at = scan.at();
  const symbol = scan.take(/[<>=!≤≥]+/y);
  switch (symbol) {
    case '<':
    case '<=':
    case '>':
    case '>=':
    case '==':
    case '!=':
      return symbol;
    case null:
      break;
    default: {
      const meant: Record<string, string> = {
        '=': '==',
        '===': '==',
        '=<': '<=',
        '=>': '>=',
        '≤': '<=',
        '≥': '>=',
        '<>': '!=',
      };
      const right = meant[symbol];
      return scan.reject(
        `there is no comparison ${quote(symbol)}`,
        right === undefined ? `use ${OPERATORS}` : `write \`${right}\``,
        at,
      );
    }
  }
  const word = scan.take(/(?:under|below|over|above|is)(?![A-Za-z0-9_])/y);
  if (word === null) return scan.reject(`expected a comparison, found ${scan.seen()}`, `use ${OPERATORS}`);
  if (word === 'is' && scan.has(/not\b/y)) return scan.reject('there is no comparison `is not`', 'write `!=`', at);
  return OPERATOR_WORDS[word] ?? scan.reject(`expected a comparison, found ${quote(word)}`, `use ${OPERATORS}`, at);
}

/** What a value of each unit looks like, for hints. */
function unitHint(n: string, unit: Unit): string {
  switch (unit) {
    case 's':
      return `write ${n}s or ${n}ms`;
    case 'B':
      return `write ${n}B or ${n}MiB`;
    case 'ratio':
      return 'write a ratio such as 0.05, or 5%';
    case 'percent':
      return 'write a number from 0 to 100, with or without %';
    case 'flag':
      return 'write 0 or 1';
    default:
      return `write ${n} without a unit`;
  }
}

const UNIT_WORDS: Readonly<Record<Unit, string>> = {
  s: 'a time in us, ms, s, min, h or d',
  B: 'a size in B, KiB, MiB or GiB',
  ratio: 'a ratio without a unit or in %',
  count: 'a count without a unit',
  'count/s': 'a number per second without a unit',
  percent: 'a percentage from 0 to 100',
  flag: '0 or 1 without a unit',
};

function thresholdOf(scan: Scanner, name: string, unit: Unit): number {
  const at = scan.at();
  const token = scan.take(/[^\s()]+/y) ?? '';
  const n = /^\d+(?:\.\d+)?/.exec(token)?.[0];
  if (n === undefined) {
    if (/^[-−]\s*\d/.test(token + scan.rest())) {
      scan.reject('a threshold cannot be negative', 'write 0 or more', at);
    }
    const seen = token === '' ? 'the end of the condition' : quote(token);
    return scan.reject(`expected a number, found ${seen}`, unitHint('2', unit), at);
  }
  let spelled = token.slice(n.length);
  if (spelled === '') spelled = scan.take(/(?!for\b)[A-Za-zµ%]+(?=\s|$)/y) ?? '';
  else if (!/^[A-Za-zµ%]+$/.test(spelled)) {
    const long = parseDurationUs(token);
    if (long !== null) scan.reject(`${quote(token)} has more than one unit`, `write ${plainDecimal(long / 1e6)}s`, at);
    scan.reject(`${quote(token)} is not a number`, unitHint('2', unit), at);
  }
  const value = inUnit(scan, at, name, n, spelled, unit);
  if (!Number.isFinite(value) || value > Number.MAX_SAFE_INTEGER) scan.reject('the number is too large', null, at);
  return value;
}

function inUnit(scan: Scanner, at: number, name: string, n: string, spelled: string, unit: Unit): number {
  const number = Number(n);
  const wrong = (): never =>
    scan.reject(
      `the unit \`${spelled}\` does not fit \`${name}\`, which is ${UNIT_WORDS[unit]}`,
      unitHint(n, unit),
      at,
    );
  const none = (): never => scan.reject(`\`${name}\` needs a unit: it is ${UNIT_WORDS[unit]}`, unitHint(n, unit), at);
  switch (unit) {
    case 's': {
      if (spelled === '') return none();
      const seconds = secondsPer(spelled) ?? wrong();
      // Dividing by a whole number rounds once; multiplying by 1e-3 would round twice and not print back the same.
      return seconds >= 1 ? number * seconds : number / Math.round(1 / seconds);
    }
    case 'B':
      return spelled === '' ? none() : number * (bytesPer(spelled) ?? wrong());
    case 'ratio': {
      if (spelled !== '' && spelled !== '%') return wrong();
      const ratio = spelled === '%' ? number / 100 : number;
      const hint = spelled === '' && number <= 100 ? `write ${n}% or ${plainDecimal(number / 100)}` : null;
      return ratio <= 1 ? ratio : scan.reject(`\`${name}\` is a ratio from 0 to 1`, hint, at);
    }
    case 'percent':
      if (spelled !== '' && spelled !== '%') return wrong();
      return number <= 100 ? number : scan.reject(`\`${name}\` is a percentage from 0 to 100`, null, at);
    case 'flag':
      if (spelled !== '') return wrong();
      return number === 0 || number === 1 ? number : scan.reject(`\`${name}\` is 0 or 1`, 'write 0 or 1', at);
    default:
      return spelled === '' ? number : wrong();
  }
}

function holdFor(scan: Scanner): Us {
  if (scan.atEnd()) return 0;
  if (scan.take(/for(?![A-Za-z0-9_])/y) === null) {
    const hint = scan.has(/(?:and|or|&&|\|\|)(?![A-Za-z0-9_])/iy)
      ? 'write each condition as an entry of its own under `require`'
      : 'only `for DURATION` may follow';
    scan.reject(`unexpected ${scan.seen()}`, hint);
  }
  const at = scan.at();
  return duration(scan, at, scan.rest(), 'the duration');
}

function duration(scan: Scanner, at: number, written: string, what: string): Us {
  if (written === '') scan.reject(`${what} is missing`, DURATIONS, at);
  if (/^[-−]/.test(written)) scan.reject(`${what} cannot be negative`, DURATIONS, at);
  if (/^\d+(?:\.\d+)?$/.test(written)) {
    scan.reject(`${what} ${quote(written)} needs a unit`, `write ${written}s or ${written}m`, at);
  }
  const us = parseDurationUs(written);
  if (us === null) return scan.reject(`${quote(written)} is not a duration`, DURATIONS, at);
  if (us === 0) scan.reject(`${what} cannot be 0`, DURATIONS, at);
  if (us > MAX_DURATION_US) scan.reject(`${what} is longer than ${formatDurationUs(MAX_DURATION_US)}`, DURATIONS, at);
  return us;
}

/** Unlike `formatDurationUs` it loses nothing. */
function exactDuration(us: Us): string {
  const units: [Us, string][] = [
    [86_400_000_000, 'd'],
    [3_600_000_000, 'h'],
    [60_000_000, 'm'],
    [1_000_000, 's'],
    [1_000, 'ms'],
    [1, 'us'],
  ];
  let left = us;
  let out = '';
  for (const [size, name] of units) {
    const n = Math.floor(left / size);
    if (n > 0) out += `${String(n)}${name}`;
    left -= n * size;
  }
  return out;
}

/** A number with all its digits and without an exponent, which the grammar does not know. */
function plainDecimal(value: number): string {
  const [digits = '', exponent] = String(value).split('e');
  if (exponent === undefined) return digits;
  const [whole = '', fraction = ''] = digits.split('.');
  const shift = Number(exponent);
  return shift < 0
    ? `0.${'0'.repeat(-shift - 1)}${whole}${fraction}`
    : `${whole}${fraction}${'0'.repeat(shift - fraction.length)}`;
}
