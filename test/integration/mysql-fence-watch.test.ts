import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CollectorContext } from '../../collectors/collector.js';
import { SampledPositions } from '../../collectors/heartbeat/needs.js';
import { HeartbeatHub } from '../../collectors/heartbeat/hub.js';
import { BinlogReader } from '../../collectors/mysql/binlog-reader.js';
import { MysqlFenceSide } from '../../collectors/mysql/fence-side.js';
import { MysqlLocalWrites } from '../../collectors/mysql/local-writes.js';
import { MysqlPositionsCollector } from '../../collectors/mysql/positions.js';
import { SCHEMA, TABLES } from '../../collectors/mysql/setup/objects.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Applied, LocalWatch, LocalWrites, Observation } from '../../daemon/core/observation.js';
import { isBeyond, reached, type Position } from '../../daemon/core/position.js';
import type { LinkId } from '../../daemon/core/signal.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { testedFlavours } from '../support/flavours.js';
import { contextOf, databaseAt, listenTo, planOf, type Listening } from '../support/listening.js';
import { rootConnection } from '../support/mysql-connection.js';
import { alone, startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

const link = 'shop/forward' as LinkId;
const signal = new AbortController().signal;
const isWatch = (o: Observation): o is LocalWatch => o.kind === 'local-watch';
const isWrites = (o: Observation): o is LocalWrites => o.kind === 'local-writes';
const isApplied = (o: Observation): o is Applied => o.kind === 'applied';

const databaseOf = (
  pair: MysqlPair,
  side: 'source' | 'target',
  read: DatabaseConfig['read'] = 'auto',
): DatabaseConfig => ({
  ...databaseAt(side, pair.daemonUrl(side)),
  engine: 'mysql',
  read,
});

async function prepare(pair: MysqlPair): Promise<void> {
  await pair.onSource(`${SCHEMA.make} ${TABLES.map(({ make }) => make).join('\n')}
    create table app.plain (id int auto_increment primary key, n int);
    create table app.other (id int auto_increment primary key, n int)`);
  await pair.settled();
}

describe.each(testedFlavours)('watching closely for a fence on $flavour', ({ flavour, left }) => {
  const kinds = [{ gtid: true }, ...(flavour === 'mysql' ? [{ gtid: false }] : [])];
  describe.skipIf(left).each(kinds)('gtid $gtid', ({ gtid }) => {
    let pair: MysqlPair;
    let side: MysqlFenceSide;
    let closely = false;
    let mark: string | null = null;
    const listening: Listening[] = [];
    const { clock } = contextOf();

    /** The active side's watch of local writes, as a daemon that starts has it. */
    const watch = (read: DatabaseConfig['read'] = 'auto'): Listening => {
      const context: CollectorContext = {
        ...contextOf(),
        isPassive: () => false,
        watchClosely: () => closely,
        localMark: () => mark,
      };
      const db = databaseOf(pair, 'source', read);
      const local = new MysqlLocalWrites(db, context);
      const { ledger } = new HeartbeatHub(clock, randomBytes(6).toString('hex'));
      const made = listenTo(local, (o) => {
        if (isWatch(o) && o.watching) mark = o.mark;
      });
      listening.push(made);
      if (read !== 'off') {
        const reader = new BinlogReader({ db, links: [], context, ledger });
        reader.tellLocal(local);
        listening.push(listenTo(reader));
      }
      return made;
    };
    const stop = async (): Promise<void> => {
      await Promise.all(listening.splice(0).map((each) => each.stop()));
    };

    beforeAll(async () => {
      pair = await startMysqlPair({ flavour, gtid });
      await prepare(pair);
      side = new MysqlFenceSide(databaseOf(pair, 'source'), contextOf());
    }, 300_000);
    afterAll(async () => {
      await side.close();
      await pair.destroy();
    });
    afterEach(async () => {
      await stop();
      closely = false;
      mark = null;
    });

    it('begins quickly on the active side, confirms ten times a second, and tells of writes at once', async () => {
      const heard = watch();
      const idle = await waitFor('the role', 5_000, () => heard.heard.find(isWatch));
      expect(idle).toMatchObject({ watching: false, reason: expect.stringContaining('or for a fence') as string });
      closely = true;
      const begun = clock.monotonicNow();
      const first = await heard.next('a confirmation', isWatch, ({ watching }) => watching);
      const beginMs = (first.at - begun) / 1_000;
      expect(beginMs).toBeLessThan(3_000);
      const waits: number[] = [];
      const tells: number[] = [];
      for (let i = 0; i < 20; i++) {
        const asked = clock.monotonicNow();
        const answer = await heard.next('a confirmation', isWatch, (o) => o.watching && o.at >= asked);
        waits.push((clock.monotonicNow() - asked) / 1_000);
        expect(answer.upTo).not.toBeNull();
        await pair.onSource('insert into plain (n) values (1)');
        const committed = clock.monotonicNow();
        await heard.next('the write', isWrites);
        tells.push((clock.monotonicNow() - committed) / 1_000);
        await new Promise((resolve) => setTimeout(resolve, Math.random() * 100));
      }
      const report = (ms: number[]): string =>
        `p50 ${ms.sort((a, b) => a - b)[10]!.toFixed(0)}, most ${ms.at(-1)!.toFixed(0)} ms`;
      process.stderr.write(
        `${flavour} gtid ${String(gtid)}: begin ${beginMs.toFixed(0)} ms; question to local-watch ${report(waits)}; commit to local-writes ${report(tells)}\n`,
      );
      expect(waits.at(-1)).toBeLessThan(700);
      expect(tells.at(-1)).toBeLessThan(700);
      closely = false;
      await waitFor('the end', 3_000, () => heard.heard.findLast(isWatch)?.watching === false);
    });

    it('a write right before the position is not beyond it, and the next one is', async () => {
      closely = true;
      const heard = watch();
      await heard.next('a confirmation', isWatch, ({ watching }) => watching);
      for (let i = 0; i < 5; i++) {
        const positions: string[] = [];
        const before = heard.heard.length;
        await pair.onSource('insert into plain (n) values (1)');
        const place = await side.place(link, `fence-${String(Math.random())}`, signal);
        expect(place.position.kind).toBe(gtid ? 'gtid' : 'binlog');
        await pair.onSource('insert into plain (n) values (2)');
        await waitFor('both writes', 5_000, () => {
          positions.splice(
            0,
            9,
            ...heard.heard
              .slice(before)
              .filter(isWrites)
              .flatMap((o) => o.writes.map((w) => w.position)),
          );
          return positions.length === 2;
        });
        expect(positions.map((p) => isBeyond(p, place.position))).toEqual([false, true]);
        const seen = await heard.next('a confirmation', isWatch, (o) => o.watching);
        expect(reached(seen.upTo!, place.position)).toBe(true);
      }
    });

    it('a restart with an open fence reads the binlog of the gap again', async () => {
      closely = true;
      const first = watch();
      await first.next('a confirmation', isWatch, ({ watching }) => watching);
      await stop();
      expect(mark).not.toBeNull();
      await pair.onSource('insert into plain (n) values (1)');
      const second = watch();
      const confirmed = await second.next('a confirmation', isWatch, ({ watching }) => watching);
      expect(confirmed).toMatchObject({ emptyGap: true, reason: null });
      expect(second.heard.filter(isWrites).flatMap(({ writes }) => writes)).toHaveLength(1);
    });

    it('without a fence the active side forgets, and with `read: off` it says why it is blind', async () => {
      closely = true;
      const blind = watch('off');
      await waitFor('the reason', 5_000, () => blind.heard.findLast(isWatch)?.reason?.includes('`read: off`'));
      expect(blind.heard.filter(isWatch).every(({ watching }) => !watching)).toBe(true);
    });

    it('positions are looked at every 50 ms while a fence is open on the source', async () => {
      const plan = planOf(databaseOf(pair, 'source'), databaseOf(pair, 'target'), {
        via: 'mysql',
        flows: ['default channel'],
      });
      const needs = new SampledPositions([{ id: plan.id, flows: plan.config.flows }]);
      const context = { ...contextOf(), watchClosely: (db: string) => closely && db === 'source' };
      const heard = listenTo(new MysqlPositionsCollector(plan.from, plan.to, [plan], context, { needs }));
      listening.push(heard);
      await heard.next('a position', isApplied);
      heard.forget();
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      expect(heard.heard.filter(isApplied).length).toBeLessThan(4);
      closely = true;
      heard.forget();
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      expect(heard.heard.filter(isApplied).length).toBeGreaterThan(10);
    });
  });

  describe.skipIf(left).each(kinds)('several appliers, gtid $gtid', ({ gtid }) => {
    let pair: MysqlPair;
    beforeAll(async () => {
      pair = await startMysqlPair({
        flavour,
        gtid,
        targetSettings:
          flavour === 'mysql'
            ? { replica_parallel_workers: '4', replica_preserve_commit_order: 'OFF', innodb_lock_wait_timeout: '60' }
            : { slave_parallel_threads: '4', slave_parallel_mode: 'optimistic', innodb_lock_wait_timeout: '60' },
      });
      await prepare(pair);
    }, 300_000);
    afterAll(() => pair.destroy());

    it('an older transaction that waits at a lock keeps the position from being reached, whatever newer ones are there', async () => {
      const plan = planOf(databaseOf(pair, 'source'), databaseOf(pair, 'target'), {
        via: 'mysql',
        flows: ['default channel'],
      });
      const needs = new SampledPositions([{ id: plan.id, flows: plan.config.flows }]);
      const positions = listenTo(
        new MysqlPositionsCollector(
          plan.from,
          plan.to,
          [plan],
          { ...contextOf(), watchClosely: () => true },
          { needs },
        ),
      );
      const [source, target] = [new MysqlFenceSide(plan.from, contextOf()), new MysqlFenceSide(plan.to, contextOf())];
      const applied = async (p: Position): Promise<boolean> => {
        const from = positions.heard.length;
        const o = await positions.next('a position', isApplied, () => positions.heard.length > from + 2);
        return reached(o.position, p);
      };
      await pair.onSource('insert into plain values (1, 0); insert into other values (1, 0)');
      await pair.settled();
      const blocker = await rootConnection(pair.target, 'app');
      await blocker.query('begin; update plain set n = 9 where id = 1');
      try {
        // Of another domain on MariaDB, where the commits of one domain wait for each other.
        await alone(
          pair.source,
          `use app; ${flavour === 'mariadb' ? 'set session gtid_domain_id = 5;' : ''} update plain set n = 1 where id = 1`,
        );
        await pair.onSource('update other set n = 1 where id = 1');
        const place = await source.place(link, 'fence-blocked', signal);
        await waitFor(
          'the marker',
          20_000,
          async () => (await target.lookAtTarget(link, 'fence-blocked', signal)).marker === true,
        );
        for (let i = 0; i < 3; i++) expect(await applied(place.position)).toBe(false);
        await blocker.query('rollback');
        await waitFor('the position', 20_000, () => applied(place.position));
      } finally {
        blocker.destroy();
        await positions.stop();
        await Promise.all([source.close(), target.close()]);
      }
    });
  });
});
