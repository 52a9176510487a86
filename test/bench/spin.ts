/**
 * The truth about heartbeats, measured by a process of its own that shares nothing with lockgate but the machine's
 * monotonic clock: from the instant a heartbeat is announced it asks both servers, one question after the other without
 * a pause, for the newest heartbeat that can be seen, over connections of its own.
 *
 * An answer that does not show a heartbeat proves that it became visible after the question was sent; an answer that
 * shows it proves that it had become visible before the answer came. So each heartbeat's instant of visibility lies
 * between the last question answered "not there" and the first answer "there", on either side.
 */
import mysql from 'mysql2/promise';
import pg from 'pg';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import type { Us } from '../../daemon/core/clock.js';
import { answer, startChild } from './child.js';

/** When one heartbeat became visible on one side. */
export interface Seen {
  /** It was not visible at this instant. */
  after: Us;
  /** It was visible at this instant. */
  by: Us;
}

/** What the spinner found, by seq. */
export interface Sightings {
  source: Record<number, Seen>;
  target: Record<number, Seen>;
}

type Order =
  | { kind: 'start'; source: string; target: string; daemon: string; link: string }
  | { kind: 'sent'; seq: number }
  | { kind: 'end' };

/** A running spinner. */
export interface Spinner {
  sent(seq: number): void;
  /** Ends it and returns all it has seen. */
  collect(): Promise<Sightings>;
}

/** Starts the process that knows the truth about one link's heartbeats. */
export async function startSpinner(
  sides: { source: string; target: string },
  daemon: string,
  link: string,
): Promise<Spinner> {
  const child = startChild('spin');
  await child.next();
  child.send({ kind: 'start', ...sides, daemon, link } satisfies Order);
  await child.next();
  return {
    sent: (seq) => child.send({ kind: 'sent', seq } satisfies Order),
    async collect() {
      child.send({ kind: 'end' } satisfies Order);
      const found = await child.next<Sightings>();
      child.end();
      return found;
    },
  };
}

/** Asks one server for the newest heartbeat while there is one to wait for. */
class Side {
  readonly seen: Record<number, Seen> = {};
  #newest: number | null = null;
  #wanted = 0;
  #unseenAt: Us = 0;
  #wake: (() => void) | null = null;

  constructor(
    private readonly newest: () => Promise<number>,
    private readonly clock: SystemClock,
  ) {}

  want(seq: number): void {
    this.#wanted = seq;
    this.#wake?.();
  }

  async run(): Promise<never> {
    for (;;) {
      if (this.#newest !== null && this.#newest >= this.#wanted) {
        await new Promise<void>((resolve) => (this.#wake = resolve));
        this.#wake = null;
      }
      const askedAt = this.clock.monotonicNow();
      const seq = await this.newest();
      const by = this.clock.monotonicNow();
      // What was there before the first question is nobody's sample: numbers need not begin at 1.
      if (this.#newest !== null) {
        for (let n = this.#newest + 1; n <= seq; n += 1) this.seen[n] = { after: this.#unseenAt, by };
      }
      this.#newest = Math.max(this.#newest ?? 0, seq);
      this.#unseenAt = askedAt;
    }
  }
}

async function askPostgres(url: string, daemon: string, link: string): Promise<() => Promise<number>> {
  const client = new pg.Client({ connectionString: url, application_name: 'bench_spin' });
  await client.connect();
  return async () => {
    const { rows } = await client.query<{ seq: string | null }>({
      name: 'newest',
      text: 'select max(seq) as seq from lockgate.heartbeat where daemon = $1 and link = $2',
      values: [daemon, link],
    });
    return Number(rows[0]?.seq ?? 0);
  };
}

async function askMysql(url: string, daemon: string, link: string): Promise<() => Promise<number>> {
  const connection = await mysql.createConnection(url);
  // Keys rise with the heartbeats, so that the newest is found without reading the others.
  const sql = 'select seq from lockgate.heartbeat where daemon = ? and link = ? order by run desc limit 1';
  return async () => {
    const [rows] = await connection.execute<mysql.RowDataPacket[]>(sql, [daemon, link]);
    return Number(rows[0]?.['seq'] ?? 0);
  };
}

/** The spinner's own process. */
export function spin(): void {
  const clock = new SystemClock();
  const sides: Side[] = [];
  const start = async (url: string, daemon: string, link: string): Promise<Side> => {
    const ask = url.startsWith('mysql') ? askMysql : askPostgres;
    const side = new Side(await ask(url, daemon, link), clock);
    void side.run();
    return side;
  };
  process.on('message', (order: Order) => {
    switch (order.kind) {
      case 'start':
        void Promise.all([order.source, order.target].map((url) => start(url, order.daemon, order.link))).then(
          (both) => {
            sides.push(...both);
            answer({});
          },
        );
        return;
      case 'sent':
        for (const side of sides) side.want(order.seq);
        return;
      case 'end':
        answer({ source: sides[0]?.seen ?? {}, target: sides[1]?.seen ?? {} } satisfies Sightings);
    }
  });
  answer({});
}
