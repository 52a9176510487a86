import { messageOf } from '../../../daemon/core/errors.js';
import { errnoOf } from '../mysql-errors.js';
import { quoteIdent, type MysqlConnection } from '../connection.js';
import { replicaStatusSql } from '../replica-status.js';
import { binlogStatusSql } from '../source-position.js';
import { lacksPrivilege } from './admin.js';
import { linkSignals, sideSignals, type DoctorPlan, type Say } from './doctor-words.js';
import { TABLES, grantSql, grantsFor, tableState, type Account } from './objects.js';

interface Probe {
  /** What the daemon does. */
  readonly what: string;
  /** Does it, or has the server say whether it would. */
  readonly sql: string;
  readonly on: string;
  readonly signals: readonly string[];
}

/** Does what the daemon does, as far as that changes nothing, and says which right is missing and for what. */
export async function examineRights(plan: DoctorPlan, connection: MysqlConnection, say: Say): Promise<void> {
  const account: Account = { user: plan.database.address.user, host: '%' };
  const grants = grantsFor(plan, connection.version);
  let fine = 0;
  for (const probe of probes(plan, connection)) {
    try {
      await connection.query(probe.sql);
      fine += 1;
    } catch (error) {
      const missing = errnoOf(error) === 1146 || errnoOf(error) === 1049;
      // XA RECOVER has an error of its own for it.
      if (!missing && !lacksPrivilege(error) && errnoOf(error) !== 1401) throw error;
      const grant = grants.filter((g) => g.on === probe.on || g.on === `${probe.on.split('.')[0] ?? ''}.*`);
      const sql = grant.map((g) => grantSql(g, account, connection.version)).join('\n');
      const remedy = missing ? 'run `lockgate setup`, or what `lockgate grants` prints' : sql;
      say('fault', `it cannot ${probe.what}: ${messageOf(error)}`, remedy, probe.signals);
    }
  }
  await processes(plan, connection, grantSql(grants[0] ?? { why: '', on: '*.*', privileges: ['PROCESS'] }, account, connection.version), say); // prettier-ignore
  if (fine > 0) say('ok', `${fine} of the ${probes(plan, connection).length} things that the daemon does work with its own user`, null); // prettier-ignore
  for (const table of TABLES) {
    if ((await tableState(connection, table)) !== 'other') continue;
    const remedy = `look at what is there, remove or rename it, and run setup again; wanted: ${table.make}`;
    say('fault', `lockgate.${table.name} is not as setup makes it`, remedy, plan.links.flatMap((l) => linkSignals(l, 'lag', 'lag_low'))); // prettier-ignore
  }
}

function probes(plan: DoctorPlan, connection: MysqlConnection): Probe[] {
  const { links } = plan;
  const lag = links.flatMap((l) => linkSignals(l, 'lag', 'lag_low', 'agreement'));
  const positions = links.flatMap((l) => linkSignals(l, 'lag_by_position', 'agreement', 'running', 'backlog_bytes'));
  const sends = links.some((l) => l.from.name === plan.database.name);
  return [
    ...(sends
      ? [
          { what: 'read its binlog position', sql: binlogStatusSql(connection), on: '*.*', signals: positions },
          { what: 'list its binlogs', sql: 'SHOW BINARY LOGS', on: '*.*', signals: positions },
        ]
      : []),
    // The writer asks too, for whether it would write an errant transaction.
    {
      what: 'read its replication status',
      sql: replicaStatusSql(connection),
      on: '*.*',
      signals: [...lag, ...positions],
    },
    {
      what: 'see prepared transactions',
      sql: 'XA RECOVER',
      on: '*.*',
      signals: [...sideSignals(plan, 'longest_transaction'), ...fences(plan)],
    },
    {
      what: 'read the heartbeat table',
      sql: 'SELECT seq FROM lockgate.heartbeat LIMIT 1',
      on: 'lockgate.*',
      signals: lag,
    },
    { what: 'read the direction', sql: 'SELECT epoch FROM lockgate.direction LIMIT 1', on: 'lockgate.*', signals: [] },
    ...(plan.marks
      ? [
          {
            what: plan.writes ? 'write heartbeats' : 'write markers of fences',
            // Explained, not run; the server asks for the same privileges.
            sql: "EXPLAIN INSERT INTO lockgate.heartbeat (daemon, link, run, seq, sent_at) VALUES ('', '', '', 0, NOW())",
            on: 'lockgate.heartbeat',
            signals: plan.writes ? lag : [],
          },
        ]
      : []),
    ...(plan.writes
      ? [
          {
            what: 'delete old heartbeats',
            sql: "EXPLAIN DELETE FROM lockgate.heartbeat WHERE daemon = ''",
            on: 'lockgate.heartbeat',
            signals: [],
          },
        ]
      : []),
    ...plan.external.map((table) => ({
      what: `read ${table}, which pt-heartbeat writes`,
      sql: `SELECT ts FROM ${table.split('.').map(quoteIdent).join('.')} WHERE server_id = 0`,
      on: table,
      signals: lag,
    })),
  ];
}

/** Without PROCESS other sessions are hidden, not refused. */
async function processes(plan: DoctorPlan, connection: MysqlConnection, remedy: string, say: Say): Promise<void> {
  const rows = await connection.query<{ privilege: string }>(
    "SELECT PRIVILEGE_TYPE AS privilege FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE IN ('PROCESS', 'REPLICATION SLAVE', 'REFERENCES')",
  );
  const has = new Set(rows.map((row) => row.privilege));
  if (!has.has('PROCESS')) {
    const signals = [...sideSignals(plan, 'connections', 'longest_transaction'), ...fences(plan)];
    say('fault', 'it cannot see other sessions (PROCESS is missing)', remedy, signals);
  }
  if (!has.has('REFERENCES')) {
    const signals = plan.links.flatMap((l) => [
      ...linkSignals(l, 'tables_uncovered'),
      `${l.migration}.sequences.behind`,
    ]);
    say('fault', 'it cannot see which tables there are (REFERENCES is missing)', remedy, [...new Set(signals)]);
  }
  if (plan.database.read !== 'off' && !has.has('REPLICATION SLAVE')) {
    const signals = sideSignals(plan, 'local_writes', 'last_local_write_age');
    say('warning', 'the binlog cannot be read (REPLICATION SLAVE is missing, unless a role gives it)', remedy, signals);
  }
}

/** What may still commit is part of a fence's proof, on either side. */
function fences(plan: DoctorPlan): string[] {
  return [...new Set(plan.links.map((l) => `${l.migration}.fence.drained`))];
}
