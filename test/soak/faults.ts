/** The faults of the soak: those of the fault tests, and more that only make sense in a long run. */
import { setTimeout as sleep } from 'node:timers/promises';
import { logicalFaults } from '../support/faults.js';
import { boundMs, timing } from '../support/scenario-setup.js';
import { again, blindWithinMs, done, type SoakFault } from './fault.js';
import { daemonFaults } from './faults-daemon.js';
import { dataFaults } from './faults-data.js';
import type { Random } from './schedule.js';

/** The faults of the fault tests, without the one that fills the disks of a long run. */
const known: readonly SoakFault[] = logicalFaults
  .filter((f) => f.name !== 'huge transaction')
  .map((f) => ({
    name: f.name,
    expect: f.expect,
    withinMs: f.withinMs ?? timing.thresholdMs + boundMs,
    strays: f.name === 'apply error loop',
    mayBreak: f.name === 'heartbeat table taken out of the publication',
    make: ({ pair }) => f.make({ pair }),
  }));

/** Faults of the processes that replicate, of the servers, and of the daemon's way to them. */
const more: readonly SoakFault[] = [
  {
    name: 'walsender terminated again and again',
    expect: 'truth',
    make: ({ pair }) =>
      again(1_500, () =>
        pair.onSource(`select pg_terminate_backend(pid) from pg_stat_replication where application_name = 'shop_sub'`),
      ),
  },
  {
    name: 'apply worker terminated again and again',
    expect: 'truth',
    make: ({ pair }) =>
      again(1_500, () => pair.onTarget('select pg_terminate_backend(pid) from pg_stat_subscription where pid > 0')),
  },
  {
    name: 'walsender killed with -9',
    expect: 'truth',
    async make({ pair }) {
      for (const pid of await pair.walsenderPids()) pair.source.signal(pid, 'SIGKILL');
      return undefined;
    },
  },
  {
    name: 'apply worker killed with -9',
    expect: 'truth',
    async make({ pair }) {
      for (const pid of await pair.applyWorkerPids()) pair.target.signal(pid, 'SIGKILL');
      return undefined;
    },
  },
  {
    name: "the daemon's connections to the source frozen",
    expect: 'breaks',
    withinMs: blindWithinMs,
    make({ pair }) {
      pair.sourceProxy.freeze();
      return Promise.resolve(() => {
        pair.sourceProxy.thaw();
        return done();
      });
    },
  },
  {
    name: "the daemon's connections to the target cut",
    expect: 'breaks',
    withinMs: blindWithinMs,
    async make({ pair }) {
      await pair.targetProxy.cut();
      return () => pair.targetProxy.restore();
    },
  },
  {
    name: "the daemon's connections slow",
    expect: 'truth',
    make({ pair }) {
      for (const proxy of [pair.sourceProxy, pair.targetProxy]) proxy.delay(200);
      return Promise.resolve(() => {
        for (const proxy of [pair.sourceProxy, pair.targetProxy]) proxy.delay(0);
        return done();
      });
    },
  },
  {
    name: "the daemon's connections reset again and again",
    expect: 'truth',
    make: ({ pair }) =>
      again(2_500, async () => {
        for (const proxy of [pair.sourceProxy, pair.targetProxy]) {
          await proxy.cut();
          await proxy.restore();
        }
      }),
  },
  ...(['source', 'target'] as const).map((side): SoakFault => ({
    name: `${side} stopped fast`,
    expect: 'breaks',
    withinMs: blindWithinMs,
    async make({ pair }) {
      await pair[side].stop('fast');
      return () => pair[side].start();
    },
  })),
];

/** Every kind of fault. */
export const soakFaults: readonly SoakFault[] = [...known, ...more, ...daemonFaults, ...dataFaults];

/** What can blind the daemon while another fault is made: none of these asks a server for anything. */
const blindfolds = soakFaults.filter((f) => /^the daemon's connections .*(frozen|cut|slow)$|\(SIGSTOP\)$/.test(f.name));
/** What can be made under a blindfold: nothing that reaches for the daemon or its connections. */
const underneath = soakFaults.filter((f) => !daemonFaults.includes(f) && !f.name.startsWith("the daemon's"));

/** One fault that begins while the daemon cannot see, and lasts longer: what it sees first must not look like health. */
export function blindfolded(random: Random): SoakFault {
  const blindfold = pick(blindfolds, random);
  const fault = pick(underneath, random);
  const headStartMs = 200 + 1_800 * random();
  const overlapMs = 1_000 + 4_000 * random();
  return {
    name: `two at once: ${blindfold.name}`,
    detail: fault.name,
    expect: fault.expect === 'healthy' ? 'truth' : fault.expect,
    // A subscription that was altered while nobody looked may have been told to skip changes.
    mayBreak: true,
    ...(fault.withinMs === undefined ? {} : { withinMs: fault.withinMs }),
    ...(fault.strays === undefined ? {} : { strays: fault.strays }),
    ...(fault.latches === undefined ? {} : { latches: fault.latches }),
    async make(parts) {
      const see = await blindfold.make(parts);
      await sleep(headStartMs);
      try {
        const heal = await fault.make(parts);
        await sleep(overlapMs);
        return heal;
      } finally {
        await see?.();
      }
    },
  };
}

function pick<T>(items: readonly T[], random: Random): T {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error('nothing to choose from');
  return item;
}
