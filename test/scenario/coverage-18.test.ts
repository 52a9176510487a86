/** What lag cannot show: tables that the replication does not carry whole, and what a promotion would trip over. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { runFault, startScenario, type Fault, type Scenario } from '../support/scenario.js';

/** A look at the catalogs every two seconds, and what it takes on a machine with two busy cores. */
const withinMs = 2_000 + 1_500;
const unseen = { class: 'coverage', expect: 'unseen', state: 'closed', withinMs } as const;

/** Undoes and does statements on the source. */
const onSource =
  (make: string, heal: string): Fault['make'] =>
  async ({ pair }) => {
    await pair.onSource(make);
    return async () => {
      await pair.onSource(heal);
    };
  };

const faults: readonly Fault[] = [
  {
    ...unseen,
    name: 'table dropped from the publication',
    says: /public\.orders: in no publication of this link/,
    make: onSource(
      'alter publication shop_pub drop table public.orders',
      'alter publication shop_pub add table public.orders',
    ),
  },
  {
    ...unseen,
    name: 'table created on the source only',
    says: /public\.invoices: in no publication of this link/,
    make: onSource('create table public.invoices (id int)', 'drop table public.invoices'),
  },
  {
    ...unseen,
    name: 'table published, and the subscription not refreshed',
    says: /public\.invoices: not known to the subscription/,
    async make({ pair }) {
      await pair.onTarget('create table public.invoices (id int primary key)');
      await pair.onSource('create table public.invoices (id int primary key)');
      await pair.onSource('alter publication shop_pub add table public.invoices');
      return async () => {
        await pair.onTarget('alter subscription shop_sub refresh publication');
      };
    },
  },
  {
    ...unseen,
    name: 'publication without deletes',
    says: /public\.customers: delete not published/,
    make: onSource(
      `alter publication shop_pub set (publish = 'insert, update, truncate')`,
      `alter publication shop_pub set (publish = 'insert, update, delete, truncate')`,
    ),
  },
  {
    ...unseen,
    name: 'row filter on a published table',
    says: /public\.orders: row filter in shop_pub/,
    async make({ pair }) {
      await pair.onSource('alter publication shop_pub drop table public.orders');
      await pair.onSource('alter publication shop_pub add table public.orders where (id < 1000000)');
      return async () => {
        await pair.onSource('alter publication shop_pub drop table public.orders');
        await pair.onSource('alter publication shop_pub add table public.orders');
      };
    },
  },
  {
    ...unseen,
    name: 'column added beside a column list',
    says: /public\.customers: column list of shop_pub lacks vip/,
    async make({ pair }) {
      await pair.onTarget('alter table public.customers add column vip boolean');
      await pair.onSource('alter publication shop_pub drop table public.customers');
      await pair.onSource('alter publication shop_pub add table public.customers (id, name, email)');
      await pair.onSource('alter table public.customers add column vip boolean');
      return async () => {
        await pair.onSource('alter publication shop_pub drop table public.customers');
        await pair.onSource('alter publication shop_pub add table public.customers');
      };
    },
  },
  {
    ...unseen,
    name: 'partition added, and the subscription not refreshed',
    says: /public\.events: partition public\.events_2: not known to the subscription/,
    async make({ pair }) {
      const events = `create table public.events (id int primary key) partition by range (id);
        create table public.events_1 partition of public.events for values from (0) to (10)`;
      const second = 'create table public.events_2 partition of public.events for values from (10) to (20)';
      await pair.onTarget(`${events}; ${second}`);
      await pair.onSource(`${events}; alter publication shop_pub add table public.events`);
      await pair.onTarget('alter subscription shop_sub refresh publication');
      await pair.onSource(second);
      return async () => {
        await pair.onTarget('alter subscription shop_sub refresh publication');
      };
    },
  },
  {
    ...unseen,
    name: 'table made unlogged',
    says: /public\.invoices: unlogged/,
    // A published table cannot be made unlogged, so it was dropped from the publication first.
    make: onSource(
      'alter publication shop_pub drop table public.invoices; alter table public.invoices set unlogged',
      'alter table public.invoices set logged; alter publication shop_pub add table public.invoices',
    ),
  },
];

interface Signals {
  signals: { name: string; state: string; value: number | null; reason: string | null }[];
}

describe('what lag cannot show, on PostgreSQL 18', () => {
  let scenario: Scenario;
  beforeAll(async () => {
    scenario = await startScenario({
      source: 18,
      target: 18,
      sourceSettings: { max_slot_wal_keep_size: '4GB' },
      require: ['forward.tables_uncovered is 0', 'forward.tables_syncing is 0', 'forward.drain_eta_high < 5s'],
    });
  });
  afterAll(() => scenario.destroy());

  const signal = async (
    name: string,
    fits: (s: Signals['signals'][number]) => boolean,
    timeoutMs = 10_000,
  ): Promise<Signals['signals'][number]> =>
    waitFor(`${name} to be as wanted`, timeoutMs, async () => {
      const { body } = await scenario.daemon.get<Signals>('/v1/migrations/shop/signals');
      return body.signals.find((s) => s.name === name && fits(s));
    });

  it.each(faults)('$name', { timeout: 180_000 }, async (fault) => {
    await runFault(scenario, fault);
  });

  it(
    'sequences are behind until they are set, and what the sides are doing is known',
    { timeout: 120_000 },
    async () => {
      const { pair } = scenario;
      const behind = await signal('sequences.behind', (s) => s.value === 2);
      expect(behind.reason).toMatch(
        /public\.customers_id_seq: next 1, used up to 20; public\.orders_id_seq: next 1, used/,
      );
      await pair.onTarget(`select setval('public.customers_id_seq', 1000000), setval('public.orders_id_seq', 1000000)`);
      await signal('sequences.behind', (s) => s.state === 'ok' && s.value === 0);

      await signal('source.connections', (s) => (s.value ?? 0) > 0);
      await signal('target.longest_transaction', (s) => s.state === 'ok');
      const open = await pair.openTransaction();
      await signal('source.longest_transaction', (s) => (s.value ?? 0) > 2);
      await open.rollback();
      await signal('source.longest_transaction', (s) => s.state === 'ok' && (s.value ?? 9) < 2);

      await signal('forward.retained_bytes', (s) => s.state === 'ok');
      await signal('forward.runway', (s) => (s.value ?? 0) > 60, 90_000);
    },
  );

  it('the drain is predicted while a backlog is applied, and not while nothing is', { timeout: 180_000 }, async () => {
    const { pair } = scenario;
    const unlock = await pair.lockTable('public.orders');
    await pair.bulk(20_000);
    await signal('forward.drain_eta', (s) => s.state === 'unknown' && /nothing is being applied/.test(s.reason ?? ''));
    await unlock();
    await signal('forward.drain_eta_high', (s) => s.state === 'ok' && (s.value ?? 9) < 5, 20_000);
  });
});
