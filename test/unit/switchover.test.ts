import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DirectionRow } from '../../daemon/core/direction.js';
import { CutoverBed } from '../support/cutover-bed.js';

let b: CutoverBed;

beforeEach(async () => {
  b = new CutoverBed();
  await b.pass(100);
});

afterEach(() => b.close());

const row = (epoch: number, direction: 'forward' | 'reverse', changedBy = 'another'): DirectionRow => ({
  ...{ migration: 'shop', epoch, direction, changedAt: null, changedBy, reason: null },
});
const steps = (kind: string) => b.journal(kind).map((e) => e.data['step']);

describe('a promotion', () => {
  it('on a drained fence writes the row, closes the fence and turns the direction, both ways', async () => {
    const { id } = await b.drained();
    const done = await b.settle(b.change());
    expect(done).toMatchObject({
      ...{ direction: 'reverse', epoch: 1, forced: false, old_side_position: '0/1008', warnings: [] },
      fence: { id, state: 'closed' },
    });
    expect(b.aws.row).toMatchObject({ epoch: 1, direction: 'reverse', changedBy: 'ops', reason: 'cutover' });
    expect(b.onprem.row).toBeNull();
    expect(b.direction).toBe('reverse 1');
    expect(steps('promote')).toEqual(['declaring', 'declared']);
    await b.drained();
    const back = await b.settle(b.change({ action: 'rollback', expect: 'reverse' }));
    expect(back).toMatchObject({ direction: 'forward', epoch: 2 });
    expect(b.onprem.row).toMatchObject({ epoch: 2 });
    expect(b.directions.filter((d) => d !== 'unknown')).toEqual(['forward', 'reverse', 'forward']);
  });

  it.each<[string, string, () => unknown]>([
    ['there is no fence', '409 not_drained', () => undefined],
    ['the fence is not drained', '409 not_drained', async () => ((b.replicates = false), await b.place())],
    ['the fence was violated', '409 not_drained', async () => (await b.drained(), b.write(b.onprem))],
    ['the fence was cancelled', '409 not_drained', async () => b.fences.cancel('shop', (await b.drained()).id, 'ops')],
    [
      'the old side is not watched',
      '409 not_drained',
      async () => {
        await b.drained();
        b.watch(b.onprem, false);
      },
    ],
    [
      'the reader does not come so far',
      '409 not_drained',
      async () => (await b.drained(), (b.onprem.reader = 'silent')),
    ],
    ['the old side does not answer', '409 not_drained', async () => (await b.drained(), (b.onprem.mode = 'rejects'))],
    ['the new side is another server', '409 not_drained', async () => (await b.drained(), (b.aws.identity = 'x'))],
    ['the tables were changed', '409 schema_changed', async () => (await b.drained(), (b.onprem.schema = 'x'))],
    ['the store cannot be written', '503 store_not_writable', async () => (await b.drained(), (b.storeBroken = true))],
    [
      'it cannot be journaled',
      '503 store_not_writable',
      async () => (await b.drained(), (b.onprem.meanwhile.stand = () => (b.storeBroken = true))),
    ],
    [
      'the direction is unknown',
      '409 direction_unknown',
      async () => {
        await b.drained();
        b.aws.mode = 'rejects';
        b.touched(b.aws);
      },
    ],
  ])('is refused, and nothing is written, when %s', async (_, code, trouble) => {
    await trouble();
    expect(await b.refusal(b.change())).toBe(code);
    b.storeBroken = false;
    b.aws.mode = 'answers';
    expect([b.aws.row, b.onprem.row]).toEqual([null, null]);
    await b.pass(600);
    expect(b.direction).toBe('forward 0');
    expect(b.journal('promote').some((e) => e.data['step'] === 'declared')).toBe(false);
  });

  it('is refused when the direction is not as expected, or not where the action starts', async () => {
    expect(await b.refusal(b.change({ expect: 'reverse' }))).toBe('409 direction_unexpected');
    expect(await b.refusal(b.change({ expect: 'reverse', force: true }))).toBe('409 direction_unexpected');
    expect(await b.refusal(b.change({ action: 'rollback', force: true }))).toBe('409 direction_unexpected');
    expect(await b.refusal(b.change({ action: 'rollback', expect: 'reverse', force: true }))).toBe(
      '409 direction_unexpected',
    );
    expect(await b.refusal(b.change({ migration: 'crm' }))).toBe('404 not_found');
  });

  it('is refused by a write before the position where the old side stands, seen by the reader late', async () => {
    await b.drained();
    // Committed between the question and its answer: the position lies beyond it.
    const stand = b.onprem.stand.bind(b.onprem);
    b.onprem.stand = async () => {
      const position = b.write(b.onprem, false);
      const said = await stand();
      b.onprem.reader = 'silent';
      void b.clock.sleep(200).then(() => {
        b.sees(b.onprem, position);
        b.onprem.reader = 'on';
      });
      // The reader has come past the question, but not to the write.
      b.emit({
        kind: 'local-watch',
        database: 'onprem',
        watching: true,
        emptyGap: false,
        upTo: null,
        mark: null,
        reason: null,
        at: said.askedAt,
      });
      return said;
    };
    expect(await b.refusal(b.change())).toBe('409 not_silent');
    expect(b.fences.latest('shop')).toMatchObject({ state: 'violated' });
    expect(b.aws.row).toBeNull();
  });

  it('is refused when the reader does not pass the old side’s position within 3 s', async () => {
    await b.drained();
    b.onprem.meanwhile.stand = () => void (b.onprem.reader = 'silent');
    expect(await b.refusal(b.change())).toBe('409 not_silent');
    expect(b.aws.row).toBeNull();
    b.onprem.reader = 'on';
    await b.pass(500);
    expect(b.fences.latest('shop')).toMatchObject({ state: 'drained' });
  });

  it('counts a write between the old side’s position and the row as a stray, once', async () => {
    await b.drained();
    b.aws.meanwhile.declare = () => void b.write(b.onprem);
    const done = await b.settle(b.change());
    expect(done.warnings.join()).toMatch(/1 writes came to onprem after it had been found silent/);
    expect(done.fence).toMatchObject({ state: 'closed', violations: { count: 0 } });
    expect(b.strays('source')).toBe(1);
    await b.pass(1_000);
    expect([b.strays('source'), b.reads('standby.stray_writes')]).toEqual([1, '1']);
    b.write(b.onprem);
    expect(b.strays('source')).toBe(2);
  });

  it('does not count silence that nobody watched between the position and the row', async () => {
    await b.drained();
    b.aws.meanwhile.declare = () => {
      b.watch(b.onprem, false);
      b.write(b.onprem, false);
      b.watch(b.onprem, true);
    };
    const done = await b.settle(b.change());
    expect(done.warnings.join()).toMatch(/may have gone unseen/);
    await b.pass(600);
    expect(b.reads('standby.stray_writes')).toBe('unknown');
  });

  it.each(['before', 'after'])(
    'does not let the direction flicker when the own change is seen %s the answer',
    async (when) => {
      await b.drained();
      b.directions.length = 0;
      if (when === 'before') b.aws.meanwhile.declare = () => b.touched(b.aws);
      await b.settle(b.change());
      if (when === 'after') b.touched(b.aws);
      await b.pass(600);
      expect(b.directions).toEqual(['reverse']);
      // The next one is somebody else's.
      b.touched(b.aws);
      expect(b.direction).toBe('unknown');
    },
  );

  it('of which nobody knows whether the row was written leaves the direction unknown until it is read', async () => {
    await b.drained();
    b.aws.meanwhile.declare = () => void (b.aws.mode = 'hangs');
    const declare = b.aws.declare.bind(b.aws);
    b.aws.declare = async (r) => {
      await declare(r);
      return new Promise(() => undefined);
    };
    const asked = b.change({ idempotencyKey: 'k' });
    expect(await b.refusal(asked, 12_000)).toBe('503 no_answer');
    expect(steps('promote')).toEqual(['declaring', 'failed']);
    expect(b.direction).toBe('unknown');
    b.aws.mode = 'answers';
    await b.pass(600);
    expect(b.direction).toBe('reverse 1');
    // The fence had drained, and the change was carried through.
    expect(b.fences.latest('shop')).toMatchObject({ state: 'closed' });
  });

  it('that fails violates the fence by what was written meanwhile', async () => {
    await b.drained();
    const declare = b.aws.declare.bind(b.aws);
    b.aws.declare = async (r) => {
      b.write(b.onprem);
      b.aws.mode = 'rejects';
      return declare(r);
    };
    expect(await b.refusal(b.change())).toBe('503 connection');
    // It may have been written all the same.
    expect(b.direction).toBe('unknown');
    expect(b.fences.latest('shop')).toMatchObject({ state: 'violated', violations: { count: 1 } });
    expect([b.aws.row, b.strays('source')]).toEqual([null, 0]);
  });

  it('is overtaken by another daemon’s row with the same or a higher epoch', async () => {
    await b.drained();
    const declare = b.aws.declare.bind(b.aws);
    b.aws.declare = (r) => {
      b.aws.row = row(1, 'reverse');
      return declare(r);
    };
    expect(await b.refusal(b.change())).toBe('409 overtaken');
    expect(b.direction).toBe('reverse 1');
    expect(b.fences.latest('shop')).toMatchObject({ state: 'closed' });
    // Nothing is left that would swallow the next change.
    b.touched(b.aws);
    expect(b.direction).toBe('unknown');
  });

  it('cannot be crossed by a cancellation', async () => {
    const { id } = await b.drained();
    let refused = '';
    b.aws.meanwhile.declare = () => {
      try {
        b.fences.cancel('shop', id, 'ops');
      } catch (error) {
        refused = (error as Error).message;
      }
    };
    await b.settle(b.change());
    expect(refused).toMatch(/being declared/);
  });

  it('keeps what was written to the target during the switch from being stray', async () => {
    await b.drained();
    b.write(b.aws);
    await b.settle(b.change());
    await b.pass(600);
    expect([b.strays('target'), b.strays('source')]).toEqual([0, 0]);
    expect(b.engine.strayWrites('shop', 'target').held).toBeNull();
  });
});

