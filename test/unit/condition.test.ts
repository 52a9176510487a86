import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatCondition, parseCondition, type Condition, type ConditionContext } from '../../daemon/core/condition.js';
import { findSignal, signalNames, type SignalContext } from '../../daemon/core/signal.js';

const signals: SignalContext = {
  links: ['forward'],
  traffic: { error_rate: 'ratio', latency: 's', rate: 'count/s' },
  dns: ['app'],
};
const both: SignalContext = { links: ['forward', 'reverse'], traffic: {}, dns: [] };
const gates = new Set(['shop/shift-reads', 'shop/flip-writes', 'crm/flip-writes', 'all-shards']);
const inShop: ConditionContext = { migration: 'shop', signals, gates };
const inCrm: ConditionContext = { migration: 'crm', signals: both, gates };
const top: ConditionContext = { migration: null, migrations: new Map([['shop', signals], ['crm', both]]), gates }; // prettier-ignore

const SECOND = 1_000_000;
const MINUTE = 60 * SECOND;

function parsed(text: string, context = inShop): Condition {
  const result = parseCondition(text, context);
  if (!result.ok) throw new Error(`${text}: ${result.message}`);
  return result.condition;
}

function refused(text: string, context = inShop): string {
  const result = parseCondition(text, context);
  if (result.ok) throw new Error(`accepted: ${text}`);
  return `${String(result.column)}: ${result.message}${result.hint === null ? '' : ` (${result.hint})`}`;
}

describe('conditions on signals', () => {
  it('parses the example of the grammar in both spellings to the same condition', () => {
    const short = parsed('forward.lag < 2s for 10m');
    expect(short).toEqual({
      kind: 'signal',
      text: 'forward.lag < 2s for 10m',
      migration: 'shop',
      signal: 'forward.lag',
      unit: 's',
      fn: null,
      op: '<',
      threshold: 2,
      forUs: 10 * MINUTE,
    });
    const long = parsed('  forward.lag   under 2s\n for 10   min ');
    expect(long).toEqual({ ...short, text: 'forward.lag under 2s for 10 min' });
  });

  it.each([
    ['forward.lag<2s', '<', 2, 0],
    ['forward.lag <= 2 s', '<=', 2, 0],
    ['forward.lag > 500ms', '>', 0.5, 0],
    ['forward.lag >= 7us', '>=', 0.000007, 0],
    ['forward.lag below 1.5m for 1h30m', '<', 90, 90 * MINUTE],
    ['forward.lag over 1h for 500ms', '>', 3600, SECOND / 2],
    ['forward.lag above 1d for 7d', '>', 86_400, 7 * 24 * 60 * MINUTE],
    ['forward.lag < 10 min', '<', 600, 0],
    ['forward.running is 1 for 10m', '==', 1, 10 * MINUTE],
    ['forward.running == 0', '==', 0, 0],
    ['forward.errors != 0', '!=', 0, 0],
    ['forward.backlog_bytes < 16MiB', '<', 16 * 1024 ** 2, 0],
    ['forward.backlog_bytes < 1.5 GiB', '<', 1.5 * 1024 ** 3, 0],
    ['forward.backlog_bytes < 512B', '<', 512, 0],
    ['verify.coverage >= 100%', '>=', 1, 0],
    ['verify.coverage >= 0.995', '>=', 0.995, 0],
    ['traffic.error_rate < 0.5 % for 5m', '<', 0.005, 5 * MINUTE],
    ['traffic.latency < 300ms', '<', 0.3, 0],
    ['traffic.rate > 100', '>', 100, 0],
    ['dms.full_load_percent >= 99.5', '>=', 99.5, 0],
    ['dms.full_load_percent is 100%', '==', 100, 0],
    ['target.local_writes is 0 for 10m', '==', 0, 10 * MINUTE],
    ['source.clock_skew < 100ms', '<', 0.1, 0],
    ['attest.verified-by-hand.age < 1d', '<', 86_400, 0],
    ['dns.app.ttl <= 60s', '<=', 60, 0],
    ['split_brain is 0', '==', 0, 0],
    ['standby.stray_writes is 0', '==', 0, 0],
    ['active.lag < 2s', '<', 2, 0],
  ])('%s', (text, op, threshold, forUs) => {
    expect(parsed(text)).toMatchObject({ kind: 'signal', op, threshold, forUs, fn: null, migration: 'shop' });
  });

  it.each(['max', 'min', 'avg', 'p50', 'p90', 'p95', 'p99'])('takes %s over a window', (name) => {
    const condition = parsed(`${name}( forward.lag , 5 min ) < 2s for 1h`);
    expect(condition).toMatchObject({ signal: 'forward.lag', fn: { name, windowUs: 5 * MINUTE }, forUs: 60 * MINUTE });
  });

  it('takes a window of an hour but not more', () => {
    expect(parsed('max(forward.lag, 1h) < 2s')).toMatchObject({ fn: { windowUs: 60 * MINUTE } });
    expect(refused('max(forward.lag, 1h1s) < 2s')).toBe(
      '18: the window `1h1s` is longer than an hour ' +
        '(compare the signal itself over long stretches: `forward.lag < … for 1h1s`)',
    );
  });

  it('names signals with their migration at top level', () => {
    expect(parsed('crm.reverse.lag < 2s', top)).toMatchObject({ migration: 'crm', signal: 'reverse.lag' });
    expect(parsed('max(shop.forward.lag, 1m) < 2s', top)).toMatchObject({ migration: 'shop', signal: 'forward.lag' });
    expect(parsed('shop.attest.backup.age < 1d', top)).toMatchObject({ signal: 'attest.backup.age' });
  });
});

