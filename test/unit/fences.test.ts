import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CutoverBed, cutoverConfig } from '../support/cutover-bed.js';

let b: CutoverBed;

beforeEach(async () => {
  b = new CutoverBed();
  await b.pass(100);
});

afterEach(() => b.close());

const states = (): string[] => b.journal('fence').map((e) => String(e.data['state']));
const now = async () => (await b.settle(b.fences.list('shop')))[0]!;

describe('placing', () => {
  it('takes the position and then the marker, drains, and journals it before it is shown', async () => {
    const placed = await b.place();
    expect(placed).toMatchObject({ state: 'placed', link: 'forward', source_position: '0/1000', placed_by: 'ops' });
    await b.pass(300);
    expect(await now()).toMatchObject({ id: placed.id, state: 'drained', basis: ['marker', 'position'] });
    expect(b.reads('fence.drained')).toBe('1');
    expect(states()).toEqual(['placed', 'drained']);
    expect(b.published.map((f) => f.state)).toEqual(['placed', 'drained']);
  });

  it('goes by position alone on a source that takes no writes any more', async () => {
    b.onprem.readOnly = true;
    expect(await b.drained()).toMatchObject({ basis: ['position'] });
  });

  it('allows one open fence at a time, also while one is being placed', async () => {
    const first = b.fences.place('shop', { deadlineMs: 60_000, note: '', actor: 'a' });
    expect(await b.refusal(b.fences.place('shop', { deadlineMs: 1, note: '', actor: 'b' }))).toBe('409 fence_open');
    const { id } = await b.settle(first);
    expect(await b.refusal(b.place())).toBe('409 fence_open');
    b.fences.cancel('shop', id, 'ops');
    const second = await b.place();
    expect((await b.settle(b.fences.list('shop'))).map((f) => [f.id, f.state])).toEqual([
      [second.id, 'drained'],
      [id, 'cancelled'],
    ]);
    expect(await b.settle(b.fences.get('shop', id))).toMatchObject({ state: 'cancelled' });
  });

  it('is refused after 15 s when the reader does not begin, with what it waits for', async () => {
    b.watch(b.onprem, false);
    const work = b.fences.place('shop', { deadlineMs: 60_000, note: '', actor: 'ops' });
    work.catch(() => undefined);
    expect(b.fences.watchClosely('onprem')).toBe(true);
    await b.pass(14_900);
    expect(b.onprem.asked).toBe(0);
    await expect(b.settle(work)).rejects.toThrow(/not watched 15 s after .*: the reader died/);
    expect(b.fences.watchClosely('onprem')).toBe(false);
    expect(b.journal('fence')).toEqual([]);
  });

  it.each<[string, string, () => void]>([
    ['the source does not answer', '503 connection', () => (b.onprem.mode = 'rejects')],
    ['the source hangs', '503 no_answer', () => (b.onprem.mode = 'hangs')],
    ['the store cannot be written', '503 store_not_writable', () => (b.storeBroken = true)],
    [
      'the store cannot be written any more',
      '503 store_not_writable',
      () => (b.onprem.meanwhile.place = () => (b.storeBroken = true)),
    ],
    [
      'the direction changes meanwhile',
      '409 direction_changed',
      () =>
        (b.onprem.meanwhile.place = () => {
          b.aws.row = {
            migration: 'shop',
            epoch: 1,
            direction: 'reverse',
            changedAt: null,
            changedBy: 'x',
            reason: null,
          };
          b.emit(b.aws.rows());
        }),
    ],
  ])('is refused and leaves nothing when %s', async (_, code, trouble) => {
    trouble();
    expect(await b.refusal(b.fences.place('shop', { deadlineMs: 1_000, note: '', actor: 'ops' }))).toBe(code);
    b.storeBroken = false;
    expect(b.fences.latest('shop')).toBeNull();
    expect(b.store.get('fences/shop')).toBeNull();
    expect(b.engine.strayWrites('shop', 'target').held).toBeNull();
    expect(b.fences.watchClosely('onprem')).toBe(false);
  });

  it('is refused while the direction is unknown, and for a migration that is not there', async () => {
    b.touched(b.aws);
    expect(await b.refusal(b.fences.place('shop', { deadlineMs: 1, note: '', actor: 'o' }))).toBe(
      '409 direction_unknown',
    );
    expect(await b.refusal(b.fences.place('crm', { deadlineMs: 1, note: '', actor: 'o' }))).toBe('404 not_found');
  });

  it('is violated at once by a write between the position and the marker, and holds nothing then', async () => {
    b.onprem.meanwhile.place = () => void b.write(b.onprem);
    expect(await b.place()).toMatchObject({ state: 'violated', violations: { count: 1, first_position: '0/1018' } });
    expect(states()).toEqual(['placed', 'violated']);
    expect(b.engine.strayWrites('shop', 'target').held).toBeNull();
    await b.pass(300);
    expect(b.reads('fence.drained')).toBe('0');
  });

  it('counts a write before the position as part of what must arrive', async () => {
    b.write(b.onprem);
    expect(await b.drained()).toMatchObject({ source_position: '0/1010' });
  });

  it.each([false, true])(
    'never drains when the watch broke between the position and now (begun anew: %s)',
    async (anew) => {
      b.onprem.meanwhile.place = () => {
        b.watch(b.onprem, false);
        if (anew) b.watch(b.onprem, true);
      };
      const placed = await b.place();
      expect(placed.unwatched).toHaveLength(1);
      if (!anew) b.watch(b.onprem, true);
      await b.pass(1_000);
      expect(await now()).toMatchObject({ state: 'placed' });
    },
  );

  it('does not mind that the reader begins anew while it is armed', async () => {
    b.watch(b.onprem, false);
    const work = b.fences.place('shop', { deadlineMs: 60_000, note: '', actor: 'ops' });
    await b.clock.advance(100_000);
    b.watch(b.onprem, false);
    b.watch(b.onprem, true);
    await b.settle(work);
    await b.pass(300);
    expect(await now()).toMatchObject({ state: 'drained' });
  });

  it('never drains when the watch broke before the position was read and began anew after it', async () => {
    const work = b.fences.place('shop', { deadlineMs: 60_000, note: '', actor: 'ops' });
    b.watch(b.onprem, true);
    const armed = b.onprem.asked;
    b.onprem.meanwhile.place = () => b.watch(b.onprem, true);
    await b.clock.advance(9_000);
    expect(b.onprem.asked).toBe(armed);
    b.watch(b.onprem, true);
    const place = b.onprem.place.bind(b.onprem);
    b.onprem.place = async (link, marker) => {
      b.watch(b.onprem, false);
      await Promise.resolve();
      return place(link, marker);
    };
    await b.settle(work);
    await b.pass(1_000);
    expect(await now()).toMatchObject({
      state: 'placed',
      unwatched: [{ reason: expect.stringContaining('while the fence was placed') as string }],
    });
  });
});

