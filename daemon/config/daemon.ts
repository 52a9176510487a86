import type { DaemonConfig, TokenConfig } from '../core/config.js';
import { isLoopback, parseListen } from './network.js';
import type { RawDaemon } from './schema.js';
import type { Scope } from './scope.js';
import { hasPlaceholder } from './secrets.js';

const DEFAULT_LISTEN = { host: '127.0.0.1', port: 9188 };
const ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** Builds the `daemon` section; what is wrong was reported and has its default here. */
export function resolveDaemon(raw: RawDaemon, hostName: string, scope: Scope): DaemonConfig {
  const listen = resolveListen(raw, scope);
  const auth = resolveAuth(raw, scope);
  if (!isLoopback(listen.host)) {
    if (raw.auth === 'none') {
      scope.warn(`daemon.auth: whoever reaches ${listen.host}:${String(listen.port)} may promote and roll back`);
    } else if (!scope.source.has(['daemon', 'auth'])) {
      const hint = 'configure `auth: { tokens: … }`, listen on 127.0.0.1, or write `auth: none`';
      scope.problems.add(['daemon', 'listen'], 'this address can be reached by others and there is no `auth`', hint);
    }
  }
  const { cert, key } = raw.tls ?? {};
  return {
    id: resolveId(raw, hostName, scope),
    listen,
    tls: cert === undefined || key === undefined ? null : { cert: scope.beside(cert), key: scope.beside(key) },
    auth,
  };
}

function resolveId(raw: RawDaemon, hostName: string, scope: Scope): string {
  const id = raw.id ?? hostName;
  if (ID.test(id)) return id;
  if (raw.id === undefined) {
    scope.problems.add(
      ['daemon', 'id'],
      `the host name ${JSON.stringify(hostName)} cannot be the id`,
      'set `daemon.id`',
    );
  } else {
    const hint = 'use letters, digits, `.`, `_` and `-`, at most 128, beginning with a letter or digit';
    scope.problems.add(['daemon', 'id'], 'this cannot be the id of a daemon', hint);
  }
  return id;
}

function resolveListen(raw: RawDaemon, scope: Scope): DaemonConfig['listen'] {
  if (raw.listen === undefined) return DEFAULT_LISTEN;
  const listen = parseListen(raw.listen);
  if (listen !== null) return listen;
  const hint = 'write it like `127.0.0.1:9188`, or `"[::1]:9188"` in quotes';
  scope.problems.add(['daemon', 'listen'], 'this is not an address and a port', hint);
  return DEFAULT_LISTEN;
}

function resolveAuth(raw: RawDaemon, scope: Scope): DaemonConfig['auth'] {
  if (raw.auth === undefined || raw.auth === 'none') return null;
  const tokens: TokenConfig[] = [];
  const values = new Map<string, string>();
  for (const [i, written] of (raw.auth.tokens ?? []).entries()) {
    const path = ['daemon', 'auth', 'tokens', i];
    // A token that was refused leaves a hole, so that the indices of the others stay true.
    const { name, token, role } = (written as typeof written | undefined) ?? {};
    if (name !== undefined && tokens.some((t) => t.name === name)) {
      scope.problems.add(
        [...path, 'name'],
        `there are two tokens named \`${name}\``,
        'the journal names them; rename one',
      );
    }
    if (name === undefined || token === undefined || role === undefined) continue;
    const at = [...path, 'token'];
    const secret = scope.secret(at, token);
    const value = secret.reveal();
    scope.problems.conceal(value, '[secret]');
    if (!hasPlaceholder(scope.template(at, token))) {
      scope.warn(
        `daemon.auth: the token of ${name} is written in the configuration (use \`\${env:NAME}\` or \`\${file:PATH}\`)`,
      );
    }
    if (!/^[\x21-\x7e]+$/.test(value)) {
      const hint = 'it travels in an HTTP header: use letters, digits and signs, no spaces';
      scope.problems.add(at, 'the token has a character that a token cannot have', hint);
    }
    const twin = values.get(value);
    if (twin !== undefined) {
      scope.problems.add(at, `this is the same token as that of \`${twin}\``, 'each client needs a token of its own');
    }
    values.set(value, name);
    tokens.push({ name, token: secret, role });
  }
  return { tokens };
}
