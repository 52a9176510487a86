/** The faults of MySQL's own replication, as a table: how each is made and healed, and what the gates must do meanwhile. */
import { expect } from 'vitest';
import type { Fault } from './scenario.js';
import { timing } from './scenario-setup.js';
import type { MysqlPair } from './mysql-pair.js';

/** A fault on a pair of MariaDB or MySQL servers. */
export interface MysqlFault extends Fault<MysqlPair> {
  /** Only where replication is by GTID, or only where it is not. */
  gtid?: boolean;
  flavour?: MysqlPair['flavour'];
}

/** A daemon that cannot see must say so within the freshness of lag and the time-out of one question. */
const blindWithinMs = Math.max(2 * timing.intervalMs, 1_000) + 1_500;

const done = (heal: () => void): Promise<() => Promise<void>> =>
  Promise.resolve(() => {
    heal();
    return Promise.resolve();
  });

/** Faults that can be made one after another on one pair. */
export const mysqlFaults: readonly MysqlFault[] = [
  {
    name: 'an idle source stays green',
    class: 'replication',
    expect: 'healthy',
    lastsMs: 6_000,
    make: () => Promise.resolve(undefined),
  },
  {
    name: 'SQL thread stopped',
    class: 'replication',
    expect: 'breaks',
    state: 'closed',
    says: /the SQL thread is stopped/,
    async make({ pair }) {
      await pair.stopSqlThread();
      return () => pair.startSqlThread();
    },
  },
  {
    name: 'IO thread stopped',
    class: 'replication',
    expect: 'breaks',
    state: 'closed',
    says: /the IO thread is stopped/,
    async make({ pair }) {
      await pair.stopIoThread();
      return () => pair.startIoThread();
    },
  },
  {
    name: 'replica stopped',
    class: 'replication',
    expect: 'breaks',
    state: 'closed',
    says: /the SQL thread is stopped; the IO thread is stopped/,
    async make({ pair }) {
      await pair.stopReplica();
      return () => pair.startReplica();
    },
  },
  {
    name: 'replica detached',
    class: 'replication',
    expect: 'breaks',
    says: /is no replica/,
    async make({ pair }) {
      await pair.detach();
      return () => pair.attach();
    },
  },
  {
    name: 'replica delayed on purpose',
    class: 'replication',
    expect: 'breaks',
    state: 'closed',
    async make({ pair }) {
      await pair.delay(5);
      return () => pair.delay(0);
    },
  },
  {
    name: 'replica flapping',
    class: 'replication',
    expect: 'truth',
    lastsMs: 500,
    async make({ pair }) {
      await pair.flap(4, 1_200);
      return undefined;
    },
  },
  {
    name: 'replication network frozen',
    class: 'network',
    expect: 'breaks',
    state: 'closed',
    make: ({ pair }) => {
      pair.replicationProxy.freeze();
      return done(() => pair.replicationProxy.thaw());
    },
  },
  {
    name: 'replication network cut',
    class: 'network',
    expect: 'breaks',
    state: 'closed',
    says: /the IO thread cannot connect/,
    async make({ pair }) {
      await pair.replicationProxy.cut();
      return () => pair.replicationProxy.restore();
    },
  },
  {
    name: 'replication network slow',
    class: 'network',
    expect: 'breaks',
    lastsMs: 7_000,
    withinMs: timing.thresholdMs + 2_500,
    state: 'closed',
    make: ({ pair }) => {
      pair.replicationProxy.delay(2_500);
      return done(() => pair.replicationProxy.delay(0));
    },
  },
  {
    name: "every reader's session on the source ended",
    class: 'network',
    expect: 'truth',
    async make({ pair }) {
      const readers = await pair.onSource<{ id: string | number }>(
        "select id from information_schema.processlist where command in ('Binlog Dump', 'Binlog Dump GTID')",
      );
      expect(readers.length, 'the replica reads').toBeGreaterThan(0);
      for (const { id } of readers) await pair.onSource(`kill ${id}`);
      return undefined;
    },
  },
  {
    name: "the daemon's connections to the target frozen",
    class: 'blind',
    expect: 'breaks',
    withinMs: blindWithinMs,
    lastsMs: 6_000,
    state: 'unknown',
    make: ({ pair }) => {
      pair.targetProxy.freeze();
      return done(() => pair.targetProxy.thaw());
    },
  },
  {
    name: "the daemon's connections to the source cut",
    class: 'blind',
    expect: 'breaks',
    withinMs: blindWithinMs,
    state: 'unknown',
    async make({ pair }) {
      await pair.sourceProxy.cut();
      return () => pair.sourceProxy.restore();
    },
  },
  {
    name: 'apply blocked by a lock',
    class: 'apply',
    expect: 'breaks',
    state: 'closed',
    async make({ pair }) {
      const release = await pair.lockTable();
      await pair.placeOrder();
      return release;
    },
  },
  {
    name: 'apply stopped by a duplicate key (1062)',
    class: 'apply',
    expect: 'breaks',
    state: 'closed',
    says: /1062/,
    async make({ pair }) {
      await pair.createApplyConflict();
      return () => pair.healApplyConflict();
    },
  },
  {
    name: 'apply stopped by a missing row (1032)',
    class: 'apply',
    expect: 'breaks',
    state: 'closed',
    says: /1032/,
    async make({ pair }) {
      await pair.createMissingRow();
      return () => pair.healMissingRow();
    },
  },
  {
    name: 'source killed',
    class: 'server',
    expect: 'breaks',
    withinMs: blindWithinMs,
    async make({ pair }) {
      await pair.source.kill();
      return () => pair.source.start();
    },
  },
  {
    name: 'target killed',
    class: 'server',
    expect: 'breaks',
    withinMs: blindWithinMs,
    async make({ pair }) {
      await pair.target.kill();
      return () => pair.target.start();
    },
  },
  {
    name: 'both restarted',
    class: 'server',
    expect: 'breaks',
    withinMs: blindWithinMs,
    async make({ pair }) {
      await Promise.all([pair.source.kill(), pair.target.kill()]);
      return async () => {
        await Promise.all([pair.source.start(), pair.target.start()]);
      };
    },
  },
  ...(['source', 'target'] as const).map((side): MysqlFault => ({
    name: `the ${side} hangs`,
    class: 'server',
    expect: 'breaks',
    withinMs: blindWithinMs,
    make: ({ pair }) => {
      pair[side].signal('SIGSTOP');
      return done(() => pair[side].signal('SIGCONT'));
    },
  })),
  {
    name: 'huge transaction',
    class: 'load',
    expect: 'truth',
    lastsMs: 8_000,
    async make({ pair }) {
      await pair.bulk(300_000);
      return undefined;
    },
  },
  {
    name: 'long open transaction',
    class: 'load',
    expect: 'healthy',
    lastsMs: 8_000,
    async make({ pair }) {
      const transaction = await pair.openTransaction();
      return () => transaction.commit();
    },
  },
  {
    name: 'heartbeat table left out by the replica',
    class: 'heartbeat',
    expect: 'breaks',
    lastsMs: 7_000,
    async make({ pair }) {
      await pair.ignoreTables('lockgate.heartbeat');
      return () => pair.ignoreTables();
    },
  },
  {
    name: 'an application table left out by the replica',
    class: 'coverage',
    // Lag looks perfect: heartbeats and the observer's rows arrive.
    expect: 'unseen',
    withinMs: 5_000,
    lastsMs: 7_000,
    state: 'closed',
    says: /app\.customers: Replicate_Ignore_Table names it on aws/,
    async make({ pair }) {
      await pair.ignoreTables('app.customers');
      return () => pair.ignoreTables();
    },
  },
  {
    name: 'heartbeat privilege revoked',
    class: 'heartbeat',
    expect: 'breaks',
    state: 'unknown',
    withinMs: blindWithinMs,
    says: /denied/i,
    async make({ pair }) {
      // Past the binlog: the replica's account has no such privilege, and apply would stop for that.
      const unlogged = (sql: string): Promise<unknown> =>
        pair.onSource(`set session sql_log_bin = 0; ${sql}; set session sql_log_bin = 1`);
      await unlogged("revoke insert on lockgate.heartbeat from 'lockgate'@'%'");
      return async () => {
        await unlogged("grant insert on lockgate.heartbeat to 'lockgate'@'%'");
      };
    },
  },
  {
    name: 'heartbeat rows missing on the replica',
    class: 'heartbeat',
    expect: 'truth',
    lastsMs: 6_000,
    async make({ pair }) {
      await pair.onTargetUnlogged('delete from lockgate.heartbeat');
      return undefined;
    },
  },
  {
    name: 'errant write on the replica',
    class: 'apply',
    expect: 'healthy',
    flavour: 'mysql',
    async make({ pair }) {
      await pair.errantWrite();
      return () => pair.healErrantWrite();
    },
  },
  {
    name: 'errant write on the replica, which stops apply (1950)',
    class: 'apply',
    expect: 'breaks',
    flavour: 'mariadb',
    gtid: true,
    state: 'closed',
    says: /1950/,
    async make({ pair }) {
      await pair.errantWrite();
      return () => pair.healErrantWrite();
    },
  },
  {
    name: 'binlogs purged (1236)',
    class: 'replication',
    expect: 'breaks',
    says: /1236/,
    async make({ pair }) {
      await pair.purgeBinlogs();
      return () => pair.restoreBinlogs();
    },
  },
];