describe('by force', () => {
  it('goes without a fence and without the old side, and says so', async () => {
    b.onprem.mode = 'rejects';
    const done = await b.settle(b.change({ force: true }));
    expect(done).toMatchObject({ forced: true, fence: null, old_side_position: null, epoch: 1 });
    expect(done.warnings.join()).toMatch(/without a drained fence.*does not tell where it stands/);
    expect(b.journal('promote').at(-1)!.data).toMatchObject({ step: 'declared', forced: true });
  });

  it('goes while the old side hangs and the direction is unknown for it, from the last one known', async () => {
    b.onprem.mode = 'hangs';
    await b.pass(4_000);
    expect(b.direction).toBe('unknown');
    expect(await b.settle(b.change({ force: true }))).toMatchObject({ epoch: 1, forced: true });
    // The old side may hold a newer row.
    await b.pass(600);
    expect(b.direction).toBe('unknown');
    expect(b.aws.row).toMatchObject({ epoch: 1 });
  });

  it('ends an undrained fence, whose writes on the target are stray', async () => {
    b.replicates = false;
    await b.place();
    b.write(b.aws);
    await b.settle(b.change({ force: true }));
    expect(b.fences.latest('shop')).toMatchObject({ state: 'cancelled' });
    expect(b.strays('target')).toBe(1);
  });

  it('counts writes of the old side between its position and the row as stray, and none before', async () => {
    const stand = b.onprem.stand.bind(b.onprem);
    b.onprem.stand = () => {
      b.write(b.onprem);
      return stand();
    };
    b.onprem.meanwhile.stand = () => void b.write(b.onprem);
    b.aws.meanwhile.declare = () => void b.write(b.onprem);
    const done = await b.settle(b.change({ force: true }));
    expect(done.old_side_position).toBe('0/1010');
    await b.pass(600);
    expect(b.strays('source')).toBe(2);
  });

  it('is not called forced when the fence was drained', async () => {
    await b.drained();
    expect(await b.settle(b.change({ force: true }))).toMatchObject({ forced: false, fence: { state: 'closed' } });
  });
});