describe('conditions on gates', () => {
  it('takes a bare name as a gate of the same migration and a full one as it is', () => {
    expect(parsed('gate shift-reads open')).toEqual({
      kind: 'gate',
      text: 'gate shift-reads open',
      gate: 'shop/shift-reads',
      forUs: 0,
    });
    expect(parsed('gate  crm/flip-writes open for 5 min')).toMatchObject({
      gate: 'crm/flip-writes',
      forUs: 5 * MINUTE,
    });
    expect(parsed('gate all-shards open', top)).toMatchObject({ gate: 'all-shards' });
    expect(parsed('gate shop/shift-reads open', top)).toMatchObject({ gate: 'shop/shift-reads' });
  });

  it.each([
    ['gate', "5: the name of the gate is missing (write `gate NAME open`)"],
    ['gate open', "6: the name of the gate is missing (write `gate NAME open`)"],
    ['gate shift-reeds open', '6: there is no gate `shift-reeds` (did you mean `shift-reads`?)'],
    [
      'gate all-shards open',
      '6: there is no gate `all-shards` ' +
        '(a gate of a migration cannot depend on a gate across migrations; name the gates it stands for)',
    ],
    ['gate shift-reads', "17: expected `open` after the gate's name, found the end of the condition (write `gate NAME open`)"],
    ['gate shift-reads closed', "18: expected `open` after the gate's name, found `closed` (write `gate NAME open`)"],
    ['gate shift-reads is open', "18: expected `open` after the gate's name, found `is` (write `gate NAME open`)"],
    ['gate shift-reads open for 0s', '27: the duration cannot be 0 (write it like `500ms`, `10m`, `1h30m` or `7d`)'],
    ['gate shift-reads open now', '23: unexpected `now` (only `for DURATION` may follow)'],
  ])('refuses %s', (text, why) => expect(refused(text)).toBe(why)); // prettier-ignore

  it('suggests the full name at top level', () => {
    expect(refused('gate flip-writes open', top)).toBe(
      '6: there is no gate `flip-writes` (did you mean `shop/flip-writes`?)',
    );
  });
});

