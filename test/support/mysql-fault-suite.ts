/** Faults of MySQL's own replication with the real daemon, as tests. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { Flavour } from '../../deploy/demo/mysql-install.js';
import { acceptChain } from './chain-scenario.js';
import { resetBinlogs } from './mysql-dialect.js';
import { mysqlFaults, type MysqlFault } from './mysql-faults.js';
import { startMysqlScenario, type MysqlScenario } from './mysql-scenario.js';
import { opened, runFault } from './scenario.js';
import { boundMs, timing } from './scenario-setup.js';

/** One run: on which servers, and which faults. */
export interface MysqlFaultRun {
  readonly flavour: Flavour;
  /** The run leaves these servers out; the tests are skipped. */
  readonly left: boolean;
  readonly gtid: boolean;
  /** Every fault of these servers, the first of each class, or the others. */
  readonly faults: 'all' | 'first of each class' | 'others';
}

const limit = 120_000;
/** The first start of all fetches the programs. */
const fetchLimit = 300_000;

/** The faults of a run. */
function faultsOf({ flavour, gtid, faults }: MysqlFaultRun): readonly MysqlFault[] {
  const possible = mysqlFaults.filter(
    (f) => (f.gtid === undefined || f.gtid === gtid) && (f.flavour === undefined || f.flavour === flavour),
  );
  if (faults === 'all') return possible;
  const firsts = possible.filter((f, i) => possible.findIndex((other) => other.class === f.class) === i);
  return faults === 'others' ? possible.filter((f) => !firsts.includes(f)) : firsts;
}

/** Declares the tests of one run. */
export function mysqlFaultSuite(run: MysqlFaultRun): void {
  const { flavour, left, gtid, faults } = run;
  describe.skipIf(left)(`faults on ${flavour}, GTIDs ${gtid ? 'on' : 'off'}: ${faults}`, () => {
    let scenario: MysqlScenario;
    beforeAll(async () => {
      scenario = await startMysqlScenario({ flavour, gtid });
    }, fetchLimit);
    afterAll(() => scenario.destroy(), limit);

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

    it.each(faultsOf(run))('$name', { timeout: limit }, async (fault) => {
      // Without GTIDs nothing shows where a channel that was made anew began, which somebody has to answer for.
      const anew = flavour === 'mysql' && !gtid && fault.name === 'replica detached';
      await runFault(scenario, anew ? accepted(fault) : fault);
    });

    if (faults !== 'others') return;
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
  });
}

/** Declares the test of a reset binlog, on servers of its own, because nothing heals it: the replica would have to be made anew. */
export function mysqlResetSuite({ flavour, left, gtid }: Omit<MysqlFaultRun, 'faults'>): void {
  describe.skipIf(left)(`a reset binlog on ${flavour}, GTIDs ${gtid ? 'on' : 'off'}`, () => {
    let scenario: MysqlScenario;
    beforeAll(async () => {
      scenario = await startMysqlScenario({ flavour, gtid });
    }, fetchLimit);
    afterAll(() => scenario.destroy(), limit);

    it('is never open from then on', { timeout: limit }, async () => {
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
}
