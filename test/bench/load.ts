/** Writes on the source made inside the server, so that they cost the benchmark's own process nothing. */
import type { Pair } from '../support/pair.js';
import { open } from '../support/pair.js';

/** `rest`: nobody but lockgate writes. */
export type LoadName = 'rest' | 'small' | 'brisk' | 'bulk';

/** What a load came to. */
export interface LoadRate {
  readonly tps: number;
  readonly bytesPerSecond: number;
}

interface LoadPlan {
  sessions: number;
  /** Transactions a second of each session. */
  tps: number;
  rows: number;
  rowBytes: number;
}

const plans: Readonly<Record<Exclude<LoadName, 'rest'>, LoadPlan>> = {
  small: { sessions: 3, tps: 500, rows: 1, rowBytes: 64 },
  brisk: { sessions: 4, tps: 500, rows: 1, rowBytes: 64 },
  bulk: { sessions: 1, tps: 10, rows: 1_000, rowBytes: 1_024 },
};

/** Makes the procedure that the loads run. */
export async function prepareLoad(pair: Pair): Promise<void> {
  await pair.onSource(`
    create or replace procedure public.bench_load(tps int, rows int, bytes int, until timestamptz) language plpgsql as $$
    declare
      started timestamptz := clock_timestamp();
      done int := 0;
      ahead float;
    begin
      while clock_timestamp() < until loop
        insert into public.orders (customer_id, amount, note)
          select 1 + n % 20, n % 1000, left(repeat(md5(random()::text), 1 + bytes / 32), bytes)
          from generate_series(1, rows) n;
        commit;
        done := done + 1;
        ahead := done::float / tps - extract(epoch from clock_timestamp() - started);
        -- Behind its pace it does not sleep at all; the rate that was reached is reported.
        if ahead > 0.001 then perform pg_sleep(ahead); end if;
      end loop;
    end $$`);
}

/** Writes for so long; resolves at the end with the rate that was reached. */
export function startLoad(pair: Pair, name: LoadName, seconds: number): Promise<LoadRate | null> {
  return name === 'rest' ? Promise.resolve(null) : run(pair, plans[name], seconds);
}

async function run(pair: Pair, plan: LoadPlan, seconds: number): Promise<LoadRate> {
  const clients = await Promise.all(Array.from({ length: plan.sessions }, () => open(pair.source)));
  try {
    const from = performance.now();
    const before = await count(pair);
    const call = `call public.bench_load($1, $2, $3, clock_timestamp() + make_interval(secs => $4))`;
    await Promise.all(clients.map((c) => c.query(call, [plan.tps, plan.rows, plan.rowBytes, seconds])));
    const tps = ((await count(pair)) - before) / plan.rows / ((performance.now() - from) / 1_000);
    return { tps, bytesPerSecond: tps * plan.rows * plan.rowBytes };
  } finally {
    await Promise.all(clients.map((c) => c.end()));
  }
}

async function count(pair: Pair): Promise<number> {
  const [row] = await pair.onSource<{ n: string }>(
    `select coalesce(pg_sequence_last_value(pg_get_serial_sequence('public.orders', 'id')), 0) as n`,
  );
  return Number(row?.n ?? 0);
}
