import type { DemoShop } from './demo-shop.js';

/** The migration and the gate that the demo shows. */
export const MIGRATION = 'shop';
export const GATE = `${MIGRATION}/flip-writes`;
/** What the gate asks of lag. */
export const THRESHOLD = '1s';

/** What the configuration depends on. */
export interface DemoConfig {
  readonly port: number;
  readonly storePath: string;
  readonly shop: Pick<DemoShop, 'entry' | 'link' | 'source' | 'target'>;
  /** Of the user `lockgate`, on both sides. */
  readonly password: string;
  readonly holdSeconds: number;
}

/** The configuration file of the demo's daemon. */
export function configYaml(c: DemoConfig): string {
  const { shop, password } = c;
  const hold = `< ${THRESHOLD} for ${c.holdSeconds}s`;
  return `daemon: { id: demo, listen: 127.0.0.1:${c.port} }
store: { path: ${JSON.stringify(c.storePath)} }
databases:
  onprem: ${shop.entry(shop.source.port, password)}
  aws: ${shop.entry(shop.target.port, password)}
migrations:
  ${MIGRATION}:
    source: onprem
    target: aws
    forward:
      ${shop.link.replaceAll(', ', '\n      ')}
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
