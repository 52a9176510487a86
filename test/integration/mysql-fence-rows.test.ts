import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MysqlFenceSide } from '../../collectors/mysql/fence-side.js';
import { MysqlPositionsCollector } from '../../collectors/mysql/positions.js';
import { SampledPositions } from '../../collectors/heartbeat/needs.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { DirectionRow } from '../../daemon/core/direction.js';
import type { Applied, Observation } from '../../daemon/core/observation.js';
import { reached } from '../../daemon/core/position.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { contextOf, databaseAt, listenTo, planOf } from '../support/listening.js';
import { bedUser, installMysqlBed, startMysqlBed } from '../support/mysql-bed.js';
import { replicaWords } from '../support/mysql-dialect.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import { closeRing } from '../support/mysql-scenario.js';

const signal = new AbortController().signal;
const isApplied = (o: Observation): o is Applied => o.kind === 'applied';
const row = (epoch: number, direction: DirectionRow['direction']): DirectionRow => ({
  migration: 'shop',
  epoch,
  direction,
  changedAt: null,
  changedBy: 'ann',
  reason: null,
});

describe.each(testedFlavours)('rows of fences on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('markers', () => {
    let pair: MysqlPair;
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
      await installMysqlBed(pair);
    }, 300_000);
    afterAll(() => pair.destroy());

    it('stay for a day, and go then when they are on both sides', async () => {
      const insert = (run: string, hours: number): string =>
        `insert into lockgate.heartbeat values ('keeper', 'shop/forward', '${run}', 1, utc_timestamp(6) - interval ${String(hours)} hour);`;
      await pair.onSource(insert('another', 1) + insert('fence-new', 23) + insert('fence-old', 25));
      await alone(pair.source, `set session sql_log_bin = 0; ${insert('fence-only-here', 50)}`);
      await pair.settled();
      const bed = startMysqlBed(pair, { daemonId: 'keeper' });
      const runs = async (): Promise<string[]> => {
        const rows = await pair.onSource<{ run: string }>("select run from lockgate.heartbeat where daemon = 'keeper'");
        return rows.map(({ run }) => run);
      };
      try {
        await bed.until('the pruning', async () => !(await runs()).includes('another'), 30_000);
        await bed.until('the old marker to go', async () => !(await runs()).includes('fence-old'), 10_000);
        expect(await runs()).toEqual(expect.arrayContaining(['fence-new', 'fence-only-here']));
        await pair.settled();
        expect(await pair.onTarget("select 1 from lockgate.heartbeat where run = 'fence-new'")).toHaveLength(1);
      } finally {
        await bed.stop();
      }
    });
  });

  describe.skipIf(left)('the direction of a pair that replicates both ways', () => {
    let pair: MysqlPair;
    const made: MysqlFenceSide[] = [];
    const database = (side: 'source' | 'target', user: string): DatabaseConfig => ({
      ...databaseAt(side, pair.daemonUrl(side), { name: user, password: bedUser.password }),
      engine: 'mysql',
      read: 'auto',
    });
    const side = (name: 'source' | 'target', user = bedUser.name): MysqlFenceSide => {
      const port = new MysqlFenceSide(database(name, user), contextOf());
      made.push(port);
      return port;
    };
    const epochs = async (): Promise<string[]> => {
      const found = await Promise.all(
        [pair.onSource, pair.onTarget].map((on) =>
          on<{ epoch: string | number }>('select epoch from lockgate.direction'),
        ),
      );
      return found.map((rows) => rows.map(({ epoch }) => String(epoch)).join());
    };
    const running = async (): Promise<void> => {
      const status = replicaWords(flavour).status;
      for (const server of [pair.source, pair.target]) {
        const [answer] = await alone(server, status);
        expect(answer?.['Last_SQL_Error']).toBe('');
        expect(answer?.['Replica_SQL_Running'] ?? answer?.['Slave_SQL_Running']).toBe('Yes');
      }
    };

    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
      await installMysqlBed(pair);
      await closeRing(pair);
      for (const server of [pair.source, pair.target]) {
        await alone(
          server,
          `set session sql_log_bin = 0; grant references on *.* to lg@'%';
           grant insert, update on lockgate.direction to lg@'%';
           create user unlogged@'%' identified by 'lg'; grant select, insert, update on lockgate.* to unlogged@'%';
           grant ${flavour === 'mariadb' ? 'binlog admin, binlog monitor' : 'session_variables_admin'} on *.* to unlogged@'%'`,
        );
      }
    }, 300_000);
    afterAll(async () => {
      await Promise.all(made.map((port) => port.close()));
      await pair.destroy();
    });

    it('goes to the other side through the binlog, and the newest epoch stays, whoever declares', async () => {
      for (const [epoch, where] of [
        [1, 'target'],
        [2, 'source'],
        [3, 'target'],
      ] as const) {
        const direction = where === 'target' ? 'reverse' : 'forward';
        expect((await side(where).declare(row(epoch, direction), signal)).rows).toHaveLength(1);
        const text = String(epoch);
        await waitFor('the row on both sides', 10_000, async () => (await epochs()).every((e) => e === text));
      }
      await running();
    });

    it('is refused where the row would collide on a replica, and stays beside the binlog where it may', async () => {
      await pair.onSource('delete from lockgate.direction');
      await waitFor('no rows', 10_000, async () => (await epochs()).join() === ',');
      // The way back stands still, so the target's first row does not come to the source.
      await alone(pair.source, replicaWords(flavour).stop);
      await side('target')
        .declare(row(4, 'reverse'), signal)
        .catch(() => side('target', 'unlogged').declare(row(4, 'reverse'), signal));
      await expect(side('source').declare(row(5, 'forward'), signal)).rejects.toMatchObject({
        code: 'mysql_direction_collision',
        hint: expect.stringMatching(/GRANT (BINLOG ADMIN|SESSION_VARIABLES_ADMIN) ON/) as string,
      });
      await side('source', 'unlogged').declare(row(5, 'forward'), signal);
      await alone(pair.source, replicaWords(flavour).start);
      await pair.arrived(await pair.placeOrder());
      await running();
      expect(await epochs()).toEqual(['5', '4']);
    });

    it('a position of the source is reached on the target, though it holds what the target wrote itself', async () => {
      await alone(pair.target, 'use app; insert into orders (id, customer_id, amount, note) values (900000, 1, 1, 0)');
      await waitFor(
        'the order on the source',
        10_000,
        async () => (await pair.onSource('select 1 from orders where id = 900000')).length > 0,
      );
      const plan = planOf(database('source', 'lg'), database('target', 'lg'), {
        via: 'mysql',
        flows: ['default channel'],
      });
      const needs = new SampledPositions([{ id: plan.id, flows: plan.config.flows }]);
      const positions = listenTo(
        new MysqlPositionsCollector(
          plan.from,
          plan.to,
          [plan],
          { ...contextOf(), watchClosely: () => true },
          { needs },
        ),
      );
      try {
        // A replica without heartbeats: by the position alone.
        const { position, marked } = await side('source').place('shop/forward', 'fence-ring', signal);
        expect(marked).toBe(false);
        await waitFor('the position', 10_000, () =>
          positions.heard.filter(isApplied).some((o) => reached(o.position, position)),
        );
      } finally {
        await positions.stop();
      }
    });
  });
});
