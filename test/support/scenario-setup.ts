/** The configuration of a migration for tests, and its setup; without the test runner, so that other programs can use it. */
import type { Workspace } from './lockgate.js';
import type { PairOptions, ServerPair } from './pair.js';

/** Gates of the scenarios, in milliseconds: the threshold of lag, how long it is held, and the heartbeat interval. */
export const timing = { thresholdMs: 1_500, holdMs: 2_000, intervalMs: 500 } as const;

/**
 * For how long after the truth broke the threshold the gate may still be open: one heartbeat interval, plus what one
 * observation takes on a machine with two busy cores.
 */
export const boundMs = timing.intervalMs + 600;

/** How a scenario differs from the usual one. */
export interface ScenarioOptions extends PairOptions {
  /** Which publication carries the heartbeat table. */
  publication?: string;
  subscriptions?: readonly string[];
  watch?: string;
  read?: 'auto' | 'on' | 'off';
  /** Further conditions of the gate on all signals. */
  require?: readonly string[];
  /** False: nobody but lockgate writes. */
  observer?: boolean;
}

/** The configuration of a scenario. */
export function scenarioYaml(pair: ServerPair, options: ScenarioOptions & { via: string }): (port: number) => string {
  const url = (port: number): string => `postgres://lockgate:pw@127.0.0.1:${port}/${pair.database}?sslmode=disable`;
  const lag = `< ${timing.thresholdMs}ms for ${timing.holdMs}ms`;
  const subscriptions = options.subscriptions ?? ['shop_sub'];
  return (port) => `
daemon: { id: tester, listen: 127.0.0.1:${port} }
databases:
  onprem: { engine: postgres, url: "${url(pair.sourceProxy.port)}", read: ${options.read ?? 'auto'} }
  aws: { engine: postgres, url: "${url(pair.targetProxy.port)}", read: ${options.read ?? 'auto'} }
migrations:
  shop:
    source: onprem
    target: aws
    forward:
      via: ${options.via}
      ${options.via === 'postgres-logical' ? `subscription: [ ${subscriptions.join(', ')} ]` : ''}
      ${options.publication === undefined ? '' : `publication: ${options.publication}`}
      heartbeat: { interval: ${timing.intervalMs}ms, watch: ${options.watch ?? 'auto'} }
    gates:
      lag: { require: "forward.lag ${lag}" }
      whole:
        require:
          - forward.lag ${lag}
          - forward.lag_by_position ${lag}
          - forward.agreement is 1
          - forward.running is 1
${(options.require ?? []).map((c) => `          - ${c}\n`).join('')}`;
}

/** Applies `lockgate setup` with the administrators' URLs; throws with its output when it fails. */
export async function setUp(
  lockgate: Workspace,
  pair: Pick<ServerPair, 'source' | 'target' | 'database'>,
): Promise<void> {
  const args = ['setup', '--config', lockgate.configFile];
  args.push('--admin', `onprem=${pair.source.adminUrl(pair.database)}`);
  args.push('--admin', `aws=${pair.target.adminUrl(pair.database)}`);
  const result = await lockgate.run(args, {}, 60_000);
  if (result.code !== 0) throw new Error(`setup ended with ${String(result.code)}:\n${result.stdout}${result.stderr}`);
}
