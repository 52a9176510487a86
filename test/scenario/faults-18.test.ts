import { afterAll, beforeAll, describe, it } from 'vitest';
import { logicalFaults } from '../support/faults.js';
import { runFault, startScenario, type Scenario } from '../support/scenario.js';

describe('every fault on PostgreSQL 18', () => {
  let scenario: Scenario;
  beforeAll(async () => {
    scenario = await startScenario({ source: 18, target: 18 });
  });
  afterAll(() => scenario.destroy());

  it.each(logicalFaults)('$name', { timeout: 120_000 }, async (fault) => {
    await runFault(scenario, fault);
  });
});
