import { createHash } from 'node:crypto';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError } from '../../daemon/core/errors.js';
import { placeOf } from '../session/faults.js';
import type { Budget } from './budget.js';
import { APPLICATION, readSight, whyHidden } from './catalog.js';
import type { MysqlConnection } from './connection.js';

/** What a catalog of ten thousand tables takes on a busy server. */
const digestMs = 5_000;

/**
 * One list of information_schema, as expressions that tell what belongs to a table's definition. Nothing that the server
 * counts is among them (rows, cardinality, AUTO_INCREMENT), and nothing for which it would open every table.
 */
interface CatalogPart {
  readonly from: string;
  readonly where: string;
  readonly columns: readonly string[];
}

const PARTS: readonly CatalogPart[] = [
  {
    from: 'TABLES',
    where: APPLICATION,
    columns: ['TABLE_SCHEMA', 'TABLE_NAME', 'TABLE_TYPE', 'ENGINE', 'TABLE_COLLATION', 'CREATE_OPTIONS'],
  },
  {
    from: 'COLUMNS',
    where: APPLICATION,
    columns: [
      'TABLE_SCHEMA',
      'TABLE_NAME',
      'COLUMN_NAME',
      'ORDINAL_POSITION',
      'COLUMN_TYPE',
      'IS_NULLABLE',
      'COLUMN_DEFAULT',
      'COLLATION_NAME',
      'EXTRA',
      'GENERATION_EXPRESSION',
    ],
  },
  {
    from: 'STATISTICS',
    where: APPLICATION,
    columns: [
      'TABLE_SCHEMA',
      'TABLE_NAME',
      'INDEX_NAME',
      'SEQ_IN_INDEX',
      'COLUMN_NAME',
      'NON_UNIQUE',
      'SUB_PART',
      'COLLATION',
      'INDEX_TYPE',
    ],
  },
  {
    from: 'KEY_COLUMN_USAGE',
    where: `${APPLICATION} AND REFERENCED_TABLE_NAME IS NOT NULL`,
    columns: [
      'TABLE_SCHEMA',
      'TABLE_NAME',
      'CONSTRAINT_NAME',
      'COLUMN_NAME',
      'ORDINAL_POSITION',
      'REFERENCED_TABLE_SCHEMA',
      'REFERENCED_TABLE_NAME',
      'REFERENCED_COLUMN_NAME',
    ],
  },
];

/**
 * A text that changes with every change of the application's tables: names, columns, indexes, foreign keys. It is made on
 * the server, whatever the size of the catalog. Rejects when tables may be hidden, with the grant that shows them.
 */
export async function readSchemaDigest(
  connection: MysqlConnection,
  db: DatabaseConfig,
  budget: Budget,
): Promise<string> {
  const hash = createHash('sha256');
  for (const part of PARTS) {
    const [row] = await connection.query<{ n: string | number; a: string | number; b: string | number }>(
      digestSql(part),
      undefined,
      { timeoutMs: budget.nextMs(digestMs) },
    );
    hash.update(JSON.stringify([part.from, String(row?.n), String(row?.a), String(row?.b)]));
  }
  // After the lists: a privilege may be taken away meanwhile.
  const hidden = whyHidden(db, await readSight(connection), null);
  if (hidden !== null) {
    throw new SourceError('mysql_hidden_tables', `${placeOf(db)}: ${hidden}`, 'apply what `lockgate grants` prints');
  }
  return hash.digest('hex').slice(0, 32);
}

/** Rows in no order: each is digested, and the digests are added up bit by bit, which equal rows would undo; there are none. */
function digestSql({ from, where, columns }: CatalogPart): string {
  // A separator that no name or type holds, and NULL told from every text.
  const fields = columns.map((c) => `IFNULL(CONCAT('=', ${c}), '!')`).join(', ');
  const half = (at: number): string =>
    `CAST(BIT_XOR(CAST(CONV(SUBSTRING(d, ${String(at)}, 16), 16, 10) AS UNSIGNED)) AS CHAR)`;
  return `SELECT COUNT(*) AS n, ${half(1)} AS a, ${half(17)} AS b
    FROM (SELECT SHA2(CONCAT_WS(CHAR(0), ${fields}), 256) AS d
      FROM information_schema.${from} WHERE ${where}) AS catalog`;
}
