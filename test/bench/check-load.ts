/** The load generator: sockets that are kept, one request at a time on each, and as little work as possible for each answer. */
import { connect, type Socket } from 'node:net';
import { answer } from './child.js';
import { quantile } from './statistics.js';

/** What is to be asked for, and for how long. */
export interface AskOrder {
  port: number;
  path: string;
  token: string;
  connections: number;
  seconds: number;
}

/** What came of it. */
export interface AskResult {
  perSecond: number;
  /** All answers, those before and after what counts too. */
  answered: number;
  p50Us: number;
  p99Us: number;
  /** Answers by their status. */
  statuses: Record<string, number>;
  /** The generator's own share of a core; near 1 means that it was the limit. */
  cpu: number;
}

/** How long is asked before it counts. */
const WARM_MS = 300;

/** The generator's own process. */
export function ask(): void {
  process.on('message', (order: AskOrder) => void run(order).then(answer));
  answer({});
}

async function run({ port, path, token, connections, seconds }: AskOrder): Promise<AskResult> {
  const bytes = Buffer.from(
    `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${token}\r\n\r\n`,
    'latin1',
  );
  const latencies: number[] = [];
  let answered = 0;
  const statuses: Record<string, number> = {};
  const countFrom = performance.now() + WARM_MS;
  const until = countFrom + seconds * 1_000;
  let cpuFrom = process.cpuUsage();
  setTimeout(() => (cpuFrom = process.cpuUsage()), WARM_MS);
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      let sentAt = 0;
      let missing = -1;
      let head = '';
      const send = (): void => {
        sentAt = performance.now();
        head = '';
        missing = -1;
        socket.write(bytes);
      };
      socket.on('connect', send);
      socket.on('error', reject);
      socket.on('data', (chunk: Buffer) => {
        if (missing < 0) {
          head += chunk.toString('latin1');
          const end = head.indexOf('\r\n\r\n');
          if (end < 0) return;
          missing = contentLength(head) - (head.length - end - 4);
        } else missing -= chunk.length;
        if (missing > 0) return;
        const now = performance.now();
        answered += 1;
        if (sentAt >= countFrom && now <= until) {
          latencies.push((now - sentAt) * 1_000);
          const status = head.slice(9, 12);
          statuses[status] = (statuses[status] ?? 0) + 1;
        }
        if (now < until) send();
        else end(socket, resolve);
      });
    });
  let asking = true;
  // Asleep it would have to be woken for nearly every answer, at the expense of the server, and the more the slower that is.
  const stayAwake = (): void => {
    if (asking) setImmediate(stayAwake);
  };
  stayAwake();
  await Promise.all(Array.from({ length: connections }, one));
  asking = false;
  const { user, system } = process.cpuUsage(cpuFrom);
  return {
    perSecond: latencies.length / seconds,
    answered,
    p50Us: quantile(latencies, 0.5),
    p99Us: quantile(latencies, 0.99),
    statuses,
    cpu: (user + system) / (seconds * 1e6),
  };
}

function contentLength(head: string): number {
  const at = head.search(/content-length: /i);
  return Number.parseInt(head.slice(at + 16, at + 26), 10);
}

function end(socket: Socket, resolve: () => void): void {
  socket.destroy();
  resolve();
}
