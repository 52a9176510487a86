import { afterAll, beforeAll, describe, it } from 'vitest';
import { logicalFaults, oneOfEachClass } from '../support/faults.js';
import { runFault, startScenario, type Scenario } from '../support/scenario.js';

const others = logicalFaults.filter((fault) => !oneOfEachClass.includes(fault));

/** Faults that are not in the short run: the others on 13, all of them across versions, and by the watchers that `auto` does not choose. */
const runs = [
  { title: 'the other faults on PostgreSQL 13', options: { source: 13, target: 13 }, faults: others },
  { title: 'every fault from PostgreSQL 13 to 18', options: { source: 13, target: 18 }, faults: logicalFaults },
  {
    title: 'one fault of each class, watched by notify without WAL readers',
    options: { source: 18, target: 18, watch: 'notify', read: 'off' as const },
    faults: oneOfEachClass,
  },
  {
    title: 'one fault of each class, watched by polling',
    options: { source: 18, target: 18, watch: 'poll', read: 'off' as const },
    faults: oneOfEachClass,
  },
];

describe.each(runs)('$title', ({ options, faults }) => {
  let scenario: Scenario;
  beforeAll(async () => {
    scenario = await startScenario(options);
  });
  afterAll(() => scenario.destroy());

  it.each(faults)('$name', { timeout: 120_000 }, async (fault) => {
    await runFault(scenario, fault);
  });
});
