/** What lockgate needs on a MySQL or MariaDB server: its tables, its account, and what the account may do. */
import type { DatabaseConfig } from '../../../daemon/core/config.js';
import type { LinkPlan } from '../../collector.js';
import { quoteIdent, quoteLiteral, type MysqlConnection, type ServerVersion } from '../connection.js';

/** What one server is in the links of the configuration. */
export interface SidePlan {
  readonly database: DatabaseConfig;
  /** Heartbeats are written here. */
  readonly writes: boolean;
  /** Markers of fences are written here: also where the heartbeat is another tool's. */
  readonly marks: boolean;
  /** Links by MySQL's own replication that end here: what is made at their beginnings arrives by itself. */
  readonly receives: readonly LinkPlan[];
  /** Tables of heartbeats that another tool writes, `database.table`, each once. */
  readonly external: readonly string[];
  /** Where the tables are whose rows are compared, as `database.*` each once; all of them where some pattern names no database. */
  readonly compared: readonly string[];
}

/** Works out what a server has to be ready for. */
export function sidePlan(database: DatabaseConfig, links: readonly LinkPlan[]): SidePlan {
  return {
    database,
    writes: links.some(
      (l) => l.from.name === database.name && l.config.via !== 'none' && (l.config.heartbeat.external ?? null) === null,
    ),
    marks: links.some((l) => l.from.name === database.name && l.config.via !== 'none'),
    external: [
      ...new Set(
        links
          .filter((l) => l.from.name === database.name || l.to.name === database.name)
          .flatMap((l) => l.config.heartbeat.external ?? []),
      ),
    ],
    receives: links.filter((l) => l.to.name === database.name && l.config.via === 'mysql'),
    compared: comparedOn(database, links),
  };
}

