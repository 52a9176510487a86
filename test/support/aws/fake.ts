/**
 * A loopback server that speaks the wires of DMS (JSON 1.1) and CloudWatch (JSON 1.0, compatible with its query errors) to
 * the real clients of the SDK. It refuses unknown operations, checks every request and every answer of its own against
 * AWS's API models and the documented limits, and misbehaves when told to. It is no AWS: what a model does not say, it
 * does not know.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { AwsError } from './aws-error.js';
import { CloudWatchWorld } from './cloudwatch-world.js';
import { getMetricDataLimits, pagingLimits, putMetricDataLimits } from './limits.js';
import { ApiModel } from './model.js';

/** A service that is spoken. */
export type Service = 'dms' | 'cloudwatch';

/** One request as it was understood. */
export interface AwsRequest {
  service: Service;
  operation: string;
  input: Record<string, unknown>;
  headers: IncomingMessage['headers'];
  /** Bytes on the wire, compressed where they were. */
  bytes: number;
  gzipped: boolean;
  /** In milliseconds since 1970. */
  at: number;
}

/** Answers a request; a `Date` anywhere becomes epoch seconds; throws an `AwsError` to refuse. */
export type AwsHandler = (input: Record<string, unknown>, request: AwsRequest) => object | Promise<object>;

/** What goes wrong with a request. */
export type Fault =
  | { kind: 'throttle' | 'reset' | 'half' | 'expired' | 'denied' | 'internal' | 'mute' }
  /** The answer comes after so long. */
  | { kind: 'slow'; ms: number };

interface Standing {
  fault: Fault;
  left: number;
  operation: string | null;
}

const SERVICES: Readonly<Record<Service, { prefix: string; signed: string; content: string; model: string }>> = {
  dms: { prefix: 'AmazonDMSv20160101', signed: 'dms', content: 'application/x-amz-json-1.1', model: 'dms-2016-01-01' },
  cloudwatch: {
    prefix: 'GraniteServiceVersion20100801',
    signed: 'monitoring',
    content: 'application/x-amz-json-1.0',
    model: 'monitoring-2010-08-01',
  },
};

/** The names that the same refusal has in both services; CloudWatch tells its own by `x-amzn-query-error`. */
const NAMES = {
  throttle: { dms: 'ThrottlingException', cloudwatch: 'Throttling', message: 'Rate exceeded' },
  expired: {
    dms: 'ExpiredTokenException',
    cloudwatch: 'ExpiredToken',
    message: 'The security token included in the request is expired',
  },
  denied: { dms: 'AccessDeniedException', cloudwatch: 'AccessDenied', message: '' },
} as const;

/** The fake. */
export interface FakeAws {
  /** To be given as `endpoint` of a client; the same for both services. */
  readonly endpoint: string;
  /** Every request that was understood, faulty ones and refused ones included, oldest first. */
  readonly requests: AwsRequest[];
  /** What was wrong with requests and with answers of tests' own; `close` rejects while there is any. */
  readonly violations: string[];
  /** What was put into CloudWatch and what it answers. */
  readonly cloudwatch: CloudWatchWorld;
  /** Sets what answers an operation of either service; the newest one counts. */
  on(operation: string, handler: AwsHandler): void;
  /** The next `times` requests (of one operation, or of any) go wrong. */
  fault(fault: Fault, options?: { times?: number; operation?: string }): void;
  /** Ends all faults. */
  heal(): void;
  /** Closes it, and rejects if anything was wrong with a request or an answer. */
  close(): Promise<void>;
}

