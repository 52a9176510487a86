import type { DatabaseConfig, Secret, TlsConfig } from '../core/config.js';
import { splitDatabaseUrl } from './database-url.js';
import { isLoopback } from './network.js';
import type { RawDatabase } from './schema.js';
import type { Scope } from './scope.js';
import { hasPlaceholder, ResolvedSecret } from './secrets.js';

const SCHEMES: Readonly<Record<'postgres' | 'mysql', readonly string[]>> = {
  postgres: ['postgres', 'postgresql'],
  mysql: ['mysql', 'mariadb'],
};
const PORTS = { postgres: 5432, mysql: 3306 };
const MODES: readonly TlsConfig['mode'][] = ['disable', 'prefer', 'require', 'verify-ca', 'verify-full'];

/** Builds one database, or null when something of it is wrong (and was reported). */
export function resolveDatabase(name: string, raw: RawDatabase, scope: Scope): DatabaseConfig | null {
  const path = ['databases', name];
  const { engine } = raw;
  if (raw.server_id !== undefined && engine === 'postgres') {
    scope.problems.add([...path, 'server_id'], 'PostgreSQL has no server ids', 'remove this key', { key: true });
  }
  const url = raw.url === undefined ? null : resolveUrl(name, raw.url, scope);
  if (url === null) return null;
  const tls = resolveTls(name, raw, url.parameters, scope);
  if (engine === undefined || tls === null) return null;
  if (!SCHEMES[engine].includes(url.scheme)) {
    const right = SCHEMES[engine].map((s) => `\`${s}://\``).join(' or ');
    scope.problems.add([...path, 'url'], `the URL does not fit the engine \`${engine}\``, `begin it with ${right}`);
    return null;
  }
  const { address, password } = url;
  const rdsIam = resolveToken(name, raw, password !== null, tls, scope);
  if (rdsIam === undefined) return null;
  if ((tls.mode === 'disable' || tls.mode === 'prefer') && !isLoopback(address.host)) {
    scope.warn(
      `databases.${name}: TLS mode \`${tls.mode}\` to ${address.host} lets others on the way read, and change, what ` +
        'the database says (use `tls: { mode: verify-full, ca: … }`)',
    );
  }
  return {
    name,
    engine,
    address: { ...address, port: address.port ?? PORTS[engine] },
    password,
    ...(rdsIam === null ? {} : { rdsIam }),
    tls,
    read: raw.read ?? 'auto',
    ...(engine === 'mysql' ? { serverId: raw.server_id ?? null } : {}),
  };
}

/** `password: { rds_iam: … }`; null without it, undefined when something is wrong with it. */
function resolveToken(
  name: string,
  raw: RawDatabase,
  hasPassword: boolean,
  tls: TlsConfig,
  scope: Scope,
): { region: string } | null | undefined {
  const { password } = raw;
  if (password === undefined) return null;
  const path = ['databases', name, 'password'];
  if (hasPassword) {
    scope.problems.add(path, 'there is a password in the URL as well', 'keep one of them', { key: true });
    return undefined;
  }
  if (tls.mode === 'disable' || tls.mode === 'prefer') {
    const hint = 'write `tls: { mode: verify-full, ca: … }` with the certificate bundle of RDS';
    scope.problems.add(path, `RDS takes tokens over TLS only, and the TLS mode is \`${tls.mode}\``, hint, {
      key: true,
    });
    return undefined;
  }
  return password.rds_iam?.region === undefined ? undefined : { region: password.rds_iam.region };
}

interface ResolvedUrl {
  scheme: string;
  address: { host: string; port: number | null; database: string; user: string };
  password: Secret | null;
  parameters: ReadonlyMap<string, string>;
}

