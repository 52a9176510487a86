import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { LIMITS } from './limits.js';
import type { DaemonEvent } from './port.js';
import { notFound, overloaded, Problem } from './problem.js';
import type { Query } from './query.js';
import type { Caller, HttpContext, Route } from './route.js';

interface Client {
  response: ServerResponse;
  migration: string | null;
  /** Whether it wants to be told every second how each gate is judged: only those who show it to people do. */
  verdicts: boolean;
}

/**
 * Server-sent events. Each event is serialised once for all clients; a client that does not read is cut off rather than
 * buffered for, and comes back with Last-Event-ID.
 */
export class EventStreams {
  readonly #context: HttpContext;
  readonly #limits: { clients: number; backlogBytes: number };
  readonly #clients = new Set<Client>();
  /** Event ids count within one process: the mark keeps an id of an earlier process from being taken for one of ours. */
  readonly #process = randomBytes(4).toString('hex');
  /** Present while there are clients: without them nothing is subscribed to and no timer runs. */
  #live: { unsubscribe: () => void; beat: AbortController } | null = null;
  #cut = 0;

  constructor(
    context: HttpContext,
    limits = { clients: LIMITS.eventClients as number, backlogBytes: LIMITS.eventBacklogBytes as number },
  ) {
    this.#context = context;
    this.#limits = limits;
    context.closing.addEventListener('abort', () => this.end(), { once: true });
  }

  get count(): number {
    return this.#clients.size;
  }

  /** Clients that were cut off because they did not read fast enough. */
  get cut(): number {
    return this.#cut;
  }

  /** Ends every stream in good order; the clients come back, and are then admitted or not. */
  end(): void {
    for (const client of [...this.#clients]) {
      this.#forget(client);
      client.response.end();
    }
  }

  routes(): Route[] {
    return [
      {
        methods: ['GET'],
        path: '/v1/events',
        access: 'reader',
        operationId: 'streamEvents',
        tag: 'events',
        summary:
          'Server-sent events: signal, gate, direction, fence, verify, journal; reset when events were missed and all must be fetched again',
        query: [
          { name: 'migration', description: 'Only events of this migration', schema: { type: 'string' } },
          {
            name: 'include',
            description:
              '`verdicts`: besides, every second and without an id, an event `verdicts` with how each gate is judged at that moment',
            schema: { type: 'string', enum: ['verdicts'] },
          },
        ],
        responses: {
          200: { description: 'The stream', content: { type: 'text/event-stream', schema: { type: 'string' } } },
        },
        handle: (request, reply, { query, caller }) => this.#open(request, reply, query, caller),
      },
    ];
  }

  #open(request: FastifyRequest, reply: FastifyReply, query: Query, caller: Caller): void {
    const { port } = this.#context;
    const migration = query['migration'] ?? null;
    const { include } = query;
    if (include !== undefined && include !== 'verdicts') {
      throw new Problem(400, 'invalid_include', 'only `verdicts` can be included');
    }
    if (migration !== null && port.migration(migration) === undefined) throw notFound('migration', migration);
    if (this.#clients.size >= this.#limits.clients) {
      throw overloaded('too_many_event_clients', 'too many clients read events', LIMITS.retryAfterSeconds);
    }
    const lastId = request.headers['last-event-id'];
    const missed = typeof lastId === 'string' && lastId !== '' ? this.#since(lastId, migration) : '';

    reply.hijack();
    const response = reply.raw;
    response.writeHead(200, {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      // nginx would hold events back until a buffer is full.
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      // The end of the stream is the end of the connection, so that closing the server waits for none of them.
      connection: 'close',
      // For whoever shows the events to a person, who ought to see whose they are and what may be done.
      'x-lockgate-daemon': encodeURIComponent(port.id),
      'x-lockgate-version': port.version,
      'x-lockgate-role': caller.role,
    });
    const client: Client = { response, migration, verdicts: include === 'verdicts' };
    response.on('close', () => this.#forget(client));
    response.on('error', () => this.#forget(client));
    response.write(`retry: 2000\n: lockgate ${port.id}\n\n${missed}`);
    // Between eventsAfter and here nothing is awaited, so no event falls in between or comes twice.
    this.#clients.add(client);
    if (this.#live !== null) return;
    const beat = new AbortController();
    this.#live = { unsubscribe: port.subscribe((event) => this.#publish(event)), beat };
    void this.#beat(beat.signal);
  }

  /** What a returning client has missed; a reset when that is not known or would not fit. */
  #since(lastId: string, migration: string | null): string {
    const m = /^(?:([0-9a-f]{8})-)?(\d{1,15})$/.exec(lastId);
    const ours = m !== null && (m[1] === undefined || m[1] === this.#process);
    const events = ours ? this.#context.port.eventsAfter(Number(m[2])) : null;
    const text = events
      ?.filter((event) => concerns(event, migration))
      .map((event) => this.#frame(event))
      .join('');
    return text === undefined || text.length > this.#limits.backlogBytes / 2
      ? ': gap\n\nevent: reset\ndata: {}\n\n'
      : text;
  }

  #publish(event: DaemonEvent): void {
    let frame: string;
    try {
      frame = this.#frame(event);
    } catch (error) {
      this.#context.log.error({ event: event.event, err: error }, 'event cannot be sent');
      return;
    }
    for (const client of this.#clients) {
      if (event.event === 'verdicts' && !client.verdicts) continue;
      if (concerns(event, client.migration)) this.#send(client, frame);
    }
  }

  #send(client: Client, frame: string): void {
    const { response } = client;
    if (response.writableLength + frame.length <= this.#limits.backlogBytes) {
      response.write(frame);
      return;
    }
    this.#cut += 1;
    this.#context.log.warn(
      { peer: response.socket?.remoteAddress, unsent: response.writableLength },
      'event client does not read; cut off',
    );
    this.#forget(client);
    response.destroy();
  }

  #frame({ id, event, data }: DaemonEvent): string {
    const line = id === null ? '' : `id: ${this.#process}-${id}\n`;
    return `${line}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  }

  #forget(client: Client): void {
    this.#clients.delete(client);
    if (this.#clients.size > 0) return;
    this.#live?.unsubscribe();
    this.#live?.beat.abort();
    this.#live = null;
  }

  /** A comment now and then tells proxies and clients that the stream lives, and us that a client does not. */
  async #beat(stop: AbortSignal): Promise<void> {
    for (;;) {
      await this.#context.clock.sleep(LIMITS.eventHeartbeatMs, stop);
      if (stop.aborted) return;
      for (const client of this.#clients) this.#send(client, ': heartbeat\n\n');
    }
  }
}

/** Whether an event belongs to the migration that a client asked for; gates are named by their id. */
function concerns(event: DaemonEvent, migration: string | null): boolean {
  if (migration === null) return true;
  if (typeof event.data !== 'object' || event.data === null) return false;
  const data = event.data as Readonly<Record<string, unknown>>;
  if (data['migration'] === migration) return true;
  return typeof data['gate'] === 'string' && data['gate'].startsWith(`${migration}/`);
}
