import { describe, expect, it } from 'vitest';
import {
  judgeApplied,
  judgeDelays,
  judgeRunning,
  worstRunning,
  type FlowMemory,
  type FlowNames,
  type SlotFacts,
  type SubscriptionFacts,
} from '../../collectors/postgres/flow-state.js';

const names: FlowNames = {
  flow: 'shop_sub',
  from: 'onprem',
  to: 'aws',
  fromUser: '"lg"',
  toUser: '"lg"',
  toVersion: 180000,
};
const sub: SubscriptionFacts = {
  id: '16400',
  enabled: true,
  slot: 'shop_sub',
  worker: 77,
  received: 1_000n,
  originReadable: true,
  origin: 100n,
};
const slot: SlotFacts = {
  database: 'app',
  ours: true,
  plugin: 'pgoutput',
  activePid: 42,
  walStatus: 'reserved',
  walsender: true,
  visible: true,
  state: 'streaming',
  flush: 90n,
  writeLag: null,
  replayLag: null,
};
const detached: Partial<SlotFacts> = { activePid: null, walsender: false, visible: false, state: null, flush: null };
const hidden: Partial<SlotFacts> = { visible: false, state: null, flush: null };

describe('judgeRunning', () => {
  const cases: [string, Partial<SubscriptionFacts> | null, Partial<SlotFacts> | null, 0 | 1 | null, RegExp | null][] = [
    ['all is well', {}, {}, 1, null],
    ['catching up runs', {}, { state: 'catchup' }, 1, /catching up/],
    ['no subscription', null, null, 0, /no subscription/],
    ['disabled', { enabled: false }, {}, 0, /disabled on aws/],
    ['no slot name', { slot: null }, null, 0, /slot_name = NONE/],
    ['slot missing', {}, null, 0, /does not exist on onprem/],
    ['slot of another database', {}, { ours: false, database: 'crm' }, 0, /belongs to database crm/],
    ['a physical slot of that name', {}, { ours: false, database: null }, 0, /database \(none\)/],
    ['slot lost its WAL', {}, { ...detached, walStatus: 'lost' }, 0, /has lost WAL/],
    ['no apply worker', { worker: null }, {}, 0, /no apply worker/],
    ['no walsender', {}, detached, 0, /not in use/],
    ['read by SQL', {}, { walsender: false, ...hidden }, 0, /no walsender/],
    ['starting', {}, { state: 'startup' }, 0, /in state startup/],
    ['slot taken by another subscriber', { received: null }, {}, 0, /received nothing/],
    ['hidden columns', {}, hidden, null, /GRANT pg_read_all_stats TO "lg"/],
    ['id unknown', { id: null, worker: null }, {}, null, /GRANT SELECT \(oid\)/],
    ['id unknown but visibly detached', { id: null, worker: null }, detached, 0, /not in use/],
  ];
  it.each(cases)('%s', (_, subscription, slotFacts, value, reason) => {
    const running = judgeRunning(
      names,
      false,
      subscription === null ? null : { ...sub, ...subscription },
      slotFacts === null ? null : { ...slot, ...slotFacts },
    );
    expect(running.value).toBe(value);
    if (reason === null) expect(running.reason).toBeNull();
    else expect(running.reason).toMatch(reason);
  });

  it('does not run on a target in recovery', () => {
    expect(judgeRunning(names, true, sub, slot)).toMatchObject({ value: 0 });
  });

  it('takes the worst of several flows, with the reasons of the worst', () => {
    const ok = { value: 1, reason: null } as const;
    expect(worstRunning([ok, { value: null, reason: 'b: hidden' }])).toEqual({ value: null, reason: 'b: hidden' });
    expect(
      worstRunning([
        { value: 0, reason: 'a: off' },
        { value: null, reason: 'b: hidden' },
        { value: 0, reason: 'c: off' },
      ]),
    ).toEqual({ value: 0, reason: 'a: off; c: off' });
    expect(worstRunning([ok, ok])).toEqual(ok);
    expect(worstRunning([]).value).toBeNull();
  });
});