function comparedOn(database: DatabaseConfig, links: readonly LinkPlan[]): string[] {
  const all = links
    .filter((l) => l.from.name === database.name || l.to.name === database.name)
    .flatMap(({ verify, config, to }) => {
      if (verify === undefined) return [];
      // Patterns are in the source's names.
      const isTarget = (config.name === 'forward') === (to.name === database.name);
      return (verify.tables ?? config.tables?.include ?? ['*.*']).map((pattern) => {
        const schema = /^([^".*?\s]+)\./.exec(pattern)?.[1];
        if (schema === undefined) return '*.*';
        return `${isTarget ? (verify.schemas.get(schema) ?? schema) : schema}.*`;
      });
    });
  return all.includes('*.*') ? ['*.*'] : [...new Set(all)];
}

/** A table of ours. */
export interface Table {
  readonly name: 'heartbeat' | 'direction';
  readonly why: string;
  /** As information_schema spells them, widths of integers left out. */
  readonly columns: readonly string[];
  readonly make: string;
}

/** The database that holds all that is ours. */
export const SCHEMA = {
  why: 'create the database that holds all that is ours',
  make: 'CREATE DATABASE IF NOT EXISTS lockgate CHARACTER SET utf8mb4;',
} as const;

/** Our tables; keys are compared byte by byte, whatever the server's default collation. */
export const TABLES: readonly Table[] = [
  {
    name: 'heartbeat',
    why: 'create the heartbeat table',
    columns: [
      'daemon varchar(190) utf8mb4_bin',
      'link varchar(140) ascii_bin',
      'run varchar(40) ascii_bin',
      'seq bigint',
      'sent_at datetime(6)',
    ],
    make: `CREATE TABLE IF NOT EXISTS lockgate.heartbeat (
  daemon varchar(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  link varchar(140) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  run varchar(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq bigint NOT NULL,
  sent_at datetime(6) NOT NULL,
  PRIMARY KEY (daemon, link, run)
) ENGINE = InnoDB;`,
  },
  {
    name: 'direction',
    why: 'create the table that says in which direction each migration runs',
    columns: [
      'migration varchar(63) utf8mb4_bin',
      'epoch bigint',
      'direction varchar(10) ascii_bin',
      'changed_at datetime(6)',
      'changed_by varchar(255) utf8mb4_bin',
      'reason text utf8mb4_bin',
    ],
    make: `CREATE TABLE IF NOT EXISTS lockgate.direction (
  migration varchar(63) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
  epoch bigint NOT NULL,
  direction varchar(10) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  changed_at datetime(6),
  changed_by varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  reason text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
) ENGINE = InnoDB;`,
  },
];

/** An account of the server: MySQL tells users apart by where they come from. */
export interface Account {
  readonly user: string;
  readonly host: string;
}

/** An account as statements name it. */
export function accountSql({ user, host }: Account): string {
  return `${quoteLiteral(user)}@${quoteLiteral(host)}`;
}

/** Privileges at one level, and the statement that gives them. */
export interface Grant {
  readonly why: string;
  /** `*.*`, `lockgate.*`, or a table with its database. */
  readonly on: string;
  /** As information_schema names them. */
  readonly privileges: readonly string[];
}

/**
 * The least that the daemon's account needs. Where its server is not known the names are those that every server
 * takes, with what only some of them have in comments that those servers alone read.
 */
export function grantsFor(plan: SidePlan, version: ServerVersion | null): Grant[] {
  return [
    {
      why: 'let the daemon see replication, positions, all sessions, prepared transactions, and which tables there are',
      on: '*.*',
      privileges: globalPrivileges(version),
    },
    { why: 'let the daemon read its tables', on: 'lockgate.*', privileges: ['SELECT'] },
    ...(plan.writes
      ? [
          {
            why: 'let the daemon write heartbeats and markers of fences, and delete old ones',
            on: 'lockgate.heartbeat',
            privileges: ['INSERT', 'DELETE'],
          } as const,
        ]
      : []),
    ...(plan.marks && !plan.writes
      ? [{ why: 'let the daemon write markers of fences', on: 'lockgate.heartbeat', privileges: ['INSERT'] } as const]
      : []),
    ...plan.external.map((table) => ({
      why: `let the daemon read ${table}, which pt-heartbeat writes`,
      on: table,
      privileges: ['SELECT'],
    })),
    ...plan.compared.map((on) => ({
      why: 'let the daemon compare the data of both sides',
      on,
      privileges: ['SELECT'],
    })),
    {
      why: 'let the daemon record the direction of a migration',
      on: 'lockgate.direction',
      privileges: ['INSERT', 'UPDATE'],
    },
  ];
}

function globalPrivileges(version: ServerVersion | null): string[] {
  // REFERENCES shows names of tables and columns, and counters; alone it lets nobody read or change anything.
  const common = ['REPLICATION SLAVE', 'PROCESS', 'REFERENCES'];
  if (version === null) return [...common, 'REPLICATION CLIENT'];
  const { flavour, number } = version;
  if (flavour === 'mysql') {
    return [...common, 'REPLICATION CLIENT', ...(number >= 80_000 ? ['XA_RECOVER_ADMIN'] : [])];
  }
  // What was REPLICATION CLIENT is two privileges there: of the source's binlog, and of the replica's status.
  if (number < 100_502) return [...common, 'REPLICATION CLIENT'];
  return [...common, 'BINLOG MONITOR', number >= 100_509 ? 'SLAVE MONITOR' : 'REPLICATION SLAVE ADMIN'];
}

/** The statement that gives the privileges to an account. */
export function grantSql(grant: Grant, account: Account, version: ServerVersion | null): string {
  const some =
    version === null && grant.on === '*.*' ? ' /*!80000 , XA_RECOVER_ADMIN */ /*M!100509 , SLAVE MONITOR */' : '';
  return `GRANT ${grant.privileges.join(', ')}${some} ON ${placeSql(grant.on)} TO ${accountSql(account)};`;
}

/** Ours need no quotes; another tool's table may be called anything. */
function placeSql(on: string): string {
  if (on === '*.*' || on.startsWith('lockgate.')) return on;
  if (!on.endsWith('.*')) return on.split('.').map(quoteIdent).join('.');
  // In the name of a database these two would stand for others.
  return `${quoteIdent(on.slice(0, -2).replaceAll(/[_%]/g, '\\$&'))}.*`;
}

/** The privileges that an account has at a level, itself or at a wider level. */
export async function privilegesOf(
  connection: MysqlConnection,
  account: Account,
  on: Grant['on'],
): Promise<ReadonlySet<string>> {
  const grantee = accountSql(account);
  const [schema, table] = on.split('.');
  const rows = await connection.query<{ privilege: string }>(
    `SELECT PRIVILEGE_TYPE AS privilege FROM information_schema.USER_PRIVILEGES WHERE GRANTEE = ?
      UNION SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES WHERE GRANTEE = ? AND TABLE_SCHEMA IN (?, ?)
      UNION SELECT PRIVILEGE_TYPE FROM information_schema.TABLE_PRIVILEGES
        WHERE GRANTEE = ? AND TABLE_SCHEMA = ? AND TABLE_NAME = ?`,
    [grantee, grantee, schema, schema?.replaceAll(/[_%]/g, '\\$&'), grantee, schema, table],
  );
  return new Set(rows.map((row) => row.privilege));
}

/** The accounts of the daemon's user; none when there is no such user yet. */
export async function accountsOf(connection: MysqlConnection, user: string): Promise<Account[]> {
  const rows = await connection.query<Account>('SELECT User AS user, Host AS host FROM mysql.user WHERE User = ?', [
    user,
  ]);
  return rows.map(({ user: name, host }) => ({ user: name, host }));
}

/** Whether the database is there. */
export async function hasSchema(connection: MysqlConnection): Promise<boolean> {
  const rows = await connection.query(
    "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'lockgate'",
  );
  return rows.length > 0;
}

/** Which of our tables there are, and whether their columns are as we make them. */
export async function tableState(connection: MysqlConnection, table: Table): Promise<'missing' | 'as-made' | 'other'> {
  const rows = await connection.query<{ name: string; type: string; collation: string | null; engine: string | null }>(
    `SELECT c.COLUMN_NAME AS name, c.COLUMN_TYPE AS type, c.COLLATION_NAME AS collation, t.ENGINE AS engine
      FROM information_schema.TABLES t LEFT JOIN information_schema.COLUMNS c
        ON c.TABLE_SCHEMA = t.TABLE_SCHEMA AND c.TABLE_NAME = t.TABLE_NAME
      WHERE t.TABLE_SCHEMA = 'lockgate' AND t.TABLE_NAME = ? ORDER BY c.ORDINAL_POSITION`,
    [table.name],
  );
  if (rows.length === 0) return 'missing';
  const found = rows.map(({ name, type, collation }) =>
    [name, type.replace(/^bigint\(\d+\)$/, 'bigint'), ...(collation === null ? [] : [collation])].join(' '),
  );
  const same = rows[0]?.engine === 'InnoDB' && found.join('\n') === table.columns.join('\n');
  return same ? 'as-made' : 'other';
}
