/** Faults of the daemon itself: its process and its store. */
import { execFileSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { sendSignal } from '../../deploy/demo/run-folder.js';
import { boundMs, timing } from '../support/scenario-setup.js';
import { again, done, type SoakFault } from './fault.js';

/** The daemon frozen, killed, restarted, reloaded, and without a disk. */
export const daemonFaults: readonly SoakFault[] = [
  {
    name: 'daemon frozen (SIGSTOP)',
    expect: 'truth',
    make({ daemon }) {
      const { pid } = daemon();
      sendSignal(pid, 'SIGSTOP');
      return Promise.resolve(() => {
        sendSignal(pid, 'SIGCONT');
        return done();
      });
    },
  },
  {
    name: 'daemon frozen while replication breaks',
    expect: 'truth',
    // A subscription that was altered while nobody looked may have been told to skip changes.
    mayBreak: true,
    async make({ daemon, pair }) {
      const { pid } = daemon();
      sendSignal(pid, 'SIGSTOP');
      await pair.disableSubscription();
      return async () => {
        sendSignal(pid, 'SIGCONT');
        // It wakes to a link that is broken: every answer of these seconds counts.
        await sleep(4_000);
        await pair.enableSubscription();
      };
    },
  },
  {
    name: 'daemon killed with -9',
    restarts: true,
    expect: 'truth',
    async make({ daemon, startDaemon }) {
      await daemon().kill();
      return startDaemon;
    },
  },
  {
    name: 'daemon killed, and replication broken when it starts',
    restarts: true,
    expect: 'truth',
    // As above.
    mayBreak: true,
    async make({ daemon, startDaemon, pair }) {
      await daemon().kill();
      await pair.disableSubscription();
      return async () => {
        await startDaemon();
        await sleep(4_000);
        await pair.enableSubscription();
      };
    },
  },
  {
    name: 'daemon stopped, and a stray write meanwhile',
    restarts: true,
    expect: 'unseen',
    latches: true,
    strays: true,
    withinMs: 0,
    async make({ daemon, startDaemon, pair }) {
      await daemon().stop();
      await pair.onTarget(`update public.customers set email = 'stray' where id = 1`);
      return startDaemon;
    },
  },
  {
    name: 'SIGHUP again and again',
    expect: 'healthy',
    make: ({ daemon }) =>
      again(700, () => {
        daemon().signal('SIGHUP');
        return done();
      }),
  },
  {
    name: 'store cannot be written',
    expect: 'truth',
    make({ daemon }) {
      limitFiles(daemon().pid, '4096');
      return Promise.resolve(() => {
        limitFiles(daemon().pid, 'unlimited');
        return done();
      });
    },
  },
  {
    name: 'store cannot be written while a gate closes',
    // What has closed must not open again before the opening can be journaled, however good lag is by then.
    expect: 'breaks',
    withinMs: 0,
    async make({ daemon, pair }) {
      limitFiles(daemon().pid, '4096');
      const release = await pair.lockTable('public.orders');
      await pair.placeOrder();
      await sleep(timing.thresholdMs + boundMs + 500);
      await release();
      return () => {
        limitFiles(daemon().pid, 'unlimited');
        return done();
      };
    },
  },
];

/** Lets the files of a process grow no further than so many bytes; writes beyond fail as they do on a full disk. */
function limitFiles(pid: number, bytes: string): void {
  execFileSync('prlimit', ['--pid', String(pid), `--fsize=${bytes}:unlimited`], { timeout: 5_000 });
}
