import { describe, expect, it } from 'vitest';
import { nameKey, whyHidden, type CatalogTable } from '../../collectors/mysql/catalog.js';
import { judgeCoverage, listed, shownName, whyColumns, type CoverageFacts } from '../../collectors/mysql/coverage.js';
import { renamed, rulesOf, whyIgnored, whyUnlogged, type Origin } from '../../collectors/mysql/replicate-rules.js';
import { TableChooser } from '../../daemon/core/table-pattern.js';
import { databaseAt } from '../support/listening.js';

const row: Origin = { serverId: 1, domain: null, format: 'ROW' };
const mixed: Origin = { ...row, format: 'MIXED' };

describe('filters of a replica', () => {
  it.each([
    ['nothing', {}, row, 'app', 'orders', null],
    ['the database is let through', { Replicate_Do_DB: 'app,crm' }, row, 'app', 'orders', null],
    ['the database is not let through', { Replicate_Do_DB: 'crm' }, row, 'app', 'orders', /Do_DB lacks app/],
    ['the letters differ where only these are let through', { Replicate_Do_DB: 'App' }, row, 'app', 'o', /lacks app/],
    ['the database is left out', { Replicate_Ignore_DB: 'app' }, row, 'app', 'orders', /Ignore_DB names app/],
    ['the letters differ where it is left out', { Replicate_Ignore_DB: 'APP' }, row, 'app', 'o', /names app/],
    ['do beats ignore for databases', { Replicate_Do_DB: 'app', Replicate_Ignore_DB: 'app' }, row, 'app', 'o', null],
    ['another one is left out, by row', { Replicate_Ignore_DB: 'crm' }, row, 'app', 'orders', null],
    ['another one is left out, by statement', { Replicate_Ignore_DB: 'crm' }, mixed, 'app', 'o', /= MIXED: statements/],
    ['it is let through, by statement', { Replicate_Do_DB: 'app' }, mixed, 'app', 'o', /another default database/],
    ['the table is left out', { Replicate_Ignore_Table: 'app.x,app.orders' }, row, 'app', 'orders', /Ignore_Table/],
    ['another table is let through', { Replicate_Do_Table: 'app.x' }, row, 'app', 'orders', /Do_Table lacks it/],
    [
      'do beats ignore for tables',
      { Replicate_Do_Table: 'app.o', Replicate_Ignore_Table: 'app.o' },
      row,
      'app',
      'o',
      null,
    ],
    ['ignore beats wild do', { Replicate_Wild_Do_Table: 'app.%', Replicate_Ignore_Table: 'app.o' }, row, 'app', 'o', /Ignore/], // prettier-ignore
    ['a pattern lets through', { Replicate_Wild_Do_Table: 'a_p.ord%' }, row, 'app', 'orders', null],
    [
      'a pattern lets others through',
      { Replicate_Wild_Do_Table: 'app.x%' },
      row,
      'app',
      'orders',
      /Wild_Do_Table lacks/,
    ],
    [
      'a pattern leaves out',
      { Replicate_Wild_Ignore_Table: 'app.o%' },
      row,
      'app',
      'orders',
      /Ignore_Table has app.o%/,
    ],
    ['an escaped one is meant by its letter', { Replicate_Wild_Ignore_Table: 'a\\_p.%' }, row, 'app', 'orders', null],
    ['a dot is a dot', { Replicate_Wild_Ignore_Table: 'app.o.ders' }, row, 'app', 'orders', null],
    ['renamed, and the new name is let through', { Replicate_Rewrite_DB: '(app,shop)', Replicate_Do_DB: 'shop' }, row, 'app', 'o', null], // prettier-ignore
    ['renamed, and the old name is let through', { Replicate_Rewrite_DB: 'app->shop', Replicate_Do_DB: 'app' }, row, 'app', 'o', /lacks shop/], // prettier-ignore
    ['its server is left out', { Replicate_Ignore_Server_Ids: '3, 1' }, row, 'app', 'o', /IGNORE_SERVER_IDS/],
    ['another server is left out', { Replicate_Ignore_Server_Ids: '3, 11' }, row, 'app', 'o', null],
    ['its domain is left out', { Replicate_Ignore_Domain_Ids: '0' }, { ...row, domain: 0 }, 'app', 'o', /domain 0/],
    ['another domain is let through', { Replicate_Do_Domain_Ids: '2' }, { ...row, domain: 0 }, 'app', 'o', /lacks domain/], // prettier-ignore
  ])('%s', (_, filters, origin, schema, table, reason) => {
    const why = whyIgnored(rulesOf(filters), origin, schema, table);
    if (reason === null) expect(why).toBeNull();
    else expect(why).toMatch(reason);
  });

  it('reads new names in either spelling', () => {
    for (const text of ['(a,b),(app,shop)', 'a->b,app->shop']) {
      expect(renamed(rulesOf({ Replicate_Rewrite_DB: text }), 'app')).toBe('shop');
    }
  });
});

it.each([
  ['', '', row, null],
  ['app', '', row, null],
  ['crm', '', row, /binlog_do_db lacks app/],
  ['', 'app', row, /binlog_ignore_db names app/],
  ['app', '', mixed, /binlog_do_db with binlog_format = MIXED/],
])('the source logs %j and not %j', (doDb, ignoreDb, origin, reason) => {
  const why = whyUnlogged({ doDb, ignoreDb }, origin, 'app');
  if (reason === null) expect(why).toBeNull();
  else expect(why).toMatch(reason);
});

