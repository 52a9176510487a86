import { DATABASE } from './shop.js';
import { SUBSCRIPTION } from './replicated-shop.js';

/** The migration and the gate that the demo shows. */
export const MIGRATION = 'shop';
export const GATE = `${MIGRATION}/flip-writes`;
/** What the gate asks of lag. */
export const THRESHOLD = '1s';

/** What the configuration depends on. */
export interface DemoConfig {
  readonly port: number;
  readonly storePath: string;
  readonly sourcePort: number;
  readonly targetPort: number;
  /** Of the user `lockgate`, on both sides. */
  readonly password: string;
  readonly holdSeconds: number;
}

/** The configuration file of the demo's daemon. */
export function configYaml(c: DemoConfig): string {
  const url = (port: number): string =>
    `postgres://lockgate:${c.password}@127.0.0.1:${port}/${DATABASE}?sslmode=disable`;
  const hold = `< ${THRESHOLD} for ${c.holdSeconds}s`;
  return `daemon: { id: demo, listen: 127.0.0.1:${c.port} }
store: { path: ${JSON.stringify(c.storePath)} }
databases:
  onprem: { engine: postgres, url: ${JSON.stringify(url(c.sourcePort))} }
  aws: { engine: postgres, url: ${JSON.stringify(url(c.targetPort))} }
migrations:
  ${MIGRATION}:
    source: onprem
    target: aws
    forward:
      via: postgres-logical
      subscription: ${SUBSCRIPTION}
      heartbeat: { interval: 500ms }
    gates:
      flip-writes:
        require:
          - forward.lag ${hold}
          - forward.lag_by_position ${hold}
          - forward.agreement is 1
          - forward.running is 1
`;
}
