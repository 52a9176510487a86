import { afterAll, beforeAll, describe, it } from 'vitest';
import { oneOfEachClass } from '../support/faults.js';
import { runFault, startScenario, type Scenario } from '../support/scenario.js';

describe('one fault of each class on PostgreSQL 13', () => {
  let scenario: Scenario;
  beforeAll(async () => {
    scenario = await startScenario({ source: 13, target: 13 });
  });
  afterAll(() => scenario.destroy());

  it.each(oneOfEachClass)('$name', { timeout: 120_000 }, async (fault) => {
    await runFault(scenario, fault);
  });
});