it.each([
  [['a', 'b'], ['a', 'b'], null],
  [['a', 'b'], ['a', 'b', 'c'], null],
  [['a', 'b', 'c'], ['a', 'b'], 'aws lacks its column c'],
  [['a', 'b'], ['b', 'a'], /column 1 is a, and on aws b/],
  [['a', 'b'], ['a', 'x', 'b'], /column 2 is b, and on aws x/],
  [['a'], ['my_row_id', 'a'], null],
  [['my_row_id', 'a'], ['a'], null],
])('columns %j arrive in %j', (own, there, reason) => {
  const why = whyColumns(own, there, 'aws');
  if (reason === null) expect(why).toBeNull();
  else expect(why).toMatch(reason);
});

describe('coverage', () => {
  const table = (name: string, more: Partial<CatalogTable> = {}): CatalogTable => ({
    schema: 'app',
    name,
    sequence: false,
    engine: 'InnoDB',
    autoIncrement: null,
    ...more,
  });
  const facts = (more: Partial<CoverageFacts> = {}): CoverageFacts => ({
    from: 'onprem',
    to: 'aws',
    tables: [table('orders')],
    columns: new Map([[nameKey('app', 'orders'), ['id']]]),
    others: [table('orders')],
    otherColumns: new Map([[nameKey('app', 'orders'), ['id']]]),
    anyCase: false,
    origin: row,
    binlog: { doDb: '', ignoreDb: '' },
    flows: [rulesOf({})],
    ...more,
  });
  const all = new TableChooser(null);
  it.each([
    ['everything', {}, null],
    ['no binlog', { binlog: null }, /keeps no binlog/],
    ['BLACKHOLE', { tables: [table('orders', { engine: 'BLACKHOLE' })] }, /BLACKHOLE/],
    ['FEDERATED', { tables: [table('orders', { engine: 'FEDERATED' })] }, /do not lie on onprem/],
    ['cannot be opened', { tables: [table('orders', { engine: null })] }, /cannot open/],
    ['BLACKHOLE on the target', { others: [table('orders', { engine: 'BLACKHOLE' })] }, /BLACKHOLE on aws/],
    ['lacks the table', { others: [] }, /no such table on aws/],
    ['other letters', { others: [table('Orders')] }, /no such table on aws/],
    ['letters do not count', { others: [table('Orders')], anyCase: true }, null],
    ['renamed, and there', { others: [table('orders', { schema: 'shop' })], flows: [rulesOf({ Replicate_Rewrite_DB: '(app,shop)' })] }, null], // prettier-ignore
    ['one channel of two', { flows: [rulesOf({ Replicate_Do_DB: 'crm' }), rulesOf({})] }, null],
    ['no channel of two', { flows: [rulesOf({ Replicate_Do_DB: 'crm' }), 'gone'] }, /Replicate_Do_DB lacks app/],
    ['no channel', { flows: [] }, /no channel/],
  ])('%s', (_, more, reason) => {
    const { found } = judgeCoverage(facts(more), all);
    if (reason === null) expect(found).toEqual([]);
    else expect(found?.[0]?.reason).toMatch(reason);
  });

  it.each([
    ['no table at all', { tables: [] }, all, /no application table on onprem/],
    ['sequences alone', { tables: [table('s', { sequence: true })] }, all, /no application table/],
    ['a pattern of nothing', {}, new TableChooser({ include: ['crm.*'], exclude: [] }), /crm\.\* matches no/],
    ['all excluded', {}, new TableChooser({ include: ['*.*'], exclude: ['app.*'] }), /leave no application table/],
  ])('knows nothing of %s', (_, more, chooser, reason) => {
    const { found, reason: why } = judgeCoverage(facts(more), chooser);
    expect(found).toBeNull();
    expect(why).toMatch(reason);
  });

  it('names ten', () => {
    const many = Array.from({ length: 12 }, (_, i) => ({ schema: 'app', name: `t${i}`, reason: 'r' }));
    expect(listed(many)).toMatch(/^app\.t0: r; .*; and 2 more$/);
    expect(listed([])).toBeNull();
    expect(shownName({ schema: 'app', name: 'a`b c' })).toBe('app.`a``b c`');
  });

  it.each([
    [{ everything: true, schemas: new Set<string>() }, null, null],
    [{ everything: false, schemas: new Set(['app']) }, null, /GRANT REFERENCES/],
    [{ everything: false, schemas: new Set(['app']) }, { include: ['app.*'], exclude: [] }, null],
    [{ everything: false, schemas: new Set(['app']) }, { include: ['app*.*'], exclude: [] }, /hides tables/],
    [{ everything: false, schemas: new Set(['app']) }, { include: ['app.*', 'crm.x'], exclude: [] }, /hides tables/],
  ])('is shown %j', (sight, selection, reason) => {
    const why = whyHidden(databaseAt('aws', 'mysql://lg@localhost:3306/app'), sight, selection);
    if (reason === null) expect(why).toBeNull();
    else expect(why).toMatch(reason);
  });
});
