import { describe, expect, it } from 'vitest';
import { stateAt } from '../../../daemon/core/signal.js';
import { FenceBed, WALL, wallAt } from '../../support/fence-bed.js';

const UUID = '3e11fa47-71ca-11e1-9e33-c80aa9429562';

describe('drained', () => {
  it('when the source was watched and silent, nothing is open, every flow is there and the marker arrived', () => {
    const b = new FenceBed().well(1);
    expect(b.judge(1.5)).toEqual({
      state: 'drained',
      missing: { bytes: null, transactions: null, flows: [], reasons: [] },
      basis: ['marker', 'position'],
      provedAt: b.us(1),
    });
    expect(b.fence.memory).toMatchObject({ state: 'drained', drainedAt: wallAt(1.5), endedAt: null });
  });

  it('keeps the drain time of the first proof', () => {
    const b = new FenceBed().well(1);
    b.judge(1);
    expect(b.says(9)).toMatch(/^unknown/);
    b.well(9);
    expect(b.says(9)).toBe('drained');
    expect(b.fence.memory.drainedAt).toBe(wallAt(1));
  });

  it.each<[string, (b: FenceBed) => unknown, RegExp]>([
    ['the source was not watched', (b) => b.source(1).target(1).applied(1, '0/1000'), /not been watched yet/],
    [
      'the source was not looked at',
      (b) => b.watching(1).target(1).applied(1, '0/1000'),
      /onprem has not been looked at/,
    ],
    ['the target was not looked at', (b) => b.watching(1).source(1).applied(1, '0/1000'), /aws has not been looked at/],
    ['no position was read', (b) => b.watching(1).source(1).target(1), /sub: no applied position has been read/],
    [
      'a transaction is open on the source',
      (b) => b.well(1).source(1.1, ['pid 7 writes']),
      /^placed \| onprem: pid 7 writes$/,
    ],
    [
      'one is prepared on the target',
      (b) => b.well(1).target(1.1, true, ['prepared x']),
      /^placed \| aws: prepared x$/,
    ],
    ['the marker is missing', (b) => b.well(1).target(1.1, false), /^placed \| the marker .* is not on aws yet$/],
    ['the marker was not asked for', (b) => b.well(1).target(1.1, null), /^placed \| the marker .* is not on aws yet$/],
    [
      'one byte is missing',
      (b) => b.well(1).applied(1.1, '0/FFF'),
      /^placed \| sub lacks 1 bytes: .* 0\/FFF of 0\/1000$/,
    ],
    [
      'the source cannot be looked at',
      (b) => {
        b.well(1);
        b.fence.looked('source', { fault: 'no privilege' });
      },
      /onprem: no privilege/,
    ],
    [
      'the target cannot be looked at',
      (b) => {
        b.well(1);
        b.fence.looked('target', { fault: 'down' });
      },
      /aws: down/,
    ],
    [
      'a flow cannot be asked',
      (b) => {
        b.well(1);
        b.fence.appliedFault('sub', 'no slot');
      },
      /sub: no slot/,
    ],
    ['the watch is lost', (b) => b.well(1).lost(1.1), /the local writes of onprem are not watched: the reader died/],
    [
      'something else is in the way',
      (b) => {
        b.well(1);
        b.fence.hinder('direction', 'unknown');
      },
      /^placed \| unknown$/,
    ],
    ['the source is another server', (b) => b.well(1).source(1.1, [], 'other'), /onprem is not the server/],
    ['the target became another server', (b) => b.well(1).target(1.1, true, [], 'other'), /aws is not the server/],
    ['the watch was confirmed before the place', (b) => b.well(1).lost(1), /not watched/],
  ])('not while %s', (_, act, why) => {
    const b = new FenceBed();
    act(b);
    expect(b.says(1.5)).toMatch(why);
    expect(b.says(1.5)).toMatch(/^placed/);
    expect(b.fence.memory.drainedAt).toBeNull();
  });

  it('is shown as unknown, with the reason, when it cannot be proved any more; and is drained again once it can', () => {
    const b = new FenceBed().well(1);
    b.judge(1);
    b.fence.looked('target', { fault: 'down' });
    expect(b.says(1.5)).toBe('unknown | aws: down');
    expect(b.fence.memory.state).toBe('drained');
    expect(b.target(1.6).says(1.6)).toBe('drained');
    expect(b.applied(1.7, '0/FFF').says(1.7)).toMatch(/^unknown \| sub lacks 1 bytes/);
    expect(b.applied(1.8, '0/2000').says(1.8)).toBe('drained');
    expect(b.target(1.9, true, [], 'other').says(1.9)).toMatch(/^unknown \| aws is not the server/);
  });

  it('goes on for a standby that was promoted with all of the place, and for no other server', () => {
    const b = new FenceBed().well(1);
    expect(b.says(1)).toBe('drained');
    const was = { identity: b.fence.memory.identity.target ?? '', applied: { kind: 'lsn', lsn: 0x1000n } } as const;
    const promoted = (part: object = {}): string => {
      b.fence.appliedFault('sub', 'no standby any more');
      b.fence.looked('target', {
        identity: 'promoted',
        marker: true,
        open: [],
        askedAt: b.us(1.5),
        at: b.us(1.5),
        was,
        ...part,
      });
      return b.says(1.5);
    };
    expect(promoted()).toBe('drained');
    expect(promoted({ was: { ...was, applied: { kind: 'lsn', lsn: 0xfffn } } })).toMatch(
      /^unknown \| aws was promoted when it had applied 0\/FFF, which is not all of 0\/1000$/,
    );
    expect(promoted({ was: { ...was, identity: 'yet another' } })).toMatch(/^unknown \| aws is not the server/);
    expect(promoted({ was: undefined })).toMatch(/^unknown \| aws is not the server/);
    expect(promoted({ marker: false })).toMatch(/^unknown \| the marker/);
    expect(promoted({ open: ['prepared x'] })).toMatch(/^unknown \| aws: prepared x/);
    expect(promoted()).toBe('drained');
    // One that is still the standby that it was is judged by its flows.
    expect(promoted({ identity: was.identity })).toMatch(/^unknown \| sub: no standby any more$/);
  });

  it('takes an answer no longer than it is fresh, to the microsecond', () => {
    const b = new FenceBed().well(1);
    expect(b.says(4)).toBe('drained');
    expect(b.says(4.000001)).toMatch(/^unknown/);
  });

  it.each<[string, (b: FenceBed) => void, RegExp]>([
    [
      'the watch',
      (b) => b.source(3).target(3).applied(3, '0/1000'),
      /whether onprem was written to was last asked 4.0 s ago/,
    ],
    [
      'the source',
      (b) => b.watching(3).target(3).applied(3, '0/1000'),
      /onprem, for open transactions was last asked 4.0 s/,
    ],
    [
      'the target',
      (b) => b.watching(3).source(3).applied(3, '0/1000').watching(3),
      /aws, for open transactions was last asked/,
    ],
    ['a position', (b) => b.source(3).target(3).watching(3), /the applied position of sub was last asked 4.0 s ago/],
  ])('goes out of date with the oldest answer: %s', (_, act, why) => {
    const b = new FenceBed().well(1);
    act(b);
    expect(b.says(5)).toMatch(why);
    expect(b.judge(5).provedAt).toBeNull();
  });

  it.each<[string, (b: FenceBed, t: number) => void]>([
    ['the watch', (b, t) => b.source(1).target(1).applied(1, '0/1000').watching(t)],
    ['the source', (b, t) => b.target(1).applied(1, '0/1000').watching(1).source(t)],
    ['the target', (b, t) => b.source(1).applied(1, '0/1000').watching(1).target(t)],
    ['a position', (b, t) => b.source(1).target(1).watching(1).applied(t, '0/1000')],
  ])('counts only what was asked for since it was placed: %s', (_, act) => {
    const early = new FenceBed();
    act(early, -0.000001);
    expect(early.says(1.5)).toMatch(/^placed/);
    if (_ === 'the watch') return;
    const then = new FenceBed();
    act(then, 0);
    expect(then.says(1.5)).toBe('drained');
  });

  it('needs the silence to reach a look that found nothing open: what committed just before a look is not seen yet', () => {
    const b = new FenceBed().watching(1).source(1, ['pid 7 has written']).target(2).applied(2, '0/1000');
    // The transaction commits at 1.9, and the reader has not come so far.
    b.source(2);
    expect(b.says(2)).toMatch(/not known yet up to a look that found no transaction open/);
    expect(b.watching(1.999999).says(2)).toMatch(/^placed/);
    expect(b.watching(2).says(2.1)).toBe('drained');
    // A later look changes nothing about what was proved at the earlier one.
    expect(b.source(2.2).says(2.2)).toBe('drained');
    expect(b.judge(2.2).provedAt).toBe(b.us(2));
    expect(b.fence.silentAt).toBe(b.us(2));
    expect(b.watching(2.3).fence.silentAt).toBe(b.us(2.2));
  });

  it('needs it to reach the answer of that look: what was open when it was asked for may have been committed since', () => {
    const b = new FenceBed().watching(1).source(1, ['pid 7 has written']).target(2.2).applied(2.2, '0/1000');
    // Asked for at 2, with the transaction open; it commits at 2.05, and the server makes its list at 2.1.
    b.fence.looked('source', { identity: 'src', marker: null, open: [], askedAt: b.us(2), at: b.us(2.1) });
    expect(b.watching(2).says(2.2)).toMatch(/not known yet up to a look that found no transaction open/);
    expect(b.watching(2.099999).says(2.2)).toMatch(/^placed/);
    expect(b.watching(2.1).says(2.2)).toBe('drained');
    expect(b.fence.silentAt).toBe(b.us(2));
  });

  it('counts no look at another server, and no look with a fault, as silence', () => {
    const b = new FenceBed().source(1, [], 'other').watching(1.5).source(2).target(2).applied(2, '0/1000');
    expect(b.fence.silentAt).toBeNull();
    expect(b.says(2)).toMatch(/^placed/);
  });

  it('asks every flow, and tells the worst of those that lack something', () => {
    const b = new FenceBed({}, { flows: ['a', 'b', 'c'] }).source(1).target(1).watching(1);
    b.applied(1, '0/F00', 'a').applied(1, '0/FFF', 'b').applied(1, '0/1000', 'c');
    expect(b.judge(1).missing).toMatchObject({ bytes: 256, transactions: null, flows: ['a', 'b'] });
    b.applied(1, '0/1000', 'a').applied(1, '0/1001', 'b');
    expect(b.says(1)).toBe('drained');
    expect(new FenceBed({}, { flows: [] }).well(1).says(1)).toMatch(/no flow whose position/);
  });

  it('takes gaps of GTID sets as not applied, and counts the transactions', () => {
    const b = new FenceBed({ position: `${UUID}:1-10` }).source(1).target(1).watching(1);
    b.applied(1, `${UUID}:1-4:6-20`);
    expect(b.judge(1).missing).toMatchObject({ bytes: null, transactions: 1, flows: ['sub'] });
    expect(b.applied(1, `${UUID}:1-10`).says(1)).toBe('drained');
  });

  it('lets nothing of another kind pass for the place', () => {
    const b = new FenceBed().source(1).target(1).watching(1).applied(1, '0-1-99999');
    expect(b.says(1)).toMatch(/^placed \| sub lacks something/);
    const binlog = new FenceBed({ position: `${UUID}/binlog.000002:500` }).source(1).target(1).watching(1);
    expect(binlog.applied(1, `${UUID.replace('3', '4')}/binlog.000009:500`).says(1)).toMatch(/^placed/);
    expect(binlog.applied(1, `${UUID}/binlog.000002:499`).judge(1).missing.bytes).toBe(1);
    expect(binlog.applied(1, `${UUID}/binlog.000003:4`).says(1)).toBe('drained');
  });

  it('ignores an answer that comes after a newer one', () => {
    const b = new FenceBed().well(1).applied(1.2, '0/FFF').applied(1.1, '0/1000');
    expect(b.says(1.5)).toMatch(/^placed/);
    b.fence.appliedFault('sub', 'down');
    expect(b.applied(1.2, '0/1000').says(1.5)).toBe('drained');
  });

  it('takes the empty GTID set for a place that everything has reached, but not words that it cannot read', () => {
    const empty = new FenceBed({ position: '' }).source(1).target(1).watching(1).applied(1, `${UUID}:1`);
    expect(empty.says(1)).toBe('drained');
    expect(empty.fence.reading(empty.judge(1), empty.us(1)).reason).toContain('at the beginning');
    expect(empty.wrote(2, `${UUID}:2`)).toBe(1);
    const odd = new FenceBed({ position: 'somewhere' }).well(1);
    expect(odd.says(1)).toMatch(/^placed \| the position somewhere cannot be read/);
  });

  it('goes by position alone where no marker could be committed, and says so', () => {
    const b = new FenceBed({ marker: null }).well(1).target(1, null);
    expect(b.judge(1)).toMatchObject({ state: 'drained', basis: ['position'] });
  });

  it('goes by the marker alone where positions cannot be read, and needs one', () => {
    const b = new FenceBed({}, { proof: 'marker', flows: [] }).source(1).target(1).watching(1);
    expect(b.judge(1)).toMatchObject({ state: 'drained', basis: ['marker'] });
    expect(b.target(1, false).says(1)).toMatch(/^unknown \| the marker/);
    const none = new FenceBed({ marker: null }, { proof: 'marker', flows: [] }).source(1).target(1).watching(1);
    expect(none.says(1)).toMatch(/no marker could be committed/);
  });

  it('remembers which target it was first, also when that was not proved yet', () => {
    const b = new FenceBed().target(0.5, false);
    expect(b.fence.memory.identity).toEqual({ source: 'src', target: 'tgt' });
    expect(b.well(1).target(1, true, [], 'other').says(1)).toMatch(/^placed \| aws is not/);
    expect(b.fence.memory.identity.target).toBe('tgt');
  });

  it('says whatever is in the way, all of it', () => {
    const b = new FenceBed();
    b.fence.hinder('direction', 'the direction is unknown');
    b.fence.hinder('order', 'attest it');
    expect(b.judge(1).missing.reasons).toHaveLength(6);
    b.well(1).fence.hinder('direction', null);
    expect(b.says(1)).toBe('placed | attest it');
  });
});