function resolveUrl(name: string, raw: string, scope: Scope): ResolvedUrl | null {
  const path = ['databases', name, 'url'];
  const template = scope.template(path, raw);
  // `${env:DATABASE_URL}`: the placeholder is (the beginning of) the URL itself, so it must be filled in to be split.
  const whole = template.length > 0 && typeof template[0] !== 'string';
  const split = () => splitDatabaseUrl(whole ? [scope.secrets.expand(template)] : template);
  const parts = split();
  if ('message' in parts) {
    scope.problems.add(path, parts.message, parts.hint);
    return null;
  }
  if (parts.password !== null) {
    scope.problems.conceal(scope.secrets.expand(parts.password), '[secret]');
    if (!whole && !hasPlaceholder(parts.password)) {
      scope.warn(
        `databases.${name}.url: the password is written in the configuration (use \`\${env:NAME}\` or \`\${file:PATH}\`)`,
      );
    }
  }
  const host = scope.secrets.expand(parts.host);
  const user = scope.secrets.expand(parts.user);
  const port = parts.port === null ? null : Number(scope.secrets.expand(parts.port));
  if (port !== null && !(Number.isInteger(port) && port > 0 && port < 65_536)) {
    scope.problems.add(path, 'the port of the URL is not a port', 'ports are numbers from 1 to 65535');
    return null;
  }
  // Otherwise a secret such as `user:password@host` in one placeholder would be shown as a user or a host.
  if ((hasPlaceholder(parts.user) && /[:@/]/.test(user)) || /[@/\s]/.test(host)) {
    scope.problems.add(
      path,
      'the user or the host of the URL contains `@`, `:`, `/` or a space',
      'use one placeholder for each part, or one for the whole URL',
    );
    return null;
  }
  return {
    scheme: parts.scheme,
    address: { host, port, database: scope.secrets.expand(parts.database), user },
    password: parts.password === null ? null : passwordOf(split, scope),
    parameters: parts.parameters,
  };
}

/** Splits the URL anew at each `reveal`, because a file that holds all of it may have changed. */
function passwordOf(split: () => ReturnType<typeof splitDatabaseUrl>, scope: Scope): Secret {
  return new ResolvedSecret(() => {
    const parts = split();
    return 'message' in parts || parts.password === null ? '' : scope.secrets.expand(parts.password);
  });
}

function resolveTls(
  name: string,
  raw: RawDatabase,
  parameters: ReadonlyMap<string, string>,
  scope: Scope,
): TlsConfig | null {
  const path = ['databases', name];
  const known = ['sslmode', 'sslrootcert', 'sslcert', 'sslkey'];
  for (const key of parameters.keys()) {
    if (known.includes(key)) continue;
    // The key is not quoted: with a password that was not encoded it may be the end of it.
    scope.problems.add(
      [...path, 'url'],
      'the URL has a parameter that lockgate does not know',
      `only ${known.join(', ')} are used; encode \`?\` and \`#\` in passwords`,
    );
    return null;
  }
  const written = raw.tls?.mode ?? parameters.get('sslmode') ?? 'prefer';
  let mode = MODES.find((m) => m === written);
  if (mode === undefined) {
    scope.problems.add([...path, 'url'], 'the URL has an unknown `sslmode`', `use one of ${MODES.join(', ')}`);
    return null;
  }
  const ca = raw.tls?.ca ?? parameters.get('sslrootcert') ?? null;
  const cert = raw.tls?.cert ?? parameters.get('sslcert') ?? null;
  const key = raw.tls?.key ?? parameters.get('sslkey') ?? null;
  const at = raw.tls === undefined ? [...path, 'url'] : [...path, 'tls'];
  if (ca !== null && (mode === 'disable' || mode === 'prefer')) {
    const message = `the certificate authority has no effect with TLS mode \`${mode}\``;
    scope.problems.add(at, message, 'write `mode: verify-full`', { key: true });
    return null;
  }
  // As libpq does: who gives an authority wants it checked.
  if (ca !== null && mode === 'require') mode = 'verify-ca';
  if ((cert === null) !== (key === null)) {
    const missing = cert === null ? 'cert' : 'key';
    scope.problems.add(at, `\`${missing}\` is missing`, 'a client certificate needs both `cert` and `key`', {
      key: true,
    });
    return null;
  }
  const beside = (file: string | null) => (file === null ? null : scope.beside(file));
  return { mode, ca: beside(ca), cert: beside(cert), key: beside(key) };
}
