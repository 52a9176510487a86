import { setMaxListeners } from 'node:events';
import type * as http from 'node:http';
import * as https from 'node:https';
import type { Socket } from 'node:net';
import fastify from 'fastify';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Clock } from '../core/clock.js';
import type { DaemonConfig } from '../core/config.js';
import type { LockgateError } from '../core/errors.js';
import { messageOf, Refusal, UsageError } from '../core/errors.js';
import { StoreError } from '../store/store.js';
import { alertRoutes } from './alerts.js';
import { attestationRoutes } from './attestations.js';
import { createGatekeeper } from './auth.js';
import { createQuickCheck } from './check.js';
import { directionRoutes } from './direction.js';
import { EventStreams } from './events.js';
import { fenceRoutes } from './fences.js';
import { gateRoutes } from './gates.js';
import { healthRoutes } from './health.js';
import { journalRoutes } from './journal.js';
import { LIMITS } from './limits.js';
import type { ListenAddress } from './listen.js';
import { createListener, listen, readTls } from './listen.js';
import { metricsRoutes } from './metrics.js';
import { migrationRoutes } from './migrations.js';
import { openapiRoute } from './openapi.js';
import type { DaemonPort } from './port.js';
import { overloaded, Problem, sendProblem } from './problem.js';
import { readQuery } from './query.js';
import { readPage } from './page/bundle.js';
import { pageRoutes } from './page/routes.js';
import type { Caller, HttpContext, HttpLog, MetricsText, Route } from './route.js';
import { verifyRoutes } from './verify.js';
import { waitRoutes } from './wait.js';
import { WaitingRoom } from './waiting-room.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set by the first hook of every route. */
    caller: Caller | null;
  }
}

/** How many clients hang on, for the metrics. */
export interface HttpStats {
  waiters: number;
  eventClients: number;
  eventClientsCut: number;
}

/** The HTTP server of one daemon. */
export interface HttpServer {
  /** Throws a UsageError when the address cannot be had. */
  listen(): Promise<ListenAddress>;
  /** Takes up tokens and certificates of a new configuration; the address stays. Throws a UsageError and changes nothing when the certificate is unusable. */
  reload(config: DaemonConfig): void;
  stats(): HttpStats;
  /** Answers whoever waits, ends the streams, lets requests finish until the deadline, then cuts them off; never rejects. */
  close(deadlineMs: number): Promise<void>;
}

/** What the server needs besides the port. */
export interface ServerOptions {
  config: DaemonConfig;
  metrics: MetricsText;
  log: HttpLog;
  clock: Clock;
  /** Where the built page lies; unless told, in the package. */
  pageFolder?: string;
  /** For tests; the defaults are in limits.ts. */
  limits?: { waiters?: number; eventClients?: number; eventBacklogBytes?: number };
}

