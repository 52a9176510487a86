import { afterAll, beforeAll, describe, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChainScenario } from '../support/chain-scenario.js';
import { testedFlavours } from '../support/flavours.js';
import { replicaWords } from '../support/mysql-dialect.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

const limit = 120_000;
const fetchLimit = 300_000;

// What lag cannot tell: rows are missing for ever, and everything written since arrives in milliseconds.
describe.each(testedFlavours)('a broken chain on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('by GTIDs', () => {
    let pair: MysqlPair;
    let chain: ChainScenario;
    const words = replicaWords(flavour);
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
      chain = await ChainScenario.startMysql(pair);
    }, fetchLimit);
    afterAll(async () => {
      await chain.destroy();
      await pair.destroy();
    }, limit);

    const breaksBy = async (what: string, fault: Parameters<ChainScenario['breaksBy']>[0]): Promise<void> => {
      const times = await chain.breaksBy(fault);
      if (process.env['LOCKGATE_TEST_TIMES'] !== undefined) console.log(flavour, what, times);
    };
    let row = 1_000;
    /** Stops apply on a duplicate key; answers where the target stands then. */
    const conflict = async (): Promise<string> => {
      const values = `(id, name) values (${--row}, 'in the way')`;
      await pair.onTargetUnlogged(`insert into app.customers ${values}`);
      await pair.onSource(`insert into customers ${values}`);
      await sleep(2_500); // people are slow
      const [seen] = await pair.onTarget<{ g: string }>('select @@global.gtid_executed as g').catch(() => []);
      return seen?.g ?? '';
    };

    it.runIf(flavour === 'mysql')('an empty transaction in place of one that failed', { timeout: limit }, async () => {
      await breaksBy('an empty transaction', {
        daemon: 'running',
        says: [/the transaction [0-9a-f-]{36}:\d+ was skipped on aws/],
        async make(effect) {
          const executed = await conflict();
          const [, uuid = '', last = ''] = /([0-9a-f-]{36}):1-(\d+)/.exec(executed) ?? [];
          const skip = `set gtid_next = '${uuid}:${Number(last) + 1}'; begin; commit; set gtid_next = 'automatic'`;
          await alone(pair.target, `${words.stop}; ${skip}; ${words.start}`);
          effect();
        },
      });
    });

    it.runIf(flavour === 'mariadb')('a transaction skipped', { timeout: limit }, async () => {
      await breaksBy('a transaction skipped', {
        daemon: 'running',
        says: [/the position of aws moved further than what was applied there: changes were skipped|told to skip/],
        async make(effect) {
          await conflict();
          await alone(pair.target, `set global sql_slave_skip_counter = 1; ${words.start}`);
          effect();
        },
      });
    });

    const jump = async (): Promise<void> => {
      await pair.stopReplica();
      await pair.placeOrder();
      await pair.placeOrder();
      if (flavour === 'mariadb') {
        const [at] = await pair.onSource<{ g: string }>('select @@global.gtid_binlog_pos as g');
        await alone(pair.target, `set global gtid_slave_pos = '${at?.g ?? ''}'; ${words.start}`);
        return;
      }
      const [at] = await pair.onSource<{ g: string }>('select @@global.gtid_executed as g');
      const last = (at?.g ?? '').replaceAll('\n', '').replace(/:1-(\d+)$/, ':$1');
      await alone(pair.target, `set global gtid_purged = '+${last}'; ${words.start}`);
    };

    it.each(['running', 'down'] as const)(
      'a position set by hand, the daemon %s',
      { timeout: limit },
      async (daemon) => {
        await breaksBy('a position set', {
          daemon,
          says: [
            flavour === 'mariadb'
              ? /the position of aws moved further than what was applied there/
              : /gtid_purged of aws moved from .* by hand|was stopped and started, or changed, while lockgate was not looking/,
          ],
          async make(effect) {
            await jump();
            effect();
          },
        });
      },
    );
  });
});