/** Starts one; `now` gives milliseconds since 1970 for tests that have a time of their own. */
export async function startFakeAws({ now = Date.now }: { now?: () => number } = {}): Promise<FakeAws> {
  const models = { dms: new ApiModel(SERVICES.dms.model), cloudwatch: new ApiModel(SERVICES.cloudwatch.model) };
  const handlers = new Map<string, AwsHandler>();
  const requests: AwsRequest[] = [];
  const violations: string[] = [];
  const standing: Standing[] = [];
  const cloudwatch = new CloudWatchWorld();
  const timers = new Set<NodeJS.Timeout>();
  handlers.set('PutMetricData', (input) => cloudwatch.put(input));
  handlers.set('GetMetricData', (input) => cloudwatch.answer(input));

  const takeFault = (operation: string): Fault | null => {
    const found = standing.find((s) => s.left > 0 && (s.operation === null || s.operation === operation));
    if (found === undefined) return null;
    found.left--;
    return found.fault;
  };

  const understand = (message: IncomingMessage, body: Buffer): AwsRequest => {
    const target = header(message, 'x-amz-target');
    const [prefix, operation] = target.split('.');
    const service = (Object.keys(SERVICES) as Service[]).find((name) => SERVICES[name].prefix === prefix);
    if (service === undefined || operation === undefined || !models[service].has(operation)) {
      throw new AwsError('UnknownOperationException', `no operation ${target}`);
    }
    if (header(message, 'content-type') !== SERVICES[service].content) {
      throw new AwsError('UnsupportedMediaType', `not ${SERVICES[service].content}`, 415);
    }
    if (service === 'cloudwatch' && header(message, 'x-amzn-query-mode') !== 'true') {
      throw new AwsError('InvalidAction', 'without x-amzn-query-mode');
    }
    const scope = /^AWS4-HMAC-SHA256 Credential=[^/]+\/\d{8}\/[^/]+\/([^/]+)\/aws4_request,/.exec(
      header(message, 'authorization'),
    );
    if (scope?.[1] !== SERVICES[service].signed) {
      throw new AwsError('IncompleteSignatureException', `not signed for ${SERVICES[service].signed}`, 403);
    }
    const gzipped = header(message, 'content-encoding') === 'gzip';
    const text = (gzipped ? gunzipSync(body) : body).toString('utf8');
    const input = JSON.parse(text) as Record<string, unknown>;
    return { service, operation, input, headers: message.headers, bytes: body.length, gzipped, at: now() };
  };

  const check = ({ service, operation, input, bytes }: AwsRequest): string[] => {
    const wrong = models[service].checkInput(operation, input);
    if (wrong.length > 0) return wrong;
    if (operation === 'PutMetricData') return putMetricDataLimits(input as never, bytes, now() / 1000);
    if (operation === 'GetMetricData') return getMetricDataLimits(input as never);
    return service === 'dms' && operation.startsWith('Describe') ? pagingLimits(operation, input) : [];
  };

  const answer = async (request: AwsRequest): Promise<object> => {
    const wrong = check(request);
    if (wrong.length > 0) {
      violations.push(...wrong);
      throw new AwsError(request.service === 'dms' ? 'ValidationException' : 'InvalidParameterValue', wrong.join('; '));
    }
    const handler = handlers.get(request.operation);
    if (handler === undefined) {
      violations.push(`${request.operation}: nothing answers it`);
      throw new AwsError('UnknownOperationException', `nothing answers ${request.operation}`);
    }
    const output = onTheWire(await handler(request.input, request));
    const own = models[request.service].checkOutput(request.operation, output);
    if (own.length > 0) {
      violations.push(...own);
      throw new AwsError('InternalFailure', `the fake's own answer is wrong: ${own.join('; ')}`, 500);
    }
    return output;
  };

  const send = (response: ServerResponse, service: Service | null, status: number, body: object): void => {
    const content = service === null ? 'application/x-amz-json-1.1' : SERVICES[service].content;
    response.writeHead(status, { 'content-type': content, 'x-amzn-requestid': randomUUID() });
    response.end(JSON.stringify(body));
  };

  const refuse = (response: ServerResponse, service: Service | null, error: AwsError): void => {
    if (service === 'cloudwatch') {
      response.setHeader('x-amzn-query-error', `${error.code};${error.status >= 500 ? 'Receiver' : 'Sender'}`);
    }
    send(response, service, error.status, { __type: error.code, message: error.message });
  };

  const serve = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    const body = await read(message);
    let service: Service | null = null;
    try {
      const request = understand(message, body);
      service = request.service;
      requests.push(request);
      const fault = takeFault(request.operation);
      switch (fault?.kind) {
        case 'reset':
          message.socket.resetAndDestroy();
          return;
        case 'mute':
          return;
        case 'half': {
          const text = JSON.stringify(await answer(request));
          response.writeHead(200, { 'content-type': SERVICES[service].content, 'content-length': text.length });
          response.write(text.slice(0, Math.ceil(text.length / 2)), () => message.socket.destroy());
          return;
        }
        case 'slow':
          await new Promise<void>((resolve) => {
            const timer = setTimeout(() => {
              timers.delete(timer);
              resolve();
            }, fault.ms);
            timers.add(timer);
          });
          break;
        case 'internal':
          throw new AwsError(service === 'dms' ? 'InternalFailure' : 'InternalServiceError', 'internal error', 500);
        case 'throttle':
        case 'expired':
          throw new AwsError(NAMES[fault.kind][service], NAMES[fault.kind].message);
        case 'denied': {
          const action = `${service}:${request.operation}`;
          throw new AwsError(
            NAMES.denied[service],
            `User: arn:aws:iam::123456789012:user/lockgate is not authorized to perform: ${action} because no ` +
              `identity-based policy allows the ${action} action`,
            service === 'dms' ? 400 : 403,
          );
        }
        case undefined:
      }
      send(response, service, 200, await answer(request));
    } catch (error) {
      if (!(error instanceof AwsError)) violations.push(`a handler failed: ${String(error)}`);
      refuse(
        response,
        service,
        error instanceof AwsError ? error : new AwsError('InternalFailure', String(error), 500),
      );
    }
  };

  const server = createServer((message, response) => void serve(message, response).catch(() => message.destroy()));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not listening on a port');
  return {
    endpoint: `http://127.0.0.1:${address.port}`,
    requests,
    violations,
    cloudwatch,
    on: (operation, handler) => {
      if (!models.dms.has(operation) && !models.cloudwatch.has(operation)) throw new Error(`no operation ${operation}`);
      handlers.set(operation, handler);
    },
    fault: (fault, { times = Infinity, operation = null as string | null } = {}) =>
      void standing.push({ fault, left: times, operation }),
    heal: () => void standing.splice(0),
    close: async () => {
      for (const timer of timers) clearTimeout(timer);
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      if (violations.length > 0) throw new Error(`against AWS's model: ${violations.join('; ')}`);
    },
  };
}

function header(message: IncomingMessage, name: string): string {
  const value = message.headers[name];
  return typeof value === 'string' ? value : '';
}

async function read(message: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of message) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

/** The value as JSON has it, with dates as epoch seconds and what is undefined left out. */
function onTheWire(value: unknown): object {
  return strip(value) as object;
}

function strip(value: unknown): unknown {
  if (value instanceof Date) return value.getTime() / 1000;
  if (Array.isArray(value)) return value.map(strip);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([name, item]) => [name, strip(item)]),
  );
}
