import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { majors } from '../../deploy/demo/postgres-server.js';
import { childrenOf } from '../../deploy/demo/run-folder.js';

/** Keeps a process on one core; part of util-linux, and done without where it is missing. */
const PINNER = 'taskset';

/** What the figures were measured on, as far as it matters for reading them. */
export interface Machine {
  readonly date: string;
  readonly node: string;
  readonly postgres: string;
  readonly cores: number;
  readonly memoryGiB: number;
  /** Whether server and load generator can be kept on a core each. */
  readonly pinning: boolean;
}

/** Describes the machine, without its name. */
export function describeMachine(): Machine {
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.version,
    postgres: String(majors().at(-1) ?? 'none'),
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    pinning: canPin(),
  };
}

/** The share of all cores that was busy during `ms`, whoever it was; taken before a measurement it tells what others do. */
export async function busyShare(ms: number): Promise<number> {
  const before = cpuTimes();
  await sleep(ms);
  const after = cpuTimes();
  const total = after.total - before.total;
  return total === 0 ? NaN : 1 - (after.idle - before.idle) / total;
}

function cpuTimes(): { idle: number; total: number } {
  let [idle, total] = [0, 0];
  for (const { times } of cpus()) {
    idle += times.idle;
    total += times.user + times.nice + times.sys + times.idle + times.irq;
  }
  return { idle, total };
}

/** The processor time that a process has used so far, in microseconds; NaN where the system does not tell. */
export function processorTimeUs(pid: number): number {
  const fields = statFields(pid);
  return fields === null ? NaN : (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** After the command, which may hold spaces, user and system time are the 12th and 13th field, in 1/100 s. */
function statFields(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

/**
 * The processor time that a process of one thread has used so far, in microseconds, to the nanosecond where the system
 * tells it: a session that works for a millisecond now and then would else show nothing.
 */
export function singleThreadTimeUs(pid: number): number {
  try {
    const [ns = NaN] = readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ').map(Number);
    return ns / 1_000;
  } catch {
    return processorTimeUs(pid);
  }
}

/**
 * The processor time that a PostgreSQL server has used so far, in microseconds: its postmaster, all sessions and workers,
 * and those that have ended.
 */
export function serverTimeUs(postmaster: number): number {
  // Fields 14 and 15 are the times of the children that it has waited for.
  const ended = ((fields) => (Number(fields?.[13]) + Number(fields?.[14])) * 10_000)(statFields(postmaster));
  const running = childrenOf(postmaster).map((pid) => singleThreadTimeUs(pid) || 0);
  return running.reduce((sum, us) => sum + us, singleThreadTimeUs(postmaster) + ended);
}

/** The memory of a process in bytes, at present and at most so far; NaN where the system does not tell. */
export function memoryOf(pid: number): { rss: number; peak: number } {
  let status = '';
  try {
    status = readFileSync(`/proc/${pid}/status`, 'utf8');
  } catch {
    // Not Linux, or gone.
  }
  const kib = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? NaN);
  return { rss: kib('VmRSS') * 1024, peak: kib('VmHWM') * 1024 };
}

/** The command that runs a program on one core, or on any where that cannot be had. */
export function pinned(core: number, command: string, args: readonly string[]): [string, string[]] {
  return canPin() && core < availableParallelism()
    ? [PINNER, ['-c', String(core), command, ...args]]
    : [command, [...args]];
}

let pins: boolean | undefined;

function canPin(): boolean {
  if (pins !== undefined) return pins;
  try {
    execFileSync(PINNER, ['-c', '0', 'true'], { stdio: 'ignore' });
    pins = availableParallelism() > 1;
  } catch {
    pins = false;
  }
  return pins;
}
