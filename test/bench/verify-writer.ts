/** The application of the benchmark of verification: small writes at a fixed rate, and how long each took, counted from when it was due. */
import { setTimeout as sleep } from 'node:timers/promises';
import mysql from 'mysql2/promise';
import pg from 'pg';
import { answer } from './child.js';

/** What it is to do; afterwards each message `{}` asks for the latencies since the last. */
export interface WriterOrder {
  readonly engine: 'postgres' | 'mysql';
  readonly url: string;
  readonly sessions: number;
  /** Writes a second of each session. */
  readonly rate: number;
  /** Keys of `tpch.orders` that are written to are below this. */
  readonly keys: number;
}

/** Latencies in milliseconds since the last answer. */
export interface Written {
  readonly latencies: readonly number[];
  readonly failed: number;
}

/** The writer's own process. */
export function writeAsApplication(): void {
  const latencies: number[] = [];
  let failed = 0;
  let started = false;
  process.on('message', (order: WriterOrder | Record<string, never>) => {
    if (started) {
      answer({ latencies: latencies.splice(0), failed } satisfies Written);
      failed = 0;
      return;
    }
    started = true;
    const told = order as WriterOrder;
    const sessions = Array.from({ length: told.sessions }, (_, i) =>
      write(
        told,
        i,
        (ms) => latencies.push(ms),
        () => (failed += 1),
      ),
    );
    void Promise.all(sessions).catch((error: unknown) => {
      process.stderr.write(`the application of the benchmark: ${String(error)}\n`);
      process.exit(1);
    });
    answer({});
  });
  answer({});
}

async function write(
  order: WriterOrder,
  session: number,
  took: (ms: number) => void,
  failed: () => void,
): Promise<never> {
  const query = await connect(order);
  const everyMs = 1_000 / order.rate;
  let state = (session + 1) * 7_919;
  let due = performance.now() + (everyMs * session) / order.sessions;
  for (;;) {
    const early = due - performance.now();
    if (early > 0) await sleep(early);
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const n = state % Math.floor(order.keys / 8);
    // The keys that TPC-H takes: eight of each thirty-two.
    const key = n * 32 + (state % 8) + 1;
    try {
      await query(
        `update tpch.orders set o_totalprice = o_totalprice + 0.01, o_comment = 'written ${state}' where o_orderkey = ${key}`,
      );
      took(performance.now() - due);
    } catch {
      failed();
    }
    due += everyMs;
  }
}

async function connect({ engine, url }: WriterOrder): Promise<(sql: string) => Promise<unknown>> {
  if (engine === 'postgres') {
    const client = new pg.Client({ connectionString: url, query_timeout: 30_000 });
    await client.connect();
    return (sql) => client.query(sql);
  }
  const connection = await mysql.createConnection({ uri: url, connectTimeout: 5_000 });
  return (sql) => connection.query({ sql, timeout: 30_000 });
}
