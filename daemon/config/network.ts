/** Whether a host is this machine itself, by name or address; a name that must be looked up is not. */
export function isLoopback(host: string): boolean {
  return /^localhost\.?$/i.test(host) || host === '::1' || /^127(?:\.\d{1,3}){3}$/.test(host);
}

/** Splits `host:port` or `[::1]:port`; null when it is neither. */
export function parseListen(text: string): { host: string; port: number } | null {
  const found = /^(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text.trim());
  const port = Number(found?.[3]);
  const host = found?.[1] ?? found?.[2];
  return host === undefined || port > 65_535 ? null : { host, port };
}
