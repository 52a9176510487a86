/** Backlogs for the drain benchmark: what holds apply back, what is written meanwhile, and how long. */
import { setTimeout as sleep } from 'node:timers/promises';
import { open, type Pair } from '../support/pair.js';

/** What is written, and for how long. */
export interface BacklogPlan {
  /** For so long apply is held back, or it is written. */
  readonly seconds: number;
  /** Writes go on for so long after apply is let go. */
  readonly afterSeconds: number;
  /** Sessions that write, rows in each of their transactions, and bytes in each row. */
  readonly sessions: number;
  readonly rows: number;
  readonly rowBytes: number;
}

/** One backlog; `make` resolves at the moment at which writes have stopped and apply goes on. */
export interface Backlog {
  readonly cause: string;
  readonly plan: BacklogPlan;
  readonly make: (pair: Pair) => Promise<void>;
}

/** Makes the procedure that writes. */
export async function prepareBacklogs(pair: Pair): Promise<void> {
  await pair.onSource(`
    create or replace procedure public.bench_backlog(rows int, bytes int, seconds float) language plpgsql as $$
    declare until timestamptz := clock_timestamp() + make_interval(secs => seconds);
    begin
      while clock_timestamp() < until loop
        insert into public.orders (customer_id, amount, note)
          select 1 + n % 20, n % 1000, repeat('x', bytes) from generate_series(1, rows) n;
        commit;
      end loop;
    end $$`);
}

/** So many backlogs, of every cause in turn; the sizes follow from a fixed series, so that two runs make the same. */
export function backlogs(count: number): Backlog[] {
  const random = series(20261122);
  const between = (least: number, most: number): number => least * (most / least) ** random();
  return Array.from({ length: count }, (_, n) => {
    const cause = causes[n % causes.length] ?? causes[0];
    const plan: BacklogPlan = {
      seconds: between(0.5, 6),
      sessions: Math.round(between(1, 4)),
      rows: Math.round(between(1, 200)),
      rowBytes: Math.round(between(16, 1_000)),
      afterSeconds: between(0.2, 3),
    };
    return { cause: cause.name, plan, make: (pair) => cause.make(pair, plan) };
  });
}

interface Cause {
  name: string;
  make(pair: Pair, plan: BacklogPlan): Promise<void>;
}

const causes: readonly [Cause, ...Cause[]] = [
  {
    name: 'table lock released, writes go on',
    make: (pair, plan) => heldBack(pair, plan, () => pair.lockTable('public.orders')),
  },
  {
    name: 'subscription disabled and enabled',
    make: (pair, plan) =>
      heldBack(pair, plan, async () => {
        await pair.disableSubscription();
        return () => pair.enableSubscription();
      }),
  },
  {
    name: 'one bulk transaction',
    async make(pair, { seconds, rows }) {
      await pair.bulk(Math.round(seconds * 20_000 + rows));
    },
  },
  { name: 'more written than applied', make: (pair, plan) => write(pair, plan, plan.seconds + plan.afterSeconds) },
  {
    name: 'apply stopped for a while',
    make: (pair, plan) =>
      heldBack(pair, plan, async () => {
        const [pid] = await pair.applyWorkerPids();
        if (pid === undefined) throw new Error('there is no apply worker');
        pair.target.signal(pid, 'SIGSTOP');
        return () => {
          pair.target.signal(pid, 'SIGCONT');
          return Promise.resolve();
        };
      }),
  },
];

/** Holds apply back while it is written, lets it go, and goes on writing for a while. */
async function heldBack(pair: Pair, plan: BacklogPlan, hold: () => Promise<() => Promise<void>>): Promise<void> {
  const letGo = await hold();
  const writing = write(pair, plan, plan.seconds + plan.afterSeconds);
  writing.catch(() => undefined);
  await sleep(plan.seconds * 1_000);
  await letGo();
  await writing;
}

async function write(pair: Pair, { sessions, rows, rowBytes }: BacklogPlan, seconds: number): Promise<void> {
  const clients = await Promise.all(Array.from({ length: sessions }, () => open(pair.source)));
  try {
    await Promise.all(clients.map((c) => c.query('call public.bench_backlog($1, $2, $3)', [rows, rowBytes, seconds])));
  } finally {
    await Promise.all(clients.map((c) => c.end()));
  }
}

/** Numbers from 0 to 1 that are the same in every run (a multiplicative congruential generator). */
function series(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}
