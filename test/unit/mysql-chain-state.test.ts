import { describe, expect, it } from 'vitest';
import {
  isTroubled,
  judgeChain,
  traceOf,
  type ChainChannel,
  type ChainServer,
  type ChainSource,
  type ChainTarget,
} from '../../collectors/mysql/chain-state.js';
import { injectedOf } from '../../collectors/mysql/injected.js';
import { Chains } from '../../daemon/chains.js';
import { parseMariadbGtidSet, parseMysqlGtidSet } from '../../daemon/core/gtid.js';
import { parsePosition } from '../../daemon/core/position.js';

const uuid = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const own = '4e11fa47-71ca-11e1-9e33-c80aa9429562';
const flow = 'default channel';
const S = 1_000_000;

const server = (more: Partial<ChainServer> = {}): ChainServer => ({
  home: 'here',
  identity: { uuid, serverId: 1 },
  mariadb: false,
  startedAt: '100',
  durable: true,
  ...more,
});
const channel = (more: Partial<ChainChannel> = {}): ChainChannel => ({
  channel: '',
  sourceHost: 'db',
  sourcePort: 3306,
  sourceUuid: uuid,
  sourceServerId: 1,
  io: 'Yes',
  sql: 'Yes',
  ioErrno: 0,
  ioError: '',
  sqlErrno: 0,
  sqlError: '',
  readFile: 'binlog.000002',
  readOffset: 900,
  executedFile: 'binlog.000002',
  executedOffset: 900,
  delay: 0,
  receivedGtids: '',
  byGtid: true,
  filters: {},
  groups: null,
  skipCounter: 0,
  ...more,
});
const target = (more: Partial<ChainTarget> = {}): ChainTarget => ({
  server: server({ home: 'there', identity: { uuid: own, serverId: 2 } }),
  channels: [channel()],
  executed: parseMysqlGtidSet(`${uuid}:1-9`),
  purged: { set: parseMysqlGtidSet(''), oldest: 'binlog.000001' },
  head: { file: 'binlog.000001', offset: 900 },
  steady: true,
  own: new Map(),
  skipping: false,
  skipErrors: '',
  execMode: 'STRICT',
  handled: { starts: 1, changes: 1, resets: 0 },
  ...more,
});
const source = (more: Partial<ChainSource> = {}): ChainSource => ({
  server: server(),
  position: { kind: 'gtid', set: parseMysqlGtidSet(`${uuid}:1-20`) },
  domain: null,
  ...more,
});

/** Looks one after the other, as the collector and the daemon take them; answers what broke. */
function looks(...all: { t?: ChainTarget; s?: ChainSource; injected?: string[]; watch?: string }[]): string[] {
  const chains = new Chains({});
  let trace: ReturnType<typeof traceOf> | null = null;
  const broken: string[] = [];
  for (const { t = target(), s = source(), injected = [], watch = 'w' } of all) {
    const { facts } = judgeChain({ from: 'onprem', to: 'aws', watch }, [flow], t, s, trace, injected);
    trace = traceOf(t, trace);
    if (facts === null) continue;
    broken.push(...chains.see('shop/forward', facts, 0, S, 0).news.map((b) => b.what));
  }
  return broken;
}

