/** Tables with the columns and types of TPC-H, filled inside the database; the rows are our own, and the same on every engine. */
import { among, amongMany, mix, type Dialect } from './dialect.js';

const words = [
  ...['carefully', 'quickly', 'furiously', 'slyly', 'blithely', 'regular', 'final', 'ironic', 'express', 'special'],
  ...['deposits', 'requests', 'accounts', 'packages', 'pinto beans', 'theodolites', 'foxes', 'ideas', 'platelets'],
  ...[
    'sleep',
    'haggle',
    'nag',
    'wake',
    'cajole',
    'detect',
    'integrate',
    'boost',
    'among the',
    'above the',
    'across the',
  ],
];

/** The tables in the order in which they are filled. */
export const TPCH_TABLES = [
  ...['region', 'nation', 'supplier', 'customer', 'part', 'partsupp', 'orders', 'lineitem'],
] as const;

export type TpchTable = (typeof TPCH_TABLES)[number];

/** Makes one table; `prefix` comes before its name. */
export function createTpch(table: TpchTable, prefix: string): string {
  const columns: Readonly<Record<TpchTable, string>> = {
    region: 'r_regionkey integer not null primary key, r_name char(25) not null, r_comment varchar(152)',
    nation:
      'n_nationkey integer not null primary key, n_name char(25) not null, n_regionkey integer not null, n_comment varchar(152)',
    supplier: `s_suppkey integer not null primary key, s_name char(25) not null, s_address varchar(40) not null,
      s_nationkey integer not null, s_phone char(15) not null, s_acctbal decimal(15,2) not null, s_comment varchar(101) not null`,
    customer: `c_custkey integer not null primary key, c_name varchar(25) not null, c_address varchar(40) not null,
      c_nationkey integer not null, c_phone char(15) not null, c_acctbal decimal(15,2) not null,
      c_mktsegment char(10) not null, c_comment varchar(117) not null`,
    part: `p_partkey integer not null primary key, p_name varchar(55) not null, p_mfgr char(25) not null,
      p_brand char(10) not null, p_type varchar(25) not null, p_size integer not null, p_container char(10) not null,
      p_retailprice decimal(15,2) not null, p_comment varchar(23) not null`,
    partsupp: `ps_partkey integer not null, ps_suppkey integer not null, ps_availqty integer not null,
      ps_supplycost decimal(15,2) not null, ps_comment varchar(199) not null, primary key (ps_partkey, ps_suppkey)`,
    orders: `o_orderkey bigint not null primary key, o_custkey integer not null, o_orderstatus char(1) not null,
      o_totalprice decimal(15,2) not null, o_orderdate date not null, o_orderpriority char(15) not null,
      o_clerk char(15) not null, o_shippriority integer not null, o_comment varchar(79) not null`,
    lineitem: `l_orderkey bigint not null, l_partkey integer not null, l_suppkey integer not null,
      l_linenumber integer not null, l_quantity decimal(15,2) not null, l_extendedprice decimal(15,2) not null,
      l_discount decimal(15,2) not null, l_tax decimal(15,2) not null, l_returnflag char(1) not null,
      l_linestatus char(1) not null, l_shipdate date not null, l_commitdate date not null, l_receiptdate date not null,
      l_shipinstruct char(25) not null, l_shipmode char(10) not null, l_comment varchar(44) not null,
      primary key (l_orderkey, l_linenumber)`,
  };
  return `create table ${prefix}${table} (${columns[table]})`;
}

/** Statements that fill one table, each a transaction of its own; scale 1 is about 1 GB, lineitem six million rows of it. */
export function fillTpch(table: TpchTable, prefix: string, scale: number, d: Dialect): string[] {
  const at = (n: number): number => Math.max(1, Math.round(n * scale));
  const rows: Readonly<Record<TpchTable, number>> = {
    ...{ region: 5, nation: 25, supplier: at(10_000), customer: at(150_000), part: at(200_000), partsupp: at(200_000) },
    // Of the lines of an order there are four on average.
    ...{ orders: at(1_500_000), lineitem: at(1_500_000) },
  };
  const step = { partsupp: 100_000, lineitem: 50_000 }[table as string] ?? 250_000;
  const statements: string[] = [];
  for (let from = 1; from <= rows[table]; from += step) {
    const to = Math.min(rows[table], from + step - 1);
    statements.push(`insert into ${prefix}${table} ${selectOf(table, d, d.series(from, to), rows)}`);
  }
  return statements;
}

