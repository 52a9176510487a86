import type { Template } from './secrets.js';

/** The parts of a database URL, each as a template whose literal text is already percent-decoded. */
export interface DatabaseUrl {
  scheme: string;
  user: Template;
  /** Null when the URL has none. */
  password: Template | null;
  host: Template;
  /** Null: the engine's default. */
  port: Template | null;
  database: Template;
  parameters: ReadonlyMap<string, string>;
}

/** What is wrong with a database URL; it never quotes the URL. */
export interface UrlProblem {
  message: string;
  hint: string;
}

const SHAPE = 'write it like `postgres://user:${env:PASSWORD}@host:5432/database`';

/**
 * Splits a database URL at its literal text only: a placeholder stands for raw text, so that a password with `@`, `:` or
 * `/` in it needs no encoding. `new URL` cannot do that, and would put the URL into its error.
 */
export function splitDatabaseUrl(url: Template): DatabaseUrl | UrlProblem {
  // Placeholders are held apart while the text is split; NUL cannot be part of a URL.
  const held = url.filter((part) => typeof part !== 'string');
  const text = url.map((part) => (typeof part === 'string' ? part.replaceAll('\0', '') : '\0')).join('');
  let next = 0;
  const template = (piece: string): Template | null => {
    const out: Template[number][] = [];
    for (const bit of piece.split(/(\0)/)) {
      const placeholder = bit === '\0' ? held[next] : undefined;
      if (placeholder !== undefined) {
        out.push(placeholder);
        next += 1;
      } else if (bit !== '') {
        const decoded = decode(bit);
        if (decoded === null) return null;
        out.push(decoded);
      }
    }
    return out;
  };

  const scheme = /^([a-z]+):\/\//i.exec(text);
  if (scheme === null) return { message: 'this is not a database URL', hint: SHAPE };
  const afterScheme = text.slice(scheme[0].length);
  const authorityEnd = /[/?#]|$/.exec(afterScheme)?.index ?? afterScheme.length;
  const authority = afterScheme.slice(0, authorityEnd);
  const [path, query = ''] = cut(afterScheme.slice(authorityEnd).replace(/#.*$/s, ''), '?');
  const at = authority.lastIndexOf('@');
  const [user, password] = cut(authority.slice(0, Math.max(at, 0)), ':');
  const hostPort = authority.slice(at + 1);
  if (at < 0 && afterScheme.slice(authorityEnd).includes('@')) {
    return {
      message: 'the user or the password of the URL contains `/`, `?` or `#`',
      hint: 'write `%2F`, `%3F` or `%23`, or use `${env:NAME}`, which needs no encoding',
    };
  }
  if (hostPort.includes(',')) {
    return { message: 'the URL names several hosts', hint: 'give each server a database entry of its own' };
  }
  const address = /^(\[[^\]]*\]|[^:[\]]*)(?::([^:]*))?$/.exec(hostPort);
  if (address === null) {
    return {
      message: 'the host of the URL cannot be read',
      hint: `${SHAPE}; encode \`@\`, \`:\` and \`/\` in passwords`,
    };
  }
  // Left to right, because placeholders are handed out in that order.
  const [u, p, h, o, d] = [
    template(user),
    template(password ?? ''),
    template((address[1] ?? '').replace(/^\[|\]$/g, '')),
    template(address[2] ?? ''),
    template(path.replace(/^\//, '')),
  ];
  if (u === null || p === null || h === null || o === null || d === null) {
    return { message: 'the URL has a `%` that begins no escape', hint: 'write `%25` for a percent sign' };
  }
  if (h.length === 0) return { message: 'the URL names no host', hint: SHAPE };
  if (u.length === 0) return { message: 'the URL names no user', hint: SHAPE };
  if (d.length === 0) return { message: 'the URL names no database', hint: SHAPE };
  if (query.includes('\0')) {
    return { message: 'a secret among the parameters of the URL', hint: 'a password belongs before the `@`' };
  }
  const parameters = new Map<string, string>();
  for (const pair of query.split('&').filter((x) => x !== '')) {
    const [key, value = ''] = cut(pair, '=');
    parameters.set(decode(key) ?? key, decode(value) ?? '');
  }
  return {
    scheme: (scheme[1] ?? '').toLowerCase(),
    user: u,
    password: p.length === 0 ? null : p,
    host: h,
    port: o.length === 0 ? null : o,
    database: d,
    parameters,
  };
}

function cut(text: string, separator: string): [string, string | undefined] {
  const i = text.indexOf(separator);
  return i < 0 ? [text, undefined] : [text.slice(0, i), text.slice(i + separator.length)];
}

function decode(text: string): string | null {
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