describe('by GTIDs of MySQL', () => {
  const executed = (text: string): Partial<ChainTarget> => ({ executed: parseMysqlGtidSet(text) });
  const purged = (text: string, oldest = 'binlog.000001'): Partial<ChainTarget> => ({
    purged: { set: parseMysqlGtidSet(text), oldest },
  });
  it.each([
    ['nothing happens', {}, {}, null],
    ['more is applied', {}, executed(`${uuid}:1-12`), null],
    ['less is applied than before', {}, executed(`${uuid}:1-8`), /what was applied on aws went back/],
    ['more than the source has', {}, executed(`${uuid}:1-21`), /that onprem does not have/],
    ['its own are more', {}, executed(`${uuid}:1-9,${own}:1-4`), null],
    ['purged by hand, from nothing', {}, purged(`${uuid}:1-10`), /gtid_purged of aws moved from nothing to/],
    ['purged by hand', purged(`${uuid}:1-3`), purged(`${uuid}:1-10`), /moved from .*:1-3 to .*:1-10 by hand/],
    ['purged with its binlogs', purged(`${uuid}:1-3`), purged(`${uuid}:1-10`, 'binlog.000004'), null],
    ['its binlog began anew', { head: { file: 'binlog.000007', offset: 4 } }, {}, /the binlog of aws went back/],
    ['told to skip', {}, { skipping: true }, /told to skip changes/],
    [
      'a channel is told to skip',
      {},
      { channels: [channel({ skipCounter: 1 })] },
      /the default channel on aws was told/,
    ],
    ['skips errors', {}, { skipErrors: '1062' }, /replica_skip_errors = 1062/],
    ['passes over rows', {}, { execMode: 'IDEMPOTENT' }, /replica_exec_mode = IDEMPOTENT/],
    ['another server', {}, { server: server({ home: 'elsewhere', identity: { uuid: own, serverId: 2 } }) }, /the server of aws changed/], // prettier-ignore
    ['another source', {}, { channels: [channel({ sourceUuid: own })] }, /replicates from another server than onprem/],
    ['a source that it does not know yet', {}, { channels: [channel({ sourceUuid: null, sourceServerId: 0 })] }, null],
    ['started again', {}, { handled: { starts: 2, changes: 2, resets: 0 } }, null],
    ['restarted', {}, { server: server({ home: 'there', identity: { uuid: own, serverId: 2 }, startedAt: '200' }), handled: { starts: 0, changes: 0, resets: 0 } }, null], // prettier-ignore
  ])('%s', (_, first, second, what) => {
    const broken = looks({ t: target(first) }, { t: target(second) });
    if (what === null) expect(broken).toEqual([]);
    else expect(broken.join('\n')).toMatch(what);
  });

  it.each([
    ['goes back', source({ position: parsePosition(`${uuid}:1-19`) }), /the binlog of onprem went back/],
    [
      'is another one',
      source({ server: server({ home: 'other' }) }),
      /the server of onprem changed from here to other/,
    ],
    ['is restarted', source({ server: server({ startedAt: '300' }) }), null],
  ])('the source %s', (_, s, what) => {
    const broken = looks({}, { s });
    if (what === null) expect(broken).toEqual([]);
    else expect(broken.join('\n')).toMatch(what);
  });

  it('takes back what a crash may take back, where nothing is flushed', () => {
    const loose = (startedAt: string, text: string): ChainTarget =>
      target({ ...executed(text), server: server({ home: 'there', durable: false, startedAt }) });
    expect(looks({ t: loose('1', `${uuid}:1-9`) }, { t: loose('2', `${uuid}:1-8`) })).toEqual([]);
    expect(looks({ t: loose('1', `${uuid}:1-9`) }, { t: loose('1', `${uuid}:1-8`) }).join()).toMatch(/went back/);
    const flushed = { server: server({ home: 'there', identity: { uuid: own, serverId: 2 }, startedAt: '2' }) };
    expect(looks({}, { t: target({ ...executed(`${uuid}:1-8`), ...flushed }) }).join()).toMatch(/went back/);
  });

  it('names what was injected, once', () => {
    expect(looks({}, { injected: [`${uuid}:10`] }, {})).toEqual([
      `the transaction ${uuid}:10 was skipped on aws: somebody committed another one there in its name`,
    ]);
  });

  it('is broken by what was done while nobody looked, and not by what was seen', () => {
    const handled = target({ handled: { starts: 2, changes: 1, resets: 0 } });
    expect(looks({}, { t: handled, watch: 'w' })).toEqual([]);
    expect(looks({}, { t: handled, watch: 'v' }).join()).toMatch(/while lockgate was not looking/);
    expect(looks({}, { watch: 'v' })).toEqual([]);
  });

  it('knows nothing without a channel', () => {
    const { facts, fault } = judgeChain({ from: 'onprem', to: 'aws', watch: '' }, [flow], target({ channels: [] }), source(), null, []); // prettier-ignore
    expect([facts, fault]).toEqual([null, 'there is no channel for default channel on aws']);
  });
});

describe('by file and position of MySQL', () => {
  const at = (offset: number, more: Partial<ChainTarget> = {}, of: Partial<ChainChannel> = {}): ChainTarget =>
    target({ executed: null, purged: null, channels: [channel({ byGtid: false, executedOffset: offset, ...of })], ...more }); // prettier-ignore
  const s = source({ position: { kind: 'binlog', server: uuid, file: 'binlog.000002', offset: 2_000 } });
  const stopped = { sql: 'No' };
  const handled = (starts: number, changes: number): Partial<ChainTarget> => ({
    handled: { starts, changes, resets: 0 },
  });
  it.each([
    ['applied more', at(900), at(950), null],
    ['went back', at(900), at(800), /the place in the binlog of onprem .* went back/],
    ['moved while it stood still', at(900, {}, stopped), at(950, {}, stopped), /by hand: its SQL thread stood still/],
    ['was started in between', at(900, {}, stopped), at(950, handled(2, 1), stopped), null],
    ['changed and started in between', at(900), at(950, handled(2, 2)), /was changed .* it may have been moved/],
    ['changed and not started', at(900, {}, stopped), at(900, handled(1, 2), stopped), null],
    ['another delay', at(900), at(950, handled(2, 2), { delay: 5 }), null],
    ['made anew', at(900, { channels: [] }), at(950, handled(2, 2)), /was made anew by file and position/],
    [
      'restarted',
      at(900),
      at(950, {
        ...handled(0, 2),
        server: server({ home: 'there', identity: { uuid: own, serverId: 2 }, startedAt: '9' }),
      }),
      null,
    ],
    ['beyond the source', at(900), at(2_100), /that onprem does not have/],
  ])('%s', (_, first, second, what) => {
    const broken = looks({ t: first, s }, { t: second, s });
    if (what === null) expect(broken).toEqual([]);
    else expect(broken.join('\n')).toMatch(what);
  });
});

