import { describe, expect, it } from 'vitest';
import { openWrites, type SessionRow, type TransactionRow } from '../../collectors/mysql/open-work.js';

const own = 99;
const trx = (id: number, more: Partial<TransactionRow> = {}): TransactionRow => ({
  id,
  modified: '0',
  locks: '0',
  seconds: '3',
  query: null,
  ...more,
});
const session = (id: number, info: string | null = null, more: Partial<SessionRow> = {}): SessionRow => ({
  id: String(id),
  user: 'app',
  command: info === null ? 'Sleep' : 'Query',
  seconds: 2,
  info,
  ...more,
});

describe('what may still commit', () => {
  it.each<[string, TransactionRow, string[]]>([
    [
      'has changed rows',
      trx(7, { modified: '2' }),
      ['an open transaction of session 7 (app) with 2 changed rows, since 3 s'],
    ],
    ['holds locks', trx(7, { locks: 1 }), ['an open transaction of session 7 (app) with locks, since 3 s']],
    ['only reads', trx(7), []],
    ['is our own look', trx(own, { locks: 1 }), []],
    ['is of replication', trx(8, { modified: 1 }), []],
    ['is a heartbeat', trx(7, { modified: 1, query: 'INSERT INTO lockgate.heartbeat (daemon) VALUES (1)' }), []],
    [
      'is of the application, at a heartbeat’s table',
      trx(7, { modified: 1, query: 'select 1 from lockgate.heartbeat' }),
      ['an open transaction of session 7 (app) with 1 changed rows, since 3 s'],
    ],
    [
      'is prepared, and has lost its session',
      trx(0, { modified: 1, seconds: null }),
      ['an open transaction without a session with 1 changed rows'],
    ],
    [
      'is of a session that has just gone',
      trx(70, { modified: 1 }),
      ['an open transaction of session 70 with 1 changed rows, since 3 s'],
    ],
  ])('a transaction that %s', (_, row, clauses) => {
    const sessions = [session(7), session(8, null, { user: 'system user' }), session(own, 'SELECT 1')];
    expect(openWrites([row], sessions, own)).toEqual(clauses);
  });

  it.each([
    ['insert into t values (1)', 'INSERT'],
    ['  /* why */ UPDATE t SET a = 1', 'UPDATE'],
    ['-- why\n# and\ncommit', 'COMMIT'],
    ["xa commit 'x'", 'XA'],
    ['load data infile', 'LOAD'],
    ['select * from insert_log', null],
    ['insertion', null],
    ['alter table t add a int', null],
    ['insert into lockgate.heartbeat (daemon) values (1)', null],
  ])('a session at %s', (info, verb) => {
    const clauses = verb === null ? [] : [`session 7 (app) at ${verb}, since 2 s`];
    expect(openWrites([], [session(7, info)], own)).toEqual(clauses);
    expect(openWrites([], [session(7, info, { command: 'Execute' })], own)).toEqual(clauses);
    expect(openWrites([], [session(7, info, { user: 'system user' })], own)).toEqual([]);
    expect(openWrites([], [session(own, info)], own)).toEqual([]);
  });

  it('a session with a transaction is told of once', () => {
    const clauses = openWrites([trx(7, { modified: 1 })], [session(7, 'commit')], own);
    expect(clauses).toEqual(['an open transaction of session 7 (app) with 1 changed rows, since 3 s']);
  });
});
