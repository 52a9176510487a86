import type { Secret } from '../core/config.js';
import type { Path } from './locate.js';
import type { Scope } from './scope.js';
import { ResolvedSecret, type Template } from './secrets.js';

/**
 * Cuts the user and the password off the address of a Prometheus, so that they are in no message: they become the
 * `Authorization` header, as a `token` does. Placeholders are cut around, because they stand for raw text.
 */
export function prometheusAccess(
  path: Path,
  expanded: string,
  token: string | undefined,
  scope: Scope,
): { url: string; authorization: Secret | null } {
  const written = scope.template([...path, 'prometheus'], expanded);
  const ofWritten = cut(written);
  // One placeholder may stand for the whole address.
  const { scheme, userinfo, rest } = ofWritten ?? cut([expanded]) ?? { scheme: '', userinfo: null, rest: [expanded] };
  const url = scheme + scope.secrets.expand(rest);
  if (!URL.canParse(url)) {
    const hint = 'write it like `http://prometheus:9090`';
    scope.problems.add([...path, 'prometheus'], 'this is not an HTTP address', hint);
  }
  if (token !== undefined) {
    if (userinfo !== null) {
      const hint = 'remove the user and the password from the address, or the `token`';
      scope.problems.add([...path, 'token'], 'there are two ways to sign in', hint, { key: true });
    }
    const bearer = scope.secret([...path, 'token'], token);
    return { url, authorization: new ResolvedSecret(() => `Bearer ${bearer.reveal()}`) };
  }
  if (userinfo === null) return { url, authorization: null };
  const decoded = userinfo.map((part) => (typeof part === 'string' ? decode(part) : part));
  return {
    url,
    authorization: new ResolvedSecret(() => {
      const text = scope.secrets.expand(decoded);
      return `Basic ${Buffer.from(text.includes(':') ? text : `${text}:`, 'utf8').toString('base64')}`;
    }),
  };
}

/** Cuts at the literal text only; null where that does not begin an address. */
function cut(template: Template): { scheme: string; userinfo: Template | null; rest: Template } | null {
  const held = template.filter((part) => typeof part !== 'string');
  // NUL cannot be part of a URL, and stands for a placeholder.
  const text = template.map((part) => (typeof part === 'string' ? part.replaceAll('\0', '') : '\0')).join('');
  const found = /^(https?:\/\/)(?:([^/?#]*)@)?(.*)$/s.exec(text);
  if (found === null) return null;
  const [, scheme = '', userinfo, rest = ''] = found;
  let next = 0;
  const back = (piece: string): Template =>
    piece.split(/(\0)/).flatMap((bit): Template[number][] => {
      if (bit === '') return [];
      const placeholder = bit === '\0' ? held[next] : undefined;
      if (placeholder === undefined) return [bit];
      next += 1;
      return [placeholder];
    });
  // Left to right, because placeholders are handed out in that order.
  return { scheme, userinfo: userinfo === undefined ? null : back(userinfo), rest: back(rest) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // A `%` that begins no escape is what it looks like.
    return text;
  }
}
