import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { majors } from '../../deploy/demo/postgres-server.js';

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
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The command may hold spaces; after its closing parenthesis user and system time are the 12th and 13th field, in 1/100 s.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10_000;
  } catch {
    return NaN;
  }
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
