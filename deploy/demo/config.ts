import type { DemoShop } from './demo-shop.js';

/** The migration that the demo shows, and the gate that is asked before the writes are moved. */
export const MIGRATION = 'shop';
export const GATE = `${MIGRATION}/flip-writes`;
/** The gates of the cutover: everything has arrived, and the way back is open. */
export const DRAINED = `${MIGRATION}/drained`;
export const ROLLBACK_READY = `${MIGRATION}/rollback-ready`;
/** What the gate asks of lag. */
export const THRESHOLD = '1s';

/** What the configuration depends on. */
export interface DemoConfig {
  readonly port: number;
  readonly storePath: string;
  readonly shop: Pick<DemoShop, 'entry' | 'link' | 'wayBack' | 'source' | 'target'>;
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
    reverse:
      ${shop.wayBack.replaceAll(', ', '\n      ')}
      heartbeat: { interval: 500ms }
    verify: { source_share: 50% }
    gates:
      flip-writes:
        require:
          - forward.lag ${hold}
          - forward.lag_by_position ${hold}
          - forward.agreement is 1
          - forward.running is 1
          - reverse.running is 1
          - direction.reverse is 0
      drained:
        require: fence.drained is 1
      rollback-ready:
        require:
          - direction.reverse is 1
          - reverse.lag ${hold}
          - reverse.lag_by_position ${hold}
          - reverse.agreement is 1
          - reverse.running is 1
          - standby.stray_writes is 0
          - split_brain is 0
`;
}
