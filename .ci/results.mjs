/**
 * Reads what vitest wrote of its runs, for .ci/run.
 *
 * `again FOLDER NAME` prints the files of a run that may be tried a second time: those on real servers, which now and then
 * are late on a busy machine. Not when a gate was green that must not be, or a row was lost: that has to fail however
 * rare it is. And not when many files failed: that is no accident.
 *
 * `sum FOLDER BROKEN` says what failed and what passed only when it was tried again, and ends with the counts.
 */
import { existsSync, readFileSync, readdirSync } from 'node:fs';

const MOST_FILES = 4;
const [what, folder, argument] = process.argv.slice(2);
const read = (file) => JSON.parse(readFileSync(`${folder}/${file}`, 'utf8'));
const placeOf = (test) => test.name.replace(`${process.cwd()}/`, '');
const failedOf = (test) => test.assertionResults.filter((a) => a.status === 'failed');
const whyOf = (a) => (a.failureMessages ?? []).join(' ');

if (what === 'again') {
  if (!existsSync(`${folder}/${argument}.failed`) || !existsSync(`${folder}/${argument}.json`)) process.exit(0);
  const bad = read(`${argument}.json`).testResults.filter((t) => t.status === 'failed');
  const onServers = bad.every((t) => /^test\/(integration|scenario|faults)\//.test(placeOf(t)));
  const green = bad.some((t) => failedOf(t).some((a) => whyOf(a).includes('FALSE GREEN')));
  if (onServers && !green && bad.length <= MOST_FILES) console.log(bad.map(placeOf).join(' '));
} else {
  let [passed, failed, skipped] = [0, Number(argument), 0];
  for (const file of readdirSync(folder).filter((f) => f.endsWith('.json'))) {
    const name = file.replace('.json', '');
    const run = read(file);
    const second = new Map();
    if (existsSync(`${folder}/${name}.second`))
      for (const t of read(`${name}.second`).testResults) second.set(t.name, t);
    let bad = 0;
    let unexplained = existsSync(`${folder}/${name}.failed`);
    for (const first of run.testResults) {
      const last = second.get(first.name) ?? first;
      if (first.status === 'failed') unexplained = false;
      if (last !== first && last.status !== 'failed') {
        for (const a of failedOf(first)) {
          console.log(`passed on the second try: ${placeOf(first)}: ${a.fullName}\n        ${whyOf(a).slice(0, 600)}`);
        }
        if (failedOf(first).length === 0) console.log(`began on the second try: ${placeOf(first)}`);
      }
      const fails = failedOf(last);
      for (const a of fails) {
        const why = whyOf(a).split('\n').slice(0, 3).join(' ').slice(0, 600);
        console.log(`failed: ${placeOf(last)}: ${a.fullName}\n        ${why}`);
      }
      // A file that cannot even be loaded has no tests that could fail.
      if (last.status === 'failed' && fails.length === 0) {
        console.log(`failed to begin: ${placeOf(last)}\n        ${String(last.message).slice(0, 600)}`);
        bad += 1;
      }
      bad += fails.length;
      passed += last.assertionResults.filter((a) => a.status === 'passed').length;
      skipped += last.assertionResults.filter((a) => !['passed', 'failed'].includes(a.status)).length;
    }
    // Failed with nothing to show for it: an error outside of any test.
    if (bad === 0 && unexplained) bad = 1;
    failed += bad;
  }
  // Nothing tested is no success.
  if (passed + failed === 0) failed = 1;
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  process.exitCode = failed > 0 ? 1 : 0;
}
