/** A loopback resolver over UDP and TCP that answers with the records it is told to. */
import { createSocket, type RemoteInfo } from 'node:dgram';
import { createServer, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';

/** A record of the answer section. */
export type FakeRecord = { owner: string; ttl: number } & ({ type: 'A' | 'AAAA' } | { type: 'CNAME'; target: string });

/** What is answered to one type of question. */
export interface FakeAnswer {
  rcode?: number;
  authoritative?: boolean;
  /** Over UDP only the beginning comes. */
  truncated?: boolean;
  records?: readonly FakeRecord[];
  /** Nothing comes. */
  mute?: boolean;
  /** Sent in place of a message. */
  raw?: Buffer;
}

/** The resolver; `answer` may be set anew at any time. */
export interface FakeResolver {
  /** As it is configured. */
  address: string;
  questions: { type: 'A' | 'AAAA'; over: 'udp' | 'tcp' }[];
  answer: (type: 'A' | 'AAAA', over: 'udp' | 'tcp') => FakeAnswer;
  close(): Promise<void>;
}

const TYPES = { A: 1, AAAA: 28, CNAME: 5 } as const;

function nameBytes(name: string): Buffer {
  const labels = name.split('.').map((l) => Buffer.concat([Buffer.from([l.length]), Buffer.from(l)]));
  return Buffer.concat([...labels, Buffer.from([0])]);
}

function recordBytes(record: FakeRecord, asked: string): Buffer {
  // The name that was asked for is written as a pointer to the question, as every server does it.
  const owner = record.owner === asked ? Buffer.from([0xc0, 12]) : nameBytes(record.owner);
  const data = record.type === 'CNAME' ? nameBytes(record.target) : Buffer.alloc(record.type === 'A' ? 4 : 16, 10);
  const rest = Buffer.alloc(10);
  rest.writeUInt16BE(TYPES[record.type], 0);
  rest.writeUInt16BE(1, 2);
  rest.writeUInt32BE(record.ttl, 4);
  rest.writeUInt16BE(data.length, 8);
  return Buffer.concat([owner, rest, data]);
}

function reply(
  question: Buffer,
  answer: FakeAnswer,
  over: 'udp' | 'tcp',
  asked: { name: string; end: number },
): Buffer {
  const cut = answer.truncated === true && over === 'udp';
  const records = cut ? [] : (answer.records ?? []);
  const header = Buffer.alloc(12);
  question.copy(header, 0, 0, 2);
  header.writeUInt16BE(
    0x8180 | (answer.authoritative === true ? 0x0400 : 0) | (cut ? 0x0200 : 0) | (answer.rcode ?? 0),
    2,
  );
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(records.length, 6);
  return Buffer.concat([
    header,
    question.subarray(12, asked.end + 4),
    ...records.map((r) => recordBytes(r, asked.name)),
  ]);
}

function askedIn(question: Buffer): { name: string; end: number; type: 'A' | 'AAAA' } {
  const labels: string[] = [];
  let at = 12;
  for (let length = question.readUInt8(at); length > 0; length = question.readUInt8(at)) {
    labels.push(question.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const end = at + 1;
  return { name: labels.join('.'), end, type: question.readUInt16BE(end) === TYPES.A ? 'A' : 'AAAA' };
}

/** Starts one on a free port of the loopback, the same for UDP and TCP. */
export async function startFakeResolver(): Promise<FakeResolver> {
  const tcp = createServer();
  const open = new Set<Socket>();
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve));
  const { port } = tcp.address() as AddressInfo;
  const udp = createSocket('udp4');
  await new Promise<void>((resolve) => udp.bind(port, '127.0.0.1', resolve));
  const respond = (question: Buffer, over: 'udp' | 'tcp'): Buffer | null => {
    const asked = askedIn(question);
    fake.questions.push({ type: asked.type, over });
    const answer = fake.answer(asked.type, over);
    if (answer.mute === true) return null;
    return answer.raw ?? reply(question, answer, over, asked);
  };
  udp.on('message', (question: Buffer, from: RemoteInfo) => {
    const answer = respond(question, 'udp');
    if (answer !== null) udp.send(answer, from.port, from.address);
  });
  tcp.on('connection', (socket) => {
    open.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => open.delete(socket));
    socket.once('data', (data: Buffer) => {
      const answer = respond(data.subarray(2), 'tcp');
      if (answer === null) return;
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer.length);
      // In two pieces, as a network may deliver it.
      socket.write(length);
      socket.write(answer);
    });
  });
  const fake: FakeResolver = {
    address: `127.0.0.1:${port}`,
    questions: [],
    answer: () => ({}),
    close: async () => {
      for (const socket of open) socket.destroy();
      await Promise.all([
        new Promise<void>((resolve) => udp.close(() => resolve())),
        new Promise<void>((resolve) => tcp.close(() => resolve())),
      ]);
    },
  };
  return fake;
}