describe('judgeApplied', () => {
  const judge = (
    s: Partial<SubscriptionFacts> | null,
    l: Partial<SlotFacts> | null,
    before: FlowMemory | null = null,
    identity = '1/1',
  ): ReturnType<typeof judgeApplied> =>
    judgeApplied(names, s === null ? null : { ...sub, ...s }, l === null ? null : { ...slot, ...l }, identity, before);

  it('is the greater of origin and walsender', () => {
    expect(judge({ origin: 100n }, { flush: 90n }).applied.lsn).toBe(100n);
    expect(judge({ origin: 100n }, { flush: 120n }).applied.lsn).toBe(120n);
    expect(judge({ origin: null }, { flush: 120n }).applied.lsn).toBe(120n);
  });

  it('goes by either alone where the other may not be read', () => {
    expect(judge({ origin: 100n }, hidden).applied.lsn).toBe(100n);
    expect(judge({ originReadable: false, origin: null }, { flush: 90n }).applied.lsn).toBe(90n);
  });

  it('is a fault, and never zero, where neither may be read', () => {
    const { applied } = judge({ originReadable: false, origin: null }, hidden);
    expect(applied.lsn).toBeNull();
    expect(applied.reason).toMatch(/GRANT pg_read_all_stats TO "lg".*GRANT EXECUTE ON FUNCTION/);
    const old = judgeApplied(
      { ...names, toVersion: 130000 },
      { ...sub, originReadable: false, origin: null },
      { ...slot, ...hidden },
      '',
      null,
    );
    expect(old.applied.reason).toMatch(/lockgate\.origin_progress/);
  });

  it('is a fault where nothing ties the position to this source', () => {
    expect(judge(null, null).applied.lsn).toBeNull();
    expect(judge({ slot: null }, null).applied.lsn).toBeNull();
    expect(judge({}, null).applied.reason).toMatch(/does not exist on onprem/);
    expect(judge({}, { ours: false, database: 'crm' }).applied.reason).toMatch(/database crm/);
  });

  it('is a fault while nothing has been applied or confirmed', () => {
    expect(judge({ origin: null }, { flush: null }).applied.reason).toMatch(/neither applied nor confirmed/);
    const { memory } = judge({ origin: null }, { flush: null });
    expect(judge({ origin: null }, detached, memory).applied.reason).toMatch(/no walsender/);
  });

  it('keeps what the walsender of an idle flow had reported after it is gone', () => {
    const first = judge({ origin: 50n }, { flush: 200n });
    expect(judge({ origin: 50n }, detached, first.memory).applied.lsn).toBe(200n);
    // A worker that comes back reports its origin at first.
    expect(judge({ origin: 50n }, { flush: 50n }, first.memory).applied.lsn).toBe(200n);
    expect(judge({ origin: 250n }, detached, first.memory).applied.lsn).toBe(250n);
  });

  it('forgets it when the origin goes back, or the subscription, its slot or the source is another', () => {
    const { memory } = judge({ origin: 50n }, { flush: 200n });
    expect(judge({ origin: 40n }, detached, memory).applied.lsn).toBe(40n);
    const young = { flush: 60n };
    expect(judge({ origin: 50n, id: '16999' }, young, memory).applied.lsn).toBe(60n);
    expect(judge({ origin: 50n, slot: 'other' }, young, memory).applied.lsn).toBe(60n);
    expect(judge({ origin: 50n }, young, memory, '1/2').applied.lsn).toBe(60n);
  });

  it('does not take an origin for a position of this source before its slot was seen in use', () => {
    expect(judge({ origin: 100n }, detached).applied.reason).toMatch(/nothing ties/);
    const { memory } = judge({ origin: 100n }, {});
    expect(judge({ origin: 100n }, detached, memory).applied.lsn).toBe(100n);
    expect(judge({ origin: 100n }, detached, memory, '1/2').applied.lsn).toBeNull();
  });

  it('by the walsender alone, does not take a report that went back for one', () => {
    const blind = { originReadable: false, origin: null };
    const { memory } = judge(blind, { flush: 200n });
    const back = judge(blind, { flush: 50n }, memory);
    expect(back.applied.reason).toMatch(/less than 0\/C8/);
    expect(judge(blind, { flush: 210n }, back.memory).applied.lsn).toBe(210n);
    expect(judge(blind, detached, memory).applied.lsn).toBeNull();
  });

  it('does not take what another subscriber of the same slot reports for its own', () => {
    // A copy of the target has taken the slot over; here the worker fails to connect, or the subscription is disabled.
    for (const here of [
      { worker: 77, received: null },
      { worker: null, received: null, enabled: false },
    ]) {
      expect(judge({ origin: 50n, ...here }, { flush: 200n }).applied.lsn).toBeNull();
      const { memory } = judge({ origin: 50n, received: 100n }, { flush: 90n });
      expect(judge({ origin: 50n, ...here }, { flush: 200n }, memory).applied.lsn).toBe(90n);
      const blind = { originReadable: false, origin: null, ...here };
      expect(judge(blind, { flush: 200n }).applied.reason).toMatch(/another subscriber/);
    }
  });

  it('takes no more for confirmed than its own worker has received', () => {
    // Two servers have a slot of this name, and the subscription follows the other one.
    expect(judge({ origin: 50n, received: 60n }, { flush: 200n }).applied.lsn).toBe(60n);
  });

  it('does not count what was applied before the source failed over until something newer was', () => {
    const { memory } = judge({ origin: 200n }, { flush: 200n });
    const after = judge({ origin: 200n }, { flush: 200n }, memory, '1/2');
    expect(after.applied.reason).toMatch(/another history/);
    expect(judge({ origin: 200n }, detached, after.memory, '1/2').applied.lsn).toBeNull();
    expect(judge({ origin: 200n }, { flush: 210n }, after.memory, '1/2').applied.lsn).toBe(210n);
    // The slot is made anew on the new server only later.
    const gone = judge({ origin: 200n }, null, memory, '1/2');
    expect(judge({ origin: 200n }, { flush: 200n }, gone.memory, '1/2').applied.lsn).toBeNull();
  });

  it('never takes the position of a process that is no walsender', () => {
    const { memory } = judge({ origin: 10n }, { flush: null });
    expect(judge({ origin: 10n }, { walsender: false, flush: 500n }, memory).applied.lsn).toBe(10n);
  });
});

describe('judgeDelays', () => {
  it('takes the worst walsender and splits its delay', () => {
    const { transit, apply } = judgeDelays(
      [
        { visible: true, writeLag: 0.01, replayLag: 0.03 },
        { visible: true, writeLag: 0.5, replayLag: 0.51 },
      ],
      'lg',
    );
    expect(transit.value).toBe(0.5);
    expect(apply.value).toBeCloseTo(0.02);
  });

  it('is unknown when idle, hidden or not connected', () => {
    const idle = { visible: true, writeLag: null, replayLag: null };
    expect(judgeDelays([idle], 'lg').transit.reason).toMatch(/idle/);
    expect(judgeDelays([{ ...idle, visible: false }], 'lg').apply.reason).toMatch(/GRANT pg_read_all_stats TO lg/);
    expect(judgeDelays([], 'lg').apply.value).toBeNull();
  });
});
