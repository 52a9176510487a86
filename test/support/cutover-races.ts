/** Promotions that something gets in the way of, on MariaDB and MySQL. */
import { expect, it } from 'vitest';
import { rmSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor } from '../../deploy/demo/run-folder.js';
import type { DirectionChangeJson } from '../../daemon/http/port.js';
import type { MysqlCutover } from './cutover-mysql.js';
import type { Night } from './cutover-night.js';
import { rootConnection } from './mysql-connection.js';

const WRITE = "insert into customers (name) values ('astray')";

/** Commits of the old side around a promotion, daemons that die in it, promotions that nobody has declared. */
export function promotionRaces(get: () => Night<MysqlCutover>): void {
  /** How long a promotion takes here. */
  let takesMs = 200;

  it('a single write around the promotion is refused for or counted, once, wherever it falls', async () => {
    const night = get();
    const { pair } = night.bed;
    const seen = { refused: 0, stray: 0 };
    const writer = await rootConnection(pair.source, pair.database);
    await night.operator.drained();
    const asked = performance.now();
    await night.operator.changed('promote');
    takesMs = performance.now() - asked;
    await night.tidy();
    for (let attempt = 0; attempt < 8; attempt++) {
      const since = Date.now();
      const fence = await night.operator.drained();
      const declared = night.tries('promote');
      // Most instants of it lie before the old side has been passed; the dangerous ones are at the end.
      await sleep(takesMs * Math.sqrt(Math.random()) * 1.1);
      await writer.query(WRITE);
      const { done, why } = await declared;
      if (done === null) {
        seen.refused += 1;
        // It may also meet the write while it is being committed: its transaction is open then.
        expect(why).toMatch(/violated|not passed|an open transaction/);
        const ended = await night.ends(fence.id, 'violated');
        expect(ended.violations.count).toBe(1);
        expect((await night.operator.migration()).direction).toBe('forward');
        expect(await night.told(fence.id)).toContain('violated');
      } else {
        seen.stray += 1;
        await night.strayed('source', 1);
        expect(await night.entries(since, 'stray-write')).toHaveLength(1);
        const closedAt = performance.now();
        expect(done.fence?.state).toBe('closed');
        await sleep(500);
        night.timeline.said('rollback-ready', closedAt, performance.now(), ['closed', 'unknown']);
        if (seen.stray === 1) {
          await (await night.bed.connect('target')).write(`target-race-${attempt}`);
          await waitFor('split_brain', 10_000, async () => {
            return (await night.bed.daemon.signals()).get('split_brain')?.value === 1;
          });
          expect(await night.entries(since, 'split-brain')).toHaveLength(1);
        }
      }
      await night.tidy();
    }
    writer.destroy();
    console.log(
      `${pair.flavour}: writes around a promotion: ${JSON.stringify(seen)}, one takes ${Math.round(takesMs)} ms`,
    );
  });

  it('the same key gets the same answer; a target that is read-only is refused with the remedy, and taken afterwards', async () => {
    const night = get();
    const { pair, daemon } = night.bed;
    const fence = await night.operator.drained();
    await pair.onTarget('set global read_only = on');
    const { status, body } = await night.operator.change('promote', {}, { 'idempotency-key': 'first' });
    expect([status >= 400, JSON.stringify(body)]).toEqual([
      true,
      expect.stringMatching(/read_only.*SET GLOBAL read_only = OFF/),
    ]);
    await waitFor('the direction to be read again', 5_000, async () => {
      return (await night.operator.migration()).direction === 'forward';
    });
    await pair.onTarget('set global read_only = off');
    await night.drains(fence.id);
    const same = (key: string) => night.operator.change('promote', {}, { 'idempotency-key': key });
    const [one, two] = await Promise.all([same('second'), same('second')]);
    expect(one.status, JSON.stringify(one.body)).toBe(200);
    expect(two).toEqual(one);
    expect(await same('second')).toEqual(one);
    expect((await night.operator.migration()).epoch).toBe(one.body.epoch);
    const other = await night.operator.change('promote', { reason: 'another' }, { 'idempotency-key': 'second' });
    expect([other.status, (other.body as unknown as { code: string }).code]).toEqual([409, 'key_reused']);
    expect((await daemon.signals()).get('active.lag')).toBeDefined();
  });

  it('killed at any instant of a promotion, it comes back to what the table says, and no gate is green meanwhile', async () => {
    const night = get();
    for (const part of [0.3, 0.9, 1.1]) {
      const fence = await night.operator.drained();
      const declared = night.operator.change('promote').catch(() => null);
      await sleep(part * takesMs);
      await night.killDaemon();
      const answer = await declared;
      const down = performance.now();
      const written = await writtenDirection(night);
      if (answer?.status === 200) expect(written).toBe('reverse');
      await night.startDaemon();
      expect(await night.directed()).toBe(written);
      if (written === 'reverse') {
        await sleep(1_000);
        expect((await night.look(fence.id)).state).toMatch(/closed|cancelled/);
        night.timeline.said('drained', down, performance.now(), ['closed', 'unknown', 'unreachable']);
      } else await night.drains(fence.id);
      await night.tidy();
    }
  });

  it('a daemon that has lost its store reads the direction from the databases', async () => {
    const night = get();
    await night.operator.drained();
    const done = await night.operator.changed('promote');
    await night.killDaemon();
    const { folder } = night.bed.lockgate;
    for (const file of readdirSync(folder)) if (file.startsWith('lockgate.db')) rmSync(join(folder, file));
    const down = performance.now();
    await night.startDaemon();
    expect(await night.directed()).toBe('reverse');
    expect(await night.operator.migration()).toMatchObject({ epoch: done.epoch, fence: null });
    // It cannot tell what was written to the old side before it watched.
    await night.timeline.of('rollback-ready').until(['unknown'], 10_000);
    await sleep(3_000);
    expect(await night.strays('source')).not.toBe(0);
    night.timeline.said('rollback-ready', down, performance.now(), ['closed', 'unknown', 'unreachable']);
    night.timeline.said('drained', down, performance.now(), ['unknown', 'unreachable']);
    await night.operator.post('attestations/stray-writes-reconciled', { by: 'a test', note: 'compared' });
    await night.timeline.of('rollback-ready').until(['open'], 30_000);
  });

  it('promotion: detect takes a write on the target for one only while a fence is drained', async () => {
    const night = get();
    const back = await night.reconfigure((text) => text.replace('promotion: manual', 'promotion: detect'));
    await night.timeline.of('flip-writes').until(['open'], 20_000);
    await night.bed.stray('target');
    await night.strayed('target', 1);
    expect((await night.operator.migration()).direction).toBe('forward');
    await night.tidy();
    const fence = await night.operator.drained();
    const at = Date.now();
    await night.bed.stray('target');
    await waitFor('the promotion', 10_000, async () => (await night.operator.migration()).direction === 'reverse');
    const [entry] = (await night.entries(at - 1_000, 'promote')).filter((e) => e.data['step'] === 'declared');
    expect(entry).toMatchObject({ actor: 'lockgate', data: { reason: expect.stringMatching(/detected/) as string } });
    expect((await night.look(fence.id)).state).toBe('closed');
    expect(await night.strays('target')).toBeFalsy();
    await back();
  });

  it('what was written to the target in a switch is stray when the switch is given up, and not when it is carried out', async () => {
    const night = get();
    const fence = await night.operator.drained();
    await night.bed.stray('target');
    await sleep(500);
    expect(await night.strays('target')).toBe(0);
    await night.operator.cancel(fence.id);
    await night.strayed('target', 1);
    await night.tidy();
    await night.operator.drained();
    await night.bed.stray('target');
    await sleep(500);
    await night.operator.changed('promote');
    expect(await night.strays('target')).toBeFalsy();
    await night.tidy();
    expect(await night.strays('target')).toBe(0);
  });

  it('with the source killed the fence is unknown, a promotion is refused, and only force carries it', async () => {
    const night = get();
    const { pair } = night.bed;
    const fence = await night.operator.drained();
    await pair.source.kill();
    // The bound within which a gate follows: the side is looked at every second.
    const gone = performance.now() + 1_000;
    try {
      await waitFor('the fence to be unknown', 5_000, async () => (await night.look(fence.id)).state === 'unknown');
      const refusal = await night.operator.change('promote');
      expect(refusal.status, JSON.stringify(refusal.body)).toBe(409);
      const forced = await night.operator.change('promote', { force: true });
      expect(forced.status, JSON.stringify(forced.body)).toBe(200);
      const done: DirectionChangeJson = forced.body;
      expect(done).toMatchObject({ forced: true, direction: 'reverse', old_side_position: null });
      expect(done.warnings.join('; ')).toMatch(/does not tell where it stands/);
      // The one that cannot be read may hold a newer one.
      await waitFor('the direction to be unknown', 5_000, async () => {
        return (await night.operator.migration()).direction === 'unknown';
      });
      night.timeline.said('drained', gone, performance.now(), ['closed', 'unknown']);
      night.timeline.said('rollback-ready', gone, performance.now(), ['closed', 'unknown']);
    } finally {
      await pair.source.start();
    }
    expect(await night.directed()).toBe('reverse');
    night.timeline.said('drained', gone, performance.now(), ['closed', 'unknown']);
  });
}

/** The direction that the two servers hold between them, asked past the daemon. */
async function writtenDirection(night: Night<MysqlCutover>): Promise<string> {
  const { pair } = night.bed;
  const sql = "select direction, epoch from lockgate.direction where migration = 'shop'";
  type Row = { direction: string; epoch: string };
  const rows = [...(await pair.onSource<Row>(sql)), ...(await pair.onTarget<Row>(sql))];
  const newest = rows.sort((a, b) => Number(b.epoch) - Number(a.epoch))[0];
  return newest?.direction ?? 'forward';
}
