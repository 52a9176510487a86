/** Carries a question to a resolver and its answer back, over UDP, and over TCP where the answer does not fit. */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import type { Clock } from '../../daemon/core/clock.js';
import { TransientError } from '../../daemon/core/errors.js';
import { decodeAnswer, encodeQuestion, type AddressType, type DnsAnswer } from './dns-message.js';
import { within } from './within.js';

const PORT = 53;
/** How long one try may take. */
const TRY_MS = 2_000;
/** Datagrams get lost. */
const TRIES = 2;

/** Where a resolver listens. */
export interface ResolverAddress {
  host: string;
  port: number;
}

/** Reads `10.0.0.2`, `10.0.0.2:5353`, `[::1]:53`, `::1` or a host name. */
export function resolverAddress(text: string): ResolverAddress {
  const bracketed = /^\[([^\]]+)\](?::(\d+))?$/.exec(text);
  const plain = isIPv6(text) ? null : /^([^:]+):(\d+)$/.exec(text);
  const found = bracketed ?? plain;
  return found === null ? { host: text, port: PORT } : { host: found[1] ?? '', port: Number(found[2] ?? PORT) };
}

/** Asks one resolver for the addresses of a plain name; rejects with a TransientError when no answer comes. */
export async function askResolver(
  resolver: ResolverAddress,
  name: string,
  type: AddressType,
  clock: Clock,
  signal: AbortSignal,
): Promise<DnsAnswer> {
  const late = `${resolver.host} did not answer within ${TRY_MS / 1_000} s`;
  let failure: unknown;
  for (let n = 0; n < TRIES && !signal.aborted; n += 1) {
    try {
      const answer = await within(clock, TRY_MS, signal, late, (inner) => overUdp(resolver, name, type, inner));
      if (!answer.truncated) return answer;
      return await within(clock, TRY_MS, signal, late, (inner) => overTcp(resolver, name, type, inner));
    } catch (error) {
      failure = error;
    }
  }
  if (failure instanceof TransientError) throw failure;
  const code = failure instanceof Error && 'code' in failure ? String(failure.code) : 'no answer';
  throw new TransientError('dns_unreachable', `${resolver.host} cannot be asked: ${code}`, null, { cause: failure });
}

function overUdp(
  { host, port }: ResolverAddress,
  name: string,
  type: AddressType,
  signal: AbortSignal,
): Promise<DnsAnswer> {
  return new Promise((resolve, reject) => {
    const id = randomInt(0x1_0000);
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    let open = true;
    const end = (): void => {
      if (open) socket.close();
      open = false;
    };
    const fail = (error: Error): void => {
      end();
      reject(error);
    };
    socket.on('error', fail);
    socket.on('message', (message) => {
      // What somebody else sent, or an answer to an earlier try, is not waited for any less.
      const answer = decodeAnswer(message, id, name, type);
      if (answer === null) return;
      end();
      resolve(answer);
    });
    signal.addEventListener('abort', () => fail(new TransientError('aborted', 'given up')), { once: true });
    // Connected, so that only the resolver itself is heard, and a port where nobody listens is noticed.
    socket.connect(port, host, () => {
      if (open) socket.send(encodeQuestion(id, name, type));
    });
  });
}

function overTcp(
  { host, port }: ResolverAddress,
  name: string,
  type: AddressType,
  signal: AbortSignal,
): Promise<DnsAnswer> {
  return new Promise((resolve, reject) => {
    const id = randomInt(0x1_0000);
    const socket = connect({ host, port });
    let received = Buffer.alloc(0);
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    socket.on('error', fail);
    socket.on('close', () => reject(new TransientError('dns_cut', `${host} hung up in the middle of an answer`)));
    socket.on('connect', () => {
      const question = encodeQuestion(id, name, type);
      const length = Buffer.alloc(2);
      length.writeUInt16BE(question.length);
      socket.write(Buffer.concat([length, question]));
    });
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2) return;
      const length = received.readUInt16BE(0);
      if (received.length < 2 + length) return;
      const answer = decodeAnswer(received.subarray(2, 2 + length), id, name, type);
      if (answer === null) fail(new TransientError('dns_answer', `the answer of ${host} cannot be read`));
      else {
        resolve(answer);
        socket.destroy();
      }
    });
    signal.addEventListener('abort', () => fail(new TransientError('aborted', 'given up')), { once: true });
  });
}
