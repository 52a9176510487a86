import { randomBytes } from 'node:crypto';
import { SourceError, messageOf } from '../../../daemon/core/errors.js';
import type { CollectorContext, Finding } from '../../collector.js';
import { classify, connect, quoteIdent, type PgConnection } from '../connection.js';
import { errorCodeOf } from '../pg-errors.js';
import { checkRoom } from '../wal-checks.js';
import { readerSignals } from './objects.js';
import { onlyLink, type SidePlan } from './side-plan.js';
import { holds } from './other-side.js';

const slotTimeoutMs = 5_000;

/**
 * Proves that the WAL can be read here, by doing what the reader does: a replication connection, and a temporary slot on
 * it, which is dropped at once. Does nothing where WAL is not to be read, and where settings rule a slot out anyway.
 */
export async function examineReader(
  plan: SidePlan,
  conn: PgConnection,
  context: CollectorContext,
  signal: AbortSignal,
): Promise<Finding[]> {
  const db = plan.database;
  if (db.read === 'off') return [];
  const possible = `NOT pg_catalog.pg_is_in_recovery() AND pg_catalog.current_setting('wal_level') = 'logical'`;
  if (!(await holds(conn, possible))) return [];
  const finding = (level: Finding['level'], message: string, remedy: string | null): Finding[] => [
    {
      level,
      database: db.name,
      link: onlyLink(plan),
      message,
      signals: level === 'ok' ? [] : readerSignals(plan),
      remedy,
    },
  ];
  try {
    await checkRoom((sql, values) => conn.query(sql, values), db);
  } catch (error) {
    if (!(error instanceof SourceError)) throw error;
    // Whether that is a fault the limits themselves say, which count without a running daemon's own readers.
    return finding('ok', `whether WAL can be read was not tried: ${messageOf(error)}`, null);
  }
  let reader: PgConnection;
  try {
    reader = await connect(
      db,
      {
        applicationName: `lockgate/${context.daemonId}/doctor`,
        replication: 'database',
        // Creating a slot waits for open transactions by waiting for their locks.
        settings: { lock_timeout: String(slotTimeoutMs) },
      },
      signal,
    );
  } catch (error) {
    const known = classify(error, db);
    const privilege = errorCodeOf(error) === '42501';
    const remedy = privilege
      ? `ALTER ROLE ${quoteIdent(db.address.user)} REPLICATION; (RDS: GRANT rds_replication TO …), or set \`read: off\``
      : `${known.hint ?? ''} (a replication connection needs REPLICATION, a free max_wal_senders and a line in pg_hba.conf for this database)`;
    return finding('fault', `no replication connection: ${messageOf(known)}`, remedy);
  }
  const cancelled: Promise<unknown>[] = [];
  try {
    const [backend] = await reader.query<{ pid: number }>('SELECT pg_catalog.pg_backend_pid() AS pid');
    // A walsender that waits for a transaction does not notice that its client has gone.
    reader.onLost(() => {
      cancelled.push(conn.query('SELECT pg_catalog.pg_cancel_backend($1)', [backend?.pid]).catch(() => undefined));
    });
    const slot = `lockgate_doctor_${randomBytes(4).toString('hex')}`;
    await reader.query(`CREATE_REPLICATION_SLOT ${slot} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT`, undefined, {
      timeoutMs: slotTimeoutMs + 3_000,
    });
    await reader.query(`DROP_REPLICATION_SLOT ${slot}`);
    return finding('ok', 'a temporary slot can be made: WAL can be read', null);
  } catch (error) {
    const known = classify(error, db);
    if (errorCodeOf(error) === '55P03' || known.code === 'query_timeout') {
      return finding(
        'warning',
        `a slot could not be made within ${slotTimeoutMs / 1000} s: ${await oldestTransaction(conn)}; until it ends the WAL reader cannot start`,
        'end long write transactions, prepared ones included, or wait for them',
      );
    }
    const hint = known instanceof SourceError ? known.hint : null;
    return finding('fault', `no temporary slot: ${messageOf(known)}`, hint);
  } finally {
    await reader.close();
    await Promise.all(cancelled);
  }
}

/** What slot creation is likely to be waiting for. */
async function oldestTransaction(conn: PgConnection): Promise<string> {
  const rows = await conn.query<{ what: string }>(
    `SELECT what FROM (
      SELECT pg_catalog.format('backend %s of %s has been in a write transaction', pid, usename) AS what, xact_start AS since
        FROM pg_catalog.pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_catalog.pg_backend_pid()
      UNION ALL
      SELECT pg_catalog.format('transaction %L has been prepared', gid), prepared FROM pg_catalog.pg_prepared_xacts
    ) t ORDER BY since LIMIT 1`,
  );
  return rows[0]?.what ?? 'some write transaction is open';
}
