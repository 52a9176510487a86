import { afterAll, beforeAll, describe, it } from 'vitest';
import { SampledPositions } from '../../collectors/heartbeat/needs.js';
import { MysqlPositionsCollector } from '../../collectors/mysql/positions.js';
import type { LinkReading, Observation } from '../../daemon/core/observation.js';
import { testedFlavours } from '../support/flavours.js';
import { contextOf, databaseAt, listenTo, planOf } from '../support/listening.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

const limit = 120_000;
const fetchLimit = 300_000;
const MiB = 1024 * 1024;
const isReading = (o: Observation): o is LinkReading => o.kind === 'link-reading';

describe.each(testedFlavours)('binlog that a link needs on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('kept by its source', () => {
    let pair: MysqlPair;
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
    }, fetchLimit);
    afterAll(() => pair.destroy(), limit);

    type Is = (signal: LinkReading['signal'], fits: (o: LinkReading) => boolean) => Promise<LinkReading>;
    const during = async (retentionLimitBytes: number | null, body: (is: Is) => Promise<void>): Promise<void> => {
      const from = databaseAt('onprem', pair.daemonUrl('source'));
      const to = databaseAt('aws', pair.daemonUrl('target'));
      const flows = ['default channel'];
      const plan = planOf(from, to, { via: 'mysql', flows });
      const link = { ...plan, config: { ...plan.config, retentionLimitBytes } };
      const needs = new SampledPositions([{ id: plan.id, flows }]);
      const options = { needs, intervalMs: 200, learnUs: 1_000_000 };
      const l = listenTo(new MysqlPositionsCollector(from, to, [link], contextOf(), options));
      try {
        await body((signal, fits) => l.next(signal, isReading, (o) => o.signal === signal && fits(o)));
      } finally {
        await l.stop();
      }
    };
    const says = (o: LinkReading, what: RegExp): boolean => what.test(o.reason ?? '');

    it('goes by the age at which the source purges', { timeout: limit }, async () => {
      await alone(pair.source, 'set global binlog_expire_logs_seconds = 86400');
      await during(null, async (is) => {
        await is('runway', (o) => o.value === 86_400 && says(o, /the newest: onprem keeps a binlog for 1d/));
        await is('retained_bytes', (o) => o.value === 0);
        await alone(pair.source, 'set global binlog_expire_logs_seconds = 0');
        await is('runway', (o) => o.value === null && says(o, /without a limit, until the disk is full/));
      });
    });

    it('goes by a limit of our own', { timeout: limit }, async () => {
      await during(1024 * MiB, async (is) => {
        await is('runway', (o) => (o.value ?? 0) > 0 && says(o, / left of retention_limit at /));
      });
    });

    it('grows while the replica stands still, and is over once its file is purged', { timeout: limit }, async () => {
      await alone(pair.source, 'set global binlog_expire_logs_seconds = 3600');
      await during(null, async (is) => {
        await is('runway', (o) => o.value === 3_600);
        await pair.stopReplica();
        await pair.bulk(2_000);
        await pair.onSource('flush binary logs; flush binary logs');
        await is('retained_bytes', (o) => (o.value ?? 0) > 50_000);
        // From the last look at which the file was the newest.
        await is('runway', (o) => (o.value ?? 3_600) < 3_600 && (o.value ?? 0) > 3_500 && says(o, /needs binlog\.0/));
        await alone(pair.source, 'set global binlog_expire_logs_seconds = 1');
        await is('runway', (o) => o.value === 0 && says(o, /may purge at any time/));
        await alone(pair.source, 'set global binlog_expire_logs_seconds = 3600');
        await pair.startReplica();
        await pair.settled();
        await is('retained_bytes', (o) => o.value === 0);
        await is('runway', (o) => o.value === 3_600);
        await pair.purgeBinlogs();
        await is('runway', (o) => o.value === 0 && says(o, /which onprem has purged already/));
        await is('retained_bytes', (o) => o.value === null && says(o, /which has been purged there/));
        await pair.restoreBinlogs();
        // The restart that this took has brought the default back, which on MariaDB is no limit at all.
        await is('runway', (o) => o.value !== 0);
      });
    });
  });
});
