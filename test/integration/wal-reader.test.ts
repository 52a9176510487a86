import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../../collectors/postgres/connection.js';
import { checkWalUse } from '../../collectors/postgres/wal-checks.js';
import {
  databaseConfig,
  installHeartbeats,
  leftovers,
  startBed,
  type Bed,
  type BedOptions,
} from '../support/heartbeat-bed.js';
import { testedMajors } from '../support/majors.js';
import { startPair, type Pair } from '../support/pair.js';

const settle = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

describe.each(testedMajors)('the WAL reader on PostgreSQL %i', (major) => {
  let pair: Pair;
  let bed: Bed;

  const start = (options: BedOptions = {}): void => void (bed = startBed(pair, options));
  const reading = (since = 0): Promise<void> =>
    bed.until('reading WAL', () => bed.of('heartbeat-visible', since).some((o) => o.by === 'wal'), 25_000);

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major });
    await installHeartbeats(pair);
  });
  afterEach(() => bed.stop());
  afterAll(() => pair.destroy());

  test('tells the capture delay of the source and the skew of each server’s clock', async () => {
    start();
    await bed.until('capture delays', () => bed.of('link-reading').filter((o) => o.value !== null).length > 5);
    const delays = bed
      .of('link-reading')
      .flatMap((o) => (o.signal === 'capture_delay' && o.value !== null ? [o.value] : []));
    expect(Math.min(...delays)).toBeGreaterThan(0);
    expect(Math.min(...delays)).toBeLessThan(0.1);
    await bed.until('what was read to be counted', () =>
      ['source/wal', 'target/wal'].every((stream) => {
        const { transactions = 0, bytes = 0 } = bed.read.get(stream) ?? {};
        return transactions > 5 && bytes > 50 * transactions;
      }),
    );
    await bed.until('skews', () => {
      const sides = bed.seen.flatMap((o) => (o.kind === 'side-reading' && o.signal === 'clock_skew' ? [o] : []));
      return ['source', 'target'].every((side) =>
        sides.some((o) => o.database === side && Math.abs(o.value ?? 9) < 0.05),
      );
    });
  });

  test('stays up through an idle time and lets the server shut down at once', async () => {
    start({ intervalMs: 60_000 });
    await bed.until('streaming', () => bed.logged.filter((line) => line.startsWith('streaming')).length === 2);
    await settle(5_000);
    expect(bed.logged.filter((line) => line.includes('interrupted'))).toEqual([]);
    const startedAt = performance.now();
    await pair.target.stop('fast');
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    await pair.target.start();
    await bed.until(
      'streaming again',
      () => bed.logged.filter((line) => line.startsWith('streaming')).length === 3,
      20_000,
    );
  });

  test('with `auto` a missing publication only turns it off, and heartbeats are polled', async () => {
    await pair.onTarget('drop publication lockgate');
    start();
    await bed.until('the refusal', () => bed.logged.some((line) => line.includes('there is no publication lockgate')));
    await bed.beats(bed.mark(), 5);
    await settle(1_000);
    expect(bed.logged.filter((line) => line.includes('stays off'))).toHaveLength(1);
    expect(bed.heartbeats.watchers.get('target')?.describe()[0]).toMatchObject({ mode: 'poll' });
    expect(bed.heartbeats.watchers.get('target')?.describe()[0]?.why).toMatch(/no publication lockgate/);
    await pair.onTarget('create publication lockgate for table lockgate.heartbeat');
  });

  test('with `on` it is a fault of the collector, and heartbeats are polled', async () => {
    await pair.onTarget('drop publication lockgate');
    start({ read: 'on' });
    await bed.until('the fault', () =>
      bed.logged.some((line) => /^fault: .*no publication lockgate.*"target\/wal"/.test(line)),
    );
    await bed.beats(bed.mark(), 5);
    await pair.onTarget('create publication lockgate for table lockgate.heartbeat');
    await reading(bed.mark());
  });

  test('a configured mode that is not possible falls back to the poll and says so', async () => {
    start({ watch: 'wal', read: 'off' });
    await bed.beats(0, 3);
    const [choice] = bed.heartbeats.watchers.get('target')?.describe() ?? [];
    expect(choice).toMatchObject({ mode: 'poll', why: expect.stringContaining('read: off') as string });
    expect(bed.logged.some((line) => line.startsWith('heartbeats cannot be watched by wal'))).toBe(true);
  });

  test('a killed walsender is replaced', async () => {
    start();
    await reading();
    const since = bed.mark();
    await pair.onTarget(
      `select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name like 'lockgate%'`,
    );
    await bed.until('the loss to be noticed', () => bed.logged.some((line) => line.includes('interrupted')));
    await reading(since);
    expect(bed.of('watch-fault', since)).toEqual([]);
  });

  test('a long write transaction that blocks the slot is named, and aborting leaves nothing behind', async () => {
    const transaction = await pair.openTransaction();
    start();
    // Meanwhile heartbeats are watched by polling.
    await bed.beats(0, 5);
    await bed.until(
      'the reason',
      () => bed.logged.some((line) => /could not be made within 10 s.*backend \d+, idle in transaction/.test(line)),
      20_000,
    );
    await settle(500);
    await bed.stop();
    await bed.until('nothing left', async () => (await leftovers(pair, 'source', bed.daemonId)).length === 0, 3_000);
    await transaction.rollback();
  });

  test('it does not take the last replication slots', async () => {
    const names = Array.from({ length: 18 }, (_, n) => `taken_${n}`);
    for (const name of names) await pair.onTarget('select pg_create_physical_replication_slot($1)', [name]);
    start();
    await bed.until('the refusal', () => bed.logged.some((line) => /fewer than 2 replication slots/.test(line)));
    await bed.stop();
    for (const name of names) await pair.onTarget('select pg_drop_replication_slot($1)', [name]);
  });

  test('it needs no more than REPLICATION, the rights on its table and the statistics', async () => {
    const role = (side: 'source' | 'target', attributes: string): Promise<unknown> =>
      (side === 'source' ? pair.onSource : pair.onTarget)(`
        create role lockgate login ${attributes} password 'secret';
        grant usage on schema lockgate to lockgate;
        grant select, insert, update, delete on lockgate.heartbeat to lockgate`);
    await role('source', 'replication');
    await role('target', 'noreplication');
    const user = { name: 'lockgate', password: 'secret' };
    start({ user });
    await bed.beats(0, 5);
    await bed.until('the source to be read', () => bed.of('link-reading').some((o) => o.value !== null));
    await bed.until('the refusal', () => bed.logged.some((line) => /stays off.*\[42501\]/.test(line)));
    await bed.stop();
    await pair.onTarget('alter role lockgate replication');
    start({ user });
    await reading();
    const prefix = `lockgate_${bed.daemonId.replaceAll('-', '_')}`;
    const connection = await connect(databaseConfig(pair, 'target', { user }), { applicationName: 'test' });
    const side = <R>(sql: string, values: readonly unknown[]): Promise<R[]> => connection.query<R>(sql, values);
    expect(await checkWalUse(side, databaseConfig(pair, 'target'), prefix)).toBeNull();
    await connection.close();
    expect(bed.of('writer-fault')).toEqual([]);
  });
});
