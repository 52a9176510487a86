/** A cutover between two PostgreSQL servers, with the way back either running all along or beginning with the flip. */
import type pg from 'pg';
import type { CutoverBed, Side } from './cutover.js';
import { workspace } from './lockgate.js';
import { open, runAll, startPair, type Pair } from './pair.js';
import { cutoverGates } from './cutover-gates.js';
import { setUp } from './scenario-setup.js';
import { waitFor } from '../../deploy/demo/run-folder.js';

/** How a bed differs from the usual one. */
export interface PostgresCutoverOptions {
  readonly source?: number;
  readonly target?: number;
  /** Replication runs both ways from the beginning (both servers 16 or newer); else the way back begins with the flip. */
  readonly bothWays: boolean;
  readonly settings?: Readonly<Record<string, string>>;
  readonly promotion?: 'manual' | 'detect';
  /** Also replicates public.events by a second flow. */
  readonly second?: boolean;
  /** `read` of the source. */
  readonly read?: 'auto' | 'on' | 'off';
  /** Changes the configuration before anything is set up by it. */
  readonly amend?: (yaml: string) => string;
}

/** A bed on PostgreSQL, with its pair. */
export interface PostgresCutover extends CutoverBed {
  readonly pair: Pair;
}

/** Starts the servers, replication, setup and the daemon. */
export async function startPostgresCutover(options: PostgresCutoverOptions): Promise<PostgresCutover> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    return await build(options, cleanups);
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}

async function build(options: PostgresCutoverOptions, cleanups: (() => Promise<void>)[]): Promise<PostgresCutover> {
  const { bothWays, source, target, second = false } = options;
  const pair = await startPair({
    ...(source === undefined ? {} : { source }),
    ...(target === undefined ? {} : { target }),
    second,
    settings: { max_prepared_transactions: '5', ...options.settings },
    // The old side becomes a subscriber, whose workers must come up at once.
    sourceSettings: { wal_retrieve_retry_interval: '500ms' },
  });
  cleanups.push(() => pair.destroy());
  await prepareWayBack(pair, bothWays);
  const amend = options.amend ?? ((text: string) => text);
  const lockgate = await workspace((port) => amend(yaml(pair, options)(port)));
  cleanups.push(() => lockgate.destroy());
  await setUp(lockgate, pair);
  const daemon = await lockgate.start();
  const server = (side: Side) => (side === 'source' ? pair.source : pair.target);
  return {
    pair,
    lockgate,
    daemon,
    async connect(side) {
      const client = await open(server(side));
      return {
        async write(token) {
          await client.query({
            name: 'write',
            text: 'insert into public.orders (customer_id, amount, note) values (1, 1, $1)',
            values: [token],
          });
        },
        close: () => client.end(),
      };
    },
    async tokens(side) {
      const client = await open(server(side));
      try {
        const { rows } = await client.query<{ note: string }>(
          "select note from public.orders where note like 'source-%' or note like 'target-%'",
        );
        return new Set(rows.map((r) => r.note));
      } finally {
        await client.end();
      }
    },
    async turnToTarget() {
      if (bothWays) return;
      // Left in place its slot would hold WAL back, and bring the rows of the way back once more.
      await pair.onTarget('drop subscription shop_sub');
      await createBack(pair);
    },
    async turnToSource() {
      if (bothWays) return;
      await pair.onSource('drop subscription shop_back');
      await pair.onTarget(`create subscription shop_sub
        connection 'host=127.0.0.1 port=${pair.replicationProxy.port} dbname=${pair.database} user=replicator password=replicator'
        publication shop_pub with (copy_data = false)`);
    },
    async stray(side) {
      const client = await open(server(side));
      try {
        await client.query("insert into public.customers (id, name) values (800000 + (random() * 1e9)::int, 'astray')");
      } finally {
        await client.end();
      }
    },
    destroy: () => runAll(cleanups),
  };
}

/** Everything of the way back that can be there before the flip. */
export async function prepareWayBack(pair: Pair, bothWays: boolean): Promise<void> {
  await pair.onTarget(`
    create role replicator login replication password 'replicator';
    grant usage on schema public to replicator;
    grant select on all tables in schema public to replicator;
    create publication back_pub for table public.customers, public.orders`);
  // Far apart, so that whoever serves never hands out what the other side has used.
  await pair.onTarget(`select setval('public.orders_id_seq', 10000000), setval('public.customers_id_seq', 10000000)`);
  if (!bothWays) return;
  await pair.onTarget('alter subscription shop_sub set (origin = none)');
  await createBack(pair);
}

async function createBack(pair: Pair): Promise<void> {
  const both = pair.source.major >= 16;
  await pair.onSource(`create subscription shop_back
    connection 'host=127.0.0.1 port=${pair.target.port} dbname=${pair.database} user=replicator password=replicator'
    publication back_pub with (copy_data = false${both ? ', origin = none' : ''})`);
  await waitFor('the way back to run', 10_000, async () => {
    const rows = await pair.onTarget("select from pg_stat_replication where application_name = 'shop_back'");
    return rows.length > 0;
  });
}

function yaml(pair: Pair, options: PostgresCutoverOptions): (port: number) => string {
  const url = (port: number): string => `postgres://lockgate:pw@127.0.0.1:${port}/${pair.database}?sslmode=disable`;
  return (port) => `
daemon: { id: tester, listen: 127.0.0.1:${port} }
databases:
  onprem: { engine: postgres, url: "${url(pair.sourceProxy.port)}", read: ${options.read ?? 'on'} }
  aws: { engine: postgres, url: "${url(pair.targetProxy.port)}", read: on }
migrations:
  shop:
    source: onprem
    target: aws
    promotion: ${options.promotion ?? 'manual'}
    forward:
      via: postgres-logical
      subscription: [ ${pair.subscriptions.join(', ')} ]
      heartbeat: { interval: 500ms }
    reverse:
      via: postgres-logical
      subscription: shop_back
      publication: back_pub
      heartbeat: { interval: 500ms }
${cutoverGates}`;
}

/** Superuser's own session on one side, for what an operator or a careless colleague does. */
export function session(pair: Pair, side: Side): Promise<pg.Client> {
  return open(side === 'source' ? pair.source : pair.target);
}