describe('violated', () => {
  it('by a local write beyond the place, but not by one at it or before', () => {
    const b = new FenceBed().well(1);
    expect(b.wrote(1, '0/FFF', '0/1000')).toBe(0);
    expect(b.says(1)).toBe('drained');
    expect(b.wrote(2, '0/FF0', '0/1001', '0/1002')).toBe(2);
    expect(b.fence.memory).toMatchObject({ state: 'violated', endedAt: wallAt(2) });
    expect(b.fence.memory.violations).toEqual({ count: 2, firstAt: wallAt(2) - 5, firstPosition: '0/1001' });
    expect(b.says(2)).toMatch(/^violated \| a local write was committed after .* the first at 0\/1001$/);
  });

  it('and stays so whatever comes', () => {
    const b = new FenceBed();
    b.wrote(1, '0/2000');
    b.well(2).applied(2, '0/9000');
    expect(b.says(2)).toMatch(/^violated/);
    b.fence.end('cancelled', wallAt(3), 'by hand');
    b.lost(3).watching(4);
    expect(b.wrote(4, '0/3000')).toBe(0);
    expect(b.says(100)).toMatch(/^violated/);
    expect(b.fence.memory).toMatchObject({ endedAt: wallAt(1), unwatched: [], violations: { count: 1 } });
    expect(b.restart(200).says(200)).toMatch(/^violated/);
  });

  it('by what cannot be compared with the place, too', () => {
    expect(new FenceBed().wrote(1, '0-1-5')).toBe(1);
    expect(new FenceBed().wrote(1, 'nonsense')).toBe(1);
  });

  it('takes the time it was seen at where the server does not tell', () => {
    const b = new FenceBed();
    b.fence.wrote([{ position: '0/2000', committedAt: null }], wallAt(2));
    expect(b.fence.memory.violations.firstAt).toBe(wallAt(2));
    expect(b.fence.wrote([], wallAt(3))).toBe(0);
  });
});

