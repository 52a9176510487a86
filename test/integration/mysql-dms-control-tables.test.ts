import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../collectors/mysql/connection.js';
import { controlTables, readTaskStatus } from '../../collectors/mysql/control-tables.js';
import { startMysql, type MysqlServer } from '../../deploy/demo/mysql-server.js';
import { says } from '../support/control-readings.js';
import { testedFlavours } from '../support/flavours.js';
import { contextOf, databaseAt, listenTo, planOf, type Listening } from '../support/listening.js';
import { rootPool } from '../support/mysql-connection.js';

const EXCEPTIONS = `create table awsdms_control.awsdms_apply_exceptions (TASK_NAME varchar(128) not null,
  TABLE_OWNER varchar(128) not null, TABLE_NAME varchar(128) not null, ERROR_TIME timestamp not null,
  STATEMENT longtext not null, ERROR longtext not null)`;
const row = `insert into awsdms_control.awsdms_apply_exceptions values ('TASK', 'app', 'orders', now(), 'insert …', 'duplicate')`;

describe.each(testedFlavours)("DMS's control tables on $flavour", ({ flavour, left }) => {
  describe.skipIf(left)('watched', { timeout: 60_000 }, () => {
    let server: MysqlServer;
    let root: ReturnType<typeof rootPool>;
    let l: Listening;
    const listen = (): Listening => {
      const aws = {
        ...databaseAt('aws', server.adminUrl('app'), { name: 'lg', password: 'lg' }),
        engine: 'mysql' as const,
      };
      const link = planOf(databaseAt('onprem', 'postgres://x@127.0.0.1:1/app'), aws, { via: 'dms', flows: [] });
      const [watch] = controlTables([aws], [link], contextOf(), 50);
      if (watch === undefined) throw new Error('nothing is watched');
      return listenTo(watch);
    };

    beforeAll(async () => {
      server = await startMysql({ flavour, name: 'aws', database: 'app', serverId: 2 });
      root = rootPool(server, 'app');
      await root.query(`create user lg identified by 'lg'`);
      await root.query('grant select on app.* to lg');
      await root.query('create database awsdms_control');
      l = listen();
    }, 300_000);
    afterAll(async () => {
      await l.stop();
      await root.end();
      await server.destroy();
    });

    it('are unknown until there are some, and until they may be read', async () => {
      await says(
        l,
        'errors',
        null,
        /no table awsdms_apply_exceptions is to be seen on aws.*GRANT SELECT ON `awsdms_control`/,
      );
      await root.query(EXCEPTIONS);
      await says(l, 'dms.apply_exceptions', null, /hides it/);
      // Seen, but not to be read: as with what lets the daemon see catalogs.
      await root.query('grant references on awsdms_control.* to lg');
      await says(
        l,
        'dms.apply_exceptions',
        null,
        /may not be read on aws: GRANT SELECT ON `awsdms_control`\.\* TO 'lg'/,
      );
      await root.query('grant select on awsdms_control.* to lg');
      await says(l, 'dms.apply_exceptions', 0, null);
    });

    it('show rows that could not be applied', async () => {
      await l.stop();
      l = listen();
      await says(l, 'errors', 0, null);
      await root.query(row);
      await says(l, 'dms.apply_exceptions', 1, /1 rows in awsdms_control.awsdms_apply_exceptions/);
      await says(l, 'errors', 1, /1 rows in awsdms_control.awsdms_apply_exceptions/);
    });

    it('tell doctor what DMS has written of its tasks', async () => {
      await root.query(
        "create table awsdms_control.awsdms_status as select 'TASK' as task_name, 'FULL LOAD' as TASK_STATUS",
      );
      const aws = {
        ...databaseAt('aws', server.adminUrl('app'), { name: 'lg', password: 'lg' }),
        engine: 'mysql' as const,
      };
      const connection = await connect(aws, { applicationName: 'test' });
      try {
        const name = 'awsdms_control.awsdms_status';
        const rows = [{ task_name: 'TASK', TASK_STATUS: 'FULL LOAD' }];
        expect(await readTaskStatus(connection, aws)).toEqual([{ name, rows }]);
        await root.query('revoke select on awsdms_control.* from lg');
        const fault = `${name} may not be read on aws: GRANT SELECT ON \`awsdms_control\`.* TO 'lg'@'…'`;
        expect(await readTaskStatus(connection, aws)).toEqual([{ name, rows: { fault } }]);
      } finally {
        await connection.close();
      }
    });
  });
});
