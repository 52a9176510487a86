import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { LockgateError } from '../../daemon/core/errors.js';
import type { Finding } from '../../collectors/collector.js';
import { doctor } from '../../collectors/postgres/setup/doctor.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { startPair, type Pair } from '../support/pair.js';
import { administered, context, databaseOf, linkOf, outcomes, rounds, setupOnce } from './setup-kit.js';
import { grants } from '../../collectors/postgres/setup/grants.js';

type Links = ReturnType<typeof linkOf>[];

let pair: Pair | null = null;
afterEach(async () => {
  await pair?.destroy();
  pair = null;
});

/** Two migrations over one pair of databases, each with a subscription and a publication of its own. */
async function two(source: number, target = source) {
  const made = await startPair({ source, target, second: true });
  pair = made;
  const onprem = databaseOf('onprem', made.source);
  const aws = databaseOf('aws', made.target);
  const databases = [administered(onprem, made.source), administered(aws, made.target)];
  const shop = linkOf('forward', onprem, aws, { migration: 'shop', flows: ['shop_sub'] });
  const events = linkOf('forward', onprem, aws, { migration: 'events', flows: ['events_sub'] });
  const setUp = async (links: Links): Promise<string[]> => {
    const { last } = await rounds(() => setupOnce(databases, links));
    return outcomes(last).filter((o) => o.startsWith('would-do'));
  };
  const look = async (links: Links): Promise<Finding[]> =>
    (await doctor([onprem, aws], links, context, new AbortController().signal)).filter((f) => f.level !== 'ok');
  return { pair: made, onprem, aws, shop, events, both: [onprem, aws, made, databases] as const, setUp, look };
}

let run = 0;

/** Heartbeats of both links get there, in one transaction each time, and apply goes on. */
async function arrives(on: Pair): Promise<void> {
  run += 1;
  await on.onSource(
    `insert into lockgate.heartbeat select 'd', l, $1, 1, now() from unnest(array['shop/forward', 'events/forward']) l`,
    [`r${run}`],
  );
  await on.onSource(`update lockgate.heartbeat set seq = 2 where run = $1`, [`r${run}`]);
  await on.settled();
  await waitFor('heartbeats of both links', 10_000, async () => {
    const rows = await on.onTarget('select from lockgate.heartbeat where run = $1 and seq = 2', [`r${run}`]);
    return rows.length === 2;
  });
  await sleep(300);
  expect(await on.applyWorkerPids()).toHaveLength(2);
}

const filters = `select pubname, pg_get_expr(prqual, prrelid) as filter from pg_publication_rel r
  join pg_publication p on p.oid = prpubid where prrelid = 'lockgate.heartbeat'::regclass and pubname <> 'lockgate' order by 1`;

/** What setup made before it knew of other subscriptions. */
async function byHand(on: Pair): Promise<void> {
  await on.onSource('alter publication events_pub add table lockgate.heartbeat');
  await on.onTarget('alter subscription events_sub refresh publication with (copy_data = false)');
}