function selectOf(table: TpchTable, d: Dialect, series: string, rows: Readonly<Record<TpchTable, number>>): string {
  const n = 'n';
  const said = (x: string, count: number, salt: number): string => {
    const parts = Array.from({ length: count }, (_, i) => d.pick(mix(x, salt + i), words));
    return d.concat(...parts.flatMap((part, i) => (i === 0 ? [part] : ["' '", part])));
  };
  const phone = (x: string): string =>
    d.concat(
      d.text(among(x, 3, 10, 34)),
      "'-'",
      d.padded(among(x, 4, 100, 999), 3),
      "'-'",
      d.padded(among(x, 5, 0, 9_999), 4),
    );
  const balance = (x: string): string => d.cents(amongMany(x, 6, -99_999, 999_999));
  const address = (x: string): string => d.concat(d.text(mix(x, 7)), "' '", d.pick(mix(x, 8), words), "' st.'");
  // As in TPC-H, eight keys of each thirty-two are taken.
  const orderKey = `(${d.div(`(${n} - 1)`, 8)} * 32 + (${n} - 1) % 8 + 1)`;
  switch (table) {
    case 'region':
      return `select n - 1, ${d.pick('n - 1', ['AFRICA', 'AMERICA', 'ASIA', 'EUROPE', 'MIDDLE EAST'])}, ${said(n, 8, 20)} from ${series}`;
    case 'nation':
      return `select n - 1, ${d.concat("'NATION '", d.text('n'))}, (n - 1) % 5, ${said(n, 8, 30)} from ${series}`;
    case 'supplier':
      return `select n, ${d.concat("'Supplier#'", d.padded(n, 9))}, ${address(n)}, ${among(n, 2, 0, 24)}, ${phone(n)},
        ${balance(n)}, ${said(n, 6, 40)} from ${series}`;
    case 'customer':
      return `select n, ${d.concat("'Customer#'", d.padded(n, 9))}, ${address(n)}, ${among(n, 2, 0, 24)}, ${phone(n)},
        ${balance(n)}, ${d.pick(mix(n, 9), ['AUTOMOBILE', 'BUILDING', 'FURNITURE', 'MACHINERY', 'HOUSEHOLD'])},
        ${said(n, 7, 50)} from ${series}`;
    case 'part':
      return `select n, ${said(n, 4, 60)}, ${d.concat("'Manufacturer#'", d.text(among(n, 10, 1, 5)))},
        ${d.concat("'Brand#'", d.text(among(n, 11, 11, 55)))},
        ${d.pick(mix(n, 12), ['STANDARD ANODIZED TIN', 'SMALL PLATED COPPER', 'PROMO BRUSHED STEEL', 'ECONOMY BURNISHED NICKEL'])},
        ${among(n, 13, 1, 50)}, ${d.pick(mix(n, 14), ['SM CASE', 'LG BOX', 'MED BAG', 'JUMBO JAR', 'WRAP PKG'])},
        ${d.cents(`90000 + n % 20001 + 100 * (n % 1000)`)}, ${said(n, 2, 70)} from ${series}`;
    case 'partsupp':
      return `select n, 1 + (n + i * ${Math.max(1, Math.floor(rows.supplier / 4))}) % ${Math.max(4, rows.supplier)}, ${among('n * 4 + i', 15, 1, 9_999)},
        ${d.cents(amongMany('n * 4 + i', 16, 100, 100_000))}, ${said('n * 4 + i', 12, 80)}
        from ${series} cross join (select 0 as i union all select 1 union all select 2 union all select 3) four`;
    case 'orders':
      return `select ${orderKey}, ${amongMany(n, 17, 1, rows.customer)}, ${d.pick(mix(n, 18), ['O', 'F', 'P'])},
        ${d.cents(amongMany(n, 19, 90_000, 50_000_000))}, ${d.day(among(n, 21, 0, 2_405))},
        ${d.pick(mix(n, 22), ['1-URGENT', '2-HIGH', '3-MEDIUM', '4-NOT SPECIFIED', '5-LOW'])},
        ${d.concat("'Clerk#'", d.padded(among(n, 23, 1, 1_000), 9))}, 0, ${said(n, 5, 90)} from ${series}`;
    case 'lineitem': {
      const x = '(n * 8 + i)';
      const shipped = among(x, 24, 1, 121);
      return `select ${orderKey}, ${amongMany(x, 25, 1, rows.part)}, ${amongMany(x, 26, 1, rows.supplier)}, i,
        ${among(x, 27, 1, 50)}, ${d.cents(amongMany(x, 28, 90_000, 10_000_000))}, ${d.cents(among(x, 29, 0, 10))},
        ${d.cents(among(x, 31, 0, 8))}, ${d.pick(mix(x, 32), ['N', 'R', 'A'])}, ${d.pick(mix(x, 33), ['O', 'F'])},
        ${d.day(`${among(n, 21, 0, 2_405)} + ${shipped}`)}, ${d.day(`${among(n, 21, 0, 2_405)} + ${among(x, 34, 30, 90)}`)},
        ${d.day(`${among(n, 21, 0, 2_405)} + ${shipped} + ${among(x, 35, 1, 30)}`)},
        ${d.pick(mix(x, 36), ['DELIVER IN PERSON', 'COLLECT COD', 'NONE', 'TAKE BACK RETURN'])},
        ${d.pick(mix(x, 37), ['REG AIR', 'AIR', 'RAIL', 'SHIP', 'TRUCK', 'MAIL', 'FOB'])}, ${said(x, 3, 100)}
        from ${series} join (select 1 as i union all select 2 union all select 3 union all select 4 union all select 5
          union all select 6 union all select 7) seven on i <= ${among(n, 38, 1, 7)}`;
    }
  }
}
