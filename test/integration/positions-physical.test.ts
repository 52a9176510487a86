import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { SampledPositions } from '../../collectors/heartbeat/needs.js';
import { PhysicalCollector } from '../../collectors/postgres/physical.js';
import { SideCollector } from '../../collectors/postgres/side.js';
import type { Applied, AppliedFault, LinkReading, Observation, SideReading } from '../../daemon/core/observation.js';
import { lsnOf, parseLsn, type Position } from '../../daemon/core/position.js';
import type { LinkSignal } from '../../daemon/core/signal.js';
import { startPostgres } from '../../deploy/demo/postgres-server.js';
import { contextOf, databaseAt, listenTo, planOf, type Listening } from '../support/listening.js';
import { testedMajors } from '../support/majors.js';
import { startPhysicalPair, type PhysicalPair } from '../support/physical-pair.js';

const isApplied = (o: Observation): o is Applied => o.kind === 'applied';
const isFault = (o: Observation): o is AppliedFault => o.kind === 'applied-fault';
const isReading = (o: Observation): o is LinkReading => o.kind === 'link-reading';
const isSide = (o: Observation): o is SideReading => o.kind === 'side-reading';

describe.each(testedMajors)('positions of a physical standby of PostgreSQL %i', (major) => {
  let pair: PhysicalPair;
  let needs: SampledPositions;

  beforeAll(async () => {
    pair = await startPhysicalPair({ major });
    await pair.onSource(`
      create role lg login password 'lg'; grant pg_monitor to lg;
      create role lg_nothing login password 'lg_nothing'`);
    await pair.settled();
  });
  afterAll(() => pair.destroy());

  const listen = (user = 'lg', source?: string): Listening => {
    const account = { name: user, password: user };
    const from =
      source === undefined ? databaseAt('onprem', pair.daemonUrl('source'), account) : databaseAt('onprem', source);
    const to = databaseAt('aws', pair.daemonUrl('target'), account);
    const plan = planOf(from, to, { via: 'postgres-physical', flows: ['standby'] });
    const wanted = new SampledPositions([{ id: plan.id, flows: ['standby'] }]);
    needs = wanted;
    return listenTo(new PhysicalCollector(from, to, [plan], contextOf(), { needs: wanted }), (o) => wanted.observe(o));
  };
  const reading = (l: Listening, signal: LinkSignal, value?: number | null): Promise<LinkReading> =>
    l.next(
      `${signal} ${value === undefined ? '' : String(value)}`,
      isReading,
      (o) => o.signal === signal && (value === undefined || o.value === value),
    );
  const reaches = (l: Listening, lsn: bigint): Promise<Applied> =>
    l.next(`${String(lsn)} to be reached`, isApplied, (o) => lsnOf(o.position) >= lsn);
  const sample = async (): Promise<bigint> => {
    await pair.placeOrder();
    const [row] = await pair.onSource<{ lsn: string }>('select pg_current_wal_flush_lsn()::text as lsn');
    const position: Position = { kind: 'lsn', lsn: parseLsn(row!.lsn) };
    needs.observe({ kind: 'position-sampled', link: 'shop/forward', position, sentAt: 0, at: 0 });
    return lsnOf(position);
  };

  it('follows replay and says that it streams', async () => {
    const l = listen();
    try {
      expect((await reading(l, 'running', 1)).reason).toBeNull();
      const delays: number[] = [];
      for (let i = 0; i < 5; i++) {
        const lsn = await sample();
        const from = performance.now();
        await reaches(l, lsn);
        delays.push(performance.now() - from);
      }
      expect(Math.min(...delays)).toBeLessThan(60);
      await reading(l, 'backlog_bytes', 0);
      expect((await reading(l, 'errors')).reason).toMatch(/no error counter/);
      const delay = await reading(l, 'apply_delay');
      expect(delay.value === null ? delay.reason : delay.value).not.toBeNull();
    } finally {
      await l.stop();
    }
  });

  it('shows a paused replay as not advancing, although it streams', async () => {
    const l = listen();
    try {
      await reading(l, 'running', 1);
      await pair.settled();
      await pair.onTarget('select pg_wal_replay_pause()');
      await sleep(100);
      const lsn = await sample();
      await sleep(1_200);
      expect(lsnOf((await l.next('a position', isApplied)).position)).toBeLessThan(lsn);
      expect((await reading(l, 'backlog_bytes')).value).toBeGreaterThan(0);
      await reading(l, 'running', 1);
      await pair.onTarget('select pg_wal_replay_resume()');
      await reaches(l, lsn);
      expect(l.heard.filter(isFault)).toEqual([]);
    } finally {
      await pair.onTarget('select pg_wal_replay_resume()');
      await l.stop();
    }
  });

  it('says that nothing streams while the way is cut, and keeps the position', async () => {
    const l = listen();
    try {
      await reading(l, 'running', 1);
      await pair.replicationProxy.cut();
      expect((await reading(l, 'running', 0)).reason).toMatch(/WAL receiver on aws/);
      await l.next('a position', isApplied);
      await pair.replicationProxy.restore();
      await reading(l, 'running', 1);
    } finally {
      await pair.replicationProxy.restore();
      await l.stop();
    }
  });

  it('does not know whether it runs without pg_read_all_stats, but knows the position', async () => {
    const l = listen('lg_nothing');
    try {
      expect((await reading(l, 'running', null)).reason).toContain('GRANT pg_read_all_stats TO "lg_nothing"');
      await reaches(l, await sample());
    } finally {
      await l.stop();
    }
  });

  it('refuses the position of a standby of another server', async () => {
    // Of the other version, because servers of one version are copies here and share their identifier.
    const other = await startPostgres({ major: major === 18 ? 13 : 18, name: 'other', database: pair.database });
    const l = listen('lg', other.adminUrl(pair.database));
    try {
      expect((await l.next('a fault', isFault)).reason).toMatch(/is no standby of onprem/);
      expect((await reading(l, 'running', 0)).reason).toMatch(/system identifier/);
    } finally {
      await l.stop();
      await other.destroy();
    }
  });

  it('says that a promoted standby is one no longer, and that it accepts writes then', async () => {
    const l = listen();
    const side = listenTo(
      new SideCollector(databaseAt('aws', pair.daemonUrl('target'), { name: 'lg', password: 'lg' }), contextOf()),
    );
    try {
      const before = await side.next('writable', isSide, (o) => o.signal === 'writable');
      expect(before).toMatchObject({ value: 0, reason: expect.stringContaining('in recovery') as unknown });
      await reading(l, 'running', 1);
      const told = [
        l.next('a fault', isFault, (o) => o.reason.includes('no longer a standby')),
        reading(l, 'running', 0),
        side.next('writable', isSide, (o) => o.signal === 'writable' && o.value === 1),
      ];
      await pair.promote();
      await Promise.all(told);
      expect((await reading(l, 'backlog_bytes')).reason).toMatch(/no longer a standby/);
    } finally {
      await side.stop();
      await l.stop();
    }
  });
});
