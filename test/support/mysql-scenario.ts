/** A whole migration over MySQL's own replication for tests: like `scenario.ts`, on MariaDB and MySQL. */
import { startMysqlObserver } from './mysql-observer.js';
import { replicaWords, sourceStatus, type BinlogPosition } from './mysql-dialect.js';
import { alone, startMysqlPair, type MysqlPair, type MysqlPairOptions } from './mysql-pair.js';
import { GateWatch, workspace, type Workspace } from './lockgate.js';
import { runAll } from './pair.js';
import { opened, type Scenario } from './scenario.js';
import { timing } from './scenario-setup.js';

/** How a scenario differs from the usual one. */
export interface MysqlScenarioOptions extends MysqlPairOptions {
  /** False: nobody but lockgate writes. */
  readonly observer?: boolean;
  /** Which of the channels belong to the link; all of them unless told. */
  readonly linked?: readonly string[];
  /** Replication runs both ways, and both links are watched. */
  readonly ring?: boolean;
  /** Further gates, each with its condition. */
  readonly gates?: Readonly<Record<string, string>>;
  /** Further conditions of the gate on all signals. */
  readonly require?: readonly string[];
}

/** A migration over MySQL's own replication that is being watched. */
export type MysqlScenario = Scenario<MysqlPair>;

/** The configuration of a scenario. */
export function mysqlScenarioYaml(pair: MysqlPair, options: MysqlScenarioOptions): (port: number) => string {
  const url = (port: number): string => `mysql://lockgate:pw@127.0.0.1:${port}/${pair.database}`;
  const lag = `< ${timing.thresholdMs}ms for ${timing.holdMs}ms`;
  const channels = (options.linked ?? pair.channels).map((c) => JSON.stringify(c)).join(', ');
  return (port) => `
daemon: { id: tester, listen: 127.0.0.1:${port} }
databases:
  onprem: { engine: mysql, url: "${url(pair.sourceProxy.port)}" }
  aws: { engine: mysql, url: "${url(pair.targetProxy.port)}" }
migrations:
  shop:
    source: onprem
    target: aws
    forward:
      via: mysql
      ${options.channels === undefined ? '' : `channel: [ ${channels} ]`}
      heartbeat: { interval: ${timing.intervalMs}ms }
${options.ring === true ? `    reverse: { via: mysql, heartbeat: { interval: ${timing.intervalMs}ms } }\n` : ''}    gates:
      lag: { require: "forward.lag ${lag}" }
${Object.entries(options.gates ?? {})
  .map(([name, condition]) => `      ${name}: { require: "${condition}" }\n`)
  .join('')}      whole:
        require:
          - forward.lag ${lag}
          - forward.lag_by_position ${lag}
          - forward.agreement is 1
          - forward.running is 1
          - forward.tables_uncovered is 0
          - forward.continuity is 1
${(options.require ?? []).map((c) => `          - ${c}\n`).join('')}`;
}

/** Arguments of `lockgate setup` and `teardown`: the administrators of both sides, past the proxies. */
export function mysqlAdmins(pair: MysqlPair): string[] {
  const of = (name: string, server: MysqlPair['source']): string[] => [
    '--admin',
    `${name}=${server.adminUrl(pair.database)}`,
  ];
  return [...of('onprem', pair.source), ...of('aws', pair.target)];
}

/** Applies `lockgate setup`; throws with its output when it fails. */
export async function setUpMysql(lockgate: Workspace, pair: MysqlPair): Promise<void> {
  const result = await lockgate.run(['setup', '--config', lockgate.configFile, ...mysqlAdmins(pair)], {}, 60_000);
  if (result.code !== 0) throw new Error(`setup ended with ${String(result.code)}:\n${result.stdout}${result.stderr}`);
}

/** Makes the source a replica of the target as well, by the target's own port or a proxy's. */
export async function closeRing({ flavour, gtid, source, target }: MysqlPair, port = target.port): Promise<void> {
  const login = { user: 'replicator', password: 'replicator' };
  await alone(
    target,
    `set session sql_log_bin = 0;
     create user '${login.user}'@'%' identified by '${login.password}';
     grant replication slave on *.* to '${login.user}'@'%';
     set global read_only = 0`,
  );
  if (flavour === 'mariadb') await alone(target, 'set global gtid_domain_id = 2');
  const words = replicaWords(flavour);
  const from = gtid ? 'gtid' : await headOf(flavour, target);
  await alone(source, words.become({ ...login, port, from }));
  await alone(source, words.start);
}

async function headOf(flavour: MysqlPair['flavour'], server: MysqlPair['target']): Promise<BinlogPosition> {
  const [row] = await alone(server, sourceStatus(flavour));
  return { file: String(row?.['File']), position: Number(row?.['Position']) };
}

/** Starts a scenario and waits until its gates are open. */
export async function startMysqlScenario(options: MysqlScenarioOptions): Promise<MysqlScenario> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    const pair = await startMysqlPair(options);
    cleanups.push(() => pair.destroy());
    if (options.ring === true) await closeRing(pair);
    const lockgate = await workspace(mysqlScenarioYaml(pair, options));
    cleanups.push(() => lockgate.destroy());
    await setUpMysql(lockgate, pair);
    const observer = options.observer === false ? null : await startMysqlObserver(pair);
    if (observer !== null) cleanups.push(() => observer.stop());
    const daemon = await lockgate.start();
    const lagGate = new GateWatch(lockgate.url, 'shop/lag');
    const wholeGate = new GateWatch(lockgate.url, 'shop/whole');
    cleanups.push(
      () => lagGate.stop(),
      () => wholeGate.stop(),
    );
    const destroy = (): Promise<void> => runAll(cleanups);
    const scenario = { pair, lockgate, daemon, observer, lagGate, wholeGate, destroy };
    await opened(scenario).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${daemon.log().slice(-4_000)}`);
    });
    return scenario;
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}
