/** The few parts of a DNS message (RFC 1035) that a TTL can be read from; Node's own resolver tells none of an alias. */
import { domainToASCII } from 'node:url';

/** Types of addresses that a name is asked for. */
export type AddressType = 'A' | 'AAAA';

const CODES: Readonly<Record<AddressType, number>> = { A: 1, AAAA: 28 };
const CNAME = 5;
const OPT = 41;
const INTERNET = 1;
const HEADER_BYTES = 12;
/** What fits into a datagram on every path; the server may answer so much. */
const UDP_BYTES = 1_232;
const MOST_NAME_BYTES = 255;
/** Pointers within one name, and aliases on the way to an address. */
const MOST_STEPS = 16;

/** Names of response codes; the others are shown as numbers. */
const RCODES: Readonly<Record<number, string>> = {
  1: 'FORMERR',
  2: 'SERVFAIL',
  3: 'NXDOMAIN',
  4: 'NOTIMP',
  5: 'REFUSED',
};

/** One set of records on the way from the name to its addresses. */
export interface RecordSet {
  /** Lower case, without the final dot. */
  owner: string;
  type: AddressType | 'CNAME';
  /** Seconds, as handed out. */
  ttl: number;
}

/** An answer to one question. */
export interface DnsAnswer {
  /** Null: no error. */
  error: string | null;
  /** The server answers for the zone itself, and not from what it remembers. */
  authoritative: boolean;
  /** Cut off, so that it has to be asked for over TCP. */
  truncated: boolean;
  /** The aliases that lead from the name on, and the addresses at their end. */
  chain: RecordSet[];
  /** Addresses stand at the end of the chain. */
  complete: boolean;
}

/** Lower case, without the final dot, in the letters that DNS knows; null when it is no name. */
export function plainName(name: string): string | null {
  const ascii = domainToASCII(name) || name;
  const plain = ascii.toLowerCase().replace(/\.$/, '');
  const labels = plain.split('.');
  const sound = labels.every((l) => l.length > 0 && l.length <= 63 && /^[\x21-\x7e]+$/.test(l));
  return sound && plain.length < MOST_NAME_BYTES - 1 ? plain : null;
}

/** The bytes of a question for the addresses of a plain name. */
export function encodeQuestion(id: number, name: string, type: AddressType): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(id, 0);
  // Recursion desired: an authoritative server takes no notice of it.
  header.writeUInt16BE(0x0100, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(1, 10);
  const labels = name.split('.').flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'latin1')]);
  const asked = Buffer.alloc(5);
  asked.writeUInt16BE(CODES[type], 1);
  asked.writeUInt16BE(INTERNET, 3);
  const opt = Buffer.alloc(11);
  opt.writeUInt16BE(OPT, 1);
  opt.writeUInt16BE(UDP_BYTES, 3);
  return Buffer.concat([header, ...labels, asked, opt]);
}

/** Reads the answer to the question; null when it is another one's, or no DNS message. */
export function decodeAnswer(message: Buffer, id: number, name: string, type: AddressType): DnsAnswer | null {
  try {
    return decode(message, id, name, type);
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

function decode(message: Buffer, id: number, name: string, type: AddressType): DnsAnswer | null {
  const flags = message.readUInt16BE(2);
  if (message.readUInt16BE(0) !== id || (flags & 0x8000) === 0 || message.readUInt16BE(4) !== 1) return null;
  const asked = readName(message, HEADER_BYTES);
  if (asked.name !== name || message.readUInt16BE(asked.end) !== CODES[type]) return null;
  const rcode = flags & 0x000f;
  const answer: DnsAnswer = {
    error: rcode === 0 ? null : (RCODES[rcode] ?? `response code ${rcode}`),
    authoritative: (flags & 0x0400) !== 0,
    truncated: (flags & 0x0200) !== 0,
    chain: [],
    complete: false,
  };
  // What was cut off need not be whole records.
  if (answer.truncated) return answer;
  const records = readRecords(message, asked.end + 4, message.readUInt16BE(6));
  let owner = name;
  for (let step = 0; step < MOST_STEPS; step += 1) {
    const own = records.filter((r) => r.owner === owner);
    const addresses = own.filter((r) => r.code === CODES[type]);
    if (addresses.length > 0) {
      answer.chain.push({ owner, type, ttl: longest(addresses) });
      answer.complete = true;
      break;
    }
    const aliases = own.filter((r) => r.code === CNAME);
    const [alias] = aliases;
    if (alias === undefined) break;
    answer.chain.push({ owner, type: 'CNAME', ttl: longest(aliases) });
    owner = alias.target;
  }
  return answer;
}

interface WireRecord {
  owner: string;
  code: number;
  ttl: number;
  /** Of an alias; else empty. */
  target: string;
}

/** All records of a set ought to have the same; where they differ, somebody keeps the longest. */
function longest(records: readonly WireRecord[]): number {
  return Math.max(...records.map((r) => r.ttl));
}

function readRecords(message: Buffer, from: number, count: number): WireRecord[] {
  const records: WireRecord[] = [];
  let at = from;
  for (let i = 0; i < count; i += 1) {
    const { name: owner, end } = readName(message, at);
    const code = message.readUInt16BE(end);
    const length = message.readUInt16BE(end + 8);
    if (end + 10 + length > message.length) throw new RangeError('a record beyond the end');
    const target = code === CNAME ? readName(message, end + 10).name : '';
    if (message.readUInt16BE(end + 2) === INTERNET) {
      records.push({ owner, code, ttl: message.readUInt32BE(end + 4), target });
    }
    at = end + 10 + length;
  }
  return records;
}

/** A name and where it ends; a pointer leads to the rest of it, always towards the beginning. */
function readName(message: Buffer, from: number): { name: string; end: number } {
  const labels: string[] = [];
  let end: number | null = null;
  let at = from;
  for (let steps = 0, bytes = 0; ;) {
    const length = message.readUInt8(at);
    if (length === 0) return { name: labels.join('.'), end: end ?? at + 1 };
    if (length >= 0xc0) {
      const to = message.readUInt16BE(at) & 0x3fff;
      steps += 1;
      if (to >= at || steps > MOST_STEPS) throw new RangeError('a pointer in a circle');
      end ??= at + 2;
      at = to;
      continue;
    }
    bytes += length + 1;
    if (length > 63 || bytes > MOST_NAME_BYTES || at + 1 + length > message.length) {
      throw new RangeError('a name beyond the end');
    }
    labels.push(message.toString('latin1', at + 1, at + 1 + length).toLowerCase());
    at += 1 + length;
  }
}
