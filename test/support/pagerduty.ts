/**
 * PagerDuty's Events API v2 on the loopback: it checks what it is sent as the real one documents it, keeps incidents by their
 * dedup_key, and answers as the test says. Nothing here was ever compared with the real one.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { z } from 'zod';

const instant = z.iso.datetime();
const payload = z.strictObject({
  summary: z.string().min(1).max(1024),
  source: z.string().min(1),
  severity: z.enum(['critical', 'error', 'warning', 'info']),
  timestamp: instant.optional(),
  component: z.string().optional(),
  group: z.string().optional(),
  class: z.string().optional(),
  custom_details: z.record(z.string(), z.unknown()).optional(),
});
const links = z.array(z.strictObject({ href: z.url(), text: z.string().optional() })).optional();
const dedupKey = z.string().min(1).max(255);
const EVENT = z.discriminatedUnion('event_action', [
  z.strictObject({
    ...{ routing_key: z.string(), event_action: z.literal('trigger'), dedup_key: dedupKey.optional(), payload, links },
    ...{ client: z.string().optional(), client_url: z.url().optional(), images: z.array(z.unknown()).optional() },
  }),
  z.strictObject({ routing_key: z.string(), event_action: z.enum(['acknowledge', 'resolve']), dedup_key: dedupKey }),
]);
const CHANGE = z.strictObject({
  routing_key: z.string(),
  payload: z.strictObject({
    summary: z.string().min(1).max(1024),
    source: z.string().optional(),
    timestamp: instant.optional(),
    custom_details: z.record(z.string(), z.unknown()).optional(),
  }),
  links,
});
type Event = z.infer<typeof EVENT>;

/** What it does with a request: takes it, answers so, or does not answer properly. */
export type Behaviour =
  | 'take'
  | { status: number; headers?: Record<string, string>; body?: string }
  /** Takes it, and cuts the connection before it answers. */
  | 'take and reset'
  | 'reset'
  | 'silent'
  | 'half'
  | 'endless';

const MOST_BYTES = 512 * 1024;

/** A running fake. */
export class PagerDuty {
  /** What comes next, one for each request; then it takes everything. */
  readonly next: Behaviour[] = [];
  /** Every request, in order, with when it came (milliseconds, of the process). */
  readonly asked: { path: string; body: Record<string, unknown>; at: number }[] = [];
  readonly events: Event[] = [];
  readonly changes: z.infer<typeof CHANGE>[] = [];
  readonly open = new Set<string>();
  /** How many incidents were begun. */
  begun = 0;
  /** What was wrong with what was sent; every test ends with none, unless it wants one. */
  readonly problems: string[] = [];

  private constructor(
    private readonly server: Server,
    readonly routingKey: string,
  ) {}

  static async start(routingKey: string): Promise<PagerDuty> {
    const server = createServer();
    const fake = new PagerDuty(server, routingKey);
    server.on('request', (request, response) => void fake.answer(request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return fake;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    const path = request.url ?? '';
    const body = JSON.parse(bytes.toString()) as Record<string, unknown>;
    this.asked.push({ path, body, at: performance.now() });
    const problem = this.problemOf(request, path, body, bytes.length);
    const how = this.next.shift() ?? 'take';
    if (problem !== null) {
      this.problems.push(problem);
      const said = { status: 'invalid event', message: 'Event object is invalid', errors: [problem] };
      response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify(said));
      return;
    }
    if (how === 'take' || how === 'take and reset') this.take(path, body);
    switch (how) {
      case 'take':
        response.writeHead(202, { 'content-type': 'application/json' });
        response.end(JSON.stringify({ status: 'success', message: 'Event processed', dedup_key: body['dedup_key'] }));
        return;
      case 'reset':
      case 'take and reset':
        request.socket.resetAndDestroy();
        return;
      case 'silent':
        return;
      case 'half':
        response.writeHead(202, { 'content-length': '500' }).write('{"status":');
        setTimeout(() => request.socket.destroy(), 5);
        return;
      case 'endless': {
        response.writeHead(500);
        const more = (): void => {
          if (!response.destroyed) response.write('x'.repeat(1024), () => setImmediate(more));
        };
        more();
        return;
      }
      default:
        response.writeHead(how.status, how.headers).end(how.body ?? '');
    }
  }

  private problemOf(request: IncomingMessage, path: string, body: object, length: number): string | null {
    if (request.method !== 'POST') return `method ${request.method ?? ''}`;
    if (request.headers['content-type'] !== 'application/json') return 'content type';
    if (length > MOST_BYTES) return 'too large';
    if (path !== '/v2/enqueue' && path !== '/v2/change/enqueue') return `path ${path}`;
    const checked = (path === '/v2/enqueue' ? EVENT : CHANGE).safeParse(body);
    if (!checked.success) return z.prettifyError(checked.error);
    return checked.data.routing_key === this.routingKey ? null : 'unknown routing_key';
  }

  private take(path: string, body: object): void {
    if (path === '/v2/change/enqueue') {
      this.changes.push(CHANGE.parse(body));
      return;
    }
    const event = EVENT.parse(body);
    this.events.push(event);
    const key = event.dedup_key ?? String(this.events.length);
    if (event.event_action === 'trigger') {
      if (!this.open.has(key)) this.begun += 1;
      this.open.add(key);
    } else if (event.event_action === 'resolve') {
      this.open.delete(key);
    }
  }
}