describe('while it is open', () => {
  it.each([
    ['is the same', '1', 'drained'],
    ['was made anew', '2', 'placed'],
  ])('waits for a look at the chain after the positions have come: the flow %s', async (_, id, state) => {
    const look = (value: string): void =>
      b.emit({
        ...{ kind: 'chain-seen', link: 'shop/forward', at: b.clock.monotonicNow(), freshUs: 3_000_000 },
        facts: { identities: [{ key: 'flow.sub', what: 'the id of sub', value }], positions: [], broken: [] },
      });
    b.looksAtChains = false;
    look('1');
    await b.place();
    await b.pass(500);
    expect((await now()).missing.reasons).toEqual([
      'every flow is there, and it is not known yet whether the chain of changes was whole until then',
    ]);
    expect(b.reads('fence.drained')).toBe('0');
    look(id);
    await b.pass(300);
    const fence = await now();
    expect(fence.state).toBe(state);
    if (state === 'placed') expect(fence.missing.reasons.join()).toContain('the chain of changes broke after');
    // Once it has drained by them, later positions need no further look.
    await b.pass(1_500);
    expect((await now()).state).toBe(state);
  });

  it('waits for the first look at a chain as well', async () => {
    b.looksAtChains = false;
    await b.restart();
    await b.pass(600);
    await b.place();
    await b.pass(500);
    expect((await now()).state).toBe('placed');
    b.looksAtChains = true;
    await b.pass(300);
    expect((await now()).state).toBe('drained');
  });

  it('says what is in the way, and expires with that', async () => {
    b.replicates = false;
    await b.place(2_000);
    b.aws.prepared = ['prepared transaction x'];
    await b.pass(1_000);
    expect((await now()).missing.reasons.join(' ')).toMatch(/aws: prepared transaction x/);
    await b.pass(1_500);
    expect(await now()).toMatchObject({ state: 'expired', missing: { flows: ['sub'] } });
    expect(states()).toEqual(['placed', 'expired']);
    expect(b.reads('fence.drained')).toBe('0');
  });

  it('waits for an open transaction, and for its commit to be seen', async () => {
    b.onprem.open = ['pid 7 has written'];
    await b.place();
    await b.pass(500);
    expect(await now()).toMatchObject({ state: 'placed' });
    // It commits, and the reader has not come so far when the next look finds nothing open.
    b.onprem.open = [];
    const position = b.write(b.onprem, false);
    b.onprem.reader = 'silent';
    await b.pass(500);
    expect(b.fences.latest('shop')).toMatchObject({ state: 'placed' });
    b.sees(b.onprem, position);
    expect(await now()).toMatchObject({ state: 'violated' });
  });

  it('is violated by a write after it drained, and what was held on the target is stray from then on', async () => {
    await b.drained();
    b.write(b.aws);
    expect(b.strays('target')).toBe(0);
    b.write(b.onprem);
    expect(b.fences.latest('shop')).toMatchObject({ state: 'violated' });
    expect(b.strays('target')).toBe(1);
    b.write(b.aws);
    expect(b.strays('target')).toBe(2);
    expect(states()).toEqual(['placed', 'drained', 'violated']);
  });

  it.each<[string, () => unknown]>([
    ['cancelled', () => void b.fences.cancel('shop', b.fences.latest('shop')!.id, 'ops')],
    ['expired', () => b.pass(2_500)],
    ['violated', () => void b.write(b.onprem)],
  ])('counts what was written to the target meanwhile as stray when it is %s', async (state, end) => {
    b.replicates = false;
    await b.place(2_000);
    b.write(b.aws);
    b.write(b.aws);
    expect([b.strays('target'), b.engine.strayWrites('shop', 'target').held?.count]).toEqual([0, 2]);
    await end();
    expect(b.fences.latest('shop')).toMatchObject({ state });
    expect(b.strays('target')).toBe(2);
    b.write(b.aws);
    expect(b.strays('target')).toBe(3);
  });

  it('is unknown while a side does not answer or hangs, and drained again afterwards', async () => {
    await b.drained();
    for (const [mode, most] of [
      ['rejects', 1_000],
      ['hangs', 6_500],
    ] as const) {
      b.aws.mode = mode;
      await b.pass(most);
      expect(b.fences.latest('shop')).toMatchObject({ state: 'unknown' });
      expect(await b.settle(b.fences.get('shop', b.fences.latest('shop')!.id), 12_000)).toMatchObject({
        state: 'unknown',
      });
      b.aws.mode = 'answers';
      await b.pass(7_000);
      expect(b.fences.latest('shop')).toMatchObject({ state: 'drained' });
    }
    expect(states().slice(0, 4)).toEqual(['placed', 'drained', 'unknown', 'drained']);
  });

  it('is not said to be drained when the reader has not come as far as the question', async () => {
    await b.drained();
    b.onprem.reader = 'silent';
    b.write(b.onprem, false);
    const json = await b.settle(b.fences.get('shop', b.fences.latest('shop')!.id));
    expect(json).toMatchObject({ state: 'unknown' });
    expect(json!.missing.reasons.join()).toMatch(/has not come as far as this question/);
  });

  it('waits for the reader to come as far as the question', async () => {
    await b.drained();
    await b.clock.advance(10_000);
    expect(await now()).toMatchObject({ state: 'drained' });
    await b.clock.advance(10_000);
    const asked = b.fences.list('shop');
    await b.clock.advance(2_000);
    const position = b.write(b.onprem, false);
    await b.clock.advance(2_000);
    b.sees(b.onprem, position);
    expect((await b.settle(asked))[0]).toMatchObject({ state: 'violated' });
  });

  it('believes nothing from before a suspend, also when it arrives afterwards', async () => {
    await b.drained();
    const before = b.clock.monotonicNow();
    b.clock.suspend(600_000_000);
    expect(b.fences.latest('shop')).toMatchObject({ state: 'unknown' });
    expect(b.reads('fence.drained')).toBe('unknown');
    b.watch(b.onprem, true, false, before - 1);
    const position = { kind: 'lsn', lsn: 0x9000n } as const;
    b.emit({ kind: 'applied', link: 'shop/forward', flow: 'sub', position, askedAt: before - 1, at: before });
    expect(b.fences.latest('shop')).toMatchObject({ state: 'unknown' });
    b.clock.tick(1);
    // The direction is known again before anything else is.
    for (const db of [b.onprem, b.aws]) b.emit(db.rows());
    expect(b.direction).toBe('forward 0');
    expect(b.fences.latest('shop')!.missing.reasons.join()).toMatch(/the clocks jumped/);
    await b.pass(600);
    expect(await now()).toMatchObject({ state: 'drained' });
  });

  it('journals the end of one that has wavered for long', async () => {
    await b.drained();
    for (let i = 0; i < 15; i += 1) {
      b.aws.identity = 'another';
      await b.pass(300);
      b.aws.identity = 'system of aws';
      await b.pass(300);
    }
    b.write(b.onprem);
    expect(states().at(-1)).toBe('violated');
    expect(states().length).toBeLessThan(30);
  });

  it('is ended by a direction that was declared elsewhere', async () => {
    await b.drained();
    b.write(b.aws);
    b.aws.row = { migration: 'shop', epoch: 1, direction: 'reverse', changedAt: null, changedBy: 'b', reason: null };
    await b.pass(1_000);
    expect(await now()).toMatchObject({ state: 'closed' });
    expect(b.strays('target')).toBe(0);
    expect(b.reads('fence.drained')).toBe('unknown');
  });

  it('is ended by a newer epoch of the same direction: it was another one in between', async () => {
    await b.drained();
    b.aws.row = { migration: 'shop', epoch: 2, direction: 'forward', changedAt: null, changedBy: 'b', reason: null };
    await b.pass(1_000);
    expect(await now()).toMatchObject({ state: 'closed' });
  });

  it('counts the target’s writes when the direction was declared elsewhere past one that had not drained', async () => {
    b.replicates = false;
    await b.place();
    b.write(b.aws);
    b.aws.row = { migration: 'shop', epoch: 1, direction: 'reverse', changedAt: null, changedBy: 'b', reason: null };
    await b.pass(1_000);
    expect(await now()).toMatchObject({ state: 'cancelled' });
    expect(b.strays('target')).toBe(1);
  });

  it('is unknown while the direction is', async () => {
    await b.drained();
    b.touched(b.aws);
    expect(b.fences.latest('shop')).toMatchObject({ state: 'unknown' });
    await b.pass(600);
    expect(await now()).toMatchObject({ state: 'drained' });
  });
});