describe('on MariaDB', () => {
  const s = source({
    server: server({ mariadb: true, identity: { uuid: null, serverId: 1 } }),
    position: { kind: 'gtid', set: parseMariadbGtidSet('0-1-50,7-1-50') },
    domain: '0',
  });
  const at = (
    pos: string,
    groups: number,
    more: Partial<ChainTarget> = {},
    of: Partial<ChainChannel> = {},
  ): ChainTarget =>
    // prettier-ignore
    target({
      server: server({ home: 'there', mariadb: true, identity: { uuid: null, serverId: 2 } }),
      executed: parseMariadbGtidSet(pos),
      purged: null,
      head: null,
      channels: [channel({ sourceUuid: null, groups, ...of })],
      ...more,
    });
  const busy = { readOffset: 2_000 };
  /** Everything is executed by the place, and this much received. */
  const outrun = (pos: string, groups: number, receivedGtids: string): ChainTarget =>
    at(pos, groups, {}, { receivedGtids });
  /** The target's own last number in the domain that the source writes in as well. */
  const wrote = (seq: bigint): Partial<ChainTarget> => ({ own: new Map([[0, seq]]) });
  const anew = { handled: { starts: 2, changes: 2, resets: 1 } };
  it.each([
    ['applied', [at('0-1-10', 10), at('0-1-15', 15)], null],
    ['applied one less than it moved', [at('0-1-10', 10), at('0-1-15', 14)], /moved further than what was applied/],
    ['a failed group that counts twice', [at('0-1-10', 10), at('0-1-10', 11, {}, { sql: 'No' }), at('0-1-11', 12)], null], // prettier-ignore
    ['a failed group that was skipped', [at('0-1-10', 10), at('0-1-10', 11, {}, { ...busy, sql: 'No' }), at('0-1-12', 12)], /moved further/], // prettier-ignore
    ['under way', [at('0-1-10', 10), at('0-1-10', 14, {}, busy), at('0-1-14', 14)], null],
    ['read while something was applied', [at('0-1-10', 11, { steady: false }), at('0-1-11', 11)], null],
    ['restarted', [at('0-1-10', 10), at('0-1-15', 2, { server: server({ home: 'there', mariadb: true, startedAt: '9' }) })], null], // prettier-ignore
    ['made anew', [at('0-1-10', 10), at('0-1-13', 3, anew)], null],
    ['made anew, and more applied than before', [at('0-1-10', 10), at('0-1-30', 20, anew)], null],
    ['made anew at another place', [at('0-1-10', 10), at('0-1-15', 3, anew)], /while its channel was made anew/],
    ['its binlog was reset alone', [at('0-1-10', 10), at('0-1-12', 12, { handled: { starts: 1, changes: 1, resets: 1 } })], null], // prettier-ignore
    // As measured on 10.11.18: another domain's transaction waits for a lock, and three of this one overtake it.
    ['an older one that is still under way', [at('0-1-5', 5), outrun('0-1-8', 9, '7-1-1,0-1-8'), outrun('0-1-8,7-1-1', 9, '7-1-1,0-1-8'), outrun('0-1-9,7-1-1', 10, '7-1-1,0-1-9')], null], // prettier-ignore
    ['an older one that is tried again and again', [at('0-1-23,7-1-4', 6), outrun('0-1-26,7-1-4', 13, '7-1-5,0-1-26'), outrun('0-1-26,7-1-5', 13, '7-1-5,0-1-26'), outrun('0-1-27,7-1-5', 14, '7-1-5,0-1-27')], null], // prettier-ignore
    ['an older one under way while it is stopped', [at('0-1-11,7-1-1', 12), outrun('0-1-14,7-1-1', 16, '7-1-2,0-1-14'), at('0-1-14,7-1-2', 16, {}, { sql: 'No', ...busy }), outrun('0-1-15,7-1-2', 17, '7-1-2,0-1-15')], null], // prettier-ignore
    ['an older one that was left out after all', [at('0-1-31,7-1-6', 21), at('0-1-31,7-1-6', 23, {}, { sql: 'No', ...busy }), outrun('0-1-33,7-1-7', 24, '7-1-7,0-1-33')], /moved further/], // prettier-ignore
    ['left out while an older one was under way', [at('0-1-5', 5), outrun('0-1-8', 8, '7-1-1,0-1-8'), outrun('0-1-9,7-1-1', 9, '7-1-1,0-1-9')], /moved further/], // prettier-ignore
    ['placed by file, where what is received stays behind', [at('0-1-16', 16), at('0-1-17', 17, {}, { byGtid: false, receivedGtids: '0-1-16' })], null], // prettier-ignore
    ['placed by file, and one left out', [at('0-1-16', 16), at('0-1-18', 17, {}, { byGtid: false, receivedGtids: '0-1-99' })], /moved further/], // prettier-ignore
    ['two domains', [at('0-1-10', 10), at('0-1-12,5-9-1', 13)], null],
    [
      'a domain that appeared by hand',
      [at('0-1-10', 10), at('0-1-10,5-9-1', 10)],
      /moved further than what was applied/,
    ],
    ['its own changes came back', [at('0-1-10,2-2-4', 10), at('0-1-12,2-2-9', 12)], null],
    ['its own came back, and one was left out', [at('0-1-10,2-2-4', 10), at('0-1-12,2-2-9', 11)], /moved further/],
    ['its own came back for the first time', [at('0-1-10', 10), at('0-1-12,2-2-9', 12)], null],
    // In one domain with the source: 11 and 12 of the target's own came back, and 13 was applied.
    ['its own came back in the same domain, and was overtaken', [at('0-1-10', 10, wrote(9n)), at('0-1-13', 11, wrote(12n))], null], // prettier-ignore
    ['its own was on its way in the same domain, and was overtaken', [at('0-1-10', 10, wrote(12n)), at('0-1-13', 11, wrote(12n))], null], // prettier-ignore
    ['its own came back long ago, and one was left out', [at('0-1-10', 10, wrote(9n)), at('0-1-13', 12, wrote(9n))], /moved further/], // prettier-ignore
    ['its own was overtaken, and one was left out later', [at('0-1-10', 10, wrote(12n)), at('0-1-13', 11, wrote(12n)), at('0-1-15', 12, wrote(12n))], /moved further/], // prettier-ignore
    ['a domain is lost', [at('0-1-10,5-9-1', 11), at('0-1-10', 11)], /went back/],
  ])('%s', (_, all, what) => {
    const broken = looks(...all.map((t) => ({ t, s })));
    if (what === null) expect(broken).toEqual([]);
    else expect(broken.join('\n')).toMatch(what);
  });

  it('watches the domain and the address that changes come from', () => {
    expect(looks({ t: at('0-1-10', 10), s }, { t: at('0-1-10', 10), s: { ...s, domain: '3' } }).join()).toMatch(
      /the GTID domain of onprem changed from 0 to 3/,
    );
    const moved = at('0-1-10', 10, {}, { sourcePort: 3_307 });
    expect(looks({ t: at('0-1-10', 10), s }, { t: moved, s }).join()).toMatch(/replicates from changed from/);
  });
});

