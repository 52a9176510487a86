import { hash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';
import type { IncomingMessage } from 'node:http';
import type { Clock } from '../core/clock.js';
import { US_PER_S } from '../core/clock.js';
import type { DaemonConfig, TokenConfig } from '../core/config.js';
import { messageOf } from '../core/errors.js';
import { Problem } from './problem.js';
import type { Access, Caller, HttpLog } from './route.js';

/** Decides who may ask; throws a Problem (401, 403) when the caller may not. */
export interface Gatekeeper {
  admit(request: IncomingMessage, access: Access): Caller;
}

/** Tokens in files are read again after this, so that a rotated one works and a withdrawn one stops to. */
const REREAD_US = 5 * US_PER_S;

const ANONYMOUS: Caller = { name: 'anonymous', role: 'operator' };

/** Builds the gatekeeper for the configuration: bearer tokens, or, without authentication, a guard against browsers of strangers. */
export function createGatekeeper(config: DaemonConfig, clock: Clock, log: HttpLog): Gatekeeper {
  return config.auth === null ? new HostGuard(config.listen.host) : new TokenGuard(config.auth.tokens, clock, log);
}

/** Tokens are compared by digests of equal length, so that neither length nor content shows in the time it takes. */
function digestOf(token: string): Buffer {
  // As text and back it takes two thirds of the time of asking for a buffer.
  return Buffer.from(hash('sha256', token), 'latin1');
}

class TokenGuard implements Gatekeeper {
  readonly #tokens: readonly TokenConfig[];
  readonly #clock: Clock;
  readonly #log: HttpLog;
  #known: { digest: Buffer; caller: Caller }[] = [];
  #readAt = -Infinity;
  /** Names whose secret could not be read, so that each is logged once and not at every reading. */
  readonly #missing = new Set<string>();

  constructor(tokens: readonly TokenConfig[], clock: Clock, log: HttpLog) {
    this.#tokens = tokens;
    this.#clock = clock;
    this.#log = log;
    this.#read();
  }

  admit(request: IncomingMessage, access: Access): Caller {
    if (access === 'open') return ANONYMOUS;
    const header = request.headers.authorization;
    if (header === undefined) {
      throw new Problem(401, 'token_missing', 'this needs a token: Authorization: Bearer …', challenge(null));
    }
    const space = header.indexOf(' ');
    const caller =
      space > 0 && header.slice(0, space).toLowerCase() === 'bearer'
        ? this.#find(header.slice(space + 1).trim())
        : null;
    if (caller === null) throw new Problem(401, 'token_invalid', 'the token is not known', challenge('invalid_token'));
    if (access === 'operator' && caller.role !== 'operator') {
      const detail = `the token ${caller.name} is a reader's; this needs the role operator`;
      throw new Problem(403, 'role_insufficient', detail, challenge('insufficient_scope'));
    }
    return caller;
  }

  #find(token: string): Caller | null {
    if (this.#clock.monotonicNow() - this.#readAt > REREAD_US) this.#read();
    if (token === '') return null;
    const digest = digestOf(token);
    let found: Caller | null = null;
    // No early end: the time taken does not tell which token it was nearly.
    for (const known of this.#known) if (timingSafeEqual(known.digest, digest)) found ??= known.caller;
    return found;
  }

  #read(): void {
    this.#readAt = this.#clock.monotonicNow();
    this.#known = [];
    for (const { name, token, role } of this.#tokens) {
      try {
        this.#known.push({ digest: digestOf(token.reveal()), caller: { name, role } });
        this.#missing.delete(name);
      } catch (error) {
        // A token that cannot be read admits nobody; the others go on working.
        if (!this.#missing.has(name)) this.#log.error({ token: name, reason: messageOf(error) }, 'token is unreadable');
        this.#missing.add(name);
      }
    }
  }
}

function challenge(error: string | null): { headers: Record<string, string> } {
  const suffix = error === null ? '' : `, error="${error}"`;
  return { headers: { 'www-authenticate': `Bearer realm="lockgate"${suffix}` } };
}

/**
 * Without tokens the network is the only protection, and a browser on it takes orders from any page: a name that resolves
 * here on purpose (DNS rebinding) shows in Host, a request from a foreign page in Origin.
 */
class HostGuard implements Gatekeeper {
  readonly #listenHost: string;
  readonly #anyAddress: boolean;
  /** The Host that passed last, as given; the same client sends the same again and again. */
  #lastGood: string | null = null;

  constructor(listenHost: string) {
    this.#listenHost = bare(listenHost);
    this.#anyAddress = ['0.0.0.0', '::', '::0'].includes(this.#listenHost);
  }

  admit(request: IncomingMessage): Caller {
    const { host, origin } = request.headers;
    // Only HTTP/1.0 comes without Host, and no browser speaks that.
    if (host !== undefined && host !== this.#lastGood) {
      if (this.#isOurs(splitHost(host)?.name, request)) this.#remember(host);
      else
        throw new Problem(
          403,
          'foreign_host',
          'the Host header names another server; ask by the address it listens on',
        );
    }
    if (origin !== undefined && !this.#isOurOrigin(origin, host, request)) {
      throw new Problem(403, 'foreign_origin', 'requests from other web pages are refused without authentication');
    }
    return ANONYMOUS;
  }

  /** Not where the answer depends on the connection, too. */
  #remember(host: string): void {
    if (!this.#anyAddress) this.#lastGood = host;
  }

  #isOurOrigin(origin: string, host: string | undefined, request: IncomingMessage): boolean {
    const m = /^(https?):\/\/([^/]+)$/.exec(origin);
    const from = splitHost(m?.[2] ?? '');
    const to = splitHost(host ?? '');
    if (m === null || from === null || to === null) return false;
    const usual = m[1] === 'https' ? '443' : '80';
    return this.#isOurs(from.name, request) && (from.port ?? usual) === (to.port ?? usual);
  }

  #isOurs(name: string | undefined, request: IncomingMessage): boolean {
    if (name === undefined) return false;
    if (name === 'localhost' || name === '::1' || name === this.#listenHost) return true;
    if (isIP(name) === 0) return false;
    if (name.startsWith('127.')) return true;
    // Listening on every address, its own are ours too: an address cannot be rebound.
    return this.#anyAddress && name === bare(request.socket.localAddress ?? '');
  }
}

/** `[::1]:9188` as name and port; null when it is no such thing. */
function splitHost(text: string): { name: string; port: string | null } | null {
  const m = /^(\[[0-9A-Fa-f:.]+\]|[^:[\]/@\s]+)(?::(\d{1,5}))?$/.exec(text);
  return m === null ? null : { name: bare(m[1] ?? ''), port: m[2] ?? null };
}

/** Lower case, without brackets, a final dot, or the mark of an IPv4 address on an IPv6 socket. */
function bare(host: string): string {
  return host
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '')
    .replace(/^::ffff:(?=\d+\.)/, '');
}
