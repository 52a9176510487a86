import { describe, expect, test } from 'vitest';
import type { PgConnection } from '../../collectors/postgres/connection.js';
import { checkRoom, checkWalReading, checkWalUse } from '../../collectors/postgres/wal-checks.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';

const db = { name: 'aws', address: { host: 'db', port: 5432, database: 'app', user: 'lockgate' } } as DatabaseConfig;
const good = {
  recovery: false,
  wal_level: 'logical',
  slots_left: 3,
  senders_left: 2,
  sync_names: '',
  publication: true,
  published: true,
};

describe('whether a WAL reader may start', () => {
  const check = (facts: object): Promise<void> =>
    checkWalReading(
      { query: () => Promise.resolve([{ ...good, ...facts }]) } as unknown as PgConnection,
      db,
      'lockgate',
    );

  test.each([{}, { sync_names: 'ANY 1 (a, b)' }, { sync_names: '"star*"' }])('may: %j', async (facts) => {
    await expect(check(facts)).resolves.toBeUndefined();
  });

  test.each([
    [{ recovery: true }, 'wal_standby'],
    [{ wal_level: 'replica' }, 'wal_level'],
    [{ publication: false, published: false }, 'wal_publication'],
    [{ published: false }, 'wal_publication'],
    [{ slots_left: 2 }, 'wal_few_slots'],
    [{ senders_left: 1 }, 'wal_few_slots'],
    [{ sync_names: '*' }, 'wal_synchronous'],
    [{ sync_names: 'FIRST 1 (*)' }, 'wal_synchronous'],
    [{ sync_names: 'a, "*"' }, 'wal_synchronous'],
  ])('may not: %j', async (facts, code) => {
    await expect(check(facts)).rejects.toMatchObject({ name: 'SourceError', code });
  });
});

describe('whether a replication connection may be opened at all', () => {
  const room = (rows: object[]): Promise<void> => checkRoom(<R>() => Promise.resolve(rows as R[]), db);

  test.each([[[]], [[{ slots_left: 3, senders_left: 3 }]]])('may: %j', async (rows) => {
    await expect(room(rows)).resolves.toBeUndefined();
  });

  // What is left counts before the connection: it takes one of each.
  test.each([
    { slots_left: 2, senders_left: 3 },
    { slots_left: 3, senders_left: 2 },
    { slots_left: 0, senders_left: 0 },
  ])('may not: %j', async (facts) => {
    await expect(room([facts])).rejects.toMatchObject({ name: 'SourceError', code: 'wal_few_slots' });
  });
});

describe('whether a slot costs too much', () => {
  const use = (retained: string | null, spilled: string): Promise<Error | null> => {
    const answers: unknown[][] = [[{ slot_name: 'lockgate_d_1', retained, stats: true }], [{ spilled }]];
    return checkWalUse(<R>() => Promise.resolve((answers.shift() ?? []) as R[]), db, 'lockgate_d');
  };

  test.each([
    [null, '0', null],
    ['1000000', '1000000', null],
    ['2000000000', '0', 'wal_retains'],
    ['0', '2000000000', 'wal_spills'],
  ])('retained %s, spilled %s: %s', async (retained, spilled, code) => {
    const error = await use(retained, spilled);
    expect(error === null ? null : (error as Error & { code: string }).code).toBe(code);
  });
});
