import { describe, expect, it } from 'vitest';
import {
  formatMark,
  gapSince,
  isSilent,
  mostReadAgain,
  ownPart,
  parseMark,
  type LogMoment,
} from '../../collectors/mysql/local-mark.js';

const a = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const b = '4e11fa47-71ca-11e1-9e33-c80aa9429562';

const mysql = (own: string, theirs: string, place = { file: 'log.000002', offset: 500 }): LogMoment => {
  const executed = `${a}:${own},${b}:${theirs}`;
  return { home: a, executed, state: '', own: ownPart(executed, '', { serverId: 1, uuid: a }), ...place };
};
const mariadb = (executed: string, state: string, place = { file: 'log.000002', offset: 500 }): LogMoment => ({
  home: 'm',
  executed,
  state,
  own: ownPart(executed, state, { serverId: 2, uuid: null }),
  ...place,
});
const plain = (place: { file: string; offset: number }): LogMoment => ({
  home: a,
  executed: '',
  state: '',
  own: null,
  ...place,
});
const files = [
  { name: 'log.000002', size: 1_000 },
  { name: 'log.000003', size: 700 },
];
const later = { file: 'log.000003', offset: 700 };

describe('the own part of GTIDs', () => {
  it.each([
    ['MySQL', `${a}:1-5:9,${b}:1-7`, '', { serverId: 1, uuid: a }, `${a}:1-5:9`],
    ['MySQL with tags', `${a}:1-5:job:1-2,${b}:1`, '', { serverId: 1, uuid: a }, `${a}:1-5:job:1-2`],
    ['MySQL that wrote nothing', `${b}:1-7`, '', { serverId: 1, uuid: a }, ''],
    ['MySQL without GTIDs', '', '', { serverId: 1, uuid: a }, null],
    ['MariaDB', '0-1-9', '0-2-7,0-1-9,3-2-1', { serverId: 2, uuid: null }, '0-2-7,3-2-1'],
    ['MariaDB that wrote nothing', '0-1-9', '0-12-7,0-1-9', { serverId: 2, uuid: null }, ''],
  ])('%s', (_, executed, state, owner, own) => expect(ownPart(executed, state, owner)).toBe(own));
});

describe('what is known of a gap', () => {
  it('nothing was written where the own part has not grown', () => {
    expect(gapSince(mysql('1-5', '1-7'), mysql('1-5', '1-9000', later), files)).toEqual({ kind: 'empty' });
    expect(gapSince(mariadb('0-1-7', '0-2-3,0-1-7'), mariadb('0-1-99', '0-2-3,0-1-99', later), files)).toEqual({
      kind: 'empty',
    });
  });

  it('it is read again where it has', () => {
    expect(gapSince(mysql('1-5', '1-7'), mysql('1-6', '1-9', later), files)).toEqual({
      kind: 'readable',
      start: { gtids: `${a}:1-5,${b}:1-7` },
    });
    // Outside of strict mode the newest transaction of a domain may have a lower number than the one before.
    expect(gapSince(mariadb('0-2-44', '0-1-14,0-2-44'), mariadb('0-1-15', '0-2-45,0-1-15', later), files)).toEqual({
      kind: 'readable',
      start: { gtids: '0-2-44' },
    });
    expect(gapSince(plain({ file: 'log.000002', offset: 500 }), plain(later), files)).toEqual({
      kind: 'readable',
      start: { file: 'log.000002', offset: 500 },
    });
  });

  it('without GTIDs nothing is shown to be empty, not even where nothing has come', () => {
    const place = { file: 'log.000003', offset: 700 };
    expect(gapSince(plain(place), plain(place), files).kind).toBe('readable');
  });

  it.each([
    ['no mark', null, mysql('1-5', '1-7'), 'not known up to where'],
    ['another server', mysql('1-5', '1-7'), { ...mysql('1-5', '1-7'), home: b }, 'another server answers'],
    ['a reset', mysql('1-5', '1-7'), mysql('1-2', '1-7'), 'gone back'],
    ['a restore', mysql('1-5', '1-7'), mysql('1-5', '1-6'), 'gone back'],
    ['a reset of MariaDB', mariadb('0-2-7', '0-2-7'), mariadb('0-2-3', '0-2-3'), 'gone back'],
    ['a purge', mysql('1-5', '1-7', { file: 'log.000001', offset: 4 }), mysql('1-6', '1-7'), 'purged or reset'],
    ['a shorter file', plain({ file: 'log.000003', offset: 900 }), plain(later), 'purged or reset'],
  ])('%s leaves a gap', (_, mark, now, reason) => {
    expect(gapSince(mark, now, files)).toEqual({ kind: 'lost', reason: expect.stringContaining(reason) as string });
  });

  it('too much to be read again leaves a gap', () => {
    const many = [{ name: 'log.000002', size: mostReadAgain + 501 }];
    expect(gapSince(mysql('1-5', '1-7'), mysql('1-6', '1-7'), many)).toMatchObject({ kind: 'lost' });
    expect(gapSince(mysql('1-5', '1-7'), mysql('1-5', '1-7'), many)).toEqual({ kind: 'empty' });
  });

  it('a silent server is one whose own part stays; without GTIDs none is', () => {
    expect(isSilent(mysql('1-5', '1-7'), mysql('1-5', '1-99'))).toBe(true);
    expect(isSilent(mysql('1-5', '1-7'), mysql('1-6', '1-7'))).toBe(false);
    expect(isSilent(plain(later), plain(later))).toBe(false);
    expect(isSilent(mysql('1-5', '1-7'), { ...mysql('1-5', '1-7'), home: b })).toBe(false);
  });
});

describe('a mark', () => {
  it('comes back as it was kept', () => {
    for (const moment of [mysql('1-5', '1-7'), mariadb('0-1-7', '0-2-3'), plain(later)]) {
      expect(parseMark(formatMark(moment))).toEqual(moment);
    }
  });
  it.each([null, '', '{', '{}', '{"system":"1","timeline":"2","xmin":"3"}'])('%s is none', (text) =>
    expect(parseMark(text)).toBeNull(),
  );
});
