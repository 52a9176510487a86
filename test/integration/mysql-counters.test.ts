import { afterAll, beforeAll, describe, it } from 'vitest';
import { catalogWatch } from '../../collectors/mysql/catalog.js';
import { countersBehind } from '../../collectors/mysql/counters-question.js';
import type { MigrationReading, Observation } from '../../daemon/core/observation.js';
import { testedFlavours } from '../support/flavours.js';
import { contextOf, databaseAt, listenTo } from '../support/listening.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

const limit = 120_000;
const fetchLimit = 300_000;
const isReading = (o: Observation): o is MigrationReading => o.kind === 'migration-reading';

describe.each(testedFlavours)('auto-increment counters on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('of the passive side', () => {
    let pair: MysqlPair;
    let passive: 'onprem' | 'aws' | null = 'aws';
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
      for (const server of [pair.source, pair.target]) {
        await alone(
          server,
          `set session sql_log_bin = 0; create user lg identified by 'lg'; grant process, references on *.* to lg`,
        );
      }
      // The first rows came by bulk inserts, which reserve more values than they use.
      await unlogged('target', 'alter table app.orders auto_increment = 1000');
      await unlogged('target', 'alter table app.customers auto_increment = 1000');
    }, fetchLimit);
    afterAll(() => pair.destroy(), limit);
    const unlogged = async (side: 'source' | 'target', sql: string): Promise<void> => {
      await alone(pair[side], `set session sql_log_bin = 0; ${sql}`);
    };

    type Is = (value: number | null, reason?: RegExp) => Promise<void>;
    const during = async (body: (is: Is) => Promise<void>): Promise<void> => {
      const user = { name: 'lg', password: 'lg' };
      const from = databaseAt('onprem', pair.daemonUrl('source'), user);
      const to = databaseAt('aws', pair.daemonUrl('target'), user);
      const question = countersBehind(from, to, [{ migration: 'shop', tables: null }], (db) => passive !== null && db === passive, 100); // prettier-ignore
      const l = listenTo(catalogWatch(question, contextOf()));
      try {
        await body(async (value, reason) => {
          await l.next(`${String(value)} ${String(reason)}`, isReading, (o) => o.value === value && (reason === undefined ? o.reason === null : reason.test(o.reason ?? ''))); // prettier-ignore
        });
      } finally {
        await l.stop();
      }
    };

    it('are not behind while they stand higher, whatever rows come', { timeout: limit }, async () => {
      await during(async (is) => {
        await is(0);
        await pair.arrived(await pair.placeOrder());
        await is(0);
      });
    });

    it('are named when they stand lower', { timeout: limit }, async () => {
      await during(async (is) => {
        await unlogged('source', 'alter table app.orders auto_increment = 2000');
        await is(1, /^app\.orders: next 1000, and 2000 on the active side; raise them on aws, past its binlog/);
        await unlogged('target', 'alter table app.orders auto_increment = 2000');
        await is(0);
        await unlogged('source', 'create table app.fresh (id int auto_increment primary key)');
        await is(1, /app\.fresh: there is no such counter on aws/);
        await unlogged('target', 'create table app.fresh (id int primary key)');
        await is(1, /app\.fresh: there is no such counter on aws/);
        await unlogged('target', 'drop table app.fresh; create table app.fresh (id int auto_increment primary key)');
        await is(0);
        await unlogged('source', 'insert into app.fresh values (), ()');
        await is(1, /app\.fresh: next 1, and 3/);
        await unlogged('target', 'insert into app.fresh values (), ()');
        await is(0);
      });
    });

    it('count by the steps of their server', { timeout: limit }, async () => {
      await during(async (is) => {
        await unlogged('source', 'alter table app.orders auto_increment = 2100');
        await is(1, /app\.orders: next 2000/);
        await alone(pair.target, 'set global auto_increment_increment = 1000, global auto_increment_offset = 500');
        await is(0);
        await alone(pair.target, 'set global auto_increment_increment = 1, global auto_increment_offset = 1');
        await is(1, /next 2000/);
        await unlogged('target', 'alter table app.orders auto_increment = 2100');
      });
    });

    it('are compared the other way when the direction is', { timeout: limit }, async () => {
      passive = 'onprem';
      await during((is) => is(1, /^app\.customers: next 32, and 1000 on the active side; raise them on onprem/));
      passive = null;
      await during((is) => is(null, /the direction is unknown/));
      passive = 'aws';
    });

    it('are unknown where tables are hidden', { timeout: limit }, async () => {
      await during(async (is) => {
        await is(0);
        await unlogged('source', 'revoke references on *.* from lg');
        await is(null, /onprem hides tables .*GRANT REFERENCES/);
        await unlogged('source', 'grant references on *.* to lg');
        await is(0);
      });
    });

    it('survive a restart', { timeout: limit }, async () => {
      for (const side of ['source', 'target'] as const) {
        await pair[side].kill();
        await pair[side].start();
      }
      await during(async (is) => {
        await is(0);
        await unlogged('source', 'alter table app.fresh auto_increment = 50');
        await is(1, /app\.fresh: next 3, and 50/);
        await unlogged('target', 'alter table app.fresh auto_increment = 50');
      });
    });

    it.runIf(flavour === 'mariadb')('of sequences want a grant of their own', { timeout: limit }, async () => {
      await pair.onSource('create sequence app.numbers; do nextval(app.numbers)');
      await pair.settled();
      await during(async (is) => {
        await is(null, /1 may not be read on onprem: GRANT SELECT ON app\.numbers TO 'lg'@'…'/);
        for (const side of ['source', 'target'] as const) await unlogged(side, 'grant select on app.numbers to lg');
        await is(0);
        await unlogged('source', 'do setval(app.numbers, 5000)');
        await is(1, /app\.numbers: next \d+, and 5001/);
        await unlogged('target', 'do setval(app.numbers, 5000)');
        await is(0);
      });
    });
  });
});