describe('an Idempotency-Key', () => {
  it('gets the first answer again, also at the same time and after a restart, and stands for one question', async () => {
    await b.drained();
    const [one, two] = [b.change({ idempotencyKey: 'k' }), b.change({ idempotencyKey: 'k' })];
    const first = await b.settle(one);
    expect(await b.settle(two)).toEqual(first);
    expect(await b.refusal(b.change({ idempotencyKey: 'k', reason: 'another' }))).toBe('409 key_reused');
    await b.restart();
    expect(await b.settle(b.change({ idempotencyKey: 'k' }))).toEqual(first);
    expect(b.aws.row).toMatchObject({ epoch: 1 });
    expect(steps('promote')).toEqual(['declaring', 'declared']);
    await b.pass(600);
    expect(await b.refusal(b.change({ idempotencyKey: 'l' }))).toBe('409 direction_unexpected');
  });

  it('gets a refusal again, but not what could not be decided', async () => {
    b.storeBroken = true;
    expect(await b.refusal(b.change({ idempotencyKey: 'k' }))).toBe('503 store_not_writable');
    b.storeBroken = false;
    expect(await b.refusal(b.change({ idempotencyKey: 'k' }))).toBe('409 not_drained');
    await b.drained();
    expect(await b.refusal(b.change({ idempotencyKey: 'k' }))).toBe('409 not_drained');
    expect(await b.settle(b.change({ idempotencyKey: 'new' }))).toMatchObject({ epoch: 1 });
  });

  it('is remembered while the process lives even when it could not be written', async () => {
    await b.drained();
    b.aws.meanwhile.declare = () => void (b.storeBroken = true);
    const first = await b.settle(b.change({ idempotencyKey: 'k' }));
    expect(await b.settle(b.change({ idempotencyKey: 'k' }))).toEqual(first);
  });

  it('of two at the same time only one is carried out', async () => {
    await b.drained();
    const both = [b.change({ idempotencyKey: 'a' }), b.change({ idempotencyKey: 'b' })];
    both[1]!.catch(() => undefined);
    expect(await b.refusal(both[0]!)).toBe('done');
    expect(await b.refusal(both[1]!)).toBe('409 direction_unexpected');
    expect(b.aws.row).toMatchObject({ epoch: 1 });
  });
});

