import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { askPrometheus } from '../../collectors/traffic/promql.js';
import type { Answer } from '../../collectors/traffic/asked-number.js';
import type { PrometheusQuery } from '../../daemon/core/config.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { FakeClock } from '../support/fake-clock.js';
import { startFakePrometheus, vector, type FakePrometheus, type PromAnswer } from '../support/fake-prometheus.js';
import { TestSecret } from '../support/http-server.js';

const START = '2026-11-22T00:00:00Z';
const NOW_S = Date.parse(START) / 1000;

let prometheus: FakePrometheus;
let clock: FakeClock;

beforeEach(async () => {
  prometheus = await startFakePrometheus();
  clock = new FakeClock({ wall: START });
});
afterEach(() => prometheus.close());

const query = (change: Partial<PrometheusQuery> = {}): PrometheusQuery => ({
  ...{ kind: 'prometheus', url: prometheus.url, query: 'errors # of all', authorization: null },
  ...change,
});
const ask = (change: Partial<PrometheusQuery> = {}, scale = 1): Promise<Answer> =>
  askPrometheus(query(change), { clock, scale, freshUs: 45_000_000 }, new AbortController().signal);
const isTimestamp = (params: URLSearchParams): boolean => params.get('query')!.startsWith('timestamp(');

/** Answers the query, and its timestamp with `own`. */
function answer(main: PromAnswer, own: PromAnswer = vector(NOW_S, String(NOW_S))): void {
  prometheus.answer = ({ params }) => (isTimestamp(params) ? own : main);
}
async function reason(change: Partial<PrometheusQuery> = {}): Promise<string> {
  const error: unknown = await ask(change).then(
    (a) => Promise.reject(new Error(`there was an answer: ${a.value}`)),
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(LockgateError);
  return reasonOf(error);
}
const error = (errorType: string, text: string) => ({ status: 'error', errorType, error: text });

describe('the one sample', () => {
  it('is asked for once with its timestamp, older samples excluded, and scaled', async () => {
    answer(vector(NOW_S, '0.5'));
    expect(await ask({}, 0.01)).toEqual({ value: 0.005, observedAt: clock.monotonicNow() });
    expect(prometheus.requests.map((r) => [r.path, Object.fromEntries(r.params)])).toEqual([
      ['/api/v1/query', { query: 'errors # of all', lookback_delta: '45000ms' }],
      ['/api/v1/query', { query: 'timestamp(\nerrors # of all\n)', lookback_delta: '45000ms', time: NOW_S.toFixed(3) }],
    ]);
  });

  it('keeps the path of the address', async () => {
    answer(vector(NOW_S, '1'));
    await ask({ url: `${prometheus.url}/prom/` });
    expect(prometheus.requests[0]!.path).toBe('/prom/api/v1/query');
  });

  it('is as old as the sample behind it, by the clock of Prometheus', async () => {
    // Ten seconds ahead of ours, with a sample of half a minute ago.
    answer(vector(NOW_S + 10, '1'), vector(NOW_S + 10, String(NOW_S - 20)));
    expect((await ask()).observedAt).toBe(clock.monotonicNow() - 30_000_000);
  });

  it('is as old as our clock makes it where the answer itself is old', async () => {
    answer(vector(NOW_S - 60, '1'), vector(NOW_S - 60, String(NOW_S - 60)));
    expect((await ask()).observedAt).toBe(clock.monotonicNow() - 60_000_000);
  });

  it('is never from the future', async () => {
    answer(vector(NOW_S + 10, '1'), vector(NOW_S + 10, String(NOW_S + 3600)));
    expect((await ask()).observedAt).toBe(clock.monotonicNow());
    answer(vector(NOW_S + 3600, '1'));
    expect(await reason()).toMatch(/clock of Prometheus is 3600 s ahead.*NTP/);
  });

  it('may be a scalar, which has no timestamp', async () => {
    answer(
      { body: { status: 'success', data: { resultType: 'scalar', result: [NOW_S, '4'] } } },
      { status: 400, body: error('bad_data', 'expected type instant vector in call to function "timestamp"') },
    );
    expect(await ask()).toEqual({ value: 4, observedAt: clock.monotonicNow() });
  });
});

const success = (data: unknown, more: object = {}): PromAnswer => ({ body: { status: 'success', data, ...more } });
const data = (value: unknown): unknown => ({ resultType: 'vector', result: [{ metric: {}, value }] });

describe('anything else is unknown, with the reason', () => {
  it.each<[string, PromAnswer, RegExp]>([
    ['NaN', vector(NOW_S, 'NaN'), /yields NaN; often a division of nothing by nothing/],
    ['infinity', vector(NOW_S, '+Inf'), /infinity/],
    ['minus infinity', vector(NOW_S, '-Inf'), /infinity/],
    ['a number too large', vector(NOW_S, '1e999'), /cannot be read/],
    ['no series', vector(NOW_S), /no series.*3 × `every`/],
    ['two series', vector(NOW_S, '1', '2'), /2 series instead of one.*`sum`/],
    ['a matrix', success({ resultType: 'matrix', result: [] }), /yields a matrix/],
    ['a string', success({ resultType: 'string', result: [NOW_S, 'a'] }), /yields a string/],
    ['a histogram', success({ resultType: 'vector', result: [{ histogram: [NOW_S, {}] }] }), /histogram/],
    ['a number instead of text', success(data([NOW_S, 1])), /cannot be read/],
    ['text that is no number', success(data([NOW_S, ''])), /cannot be read/],
    ['hexadecimal', success(data([NOW_S, '0x10'])), /cannot be read/],
    ['no time', success(data([null, '1'])), /cannot be read/],
    ['nothing', success({}), /not one number/],
    ['a warning', success(data([NOW_S, '1']), { warnings: ['store a is down'] }), /warns: store a is down/],
    ['a bad query', { status: 400, body: error('bad_data', 'parse error\nat 1') }, /bad_data: parse error at 1/],
    ['a timeout of its own', { status: 503, body: error('timeout', 'query timed out') }, /timeout: query timed out/],
    ['an error with 200', { body: error('execution', 'no') }, /execution: no/],
    ['success with 500', { status: 500, ...vector(NOW_S, '1') }, /HTTP 500 without an answer/],
    ['refused', { status: 401, body: {} }, /refuses us \(HTTP 401\).*`token`/],
    ['a redirect', { status: 302, body: {}, location: 'http://127.0.0.1:1/login' }, /redirects \(HTTP 302\)/],
    ['a page', { raw: '<html>' }, /HTTP 200 without an answer of Prometheus/],
    ['a flood', { raw: `"${'x'.repeat(1_100_000)}"` }, /far too large/],
    ['a reset', 'reset', /cannot be reached/],
    ['half an answer', 'half', /cannot be reached/],
  ])('%s', async (_, main, expected) => {
    answer(main);
    expect(await reason()).toMatch(expected);
  });

  it('its age, where it cannot be told', async () => {
    answer(vector(NOW_S, '1'), { status: 503, body: error('timeout', 'query timed out') });
    expect(await reason()).toMatch(/timed out/);
    answer(vector(NOW_S, '1'), vector(NOW_S));
    expect(await reason()).toMatch(/no series/);
  });

  it('an infinity that only comes of the scale', async () => {
    answer(vector(NOW_S, '1e308'));
    await expect(ask({}, 100)).rejects.toThrow(/infinity/);
  });

  it('nobody there', async () => {
    await prometheus.close();
    expect(await reason()).toMatch(/cannot be reached: ECONNREFUSED$/);
    prometheus = await startFakePrometheus();
  });

  it('no answer in time', async () => {
    prometheus.answer = () => 'mute';
    const asked = reason();
    while (prometheus.requests.length === 0) await new SystemClock().sleep(5);
    await clock.advance(5_000_000);
    expect(await asked).toBe('Prometheus did not answer within 5 s');
    expect(clock.sleepers).toBe(0);
  });
});

describe('credentials', () => {
  it('go into the header, and into no reason', async () => {
    answer({ status: 403, body: error('forbidden', 'no') });
    const authorization = new TestSecret('Basic dTpzZWNyZXQ=');
    expect(await reason({ authorization })).not.toMatch(/secret|dTpz/);
    expect(prometheus.requests[0]!.authorization).toBe('Basic dTpzZWNyZXQ=');
  });
});
