/** Faults of what is written and what is carried: loads, locks, publications, strays. */
import { open, type Pair } from '../support/pair.js';
import { boundMs, timing } from '../support/scenario-setup.js';
import { done, type Heal, type SoakFault } from './fault.js';

/** A look at the catalogs every two seconds, and what it takes. */
const catalogWithinMs = 2_000 + 1_500;
const HEARTBEAT_ROWS = 'select 1 from lockgate.heartbeat for update';

let uncopied = 0;

/** Keeps a row locked in an open transaction until healed. */
async function lockRow(server: Pair['source'], sql: string): Promise<Heal> {
  const client = await open(server);
  await client.query(`begin`);
  await client.query(sql);
  return async () => {
    // When the server was killed meanwhile, the lock went with it.
    await client.query('rollback').catch(() => undefined);
    await client.end();
  };
}

/** Bursts and idle stretches, locked heartbeats, stray writes, and tables that are not carried. */
export const dataFaults: readonly SoakFault[] = [
  {
    name: 'stray write on the target',
    weight: 2,
    expect: 'unseen',
    latches: true,
    strays: true,
    withinMs: 1_500,
    async make({ pair }) {
      await pair.onTarget(`update public.customers set email = 'stray ' || clock_timestamp() where id = 2`);
      return undefined;
    },
  },
  {
    name: 'burst of 100,000 rows',
    expect: 'truth',
    async make({ pair }) {
      await pair.bulk(100_000);
      return undefined;
    },
  },
  {
    name: 'idle stretch',
    expect: 'healthy',
    make({ load }) {
      load.pause();
      return Promise.resolve(() => {
        load.resume();
        return done();
      });
    },
  },
  {
    name: 'application table taken out of the publication',
    expect: 'unseen',
    withinMs: catalogWithinMs,
    async make({ pair }) {
      await pair.onSource('alter publication shop_pub drop table public.customers');
      return async () => {
        await pair.onSource('alter publication shop_pub add table public.customers');
      };
    },
  },
  {
    name: 'new table on the source only',
    expect: 'unseen',
    withinMs: catalogWithinMs,
    async make({ pair }) {
      await pair.onSource('create table public.invoices (id int primary key)');
      return async () => {
        await pair.onSource('drop table public.invoices');
      };
    },
  },
  {
    name: 'table taken up without a copy',
    expect: 'unseen',
    latches: true,
    mayBreak: true,
    withinMs: catalogWithinMs,
    async make({ pair }) {
      const table = `public.uncopied_${++uncopied}`;
      const refresh = 'alter subscription shop_sub refresh publication with (copy_data = false)';
      await pair.onTarget(`create table ${table} (id int primary key)`);
      await pair.onSource(`create table ${table} (id int primary key)`);
      await pair.onSource(`alter publication shop_pub add table ${table}`);
      await pair.onTarget(refresh);
      return async () => {
        await pair.onSource(`alter publication shop_pub drop table ${table}`);
        await pair.onTarget(refresh);
        await pair.onSource(`drop table ${table}`);
        await pair.onTarget(`drop table ${table}`);
      };
    },
  },
  {
    name: 'heartbeat row locked on the source',
    expect: 'breaks',
    // The write waits for its statement's time limit first, and lag counts from when it was sent.
    withinMs: timing.thresholdMs + boundMs + 1_500,
    make: ({ pair }) => lockRow(pair.source, HEARTBEAT_ROWS),
  },
  {
    name: 'heartbeat row locked on the target',
    expect: 'truth',
    make: ({ pair }) => lockRow(pair.target, HEARTBEAT_ROWS),
  },
];