describe('promotion: detect', () => {
  beforeEach(async () => {
    await b.close();
    b = new CutoverBed({ promotion: 'detect' });
    await b.pass(100);
  });

  it('takes a write on the target for a promotion while a fence is drained', async () => {
    await b.drained();
    b.write(b.aws);
    await b.pass(1_000);
    expect(b.direction).toBe('reverse 1');
    expect(b.aws.row).toMatchObject({ changedBy: 'lockgate' });
    expect(b.aws.row!.reason).toMatch(/^detected: aws was written to/);
    expect([b.strays('target'), b.strays('source')]).toEqual([0, 0]);
  });

  it.each<[string, () => unknown]>([
    ['there is no fence', () => undefined],
    ['the fence is only placed', async () => ((b.replicates = false), await b.place())],
    ['the fence was cancelled', async () => b.fences.cancel('shop', (await b.drained()).id, 'ops')],
    ['the fence was violated', async () => (await b.drained(), b.write(b.onprem))],
    ['the fence is not drained now', async () => (await b.drained(), (b.aws.identity = 'x'))],
  ])('does not when %s', async (_, prepare) => {
    await prepare();
    b.write(b.aws);
    await b.pass(2_000);
    expect(b.direction).toBe('forward 0');
    expect(b.aws.row).toBeNull();
  });

  it('is not detected without being asked for', async () => {
    await b.close();
    b = new CutoverBed();
    await b.pass(100);
    await b.drained();
    b.write(b.aws);
    await b.pass(1_000);
    expect(b.direction).toBe('forward 0');
  });
});

describe('split brain', () => {
  /** The rate of local writes is known once it was watched for ten seconds. */
  beforeEach(() => b.pass(10_500));

  it('is latched by strays while the active side is written to, over a restart and silence, until it is attested', async () => {
    expect(b.reads('split_brain')).toBe('0');
    b.write(b.aws);
    expect(b.reads('split_brain')).toBe('0');
    expect(b.engine.suspectsSplit('onprem')).toBe(true);
    b.write(b.onprem);
    expect(b.reads('split_brain')).toBe('1');
    expect(b.engine.suspectsSplit('onprem')).toBe(false);
    await b.pass(15_000);
    expect(b.reads('split_brain')).toBe('1');
    await b.restart();
    await b.pass(600);
    expect(b.reads('split_brain')).toBe('1');
    b.engine.reconcileStrays('shop');
    await b.pass(600);
    expect(b.reads('split_brain')).not.toBe('1');
    await b.pass(10_500);
    expect(b.reads('split_brain')).toBe('0');
  });

  it('is unknown where the active side is not watched', () => {
    b.watch(b.onprem, false);
    b.write(b.aws);
    expect(b.reads('split_brain')).toBe('unknown');
  });

  it('is none of what is written while a switch is in progress', async () => {
    await b.place();
    b.write(b.aws);
    b.write(b.onprem);
    // The violation ended the switch, and what was held is stray now.
    expect(b.reads('split_brain')).toBe('1');
  });
});
