/** A cutover between two MariaDB or MySQL servers that replicate both ways from the beginning. */
import type { Flavour } from '../../deploy/demo/mysql-install.js';
import type { CutoverBed, Side } from './cutover.js';
import { cutoverGates } from './cutover-gates.js';
import { workspace } from './lockgate.js';
import { rootConnection } from './mysql-connection.js';
import { startMysqlPair, type MysqlPair } from './mysql-pair.js';
import { closeRing, setUpMysql } from './mysql-scenario.js';
import { runAll } from './pair.js';
import { startProxy, type Proxy } from './proxy.js';

/** How a bed differs from the usual one. */
export interface MysqlCutoverOptions {
  readonly flavour: Flavour;
  readonly gtid?: boolean;
  readonly settings?: Readonly<Record<string, string>>;
  readonly targetSettings?: Readonly<Record<string, string>>;
  readonly promotion?: 'manual' | 'detect';
}

/** A bed on MySQL or MariaDB, with its pair. */
export interface MysqlCutover extends CutoverBed {
  readonly pair: MysqlPair;
  /** Carries the replication from the target to the source. */
  readonly wayBackProxy: Proxy;
}

/** Starts the servers, replication both ways, setup and the daemon. */
export async function startMysqlCutover(options: MysqlCutoverOptions): Promise<MysqlCutover> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    const pair = await startMysqlPair(options);
    cleanups.push(() => pair.destroy());
    const wayBackProxy = await startProxy(pair.target);
    cleanups.push(() => wayBackProxy.close());
    await closeRing(pair, wayBackProxy.port);
    const lockgate = await workspace(yaml(pair, options));
    cleanups.push(() => lockgate.destroy());
    await setUpMysql(lockgate, pair);
    const daemon = await lockgate.start();
    const server = (side: Side) => (side === 'source' ? pair.source : pair.target);
    return {
      pair,
      wayBackProxy,
      lockgate,
      daemon,
      async connect(side) {
        const connection = await rootConnection(server(side), pair.database);
        return {
          async write(token) {
            await connection.query('insert into orders (customer_id, amount, note) values (1, 1, ?)', [token]);
          },
          close() {
            connection.destroy();
            return Promise.resolve();
          },
        };
      },
      async tokens(side) {
        const connection = await rootConnection(server(side), pair.database);
        try {
          const rows = await connection.query<{ note: string }>(
            "select note from orders where note like 'source-%' or note like 'target-%'",
          );
          return new Set(rows.map((r) => r.note));
        } finally {
          connection.destroy();
        }
      },
      turnToTarget: () => Promise.resolve(),
      turnToSource: () => Promise.resolve(),
      async stray(side) {
        const connection = await rootConnection(server(side), pair.database);
        try {
          await connection.query("insert into customers (name) values ('astray')");
        } finally {
          connection.destroy();
        }
      },
      destroy: () => runAll(cleanups),
    };
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}

function yaml(pair: MysqlPair, options: MysqlCutoverOptions): (port: number) => string {
  const url = (port: number): string => `mysql://lockgate:pw@127.0.0.1:${port}/${pair.database}`;
  return (port) => `
daemon: { id: tester, listen: 127.0.0.1:${port} }
databases:
  onprem: { engine: mysql, url: "${url(pair.sourceProxy.port)}", read: on }
  aws: { engine: mysql, url: "${url(pair.targetProxy.port)}", read: on }
migrations:
  shop:
    source: onprem
    target: aws
    promotion: ${options.promotion ?? 'manual'}
    forward: { via: mysql, heartbeat: { interval: 500ms } }
    reverse: { via: mysql, heartbeat: { interval: 500ms } }
${cutoverGates}`;
}