describe('what is refused', () => {
  const DURATION = '(write it like `500ms`, `10m`, `1h30m` or `7d`)';
  const OPERATORS = '(use `<`, `<=`, `>`, `>=`, `==`, `!=`, `under`, `below`, `over`, `above` or `is`)';

  it.each([
    ['', '1: the condition is empty (write for example `forward.lag < 2s for 10m`)'],
    ['  ', '3: the condition is empty (write for example `forward.lag < 2s for 10m`)'],
    ['< 2s', '1: expected a signal, found `<` (write for example `forward.lag < 2s for 10m`)'],
    // Units
    ['forward.lag < 2', '15: `forward.lag` needs a unit: it is a time in us, ms, s, min, h or d (write 2s or 2ms)'],
    ['forward.lag < 2 for 10m', '15: `forward.lag` needs a unit: it is a time in us, ms, s, min, h or d (write 2s or 2ms)'],
    ['forward.lag < 2 MiB', '15: the unit `MiB` does not fit `forward.lag`, which is a time in us, ms, s, min, h or d (write 2s or 2ms)'],
    ['forward.lag < 2%', '15: the unit `%` does not fit `forward.lag`, which is a time in us, ms, s, min, h or d (write 2s or 2ms)'],
    ['forward.backlog_bytes < 16', '25: `forward.backlog_bytes` needs a unit: it is a size in B, KiB, MiB or GiB (write 16B or 16MiB)'],
    ['forward.backlog_bytes < 16MB', '25: the unit `MB` does not fit `forward.backlog_bytes`, which is a size in B, KiB, MiB or GiB (write 16B or 16MiB)'],
    ['forward.errors < 1s', '18: the unit `s` does not fit `forward.errors`, which is a count without a unit (write 1 without a unit)'],
    ['forward.running is 1s', '20: the unit `s` does not fit `forward.running`, which is 0 or 1 without a unit (write 0 or 1)'],
    ['forward.running is 2', '20: `forward.running` is 0 or 1 (write 0 or 1)'],
    ['verify.coverage >= 99', '20: `verify.coverage` is a ratio from 0 to 1 (write 99% or 0.99)'],
    ['verify.coverage >= 101%', '20: `verify.coverage` is a ratio from 0 to 1'],
    ['verify.coverage >= 1s', '20: the unit `s` does not fit `verify.coverage`, which is a ratio without a unit or in % (write a ratio such as 0.05, or 5%)'],
    ['dms.full_load_percent >= 101', '26: `dms.full_load_percent` is a percentage from 0 to 100'],
    ['forward.lag < 1m30s', '15: `1m30s` has more than one unit (write 90s)'],
    // Numbers
    ['forward.lag < -2s', '15: a threshold cannot be negative (write 0 or more)'],
    ['forward.lag < - 2s', '15: a threshold cannot be negative (write 0 or more)'],
    ['source.clock_skew > -1s', '21: a threshold cannot be negative (write 0 or more)'],
    ['forward.lag <', '14: expected a number, found the end of the condition (write 2s or 2ms)'],
    ['forward.lag < for 10m', '15: expected a number, found `for` (write 2s or 2ms)'],
    ['forward.lag < two', '15: expected a number, found `two` (write 2s or 2ms)'],
    ['forward.lag < .5s', '15: expected a number, found `.5s` (write 2s or 2ms)'],
    ['forward.lag < 1,5s', '15: `1,5s` is not a number (write 2s or 2ms)'],
    ['forward.lag < 1e3s', '15: `1e3s` is not a number (write 2s or 2ms)'],
    ['forward.lag < 1.s', '15: `1.s` is not a number (write 2s or 2ms)'],
    ['forward.lag < 0x10s', '15: `0x10s` is not a number (write 2s or 2ms)'],
    ['forward.lag < NaN', '15: expected a number, found `NaN` (write 2s or 2ms)'],
    ['forward.lag < Infinity', '15: expected a number, found `Infinity` (write 2s or 2ms)'],
    [`forward.errors < ${'9'.repeat(400)}`, '18: the number is too large'],
    // Durations
    ['forward.lag < 2s for', `21: the duration is missing ${DURATION}`],
    ['forward.lag < 2s for 0s', `22: the duration cannot be 0 ${DURATION}`],
    ['forward.lag < 2s for 10', '22: the duration `10` needs a unit (write 10s or 10m)'],
    ['forward.lag < 2s for -10m', `22: the duration cannot be negative ${DURATION}`],
    ['forward.lag < 2s for ever', `22: \`ever\` is not a duration ${DURATION}`],
    ['forward.lag < 2s for 10 weeks', `22: \`10 weeks\` is not a duration ${DURATION}`],
    ['forward.lag < 2s for 9999d', `22: the duration is longer than 3650d ${DURATION}`],
    ['max(forward.lag) < 2s', '16: expected a window, found `)` (write `max(forward.lag, 5m)`)'],
    ['max(forward.lag, ) < 2s', `18: the window is missing ${DURATION}`],
    ['max(forward.lag, 0s) < 2s', `18: the window cannot be 0 ${DURATION}`],
    ['max(forward.lag, 5m < 2s', '21: expected `)`, found `<` (write `max(forward.lag, 5m)`)'],
    ['max() < 2s', '5: expected a signal, found `)` (write `max(SIGNAL, 5m)`)'],
    ['p75(forward.lag, 5m) < 2s', '1: there is no function `p75` (did you mean `p95`?)'],
    ['median(forward.lag, 5m) < 2s', '1: there is no function `median` (the functions are max, min, avg, p50, p90, p95, p99)'],
    // Comparisons
    ['forward.lag', `12: expected a comparison, found the end of the condition ${OPERATORS}`],
    ['forward.lag 2s', `13: expected a comparison, found \`2s\` ${OPERATORS}`],
    ['forward.lag = 2s', '13: there is no comparison `=` (write `==`)'],
    ['forward.lag =< 2s', '13: there is no comparison `=<` (write `<=`)'],
    ['forward.lag ≤ 2s', '13: there is no comparison `≤` (write `<=`)'],
    ['forward.errors <> 0', '16: there is no comparison `<>` (write `!=`)'],
    ['forward.errors is not 0', '16: there is no comparison `is not` (write `!=`)'],
    ['forward.lag less 2s', `13: expected a comparison, found \`less\` ${OPERATORS}`],
    // Signals
    ['forward.lga < 2s', '1: there is no signal `forward.lga` (did you mean `forward.lag`?)'],
    ['lag < 2s', '1: there is no signal `lag` (did you mean `forward.lag`?)'],
    ['reverse.lag < 2s', '1: there is no signal `reverse.lag` (the migration shop has no `reverse` link)'],
    ['shop.forward.lag < 2s', '1: there is no signal `shop.forward.lag` (inside the migration write `forward.lag`)'],
    ['attest.backup < 1d', '1: there is no signal `attest.backup` (an attestation is written `attest.NAME.age`)'],
    ['traffic.errors < 1%', '1: there is no signal `traffic.errors` (there is traffic.error_rate, traffic.latency, traffic.rate)'],
    ['constructor < 2s', '1: there is no signal `constructor`'],
    ['forward.__proto__ < 2s', '1: there is no signal `forward.__proto__`'],
    // Anything after the end
    ['forward.lag < 2s and forward.errors is 0', '18: unexpected `and` (write each condition as an entry of its own under `require`)'],
    ['forward.lag < 2s always', '18: unexpected `always` (only `for DURATION` may follow)'],
    ['forward.lag < 2s)', '17: unexpected `)` (only `for DURATION` may follow)'],
  ])('%s', (text, why) => expect(refused(text)).toBe(why)); // prettier-ignore

  it.each([
    ['forward.lag < 2s', '1: `forward.lag` does not say of which migration (across migrations write `shop.forward.lag`)'],
    ['shpo.forward.lag < 2s', '1: there is no migration `shpo` (did you mean `shop`?)'],
    ['billing.lag < 2s', '1: there is no migration `billing` (across migrations a signal is written `MIGRATION.billing.lag`)'],
    ['shop.forward.lagg < 2s', '1: there is no signal `shop.forward.lagg` (did you mean `shop.forward.lag`?)'],
    ['shop.reverse.lag < 2s', '1: there is no signal `shop.reverse.lag` (the migration shop has no `reverse` link)'],
    ['shop < 2s', '1: there is no signal `shop`'],
  ])('at top level: %s', (text, why) => expect(refused(text, top)).toBe(why)); // prettier-ignore

  it('counts columns in the text as written, not as folded', () => {
    expect(refused('   forward.lag    <   2')).toMatch(/^23: /);
  });
});

