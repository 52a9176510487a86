import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CatalogWatch } from '../../collectors/postgres/catalog-watch.js';
import { logicalCoverage } from '../../collectors/postgres/coverage-question.js';
import type { LinkConfig } from '../../daemon/core/config.js';
import type { LinkReading, Observation } from '../../daemon/core/observation.js';
import type { LinkSignal } from '../../daemon/core/signal.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { contextOf, databaseAt, listenTo, planOf, type Listening } from '../support/listening.js';
import { testedMajors } from '../support/majors.js';
import { startPair, type Pair } from '../support/pair.js';

const isReading = (o: Observation): o is LinkReading => o.kind === 'link-reading';

describe.each(testedMajors)('tables that a link does not carry whole, PostgreSQL %i', (major) => {
  let pair: Pair;
  let l: Listening;
  const user = { name: 'lg', password: 'lg' };
  const listen = (more: Partial<Pick<LinkConfig, 'flows' | 'tables'>> = {}): Listening => {
    const from = databaseAt('onprem', pair.daemonUrl('source'), user);
    const to = databaseAt('aws', pair.daemonUrl('target'), user);
    const plan = planOf(from, to, { via: 'postgres-logical', flows: more.flows ?? ['shop_sub', 'events_sub'] });
    const link = { ...plan, config: { ...plan.config, tables: more.tables ?? null } };
    return listenTo(new CatalogWatch(logicalCoverage(from, to, [link], 100), contextOf()));
  };
  const during = async (body: (l: Listening) => Promise<void>, more?: Parameters<typeof listen>[0]): Promise<void> => {
    l = listen(more);
    try {
      await body(l);
    } finally {
      await l.stop();
    }
    await waitFor('all connections to be closed', 1_000, () => {
      return pair.sourceProxy.connections() + pair.targetProxy.connections() === 0;
    });
  };
  const both = async (sql: string): Promise<void> => {
    await pair.onSource(sql);
    await pair.onTarget(sql);
  };
  const refresh = (name = 'shop_sub'): Promise<unknown> =>
    pair.onTarget(`alter subscription ${name} refresh publication`);
  const reading = (signal: LinkSignal, value: number | null, says?: RegExp): Promise<LinkReading> =>
    l.next(
      `${signal} ${String(value)} ${String(says)}`,
      isReading,
      (o) => o.signal === signal && o.value === value && (says === undefined || says.test(o.reason ?? '')),
    );
  const uncovered = (value: number | null, says?: RegExp): Promise<LinkReading> =>
    reading('tables_uncovered', value, says);

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major, second: true });
    // The user of a catalog needs nothing but to connect.
    await both(`create role lg login password 'lg'; create schema lockgate; create table lockgate.heartbeat (id int)`);
  });
  afterAll(() => pair.destroy());

  it('is 0 when two subscriptions carry all tables between them, and one table less when one is not named', async () => {
    await during(async () => {
      const seen = await uncovered(0);
      expect(seen.reason).toBeNull();
      // Three times the pause to the next look.
      expect(seen.freshUs).toBeGreaterThanOrEqual(300_000);
      expect((await reading('tables_syncing', 0)).reason).toBeNull();
    });
    await during(
      async () => {
        await uncovered(1, /^public\.events: in no publication of this link \(shop_pub\)$/);
      },
      { flows: ['shop_sub'] },
    );
    await during(
      async () => {
        await uncovered(1, /^public\.events: there is no subscription "no_sub" on aws|^public\.events: in no/);
        await reading('tables_syncing', null, /no subscription "no_sub"/);
      },
      { flows: ['shop_sub', 'no_sub'] },
    );
  });

  it('sees a table dropped from the publication, and put back', async () => {
    await during(async () => {
      await uncovered(0);
      await pair.onSource('alter publication shop_pub drop table public.orders');
      await uncovered(1, /^public\.orders: in no publication of this link \(shop_pub\)$/);
      await pair.onSource('alter publication shop_pub add table public.orders');
      await uncovered(0);
    });
  });

  it('follows a new table on its way: published nowhere, missing on the target, not refreshed, being copied', async () => {
    await during(async () => {
      await pair.onSource(
        'create table public.new_one (id int primary key); insert into new_one select generate_series(1, 10)',
      );
      await uncovered(1, /^public\.new_one: in no publication/);
      await pair.onSource('alter publication shop_pub add table public.new_one');
      await uncovered(1, /^public\.new_one: there is no such table on aws$/);
      await pair.onTarget('create table public.new_one (id int primary key)');
      await uncovered(
        1,
        /^public\.new_one: not known to the subscription: ALTER SUBSCRIPTION "shop_sub" REFRESH PUBLICATION$/,
      );
      // A row in the way keeps the copy from ever being finished.
      await pair.onTarget('insert into public.new_one values (5)');
      await refresh();
      await uncovered(0);
      await reading('tables_syncing', 1, /^public\.new_one: (is being copied|waits to be copied)$/);
      await pair.onTarget('delete from public.new_one where id = 5');
      await reading('tables_syncing', 0);
      await pair.onSource('drop table public.new_one');
      await refresh();
      await pair.onTarget('drop table public.new_one');
      await uncovered(0);
    });
  });

  it('sees what a publication leaves out', async () => {
    await during(async () => {
      await pair.onSource(`alter publication shop_pub set (publish = 'insert, update')`);
      await uncovered(
        2,
        /^public\.customers: delete, truncate not published; public\.orders: delete, truncate not pub/,
      );
      await pair.onSource(`alter publication shop_pub set (publish = 'insert, update, delete')`);
      await uncovered(2, /orders: truncate not published$/);
      // A second publication of the same subscription carries the rest.
      await pair.onSource(
        `create publication rest_pub for table public.orders, public.customers with (publish = 'truncate')`,
      );
      await pair.onTarget('alter subscription shop_sub set publication shop_pub, rest_pub with (refresh = false)');
      await uncovered(0);
      await pair.onTarget('alter subscription shop_sub set publication shop_pub with (refresh = false)');
      await pair.onSource(
        `drop publication rest_pub; alter publication shop_pub set (publish = 'insert, update, delete, truncate')`,
      );
      await uncovered(0);
    });
  });

  it.runIf(major >= 15)('sees a row filter and a column list, and what lifts a filter', async () => {
    await during(async () => {
      await pair.onSource('alter publication shop_pub set table public.customers, public.orders where (id > 0)');
      await uncovered(1, /^public\.orders: row filter in shop_pub$/);
      await pair.onSource('create publication plain_pub for table public.orders');
      await pair.onTarget('alter subscription shop_sub set publication shop_pub, plain_pub with (refresh = false)');
      await uncovered(0);
      await pair.onTarget('alter subscription shop_sub set publication shop_pub with (refresh = false)');
      await pair.onSource('drop publication plain_pub');
      await pair.onSource('alter publication shop_pub set table public.customers (id, name), public.orders');
      await uncovered(1, /^public\.customers: column list of shop_pub lacks email$/);
      await pair.onSource('alter publication shop_pub set table public.customers (id, name, email), public.orders');
      await uncovered(0);
      await pair.onSource(
        'alter table public.customers add column added int, add column made int generated always as (id * 2) stored',
      );
      await uncovered(1, /^public\.customers: column list of shop_pub lacks added$/);
      await pair.onSource('alter table public.customers drop column added, drop column made');
      await pair.onSource('alter publication shop_pub set table public.customers, public.orders');
      await uncovered(0);
      await pair.onSource('create publication all_pub for tables in schema public');
      await pair.onTarget('alter subscription shop_sub set publication all_pub with (refresh = false)');
      await uncovered(0);
      await pair.onTarget('alter subscription shop_sub set publication shop_pub with (refresh = false)');
      await pair.onSource('drop publication all_pub');
    });
  });

  it('sees unlogged tables, which FOR ALL TABLES does not carry either', async () => {
    await during(async () => {
      await pair.onSource('create unlogged table public.scratch (id int); create temporary table nobodys (id int)');
      await pair.onSource('create publication all_pub for all tables');
      await pair.onTarget('alter subscription shop_sub set publication all_pub with (refresh = false)');
      await uncovered(1, /^public\.scratch: unlogged$/);
      await pair.onSource('drop table public.scratch');
      await uncovered(0);
      await pair.onTarget('alter subscription shop_sub set publication shop_pub with (refresh = false)');
      await pair.onSource('drop publication all_pub');
    });
  });

  it('says of partitions what really arrives, published as themselves and as their root', async () => {
    await both(`create table public.part (id int not null, primary key (id)) partition by range (id);
      create table public.part_1 partition of public.part for values from (0) to (100);
      create table public.part_2 partition of public.part for values from (100) to (200) partition by range (id);
      create table public.part_2a partition of public.part_2 for values from (100) to (200)`);
    const arrives = async (id: number): Promise<void> => {
      await pair.onSource('insert into public.part values ($1)', [id]);
      await waitFor(
        `row ${id}`,
        10_000,
        async () => (await pair.onTarget('select 1 from public.part where id = $1', [id])).length > 0,
      );
    };
    await during(async () => {
      await uncovered(
        1,
        /^public\.part: partition public\.part_(1|2a): in no publication of this link.*and 1 more of 2 partitions/,
      );
      await pair.onSource('alter publication shop_pub add table public.part');
      await uncovered(1, /partition public\.part_(1|2a): not known to the subscription/);
      await refresh();
      await uncovered(0);
      await reading('tables_syncing', 0);
      await arrives(1);
      await arrives(101);
      // A new partition is not known until the next refresh, and its rows are lost until then.
      await both('create table public.part_3 partition of public.part for values from (200) to (300)');
      await uncovered(1, /^public\.part: partition public\.part_3: not known/);
      await refresh();
      await uncovered(0);
      // Now as the root: the names that the subscription knows are the wrong ones until it is refreshed.
      await pair.onSource('alter publication shop_pub set (publish_via_partition_root = true)');
      await uncovered(1, /^public\.part: partition public\.part_\w+: not known.*and 2 more of 3 partitions/);
      // Its rows are there already, so nothing is to be copied.
      await pair.onTarget('alter subscription shop_sub refresh publication with (copy_data = false)');
      await uncovered(0);
      await reading('tables_syncing', 0);
      await arrives(60);
      // Any further partition goes out as the root, which is known.
      await pair.onSource('create table public.part_4 partition of public.part for values from (300) to (400)');
      await pair.onTarget('create table public.part_4 partition of public.part for values from (300) to (400)');
      await uncovered(0);
      await arrives(301);
      await pair.onSource('alter publication shop_pub drop table public.part');
      await pair.onSource('alter publication shop_pub set (publish_via_partition_root = false)');
      await refresh();
      await both('drop table public.part');
      await uncovered(0);
    });
  });

  it('goes by the patterns of the configuration, and knows nothing where one finds nothing', async () => {
    await pair.onSource('create schema other; create table other.x (id int); create table public.sessions (id int)');
    await during(async () => uncovered(2, /^other\.x: .*; public\.sessions: /).then(() => undefined));
    await during(
      async () => {
        await uncovered(0);
        await reading('tables_syncing', 0);
      },
      { tables: { include: ['public.*'], exclude: ['public.sessions'] } },
    );
    await during(
      async () => {
        await uncovered(null, /the pattern crm\.\* matches no application table on onprem/);
      },
      { tables: { include: ['public.*', 'crm.*'], exclude: [] } },
    );
    await pair.onSource('drop schema other cascade; drop table public.sessions');
  });

  it('is unknown at once when a side does not answer, and known again by itself', async () => {
    await during(async () => {
      await uncovered(0);
      await pair.targetProxy.cut();
      try {
        await uncovered(null);
        await reading('tables_syncing', null);
      } finally {
        await pair.targetProxy.restore();
      }
      await uncovered(0);
    });
  });

  it('reads ten thousand tables, and then more rarely', { timeout: 120_000 }, async () => {
    // Some thousands a transaction: each takes a lock.
    for (let from = 0; from < 10_000; from += 1_000) {
      await pair.onSource(`do $$ begin for i in ${from}..${from + 999} loop
        execute format('create table public.many_%s (id int)', i); end loop; end $$`);
    }
    await during(async () => {
      const seen = await uncovered(10_000, /and 9990 more$/);
      console.log(`PostgreSQL ${major}: 10,000 tables, looked at every ${Math.round((seen.freshUs ?? 0) / 3_000)} ms`);
      expect(seen.freshUs).toBeGreaterThan(3_000_000);
    });
  });
});
