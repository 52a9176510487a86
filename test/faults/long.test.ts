import { afterAll, beforeAll, describe, it } from 'vitest';
import { logicalFaults } from '../support/faults.js';
import { runFault, startPhysicalScenario, startScenario, type Scenario } from '../support/scenario.js';
import type { PhysicalPair } from '../support/physical-pair.js';

/** Long enough for time-outs of a minute's order: walsenders end, workers restart, connections are made anew. */
const longMs = 45_000;
const long = new Set(['subscription disabled', 'replication network frozen', 'apply error loop', 'target killed']);

describe('long faults on PostgreSQL 18', () => {
  let scenario: Scenario;
  beforeAll(async () => {
    scenario = await startScenario();
  });
  afterAll(() => scenario.destroy());

  it.each(logicalFaults.filter((f) => long.has(f.name)))('$name', { timeout: 180_000 }, async (fault) => {
    await runFault(scenario, { ...fault, lastsMs: longMs });
  });
});

describe('a physical standby of PostgreSQL 13', () => {
  let scenario: Scenario<PhysicalPair>;
  beforeAll(async () => {
    scenario = await startPhysicalScenario(13);
  });
  afterAll(() => scenario.destroy());

  it('network cut', { timeout: 120_000 }, async () => {
    await runFault(scenario, {
      name: 'network cut',
      class: 'network',
      expect: 'breaks',
      state: 'closed',
      async make({ pair }) {
        await pair.replicationProxy.cut();
        return () => pair.replicationProxy.restore();
      },
    });
  });

  it('standby killed', { timeout: 120_000 }, async () => {
    await runFault(scenario, {
      name: 'standby killed',
      class: 'server',
      expect: 'breaks',
      withinMs: 2_500,
      async make({ pair }) {
        await pair.target.kill();
        return () => pair.target.start();
      },
    });
  });
});
