/** The shop's tables for MariaDB and MySQL, with columns of every kind that a row event carries in a way of its own. */

/** Name of the application's database. */
export const mysqlDatabase = 'app';

/** Creates the tables; runs on the source and is replicated. */
export const mysqlShopSchema = `
  create table customers (
    id bigint unsigned not null auto_increment primary key,
    name varchar(100) not null,
    email varchar(200),
    notes mediumtext,
    photo blob,
    settings json,
    tier enum('basic', 'gold') not null default 'basic',
    flags set('news', 'sms'),
    born date,
    rating double,
    seen_at datetime(3)
  ) engine = InnoDB;
  create table orders (
    id bigint not null auto_increment primary key,
    customer_id bigint unsigned not null,
    amount decimal(12, 2) not null default 0,
    note varchar(200),
    packed bit(3) not null default b'0',
    took time(2),
    created_at timestamp(6) not null default current_timestamp(6),
    index orders_customer (customer_id)
  ) engine = InnoDB;`;

/** Numbers from 0 to below `count`, at most a million, as a derived table with the column n; recursion is limited by settings, this is not. */
export function numbers(count: number): string {
  const digits = `(select 0 as d union all select 1 union all select 2 union all select 3 union all select 4
    union all select 5 union all select 6 union all select 7 union all select 8 union all select 9)`;
  const places = Math.max(1, String(Math.max(0, count - 1)).length);
  const names = Array.from({ length: places }, (_, i) => `p${i}`);
  const sum = names.map((name, i) => `${name}.d * ${10 ** i}`).join(' + ');
  const from = names.map((name) => `${digits} ${name}`).join(' cross join ');
  return `(select n from (select ${sum} as n from ${from}) every where n < ${count})`;
}

/** First rows of the application. */
export const mysqlShopRows = `
  insert into customers (name, email, notes, photo, settings, tier, flags, born, rating, seen_at)
    select concat('customer ', n), concat('c', n, '@example.com'), repeat('ä', n), unhex('00ff1b'),
      concat('{"n": ', n, '}'), if(n % 2 = 0, 'gold', 'basic'), 'news,sms', '1990-02-28', n / 7,
      '2026-01-01 10:00:00.125'
    from ${numbers(20)} numbers;
  insert into orders (customer_id, amount, note, packed, took)
    select 1 + n % 20, n, concat('order ', n), b'101', '01:02:03.25' from ${numbers(100)} numbers;`;

/** Inserts so many orders, as one statement and so one transaction. */
export function bulkOrders(rows: number): string {
  return `insert into orders (customer_id, amount, note)
    select 1 + n % 20, n % 1000, concat('bulk ', n) from ${numbers(rows)} numbers`;
}
