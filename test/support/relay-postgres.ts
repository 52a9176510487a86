/** The relay's two ends on PostgreSQL: a logical slot is polled, an ordinary session writes. */
import pg from 'pg';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PostgresServer } from '../../deploy/demo/postgres-server.js';
import type { RelayReader, RelayWriter, RowChange } from './relay.js';

const queryTimeoutMs = 5_000;
const everyMs = 10;

/** Reads the tables `schema.table` of a database through its slot `relay` of test_decoding, which must be there. */
export function postgresReader(server: PostgresServer, database: string, tables: readonly string[]): RelayReader {
  return {
    async read(from, take, signal) {
      const client = await connect(server, database);
      try {
        let after = from ?? '0/0';
        let changes: RowChange[] = [];
        while (!signal.aborted) {
          const { rows } = await client.query<{ lsn: string; data: string }>(
            `select lsn, data from pg_logical_slot_peek_changes('relay', null, 2000, 'include-xids', '0')`,
          );
          // The slot keeps what a killed relay has not applied; what this one has taken already it knows itself.
          for (const { lsn, data } of rows) {
            if (data === 'BEGIN') changes = [];
            else if (data !== 'COMMIT') changes.push(...changeOf(data).filter(({ table }) => tables.includes(table)));
            else if (lsnOf(lsn) > lsnOf(after)) {
              after = lsn;
              take({ changes, next: lsn });
            }
          }
          const last = rows.findLast(({ data }) => data === 'COMMIT');
          if (last !== undefined) await client.query(`select pg_replication_slot_advance('relay', $1)`, [last.lsn]);
          if (rows.length < 2_000) await sleep(everyMs, undefined, { signal }).catch(() => undefined);
        }
      } finally {
        await client.end().catch(() => undefined);
      }
    },
  };
}

function lsnOf(text: string): bigint {
  const [high = '0', low = '0'] = text.split('/');
  return (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`);
}

/** Reads `table public.orders: INSERT: id[bigint]:1 note[text]:'it''s'`. */
function changeOf(data: string): RowChange[] {
  const head = /^table ([\w.]+): (INSERT|UPDATE|DELETE): /.exec(data);
  if (head === null) return [];
  const body = data.slice(head[0].length).replace(/^old-key: .* new-tuple: /, '');
  const row: Record<string, string | null> = {};
  for (const [, column = '', type = '', value = ''] of body.matchAll(/(\w+)\[([^\]]+)\]:('(?:[^']|'')*'|\S+)/g)) {
    const text = value.startsWith("'") ? value.slice(1, -1).replaceAll("''", "'") : value;
    // Elsewhere a time has no zone; the session that reads is in UTC.
    row[column] = value === 'null' ? null : type === 'timestamp with time zone' ? text.replace(/\+00$/, '') : text;
  }
  const kind = (head[2] ?? '').toLowerCase() as RowChange['kind'];
  return [{ table: head[1] ?? '', kind, row }];
}

/** Writes as the superuser in an ordinary session; `names` gives each table its name here and its key. */
export function postgresWriter(
  server: PostgresServer,
  database: string,
  names: (table: string) => { table: string; key: readonly string[] },
): RelayWriter {
  let client: pg.Client | null = null;
  return {
    async apply(changes) {
      try {
        client ??= await connect(server, database);
        await client.query('begin');
        for (const change of changes) {
          const { table, key } = names(change.table);
          const { before } = change;
          // An update of the key is two changes; of a table without one, every update is.
          if (before !== undefined && (key.length === 0 || key.some((c) => before[c] !== change.row[c]))) {
            await client.query(statementOf({ table: change.table, kind: 'delete', row: before }, { table, key }));
          }
          await client.query(statementOf(change, { table, key }));
        }
        await client.query('commit');
      } catch (error) {
        const broken = client;
        client = null;
        await broken?.end().catch(() => undefined);
        throw error;
      }
    },
    close: async () => {
      await client?.end().catch(() => undefined);
    },
  };
}

function statementOf(
  { kind, row }: RowChange,
  { table, key }: { table: string; key: readonly string[] },
): pg.QueryConfig {
  const columns = Object.keys(row);
  if (kind === 'delete' && key.length === 0) {
    const where = columns.map((column, i) => `${column}::text is not distinct from $${i + 1}`).join(' and ');
    return {
      text: `delete from ${table} where ctid = (select ctid from ${table} where ${where} limit 1)`,
      values: columns.map((c) => row[c]),
    };
  }
  if (kind === 'delete') {
    const where = key.map((column, i) => `${column}::text = $${i + 1}`).join(' and ');
    return { text: `delete from ${table} where ${where}`, values: key.map((c) => row[c]) };
  }
  const places = columns.map((_, i) => `$${i + 1}`).join(', ');
  const set = columns.map((c) => `${c} = excluded.${c}`).join(', ');
  const again = key.length === 0 ? '' : `on conflict (${key.join(', ')}) do update set ${set}`;
  return {
    text: `insert into ${table} (${columns.join(', ')}) values (${places}) ${again}`,
    values: columns.map((c) => row[c]),
  };
}

async function connect(server: PostgresServer, database: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: server.adminUrl(database),
    query_timeout: queryTimeoutMs,
    connectionTimeoutMillis: 3_000,
  });
  client.on('error', () => undefined); // servers are killed here on purpose; the next query says so
  await client.connect();
  await client.query(`set time zone 'UTC'`);
  return client;
}
