import { afterAll, beforeAll, describe, it } from 'vitest';
import { oneOfEachClass } from '../support/faults.js';
import { testedMajors } from '../support/majors.js';
import { runFault, startScenario, type Scenario } from '../support/scenario.js';

describe.each(testedMajors)('one fault of each class on PostgreSQL %i', (major) => {
  let scenario: Scenario;
  beforeAll(async () => {
    scenario = await startScenario({ source: major, target: major });
  });
  afterAll(() => scenario.destroy());

  it.each(oneOfEachClass)('$name', { timeout: 120_000 }, async (fault) => {
    await runFault(scenario, fault);
  });
});
