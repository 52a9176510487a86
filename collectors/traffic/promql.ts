/** One number of Prometheus: an instant query, with the age of the sample behind it. */
import { US_PER_MS, US_PER_S, type Clock, type Us } from '../../daemon/core/clock.js';
import type { PrometheusQuery } from '../../daemon/core/config.js';
import { LockgateError, SourceError, TransientError } from '../../daemon/core/errors.js';
import type { Answer } from './asked-number.js';
import { errorIn, oneSample, words, type Sample } from './prometheus-answer.js';
import { within } from './within.js';

/** The longest that one request may take. */
const REQUEST_MS = 5_000;
/** One number fits into far less; whoever sends more would only fill the memory. */
const MOST_BYTES = 1_048_576;
/** A clock that is further ahead of ours than this makes every age a guess. */
const MOST_AHEAD_S = 30;

/** What a question to Prometheus needs. */
export interface PromqlOptions {
  clock: Clock;
  /** Answers are multiplied with it. */
  scale: number;
  /** Samples older than this are no answer. */
  freshUs: Us;
}

/**
 * Asks for the one sample that the query yields; rejects with a LockgateError when there is not exactly one. Prometheus
 * stamps every answer with the time of the question, whatever the age of the sample behind it, so that is asked for
 * as well (`timestamp()`, which knows it where the query is a plain series), and older samples are excluded.
 */
export async function askPrometheus(
  query: PrometheusQuery,
  { clock, scale, freshUs }: PromqlOptions,
  signal: AbortSignal,
): Promise<Answer> {
  const lookback = { lookback_delta: `${Math.ceil(freshUs / US_PER_MS)}ms` };
  const askedAt = clock.monotonicNow();
  const askedWall = clock.wallNow() / 1_000;
  const sample = await askOnce(query, { query: query.query, ...lookback }, clock, signal);
  const ahead = sample.at - clock.wallNow() / 1_000;
  if (ahead > MOST_AHEAD_S) {
    const hint = 'set both clocks by NTP';
    const message = `the clock of Prometheus is ${Math.round(ahead)} s ahead of this machine's`;
    throw new SourceError('prometheus_clock', `${message}, so nobody can tell how old its samples are`, hint);
  }
  const own = await ownTime(query, sample, lookback, clock, signal);
  // By the clock of Prometheus, which stamped both, and never less than by ours: an answer may come from a cache.
  const ageS = Math.max(0, sample.at - own, askedWall - own);
  const value = sample.value * scale;
  if (!Number.isFinite(value)) throw new TransientError('prometheus_infinite', 'the query yields infinity');
  return { value, observedAt: askedAt - Math.round(ageS * US_PER_S) };
}

/** When the sample itself was taken, in seconds since 1970 by the clock of Prometheus. */
async function ownTime(
  { query, ...where }: PrometheusQuery,
  sample: Sample,
  lookback: Record<string, string>,
  clock: Clock,
  signal: AbortSignal,
): Promise<number> {
  // On a line of its own, because the query may end in a comment.
  const params = { query: `timestamp(\n${query}\n)`, time: sample.at.toFixed(3), ...lookback };
  try {
    return (await askOnce({ query, ...where }, params, clock, signal)).value;
  } catch (error) {
    // A scalar is computed at the time of the question, and has no other time.
    if (error instanceof LockgateError && error.code === 'prometheus_query') return sample.at;
    throw error;
  }
}

async function askOnce(
  { url, authorization }: PrometheusQuery,
  params: Record<string, string>,
  clock: Clock,
  signal: AbortSignal,
): Promise<Sample> {
  const address = new URL(url);
  address.pathname = `${address.pathname.replace(/\/+$/, '')}/api/v1/query`;
  for (const [key, value] of Object.entries(params)) address.searchParams.set(key, value);
  const headers = { accept: 'application/json', ...(authorization ? { authorization: authorization.reveal() } : {}) };
  const late = `Prometheus did not answer within ${REQUEST_MS / 1_000} s`;
  const { status, text } = await within(clock, REQUEST_MS, signal, late, (inner) => get(address, headers, inner));
  const body = parsed(text);
  const error = errorIn(status, body);
  if (error !== null) throw error;
  return oneSample(body);
}

async function get(
  address: URL,
  headers: Record<string, string>,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  try {
    const response = await fetch(address, { headers, redirect: 'manual', signal });
    const chunks: Uint8Array[] = [];
    let size = 0;
    // Cast because the types of the DOM know no iteration over a body.
    for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
      size += chunk.byteLength;
      if (size > MOST_BYTES) throw new SourceError('prometheus_many', 'the answer of Prometheus is far too large');
      chunks.push(chunk);
    }
    return { status: response.status, text: Buffer.concat(chunks).toString('utf8') };
  } catch (error) {
    if (error instanceof LockgateError) throw error;
    throw new TransientError('prometheus_unreachable', `Prometheus cannot be reached: ${causeOf(error)}`, null, {
      cause: error,
    });
  }
}

/** Fetch says only that it failed; why stands in the cause, as a code or in words. Never the address, which is configured. */
function causeOf(error: unknown): string {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') return cause.code;
  return cause instanceof Error ? words(cause.message) : 'no reason given';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
