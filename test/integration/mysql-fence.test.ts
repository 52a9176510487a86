import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CollectorContext } from '../../collectors/collector.js';
import { MysqlFenceSide } from '../../collectors/mysql/fence-side.js';
import { parseVersion } from '../../collectors/mysql/connection.js';
import { SCHEMA, TABLES, grantSql, grantsFor, sidePlan } from '../../collectors/mysql/setup/objects.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { DirectionRow } from '../../daemon/core/direction.js';
import { isBeyond, reached } from '../../daemon/core/position.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { MysqlServer } from '../../deploy/demo/mysql-server.js';
import { testedFlavours } from '../support/flavours.js';
import { contextOf, databaseAt, planOf } from '../support/listening.js';
import { rootConnection, type RootConnection } from '../support/mysql-connection.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

const link = 'shop/forward' as LinkId;
const signal = new AbortController().signal;
const row = (epoch: number, direction: DirectionRow['direction'], by = 'ann'): DirectionRow => ({
  migration: 'shop',
  epoch,
  direction,
  changedAt: '2026-11-27T06:00:00.123Z',
  changedBy: by,
  reason: 'a test',
});

describe.each(testedFlavours)('a side of a fence on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('of a pair', () => {
    let pair: MysqlPair;
    let source: MysqlFenceSide;
    let target: MysqlFenceSide;
    const made: MysqlFenceSide[] = [];
    let markers = 0;

    const database = (side: 'source' | 'target', user = 'lg'): DatabaseConfig => ({
      ...databaseAt(side, pair.daemonUrl(side), { name: user, password: 'lg' }),
      engine: 'mysql',
      read: 'auto',
    });
    const sideOf = (
      side: 'source' | 'target',
      user = 'lg',
      context: Partial<CollectorContext> = {},
    ): MysqlFenceSide => {
      const port = new MysqlFenceSide(database(side, user), { ...contextOf(), ...context });
      made.push(port);
      return port;
    };
    const marker = (): string => `fence-${String((markers += 1))}`;
    /** A session of the application that is left open. */
    const open: RootConnection[] = [];
    const session = async (server: MysqlServer = pair.source): Promise<RootConnection> => {
      const connection = await rootConnection(server, 'app');
      open.push(connection);
      return connection;
    };
    const server = (side: 'source' | 'target'): MysqlServer => pair[side];

    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
      await pair.onSource(`${SCHEMA.make} ${TABLES.map(({ make }) => make).join('\n')}
        create table app.plain (id int auto_increment primary key, n int) auto_increment = 7`);
      await pair.settled();
      for (const side of ['source', 'target'] as const) {
        const [from, to] = [database('source'), database('target')];
        const native = { via: 'mysql', flows: ['default channel'] } as const;
        const plan = sidePlan(database(side), [
          planOf(from, to, native),
          planOf(to, from, { ...native, name: 'reverse' }),
        ]);
        const version = parseVersion(flavour === 'mysql' ? server(side).version : `${server(side).version}-MariaDB`);
        const grants = grantsFor(plan, version).map((g) => grantSql(g, { user: 'lg', host: '%' }, version));
        await alone(
          server(side),
          `set session sql_log_bin = 0; create user lg@'%' identified by 'lg'; ${grants.join('\n')}
           create user poor@'%' identified by 'lg'; grant select, insert on lockgate.heartbeat to poor@'%';
           create user dba@'%' identified by 'lg'; grant all on *.* to dba@'%'`,
        );
      }
      source = sideOf('source');
      target = sideOf('target');
    }, 300_000);
    afterAll(async () => {
      await Promise.all(made.map((port) => port.close()));
      await pair.destroy();
    });
    afterEach(() => {
      for (const connection of open.splice(0)) connection.destroy();
    });

    it('places: the position holds what was committed before, and not the marker, which the target then shows', async () => {
      const id = await pair.placeOrder();
      const name = marker();
      const place = await source.place(link, name, signal);
      expect(place).toMatchObject({ marked: true });
      expect(place.at).toBeGreaterThanOrEqual(place.askedAt);
      const after = await source.stand(signal);
      expect(reached(after.position, place.position)).toBe(true);
      expect(reached(place.position, after.position)).toBe(false);
      expect(after).toMatchObject({ identity: place.identity, schema: place.schema });
      await waitFor('the marker', 10_000, async () => (await target.lookAtTarget(link, name, signal)).marker === true);
      await pair.arrived(id, 100);
      const none = await target.lookAtTarget(link, 'fence-none', signal);
      const unasked = await target.lookAtTarget(link, null, signal);
      expect([none.marker, unasked.marker]).toEqual([false, null]);
      expect(none.identity).not.toBe(place.identity);
    });

    it('a write right before the position is not beyond it, and the next one is', async () => {
      const gtid = async (): Promise<string> => {
        const [row] = await pair.onSource<{ p: string }>(
          flavour === 'mariadb' ? 'select @@gtid_binlog_pos as p' : 'select @@gtid_executed as p',
        );
        return flavour === 'mariadb' ? row!.p : row!.p.replace(/:.*?(\d+)$/s, ':$1');
      };
      await pair.placeOrder();
      const before = await gtid();
      const { position } = await source.stand(signal);
      await pair.placeOrder();
      expect([isBeyond(before, position), isBeyond(await gtid(), position)]).toEqual([false, true]);
    });

    it('sees an open write transaction at once however often it looks, and not one that only reads', async () => {
      const [reader, writer] = [await session(), await session()];
      await reader.query('begin; select * from orders');
      await waitFor('nothing open', 5_000, async () => (await source.lookAtSource(signal)).open.length === 0);
      for (let round = 0; round < 4; round++) {
        const until = performance.now() + 300;
        while (performance.now() < until) expect((await source.lookAtSource(signal)).open).toEqual([]);
        await writer.query('begin; insert into plain (n) values (1)');
        const begun = performance.now();
        const { open: there, at, askedAt } = await source.lookAtSource(signal);
        expect(there).toEqual([
          expect.stringMatching(/^an open transaction of session \d+ \(root\) with 1 changed rows/),
        ]);
        expect(performance.now() - begun).toBeLessThan(1_000);
        expect(at).toBeGreaterThan(askedAt);
        await writer.query('rollback');
        expect((await source.lookAtSource(signal)).open).toEqual([]);
      }
    });

    it('another reader of the list does not make it see an old one', async () => {
      const [other, writer] = [await session(), await session()];
      const over = new AbortController();
      const reading = (async () => {
        while (!over.signal.aborted) {
          await other.query('select * from information_schema.innodb_trx');
          await new Promise((resolve) => setTimeout(resolve, 30));
        }
      })();
      await writer.query('begin; insert into plain (n) values (1)');
      try {
        // On a busy machine its time may be over before it has found out; it never answers.
        const code = expect.stringMatching(/^(mysql_stale_transactions|query_timeout)$/) as string;
        await expect(source.lookAtSource(signal)).rejects.toMatchObject({ code });
      } finally {
        over.abort();
        await reading;
      }
      expect((await source.lookAtSource(signal)).open).toHaveLength(1);
    });

    it('sees a commit that waits, locks, and statements that wait before they have a transaction', async () => {
      const [writer, locker, late, admin] = [await session(), await session(), await session(), await session()];
      await locker.query('begin; select * from orders where id = 1 for update');
      expect((await source.lookAtSource(signal)).open).toEqual([expect.stringContaining('with locks')]);
      await locker.query('rollback');
      await writer.query('begin; insert into plain (n) values (1)');
      await admin.query('flush tables with read lock');
      const committing = writer.query('commit');
      const inserting = late.query('insert into plain (n) values (2)');
      await waitFor('both', 5_000, async () => (await source.lookAtSource(signal)).open.length === 2);
      expect((await source.lookAtSource(signal)).open).toEqual(
        expect.arrayContaining([
          expect.stringContaining('1 changed rows'),
          expect.stringMatching(/^session \d+ \(root\) at INSERT/),
        ]),
      );
      await admin.query('unlock tables');
      await Promise.all([committing, inserting]);
      await waitFor('the end', 5_000, async () => (await source.lookAtSource(signal)).open.length === 0);
    });

    it('sees prepared transactions on either side', async () => {
      const writer = await session();
      await writer.query("xa start 'x'; insert into plain (n) values (1); xa end 'x'; xa prepare 'x'");
      expect((await source.lookAtSource(signal)).open).toContainEqual(
        expect.stringContaining('1 prepared transaction'),
      );
      writer.destroy();
      await waitFor('the session to end', 5_000, async () =>
        (await source.lookAtSource(signal)).open.every((text) => !text.includes('(root)')),
      );
      expect((await source.lookAtSource(signal)).open).toContainEqual(expect.stringContaining('XA RECOVER'));
      if (flavour === 'mysql') {
        // Its applier holds it prepared, too.
        await pair.settled();
        expect((await target.lookAtTarget(link, null, signal)).open).toEqual(['1 prepared transaction (XA RECOVER)']);
      }
      await pair.onSource("xa rollback 'x'");
      await pair.settled();
      expect((await source.lookAtSource(signal)).open).toEqual([]);
      await waitFor('the target', 5_000, async () => (await target.lookAtTarget(link, null, signal)).open.length === 0);
    });

    it('a source that takes no writes is placed by its position alone, whatever our user may do', async () => {
      for (const setting of ['read_only', ...(flavour === 'mysql' ? ['super_read_only'] : [])]) {
        await pair.onSource(`set global ${setting} = on`);
        for (const user of ['lg', 'dba']) {
          const name = marker();
          const place = await sideOf('source', user).place(link, name, signal);
          expect([place.marked, place.at >= place.askedAt]).toEqual([false, true]);
          const there = await pair.onSource('select 1 from lockgate.heartbeat where run = ?', [name]);
          expect(there).toEqual([]);
        }
        await pair.onSource('set global read_only = off');
      }
    });

    it('on a replica the marker is written only where heartbeats of the link are', async () => {
      await pair.onTarget('set global read_only = off');
      const back = 'shop/reverse' as LinkId;
      try {
        expect((await target.place(back, marker(), signal)).marked).toBe(false);
        await alone(
          pair.target,
          `set session sql_log_bin = 0;
           insert into lockgate.heartbeat values ('test', 'shop/reverse', 'r-1', 1, utc_timestamp(6))`,
        );
        if (flavour === 'mysql') expect((await target.place(back, marker(), signal)).marked).toBe(true);
      } finally {
        await alone(
          pair.target,
          'set session sql_log_bin = 0; delete from lockgate.heartbeat where link like "%reverse"',
        );
        await pair.onTarget('set global read_only = on');
      }
    });

    it('the schema’s digest changes with definitions and not with rows, statistics and counters', async () => {
      const digest = async (): Promise<string> => (await source.stand(signal)).schema;
      let before = await digest();
      await pair.onSource(`insert into plain (n) values (1), (2); analyze table plain; analyze table orders;
        alter table plain auto_increment = 500; delete from plain; flush tables`);
      expect(await digest()).toBe(before);
      for (const ddl of [
        'create table made (id int primary key, o int)',
        'alter table made add a int default 1',
        'alter table made alter a set default 2',
        'alter table made modify a bigint default 2',
        'create index i on made (a)',
        'alter table made drop index i, add unique index i (a)',
        'alter table made add constraint f foreign key (o) references plain (id)',
        'rename table made to made2',
        'create view v as select 1 as n',
        'drop view v',
        'drop table made2',
        'create table lockgate.other (id int primary key)',
        'drop table lockgate.other',
      ]) {
        await pair.onSource(ddl);
        const after = await digest();
        if (ddl.includes('lockgate')) expect(after, ddl).toBe(before);
        else expect(after, ddl).not.toBe(before);
        before = after;
      }
    });

    it('declares by epochs', async () => {
      await expect(target.declare(row(1, 'reverse'), signal)).rejects.toMatchObject({
        code: 'mysql_read_only',
        hint: expect.stringContaining('take read_only off first') as string,
      });
      await expect(sideOf('target', 'dba').declare(row(1, 'reverse'), signal)).rejects.toMatchObject({
        code: 'mysql_read_only',
      });
      await source.declare(row(1, 'forward', 'zoe'), signal);
      const first = await source.declare(row(2, 'reverse'), signal);
      expect(first.rows).toEqual([{ ...row(2, 'reverse'), changedAt: '2026-11-27T06:00:00.123000Z' }]);
      for (const late of [row(2, 'forward', 'bob'), row(1, 'forward', 'bob')]) {
        expect((await source.declare(late, signal)).rows).toEqual(first.rows);
      }
      const [newest] = (await source.declare(row(3, 'forward', 'bob'), signal)).rows ?? [];
      expect(newest).toMatchObject({ epoch: 3, direction: 'forward', changedBy: 'bob' });
      // Without the privilege to leave the binlog the row has come to the target as well.
      await pair.settled();
      expect(await pair.onTarget('select epoch from lockgate.direction')).toHaveLength(1);
      await pair.onSource('delete from lockgate.direction');
      await pair.settled();
      // With it, the row stays where it was written, and replication goes on.
      await sideOf('source', 'dba').declare(row(4, 'reverse'), signal);
      await pair.arrived(await pair.placeOrder());
      expect(await pair.onTarget('select epoch from lockgate.direction')).toEqual([]);
      await alone(pair.source, 'set session sql_log_bin = 0; delete from lockgate.direction');
    });

    it('what may not be seen or done is an error that says what to grant', async () => {
      const poor = sideOf('source', 'poor');
      await expect(poor.lookAtSource(signal)).rejects.toMatchObject({
        code: 'mysql_privilege',
        hint: expect.stringContaining('GRANT PROCESS ON *.*') as string,
      });
      await expect(poor.stand(signal)).rejects.toMatchObject({ hint: expect.stringMatching(/grant/i) as string });
      await expect(poor.declare(row(1, 'forward'), signal)).rejects.toMatchObject({ code: 'mysql_privilege' });
      await pair.onSource("grant process on *.* to poor@'%'");
      // A session opened anew has it, and that is not long in coming.
      await waitFor('the privilege', 5_000, () =>
        poor.lookAtSource(signal).then(
          () => true,
          (error: unknown) => !(error as { hint: string }).hint.includes('GRANT PROCESS'),
        ),
      );
      if (flavour === 'mysql') {
        const xa = { hint: expect.stringContaining('GRANT XA_RECOVER_ADMIN ON *.*') as string };
        await expect(poor.lookAtSource(signal)).rejects.toMatchObject(xa);
        await expect(sideOf('target', 'poor').lookAtTarget(link, null, signal)).rejects.toMatchObject(xa);
      } else {
        expect((await poor.lookAtSource(signal)).open).toEqual([]);
      }
    });

    it('rejects within a few seconds when the server does not answer, and comes back', async () => {
      await source.lookAtSource(signal);
      pair.sourceProxy.freeze();
      const begun = performance.now();
      await expect(source.lookAtSource(signal)).rejects.toMatchObject({ code: 'query_timeout' });
      await expect(source.place(link, marker(), signal)).rejects.toThrow();
      expect(performance.now() - begun).toBeLessThan(6_000);
      pair.sourceProxy.thaw();
      await waitFor('a look', 10_000, () => source.lookAtSource(signal).catch(() => null));
    });

    it('its identity is the same after a restart, and its sessions end with it', async () => {
      const { identity } = await source.stand(signal);
      await pair.source.stop();
      await expect(source.stand(signal)).rejects.toThrow();
      await pair.source.start();
      await waitFor('an answer', 10_000, () => source.stand(signal).catch(() => null));
      expect((await source.stand(signal)).identity).toBe(identity);
      await Promise.all(made.map((port) => port.close()));
      await waitFor('the sessions to end', 5_000, async () => {
        const there = await pair.onSource(
          "select 1 from information_schema.processlist where user in ('lg', 'dba', 'poor')",
        );
        return there.length === 0;
      });
      expect((await source.lookAtSource(signal)).identity).toBe(identity);
    });
  });
});
