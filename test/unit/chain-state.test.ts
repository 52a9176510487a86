import { describe, expect, it } from 'vitest';
import { lsnOf } from '../../daemon/core/position.js';
import {
  disagreement,
  judgeLogicalChain,
  judgePhysicalChain,
  type ChainNames,
  type ChainSlot,
  type ChainSubscription,
  type FlowTrace,
  type Looks,
  type ServerFacts,
  type SourceSight,
  type TargetSight,
} from '../../collectors/postgres/chain-state.js';
import type { ChainFacts } from '../../daemon/core/continuity.js';

const names: ChainNames = { from: 'onprem', to: 'aws', fromUser: '"lg"', toUser: '"lg"', run: 'r1' };
const server = (over: Partial<ServerFacts> = {}): ServerFacts => ({
  systemIdentifier: '1',
  timeline: 1,
  inRecovery: false,
  position: 100n,
  end: 110n,
  startedAt: 'monday',
  statistics: 'monday',
  ...over,
});
const subscription = (over: Partial<ChainSubscription> = {}): ChainSubscription => ({
  id: '16400',
  enabled: true,
  slot: 's',
  worker: 7,
  rowVersion: '750',
  skip: null,
  skipped: false,
  applied: 50n,
  origin: { remote: 60n, local: '0/1' },
  errors: 0,
  uncopied: [],
  ...over,
});
const slot = (over: Partial<ChainSlot> = {}): ChainSlot => ({
  plugin: 'pgoutput',
  database: 'app',
  activePid: 9,
  invalid: null,
  confirmed: 60n,
  decoded: { count: 5, since: '' },
  ...over,
});
const asleep = { enabled: false, worker: null } as const;

function judge(
  sub: Partial<ChainSubscription> | null = {},
  held: Partial<ChainSlot> | null = {},
  sides: { source?: Partial<ServerFacts>; target?: Partial<TargetSight> } = {},
  traces: ReadonlyMap<string, FlowTrace> = new Map(),
  looks: Looks = { watch: 'r1/1', stuck: new Set() },
): ReturnType<typeof judgeLogicalChain> {
  const target: TargetSight = {
    server: server({ systemIdentifier: '2' }),
    originsReadable: true,
    version: 180000,
    subscriptions: new Map(sub === null ? [] : [['f', subscription(sub)]]),
    ...sides.target,
  };
  const source: SourceSight = {
    server: server(sides.source),
    slots: new Map(held === null ? [] : [['s', slot(held)]]),
  };
  return judgeLogicalChain(names, ['f'], target, source, traces, looks);
}
const factsOf = (judged: ReturnType<typeof judgeLogicalChain>): ChainFacts => {
  if (judged.verdict.facts === null) throw new Error(judged.verdict.fault);
  return judged.verdict.facts;
};

describe('a chain of logical replication', () => {
  it('has the identities and positions of both sides and of each flow', () => {
    const facts = factsOf(judge());
    expect(facts.identities.map((i) => `${i.key}=${i.value}`)).toEqual([
      'source.system=1',
      'source.timeline=1',
      'target.system=2',
      'target.timeline=1',
      'flow.f.subscription=16400',
      'flow.f.slot=s',
      'flow.f.slot.kind=pgoutput in database app',
    ]);
    expect(facts.positions.map((p) => `${p.key}=${lsnOf(p.position)} ${p.life ?? 'for ever'}`)).toEqual([
      'source=100 for ever',
      'flow.f.applied=50 16400',
    ]);
    expect(facts.broken).toEqual([]);
  });

  it.each<[string, ReturnType<typeof judge>, RegExp]>([
    ['a SKIP', judge({ skip: '0/AB' }), /^ALTER SUBSCRIPTION f SKIP was set on aws, to skip the transaction at 0\/AB$/],
    [
      'a lost slot',
      judge({}, { invalid: 'it has lost WAL' }),
      /^slot s on onprem is of no use any more: it has lost WAL$/,
    ],
    [
      'an origin beyond the source',
      judge({ origin: { remote: 111n, local: '' } }),
      /^f on aws stands at a position beyond the WAL/,
    ],
  ])('is broken by %s', (_, judged, clause) => {
    expect(factsOf(judged).broken).toEqual([expect.stringMatching(clause)]);
  });

  it('is broken by a missing slot only at the second look, and only if it ever was there', () => {
    const first = judge({}, null);
    expect(factsOf(first).broken).toEqual([]);
    const second = judge({}, null, {}, first.traces);
    expect(factsOf(second).broken).toEqual(['slot s of f is missing on onprem']);
    // Made without its slot, and never used.
    const fresh = { origin: { remote: 0n, local: '' }, applied: null };
    const made = judge(fresh, null, {}, judge(fresh, null).traces);
    expect(factsOf(made).broken).toEqual([]);
    const dropped = judge(fresh, null, {}, judge(fresh, null, {}, judge(fresh).traces).traces);
    expect(factsOf(dropped).broken).toHaveLength(1);
  });

  it('says that nothing can have moved a flow only while all of it is at rest', () => {
    const idle = (judged: ReturnType<typeof judge>): string[] =>
      (factsOf(judged).driven ?? []).filter((d) => d.key.endsWith('idle')).map((d) => `${d.key} ${d.driver} ${d.life}`);
    expect(idle(judge(asleep, { activePid: null }))).toEqual([
      'flow.f.origin.idle 750 16400',
      'flow.f.slot.idle 750 16400',
    ]);
    for (const awake of [
      judge({ ...asleep, worker: 7 }, { activePid: null }),
      judge(asleep),
      judge({ worker: null }, { activePid: null }),
    ]) {
      expect(idle(awake)).toEqual([]);
    }
  });

  it('goes by its own looks where the row of the subscription may not be read', () => {
    const rest = { ...asleep, rowVersion: null };
    const driver = (judged: ReturnType<typeof judge>): string | undefined =>
      factsOf(judged).driven?.find((d) => d.key === 'flow.f.slot.idle')?.driver;
    const one = judge(rest, { activePid: null });
    const two = judge(rest, { activePid: null }, {}, one.traces);
    expect([driver(one), driver(two)]).toEqual(['1', '1']);
    const awake = judge({ rowVersion: null }, {}, {}, two.traces);
    expect(driver(judge(rest, { activePid: null }, {}, awake.traces))).toBe('4');
  });

  it.each<[string, ReturnType<typeof judge>, RegExp]>([
    ['no subscription', judge(null), /no subscription of this name in the database of aws/],
    ['an ambiguous name', judge({ id: null }), /GRANT SELECT \(oid, xmin\) ON pg_catalog\.pg_subscription TO "lg"/],
    [
      'hidden origins',
      judge({}, {}, { target: { originsReadable: false } }),
      /GRANT EXECUTE ON FUNCTION pg_catalog\.pg_show/,
    ],
    [
      'hidden origins on 13',
      judge({}, {}, { target: { originsReadable: false, version: 130023 } }),
      /lockgate\.origin_status/,
    ],
    [
      'a hidden identifier',
      judge({}, {}, { source: { systemIdentifier: null } }),
      /identifier of onprem.*pg_control_system\(\) TO "lg"/,
    ],
  ])('cannot be told with %s', (_, judged, reason) => {
    expect(judged.verdict.fault).toMatch(reason);
  });

  it('lets a source that is itself a standby replay again after a restart', () => {
    const [source] = factsOf(judge({}, {}, { source: { inRecovery: true, timeline: null } })).positions;
    expect(source?.life).toBe('standby monday monday');
  });

  it('tells tables taken up without their rows apart by their rows in the catalog', () => {
    const facts = factsOf(judge({ uncopied: [{ table: 'public.orders', version: '801' }] }));
    expect(facts.flaws?.find((f) => f.key === 'flow.f.uncopied')?.members).toEqual([
      { id: '16400 public.orders 801', name: 'public.orders' },
    ]);
  });

  it('remembers a skip by the row that it changed', () => {
    const flaw = (over: Partial<ChainSubscription>): readonly unknown[] | undefined =>
      factsOf(judge(over)).flaws?.find((f) => f.key === 'flow.f.skipped')?.members;
    expect(flaw({})).toEqual([]);
    expect(flaw({ skipped: true })).toEqual([{ id: '16400/750', name: '16400/750' }]);
    expect(flaw({ skipped: true, rowVersion: null })).toEqual([]);
  });
});

