#!/usr/bin/env node
/**
 * `npm run soak:verify`: passes without a pause under a constant write load, on pairs of every kind; whatever they call a
 * mismatch before anything was planted is one of theirs. At the end of each, everything is planted and must be found.
 */
import { parseArgs } from 'node:util';
import { messageOf } from '../../daemon/core/errors.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { BedGauge, startVerifyBed, type BedKind } from '../support/verify/bed.js';
import { problemsOf, runPass, verifierOf } from '../support/verify/passes.js';

const HELP = `Usage: npm run soak:verify -- [options]

Compares pairs of servers again and again while they are written to. Nothing may be called a mismatch before something was
planted, and then everything that was must be found. Ten minutes for each pair, one after the other.

  --minutes N  for each pair, 10 unless told
  --pairs LIST of postgres,mariadb,mysql,cross,cross-mariadb; the first four unless told
  -h, --help   show this help

Exit codes: 0 nothing wrong, 1 something was, 2 wrong usage.
`;

const kinds: readonly BedKind[] = ['postgres', 'mariadb', 'mysql', 'cross', 'cross-mariadb'];
/** Tables that are written to all the time. */
const MOVING = ['hot', 'kinds', 'words', 'logs', 'parted', 'codes'];

const started = performance.now();

function progress(text: string): void {
  process.stderr.write(`[${String(Math.round((performance.now() - started) / 1_000)).padStart(4)} s] ${text}\n`);
}

async function soak(kind: BedKind, minutes: number): Promise<{ line: string; problems: string[] }> {
  const clock = new SystemClock();
  const bed = await startVerifyBed(kind);
  const gauge = new BedGauge(bed, clock);
  // Small ranges, so that there are many; every one of them may be caught in the middle of a write.
  const verifier = verifierOf(bed, { by: 'link', gauge }, { chunkUs: 20_000 });
  const load = bed.load();
  const problems: string[] = [];
  const count = { passes: 0, tables: 0, match: 0, notSettled: 0, rows: 0 };
  try {
    const until = performance.now() + minutes * 60_000;
    let told = performance.now();
    while (performance.now() < until) {
      const passed = await runPass(verifier);
      count.passes += 1;
      if (!passed.end.complete) problems.push(`a pass was not complete: ${passed.end.reason ?? ''}`);
      problems.push(...problemsOf(bed, [], passed.results.values(), MOVING));
      for (const result of passed.results.values()) {
        count.tables += 1;
        count.rows += result.rowsCompared;
        if (result.state === 'match') count.match += 1;
        if (result.state === 'not-settled') count.notSettled += 1;
      }
      if (performance.now() - told < 30_000) continue;
      told = performance.now();
      progress(`${bed.name}: ${count.passes} passes, ${load.transactions} transactions, ${problems.length} problems`);
    }
    for (const { plant } of bed.plants) await bed.target.past(plant);
    const planted = await runPass(verifier);
    problems.push(...problemsOf(bed, bed.plants, planted.results.values(), MOVING));
    if (load.trouble !== null) problems.push(`the load: ${load.trouble}`);
    const share = ((100 * count.match) / count.tables).toFixed(2);
    const line =
      `${bed.name}: ${count.passes} passes over ${bed.tables.length} tables in ${minutes} min, ${count.rows} rows compared, ` +
      `${load.transactions} transactions meanwhile, ${share} % match, ${count.notSettled} not settled; ` +
      `${bed.plants.length} differences planted at the end; ${problems.length} problems`;
    return { line, problems };
  } finally {
    await load.stop();
    await gauge.stop();
    await verifier.close();
    await bed.destroy();
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { minutes: { type: 'string' }, pairs: { type: 'string' }, help: { type: 'boolean', short: 'h' } },
  });
  if (values.help === true) {
    process.stdout.write(HELP);
    return 0;
  }
  const minutes = Number(values.minutes ?? 10);
  const pairs = (values.pairs ?? 'postgres,mariadb,mysql,cross').split(',');
  if (!(minutes > 0) || pairs.some((p) => !kinds.some((k) => k === p))) {
    process.stderr.write(HELP);
    return 2;
  }
  let code = 0;
  for (const kind of kinds.filter((k) => pairs.includes(k))) {
    const { line, problems } = await soak(kind, minutes);
    process.stdout.write(
      `${line}\n${problems
        .slice(0, 50)
        .map((p) => `  ${p}\n`)
        .join('')}`,
    );
    if (problems.length > 0) code = 1;
  }
  return code;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => process.exit(130));
try {
  process.exit(await main());
} catch (error) {
  process.stderr.write(`it could not run: ${messageOf(error)}\n`);
  process.exit(1);
}