describe('two links with subscriptions of their own over one pair of databases', () => {
  test('each publication sends its own rows (18)', async () => {
    const { pair: on, shop, events, setUp, look } = await two(18);
    expect(await setUp([shop, events])).toEqual([]);
    expect(await on.onSource(filters)).toEqual([
      { pubname: 'events_pub', filter: `(link = ANY (ARRAY['events/forward'::text]))` },
      { pubname: 'shop_pub', filter: `(link = ANY (ARRAY['shop/forward'::text]))` },
    ]);
    await arrives(on);
    expect(on.applyFailures()).toBe(0);
    expect(await look([shop, events])).toEqual([]);
    // Another daemon's configuration of one of them alone changes nothing and finds nothing to mend.
    expect(await setUp([shop])).toEqual([]);
    await arrives(on);
    expect(on.applyFailures()).toBe(0);
  });

  test.each([
    { order: 'first', reversed: false },
    { order: 'last', reversed: true },
  ])('one that comes later, with the old one $order, gets the old one its filter first (18)', async ({ reversed }) => {
    const { pair: on, shop, events, setUp, look } = await two(18);
    expect(await setUp([shop])).toEqual([]);
    expect(await on.onSource(filters)).toEqual([{ pubname: 'shop_pub', filter: null }]);
    expect(await setUp(reversed ? [events, shop] : [shop, events])).toEqual([]);
    await arrives(on);
    expect(on.applyFailures()).toBe(0);
    expect(await look([shop, events])).toEqual([]);
  });

  test('a second migration over the same subscription is let in as well (18)', async () => {
    const { pair: on, onprem, aws, shop, events, setUp } = await two(18);
    expect(await setUp([shop, events])).toEqual([]);
    const store = linkOf('forward', onprem, aws, { migration: 'store', flows: ['shop_sub'] });
    expect(await setUp([store])).toEqual([]);
    expect((await on.onSource(filters))[1]).toEqual({
      pubname: 'shop_pub',
      filter: `(link = ANY (ARRAY['shop/forward'::text, 'store/forward'::text]))`,
    });
    await arrives(on);
    expect(on.applyFailures()).toBe(0);
  });

  test('a link back keeps out what came, beside another link (18)', async () => {
    const { pair: on, onprem, aws, shop, events, setUp, look } = await two(18);
    await on.onTarget('create publication back_pub for table public.orders');
    await on.onSource(`create subscription back_sub connection
      'host=127.0.0.1 port=${on.target.port} dbname=app user=postgres password=${on.target.password}'
      publication back_pub with (copy_data = false, origin = any)`);
    const back = linkOf('reverse', aws, onprem, { migration: 'shop', flows: ['back_sub'] });
    expect(await setUp([shop, back])).toEqual([]);
    expect(await setUp([shop, back, events])).toEqual([]);
    await arrives(on);
    await on.onTarget(`insert into lockgate.heartbeat values ('d', 'shop/reverse', 'back', 1, now())`);
    await waitFor('the heartbeat of the link back', 10_000, async () => {
      return (await on.onSource(`select from lockgate.heartbeat where link = 'shop/reverse'`)).length === 1;
    });
    await arrives(on);
    expect(on.applyFailures()).toBe(0);
    expect(await on.onSource('select from pg_stat_subscription where pid is not null')).toHaveLength(1);
    expect((await look([shop, back, events])).filter((f) => f.level === 'fault')).toEqual([]);
  });

  test('by another configuration: refused, and the statement in the remedy makes room (18)', async () => {
    const { pair: on, shop, events, setUp, look } = await two(18);
    expect(await setUp([shop])).toEqual([]);
    const refused: unknown = await setUp([events]).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: 'heartbeat_twice' });
    expect(await on.onSource(filters)).toEqual([{ pubname: 'shop_pub', filter: null }]);
    const hint = refused instanceof LockgateError ? (refused.hint ?? '') : '';
    await on.onSource(/BEGIN;.*COMMIT;/.exec(hint)?.[0] ?? 'remedy without a statement');
    expect(await setUp([events])).toEqual([]);
    await arrives(on);
    expect(on.applyFailures()).toBe(0);
    expect((await look([events])).filter((f) => f.level === 'fault')).toEqual([]);
  });

  test('the printed script is for the same filters (18)', async () => {
    const { pair: on, onprem, shop, events, setUp } = await two(18);
    expect(await setUp([shop, events])).toEqual([]);
    const before = await on.onSource(filters);
    const named = [shop, events].map((link) => ({
      ...link,
      config: { ...link.config, publication: `${link.migration}_pub` },
    }));
    await on.onSource('alter publication shop_pub drop table lockgate.heartbeat');
    for (const { sql } of grants(onprem, named)) await on.onSource(sql);
    expect(await on.onSource(filters)).toEqual(before);
  });

  test('a table without a filter in both stops apply; doctor says so, setup and its remedy mend it (18)', async () => {
    const { pair: on, shop, events, setUp, look } = await two(18);
    expect(await setUp([shop])).toEqual([]);
    await byHand(on);
    const found = await look([shop, events]);
    expect(found.filter((f) => f.level === 'fault').map((f) => f.message)).toEqual([
      expect.stringMatching(/both bring the same heartbeats .*stops apply on a duplicate key/) as string,
      expect.stringMatching(/both bring the same heartbeats .*stops apply on a duplicate key/) as string,
    ]);
    expect(found.flatMap((f) => f.signals)).toEqual(
      expect.arrayContaining(['shop.forward.lag', 'events.forward.running']),
    );
    await on.onSource(`insert into lockgate.heartbeat values ('d', 'shop/forward', 'twice', 1, now())`);
    await waitFor('apply to stop on the duplicate', 15_000, () => Promise.resolve(on.applyFailures() > 0));
    expect(await setUp([shop, events])).toEqual([]);
    expect((await look([shop, events])).filter((f) => /same heartbeats/.test(f.message))).toEqual([]);
    const remedy = found[0]?.remedy ?? '';
    expect(remedy).toMatch(/DELETE FROM lockgate.heartbeat;/);
    await on.onTarget('DELETE FROM lockgate.heartbeat');
    await arrives(on);
  });

  test('below 15 it is refused before anything is changed, and one link with both subscriptions does (13)', async () => {
    const { pair: on, onprem, aws, shop, events, setUp, look } = await two(13);
    await expect(setUp([shop, events])).rejects.toMatchObject({
      code: 'heartbeat_twice',
      hint: expect.stringContaining(`subscription: ['shop_sub', 'events_sub']`) as string,
    });
    expect(await on.onSource(`select from pg_namespace where nspname = 'lockgate'`)).toEqual([]);
    const one = linkOf('forward', onprem, aws, { migration: 'shop', flows: ['shop_sub', 'events_sub'] });
    expect(await setUp([one])).toEqual([]);
    expect((await look([one])).filter((f) => f.level === 'fault')).toEqual([]);
    // By another configuration too.
    await expect(setUp([events])).rejects.toMatchObject({ code: 'heartbeat_twice' });
    await byHand(on);
    expect((await look([one])).filter((f) => f.level === 'fault').map((f) => f.message)).toEqual([
      expect.stringMatching(/both bring the same heartbeats/) as string,
    ]);
    await on.onSource(`insert into lockgate.heartbeat values ('d', 'shop/forward', 'twice', 1, now())`);
    await waitFor('apply to stop on the duplicate', 15_000, () => Promise.resolve(on.applyFailures() > 0));
  });
});
