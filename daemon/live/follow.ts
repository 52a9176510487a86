/**
 * Keeps a model by a connection: asks for the stream, fetches what the model wants, adds what arrives, notices silence,
 * and begins again after a loss. It knows neither Node nor browsers; whoever calls it brings the transport and the clock.
 */
import { apply } from './apply.js';
import type { Now } from './connection.js';
import { heard, look, lose, nothing, opened, opening, wanting, type Model, type Resource } from './model.js';
import { isObject, textOr } from './read.js';
import { pathOf, receive } from './receive.js';
import { oldestAge } from './server-clock.js';
import { FRESH_MS } from './shown.js';
import { SseParser } from './sse.js';

/** An answer as a transport gives it; `json` is undefined when the body is no JSON. */
export interface LiveAnswer {
  status: number;
  json: unknown;
}

/** A stream that was asked for; `chunks` is empty unless the status is 200, and ends or rejects when the stream does. */
export interface LiveStream extends LiveAnswer {
  header(name: string): string | null;
  chunks: AsyncIterable<string>;
}

/** How a daemon is reached. Paths begin with `/v1`, and may have a query. Both methods reject with an Error in words when nothing answers. */
export interface LiveTransport {
  get(path: string, signal: AbortSignal): Promise<LiveAnswer>;
  stream(path: string, signal: AbortSignal): Promise<LiveStream>;
}

/** The client's clocks, and a pause that ends early when aborted and never rejects. */
export interface LiveClock {
  now(): Now;
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

/** What is followed, and who is told. */
export interface Following {
  transport: LiveTransport;
  clock: LiveClock;
  /** Ends it. */
  signal: AbortSignal;
  /** Called with each new model; the one before may be thrown away. */
  changed(model: Model): void;
  /** In [0, 1): attempts of many clients are spread by it. */
  random(): number;
}

/** How often it is looked whether the connection is lost. */
const LOOK_MS = 250;
/** Pauses between attempts: the first, and the longest. */
const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 5_000;
/** What moves without an event (verdicts, signals) is fetched as often, so that nothing that was missed stays. */
const AGAIN_MS = 30_000;
/** At most so often for a verdict that nobody confirms. */
const ASK_MS = 1_000;

/** Follows a daemon until the signal aborts, or until it refuses this client (401, 403): then a person must do something. */
export async function follow(following: Following): Promise<Model> {
  const { clock, signal } = following;
  let model = nothing(clock.now());
  let pause = FIRST_PAUSE_MS;
  while (!signal.aborted) {
    const wasLive = await new Attempt(following, (next) => (model = next)).run(model);
    if (model.connection.state === 'lost' && model.connection.refused) break;
    pause = wasLive ? FIRST_PAUSE_MS : Math.min(LONGEST_PAUSE_MS, pause * 2);
    await clock.sleep(pause * (0.75 + following.random() / 2), signal);
  }
  return model;
}

/** One connection from its beginning to its loss. */
class Attempt {
  readonly #end = new AbortController();
  readonly #asked = new Set<Resource>();
  #model: Model;
  #wasLive = false;
  #fetchedAt = 0;
  #askedAt = 0;

  constructor(
    private readonly f: Following,
    private readonly keep: (model: Model) => void,
  ) {
    this.#model = nothing(f.clock.now());
  }

  /** Resolves when the connection is lost, with whether it ever was live. */
  async run(before: Model): Promise<boolean> {
    const { f } = this;
    const stop = (): void => this.#end.abort();
    f.signal.addEventListener('abort', stop, { once: true });
    try {
      const now = f.clock.now();
      this.#fetchedAt = now.monotonicMs;
      this.#set(opening(before, now));
      // Whoever is first to find the connection lost ends the others.
      await Promise.all([this.#watch(), this.#read()]);
    } finally {
      f.signal.removeEventListener('abort', stop);
      stop();
    }
    return this.#wasLive;
  }

  #set(model: Model): void {
    this.#model = model;
    if (model.connection.state === 'live') this.#wasLive = true;
    if (model.connection.state === 'lost') this.#end.abort();
    this.keep(model);
    this.f.changed(model);
    if (!this.#end.signal.aborted) this.#fetch();
  }

  #lose(reason: string, refused = false): void {
    if (!this.#end.signal.aborted) this.#set(lose(this.#model, reason, this.f.clock.now(), refused));
  }

  async #watch(): Promise<void> {
    const { clock } = this.f;
    for (;;) {
      await clock.sleep(LOOK_MS, this.#end.signal);
      if (this.#end.signal.aborted) return;
      const now = clock.now();
      this.#set(this.#again(look(this.#model, now), now));
    }
  }

  /** Asks again for what may have been missed, and for verdicts that nobody confirms. */
  #again(model: Model, now: Now): Model {
    if (model.connection.state !== 'live') return model;
    if (now.monotonicMs - this.#fetchedAt > AGAIN_MS) {
      this.#fetchedAt = now.monotonicMs;
      const signals = [...model.migrations.keys()].map((name) => `signals:${name}` as const);
      return wanting(model, 'gates', 'migrations', ...signals);
    }
    const { clock } = model;
    const old = [...model.gates.values()].some(
      ({ atMs }) => clock === null || oldestAge(clock, atMs, now.monotonicMs) > FRESH_MS,
    );
    if (!old || now.monotonicMs - this.#askedAt < ASK_MS) return model;
    this.#askedAt = now.monotonicMs;
    return wanting(model, 'gates');
  }

  /** Reads the stream; the rest is asked for once it has begun, so that nothing falls in between. */
  async #read(): Promise<void> {
    const { transport, clock } = this.f;
    const { signal } = this.#end;
    try {
      const stream = await transport.stream('/v1/events?include=verdicts', signal);
      if (stream.status !== 200) {
        const detail = isObject(stream.json) ? textOr(stream.json['detail'], '') : '';
        this.#lose(detail === '' ? `/v1/events answered ${stream.status}` : detail, [401, 403].includes(stream.status));
        return;
      }
      const id = stream.header('x-lockgate-daemon');
      const role = stream.header('x-lockgate-role') === 'operator' ? 'operator' : 'reader';
      const version = stream.header('x-lockgate-version') ?? '';
      this.#set(opened(this.#model, id === null ? null : { id: decoded(id), version, role }, clock.now()));
      const parser = new SseParser();
      for await (const chunk of stream.chunks) {
        if (signal.aborted) return;
        const now = clock.now();
        const frames = parser.push(chunk);
        let model = heard(this.#model, now);
        for (const frame of frames) model = apply(model, frame, now);
        this.#set(model);
      }
      this.#lose('the daemon ended the stream');
    } catch (error) {
      this.#lose(error instanceof Error && error.message !== '' ? error.message : 'the connection broke');
    }
  }

  #fetch(): void {
    const { connection, wants } = this.#model;
    if (connection.state === 'connecting' && !connection.opened) return;
    for (const resource of wants.keys()) {
      if (this.#asked.has(resource)) continue;
      this.#asked.add(resource);
      void this.#ask(resource);
    }
  }

  async #ask(resource: Resource): Promise<void> {
    const { transport, clock } = this.f;
    const sentMs = clock.now().monotonicMs;
    try {
      const answer = await transport.get(pathOf(resource), this.#end.signal);
      this.#asked.delete(resource);
      if (!this.#end.signal.aborted) this.#set(receive(this.#model, resource, answer, sentMs, clock.now()));
    } catch (error) {
      this.#asked.delete(resource);
      this.#lose(error instanceof Error && error.message !== '' ? error.message : 'a request failed');
    }
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
