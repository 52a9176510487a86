import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lsnOf } from '../../daemon/core/position.js';
import { SampledPositions } from '../../collectors/heartbeat/needs.js';
import { PhysicalCollector } from '../../collectors/postgres/physical.js';
import { PositionsCollector } from '../../collectors/postgres/positions.js';
import type { Applied, LinkReading, Observation } from '../../daemon/core/observation.js';
import type { LinkSignal } from '../../daemon/core/signal.js';
import { contextOf, databaseAt, listenTo, planOf, type Listening } from '../support/listening.js';
import { testedMajors } from '../support/majors.js';
import { startPair, type Pair, type ServerPair } from '../support/pair.js';
import { startPhysicalPair, type PhysicalPair } from '../support/physical-pair.js';

const isReading = (o: Observation): o is LinkReading => o.kind === 'link-reading';
const isApplied = (o: Observation): o is Applied => o.kind === 'applied';
const MiB = 1024 * 1024;

/** The collector of positions at work, with a rate that is known after a second. */
async function during(
  pair: ServerPair,
  via: 'postgres-logical' | 'postgres-physical',
  retentionLimitBytes: number | null,
  body: (
    l: Listening,
    is: (signal: LinkSignal, fits: (o: LinkReading) => boolean) => Promise<LinkReading>,
  ) => Promise<void>,
): Promise<void> {
  const from = databaseAt('onprem', pair.daemonUrl('source'));
  const to = databaseAt('aws', pair.daemonUrl('target'));
  const flows = via === 'postgres-logical' ? ['shop_sub'] : ['standby'];
  const plan = planOf(from, to, { via, flows });
  const link = { ...plan, config: { ...plan.config, retentionLimitBytes } };
  const options = { needs: new SampledPositions([{ id: plan.id, flows }]), intervalMs: 200, learnUs: 1_000_000 };
  const Kind = via === 'postgres-logical' ? PositionsCollector : PhysicalCollector;
  const l = listenTo(new Kind(from, to, [link], contextOf(), options));
  try {
    await body(l, (signal, fits) => l.next(signal, isReading, (o) => o.signal === signal && fits(o)));
  } finally {
    await l.stop();
  }
}

describe.each(testedMajors)('what a subscription keeps back, PostgreSQL %i', (major) => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await startPair({ source: major, target: major });
  });
  afterAll(() => pair.destroy());
  const setting = async (value: string): Promise<void> => {
    await pair.onSource(`alter system set max_slot_wal_keep_size = '${value}'`);
    await pair.onSource('select pg_reload_conf()');
  };

  it('tells the head with every applied position', async () => {
    await during(pair, 'postgres-logical', null, async (l) => {
      const seen = await l.next('a position', isApplied);
      expect(lsnOf(seen.head!)).toBeGreaterThanOrEqual(lsnOf(seen.position));
    });
  });

  it('has no runway without a limit, and one with the configured limit', async () => {
    await during(pair, 'postgres-logical', null, async (_, is) => {
      await is(
        'runway',
        (o) => o.value === null && /set max_slot_wal_keep_size or retention_limit$/.test(o.reason ?? ''),
      );
      await is('retained_bytes', (o) => o.value !== null && o.value < 64 * MiB && o.reason === null);
    });
    await during(pair, 'postgres-logical', 1024 * MiB, async (_, is) => {
      await is('runway', (o) => (o.value ?? 0) > 0 && / left at /.test(o.reason ?? ''));
    });
    await during(pair, 'postgres-logical', 1, async (_, is) => {
      await is('runway', (o) => o.value === 0 && /as much as its limit allows/.test(o.reason ?? ''));
    });
  });

  it(
    "goes by the server's limit, shrinks with the writes, and ends at 0 when the slot is lost",
    { timeout: 90_000 },
    async () => {
      await setting('256MB');
      try {
        await during(pair, 'postgres-logical', null, async (_, is) => {
          await is('runway', (o) => o.value === null && /being learnt/.test(o.reason ?? ''));
          await is('runway', (o) => (o.value ?? 0) > 0);
          await pair.disableSubscription();
          const before = await is('retained_bytes', (o) => o.value !== null);
          await pair.bulk(100_000);
          const after = await is('retained_bytes', (o) => (o.value ?? 0) > (before.value ?? 0) + 8 * MiB);
          const left = await is('runway', (o) => o.value !== null);
          expect(left.value).toBeGreaterThan(0);
          // Some 250 MB are left, and what was just written is the rate.
          expect(left.value).toBeLessThan(3600);
          expect(after.reason).toBeNull();
          await setting('1MB');
          await is('runway', (o) => o.value === 0);
          await pair.onSource('select pg_switch_wal()');
          await pair.onSource('checkpoint');
          await is('runway', (o) => o.value === 0 && /has lost WAL that it needs/.test(o.reason ?? ''));
          await is('retained_bytes', (o) => o.value === null && /has lost WAL that it needs/.test(o.reason ?? ''));
        });
      } finally {
        await setting('-1');
      }
    },
  );
});

describe('what a standby keeps back, PostgreSQL 18', () => {
  let pair: PhysicalPair;
  beforeAll(async () => {
    pair = await startPhysicalPair({ major: 18 });
  });
  afterAll(() => pair.destroy());

  it('is that of its slot, also while it is not connected', async () => {
    const [slot] = await pair.onSource<{ name: string }>(
      `select slot_name as name from pg_replication_slots where slot_type = 'physical'`,
    );
    await during(pair, 'postgres-physical', 1024 * MiB, async (_, is) => {
      if (slot === undefined) {
        await is('retained_bytes', (o) => o.value === null && /has no slot/.test(o.reason ?? ''));
        await is('runway', (o) => o.value === null && /has no slot/.test(o.reason ?? ''));
        await pair.onSource(`select pg_create_physical_replication_slot('standby_slot', true)`);
        await pair.onTarget(`alter system set primary_slot_name = 'standby_slot'`);
        await pair.onTarget('select pg_reload_conf()');
      }
      await is('retained_bytes', (o) => o.value !== null);
      await is('runway', (o) => (o.value ?? 0) > 0);
      pair.replicationProxy.freeze();
      try {
        await pair.onSource(
          `create table public.filler as select repeat('x', 1000) as t from generate_series(1, 20000)`,
        );
        await is('retained_bytes', (o) => (o.value ?? 0) > 10 * MiB);
      } finally {
        pair.replicationProxy.thaw();
      }
      await is('retained_bytes', (o) => (o.value ?? Infinity) < 10 * MiB);
    });
  });
});
