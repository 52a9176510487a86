import { beforeEach, describe, expect, it } from 'vitest';
import { EntryHomes } from '../../daemon/homes.js';
import { directAddress, endpointOf, wanderingEndpoint } from '../../collectors/session/endpoint.js';
import { SideIdentity, identified, identityOf, type Member } from '../../collectors/session/side-identity.js';
import { databaseAt } from '../support/listening.js';
import { FakeClock } from '../support/fake-clock.js';

const db = databaseAt('onprem', 'postgres://lockgate:x@db.example:5432/app');
const at = (home: string) => ({ home, where: `primary at ${home}` });

describe('where the sessions of a side lead', () => {
  let clock: FakeClock;
  let homes: EntryHomes;
  let side: SideIdentity;
  let lost: Error[];
  let heard: string[];
  const enter = (home: string): Member => side.enter(at(home), (error) => lost.push(error));

  beforeEach(() => {
    clock = new FakeClock();
    homes = new EntryHomes();
    side = new SideIdentity(db, clock, homes);
    [lost, heard] = [[], []];
    side.onSplit((what) => heard.push(what));
  });

  it('finds two servers that live at the same time, ends every session, and believes none for a minute', async () => {
    const a = enter('one');
    enter('two');
    side.answered(a, side.order);
    expect(heard).toEqual([
      'connections to onprem lead to different servers at the same time (primary at one; primary at two)',
    ]);
    expect(lost.map((e) => e.message)).toEqual([
      expect.stringContaining('lead to different servers'),
      expect.stringContaining('lead to different servers'),
    ]);
    expect(() => side.admit()).toThrow(/different servers/);
    expect(() => enter('one')).toThrow(/different servers/);
    await clock.advance(59_000_000);
    expect(() => side.admit()).toThrow(/different servers/);
    await clock.advance(2_000_000);
    side.admit();
  });

  it('takes a restart or a failover for none, because the old sessions answer nothing any more', () => {
    const [a, b] = [enter('one'), enter('one')];
    const asked = side.order;
    const c = enter('two');
    // Asked before the new one was there: it may have come from a server that has died since.
    side.answered(a, asked);
    side.leave(a);
    side.leave(b);
    side.answered(c, side.order);
    side.answered(enter('two'), side.order);
    expect([heard, lost]).toEqual([[], []]);
  });

  it('does not take a session that answers after it was let go for a proof', () => {
    const a = enter('one');
    side.leave(a);
    enter('two');
    side.answered(a, side.order);
    expect(heard).toEqual([]);
  });

  it('believes a stream only what cannot have waited', async () => {
    const a = enter('one');
    enter('two');
    await clock.advance(4_000_000);
    side.streamed(a);
    expect(heard).toEqual([]);
    await clock.advance(2_000_000);
    side.streamed(a);
    expect(heard).toHaveLength(1);
  });

  it('takes what a stream tells of a known instant for an answer to what was asked then', async () => {
    const a = enter('one');
    await clock.advance(1_000_000);
    const before = clock.monotonicNow();
    await clock.advance(1_000_000);
    enter('two');
    side.streamed(a, before);
    expect(heard).toEqual([]);
    await clock.advance(1_000);
    side.streamed(a, clock.monotonicNow());
    expect(heard).toHaveLength(1);
  });

  it('wants six sessions in a row that agree after a split', async () => {
    const a = enter('one');
    enter('two');
    side.answered(a, side.order);
    await clock.advance(61_000_000);
    for (let n = 0; n < 5; n++) expect(() => enter('one')).toThrow(/different servers/);
    // Another one, and all begins again, the minute too.
    expect(() => enter('two')).toThrow(/different servers/);
    expect(() => side.admit()).toThrow(/different servers/);
    await clock.advance(61_000_000);
    for (let n = 0; n < 5; n++) expect(() => enter('one')).toThrow(/different servers/);
    const b = enter('one');
    side.answered(b, side.order);
    expect(heard).toHaveLength(1);
    // And a second split is news again.
    enter('two');
    side.answered(b, side.order);
    expect(heard).toHaveLength(2);
  });

  it('tells of a split that nobody was there to hear', () => {
    side.onSplit(null);
    const a = enter('one');
    enter('two');
    side.answered(a, side.order);
    side.onSplit((what) => heard.push(what));
    expect(heard).toHaveLength(1);
  });

  it('knows which entries lead to one database, as long as they have sessions there', () => {
    const other = new SideIdentity({ ...db, name: 'legacy' }, clock, homes);
    const mine = enter('one');
    expect(side.sharedWith).toEqual([]);
    const its = other.enter(at('one'), () => undefined);
    expect([side.sharedWith, other.sharedWith]).toEqual([['legacy'], ['onprem']]);
    other.leave(its);
    expect(side.sharedWith).toEqual([]);
    side.leave(mine);
    expect(other.sharedWith).toEqual([]);
  });

  it('goes with the database that it belongs to', () => {
    expect(identityOf(db)).toBeNull();
    expect(identityOf({ ...identified(db, side), read: 'off' })).toBe(side);
  });
});

describe('host names of RDS and Aurora', () => {
  it.each([
    ['shop.proxy-abc123.eu-west-1.rds.amazonaws.com', 'rds-proxy', /RDS Proxy/],
    ['shop.endpoint.proxy-abc123.eu-west-1.rds.amazonaws.com', 'rds-proxy', /RDS Proxy/],
    ['shop.cluster-ro-abc123.eu-west-1.rds.amazonaws.com', 'reader', /reader endpoint/],
    ['SHOP.cluster-RO-abc123.cn-north-1.rds.amazonaws.com.cn', 'reader', /reader endpoint/],
    ['shop.cluster-custom-abc123.eu-west-1.rds.amazonaws.com', 'custom', /custom endpoint/],
    ['shop.cluster-abc123.eu-west-1.rds.amazonaws.com.', 'cluster', null],
    ['shop.abc123.eu-west-1.rds.amazonaws.com', 'instance', null],
    ['cluster-ro-1.abc123.eu-west-1.rds.amazonaws.com', 'instance', null],
    ['db.cluster-ro-abc.example.com', null, null],
    ['127.0.0.1', null, null],
  ])('%s', (host, kind, message) => {
    expect(endpointOf(host)).toBe(kind);
    if (message === null) expect(wanderingEndpoint(host)).toBeNull();
    else expect(wanderingEndpoint(host)).toMatch(message);
    expect(directAddress(host)).toMatch(kind === null ? /own address/ : /writer/);
  });
});