describe('expired', () => {
  it('at the deadline and not before, with what was missing', () => {
    const b = new FenceBed().source(59.9).target(59.9).watching(59.9).applied(59.9, '0/F00');
    expect(b.says(59.999999)).toMatch(/^placed/);
    expect(b.judge(60)).toMatchObject({ state: 'expired', missing: { bytes: 256, flows: ['sub'] } });
    expect(b.fence.memory).toMatchObject({ state: 'expired', endedAt: wallAt(60), drainedAt: null });
    expect(b.fence.memory.endedBecause).toContain('sub lacks 256 bytes');
    // What was missing then, and not what is missing now.
    b.applied(61, '0/2000');
    expect(b.judge(61)).toMatchObject({ state: 'expired', missing: { bytes: 256 }, provedAt: null });
    expect(b.restart(90).judge(90)).toMatchObject({ state: 'expired', missing: { bytes: 256 } });
  });

  it('not when all is proved at the first question after the deadline: nothing is missing then', () => {
    expect(new FenceBed().well(60).says(60)).toBe('drained');
  });

  it('never once it was drained, also when that cannot be proved at the deadline, nor after a restart', () => {
    const b = new FenceBed().well(1);
    b.judge(1);
    expect(b.says(100)).toMatch(/^unknown/);
    b.restart(200, 150);
    expect(b.says(200)).toMatch(/^placed/);
    expect(b.watching(201, true).well(202).says(202)).toBe('drained');
    expect(b.fence.memory.drainedAt).toBe(wallAt(1));
  });

  it('counts on the process’s own clock, and from the wall clock after a restart', () => {
    const b = new FenceBed();
    expect(b.fence.judge(b.us(59.9), wallAt(5_000)).state).toBe('placed');
    expect(b.restart(59).says(59.999)).toMatch(/^placed/);
    expect(b.says(60)).toMatch(/^expired/);
    expect(new FenceBed().restart(61).says(61)).toMatch(/^expired/);
  });
});

