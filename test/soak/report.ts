/** The report of a soak, for a terminal. */
import { formatTable, whole, type Table } from '../bench/report.js';
import { describeMachine } from '../bench/machine.js';
import { median } from '../bench/statistics.js';
import { MEMORY_CRITERION } from './memory.js';
import { sayHeld, type FaultRecord, type SoakResult } from './result.js';
import { soakFaults } from './faults.js';

const seconds = (ms: number | undefined): string =>
  ms === undefined || !Number.isFinite(ms) ? '-' : (ms / 1_000).toFixed(1);

/** Least, middle and greatest of them, in seconds. */
function spread(values: readonly number[]): string {
  return values.length === 0
    ? '-'
    : [Math.min(...values), median(values), Math.max(...values)].map(seconds).join(' / ');
}

function known(values: readonly (number | null)[]): number[] {
  return values.filter((v) => v !== null);
}

function faultTable(result: SoakResult): Table {
  const names = [...new Set(result.faults.map((f) => f.name))].sort();
  const rows = names.map((name) => {
    const own = result.faults.filter((f) => f.name === name);
    const green = result.falseGreens.filter((g) => g.fault === name).reduce((n, g) => n + g.answers, 0);
    const closed = known(own.map((f) => f.closedMs.whole));
    return [
      name,
      String(own.length),
      spread(known(own.map((f) => f.closedMs.lag))),
      spread(closed),
      spread(known(own.map((f) => f.openedMs))),
      String(own.filter((f) => f.attested.length > 0).length),
      String(green),
      String(own.filter((f: FaultRecord) => f.openedMs === null).length),
    ];
  });
  const none = soakFaults.filter((f) => !names.includes(f.name)).map((f) => f.name);
  return {
    title: 'faults',
    head: ['fault', 'n', 'lag closed', 'whole closed', 'open again', 'attested', 'false green', 'stuck'],
    rows,
    notes: [
      'Seconds, min / median / max. closed: from the beginning of the fault to the first answer that was not "open" (- when all were, as in a',
      'fault that was short or harmless); open again: from healing to both gates open, with the hold of 2 s; where attested,',
      "with the soak's own wait before attesting. false green: answers.",
      ...(none.length === 0 ? [] : [`Did not come up: ${none.join('; ')}.`]),
    ],
  };
}

/** RSS over time as one line of blocks: each is the median of its part of the run. */
function chart({ processes }: SoakResult): string {
  const blocks = '▁▂▃▄▅▆▇█';
  const size = Math.max(1, Math.ceil(processes.length / 72));
  const parts: number[] = [];
  for (let i = 0; i < processes.length; i += size) parts.push(median(processes.slice(i, i + size).map((p) => p.rssMB)));
  const [least, most] = [Math.min(...parts), Math.max(...parts)];
  const block = (v: number): string => blocks[Math.round(((v - least) / Math.max(1e-9, most - least)) * 7)] ?? ' ';
  return `${parts.map(block).join('')}  ${least.toFixed(0)} to ${most.toFixed(0)} MB`;
}

function resources(result: SoakResult): string {
  const { memory: m, processes, metrics } = result;
  const own = metrics.filter((s) => s.life === metrics.at(-1)?.life);
  const range = (pick: (s: (typeof own)[number]) => number): string => {
    const values = own.map(pick).filter((v) => !Number.isNaN(v));
    if (values.length === 0) return '-';
    return `${values[0]?.toFixed(0)} at the start, median ${median(values).toFixed(0)}, at most ${Math.max(...values).toFixed(0)}, ${values.at(-1)?.toFixed(0)} at the end`;
  };
  const fds = processes.filter((p) => p.life === processes.at(-1)?.life).map((p) => p.fds);
  const mb = (v: number): string => (Number.isNaN(v) ? '-' : v.toFixed(1));
  return [
    `resources of the daemon (its last life, ${m.lifeMinutes.toFixed(1)} min; ${result.lives} in all)`,
    '',
    `  RSS          ${mb(m.startMB)} MB at the start, ${mb(m.warmMB)} after warming up, at most ${mb(m.maxMB)}, ${mb(m.endMB)} at the end`,
    `               ${mb(m.slopeMBPerHour)} MB an hour over the second half; least heap ${mb(m.heapWarmMB)} after warming up, ${mb(m.heapEndMB)} at the end`,
    `               ${chart(result)}`,
    `  heap MB      ${range((s) => s.heapMB)}`,
    `  files open   ${fds[0] ?? '-'} at the start, median ${median(fds)}, at most ${Math.max(...fds)}, ${fds.at(-1) ?? '-'} at the end`,
    `  handles      ${range((s) => s.handles)}`,
    `  timers       ${range((s) => s.timers)}`,
    `  processor    ${(result.processorShare * 100).toFixed(1)} % of a core`,
    `  on servers   ${sayHeld(result.baseline)}; the same or less after every fault unless said below`,
    `  flat means   ${MEMORY_CRITERION}: ${!m.judged ? 'too short a life to be judged' : m.problem === null ? 'flat' : 'NOT FLAT'}`,
  ].join('\n');
}

/** The whole report. */
export function formatReport(result: SoakResult): string {
  const machine = describeMachine();
  const total = result.asked.lag + result.asked.whole;
  const reds = result.falseReds.map(
    (r) => `  ${r.gate} at ${r.atSeconds.toFixed(1)} s, ${r.answers} answers, after "${r.during}": ${r.said}`,
  );
  return [
    `lockgate soak, ${machine.date}: ${result.minutes} min, seed ${result.seed}; Node ${machine.node}, PostgreSQL ${machine.postgres}, ${machine.cores} cores`,
    '',
    formatTable(faultTable(result)),
    '',
    resources(result),
    '',
    `${whole(total)} checks asked, ${whole(result.judged.open)} of them "open" and held against the truth, ${whole(result.judged.truthUnknown)} "open" while nobody could know it;`,
    `${whole(result.rowsWritten)} rows written. A gate may be open while a row has been missing for ${result.allowedMs} ms; the most was ${Math.round(result.worstOpenMs)} ms.`,
    `False greens: ${result.falseGreens.length}. Stuck: ${result.faults.filter((f) => f.openedMs === null).length}.`,
    ...(reds.length === 0
      ? ['Not open in a healthy stretch though the truth was good: never.']
      : ['Not open in a healthy stretch though the truth was good (not a failure):', ...reds]),
    result.problems.length === 0 ? 'Nothing wrong.' : `WRONG:\n${result.problems.map((p) => `  ${p}`).join('\n')}`,
  ].join('\n');
}
