/** A film rental's tables like those of pagila and sakila, written by us: composite keys, enums, arrays and full text, partitions, BLOB, SET and YEAR. */
import { among, mix, type Dialect } from './dialect.js';

const first = [
  'PENELOPE',
  'NICK',
  'ED',
  'JENNIFER',
  'JOHNNY',
  'BETTE',
  'GRACE',
  'MATTHEW',
  'JOE',
  'ZERO',
  'KARL',
  'UMA',
];
const last = [
  'GUINESS',
  'WAHLBERG',
  'CHASE',
  'DAVIS',
  'LOLLOBRIGIDA',
  'NICHOLSON',
  'MOSTEL',
  'JOHANSSON',
  'SWANK',
  'CAGE',
];
const nouns = [
  'ACADEMY',
  'DINOSAUR',
  'ACE',
  'GOLDFINGER',
  'ADAPTATION',
  'HOLES',
  'AFFAIR',
  'PREJUDICE',
  'AFRICAN',
  'EGG',
  'AGENT',
  'TRUMAN',
];
const ratings = ['G', 'PG', 'PG-13', 'R', 'NC-17'];
const places = [
  'Abha',
  'Abu Dhabi',
  'Acuña',
  'Adana',
  'Âddïs Abeba',
  'Aden',
  'Córdoba',
  'Łódź',
  'São Leopoldo',
  '日光',
];

/** The tables, with how many rows each has at scale 1, in the order in which they are filled. */
export const RENTAL_TABLES = {
  ...{ language: 6, category: 16, actor: 200, country: 109, city: 600, address: 603, store: 2, staff: 2 },
  ...{
    customer: 599,
    film: 1_000,
    film_actor: 5_462,
    film_category: 1_000,
    inventory: 4_581,
    rental: 16_044,
    payment: 16_049,
  },
} as const;

export type RentalTable = keyof typeof RENTAL_TABLES;

/** Makes all tables. */
export function createRentals({ engine }: Dialect): string {
  const pg = engine === 'postgres';
  const at = `last_update ${pg ? 'timestamptz not null default now()' : 'timestamp not null default current_timestamp'}`;
  const bool = pg ? 'boolean' : 'tinyint(1)';
  const instant = pg ? 'timestamptz' : 'datetime';
  return `
    ${pg ? `create type mpaa_rating as enum (${ratings.map((r) => `'${r}'`).join(', ')});` : ''}
    create table language (language_id integer not null primary key, name char(20) not null, ${at});
    create table category (category_id integer not null primary key, name varchar(25) not null, ${at});
    create table actor (actor_id integer not null primary key, first_name varchar(45) not null, last_name varchar(45) not null, ${at});
    create table country (country_id integer not null primary key, country varchar(50) not null, ${at});
    create table city (city_id integer not null primary key, city varchar(50) not null, country_id integer not null, ${at});
    create table address (address_id integer not null primary key, address varchar(50) not null, address2 varchar(50),
      district varchar(20) not null, city_id integer not null, postal_code varchar(10), phone varchar(20) not null,
      location point ${pg ? '' : 'not null'}, ${at});
    create table store (store_id integer not null primary key, manager_staff_id integer not null, address_id integer not null, ${at});
    create table staff (staff_id integer not null primary key, first_name varchar(45) not null, last_name varchar(45) not null,
      address_id integer not null, email varchar(50), store_id integer not null, active ${bool} not null,
      username varchar(16) not null, password varchar(64), picture ${pg ? 'bytea' : 'blob'}, ${at});
    create table customer (customer_id integer not null primary key, store_id integer not null, first_name varchar(45) not null,
      last_name varchar(45) not null, email varchar(50), address_id integer not null, activebool ${bool} not null,
      create_date date not null, ${at});
    create table film (film_id integer not null primary key, title varchar(255) not null, description text,
      release_year ${pg ? 'integer' : 'year'}, language_id integer not null, rental_duration smallint not null,
      rental_rate decimal(4,2) not null, length smallint, replacement_cost decimal(5,2) not null,
      rating ${pg ? 'mpaa_rating' : `enum(${ratings.map((r) => `'${r}'`).join(', ')})`},
      special_features ${pg ? 'text[]' : `set('Trailers', 'Commentaries', 'Deleted Scenes', 'Behind the Scenes')`},
      ${pg ? 'fulltext tsvector not null,' : ''} ${at});
    create table film_actor (actor_id integer not null, film_id integer not null, ${at}, primary key (actor_id, film_id));
    create table film_category (film_id integer not null, category_id integer not null, ${at}, primary key (film_id, category_id));
    create table inventory (inventory_id integer not null primary key, film_id integer not null, store_id integer not null, ${at});
    create table rental (rental_id integer not null primary key, rental_date ${instant} not null, inventory_id integer not null,
      customer_id integer not null, return_date ${instant} null, staff_id integer not null, ${at});
    create table payment (payment_id integer not null, customer_id integer not null, staff_id integer not null,
      rental_id integer not null, amount decimal(5,2) not null, payment_date ${instant} not null,
      primary key (payment_date, payment_id)) ${
        pg
          ? `partition by range (payment_date);
    create table payment_old partition of payment for values from (minvalue) to ('2005-07-01');
    create table payment_july partition of payment for values from ('2005-07-01') to ('2005-08-01');
    create table payment_rest partition of payment default;`
          : ';'
      }`;
}

