/** The tables that verification is tried on, beside `kinds`: keys of many forms, no key, partitions, and one that is hot. */
import { quoted, type Flavoured } from './kinds.js';

/** What makes these tables on one side of an engine. */
export function createOthers(flavour: Flavoured): string {
  const pg = flavour === 'postgres';
  const instant = pg ? 'timestamptz(6)' : 'timestamp(6)';
  const real = pg ? 'double precision' : 'double';
  const uuid = pg || flavour === 'mariadb' ? 'uuid' : 'char(36) character set ascii';
  const sensitive = pg ? 'varchar(60) collate "C"' : 'varchar(60) character set utf8mb4 collate utf8mb4_bin';
  return `
    create table words (
      lang varchar(2) not null, word varchar(60) not null, part integer not null,
      meaning text, score ${real}, seen ${instant} null,
      primary key (lang, word, part));
    create table folded (word ${sensitive} not null primary key, n integer not null);
    create table codes (code ${uuid} not null primary key, label varchar(100), amount decimal(14,4) not null);
    create table logs (level varchar(10), n integer, said text);
    create table emptied (id integer not null primary key, v varchar(20));
    create table hot (
      id bigint not null primary key, counter bigint not null default 0, state varchar(8) not null default 'on',
      price ${real}, changed ${instant} null, pad varchar(200));
    ${
      pg
        ? `alter table logs replica identity full;
           create table parted (id bigint not null, part integer not null, v text, primary key (part, id))
             partition by list (part);
           create table parted_0 partition of parted for values in (0);
           create table parted_1 partition of parted for values in (1, 2);
           create table parted_rest partition of parted default;`
        : ''
    }`;
}

/** Their names; on PostgreSQL there is a partitioned one. */
export function otherTables(flavour: Flavoured): string[] {
  const all = ['words', 'folded', 'codes', 'logs', 'emptied', 'hot'];
  return flavour === 'postgres' ? [...all, 'parted'] : all;
}

/** The columns of each key; `logs` has none. */
export const keysOfTables: Readonly<Record<string, readonly string[]>> = {
  kinds: ['id'],
  words: ['lang', 'word', 'part'],
  folded: ['word'],
  codes: ['code'],
  emptied: ['id'],
  hot: ['id'],
  parted: ['part', 'id'],
};

/** Words that collations order in different ways. */
const bases = [
  'zebra',
  'Apfel',
  'äpfel',
  'straße',
  'a b',
  'a-b',
  'ab',
  'naïve',
  'ÅNGSTRÖM',
  'ñandú',
  'œuvre',
  '日本',
  '😀',
];

/** A word that no other `n` has, whatever the collation. */
export function wordOf(n: number): string {
  return `${bases[n % bases.length] ?? ''}${n}`;
}

/** The key of a row of `codes`. */
export function codeOf(n: number): string {
  const h = ((n * 2_654_435_761) >>> 0).toString(16).padStart(8, '0');
  return `${h}-${h.slice(0, 4)}-4${h.slice(5, 8)}-8${h.slice(1, 4)}-${n.toString(16).padStart(12, '0')}`;
}

/** A row of `words` without its key. */
export function wordRow(n: number): string {
  const second = String(n % 60).padStart(2, '0');
  return `${n % 3 === 0 ? 'null' : quoted(`meaning of ${n}`)}, ${(n + 1) / 3}, '2026-03-29 01:30:${second}.123456'`;
}

const many = (from: number, to: number, row: (n: number) => string): string =>
  Array.from({ length: to - from + 1 }, (_, i) => `(${row(from + i)})`).join(', ');

/** The languages of `words`; a row's depends on its number. */
export const langOf = (n: number): string => ['de', 'en', 'ja'][n % 3] ?? 'de';

/** Rows per table; those of `hot` by number are for the load. */
export const counts = { words: 600, folded: 200, codes: 400, logs: 300, emptied: 25, hot: 3_000, parted: 300 } as const;

/** First rows of all of them; an id of `hot` is its number. */
export function insertOthers(flavour: Flavoured): string {
  return [
    `insert into words values ${many(1, counts.words, (n) => `'${langOf(n)}', ${quoted(wordOf(n))}, ${n % 2}, ${wordRow(n)}`)};`,
    `insert into folded values ${many(1, counts.folded, (n) => `${quoted(foldedOf(n))}, ${n}`)};`,
    `insert into codes values ${many(1, counts.codes, (n) => `'${codeOf(n)}', ${quoted(`label ${n}`)}, ${n}.2500`)};`,
    `insert into logs values ${many(1, counts.logs, (n) => logRow(n))};`,
    `insert into emptied values ${many(1, counts.emptied, (n) => `${n}, 'v${n}'`)};`,
    `insert into hot (id, counter, price, pad) values ${many(1, counts.hot, (n) => `${n}, 0, ${n / 8}, 'pad ${n}'`)};`,
    flavour === 'postgres'
      ? `insert into parted values ${many(1, counts.parted, (n) => `${n}, ${n % 5}, 'part ${n}'`)};`
      : '',
  ].join('\n');
}

/** Keys that differ in case alone. */
export function foldedOf(n: number): string {
  return n % 2 === 0 ? `key ${n}` : `KEY ${n + 1}`;
}

/** Three rows in a row are equal. */
export function logRow(n: number): string {
  const third = Math.floor(n / 3);
  return `'${third % 2 === 0 ? 'info' : 'warn'}', ${third}, 'said ${third}'`;
}
