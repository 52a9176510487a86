import { describe, expect, it } from 'vitest';
import type { Settling } from '../../collectors/verify/verifier.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { everyFlavour } from '../support/flavours.js';
import { startMysqlPair } from '../support/mysql-pair.js';
import { startPair } from '../support/pair.js';
import { mysqlSide, postgresSide, type BedSide } from '../support/verify/bed.js';
import { mysqlDialect, postgresDialect } from '../support/verify/dialect.js';
import { runPass, verifierOf } from '../support/verify/passes.js';
import { createRentals, fillRentals, RENTAL_TABLES, type RentalTable } from '../support/verify/rentals.js';

const names = Object.keys(RENTAL_TABLES) as RentalTable[];

/** Compares a film rental on two sides that were filled alike, then with a change in it. */
async function rentals(schema: string, source: BedSide, target: BedSide, changes: readonly Change[]): Promise<void> {
  const dialect = source.flavour === 'postgres' ? postgresDialect : mysqlDialect;
  const fill = async (side: BedSide): Promise<void> => {
    await side.past(createRentals(dialect));
    for (const name of names) for (const sql of fillRentals(name, 1, dialect)) await side.past(sql);
  };
  await Promise.all([fill(source), fill(target)]);
  const clock = new SystemClock();
  // Nothing is written meanwhile.
  const settling: Settling = {
    by: 'link',
    gauge: { lag: () => ({ seconds: 0, reason: null }), passedAt: () => clock.monotonicNow() },
  };
  const verifier = verifierOf({ source, target, schema, tables: names.map((n) => `${schema}.${n}`) }, settling);
  try {
    const equal = await runPass(verifier);
    expect([...equal.results.values()].map((r) => [r.table, r.state, r.reason])).toEqual(
      [...names].sort().map((n) => [`${schema}.${n}`, 'match', null]),
    );
    expect(equal.results.get(`${schema}.rental`)?.rowsCompared).toBe(16_044);
    for (const { sql } of changes) await target.past(sql);
    const changed = await runPass(verifier);
    const found = [...changed.results.values()].flatMap((r) => r.mismatches.map((m) => [r.table, m.kind, m.key]));
    expect(found).toEqual(
      [...changes]
        .sort((a, b) => (a.table < b.table ? -1 : 1))
        .map((c) => [`${schema}.${c.table}`, 'different', c.key]),
    );
  } finally {
    await verifier.close();
  }
}

interface Change {
  table: RentalTable;
  sql: string;
  key: Record<string, string>;
}

describe('a film rental', { timeout: 300_000 }, () => {
  it('on PostgreSQL: arrays, full text, enums, partitions, bytes', async () => {
    const pair = await startPair();
    try {
      await rentals(
        'public',
        postgresSide('a', pair.source, pair.onSource),
        postgresSide('b', pair.target, pair.onTarget),
        [
          {
            ...{ table: 'film', key: { film_id: '7' } },
            sql: `update film set special_features = array_append(special_features, null) where film_id = 7`,
          },
          {
            ...{ table: 'payment', key: { payment_date: '2005-05-27 11:20:00+00', payment_id: '1000' } },
            sql: `update payment set amount = amount + 0.01 where payment_id = 1000`,
          },
          {
            ...{ table: 'staff', key: { staff_id: '2' } },
            sql: `update staff set picture = set_byte(picture, 2999, 11) where staff_id = 2`,
          },
        ],
      );
    } finally {
      await pair.destroy();
    }
  });

  it.each(everyFlavour.filter(({ left }) => !left))('on $flavour: SET, YEAR, BLOB, points', async ({ flavour }) => {
    const pair = await startMysqlPair({ flavour });
    try {
      const [a, b] = (['source', 'target'] as const).map((name) =>
        mysqlSide(name, flavour, pair[name], pair.database, name === 'source' ? pair.onSource : pair.onTarget),
      );
      if (a === undefined || b === undefined) throw new RangeError('a pair has two sides');
      // Its own shop has a table of the same name.
      for (const side of [a, b]) await side.past('drop table customers, orders');
      await rentals(pair.database, a, b, [
        {
          table: 'address',
          key: { address_id: '9' },
          sql: `update address set address2 = 'back ' where address_id = 9`,
        },
        { table: 'film', key: { film_id: '7' }, sql: `update film set special_features = '' where film_id = 7` },
        {
          ...{ table: 'staff', key: { staff_id: '2' } },
          sql: `update staff set picture = concat(left(picture, 2999), x'0b') where staff_id = 2`,
        },
      ]);
    } finally {
      await pair.destroy();
    }
  });
});
