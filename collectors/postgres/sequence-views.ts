import { catalogTimeoutMs } from '../session/catalog-watch.js';
import { quoteIdent, type PgConnection } from './connection.js';
import { APPLICATION_SCHEMA, BUSY } from './coverage-views.js';
import { nameKey } from './coverage.js';
import type { SequencePosition, SequenceState } from './sequences.js';

/**
 * Reads sequences. Their definition is in a catalog; where they stand is in each one's own relation, which a server of 18
 * reads for all of them in one statement. Before, a cheaper function tells the last value of those that were called, and
 * only the others (mostly those of a target that nobody has written to) are read one by one, many in one statement.
 */

/** Parts of one statement: its text must stay a size that a server plans quickly. */
const batch = 200;

interface SequenceRow {
  schema: string;
  name: string;
  owner_schema: string | null;
  owner_name: string | null;
  increment: string;
  readable: boolean;
  last: string | null;
  called: boolean | null;
  busy: number;
}

// Unlogged sequences are those of unlogged tables, which are not carried either, and a standby cannot read them.

/** The statement that reads all sequences of the application, for a version. */
export function sequencesSql(version: number): string {
  // By name a sequence can be read only in a schema that may be used.
  const readable =
    version >= 180000
      ? `pg_catalog.has_sequence_privilege(c.oid, 'SELECT')`
      : `(pg_catalog.has_sequence_privilege(c.oid, 'SELECT') AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'))`;
  const [last, called, data] =
    version >= 180000
      ? ['d.last_value', 'd.is_called', 'LEFT JOIN LATERAL pg_catalog.pg_get_sequence_data(c.oid) d ON true']
      : [`CASE WHEN ${readable} THEN pg_catalog.pg_sequence_last_value(c.oid) END`, 'NULL::pg_catalog.bool', ''];
  return `
  SELECT x.*, ${BUSY} FROM (
    SELECT n.nspname AS schema, c.relname AS name, tn.nspname AS owner_schema, t.relname AS owner_name,
           s.seqincrement::pg_catalog.text AS increment, ${readable} AS readable,
           (${last})::pg_catalog.text AS last, ${called} AS called
      FROM pg_catalog.pg_sequence s
      JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      ${data}
      LEFT JOIN pg_catalog.pg_depend p ON p.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.objid = c.oid
           AND p.objsubid = 0 AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND p.deptype IN ('a', 'i')
      LEFT JOIN pg_catalog.pg_class t ON t.oid = p.refobjid
      LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
     WHERE c.relpersistence = 'p' AND c.oid >= 16384 AND ${APPLICATION_SCHEMA}
     OFFSET 0) x`;
}

/** All sequences of the application on one side. */
export async function readSequences(conn: PgConnection): Promise<{ sequences: SequenceState[]; busyMs: number }> {
  const rows = await conn.query<SequenceRow>({ name: 'sequences', text: sequencesSql(conn.serverVersion) }, undefined, {
    timeoutMs: catalogTimeoutMs,
  });
  let busyMs = Math.max(0, ...rows.map((row) => row.busy));
  const open = rows.filter((row) => row.readable && row.last === null);
  const positions = new Map<string, SequencePosition>();
  for (let from = 0; from < open.length; from += batch) {
    const some = await readEach(conn, open.slice(from, from + batch));
    busyMs += some.busyMs;
    for (const [key, position] of some.positions) positions.set(key, position);
  }
  const sequences = rows.map((row): SequenceState => {
    const { schema, name, owner_schema, owner_name, increment, last, called } = row;
    return {
      schema,
      name,
      owner: owner_schema === null || owner_name === null ? null : { schema: owner_schema, name: owner_name },
      increment: BigInt(increment),
      position:
        row.readable && last !== null
          ? { last: BigInt(last), called: called ?? true }
          : (positions.get(nameKey(schema, name)) ?? null),
    };
  });
  return { sequences, busyMs };
}

async function readEach(
  conn: PgConnection,
  some: readonly { schema: string; name: string }[],
): Promise<{ positions: [string, SequencePosition][]; busyMs: number }> {
  const parts = some.map(
    ({ schema, name }, i) =>
      `SELECT ${i} AS i, last_value::pg_catalog.text AS last, is_called AS called, ${BUSY} FROM ${quoteIdent(schema)}.${quoteIdent(name)}`,
  );
  const rows = await conn.query<{ i: number; last: string; called: boolean; busy: number }>(
    parts.join('\nUNION ALL '),
    undefined,
    { timeoutMs: catalogTimeoutMs },
  );
  return {
    positions: rows.flatMap(({ i, last, called }) => {
      const one = some[i];
      return one === undefined ? [] : [[nameKey(one.schema, one.name), { last: BigInt(last), called }]];
    }),
    busyMs: Math.max(0, ...rows.map((row) => row.busy)),
  };
}

/** What lets a user read the sequences of these schemas. */
export function sequenceGrant(schemas: readonly string[], user: string): string {
  const names = [...new Set(schemas)].sort().map(quoteIdent).join(', ');
  return `GRANT USAGE ON SCHEMA ${names} TO ${user}; GRANT SELECT ON ALL SEQUENCES IN SCHEMA ${names} TO ${user}`;
}