describe('ends by hand or by a change of direction', () => {
  it.each(['closed', 'cancelled'] as const)('%s from placed and from drained, and only once', (state) => {
    for (const drained of [false, true]) {
      const b = new FenceBed();
      if (drained) b.well(1).judge(1);
      b.lost(1.5).fence.end(state, wallAt(2), 'because');
      b.fence.end('cancelled', wallAt(3), 'again');
      expect(b.fence.memory).toMatchObject({ state, endedAt: wallAt(2), endedBecause: 'because' });
      expect(b.fence.memory.unwatched).toMatchObject([{ to: wallAt(2) }]);
      expect(b.judge(9).missing.reasons).toEqual(state === 'closed' ? [] : ['because']);
      expect(b.judge(9).provedAt).toBeNull();
      expect(b.fence.isOpen).toBe(false);
      b.target(9, true, [], 'other');
      expect(b.fence.memory.identity.target).toBe(drained ? 'tgt' : null);
    }
  });
});

describe('a gap in which the source was not watched', () => {
  it('is listed, and never drains without evidence', () => {
    const b = new FenceBed().well(1).lost(2, 'slot dropped').lost(2.5, 'again');
    expect(b.fence.memory.unwatched).toEqual([{ from: wallAt(2), to: null, reason: 'slot dropped' }]);
    expect(b.says(2)).toBe(
      'placed | the local writes of onprem are not watched: slot dropped'.replace('slot dropped', 'again'),
    );
    b.watching(3, false, 'no mark').well(4);
    expect(b.fence.memory.unwatched).toEqual([{ from: wallAt(2), to: wallAt(3), reason: 'slot dropped; no mark' }]);
    expect(b.says(4)).toMatch(/^placed \| onprem was not watched from .* place a new fence$/);
    // Evidence about a later gap says nothing of this one.
    b.lost(5).watching(6, true).well(7);
    expect(b.says(7)).toMatch(/^placed \| onprem was not watched from 2026-11-22T00:00:02/);
    expect(b.fence.memory.unwatched).toHaveLength(1);
  });

  it('makes a drained one unknown for good', () => {
    const b = new FenceBed().well(1);
    b.judge(1);
    b.lost(2).watching(3).well(4);
    expect(b.says(4)).toMatch(/^unknown \| onprem was not watched from/);
  });

  it('that the server’s own evidence shows to be empty is none, and the basis says so', () => {
    const b = new FenceBed().well(1).lost(2).watching(3, true).well(4);
    expect(b.judge(4)).toMatchObject({ state: 'drained', basis: ['marker', 'position', 'server-evidence'] });
    b.lost(5).watching(6, true);
    expect(b.fence.memory).toMatchObject({ unwatched: [], evidence: ['server-evidence'] });
    // A later confirmation that speaks of no gap fills none.
    b.watching(7, true);
    expect(b.fence.memory.evidence).toEqual(['server-evidence']);
    expect(new FenceBed().watching(1, true).fence.memory.evidence).toEqual([]);
  });

  it('is kept apart from others twenty times, then the oldest become one', () => {
    const b = new FenceBed();
    for (let i = 1; i <= 21; i += 1) b.lost(i, `r${i}`).watching(i + 0.5);
    const { unwatched } = b.fence.memory;
    expect(unwatched).toHaveLength(20);
    expect(unwatched[0]).toEqual({ from: wallAt(1), to: wallAt(2.5), reason: 'r1; r2' });
    expect(unwatched[19]).toEqual({ from: wallAt(21), to: wallAt(21.5), reason: 'r21' });
  });
});

