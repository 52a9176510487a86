import type { DatabaseConfig } from '../../../daemon/core/config.js';
import type { LinkPlan, SqlStep } from '../../collector.js';
import { takesTokens } from '../connection.js';
import { SCHEMA, TABLES, accountSql, grantSql, grantsFor, sidePlan, type Account } from './objects.js';

/**
 * The statements that setup would run on one server, as a script to review and paste, without connecting. It may be run
 * again. It begins with what a replica needs, because a statement run there would be a transaction that its source lacks.
 */
export function grants(database: DatabaseConfig, links: readonly LinkPlan[]): SqlStep[] {
  const plan = sidePlan(database, links);
  const step = (why: string, sql: string): SqlStep => ({ database: database.name, why, sql });
  const account: Account = { user: database.address.user, host: '%' };
  const sources = [...new Set(plan.receives.map((l) => l.from.name))].join(' and ');
  return [
    ...(sources === ''
      ? []
      : [
          step(
            `keep what follows out of the binlog of ${database.name}, a replica`,
            `-- First run what is printed for ${sources}: the tables arrive by replication.\n${UNLOGGED}`,
          ),
        ]),
    step(SCHEMA.why, SCHEMA.make),
    ...TABLES.map((table) => step(table.why, table.make)),
    step(CREATE_USER, takesTokens(database) ? createTokenUser(account) : createUserScript(account)),
    ...grantsFor(plan, null).map((g) => step(g.why, grantSql(g, account, null))),
  ];
}

/** Keeps the statements of a session out of the binlog. */
export const UNLOGGED = 'SET SESSION sql_log_bin = 0;';

/** Why the account is made. */
export const CREATE_USER = 'create the account of the daemon';

/** Makes the account of a daemon that signs in to RDS with tokens of IAM. */
export function createTokenUser(account: Account): string {
  return `CREATE USER IF NOT EXISTS ${accountSql(account)} IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS';`;
}

/** Makes the account without any password to be seen: locked until it is given one. */
export function createUserScript(account: Account): string {
  const name = accountSql(account);
  return [
    `CREATE USER IF NOT EXISTS ${name} ACCOUNT LOCK;`,
    '-- Then give it the password that the configuration names:',
    `-- ALTER USER ${name} IDENTIFIED BY '…' ACCOUNT UNLOCK;`,
  ].join('\n');
}