/** Builds the server without listening yet; throws a UsageError (`tls_unusable`) when the certificate cannot be used. */
export async function createServer(port: DaemonPort, options: ServerOptions): Promise<HttpServer> {
  const { config, metrics, log, clock, limits = {} } = options;
  const closing = new AbortController();
  // Every client that waits listens on it: that is no leak.
  setMaxListeners(0, closing.signal);
  const context: HttpContext = { port, clock, log, closing: closing.signal };
  const waiters = new WaitingRoom(closing.signal, limits.waiters);
  const events = new EventStreams(context, {
    clients: limits.eventClients ?? LIMITS.eventClients,
    backlogBytes: limits.eventBacklogBytes ?? LIMITS.eventBacklogBytes,
  });
  const page = readPage(options.pageFolder);
  if ('missing' in page) log.warn({ reason: page.missing }, 'the status page was not built; everything else is there');
  let needsToken = config.auth !== null;
  const shown = pageRoutes(page, () => (needsToken ? 'token' : 'none'));
  const routes = allRoutes(context, metrics, waiters, events, shown);
  let gatekeeper = createGatekeeper(config, clock, log);
  const guard: Guard = (request, access) => {
    if (closing.signal.aborted && access !== 'open') {
      throw overloaded('shutting_down', 'lockgate is shutting down', LIMITS.retryAfterSeconds);
    }
    if ((request.url ?? '').length > LIMITS.urlLength) {
      throw new Problem(414, 'url_too_long', `the URL may have at most ${LIMITS.urlLength} characters`);
    }
    return gatekeeper.admit(request, access);
  };

  const quickCheck = createQuickCheck(port, guard);

  const sockets = new Set<Socket>();
  let server = null as http.Server | null;
  const app = buildApp(routes, guard, log, (handler) => {
    server = createListener(config, (request, response) => {
      if (!quickCheck(request, response)) handler(request, response);
    });
    return server;
  });
  await app.ready();
  const raw = server ?? app.server;
  raw.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });

  let closed: Promise<void> | null = null;
  return {
    listen: () => listen(raw, config),
    reload(next) {
      if (raw instanceof https.Server && next.tls !== null) raw.setSecureContext(readTls(next.tls));
      gatekeeper = createGatekeeper(next, clock, log);
      needsToken = next.auth !== null;
      // Whoever streams was admitted by the old tokens.
      events.end();
    },
    stats: () => ({ waiters: waiters.count, eventClients: events.count, eventClientsCut: events.cut }),
    close(deadlineMs) {
      closed ??= (async () => {
        closing.abort();
        const stop = new AbortController();
        // A connection that is kept alive after its last answer would hold the server open.
        raw.keepAliveTimeout = 1;
        const ended = new Promise<void>((resolve) => void raw.close(() => resolve()));
        // To Node, a connection that never asked anything is not idle.
        for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
        void clock.sleep(deadlineMs, stop.signal).then(() => {
          if (stop.signal.aborted) return;
          log.warn({ connections: sockets.size }, 'requests did not finish in time; cut off');
          raw.closeAllConnections();
          for (const socket of sockets) socket.destroy();
        });
        await ended;
        stop.abort();
        await app.close();
      })();
      return closed;
    },
  };
}

/** Admits a request to a route or throws a Problem. */
type Guard = (request: http.IncomingMessage, access: Route['access']) => Caller;

function allRoutes(
  context: HttpContext,
  metrics: MetricsText,
  waiters: WaitingRoom,
  events: EventStreams,
  page: readonly Route[],
): Route[] {
  const routes = [
    ...healthRoutes(context),
    ...migrationRoutes(context),
    ...gateRoutes(context),
    ...waitRoutes(context, waiters),
    ...alertRoutes(context),
    ...journalRoutes(context),
    ...attestationRoutes(context),
    ...fenceRoutes(context, waiters),
    ...directionRoutes(context),
    ...verifyRoutes(context),
    ...events.routes(),
    ...metricsRoutes(metrics),
    ...page,
  ];
  return [...routes, openapiRoute(routes, context.port.version)];
}

function buildApp(
  routes: readonly Route[],
  guard: Guard,
  log: HttpLog,
  serverFactory: (handler: http.RequestListener) => http.Server,
): FastifyInstance {
  const answerError = (error: unknown, reply: FastifyReply): void => {
    const problem = toProblem(error);
    if (problem.status >= 500 && !(error instanceof Problem)) log.error({ err: error }, 'request failed');
    sendProblem(reply, problem);
  };
  const app = fastify({
    serverFactory: (handler) => serverFactory(handler as http.RequestListener),
    bodyLimit: LIMITS.bodyBytes,
    exposeHeadRoutes: false,
    // Our own guard answers while closing, as problem+json.
    return503OnClosing: false,
    routerOptions: { maxParamLength: 256 },
    frameworkErrors: (error, _request, reply) => answerError(error, reply as unknown as FastifyReply),
    clientErrorHandler: (error, socket) => answerBrokenRequest(error, socket),
  });
  app.decorateRequest('caller', null);
  app.setErrorHandler((error: unknown, _request, reply) => answerError(error, reply));
  app.setNotFoundHandler((request, reply) => {
    guard(request.raw, 'reader');
    sendProblem(reply, noRoute(routes, request));
  });
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => {
    try {
      done(null, JSON.parse(body as string));
    } catch {
      done(new Problem(400, 'malformed_json', 'the body is not JSON'));
    }
  });
  for (const route of routes) if (route.body !== 'ignored') register(app, route, guard);
  // Webhooks post whatever their tool makes of them; the question is in the path.
  app.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, _body, parsed) => parsed(null));
    for (const route of routes) if (route.body === 'ignored') register(scope, route, guard);
    done();
  });
  return app;
}