/** Statements that fill one table, so many times as many rows as pagila has. */
export function fillRentals(table: RentalTable, scale: number, d: Dialect): string[] {
  const of = (name: RentalTable): number => {
    const small = ['language', 'category', 'country', 'store', 'staff'].includes(name);
    return small ? RENTAL_TABLES[name] : Math.max(20, Math.round(RENTAL_TABLES[name] * scale));
  };
  const statements: string[] = [];
  const step = 200_000;
  for (let from = 1; from <= of(table); from += step) {
    const series = d.series(from, Math.min(of(table), from + step - 1));
    statements.push(`insert into ${table} select ${columnsOf(table, d, of)} from ${series}`);
  }
  return statements;
}

function columnsOf(table: RentalTable, d: Dialect, of: (name: RentalTable) => number): string {
  const pg = d.engine === 'postgres';
  const at = d.instant('n % 100000');
  const name = (x: string): string => `${d.pick(mix(x, 1), first)}, ${d.pick(mix(x, 2), last)}`;
  const one = (table: RentalTable, salt: number): string => `(1 + ${mix('n', salt)} % ${of(table)})`;
  const flag = (x: string): string => (pg ? `(${x}) = 1` : x);
  const title = d.concat(d.pick(mix('n', 3), nouns), "' '", d.pick(mix('n', 4), nouns));
  const point = pg ? 'point(n / 7.0, n / 3.0)' : `st_geomfromtext(concat('POINT(', n / 7.0, ' ', n / 3.0, ')'))`;
  switch (table) {
    case 'language':
      return `n, ${d.pick('n', ['English', 'Italian', 'Japanese', 'Mandarin', 'French', 'German'])}, ${at}`;
    case 'category':
      return `n, ${d.concat("'Category '", d.text('n'))}, ${at}`;
    case 'actor':
      return `n, ${name('n')}, ${at}`;
    case 'country':
      return `n, ${d.concat("'Country '", d.text('n'))}, ${at}`;
    case 'city':
      return `n, ${d.concat(d.pick(mix('n', 5), places), "' '", d.text('n'))}, ${one('country', 6)}, ${at}`;
    case 'address':
      return `n, ${d.concat(d.text(among('n', 7, 1, 1_999)), "' '", d.pick(mix('n', 8), nouns), "' Manor'")},
        case when n % 4 = 0 then null when n % 4 = 1 then '' else 'back' end, ${d.pick(mix('n', 9), places)}, ${one('city', 10)},
        ${d.padded('n', 5)}, ${d.text(mix('n', 11))}, ${point}, ${at}`;
    case 'store':
      return `n, n, n, ${at}`;
    case 'staff':
      return `n, ${name('n')}, n, ${d.concat("'s'", d.text('n'), "'@example.com'")}, n, ${flag('1')}, ${d.concat("'user'", d.text('n'))},
        null, ${pg ? `decode(repeat('89504e470d0a', 500), 'hex')` : `unhex(repeat('89504e470d0a', 500))`}, ${at}`;
    case 'customer':
      return `n, 1 + n % 2, ${name('n')}, ${d.concat("'c'", d.text('n'), "'@example.com'")}, ${one('address', 12)},
        ${flag('n % 2')}, ${d.day('5000 + n % 900')}, ${at}`;
    case 'film': {
      const about = d.concat(
        "'A Drama of a '",
        d.pick(mix('n', 13), nouns),
        "' and a '",
        d.pick(mix('n', 14), nouns),
        "' in Łódź'",
      );
      const features = pg
        ? `(array['Trailers', 'Commentaries', 'Deleted Scenes', 'Behind the Scenes'])[1 + n % 4 : 4]`
        : `elt(1 + n % 4, 'Trailers,Commentaries', 'Commentaries', 'Deleted Scenes', 'Trailers,Behind the Scenes')`;
      const rating = d.pick(mix('n', 15), ratings);
      return `n, ${title}, ${about}, ${pg ? '(2006 - n % 20)::integer' : '2006 - n % 20'}, 1 + n % 6, 3 + n % 5, ${d.cents('99 + 100 * (n % 5)')}, 46 + n % 140,
        ${d.cents('999 + 100 * (n % 20)')}, ${pg ? `(${rating})::mpaa_rating` : rating}, ${features},
        ${pg ? `to_tsvector('simple', ${title}),` : ''} ${at}`;
    }
    case 'film_actor':
      // Eleven films in a row have eleven different actors.
      return `1 + (n * 7) % ${of('actor')}, 1 + ${d.div('n', Math.min(5, of('actor')))}, ${at}`;
    case 'film_category':
      return `n, 1 + n % 16, ${at}`;
    case 'inventory':
      return `n, ${one('film', 16)}, 1 + n % 2, ${at}`;
    case 'rental':
      return `n, ${d.instant('n * 300')}, ${one('inventory', 17)}, ${one('customer', 18)},
        case when n % 50 = 0 then null else ${d.instant('n * 300 + 86400')} end, 1 + n % 2, ${at}`;
    case 'payment':
      return `n, ${one('customer', 19)}, 1 + n % 2, ${one('rental', 20)}, ${d.cents(among('n', 21, 99, 1_199))}, ${d.instant('n * 300')}`;
  }
}
