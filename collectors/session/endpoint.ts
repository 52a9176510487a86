/**
 * What a host name says about where it leads. The shapes are those that AWS documents for RDS and Aurora; nothing of it
 * was tested against AWS, so a name only makes messages clearer and never makes anything pass.
 */

/** What kind of address of RDS or Aurora a host name is. */
export type Endpoint = 'rds-proxy' | 'reader' | 'custom' | 'cluster' | 'instance';

const amazon = /^(?<labels>.+)\.rds\.amazonaws\.com(\.cn)?$/;

/** Tells by its name which kind of RDS or Aurora endpoint a host is; null for any other host. */
export function endpointOf(host: string): Endpoint | null {
  const labels = amazon.exec(host.toLowerCase().replace(/\.$/, ''))?.groups?.labels?.split('.') ?? [];
  const has = (prefix: string): boolean => labels.slice(1).some((label) => label.startsWith(prefix));
  if (labels.length < 2) return null;
  if (has('proxy-')) return 'rds-proxy';
  if (has('cluster-ro-')) return 'reader';
  if (has('cluster-custom-')) return 'custom';
  return has('cluster-') || has('global-') ? 'cluster' : 'instance';
}

/** What an endpoint is that leads to no one server in particular, for people; null for one that does, or may. */
export function wanderingEndpoint(host: string): string | null {
  switch (endpointOf(host)) {
    case 'rds-proxy':
      return 'by its name the host is an RDS Proxy';
    case 'reader':
      return 'by its name the host is a reader endpoint, which leads to any of the readers';
    case 'custom':
      return 'by its name the host is a custom endpoint, which leads to any of several instances';
    default:
      return null;
  }
}

/** What to put into the URL instead of a host that leads through a pooler or to several servers. */
export function directAddress(host: string): string {
  const endpoint = endpointOf(host);
  if (endpoint === null) return "let the URL name the server's own address and port";
  return 'let the URL name the cluster (writer) endpoint or the instance itself';
}
