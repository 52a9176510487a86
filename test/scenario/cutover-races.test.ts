import { rmSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { DirectionChangeJson } from '../../daemon/http/port.js';
import { Operator, Timeline } from '../support/cutover.js';
import { PostgresNight } from '../support/postgres-night.js';
import { session } from '../support/cutover-postgres.js';
import { workspace, type Daemon, type Workspace } from '../support/lockgate.js';

/** Attempts to slip a commit in while a promotion is declared; `LOCKGATE_RACES=100` drives it harder. */
const attempts = Number(process.env['LOCKGATE_RACES'] ?? '12');
/** A dead way back is told within its freshness, an interval of the heartbeat, and an observation on a busy machine. */
const closedWithinMs = 3_000 + 500 + 600;

describe('promotions that go wrong, 18 -> 18, both ways', { timeout: 180_000 }, () => {
  let night: PostgresNight;

  beforeAll(async () => {
    night = await PostgresNight.start({ bothWays: true });
  }, 120_000);
  afterEach(() => night.tidy());
  afterAll(() => night.stop(), 60_000);

  const drained = async (): Promise<string> => (await night.operator.drained()).id;

  it('a commit at any instant around the promotion ends it, or is a stray, once', { timeout: 300_000 }, async () => {
    const application = await session(night.pair, 'source');
    const told: string[] = [];
    let targetAt = -Infinity;
    for (let n = 0; n < attempts; n++) {
      await night.mark();
      const id = await drained();
      const delayMs = -20 + Math.random() * 250;
      let asked = NaN;
      const write = sleep(20 + delayMs).then(async () => {
        await application.query(`insert into public.orders (customer_id, note) values (1, 'slips in')`);
        return performance.now();
      });
      await sleep(20);
      asked = performance.now();
      const { status } = await night.operator.change('promote');
      const answered = performance.now();
      const committed = await write;
      const when = `written ${Math.round(committed - asked)} ms after the question, answered after ${Math.round(answered - asked)} ms`;
      if (status === 200) {
        await night.countedStrays('source', 1, 300);
        expect(await night.journal('stray-write'), when).toHaveLength(1);
        expect(night.timeline.of('rollback-ready').state, when).toBe('closed');
        // Only the old side was written to lately: what counts as writing is a rate over ten seconds.
        if (performance.now() - targetAt > 11_000) expect((await night.signal('split_brain')).value, when).not.toBe(1);
        if (n % 4 === 0) {
          await night.order('target');
          targetAt = performance.now();
          await waitFor('split_brain', 5_000, async () => (await night.signal('split_brain')).value === 1);
        }
      } else {
        expect(status, when).toBe(409);
        const fence = await night.until(id, 'violated', 2_000);
        expect(fence.violations.count, when).toBe(1);
        expect((await night.operator.migration()).direction, when).toBe('forward');
        expect(await night.strays('source'), when).toBeNull();
        expect(await night.journal('stray-write'), when).toEqual([]);
      }
      told.push(
        `${status === 200 ? 'stray' : 'refused'}@${Math.round(committed - asked)}/${Math.round(answered - asked)}`,
      );
      await night.tidy();
    }
    await application.end();
    console.log(told.join(' '));
  });

  it('refused: nothing drained, another direction expected, a promotion that was made', async () => {
    const { operator } = night;
    expect(await operator.change('promote')).toMatchObject({ status: 409, body: { code: 'not_drained' } });
    const prepared = await session(night.pair, 'target');
    await prepared.query(`begin; insert into public.orders (customer_id) values (1); prepare transaction 'half'`);
    const id = (await operator.fence()).id;
    await night.withheld(id, /prepared/, 200);
    expect(await operator.change('promote')).toMatchObject({ status: 409, body: { code: 'not_drained' } });
    await prepared.query(`rollback prepared 'half'`);
    await prepared.end();
    await night.until(id, 'drained');
    for (const [action, expected] of [
      ['promote', 'reverse'],
      ['rollback', 'reverse'],
      ['rollback', 'forward'],
    ] as const) {
      const refused = await operator.change(action, { expect: expected });
      expect(refused, action).toMatchObject({ status: 409, body: { code: 'direction_unexpected' } });
    }
    expect((await operator.migration()).direction).toBe('forward');
    expect((await operator.change('promote')).status).toBe(200);
    expect(await operator.change('promote')).toMatchObject({ status: 409, body: { code: 'direction_unexpected' } });
  });

  it('the same Idempotency-Key, at once and again later, promotes once', async () => {
    await drained();
    await night.mark();
    const key = { 'idempotency-key': `night-${Math.random()}` };
    const answers = await Promise.all([1, 2, 3].map(() => night.operator.change('promote', {}, key)));
    answers.push(await night.operator.change('promote', {}, key));
    const [first] = answers;
    expect(first?.status, JSON.stringify(first?.body)).toBe(200);
    for (const answer of answers) expect(answer).toEqual(first);
    const steps = (await night.journal('promote')).map((e) => e.data['step']);
    expect(steps).toEqual(['declaring', 'declared']);
    const other = await night.operator.change('promote', { reason: 'something else' }, key);
    expect(other).toMatchObject({ status: 409, body: { code: 'key_reused' } });
  });

  it.each(['cancelled', 'expired', 'violated', 'closed'] as const)(
    'what was written to the target before the switch was %s',
    async (end) => {
      await night.mark();
      const hold = end === 'expired' ? await session(night.pair, 'target') : null;
      await hold?.query(`begin; insert into public.orders (customer_id) values (1); prepare transaction 'in the way'`);
      const id = (await night.operator.fence(end === 'expired' ? '2s' : '30s')).id;
      if (hold === null) await night.until(id, 'drained');
      for (let n = 0; n < 3; n++) await night.order('target');
      await sleep(400);
      expect(await night.strays('target')).toBe(0);
      expect(await night.journal('stray-write')).toEqual([]);
      if (end === 'cancelled') await night.operator.cancel(id);
      if (end === 'violated') await night.order('source');
      if (end === 'closed') await night.operator.changed('promote');
      await night.until(id, end);
      await hold?.query(`rollback prepared 'in the way'`);
      await hold?.end();
      if (end === 'closed') {
        await sleep(1_000);
        expect([await night.strays('source'), await night.strays('target')]).toEqual([0, null]);
        expect(await night.journal('stray-write')).toEqual([]);
      } else {
        await night.countedStrays('target', 3);
        expect(await night.journal('stray-write')).toHaveLength(1);
        await night.timeline.of('flip-writes').until(['closed'], 2_000);
      }
    },
  );

  it('the way back dies after the flip: nobody is told to be ready', async () => {
    await drained();
    await night.operator.changed('promote');
    const watch = night.timeline.of('rollback-ready');
    const alter = (what: string) => night.on('source')(`alter subscription shop_back ${what}`);
    const senders = () =>
      night.on('target')<{ pid: number }>(`select pid from pg_stat_replication where application_name = 'shop_back'`);
    const faults: [string, () => Promise<unknown>, () => Promise<unknown>][] = [
      ['disabled', () => alter('disable'), () => alter('enable')],
      [
        'frozen',
        async () => {
          for (const { pid } of await senders()) night.pair.target.signal(pid, 'SIGSTOP');
        },
        async () => {
          for (const { pid } of await senders()) night.pair.target.signal(pid, 'SIGCONT');
        },
      ],
    ];
    for (const [name, bring, mend] of faults) {
      await watch.until(['open'], 15_000);
      await sleep(500);
      await bring();
      const from = performance.now();
      const note = await night.order('target');
      await watch.until(['closed', 'unknown'], closedWithinMs);
      console.log(`way back ${name}: told after ${Math.round(performance.now() - from)} ms`);
      await sleep(1_500);
      night.notGreen(
        from + closedWithinMs < performance.now() ? from + closedWithinMs : performance.now(),
        'rollback-ready',
      );
      const closedAt = watch.samples.findLast((s) => s.state === 'open' && s.askedAt > from)?.askedAt ?? from;
      expect(closedAt - from).toBeLessThan(closedWithinMs);
      expect(await night.has('source', note)).toBe(false);
      const refused = await night.operator.change('rollback');
      expect(refused.status).toBe(409);
      await mend();
    }
    await watch.until(['open'], 15_000);
  });

  it('lockgate is killed right after the row of the promotion was written', async () => {
    await night.mark();
    const id = await drained();
    const [before] = await night.on('target')<{ epoch: string }>('select max(epoch) as epoch from lockgate.direction');
    const asked = night.operator.change('promote').catch(() => null);
    await waitFor(
      'the row',
      5_000,
      async () => {
        const rows = await night.on('target')('select from lockgate.direction where epoch > $1', [before?.epoch ?? 0]);
        return rows.length > 0;
      },
      1,
    );
    await night.bed.daemon.kill();
    await asked;
    await night.restart(() => night.order('target'));
    const back = performance.now();
    await night.direction('reverse');
    const fence = await night.look(id);
    expect(['closed', 'cancelled'], JSON.stringify(fence, null, 1)).toContain(fence.state);
    await sleep(1_000);
    night.notGreen(back);
    const { sides } = await night.operator.migration();
    expect(sides.target.stray_writes.count).toBeNull();
    expect((await night.journal('promote')).map((e) => e.data['step'])[0]).toBe('declaring');
    await night.timeline.of('flip-writes').until(['closed', 'unknown', 'open'], 2_000);
  });

  it('a store that was lost: the direction is read from the databases', async () => {
    await drained();
    await night.operator.changed('promote');
    await night.restart(() => {
      for (const end of ['', '-wal', '-shm']) rmSync(`${night.bed.lockgate.folder}/lockgate.db${end}`, { force: true });
      return Promise.resolve();
    });
    const back = performance.now();
    await night.direction('reverse');
    expect((await night.operator.migration()).fence).toBeNull();
    await waitFor('active. to be the way back', 5_000, async () => {
      const verdict = await night.bed.daemon.verdict('shop/flip-writes');
      return verdict.conditions[0]?.state !== 'unknown';
    });
    night.notGreen(back);
    await night.timeline.of('rollback-ready').until(['open', 'unknown'], 10_000);
    await night.mark();
  });

  describe('with two daemons', () => {
    let other: Workspace;
    let daemon: Daemon;
    let second: Operator;
    let theirs: Timeline;

    beforeAll(async () => {
      other = await workspace((port) =>
        night.yaml.replace(/daemon: \{[^}]*\}/, `daemon: { id: other, listen: 127.0.0.1:${port} }`),
      );
      daemon = await other.start();
      second = new Operator(other.url);
      theirs = new Timeline(other.url, ['drained', 'rollback-ready', 'flip-writes']);
      // It has watched neither side since the direction changed last.
      await waitFor('nothing to be stray', 10_000, async () => {
        if ((await second.migration()).sides.target.stray_writes.count === 0) return true;
        await second.post('attestations/stray-writes-reconciled', { by: 'ops', note: 'compared' });
        return false;
      });
      await theirs.of('flip-writes').until(['open'], 20_000);
    }, 60_000);
    afterAll(async () => {
      await theirs.stop();
      await other.destroy();
    });

    const count = async (side: 'source' | 'target'): Promise<(number | null)[]> =>
      Promise.all([night.operator, second].map(async (o) => (await o.migration()).sides[side].stray_writes.count));

    /** Both know soon that nothing was stray on the passive side, and never say anything else than that or nothing. */
    const counted = async (passive: 'source' | 'target'): Promise<void> => {
      const wanted = passive === 'source' ? [0, 0, null, null] : [null, null, 0, 0];
      const until = performance.now() + 500;
      // A reader that no fence makes eager confirms each second what it has seen.
      let strayed = false;
      await waitFor('both to know that nothing was stray', 5_000, async () => {
        const seen = [...(await count('source')), ...(await count('target'))];
        strayed ||= seen.some((n) => n !== null && n > 0);
        return performance.now() > until && JSON.stringify(seen) === JSON.stringify(wanted);
      });
      expect(strayed).toBe(false);
    };

    it('fences on both at once, promoted on one', async () => {
      const [mine, their] = await Promise.all([night.operator.fence(), second.fence()]);
      const both = await Promise.all([night.operator.settled(mine.id), second.settled(their.id)]);
      expect(both.map((f) => f.state)).toEqual(['drained', 'drained']);
      await night.operator.changed('promote');
      const promoted = performance.now();
      const notes = await Promise.all([1, 2, 3].map(() => night.order('target')));
      await waitFor('the other to see it', 5_000, async () => (await second.migration()).direction === 'reverse');
      const ended = await second.settled(their.id, '0s');
      expect([ended.state, ended.ended_because]).toEqual(['closed', expect.stringMatching(/declared to be reverse/)]);
      await waitFor('the orders to come back', 5_000, () => night.has('source', notes[2] ?? ''));
      await counted('source');
      for (const t of [night.timeline, theirs]) await t.of('rollback-ready').until(['open'], 10_000);
      const from = performance.now();
      await sleep(1_000);
      for (const t of [night.timeline, theirs]) {
        t.said('rollback-ready', from, performance.now(), ['open']);
        t.said('drained', promoted + 3_000 < from ? promoted + 3_000 : from, performance.now(), ['unknown']);
      }
      const epochs = await Promise.all([night.operator, second].map(async (o) => (await o.migration()).epoch));
      expect(epochs[0]).toBe(epochs[1]);
    });

    it('promoted and rolled back by the one while the other has no fence: nobody counts strays', async () => {
      await drained();
      await night.operator.changed('promote');
      await night.order('target');
      await waitFor('the other to see it', 5_000, async () => (await second.migration()).direction === 'reverse');
      await counted('source');
      await drained();
      await night.operator.changed('rollback');
      await night.order('source');
      await waitFor('the other to see it', 5_000, async () => (await second.migration()).direction === 'forward');
      await counted('target');
    });

    it.each(['placed', 'drained'])(
      'one that was down when the other promoted, with a fence that was %s',
      async (state) => {
        const hold = state === 'placed' ? await session(night.pair, 'target') : null;
        await hold?.query(`begin; insert into public.orders (customer_id) values (1); prepare transaction 'hold'`);
        await waitFor('it to see the direction', 5_000, async () => (await second.migration()).direction === 'forward');
        const missed = (await second.fence('60s')).id;
        if (hold === null) expect((await second.settled(missed)).state).toBe('drained');
        await (hold === null ? daemon.kill() : daemon.stop());
        await hold?.query(`rollback prepared 'hold'`);
        await hold?.end();
        await drained();
        await night.operator.changed('promote');
        await night.order('target');
        daemon = await other.start();
        const back = performance.now();
        await waitFor('it to see the direction', 8_000, async () => (await second.migration()).direction === 'reverse');
        const ended = await second.settled(missed, '0s');
        expect(['closed', 'cancelled'], JSON.stringify(ended, null, 1)).toContain(ended.state);
        await sleep(500);
        theirs.said('drained', back, performance.now(), ['unknown', 'closed', 'unreachable']);
        expect((await second.migration()).sides.target.stray_writes.count).toBeNull();
        await second.post('attestations/stray-writes-reconciled', { by: 'ops', note: 'compared' });
      },
    );
  });

  describe('with `promotion: detect`', () => {
    beforeAll(async () => {
      await night.restart(undefined, night.yaml.replace('promotion: manual', 'promotion: detect'));
      // What was written while nobody watched is reconciled once that is known.
      await night.tidy();
      await night.timeline.of('flip-writes').until(['open'], 15_000);
    }, 60_000);
    afterAll(() => night.restart(undefined, night.yaml), 60_000);

    it('a write to the target without a fence is a stray write', async () => {
      await night.order('target');
      await night.countedStrays('target', 1, 1_000);
      expect((await night.operator.migration()).direction).toBe('forward');
    });

    it('with a drained fence and a silent source it is a promotion', async () => {
      const id = await drained();
      await night.mark();
      await night.order('target');
      await night.direction('reverse', 5_000);
      await night.until(id, 'closed', 3_000);
      const declared = (await night.journal('promote')).find((e) => e.data['step'] === 'declared');
      expect(declared).toMatchObject({ actor: 'lockgate', data: { fence: id, forced: false } });
      expect(String(declared?.data['reason'])).toMatch(/^detected: aws was written to at [0-9A-F]+\/[0-9A-F]+ while/);
      await night.order('target');
      await sleep(500);
      expect([await night.strays('source'), await night.strays('target')]).toEqual([0, null]);
    });

    it('with a source that is not silent it is none', async () => {
      for (let n = 0; n < 4; n++) {
        const id = await drained();
        await Promise.all([
          night.order('source'),
          n % 2 === 0 ? night.order('target') : sleep(n * 5).then(() => night.order('target')),
        ]);
        const fence = await waitFor('the fence to end', 5_000, async () => {
          const fence = await night.look(id);
          return ['violated', 'closed'].includes(fence.state) && fence;
        });
        // Where the target's write was seen first, the source's is the stray one.
        if (fence.state === 'violated') {
          expect((await night.operator.migration()).direction).toBe('forward');
          await night.countedStrays('target', 1);
        } else await night.countedStrays('source', 1);
        await night.tidy();
      }
    });
  });

  it('in an emergency, with the source killed: forced, and journaled as such', async () => {
    await night.mark();
    await night.pair.source.kill();
    const refused = await night.operator.change('promote');
    expect(refused.status).toBe(409);
    const { status, body } = await night.operator.change('promote', { force: true });
    expect(status, JSON.stringify(body)).toBe(200);
    const done: DirectionChangeJson = body;
    expect(done).toMatchObject({ direction: 'reverse', forced: true, fence: null, old_side_position: null });
    expect(done.warnings.join('; ')).toMatch(/forced without a drained fence.*does not tell where it stands/);
    const declared = (await night.journal('promote')).find((e) => e.data['step'] === 'declared');
    expect(declared?.data).toMatchObject({ forced: true });
    await night.timeline.of('rollback-ready').until(['closed', 'unknown'], 5_000);
    const from = performance.now();
    await night.order('target');
    await night.pair.source.start();
    await night.direction('reverse', 15_000);
    // Nobody has watched the old side meanwhile: that it was silent is not known.
    await sleep(3_000);
    night.notGreen(from, 'rollback-ready');
    console.log(await night.signal('standby.stray_writes'));
  });
});
