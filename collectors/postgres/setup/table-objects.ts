import { quoteIdent } from '../connection.js';
import type { DesiredObject } from './desired-object.js';
import { linkSignals, migrationSignals, onlyLink, type DaemonUser, type SidePlan } from './side-plan.js';
import { DIRECTION_OID, HEARTBEAT_OID, holdsOnTable, roleWhere, textArray } from './sql-text.js';

/** The schema, its two tables, and what the daemon's users may do with them. */
export function tableObjects(plan: SidePlan): DesiredObject[] {
  const base = { level: 'fault', link: onlyLink(plan) } as const;
  const lag = plan.links.flatMap((l) => linkSignals(l, 'lag', 'lag_low', 'agreement'));
  const direction = migrationSignals(plan, 'fence.drained', 'standby.stray_writes', 'split_brain');
  const both = [...lag, ...direction];
  return [
    {
      ...base,
      what: 'the schema lockgate',
      why: 'create the schema that holds all that is ours',
      check: `EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'lockgate')`,
      make: 'CREATE SCHEMA IF NOT EXISTS lockgate;',
      signals: both,
    },
    {
      ...base,
      what: 'the heartbeat table',
      why: 'create the heartbeat table',
      check: hasColumns(
        HEARTBEAT_OID,
        ['daemon text', 'link text', 'run text', 'seq bigint', 'sent_at timestamp with time zone'],
        ['daemon', 'link', 'run'],
      ),
      make: `CREATE TABLE IF NOT EXISTS lockgate.heartbeat (
  daemon text NOT NULL,
  link text NOT NULL,
  run text NOT NULL,
  seq bigint NOT NULL,
  sent_at timestamptz NOT NULL,
  PRIMARY KEY (daemon, link, run)
);`,
      signals: lag,
    },
    {
      ...base,
      what: 'the storage settings of the heartbeat table',
      why: 'keep updates of the heartbeat table HOT and the table tiny',
      level: 'warning',
      // Half-empty pages take updates in place, and vacuum comes by the number of dead rows, not by a share of so few.
      check: `EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = ${HEARTBEAT_OID}
      AND ${textArray(STORAGE.map((s) => s.replaceAll(' ', '')))} <@ c.reloptions)`,
      make: `ALTER TABLE lockgate.heartbeat SET (${STORAGE.join(', ')});`,
      signals: [],
    },
    {
      ...base,
      what: 'the direction table',
      why: 'create the table that says in which direction each migration runs',
      check: hasColumns(
        DIRECTION_OID,
        [
          'migration text',
          'epoch bigint',
          'direction text',
          'changed_at timestamp with time zone',
          'changed_by text',
          'reason text',
        ],
        ['migration'],
      ),
      make: `CREATE TABLE IF NOT EXISTS lockgate.direction (
  migration text PRIMARY KEY,
  epoch bigint NOT NULL,
  direction text NOT NULL,
  changed_at timestamptz,
  changed_by text,
  reason text
);`,
      signals: direction,
    },
    ...plan.users.flatMap((user) => tableGrants(plan, user, { lag, direction, both })),
  ];
}

const STORAGE = [
  'fillfactor = 50',
  'autovacuum_vacuum_scale_factor = 0',
  'autovacuum_vacuum_threshold = 500',
  'autovacuum_analyze_scale_factor = 0',
  'autovacuum_analyze_threshold = 5000',
];

function tableGrants(
  plan: SidePlan,
  user: DaemonUser,
  signals: { lag: string[]; direction: string[]; both: string[] },
): DesiredObject[] {
  const role = quoteIdent(user.name);
  const base = { level: 'fault', link: onlyLink(plan) } as const;
  const onHeartbeat = plan.writes ? ['SELECT', 'INSERT', 'UPDATE', 'DELETE'] : ['SELECT'];
  const onDirection = ['SELECT', 'INSERT', 'UPDATE'];
  return [
    {
      ...base,
      what: `USAGE on the schema lockgate for ${role}`,
      why: 'let the daemon reach its schema',
      check: roleWhere(
        user.name,
        `EXISTS (SELECT FROM pg_catalog.pg_namespace n
      WHERE n.nspname = 'lockgate' AND pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE'))`,
      ),
      make: `GRANT USAGE ON SCHEMA lockgate TO ${role};`,
      signals: signals.both,
    },
    {
      ...base,
      what: `${onHeartbeat.join(', ')} on the heartbeat table for ${role}`,
      why: plan.writes ? 'let the daemon write, read and prune heartbeats' : 'let the daemon read heartbeats',
      check: holdsOnTable(user.name, HEARTBEAT_OID, onHeartbeat),
      make: `GRANT ${onHeartbeat.join(', ')} ON TABLE lockgate.heartbeat TO ${role};`,
      signals: signals.lag,
    },
    {
      ...base,
      what: `${onDirection.join(', ')} on the direction table for ${role}`,
      why: 'let the daemon read the direction, and write it when a promotion is declared',
      check: holdsOnTable(user.name, DIRECTION_OID, onDirection),
      make: `GRANT ${onDirection.join(', ')} ON TABLE lockgate.direction TO ${role};`,
      signals: signals.direction,
    },
  ];
}

/** True for an ordinary, logged table that has these columns (others too) and this primary key. */
function hasColumns(tableOidSql: string, columns: readonly string[], key: readonly string[]): string {
  return `EXISTS (SELECT FROM pg_catalog.pg_class t WHERE t.oid = ${tableOidSql} AND t.relkind = 'r' AND t.relpersistence = 'p'
      AND ${textArray(columns)} <@ ARRAY(SELECT a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
        FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped)
      AND ${textArray(key)} = ARRAY(SELECT a.attname::text FROM pg_catalog.pg_index i
        CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = t.oid AND i.indisprimary ORDER BY k.place))`;
}