describe('a chain of physical replication', () => {
  it('is whole, broken by promotion and by another system, and its replay may begin anew with the server', () => {
    const standby = server({ inRecovery: true, position: 90n });
    const whole = judgePhysicalChain(names, server(), standby);
    expect(whole.facts).toMatchObject({ broken: [] });
    expect(whole.facts?.positions.map((p) => p.life)).toEqual([undefined, 'monday monday']);
    expect(judgePhysicalChain(names, server(), server()).facts?.broken).toEqual([
      'aws is no standby of onprem any more: it has been promoted',
    ]);
    expect(judgePhysicalChain(names, server({ systemIdentifier: '9' }), standby).facts?.broken).toHaveLength(1);
    expect(judgePhysicalChain(names, server({ systemIdentifier: null }), standby).fault).toMatch(/GRANT/);
  });
});

describe('a subscription that someone has altered', () => {
  const stuck: Looks = { watch: 'r1/1', stuck: new Set(['f']) };
  const altered = (over: Partial<ChainSubscription>, looks = stuck, version = 180000): readonly string[] => {
    const { traces } = judge({}, {}, {}, new Map(), looks);
    return factsOf(judge({ rowVersion: '751', ...over }, {}, { target: { version } }, traces, looks)).broken;
  };

  it('is remembered with the stretch of looks in which it was seen', () => {
    expect(factsOf(judge()).guarded).toEqual([
      {
        key: 'flow.f.row',
        unwatched: expect.stringMatching(/subscription f on aws was altered while lockgate was not looking/) as unknown,
        value: '750',
        watch: 'r1/1',
        life: '16400',
      },
    ]);
    expect(factsOf(judge({ rowVersion: null })).guarded).toEqual([]);
  });

  it('while its apply fails may have skipped, where the target does not tell', () => {
    expect(altered({ skipped: null })).toEqual([expect.stringMatching(/may have been told to skip.*track_commit/)]);
    expect(altered({ skipped: false })).toEqual([]);
    expect(altered({ skipped: null, rowVersion: '750' })).toEqual([]);
    expect(altered({ skipped: null, rowVersion: null })).toEqual([]);
    // What is disabled skips nothing yet, a flow that has not failed has nothing to skip, and before 15 there is no SKIP.
    expect(altered({ skipped: null, ...asleep })).toEqual([]);
    expect(altered({ skipped: null }, { watch: 'r1/1', stuck: new Set() })).toEqual([]);
    expect(altered({ skipped: null }, stuck, 140000)).toEqual([]);
  });
});

describe('two sessions of one side', () => {
  it('agree when they lead to the same life of the same server', () => {
    expect(disagreement('aws', server(), server({ position: 999n }))).toBeNull();
    expect(disagreement('aws', server(), server({ inRecovery: true }))).toMatch(/lead to different servers/);
    expect(disagreement('aws', server(), server({ startedAt: 'tuesday' }))).toMatch(/lead to different servers/);
  });
});
