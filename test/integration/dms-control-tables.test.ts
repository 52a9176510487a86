import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../collectors/postgres/connection.js';
import { controlTables, readTaskStatus } from '../../collectors/postgres/control-tables.js';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';
import { says } from '../support/control-readings.js';
import { contextOf, databaseAt, listenTo, planOf, type Listening } from '../support/listening.js';

// As DMS makes them, in the schema that the task's ControlSchema names.
const EXCEPTIONS = `create table dmslogs.awsdms_apply_exceptions ("TASK_NAME" varchar(128) not null,
  "TABLE_OWNER" varchar(128) not null, "TABLE_NAME" varchar(128) not null, "ERROR_TIME" timestamp not null,
  "STATEMENT" text not null, "ERROR" text not null)`;
const SUSPENDED = `create table dmslogs.awsdms_suspended_tables (server_name varchar(128), task_name varchar(128),
  table_owner varchar(128), table_name varchar(128), suspend_reason varchar(32), suspend_timestamp timestamp)`;
const row = `insert into dmslogs.awsdms_apply_exceptions values ('TASK', 'app', 'orders', now(), 'insert …', 'duplicate key')`;

describe("DMS's control tables on PostgreSQL", () => {
  let server: PostgresServer;
  let l: Listening;
  let admin: pg.Client;

  beforeAll(async () => {
    server = await startPostgres({ name: 'aws', database: 'app' });
    admin = new pg.Client({ connectionString: server.adminUrl('app') });
    admin.on('error', () => undefined); // the server is killed here on purpose
    await admin.connect();
    await admin.query(`create role lg login password 'lg'; create schema dmslogs`);
    const aws = databaseAt('aws', server.adminUrl('app'), { name: 'lg', password: 'lg' });
    const link = planOf(databaseAt('onprem', 'mysql://x@127.0.0.1:1/app'), aws, { via: 'dms', flows: [] });
    const [watch, ...others] = controlTables([aws], [link], contextOf(), 50);
    if (watch === undefined) throw new Error('nothing is watched');
    expect(others).toEqual([]);
    l = listenTo(watch);
  });
  afterAll(async () => {
    await l.stop();
    await admin.end();
    await server.destroy();
  });

  it('are unknown until there are some, and until they may be read', async () => {
    await says(l, 'dms.apply_exceptions', null, /there is no table awsdms_apply_exceptions on aws/);
    await says(l, 'errors', null, /there is no table/);
    await admin.query(EXCEPTIONS);
    const grant =
      /GRANT USAGE ON SCHEMA "dmslogs" TO "lg"; GRANT SELECT ON "dmslogs"."awsdms_apply_exceptions" TO "lg"/;
    await says(l, 'errors', null, grant);
    await admin.query('grant usage on schema dmslogs to lg; grant select on dmslogs.awsdms_apply_exceptions to lg');
    await says(l, 'dms.apply_exceptions', 0, null);
  });

  it('show rows that could not be applied, and tables that are suspended', async () => {
    await l.stop();
    const aws = databaseAt('aws', server.adminUrl('app'), { name: 'lg', password: 'lg' });
    const link = planOf(databaseAt('onprem', 'mysql://x@127.0.0.1:1/app'), aws, { via: 'dms', flows: [] });
    const [watch] = controlTables([aws], [link], contextOf(), 50);
    if (watch === undefined) throw new Error('nothing is watched');
    l = listenTo(watch);
    await says(l, 'errors', 0, null);
    await admin.query(row);
    await says(l, 'dms.apply_exceptions', 1, /1 rows in dmslogs.awsdms_apply_exceptions/);
    await says(l, 'errors', 1, /1 rows in dmslogs.awsdms_apply_exceptions/);
    await admin.query(SUSPENDED);
    await says(l, 'errors', 1, /GRANT SELECT ON "dmslogs"."awsdms_suspended_tables"/);
    await admin.query('grant select on dmslogs.awsdms_suspended_tables to lg');
    await admin.query(`insert into dmslogs.awsdms_suspended_tables (table_name) values ('orders')`);
    await says(l, 'errors', 2, /1 rows in dmslogs.awsdms_suspended_tables/);
  });

  it('of which row security hides some are unknown', async () => {
    await admin.query('alter table dmslogs.awsdms_apply_exceptions enable row level security');
    await says(l, 'dms.apply_exceptions', null, /row security hides rows/);
    await admin.query('alter table dmslogs.awsdms_apply_exceptions disable row level security');
  });

  it('tell doctor what DMS has written of its tasks, once that may be read', async () => {
    const aws = databaseAt('aws', server.adminUrl('app'), { name: 'lg', password: 'lg' });
    const connection = await connect(aws, { applicationName: 'test' });
    try {
      expect(await readTaskStatus(connection, aws)).toEqual([]);
      await admin.query('create table dmslogs.awsdms_status (task_name varchar(128), "TASK_STATUS" varchar(32))');
      await admin.query(`insert into dmslogs.awsdms_status values ('TASK', 'CHANGE PROCESSING')`);
      const name = 'dmslogs.awsdms_status';
      expect(await readTaskStatus(connection, aws)).toEqual([
        { name, rows: { fault: `${name} may not be read on aws: GRANT SELECT ON "dmslogs"."awsdms_status" TO "lg"` } },
      ]);
      await admin.query(`grant select on ${name} to lg`);
      const rows = [{ task_name: 'TASK', TASK_STATUS: 'CHANGE PROCESSING' }];
      expect(await readTaskStatus(connection, aws)).toEqual([{ name, rows }]);
    } finally {
      await connection.close();
    }
  });

  it('are unknown while the server does not answer', async () => {
    await server.kill();
    await says(l, 'errors', null, /./);
    await says(l, 'dms.apply_exceptions', null, /./);
  });
});
