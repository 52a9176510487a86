import { request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders, RequestOptions } from 'node:http';
import type { DaemonConfig, Secret, TokenConfig } from '../../daemon/core/config.js';
import type { Clock } from '../../daemon/core/clock.js';
import type { HttpServer, ServerOptions } from '../../daemon/http/server.js';
import { createServer } from '../../daemon/http/server.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { FakePort } from './fake-port.js';

/** A secret with a value known to the test; `value` may be changed to rotate it. */
export class TestSecret implements Secret {
  constructor(public value: string) {}
  reveal(): string {
    if (this.value === '') throw new Error('the file has gone');
    return this.value;
  }
  toString(): string {
    return '[secret]';
  }
  toJSON(): string {
    return '[secret]';
  }
}

/** Tokens `reader` and `operator`, each with its own name as the secret. */
export function tokens(): { reader: TestSecret; operator: TestSecret; list: TokenConfig[] } {
  const reader = new TestSecret('reader-secret');
  const operator = new TestSecret('operator-secret');
  const list: TokenConfig[] = [
    { name: 'grafana', token: reader, role: 'reader' },
    { name: 'runbook', token: operator, role: 'operator' },
  ];
  return { reader, operator, list };
}

/** The configuration of a daemon on a free port of the loopback. */
export function daemonConfig(overrides: Partial<DaemonConfig> = {}): DaemonConfig {
  return { id: 'lockgate-test', listen: { host: '127.0.0.1', port: 0 }, tls: null, auth: null, ...overrides };
}

/** What a server logged. */
export interface LogLine {
  level: string;
  fields: object;
  message: string;
}

/** A running server and everything a test may want to ask of it. */
export interface Running {
  port: FakePort;
  server: HttpServer;
  log: LogLine[];
  url: string;
  tcpPort: number;
  ask(path: string, options?: AskOptions): Promise<Answer>;
}

/** An answer, read to its end. */
export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
  json(): Record<string, unknown>;
}

/** How to ask; `token` becomes the Authorization header. */
export interface AskOptions {
  method?: string;
  token?: string;
  headers?: Record<string, string>;
  body?: string;
}

/** Starts a server over a fake port; the caller closes it. */
export async function startServer(
  options: {
    config?: DaemonConfig;
    clock?: Clock;
    limits?: ServerOptions['limits'];
    metrics?: (port: FakePort) => ServerOptions['metrics'];
    pageFolder?: string;
  } = {},
): Promise<Running> {
  const port = new FakePort();
  const log: LogLine[] = [];
  const write = (level: string) => (fields: object, message: string) => void log.push({ level, fields, message });
  const server = await createServer(port, {
    config: options.config ?? daemonConfig(),
    clock: options.clock ?? new SystemClock(),
    log: { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') },
    metrics: options.metrics?.(port) ?? { text: () => Promise.resolve('up 1\n'), contentType: 'text/plain' },
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    ...(options.pageFolder === undefined ? {} : { pageFolder: options.pageFolder }),
  });
  const { url, port: tcpPort } = await server.listen();
  return { port, server, log, url, tcpPort, ask: (path, how) => ask(tcpPort, path, how) };
}

/** Asks over HTTP without following, normalising or adding anything. */
export function ask(tcpPort: number, path: string, how: AskOptions = {}): Promise<Answer> {
  const headers = { ...how.headers, ...(how.token === undefined ? {} : { authorization: `Bearer ${how.token}` }) };
  const options: RequestOptions = { host: '127.0.0.1', port: tcpPort, path, method: how.method ?? 'GET', headers };
  return new Promise((resolve, reject) => {
    const request = httpRequest(options, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const body = Buffer.concat(chunks).toString();
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers,
          body,
          json: () => JSON.parse(body) as Record<string, unknown>,
        });
      });
    });
    request.on('error', reject);
    request.end(how.body);
  });
}
