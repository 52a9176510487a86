/** What Prometheus answers to a query, read strictly: one sample, or a reason why there is none. */
import { SourceError, TransientError } from '../../daemon/core/errors.js';

/** One sample; `at` in seconds since 1970 by the clock of whoever answered. */
export interface Sample {
  value: number;
  at: number;
}

/** Characters of another system's words that are shown. */
const MOST_WORDS = 200;

/** Shortens what another system says to what a reason can show, without control characters. */
export function words(text: string): string {
  const clean = text.replace(/\p{Cc}+/gu, ' ').trim();
  return clean.length > MOST_WORDS ? `${clean.slice(0, MOST_WORDS)}…` : clean;
}

/** The error that an answer of Prometheus stands for; null where it is no error. */
export function errorIn(status: number, body: unknown): SourceError | TransientError | null {
  if (status === 401 || status === 403) {
    const hint = 'put the user and password into its URL, or a `token` beside it';
    return new SourceError('prometheus_refused', `Prometheus refuses us (HTTP ${status})`, hint);
  }
  if (status >= 300 && status < 400) {
    const hint = 'name the address that it redirects to';
    return new SourceError('prometheus_redirects', `Prometheus is not there: it redirects (HTTP ${status})`, hint);
  }
  const said = isRecord(body) ? body : {};
  if (said['status'] === 'error') {
    const type = typeof said['errorType'] === 'string' ? said['errorType'] : 'error';
    const text = typeof said['error'] === 'string' ? said['error'] : 'no message';
    const message = `Prometheus answers ${words(type)}: ${words(text)}`;
    return type === 'bad_data'
      ? new SourceError('prometheus_query', message)
      : new TransientError('prometheus_error', message);
  }
  if (status === 200 && said['status'] === 'success') return null;
  return new TransientError('prometheus_answer', `HTTP ${status} without an answer of Prometheus`);
}

/** The one sample of a successful answer; throws a SourceError or TransientError that says what there is instead. */
export function oneSample(body: unknown): Sample {
  const answer = isRecord(body) ? body : {};
  const warnings = answer['warnings'];
  if (Array.isArray(warnings) && warnings.length > 0) {
    // Partial answers come with a warning, and a part of the truth is not the truth.
    throw new TransientError('prometheus_warning', `Prometheus warns: ${words(String(warnings[0]))}`);
  }
  const data = isRecord(answer['data']) ? answer['data'] : {};
  const { resultType, result } = data;
  if (resultType === 'scalar') return sampleOf(result);
  if (resultType !== 'vector' || !Array.isArray(result)) {
    const kind = typeof resultType === 'string' ? words(resultType) : 'something else';
    throw new SourceError('prometheus_type', `the query yields a ${kind}, not one number`);
  }
  if (result.length === 0) {
    throw new TransientError(
      'prometheus_empty',
      'the query yields no series',
      'nothing matches it now, or its samples are older than the freshness, 3 × `every`',
    );
  }
  if (result.length > 1) {
    const hint = 'aggregate them, for example with `sum`';
    throw new SourceError('prometheus_many', `the query yields ${result.length} series instead of one`, hint);
  }
  const [series] = result as unknown[];
  if (isRecord(series) && series['value'] === undefined && series['histogram'] !== undefined) {
    throw new SourceError('prometheus_type', 'the query yields a histogram, not one number');
  }
  return sampleOf(isRecord(series) ? series['value'] : undefined);
}

function sampleOf(pair: unknown): Sample {
  if (!Array.isArray(pair) || pair.length !== 2) throw unreadable();
  const [at, text] = pair as [unknown, unknown];
  if (typeof at !== 'number' || !Number.isFinite(at) || typeof text !== 'string') throw unreadable();
  if (text === 'NaN') {
    const hint = 'often a division of nothing by nothing; there is no number then';
    throw new TransientError('prometheus_nan', 'the query yields NaN', hint);
  }
  if (/^[+-]?Inf$/.test(text)) throw new TransientError('prometheus_infinite', 'the query yields infinity');
  if (!/^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text)) throw unreadable();
  const value = Number(text);
  if (!Number.isFinite(value)) throw unreadable();
  return { value, at };
}

function unreadable(): TransientError {
  return new TransientError('prometheus_answer', 'the answer of Prometheus cannot be read');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
