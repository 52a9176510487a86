/** The faults of logical replication, as a table: how each is made and healed, and what the gates must do meanwhile. */
import { sendSignal } from '../../deploy/demo/run-folder.js';
import type { Fault } from './scenario.js';
import { timing } from './scenario-setup.js';

/** A daemon that cannot see must say so within the freshness of lag and the time-out of one question. */
const blindWithinMs = Math.max(2 * timing.intervalMs, 1_000) + 1_500;

function stopProcesses(pids: number[]): () => Promise<void> {
  for (const pid of pids) sendSignal(pid, 'SIGSTOP');
  return () => {
    for (const pid of pids) sendSignal(pid, 'SIGCONT');
    return Promise.resolve();
  };
}

/** Faults that can be made one after another on one pair. */
export const logicalFaults: readonly Fault[] = [
  {
    name: 'subscription disabled',
    class: 'replication',
    expect: 'breaks',
    state: 'closed',
    says: /disabled/,
    async make({ pair }) {
      await pair.disableSubscription();
      return () => pair.enableSubscription();
    },
  },
  {
    name: 'replication network frozen',
    class: 'network',
    expect: 'breaks',
    state: 'closed',
    make({ pair }) {
      pair.replicationProxy.freeze();
      return Promise.resolve(() => {
        pair.replicationProxy.thaw();
        return Promise.resolve();
      });
    },
  },
  {
    name: 'replication network cut',
    class: 'network',
    expect: 'breaks',
    state: 'closed',
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
    make({ pair }) {
      pair.replicationProxy.delay(2_500);
      return Promise.resolve(() => {
        pair.replicationProxy.delay(0);
        return Promise.resolve();
      });
    },
  },
  {
    name: "the daemon's connections to the target frozen",
    class: 'blind',
    expect: 'breaks',
    withinMs: blindWithinMs,
    lastsMs: 6_000,
    state: 'unknown',
    make({ pair }) {
      pair.targetProxy.freeze();
      return Promise.resolve(() => {
        pair.targetProxy.thaw();
        return Promise.resolve();
      });
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
      const release = await pair.lockTable('public.orders');
      await pair.placeOrder();
      return release;
    },
  },
  {
    name: 'apply error loop',
    class: 'apply',
    expect: 'breaks',
    state: 'closed',
    async make({ pair }) {
      await pair.createApplyConflict();
      return () => pair.healApplyConflict();
    },
  },
  {
    name: 'walsender stopped',
    class: 'process',
    expect: 'breaks',
    state: 'closed',
    make: async ({ pair }) => stopProcesses(await pair.walsenderPids()),
  },
  {
    name: 'apply worker stopped',
    class: 'process',
    expect: 'breaks',
    state: 'closed',
    make: async ({ pair }) => stopProcesses(await pair.applyWorkerPids()),
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
  {
    name: 'huge transaction',
    class: 'load',
    expect: 'truth',
    lastsMs: 8_000,
    async make({ pair }) {
      await pair.bulk(400_000);
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
    name: 'heartbeat table taken out of the publication',
    class: 'heartbeat',
    expect: 'breaks',
    state: 'closed',
    lastsMs: 7_000,
    says: /no longer replicated/,
    async make({ pair }) {
      await pair.onSource('alter publication shop_pub drop table lockgate.heartbeat');
      return async () => {
        await pair.onSource('alter publication shop_pub add table lockgate.heartbeat');
      };
    },
  },
  {
    name: 'heartbeat privilege revoked',
    class: 'heartbeat',
    expect: 'breaks',
    state: 'unknown',
    withinMs: blindWithinMs,
    says: /privilege|permission/i,
    async make({ pair }) {
      await pair.onSource('revoke insert, update on lockgate.heartbeat from lockgate');
      return async () => {
        await pair.onSource('grant insert, update on lockgate.heartbeat to lockgate');
      };
    },
  },
];

/** The first fault of each class. */
export const oneOfEachClass: readonly Fault[] = [...new Set(logicalFaults.map((f) => f.class))].flatMap((c) =>
  logicalFaults.filter((f) => f.class === c).slice(0, 1),
);