describe('a restart', () => {
  it('makes it placed, unwatched since it was last watched, and asks everything anew', () => {
    const b = new FenceBed().well(1);
    b.judge(1);
    b.restart(20, 5);
    expect(b.fence.memory).toMatchObject({
      state: 'placed',
      unwatched: [{ from: wallAt(5), to: null, reason: 'lockgate was not running' }],
    });
    // Asked before the restart, on another process's clock.
    b.watching(19, true).well(19);
    expect(b.says(20)).toMatch(/^placed/);
    b.well(21);
    expect(b.says(21)).toBe('drained');
  });

  it('loses the proof for good where nothing shows what was written meanwhile', () => {
    const b = new FenceBed().well(1);
    b.judge(1);
    b.restart(20, 5).watching(21).well(22);
    expect(b.says(22)).toMatch(
      /^placed \| onprem was not watched from 2026-11-22T00:00:05.000Z to 2026-11-22T00:00:21/,
    );
  });

  it('of one that was never watched, or watched only before it was placed, is a gap since it was placed', () => {
    expect(new FenceBed().restart(20).fence.memory.unwatched).toMatchObject([{ from: WALL }]);
    expect(new FenceBed().restart(20, -5).fence.memory.unwatched).toMatchObject([{ from: WALL }]);
    const again = new FenceBed().lost(2).restart(20, 5).restart(40, 30);
    expect(again.fence.memory.unwatched).toMatchObject([{ from: wallAt(2), to: null }]);
  });

  it.each(['violated', 'expired', 'closed', 'cancelled'] as const)('changes nothing about one that is %s', (state) => {
    const b = new FenceBed({ state, endedAt: WALL, endedBecause: 'why' }).restart(20);
    expect(b.fence.memory).toMatchObject({ state, unwatched: [] });
    expect(b.judge(20).state).toBe(state);
  });
});

