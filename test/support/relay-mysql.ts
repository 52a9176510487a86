/** The relay's two ends on MariaDB and MySQL: zongji reads the binlog, an ordinary session writes. */
import ZongJi, { type BinlogEvent, type RowsEvent, type UpdateRowData } from 'zongji';
import type { MysqlServer } from '../../deploy/demo/mysql-server.js';
import { rootConnection, type RootConnection } from './mysql-connection.js';
import type { RelayReader, RelayWriter, RelayedTransaction, RowChange } from './relay.js';

/** Reads the tables `schema.table` of a server from the beginning of its first binlog. */
export function mysqlReader(server: MysqlServer, tables: readonly string[]): RelayReader {
  const includeSchema: Record<string, string[]> = {};
  for (const table of tables) {
    const [schema = '', name = ''] = table.split('.');
    (includeSchema[schema] ??= []).push(name);
  }
  return {
    read: (from, take, signal) => {
      const url = new URL(server.adminUrl());
      const zongji = new ZongJi({
        host: url.hostname,
        port: Number(url.port),
        user: decodeURIComponent(url.username),
        password: decodeURIComponent(url.password),
        dateStrings: true,
        connectTimeout: 3_000,
      });
      let [file = 'binlog.000001', offset = '4'] = (from ?? '').split(':').filter((part) => part !== '');
      let changes: RowChange[] = [];
      return new Promise<void>((done, fail) => {
        const end = (error?: unknown): void => {
          signal.removeEventListener('abort', stop);
          zongji.stop();
          if (error === undefined) done();
          else fail(error instanceof Error ? error : new Error('zongji failed without saying how'));
        };
        const stop = (): void => end();
        signal.addEventListener('abort', stop, { once: true });
        zongji.on('error', end);
        zongji.on('binlog', (event: BinlogEvent) => {
          const name = event.getEventName();
          if (name === 'rotate') {
            const { binlogName, position } = event as BinlogEvent & { binlogName: string; position: number };
            [file, offset] = [binlogName, String(position)];
          } else if (name === 'xid') {
            offset = String(event.nextPosition);
            const transaction: RelayedTransaction = { changes, next: `${file}:${offset}` };
            changes = [];
            take(transaction);
          } else if (/^(write|update|delete)rows$/.test(name)) {
            changes.push(...changesOf(event as RowsEvent, name));
          }
        });
        zongji.start({
          serverId: 4_000 + server.serverId,
          filename: file,
          position: Number(offset),
          includeEvents: ['rotate', 'tablemap', 'writerows', 'updaterows', 'deleterows', 'xid'],
          includeSchema,
        });
      });
    },
  };
}

function changesOf(event: RowsEvent, name: string): RowChange[] {
  const map = event.tableMap[event.tableId];
  if (map === undefined) return [];
  const table = `${map.parentSchema}.${map.tableName}`;
  const { rows } = event as RowsEvent & { rows: (Record<string, unknown> | UpdateRowData)[] };
  const kind = name === 'writerows' ? 'insert' : name === 'updaterows' ? 'update' : 'delete';
  return rows.map((row) => {
    if (kind !== 'update') return { table, kind, row: textsOf(row as Record<string, unknown>) };
    const { before, after } = row as UpdateRowData;
    return {
      ...{ table, kind },
      row: textsOf(after),
      before: textsOf(before),
    };
  });
}

/** Bytes as PostgreSQL spells them, JSON as text. */
function textsOf(row: Readonly<Record<string, unknown>>): Record<string, string | null> {
  const text = (value: unknown): string | null => {
    if (value === null) return null;
    if (value instanceof Uint8Array) return `\\x${Buffer.from(value).toString('hex')}`;
    return typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint'
      ? String(value)
      : JSON.stringify(value);
  };
  return Object.fromEntries(Object.entries(row).map(([column, value]) => [column, text(value)]));
}

/** Writes as root in an ordinary session, whatever `read_only` says. */
export function mysqlWriter(server: MysqlServer, names: (table: string) => string): RelayWriter {
  let connection: RootConnection | null = null;
  return {
    async apply(changes) {
      try {
        connection ??= await rootConnection(server, '', 5_000);
        await connection.query('begin');
        for (const change of changes) await connection.query(...statementOf(change, names(change.table)));
        await connection.query('commit');
      } catch (error) {
        connection?.destroy();
        connection = null;
        throw error;
      }
    },
    close: () => {
      connection?.destroy();
      return Promise.resolve();
    },
  };
}

function statementOf({ kind, row }: RowChange, table: string): [sql: string, values: unknown[]] {
  const columns = Object.keys(row);
  if (kind === 'delete') {
    const known = columns.filter((c) => row[c] !== null);
    return [`delete from ${table} where ${known.map((c) => `${c} = ?`).join(' and ')}`, known.map((c) => row[c])];
  }
  return [
    `replace into ${table} (${columns.join(', ')}) values (${columns.map(() => '?').join(', ')})`,
    columns.map((c) => row[c]),
  ];
}
