/** Two servers with TPC-H's tables on both, large enough buffers, and replication of what is written to them. */
import { execFileSync } from 'node:child_process';
import { childrenOf } from '../../deploy/demo/run-folder.js';
import type { Flavoured } from '../support/verify/kinds.js';
import { mysqlSide, postgresSide, type BedSide } from '../support/verify/bed.js';
import { mysqlDialect, postgresDialect } from '../support/verify/dialect.js';
import { createTpch, fillTpch, TPCH_TABLES, type TpchTable } from '../support/verify/tpch.js';
import { startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';
import { startPair } from '../support/pair.js';

/** What is measured on. */
export interface BenchSides {
  readonly flavour: Flavoured;
  readonly source: BedSide;
  readonly target: BedSide;
  /** Null for PostgreSQL. */
  readonly mysql: MysqlPair | null;
  settled(): Promise<void>;
  /**
   * From now on the target's server gets only the processor time that nobody else wants, as if it had a machine of its
   * own; false where the system has no means for it.
   */
  targetAside(): boolean;
  destroy(): Promise<void>;
}

/** Name of the schema, or of the database on MySQL. */
export const SCHEMA = 'tpch';

/** Starts them and fills the tables on both sides; scale 1 is about 1 GB on each. */
export async function startBenchSides(
  flavour: Flavoured,
  scale: number,
  progress: (text: string) => void,
): Promise<BenchSides> {
  const sides = flavour === 'postgres' ? await postgresSides() : await mysqlSides(flavour);
  try {
    progress(`filling TPC-H at scale ${scale.toFixed(3)} on both sides (${flavour})`);
    await Promise.all([fill(sides.source, scale), fill(sides.target, scale)]);
    if (flavour === 'postgres') {
      await sides.source.ask(
        `alter publication shop_pub add table ${TPCH_TABLES.map((t) => `${SCHEMA}.${t}`).join(', ')}`,
      );
      await sides.source.ask(`grant usage on schema ${SCHEMA} to replicator`);
      await sides.target.ask('alter subscription shop_sub refresh publication with (copy_data = false)');
      // Neither side is to find time for it in the middle of a measurement.
      await Promise.all([sides.source, sides.target].map((side) => side.ask('vacuum (freeze, analyze)')));
    } else {
      const names = TPCH_TABLES.map((t) => `${SCHEMA}.${t}`).join(', ');
      await Promise.all([sides.source, sides.target].map((side) => side.past(`analyze table ${names}`)));
    }
    await sides.settled();
    return sides;
  } catch (error) {
    await sides.destroy();
    throw error;
  }
}

async function postgresSides(): Promise<BenchSides> {
  const pair = await startPair({
    settings: { shared_buffers: '1GB', max_wal_size: '8GB', checkpoint_timeout: '30min', autovacuum: 'off' },
  });
  return {
    ...{ flavour: 'postgres', mysql: null, settled: () => pair.settled(), destroy: () => pair.destroy() },
    targetAside: () => {
      const postmaster = pair.target.postmasterPid();
      return aside([postmaster, ...childrenOf(postmaster)]);
    },
    source: postgresSide('source', pair.source, pair.onSource),
    target: postgresSide('target', pair.target, pair.onTarget),
  };
}

async function mysqlSides(flavour: 'mysql' | 'mariadb'): Promise<BenchSides> {
  const redo = flavour === 'mysql' ? { innodb_redo_log_capacity: '1G' } : { innodb_log_file_size: '512M' };
  const pair = await startMysqlPair({ flavour, settings: { innodb_buffer_pool_size: '1G', ...redo } });
  return {
    ...{ flavour, mysql: pair, settled: () => pair.settled(), destroy: () => pair.destroy() },
    targetAside: () => aside([pair.target.pid()]),
    source: mysqlSide('source', flavour, pair.source, pair.database, pair.onSource),
    target: mysqlSide('target', flavour, pair.target, pair.database, pair.onTarget),
  };
}

/** Part of util-linux; what a process starts later inherits it. */
function aside(pids: readonly number[]): boolean {
  try {
    for (const pid of pids)
      execFileSync('chrt', ['--all-tasks', '--idle', '--pid', '0', String(pid)], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

async function fill(side: BedSide, scale: number): Promise<void> {
  const dialect = side.flavour === 'postgres' ? postgresDialect : mysqlDialect;
  await side.past(`create schema ${SCHEMA}`);
  for (const table of TPCH_TABLES) {
    await side.past(createTpch(table, `${SCHEMA}.`));
    for (const statement of fillTpch(table, `${SCHEMA}.`, scale, dialect)) await side.past(statement);
  }
}

/** Rows of a table and its bytes, indexes left out. */
export async function sizeOf(side: BedSide, table: TpchTable): Promise<{ rows: number; bytes: number }> {
  const [count] = await side.ask(`select count(*) as n from ${SCHEMA}.${table}`);
  const [size] =
    side.flavour === 'postgres'
      ? await side.ask(`select pg_table_size('${SCHEMA}.${table}') as bytes`)
      : await side.ask(
          `select data_length as bytes from information_schema.tables where table_schema = '${SCHEMA}' and table_name = '${table}'`,
        );
  return { rows: Number(count?.['n']), bytes: Number(size?.['bytes']) };
}

/** What a database offers by itself: a count and a checksum of all columns, in one scan. */
export async function ownScanOf(side: BedSide, table: TpchTable): Promise<string> {
  if (side.flavour === 'postgres') return `select count(*), sum(hashtext(t::text)) from ${SCHEMA}.${table} t`;
  const columns = await side.ask(
    `select column_name as name from information_schema.columns
       where table_schema = '${SCHEMA}' and table_name = '${table}' order by ordinal_position`,
  );
  return `select count(*), sum(crc32(concat_ws('#', ${columns.map((c) => String(c['name'])).join(', ')}))) from ${SCHEMA}.${table}`;
}
