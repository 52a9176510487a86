import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { resetBinlogs } from '../support/mysql-dialect.js';
import { acceptChain } from '../support/chain-scenario.js';
import { mysqlFaults, type MysqlFault } from '../support/mysql-faults.js';
import { startMysqlScenario, type MysqlScenario } from '../support/mysql-scenario.js';
import { opened, runFault } from '../support/scenario.js';
import { boundMs, timing } from '../support/scenario-setup.js';

const limit = 120_000;
/** The first start of all fetches the programs. */
const fetchLimit = 300_000;

describe.each(testedFlavours)('every fault on $flavour', ({ flavour, left }) => {
  describe.skipIf(left).each([{ gtid: true }, { gtid: false }])('with GTIDs: $gtid', ({ gtid }) => {
    let scenario: MysqlScenario;
    beforeAll(async () => {
      scenario = await startMysqlScenario({ flavour, gtid });
    }, fetchLimit);
    afterAll(() => scenario.destroy(), limit);

    const faults = mysqlFaults.filter(
      (f) => (f.gtid === undefined || f.gtid === gtid) && (f.flavour === undefined || f.flavour === flavour),
    );
    it.each(faults)('$name', { timeout: limit }, async (fault) => {
      // Without GTIDs nothing shows where a channel that was made anew began, which somebody has to answer for.
      const anew = flavour === 'mysql' && !gtid && fault.name === 'replica detached';
      await runFault(scenario, anew ? accepted(fault) : fault);
    });

    /** The fault, whose end breaks the chain until somebody has accepted that. */
    const accepted = (fault: MysqlFault): MysqlFault => ({
      ...fault,
      make: async (s) => {
        const heal = await fault.make(s);
        return async () => {
          await heal?.();
          await waitFor('the chain to be broken', 10_000, async () => {
            const { value, reason } = (await scenario.daemon.signals()).get('forward.continuity') ?? {};
            return value === 0 && reason?.includes('was made anew by file and position') === true;
          });
          await acceptChain(scenario.lockgate.url);
        };
      },
    });

    it('deletes old heartbeats on both sides', { timeout: limit }, async () => {
      const old = async (): Promise<number> => {
        const [row] = await scenario.pair.onTarget<{ n: string | number }>(
          'select count(*) as n from lockgate.heartbeat where sent_at < utc_timestamp() - interval 130 second',
        );
        return Number(row?.n);
      };
      await waitFor('old heartbeats to go', 70_000, async () => (await old()) === 0);
      await opened(scenario);
    });

    // The last one, because nothing heals it: the replica would have to be made anew.
    it('is not open once the binlog of the source was reset', { timeout: limit }, async () => {
      await opened(scenario);
      await scenario.pair.onSource(resetBinlogs(flavour));
      const reset = performance.now();
      await sleep(timing.thresholdMs + 4_000);
      for (const gate of [scenario.lagGate, scenario.wholeGate]) {
        const late = gate.between(reset + timing.thresholdMs + boundMs, Infinity);
        expect(late.length).toBeGreaterThan(10);
        const open = late.find((sample) => sample.state === 'open');
        expect(open, JSON.stringify(open?.verdict, null, 1)).toBeUndefined();
      }
      expect(JSON.stringify(scenario.wholeGate.samples.at(-1)?.verdict)).toContain('that onprem does not have');
    });
  });
});
