/** Pairs of servers with several databases, and in each several links with a subscription of their own. */
import pg from 'pg';
import { startPostgres, type PostgresServer } from '../../deploy/demo/postgres-server.js';

/** How the links are spread: so many pairs of servers, databases on each, and links in each database. */
export interface Shape {
  readonly pairs: number;
  readonly databases: number;
  readonly links: number;
}

/** Servers with links between them, and what the daemon is to be told of them. */
export interface ManyLinks {
  readonly servers: readonly PostgresServer[];
  /** Administrators' addresses by the name of the database in the configuration. */
  readonly admin: ReadonlyMap<string, string>;
  /** The configuration, without `daemon`. */
  readonly yaml: string;
  readonly migrations: readonly string[];
  destroy(): Promise<void>;
}

const GATE = ['lag < 5s', 'lag_by_position < 5s', 'agreement is 1', 'running is 1']
  .map((condition) => `"forward.${condition} for 10s"`)
  .join(', ');

/** Starts servers and replication of the given shape; heartbeats are for setup to add, with a row filter for each link. */
export async function startManyLinks(shape: Shape): Promise<ManyLinks> {
  const servers: PostgresServer[] = [];
  const admin = new Map<string, string>();
  const databases: string[] = [];
  const migrations: string[] = [];
  const lines: string[] = [];
  const flows = shape.databases * shape.links;
  const most = String(flows + 20);
  const settings = {
    max_connections: String(200 + shape.databases * 20),
    max_wal_senders: most,
    max_replication_slots: most,
    max_active_replication_origins: most,
    max_logical_replication_workers: most,
    max_worker_processes: String(flows + 40),
    wal_retrieve_retry_interval: '500ms',
  };
  const destroy = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.destroy()));
  };
  try {
    for (let p = 1; p <= shape.pairs; p += 1) {
      const source = await startPostgres({ name: `source${p}`, settings });
      servers.push(source);
      const target = await startPostgres({ name: `target${p}`, settings });
      servers.push(target);
      for (let d = 1; d <= shape.databases; d += 1) {
        for (const [side, server] of [
          ['from', source],
          ['to', target],
        ] as const) {
          const name = `${side}-${p}-${d}`;
          await on(server, 'postgres', [`create database app${d}`]);
          admin.set(name, server.adminUrl(`app${d}`));
          const { port } = server;
          databases.push(
            `  ${name}: { engine: postgres, url: "postgres://lockgate:pw@127.0.0.1:${port}/app${d}?sslmode=disable", read: off }`,
          );
        }
        const ids = Array.from({ length: shape.links }, (_, i) => `m-${p}-${d}-${i + 1}`);
        const names = ids.map((id) => id.replaceAll('-', '_'));
        const tables = names.map((name) => `create table ${name} (id bigint primary key, note text);`).join('\n');
        await on(target, `app${d}`, [tables]);
        const publications = names.map((name) => `create publication ${name} for table ${name}`);
        await on(source, `app${d}`, [tables, ...publications]);
        const address = `host=127.0.0.1 port=${source.port} dbname=app${d} user=postgres password=${source.password}`;
        await on(
          target,
          `app${d}`,
          names.map(
            (name) =>
              `create subscription ${name} connection '${address}' publication ${name} with (copy_data = false)`,
          ),
        );
        for (const [i, id] of ids.entries()) {
          const name = names[i] ?? '';
          migrations.push(id);
          lines.push(
            `  ${id}: { source: from-${p}-${d}, target: to-${p}-${d}, forward: { via: postgres-logical, subscription: ${name},` +
              ` heartbeat: { interval: 1s, watch: notify }, tables: { include: [ public.${name} ] } }, gates: { ready: { require: [ ${GATE} ] } } }`,
          );
        }
      }
    }
  } catch (error) {
    await destroy();
    throw error;
  }
  const yaml = ['databases:', ...databases, 'migrations:', ...lines, ''].join('\n');
  return { servers, admin, yaml, migrations, destroy };
}

async function on(server: PostgresServer, database: string, statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: server.adminUrl(database), query_timeout: 60_000 });
  await client.connect();
  try {
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}
