/** A configuration for a daemon as it is deployed: its databases are not there, so that every gate is unknown. `daemon` is the lines below `daemon:`. */
export function deployedConfig(daemon: string): string {
  return `daemon:
${daemon}
store: { path: /var/lib/lockgate/lockgate.db }
databases:
  onprem: { engine: postgres, url: 'postgres://lockgate:secret@127.0.0.1:1/shop' }
  aws: { engine: postgres, url: 'postgres://lockgate:secret@127.0.0.1:2/shop' }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub }
    gates: { flip-writes: { require: ['forward.lag < 2s for 10s'] } }
`;
}