describe('a jump of the clocks', () => {
  it('leaves nothing of what was asked for before, also when it is answered afterwards', () => {
    const b = new FenceBed().well(1);
    b.judge(1);
    b.fence.forget(b.us(2));
    expect(b.says(2)).toMatch(/^unknown .*not asked yet since .* the clocks jumped/);
    b.well(1.999999);
    expect(b.says(2)).toMatch(/^unknown/);
    expect(b.well(2).says(2)).toBe('drained');
    // An older jump does not bring back what a newer one took.
    b.fence.forget(b.us(3));
    b.fence.forget(b.us(0));
    expect(b.says(3)).toMatch(/^unknown/);
  });

  it('is no gap of its own: the readers go on', () => {
    const b = new FenceBed().well(1);
    b.fence.forget(b.us(2));
    expect(b.fence.memory.unwatched).toEqual([]);
  });
});

describe('fence.drained', () => {
  const reading = (b: FenceBed, t: number) => b.fence.reading(b.judge(t), b.us(t));

  it('is 1 until the oldest answer behind it is too old', () => {
    const b = new FenceBed().well(1).target(1.5).applied(1.7, '0/1000');
    const r = reading(b, 2);
    expect(r).toMatchObject({ value: 1, observedAt: b.us(1) });
    expect(stateAt(r, b.us(4))).toBe('ok');
    expect(stateAt(r, b.us(4.000001))).toBe('stale');
    expect(r.reason).toBe('fence f1 at 0/1000');
  });

  it('is 0 while it waits, for as long as that is fresh, and for good when violated or expired', () => {
    const b = new FenceBed();
    expect(stateAt(reading(b, 1), b.us(4.000001))).toBe('stale');
    expect(reading(b, 1)).toMatchObject({ value: 0 });
    b.wrote(2, '0/2000');
    expect(reading(b, 2)).toMatchObject({ value: 0, freshUs: Infinity });
    expect(reading(new FenceBed(), 60)).toMatchObject({ value: 0, freshUs: Infinity });
  });

  it('is unknown when it cannot be proved now, and when it was closed or cancelled', () => {
    const b = new FenceBed().well(1);
    b.judge(1);
    expect(reading(b, 9)).toMatchObject({ value: null });
    expect(reading(b, 9).reason).toContain('cannot be proved now');
    b.fence.end('closed', wallAt(9), 'promoted');
    expect(reading(b, 9)).toMatchObject({ value: null });
    const c = new FenceBed();
    c.fence.end('cancelled', wallAt(1), 'by hand');
    expect(reading(c, 1)).toMatchObject({ value: null });
  });
});
