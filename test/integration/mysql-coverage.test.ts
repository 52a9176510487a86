import { afterAll, beforeAll, describe, it } from 'vitest';
import { catalogWatch } from '../../collectors/mysql/catalog.js';
import { mysqlCoverage } from '../../collectors/mysql/coverage-question.js';
import type { LinkConfig } from '../../daemon/core/config.js';
import type { LinkReading, Observation } from '../../daemon/core/observation.js';
import { testedFlavours } from '../support/flavours.js';
import { contextOf, databaseAt, listenTo, planOf, type Listening } from '../support/listening.js';
import { replicaWords } from '../support/mysql-dialect.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

const limit = 120_000;
const fetchLimit = 300_000;
const isReading = (o: Observation): o is LinkReading => o.kind === 'link-reading';

describe.each(testedFlavours)('tables that a link does not carry whole on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('asked by a user without privileges on them', () => {
    let pair: MysqlPair;
    const privileges = 'process, replication slave, replication client, references';
    /** On both sides, past the binlog. */
    const everywhere = async (sql: string): Promise<void> => {
      for (const server of [pair.source, pair.target]) await alone(server, `set session sql_log_bin = 0; ${sql}`);
    };
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
      await everywhere(`create user lg identified by 'lg'; grant ${privileges} on *.* to lg`);
      if (flavour === 'mariadb') await everywhere('grant slave monitor on *.* to lg');
    }, fetchLimit);
    afterAll(() => pair.destroy(), limit);

    const during = async (
      body: (
        is: (value: number | null, reason: RegExp | null, signal?: LinkReading['signal']) => Promise<void>,
      ) => Promise<void>,
      tables: LinkConfig['tables'] = null,
    ): Promise<void> => {
      const user = { name: 'lg', password: 'lg' };
      const from = databaseAt('onprem', pair.daemonUrl('source'), user);
      const to = databaseAt('aws', pair.daemonUrl('target'), user);
      const plan = planOf(from, to, { via: 'mysql', flows: ['default channel'] });
      const link = { ...plan, config: { ...plan.config, tables } };
      const l: Listening = listenTo(catalogWatch(mysqlCoverage(from, to, [link], 100), contextOf()));
      const is = async (
        value: number | null,
        reason: RegExp | null,
        signal: LinkReading['signal'] = 'tables_uncovered',
      ): Promise<void> => {
        await l.next(
          `${String(value)} ${String(reason)}`,
          isReading,
          (o) => o.signal === signal && o.value === value && (reason === null ? o.reason === null : reason.test(o.reason ?? '')), // prettier-ignore
        );
      };
      try {
        await body(is);
      } finally {
        await l.stop();
      }
    };

    it('finds none, and says that a copy made by other means proves nothing', { timeout: limit }, async () => {
      await during(async (is) => {
        await is(0, null);
        await is(null, /copies no table: .* only a comparison of the data tells$/, 'tables_syncing');
      });
    });

    it('names tables and columns that the target lacks', { timeout: limit }, async () => {
      await during(async (is) => {
        await alone(pair.source, 'set session sql_log_bin = 0; create table app.alone (id int primary key)');
        await is(1, /^app\.alone: there is no such table on aws$/);
        await alone(pair.source, 'set session sql_log_bin = 0; alter table app.customers add note text, add more int');
        await is(2, /app\.customers: aws lacks its columns note, more/);
        await alone(pair.source, 'set session sql_log_bin = 0; alter table app.customers drop note, drop more');
        await alone(pair.target, 'set session sql_log_bin = 0; alter table app.customers add early int first');
        await is(2, /app\.customers: its column 1 is id, and on aws early: rows are carried by the order of columns/);
        await alone(pair.target, 'set session sql_log_bin = 0; alter table app.customers drop early, add late int');
        await is(1, /^app\.alone: /);
        await alone(pair.target, 'set session sql_log_bin = 0; alter table app.customers drop late');
        await alone(pair.source, 'set session sql_log_bin = 0; drop table app.alone');
        await is(0, null);
      });
    });

    it('names tables whose engine keeps nothing', { timeout: limit }, async () => {
      await pair.onSource('create table volatile (id int primary key) engine = memory');
      await pair.settled();
      await during((is) => is(1, /^app\.volatile: MEMORY: a restart empties it/));
      await during((is) => is(0, null), { include: ['app.*'], exclude: ['app.volatile'] });
      await pair.onSource('drop table volatile');
      await pair.settled();
    });

    it('goes by the filters of the replica', { timeout: limit }, async () => {
      const words = replicaWords(flavour);
      const filter = async (rule: string, of: string): Promise<void> => {
        const value = flavour === 'mysql' ? `change replication filter ${rule} = (${of})` : `set global ${rule} = '${of.replaceAll("'", '')}'`; // prettier-ignore
        for (const sql of [words.stop, value, words.start]) await alone(pair.target, sql);
      };
      await during(async (is) => {
        await filter('replicate_ignore_table', 'app.orders');
        await is(1, /^app\.orders: Replicate_Ignore_Table names it on aws$/);
        await filter('replicate_ignore_table', '');
        await filter('replicate_wild_do_table', "'app.cust%'");
        await is(1, /^app\.orders: Replicate_Wild_Do_Table lacks it on aws$/);
        await filter('replicate_wild_do_table', '');
        await filter('replicate_do_db', 'lockgate');
        await is(2, /app\.customers: Replicate_Do_DB lacks app on aws/);
        await filter('replicate_do_db', '');
        await is(0, null);
      });
    });

    it('knows nothing without the privilege that shows tables, and names it', { timeout: limit }, async () => {
      await during(async (is) => {
        await is(0, null);
        await alone(pair.target, 'set session sql_log_bin = 0; revoke references on *.* from lg');
        await is(null, /aws hides tables .*GRANT REFERENCES ON \*\.\* TO 'lg'@'…'/);
        await alone(pair.target, 'set session sql_log_bin = 0; grant references on *.* to lg');
        await alone(pair.source, 'set session sql_log_bin = 0; revoke references on *.* from lg');
        await is(null, /onprem hides tables/);
        await alone(pair.source, 'set session sql_log_bin = 0; grant references on *.* to lg');
        await is(0, null);
      });
    });

    it('is content with the database that the patterns name', { timeout: limit }, async () => {
      await everywhere('revoke references on *.* from lg; grant references on app.* to lg');
      await during((is) => is(0, null), { include: ['app.*'], exclude: [] });
      await during((is) => is(null, /hides tables/), { include: ['app.*', 'crm.*'], exclude: [] });
      await everywhere('revoke references on app.* from lg; grant references on *.* to lg');
      await during((is) => is(null, /the pattern crm\.\* matches no application table/), { include: ['app.*', 'crm.*'], exclude: [] }); // prettier-ignore
    });

    it('tells a detached replica, and a source that logs some databases only', { timeout: 2 * limit }, async () => {
      await pair.detach();
      await during((is) => is(2, /app\.orders: there is no channel for it on aws/));
      await pair.attach();
      await pair.settled();
      await pair.source.kill(); // in good order it takes 10 s
      await pair.source.start({ binlog_ignore_db: 'app' });
      await during((is) => is(2, /app\.orders: binlog_ignore_db names app on onprem/));
    });
  });
});