it('finds trouble where something may be done to replication', () => {
  const before = traceOf(target(), null);
  expect(isTroubled(target(), before)).toBe(false);
  expect(isTroubled(target({ channels: [channel({ sql: 'No' })] }), before)).toBe(true);
  expect(isTroubled(target({ channels: [channel({ sqlErrno: 1062 })] }), before)).toBe(true);
  expect(isTroubled(target({ handled: { starts: 2, changes: 1, resets: 0 } }), before)).toBe(true);
});

it.each([
  ['of another server, committed here', 'Gtid', 2, `${uuid}:17`, [`${uuid}:17`]],
  ['with a tag', 'Gtid_tagged', 2, `${uuid}:ours:17`, [`${uuid}:ours:17`]],
  ['of another server, replicated', 'Gtid', 1, `${uuid}:17`, []],
  ['of its own', 'Gtid', 2, `${own}:17`, []],
  ['without any', 'Anonymous_Gtid', 2, 'ANONYMOUS', []],
  ['no such event', 'Query', 2, `${uuid}:17`, []],
])('a transaction %s', (_, type, id, gtid, found) => {
  const event = { Event_type: type, Server_id: id, End_log_pos: 4, Info: `SET @@SESSION.GTID_NEXT= '${gtid}'` };
  expect(injectedOf([event], { uuid: own, serverId: 2 })).toEqual(found);
});