function register(app: FastifyInstance, route: Route, guard: Guard): void {
  const known = route.query.map((p) => p.name);
  app.route({
    method: [...route.methods],
    url: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
    // Before the body is read: a stranger's body is not worth receiving.
    onRequest: (request, _reply, done) => {
      try {
        request.caller = guard(request.raw, route.access);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
    handler: (request, reply) => {
      // Probes and bookmarks may carry anything.
      const query = route.access === 'open' ? {} : readQuery(request.query, known);
      return route.handle(request, reply, { caller: request.caller as Caller, query });
    },
  });
}

/** 405 where the path is known with other methods, else 404. */
function noRoute(routes: readonly Route[], request: FastifyRequest): Problem {
  const path = request.url.split('?', 1)[0] ?? '';
  const parameters = (route: Route): number => route.path.split('{').length;
  const [match] = routes
    .filter(({ path: pattern }) =>
      new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path),
    )
    // `/v1/gates/x/check` is also a gate called `check` to the pattern, never to the router.
    .sort((a, b) => parameters(a) - parameters(b));
  if (match === undefined) return new Problem(404, 'unknown_path', 'there is nothing at this path; see /openapi.json');
  // The same path may be several routes, one for each method.
  const allow = routes.flatMap(({ path: other, methods }) => (other === match.path ? methods : [])).join(', ');
  return new Problem(405, 'method_not_allowed', `${request.method} is not possible here, but ${allow} is`, {
    headers: { allow },
  });
}

/** Codes of fastify's own refusals; what it says in words is kept. */
const REFUSALS: Readonly<Record<number, string>> = {
  400: 'bad_request',
  413: 'body_too_large',
  414: 'url_too_long',
  415: 'unsupported_media_type',
};

function toProblem(error: unknown): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof StoreError) {
    return new Problem(503, error.code, withHint(error), {
      headers: { 'retry-after': String(LIMITS.retryAfterSeconds) },
    });
  }
  if (error instanceof Refusal) {
    const { status, code, message, hint, extra } = error;
    return new Problem(status, code, message, {
      ...(status === 503 ? { headers: { 'retry-after': String(LIMITS.retryAfterSeconds) } } : {}),
      extra: { ...(hint === null ? {} : { hint }), ...extra },
    });
  }
  if (error instanceof UsageError) return new Problem(400, error.code, withHint(error));
  const { code, statusCode } = error as Partial<FastifyError>;
  if (code?.startsWith('FST_') === true && statusCode !== undefined && statusCode < 500) {
    const known = REFUSALS[statusCode];
    if (known === 'unsupported_media_type') return new Problem(415, known, 'send the body as application/json');
    return new Problem(statusCode, known ?? 'bad_request', messageOf(error));
  }
  // Details go to the log: an unexpected message may carry anything.
  return new Problem(500, 'internal', 'lockgate could not answer; its log says why');
}

function withHint({ message, hint }: LockgateError): string {
  return hint === null ? message : `${message}. ${hint}`;
}

/** Answers what never became a request: too long a header, not HTTP, too slow. */
function answerBrokenRequest(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy();
    return;
  }
  const problem =
    error.code === 'HPE_HEADER_OVERFLOW'
      ? new Problem(431, 'header_too_large', `the header may have at most ${LIMITS.headerBytes} bytes`)
      : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
        ? new Problem(408, 'request_timeout', 'the request did not arrive in time')
        : new Problem(400, 'bad_request', 'this is not an HTTP request');
  const body = JSON.stringify(problem);
  const { title } = problem.toJSON();
  socket.end(
    `HTTP/1.1 ${problem.status} ${title}\r\nContent-Type: application/problem+json\r\nCache-Control: no-store\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
