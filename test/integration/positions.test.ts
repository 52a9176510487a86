import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EventEmitter } from 'node:events';
import pg from 'pg';
import { SampledPositions } from '../../collectors/heartbeat/needs.js';
import { PositionsCollector } from '../../collectors/postgres/positions.js';
import type { Applied, AppliedFault, LinkReading, Observation } from '../../daemon/core/observation.js';
import { lsnOf, formatLsn, parseLsn, type Position } from '../../daemon/core/position.js';
import type { LinkSignal } from '../../daemon/core/signal.js';
import { startPostgres } from '../../deploy/demo/postgres-server.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { contextOf, databaseAt, listenTo, planOf, type Listening } from '../support/listening.js';
import { startPair, type Pair } from '../support/pair.js';

const flows = ['shop_sub', 'events_sub'];
const users = {
  all: { name: 'lg', password: 'lg' },
  monitor: { name: 'lg_monitor', password: 'lg_monitor' },
  nothing: { name: 'lg_nothing', password: 'lg_nothing' },
};

describe.each([18, 13])('positions of logical replication on PostgreSQL %i', (major) => {
  let pair: Pair;
  let listening: Listening | undefined;
  let needs: SampledPositions;

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major, second: true });
    for (const on of [pair.onSource, pair.onTarget]) {
      for (const { name, password } of Object.values(users)) {
        await on(`create role ${name} login password '${password}'`);
      }
      await on('grant pg_monitor to lg, lg_monitor');
    }
    await pair.onTarget(
      major >= 14
        ? 'grant execute on function pg_replication_origin_progress(text, boolean) to lg'
        : `create schema lockgate;
           create function lockgate.origin_progress(name text, flush boolean) returns pg_lsn language sql
             security definer set search_path = pg_catalog as 'select pg_replication_origin_progress($1, $2)';
           revoke all on function lockgate.origin_progress(text, boolean) from public;
           grant usage on schema lockgate to lg;
           grant execute on function lockgate.origin_progress(text, boolean) to lg`,
    );
  });
  afterAll(() => pair.destroy());

  const listen = (user: { name: string; password: string } = users.all, source?: string): Listening => {
    const from =
      source === undefined ? databaseAt('onprem', pair.daemonUrl('source'), user) : databaseAt('onprem', source);
    const to = databaseAt('aws', pair.daemonUrl('target'), user);
    const plan = planOf(from, to, { via: 'postgres-logical', flows });
    const wanted = new SampledPositions([{ id: plan.id, flows }]);
    needs = wanted;
    const collector = new PositionsCollector(from, to, [plan], contextOf(), { needs: wanted });
    return listenTo(collector, (o) => wanted.observe(o));
  };
  const during = async (body: (l: Listening) => Promise<void>, user = users.all): Promise<void> => {
    listening = listen(user);
    try {
      await body(listening);
    } finally {
      await listening.stop();
    }
    await waitFor('all connections to be closed', 1_000, () => {
      return pair.sourceProxy.connections() + pair.targetProxy.connections() === 0;
    });
  };

  const isApplied = (o: Observation): o is Applied => o.kind === 'applied';
  const isFault = (o: Observation): o is AppliedFault => o.kind === 'applied-fault';
  const isReading = (o: Observation): o is LinkReading => o.kind === 'link-reading';
  const applied = (l: Listening, flow: string): Promise<Applied> =>
    l.next(`${flow} applied`, isApplied, (o) => o.flow === flow);
  const reaches = (l: Listening, flow: string, lsn: bigint): Promise<Applied> =>
    l.next(`${flow} to reach ${String(lsn)}`, isApplied, (o) => o.flow === flow && lsnOf(o.position) >= lsn);
  const fault = (l: Listening, flow: string): Promise<AppliedFault> =>
    l.next(`a fault of ${flow}`, isFault, (o) => o.flow === flow);
  const reading = (l: Listening, signal: LinkSignal, value?: number | null): Promise<LinkReading> =>
    l.next(
      `${signal} ${value === undefined ? '' : String(value)}`,
      isReading,
      (o) => o.signal === signal && (value === undefined || o.value === value),
    );
  /** The source's position after a commit, as a heartbeat would sample it. */
  const sample = async (l?: Listening): Promise<bigint> => {
    await pair.placeOrder();
    const [row] = await pair.onSource<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
    const lsn = parseLsn(row!.lsn);
    const position: Position = { kind: 'lsn', lsn };
    if (l !== undefined) needs.observe({ kind: 'position-sampled', link: 'shop/forward', position, sentAt: 0, at: 0 });
    return lsn;
  };

  it('follows every flow, the idle one too, and says that all runs', async () => {
    await during(async (l) => {
      await Promise.all([reading(l, 'running', 1), applied(l, 'shop_sub'), applied(l, 'events_sub')]);
      const lsn = await sample();
      const [busy, idle] = await Promise.all([reaches(l, 'shop_sub', lsn), reaches(l, 'events_sub', lsn)]);
      expect(busy.askedAt).toBeLessThan(busy.at);
      expect(idle.askedAt).toBe(busy.askedAt);
      const backlog = await reading(l, 'backlog_bytes', 0);
      expect(backlog.askedAt).toBeLessThan(backlog.at);
      const errors = await reading(l, 'errors');
      if (major >= 15) expect(errors).toMatchObject({ value: 0, reason: null });
      else expect(errors).toMatchObject({ value: null, reason: expect.stringContaining('before 15') as unknown });
      const delay = await reading(l, 'transit_delay');
      expect(delay.value === null ? delay.reason : delay.value).not.toBeNull();
    });
  });

  it('sees a wanted position reached within tens of milliseconds, at a handful of looks', async () => {
    await during(async (l) => {
      await reading(l, 'running', 1);
      const delays: number[] = [];
      for (let i = 0; i < 10; i++) {
        await sleep(150);
        const lsn = await sample(l);
        const at = performance.now();
        await Promise.all(flows.map((flow) => reaches(l, flow, lsn)));
        delays.push(performance.now() - at);
      }
      delays.sort((a, b) => a - b);
      expect(delays[5]).toBeLessThan(60);
      await sleep(100);
      l.forget();
      await sleep(2_100);
      // Nothing is waited for any more: once a second again.
      expect(l.heard.filter(isApplied).filter((o) => o.flow === 'shop_sub').length).toBeLessThanOrEqual(3);
    });
  });

  it('shows that one flow is stuck while the other goes on', async () => {
    await during(async (l) => {
      await reading(l, 'running', 1);
      await pair.settled();
      const unlock = await pair.lockTable();
      try {
        const lsn = await sample(l);
        await reaches(l, 'events_sub', lsn);
        await sleep(1_200);
        expect(lsnOf((await applied(l, 'shop_sub')).position)).toBeLessThan(lsn);
        const backlog = await reading(l, 'backlog_bytes');
        expect(backlog.value).toBeGreaterThan(0);
        expect(l.heard.filter(isFault)).toEqual([]);
        await unlock();
        await reaches(l, 'shop_sub', lsn);
      } finally {
        await unlock().catch(() => undefined);
      }
    });
  });

  it('says that a disabled subscription does not run, and keeps what its flow had reached', async () => {
    await during(async (l) => {
      const lsn = await sample(l);
      await Promise.all(flows.map((flow) => reaches(l, flow, lsn)));
      await pair.disableSubscription('events_sub');
      expect((await reading(l, 'running', 0)).reason).toMatch(/events_sub: the subscription is disabled on aws/);
      l.forget();
      const idle = await applied(l, 'events_sub');
      expect(lsnOf(idle.position)).toBeGreaterThanOrEqual(lsn);
      const later = await sample(l);
      await reaches(l, 'shop_sub', later);
      await sleep(300);
      expect(lsnOf((await applied(l, 'events_sub')).position)).toBeLessThan(later);
      await pair.enableSubscription('events_sub');
      await reading(l, 'running', 1);
      await reaches(l, 'events_sub', later);
      // At no time did a flow seem to go back.
      for (const flow of flows) {
        const lsns = l.heard.filter(isApplied).flatMap((o) => (o.flow === flow ? [lsnOf(o.position)] : []));
        expect(lsns).toEqual([...lsns].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
      }
    });
  });

  it('does not take what another subscriber of its slot confirms for its own', async () => {
    await during(async (l) => {
      await Promise.all([reading(l, 'running', 1), applied(l, 'shop_sub')]);
      await pair.disableSubscription();
      const other = new pg.Client({ connectionString: pair.daemonUrl('source'), replication: 'database' } as never);
      other.on('error', () => undefined);
      await other.connect();
      const wire = (other as unknown as { connection: EventEmitter & { sendCopyFromChunk(b: Buffer): void } })
        .connection;
      wire.on('copyData', ({ chunk }: { chunk: Buffer }) => {
        const confirmed = Buffer.alloc(34);
        confirmed[0] = 0x72;
        for (const at of [1, 9, 17]) confirmed.writeBigUInt64BE(chunk.readBigUInt64BE(chunk[0] === 0x6b ? 1 : 9), at);
        wire.sendCopyFromChunk(confirmed);
      });
      other
        .query(`START_REPLICATION SLOT shop_sub LOGICAL 0/0 (proto_version '1', publication_names 'shop_pub')`)
        .catch(() => undefined);
      try {
        const lsn = await sample();
        await waitFor('the other one to confirm it', 10_000, async () => {
          const [slot] = await pair.onSource<{ done: boolean }>(
            `select confirmed_flush_lsn >= $1::pg_lsn as done from pg_replication_slots where slot_name = 'shop_sub'`,
            [formatLsn(lsn)],
          );
          return slot?.done === true;
        });
        l.forget();
        await sleep(2_200);
        expect(l.heard.filter(isApplied).filter((o) => o.flow === 'shop_sub' && lsnOf(o.position) >= lsn)).toEqual([]);
        const backlog = l.heard.filter(isReading).filter((o) => o.signal === 'backlog_bytes');
        expect(backlog.length).toBeGreaterThan(0);
        expect(backlog.every((o) => o.value === null || o.value > 0)).toBe(true);
      } finally {
        await other.end();
        await waitFor('the slot to be free', 10_000, async () => {
          const used = await pair.onSource(
            `select 1 from pg_replication_slots where slot_name = 'shop_sub' and active`,
          );
          return used.length === 0;
        });
        await pair.enableSubscription();
      }
      await reading(l, 'running', 1);
    });
  });

  it('shows a stopped walsender as a flow that does not advance, without any fault', async () => {
    await during(async (l) => {
      await reading(l, 'running', 1);
      await pair.settled();
      const [row] = await pair.onSource<{ active_pid: number }>(
        `select active_pid from pg_replication_slots where slot_name = 'shop_sub'`,
      );
      pair.source.signal(row!.active_pid, 'SIGSTOP');
      try {
        const lsn = await sample(l);
        await reaches(l, 'events_sub', lsn);
        await sleep(1_200);
        expect(lsnOf((await applied(l, 'shop_sub')).position)).toBeLessThan(lsn);
        expect(l.heard.filter(isFault)).toEqual([]);
        pair.source.signal(row!.active_pid, 'SIGCONT');
        await reaches(l, 'shop_sub', lsn);
      } finally {
        pair.source.signal(row!.active_pid, 'SIGCONT');
      }
    });
  });

  it.runIf(major >= 15)('counts new apply errors, and knows less when it comes late', async () => {
    try {
      await during(async (l) => {
        await reading(l, 'errors', 0);
        await pair.createApplyConflict();
        const errors = await l.next('an error', isReading, (o) => o.signal === 'errors' && (o.value ?? 0) > 0);
        expect(errors).toMatchObject({ reason: null });
        expect(errors.bound).toBeUndefined();
      });
      await during(async (l) => {
        const errors = await reading(l, 'errors');
        expect(errors.bound).toBe('at-least');
        expect(errors.reason).toMatch(/10 minutes/);
      });
    } finally {
      await pair.healApplyConflict();
      await pair.settled();
    }
  });

  it('goes by the walsender alone where origins may not be read', async () => {
    await during(async (l) => {
      const lsn = await sample(l);
      await Promise.all(flows.map((flow) => reaches(l, flow, lsn)));
      await reading(l, 'running', 1);
    }, users.monitor);
  });

  it('is unknown, with the grants that would mend it, to a user who may see nothing', async () => {
    await during(async (l) => {
      const shop = await fault(l, 'shop_sub');
      expect(shop.reason).toContain('GRANT pg_read_all_stats TO "lg_nothing"');
      expect(shop.reason).toContain(major >= 14 ? 'GRANT EXECUTE ON FUNCTION' : 'lockgate.origin_progress');
      const running = await reading(l, 'running', null);
      expect(running.reason).toContain('GRANT pg_read_all_stats TO "lg_nothing"');
      expect((await reading(l, 'backlog_bytes')).value).toBeNull();
      expect((await reading(l, 'apply_delay')).reason).toContain('GRANT pg_read_all_stats');
      expect(l.heard.filter(isApplied)).toEqual([]);
      // A grant is noticed without a restart.
      await pair.onSource('grant pg_read_all_stats to lg_nothing');
      await applied(l, 'shop_sub');
      await pair.onSource('revoke pg_read_all_stats from lg_nothing');
      await fault(l, 'shop_sub');
    }, users.nothing);
  });

  it('does not take positions of another server for positions of this one', async () => {
    // A slot of the same name, as on a server that was restored from a copy; the subscription follows the real source.
    const other = await startPostgres({ major, name: 'other', database: pair.database });
    const client = new pg.Client({ connectionString: other.adminUrl(pair.database) });
    await client.connect();
    await client.query(`select pg_create_logical_replication_slot('shop_sub', 'pgoutput')`);
    await client.end();
    const l = listen(users.all, other.adminUrl(pair.database));
    try {
      expect((await fault(l, 'shop_sub')).reason).toMatch(/nothing ties/);
      expect((await reading(l, 'running', 0)).reason).toMatch(/shop_sub: slot shop_sub on onprem is not in use/);
      expect(l.heard.filter(isApplied)).toEqual([]);
    } finally {
      await l.stop();
      await other.destroy();
    }
  });

  it.runIf(major < 14)('tells subscriptions of the same name in several databases apart only by a grant', async () => {
    await pair.onTarget('create database elsewhere');
    const client = new pg.Client({ connectionString: pair.target.adminUrl('elsewhere') });
    await client.connect();
    await client.query(
      `create subscription shop_sub connection 'host=localhost' publication p with (connect = false, slot_name = none)`,
    );
    try {
      await during(async (l) => {
        expect((await reading(l, 'running', null)).reason).toContain(
          'GRANT SELECT (oid) ON pg_catalog.pg_subscription',
        );
        expect((await fault(l, 'shop_sub')).reason).toContain('GRANT SELECT (oid) ON pg_catalog.pg_subscription');
        await pair.onTarget('grant select (oid) on pg_catalog.pg_subscription to lg');
        await l.next('running 1', isReading, (o) => o.signal === 'running' && o.value === 1, 15_000);
        await reaches(l, 'shop_sub', await sample(l));
      });
    } finally {
      await pair.onTarget('revoke select (oid) on pg_catalog.pg_subscription from lg');
      await client.query('drop subscription shop_sub');
      await client.end();
      await pair.onTarget('drop database elsewhere');
    }
  });

  it('says which subscription does not exist', async () => {
    await pair.onTarget('alter subscription events_sub rename to elsewhere');
    try {
      await during(async (l) => {
        expect((await reading(l, 'running', 0)).reason).toMatch(/events_sub: no subscription of this name/);
        await fault(l, 'events_sub');
        await applied(l, 'shop_sub');
      });
    } finally {
      await pair.onTarget('alter subscription elsewhere rename to events_sub');
    }
  });

  it.each(['source', 'target'] as const)('knows nothing while the %s is frozen, and soon again after', async (side) => {
    await during(async (l) => {
      await reading(l, 'running', 1);
      const proxy = side === 'source' ? pair.sourceProxy : pair.targetProxy;
      proxy.freeze();
      try {
        const from = performance.now();
        await Promise.all([...flows.map((flow) => fault(l, flow)), reading(l, 'running', null)]);
        expect(performance.now() - from).toBeLessThan(3_500);
        await Promise.all(
          (['errors', 'backlog_bytes', 'transit_delay', 'apply_delay'] as const).map(async (signal) =>
            expect((await reading(l, signal)).reason).toMatch(side === 'source' ? /onprem/ : /aws/),
          ),
        );
        l.forget();
        await sleep(1_000);
        expect(l.heard.filter(isApplied)).toEqual([]);
      } finally {
        proxy.thaw();
      }
      await reading(l, 'running', 1);
      await applied(l, 'shop_sub');
    });
  });

  it('stops promptly although a side is frozen', async () => {
    const l = listen();
    await reading(l, 'running', 1);
    pair.targetProxy.freeze();
    try {
      await sleep(1_200);
      const from = performance.now();
      await l.stop();
      expect(performance.now() - from).toBeLessThan(2_500);
    } finally {
      pair.targetProxy.thaw();
    }
  });

  it('says that the slot is gone, and no longer trusts the position', async () => {
    await during(async (l) => {
      await reading(l, 'running', 1);
      await pair.dropSlot('events_sub');
      const gone = await l.next('the slot to be missed', isReading, (o) => {
        return o.signal === 'running' && o.value === 0 && o.reason?.includes('does not exist on onprem') === true;
      });
      expect(gone.reason).toContain('events_sub');
      await fault(l, 'events_sub');
      await applied(l, 'shop_sub');
      expect((await reading(l, 'backlog_bytes', null)).reason).toMatch(/events_sub/);
    });
  });

  it('knows nothing once the source is killed', async () => {
    await during(async (l) => {
      await applied(l, 'shop_sub');
      const from = performance.now();
      await pair.source.kill();
      await Promise.all([...flows.map((flow) => fault(l, flow)), reading(l, 'running', null)]);
      expect(performance.now() - from).toBeLessThan(3_000);
      await pair.source.start();
      await applied(l, 'shop_sub');
    });
  });
});
