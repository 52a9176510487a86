/** Fences that must not drain, each for a reason of its own, on MariaDB and MySQL. */
import { expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { MysqlCutover } from './cutover-mysql.js';
import type { Night } from './cutover-night.js';
import { rootConnection, type RootConnection } from './mysql-connection.js';
import { alone } from './mysql-pair.js';

type Get = () => Night<MysqlCutover>;

const INSERT = "insert into customers (name) values ('late')";
const held = 1_200;
/** Within this time the daemon has looked at the chain, whatever it does. */
const lookedMs = 1_500;

function session(night: Night<MysqlCutover>, side: 'source' | 'target'): Promise<RootConnection> {
  const { pair } = night.bed;
  return rootConnection(side === 'source' ? pair.source : pair.target, pair.database);
}

/** Prepares a transaction on one side alone and leaves it to the server; answers what rolls it back. */
async function prepared(night: Night<MysqlCutover>, side: 'source' | 'target'): Promise<() => Promise<void>> {
  const connection = await session(night, side);
  await connection.query(`set session sql_log_bin = 0; xa start 'lost'; ${INSERT}; xa end 'lost'; xa prepare 'lost'`);
  connection.destroy();
  const server = side === 'source' ? night.bed.pair.source : night.bed.pair.target;
  return async () => {
    // Only once the session has gone can another one decide.
    await waitFor('the prepared transaction to be rolled back', 5_000, () =>
      alone(server, "set session sql_log_bin = 0; xa rollback 'lost'").then(
        () => true,
        () => false,
      ),
    );
  };
}

/** What may still commit on either side, and what was committed after all. */
export function openTransactions(get: Get): void {
  it.each(['source', 'target'] as const)('waits for a transaction prepared on the %s', async (side) => {
    const night = get();
    const rollBack = await prepared(night, side);
    const fence = await night.operator.fence();
    await night.holdsBack(fence.id, held, /prepared transaction \(XA RECOVER\)/);
    expect((await night.operator.change('promote')).status).toBe(409);
    await rollBack();
    await night.drains(fence.id);
  });

  it('waits for an open transaction of the source, and is violated by its commit', async () => {
    const night = get();
    const writer = await session(night, 'source');
    await writer.query(`begin; ${INSERT}`);
    const first = await night.operator.fence();
    await night.holdsBack(first.id, held, /open transaction of session \d+ \(root\) with 1 changed rows/);
    await writer.query('rollback');
    await night.drains(first.id);
    await night.operator.cancel(first.id);
    await writer.query(`begin; ${INSERT}`);
    const second = await night.operator.fence();
    await night.holdsBack(second.id, 300, /open transaction/);
    await writer.query('commit');
    expect((await night.ends(second.id, 'violated')).violations.count).toBe(1);
    expect(await night.told(second.id)).toEqual(['placed', 'violated']);
    writer.destroy();
  });

  it('is violated by a write after it, drained or not, and a promotion on it is refused', async () => {
    const night = get();
    await night.bed.pair.stopSqlThread();
    await night.bed.pair.placeOrder();
    const placed = await night.operator.fence();
    await night.holdsBack(placed.id, 700, /lacks/);
    await night.bed.stray('source');
    const ended = await night.ends(placed.id, 'violated');
    expect(ended.violations).toMatchObject({ count: 1, first_position: expect.stringMatching(/\d/) as string });
    await night.bed.pair.startSqlThread();
    const drained = await night.operator.drained();
    await night.bed.stray('source');
    expect(await night.refused('promote', 'not_drained')).toMatch(/violated|drained/);
    expect((await night.ends(drained.id, 'violated')).violations.count).toBe(1);
    expect((await night.operator.migration()).direction).toBe('forward');
    expect(await night.told(drained.id)).toEqual(['placed', 'drained', 'violated']);
  });

  it('refuses a promotion after the tables were changed', async () => {
    const night = get();
    const fence = await night.operator.drained();
    await night.bed.pair.onSource('create table late (id int primary key)');
    expect(await night.refused('promote', 'schema_changed')).toMatch(/place a new fence/);
    expect((await night.operator.migration()).direction).toBe('forward');
    await night.operator.cancel(fence.id);
    await night.bed.pair.onSource('drop table late');
    await night.bed.pair.settled();
    await night.operator.drained();
  });
}

/** Places a fence while the configuration names a channel that is not there, which ends with that configuration. */
async function onNowhere(night: Night<MysqlCutover>, act: () => Promise<string>): Promise<void> {
  const back = await night.reconfigure((text) =>
    text.replace('forward: { via: mysql,', 'forward: { via: mysql, channel: nowhere,'),
  );
  try {
    await night.directed();
    const id = await act();
    await back();
    expect((await night.look(id)).state).toBe('cancelled');
  } catch (error) {
    await back();
    throw error;
  }
  await night.directed();
}

/** Replication that has not carried everything, whatever it says. */
export function halfCarried(get: Get): void {
  it('waits for the marker where the positions have arrived without it, and expires with what was missing', async () => {
    const night = get();
    const { pair } = night.bed;
    await pair.ignoreTables('lockgate.heartbeat');
    const fence = await night.operator.fence('2s');
    await pair.settled();
    await night.holdsBack(fence.id, 1_000, /^the marker that was committed on onprem is not on aws yet$/);
    const ended = await night.ends(fence.id, 'expired');
    expect(ended.ended_because).toMatch(/the marker/);
    expect(ended.missing.reasons.join()).toMatch(/the marker/);
    await pair.ignoreTables();
    await night.drains((await night.operator.fence()).id, 20_000);
  });

  it.each(['stopSqlThread', 'stopIoThread', 'stopReplica', 'detach'] as const)('waits after %s', async (fault) => {
    const night = get();
    const { pair } = night.bed;
    const heal = {
      stopSqlThread: 'startSqlThread',
      stopIoThread: 'startIoThread',
      stopReplica: 'startReplica',
      detach: 'attach',
    } as const;
    await pair[fault]();
    await pair.placeOrder();
    const fence = await night.operator.fence();
    await night.holdsBack(fence.id, held, fault === 'detach' ? /channel/ : /lacks/);
    await pair[heal[fault]]();
    await night.drains(fence.id);
  });

  it('under the name of a channel that is not there it drains only by what the GTIDs prove', async () => {
    const night = get();
    const { pair } = night.bed;
    await onNowhere(night, async () => {
      await pair.stopSqlThread();
      const order = await pair.placeOrder();
      const fence = await night.operator.fence();
      await night.holdsBack(fence.id, held, /nowhere/);
      await pair.startSqlThread();
      await night.drains(fence.id);
      await pair.arrived(order, 100);
      return fence.id;
    });
    await night.drains((await night.operator.fence()).id);
  });
}

/** Processes and networks that end in the midst of it. */
export function interrupted(get: Get): void {
  it('survives the death of the daemon: the binlog of the gap shows it empty, and names that in its basis', async () => {
    const night = get();
    const { pair } = night.bed;
    const lock = await session(night, 'target');
    await lock.query('begin; select * from customers where id = 2 for update');
    await pair.onSource("update customers set email = 'late' where id = 2");
    const fence = await night.operator.fence('60s');
    await night.holdsBack(fence.id, lookedMs, /lacks/);
    await night.killDaemon();
    lock.destroy();
    await sleep(500);
    await night.startDaemon();
    const drained = await night.drains(fence.id, 20_000);
    expect([...drained.basis].sort()).toEqual(['marker', 'position', 'server-evidence']);
    expect(drained.unwatched).toEqual([]);
    await night.operator.changed('promote');
  });

  it('what was done to replication while no daemon ran must be vouched for', async () => {
    const night = get();
    const { pair } = night.bed;
    await pair.stopSqlThread();
    const fence = await night.operator.fence('60s');
    await night.killDaemon();
    await pair.startSqlThread();
    await sleep(500);
    await night.startDaemon();
    const said =
      pair.flavour === 'mysql'
        ? /the chain of changes broke after the fence was placed: replication on aws was stopped and started/
        : null;
    // MariaDB counts what it applies, which shows whether anything was left out.
    if (said !== null) {
      await waitFor('the break to be told', 20_000, async () =>
        (await night.look(fence.id)).missing.reasons.some((reason) => said.test(reason)),
      );
      await night.holdsBack(fence.id, held, said);
      await night.operator.post('attestations/continuity-accepted', { by: 'a test', note: 'nothing was skipped' });
    }
    const drained = await night.drains(fence.id, 20_000);
    expect([...drained.basis].sort()).toEqual(['marker', 'position', 'server-evidence']);
    expect((await night.operator.cancel(fence.id)).body.state).toBe('cancelled');
  });

  it('is violated by a write of the time in which no daemon ran', async () => {
    const night = get();
    const fence = await night.operator.drained();
    await night.killDaemon();
    await night.bed.stray('source');
    const from = performance.now();
    await night.startDaemon();
    const ended = await night.ends(fence.id, 'violated', 20_000);
    expect(ended.violations.count).toBe(1);
    night.timeline.said('drained', from, performance.now(), ['closed', 'unknown', 'unreachable']);
    expect((await night.operator.change('promote')).status).toBe(409);
  });

  it('outlives a restart of the target', async () => {
    const night = get();
    const { pair } = night.bed;
    await pair.stopSqlThread();
    const fence = await night.operator.fence('60s');
    await pair.target.kill();
    await night.holdsBack(fence.id, held, /aws/);
    await pair.target.start();
    await alone(pair.target, 'set global read_only = 0');
    if (pair.flavour === 'mariadb') await alone(pair.target, 'set global gtid_domain_id = 2');
    await night.drains(fence.id, 30_000);
    await night.timeline.of('flip-writes').until(['open'], 40_000);
  });

  it('places all or nothing when the source is lost in the midst of it', async () => {
    const night = get();
    const { sourceProxy } = night.bed.pair;
    const seen = { placed: 0, refused: 0 };
    for (const afterMs of [2, 6, 12, 25]) {
      const placing = night.operator.post<{ id: string }>('fences', { deadline: '60s', note: 'cut' });
      await sleep(afterMs);
      await sourceProxy.cut();
      // One that waits for the source's reader goes on waiting, and may be placed once the source is back.
      const soon = await Promise.race([placing, sleep(700, null)]);
      if (soon?.status === 201) await night.holdsBack(soon.body.id, 500, /onprem/);
      await sourceProxy.restore();
      const { status, body } = await placing;
      if (status === 201) {
        seen.placed += 1;
        await night.drains(body.id, 20_000);
      } else {
        seen.refused += 1;
        expect([409, 503]).toContain(status);
        const { fence } = await night.operator.migration();
        expect(fence === null || !['placed', 'drained', 'unknown'].includes(fence.state)).toBe(true);
        await night.directed();
        await night.drains((await night.operator.fence('60s')).id, 20_000);
      }
      await night.tidy();
    }
    console.log(`${night.bed.pair.flavour}: the source was lost while a fence was placed: ${JSON.stringify(seen)}`);
  });
}

/** What the gate on the way back says once it is needed, and two daemons over one pair. */
export function wayBack(get: Get): void {
  it.each(['stop replica', 'stop replica io_thread', 'the network'])(
    'rollback-ready closes when the way back dies: %s',
    async (how) => {
      const night = get();
      const { pair, wayBackProxy } = night.bed;
      await night.operator.drained();
      await night.operator.changed('promote');
      await night.timeline.of('rollback-ready').until(['open'], 30_000);
      const sql = pair.flavour === 'mariadb' ? how.replace('replica', 'slave') : how;
      const began = performance.now();
      if (how === 'the network') wayBackProxy.freeze();
      else await alone(pair.source, sql);
      const made = performance.now();
      const left = await night.timeline.of('rollback-ready').until(['closed', 'unknown'], 6_000);
      // The freshness of the link's signals; a network that is frozen shows only by the lag, whose threshold is 1.5 s.
      expect(left.at - made).toBeLessThan(3_500);
      await sleep(1_500);
      night.timeline.said('rollback-ready', left.askedAt, performance.now(), ['closed', 'unknown']);
      console.log(`${pair.flavour}: rollback-ready left open ${Math.round(left.at - began)} ms after: ${how}`);
      if (how === 'the network') wayBackProxy.thaw();
      else await alone(pair.source, sql.replace('stop', 'start'));
      await night.timeline.of('rollback-ready').until(['open'], 30_000);
    },
  );
}

/** Without GTIDs: coordinates alone, on MySQL. */
export function byCoordinates(get: Get): void {
  it('by file and position it drains, not with the SQL thread stopped, and is violated by a write', async () => {
    const night = get();
    const { pair } = night.bed;
    const fence = await night.operator.drained();
    expect(fence.basis).toEqual(['marker', 'position']);
    expect(fence.source_position).toMatch(/binlog\.\d+:\d+/);
    await night.operator.changed('promote');
    await night.timeline.of('rollback-ready').until(['open'], 30_000);
    await night.tidy();
    await pair.stopSqlThread();
    await pair.placeOrder();
    const stuck = await night.operator.fence('60s');
    await night.holdsBack(stuck.id, held, /lacks \d+ bytes/);
    await pair.startSqlThread();
    await night.drains(stuck.id);
    await night.bed.stray('source');
    expect((await night.ends(stuck.id, 'violated')).violations.count).toBe(1);
  });

  it('by file and position it never drains under the name of a channel that is not there', async () => {
    const night = get();
    await onNowhere(night, async () => {
      const fence = await night.operator.fence();
      await night.holdsBack(fence.id, held, /nowhere/);
      return fence.id;
    });
    await night.drains((await night.operator.fence()).id);
  });

  it('by file and position the binlog of the time without a daemon is read again', async () => {
    const night = get();
    // What was done to replication before must have been seen, or it may have been done after the fence was placed.
    await sleep(lookedMs);
    const fence = await night.operator.fence('60s');
    await night.killDaemon();
    await night.startDaemon();
    expect((await night.drains(fence.id, 20_000)).basis).toContain('server-evidence');
    await night.killDaemon();
    await night.bed.stray('source');
    await night.startDaemon();
    expect((await night.ends(fence.id, 'violated', 20_000)).violations.count).toBe(1);
  });
}

/** A replica that applies out of order; on MariaDB that takes another domain. */
export function outOfOrder(get: Get): void {
  it('waits for an older transaction that the replica applies later than the marker', async () => {
    const night = get();
    const { pair } = night.bed;
    const lock = await session(night, 'target');
    const older = await session(night, 'source');
    const applied = async (): Promise<unknown> =>
      (await pair.onTarget('select email from customers where id = 1'))[0]?.['email'];
    let id = '';
    try {
      await lock.query('begin; select * from customers where id = 1 for update');
      // MariaDB applies out of order across domains, MySQL wherever rows do not conflict.
      if (pair.flavour === 'mariadb') await older.query('set session gtid_domain_id = 7');
      await older.query("update customers set email = 'blocked' where id = 1");
      id = (await night.operator.fence()).id;
      // On MySQL it depends on what the source has logged of their dependencies; across MariaDB's domains it always does.
      const overtook = await waitFor('the marker to overtake it', 5_000, async () => {
        const sql = 'select 1 from lockgate.heartbeat where run = ?';
        return (await pair.onTarget(sql, [`fence-${id}`])).length > 0;
      }).catch(() => false);
      if (pair.flavour === 'mariadb') expect(overtook, 'the marker to overtake it').toBe(true);
      expect(await applied()).not.toBe('blocked');
      await night.holdsBack(id, held, /default channel lacks/);
    } finally {
      // Also when it fails: with the row locked nothing would be applied in any later case.
      lock.destroy();
      older.destroy();
    }
    await night.drains(id);
    expect(await applied()).toBe('blocked');
    // Nor does the chain count as broken when it has been looked at again.
    await sleep(lookedMs);
    expect((await night.look(id)).state).toBe('drained');
    await pair.onSource("update customers set email = 'free' where id = 1");
  });
}