describe('cancelling', () => {
  it('refuses what is not there or has ended, and while the store cannot be written', async () => {
    expect(b.fences.cancel('shop', 'nope', 'ops')).toBeUndefined();
    const { id } = await b.place();
    b.storeBroken = true;
    expect(() => b.fences.cancel('shop', id, 'ops')).toThrow(/journal cannot be written/);
    expect(b.fences.latest('shop')!.state).not.toBe('cancelled');
    b.storeBroken = false;
    expect(b.fences.cancel('shop', id, 'ops')).toMatchObject({ state: 'cancelled', ended_because: 'cancelled by ops' });
    expect(() => b.fences.cancel('shop', id, 'ops')).toThrow(/cancelled already/);
    expect(b.journal('fence').at(-1)).toMatchObject({ actor: 'ops', data: { state: 'cancelled' } });
    await b.place();
    expect(() => b.fences.cancel('shop', id, 'ops')).toThrow(/cancelled already/);
  });
});

describe('a restart', () => {
  it.each([false, true])('makes a drained one placed, and proves it by evidence (killed: %s)', async (kill) => {
    const { id } = await b.drained();
    b.save();
    await b.restart(kill);
    expect(b.fences.latest('shop')).toMatchObject({ id, state: 'placed' });
    expect(b.fences.watchClosely('onprem')).toBe(true);
    b.watch(b.onprem, true, true);
    await b.pass(1_000);
    expect(await now()).toMatchObject({ id, state: 'drained', basis: ['marker', 'position', 'server-evidence'] });
  });

  it('without evidence leaves it unproved for good', async () => {
    await b.drained();
    await b.restart();
    await b.pass(2_000);
    expect(await now()).toMatchObject({
      state: 'placed',
      unwatched: [{ reason: expect.stringContaining('not running') as string }],
    });
  });

  it.each(['placed', 'drained'])(
    'after a kill forgets no gap that a %s one has had, whatever evidence there is of a later one',
    async (state) => {
      if (state === 'placed') b.replicates = false;
      await b.place();
      await b.pass(500);
      b.watch(b.onprem, false);
      await b.pass(200);
      b.watch(b.onprem, true);
      await b.pass(500);
      b.save();
      await b.restart(true);
      b.replicates = true;
      b.watch(b.onprem, true, true);
      await b.pass(1_000);
      expect(await now()).toMatchObject({ state: 'placed' });
      expect((await now()).unwatched).toHaveLength(1);
    },
  );

  it('goes on holding the target’s writes while it is open', async () => {
    await b.place();
    await b.restart(true);
    await b.pass(600);
    b.write(b.aws);
    expect(b.strays('target')).toBe(0);
    b.fences.cancel('shop', b.fences.latest('shop')!.id, 'ops');
    expect(b.strays('target')).toBe(1);
  });

  it.each(['cancelled', 'violated'])('holds nothing for one that was %s just before a kill', async (state) => {
    const { id } = await b.place();
    b.write(b.aws);
    b.save();
    if (state === 'violated') b.write(b.onprem);
    else b.fences.cancel('shop', id, 'ops');
    await b.restart(true);
    await b.pass(600);
    expect(b.fences.latest('shop')).toMatchObject({ id, state });
    expect(b.strays('target')).toBe(1);
    b.write(b.aws);
    expect(b.strays('target')).toBe(2);
  });

  it('does not bring back one that ended while the store took no writes, once it does again', async () => {
    await b.drained();
    b.storeBroken = true;
    b.write(b.onprem);
    await b.pass(500);
    b.storeBroken = false;
    await b.pass(1_500);
    await b.restart(true);
    expect(b.fences.latest('shop')).toMatchObject({ state: 'violated' });
  });

  it('finds the ended ones again, at most twenty', async () => {
    for (let i = 0; i < 22; i += 1) b.fences.cancel('shop', (await b.place()).id, 'ops');
    await b.restart();
    const list = await b.settle(b.fences.list('shop'));
    expect(list).toHaveLength(20);
    expect(new Set(list.map((f) => f.state))).toEqual(new Set(['cancelled']));
  });

  it('ends all looking, also while a side hangs', async () => {
    await b.place();
    b.aws.mode = 'hangs';
    await b.pass(200);
    await b.fences.stop();
    await b.clock.advance(0);
    expect(b.clock.sleepers).toBe(0);
  });
});

describe('a reload', () => {
  it('ends a fence on what has changed, as cancelled, and leaves the others', async () => {
    const { id } = await b.drained();
    await b.reload(cutoverConfig());
    expect(b.fences.latest('shop')).toMatchObject({ id, state: 'drained' });
    b.write(b.aws);
    const config = cutoverConfig();
    const shop = config.migrations.get('shop')!;
    const forward = { ...shop.links.forward, flows: ['sub', 'another'] };
    await b.reload({ ...config, migrations: new Map([['shop', { ...shop, links: { ...shop.links, forward } }]]) });
    expect(b.fences.latest('shop')).toMatchObject({ id, state: 'cancelled' });
    expect(b.strays('target')).toBe(1);
  });

  it('holds nothing for a migration that was taken out and put back', async () => {
    await b.place();
    await b.reload({ ...cutoverConfig(), migrations: new Map() });
    expect(b.fences.latest('shop')).toBeNull();
    await b.reload(cutoverConfig());
    await b.pass(600);
    expect(b.fences.latest('shop')).toMatchObject({ state: 'cancelled' });
    b.write(b.aws);
    expect(b.strays('target')).toBe(1);
  });
});