describe('for any text', () => {
  const pieces = fc.constantFrom(
    ...['forward.lag', 'gate', 'shift-reads', 'open', '<', '>=', 'is', '2', '2s', '%', 'for', '10m', 'max', '(', ')'],
    ...[',', ' ', '\n', '-', '.', '/', 'é', '16MiB', '1e9', '\0', 'crm', '__proto__'],
  );

  it('never throws, and points into the text', () => {
    const texts = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(pieces).map((p) => p.join('')),
      fc.array(pieces).map((p) => p.join(' ')),
    );
    fc.assert(
      fc.property(texts, fc.constantFrom(inShop, inCrm, top), (text, context) => {
        const result = parseCondition(text, context);
        if (result.ok) return;
        expect(result.message).not.toBe('');
        expect(result.column).toBeGreaterThanOrEqual(1);
        expect(result.column).toBeLessThanOrEqual(text.length + 1);
      }),
      { numRuns: 1000 },
    );
  });

  it('a condition that is written canonically is the same condition', () => {
    const duration = fc.integer({ min: 1, max: 3_600_000_000 });
    const hold = fc.oneof(fc.constant(0), duration, fc.integer({ min: 1, max: 3650 * 86_400_000_000 }));
    const number = fc.oneof(
      fc.nat(),
      fc.double({ min: 0, max: 9e15, noNaN: true }).map((n) => n + 0),
      fc.double({ min: 0, max: 1e-9, noNaN: true }).map((n) => n + 0),
    );
    const condition = fc
      .record({
        signal: fc.constantFrom(...signalNames(both), 'attest.backup.age'),
        fn: fc.option(
          fc.record({ name: fc.constantFrom('max', 'min', 'avg', 'p50', 'p90', 'p95', 'p99'), windowUs: duration }),
        ),
        op: fc.constantFrom('<', '<=', '>', '>=', '==', '!='),
        number,
        forUs: hold,
      })
      .map(({ signal, fn, op, number: n, forUs }): Condition => {
        const unit = findSignal(signal, both)!.unit;
        const limits: Partial<Record<string, number>> = { flag: 1, ratio: 1, percent: 100 };
        const limit = limits[unit];
        const threshold = limit === undefined ? n : unit === 'flag' ? n % 2 >= 1 ? 1 : 0 : Math.min(n, limit); // prettier-ignore
        return { kind: 'signal', text: '', migration: 'crm', signal, unit, fn, op, threshold, forUs };
      });
    fc.assert(
      fc.property(condition, fc.constantFrom(inCrm, top), (c, context) => {
        const text = formatCondition(c, context.migration === null ? 'top' : 'migration');
        expect(parsed(text, context)).toEqual({ ...c, text });
      }),
      { numRuns: 1000 },
    );
    const gate: Condition = { kind: 'gate', text: '', gate: 'shop/shift-reads', forUs: 90 * SECOND };
    const text = formatCondition(gate, 'migration');
    expect(parsed(text, inCrm)).toEqual({ ...gate, text });
    expect(text).toBe('gate shop/shift-reads open for 1m30s');
  });
});
