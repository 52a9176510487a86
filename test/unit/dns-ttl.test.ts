import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Answer } from '../../collectors/traffic/asked-number.js';
import { TtlQuestion } from '../../collectors/traffic/dns.js';
import { decodeAnswer, encodeQuestion, plainName } from '../../collectors/traffic/dns-message.js';
import { resolverAddress } from '../../collectors/traffic/dns-transport.js';
import { TtlMemory } from '../../collectors/traffic/ttl-memory.js';
import { LockgateError, reasonOf } from '../../daemon/core/errors.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { FakeClock } from '../support/fake-clock.js';
import { startFakeResolver, type FakeAnswer, type FakeRecord, type FakeResolver } from '../support/fake-resolver.js';

const NAME = 'app.example.com';
const never = new AbortController().signal;

let resolver: FakeResolver;
let clock: FakeClock;

beforeEach(async () => {
  resolver = await startFakeResolver();
  clock = new FakeClock();
});
afterEach(() => resolver.close());

const a = (ttl: number, owner = NAME): FakeRecord => ({ owner, ttl, type: 'A' });
const aaaa = (ttl: number, owner = NAME): FakeRecord => ({ owner, ttl, type: 'AAAA' });
const cname = (ttl: number, target: string, owner = NAME): FakeRecord => ({ owner, ttl, type: 'CNAME', target });
/** Each type is answered with what the records say of it, aliases included. */
function answer(records: readonly FakeRecord[], more: FakeAnswer = { authoritative: true }): void {
  resolver.answer = (type) => ({ ...more, records: records.filter((r) => r.type === type || r.type === 'CNAME') });
}
const question = (record = NAME): TtlQuestion => new TtlQuestion({ record, resolver: resolver.address }, clock);
const ask = (record = NAME): Promise<Answer> => question(record).ask(never);
async function reason(asked: Promise<Answer>): Promise<string> {
  const error: unknown = await asked.then(
    (x) => Promise.reject(new Error(`there was an answer: ${x.value}`)),
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(LockgateError);
  return reasonOf(error);
}

describe('the TTL of an authoritative answer', () => {
  it('is that of the record', async () => {
    answer([a(60)]);
    expect(await ask()).toEqual({ value: 60, observedAt: clock.monotonicNow() });
    expect(resolver.questions.map((q) => q.type).sort()).toEqual(['A', 'AAAA']);
  });

  it.each<[string, FakeRecord[], number]>([
    ['of an alias that is kept longer than the address', [cname(300, 'lb.example.net'), a(5, 'lb.example.net')], 300],
    ['of the address behind an alias', [cname(5, 'lb.example.net'), a(90, 'lb.example.net')], 90],
    ['of the second alias', [cname(5, 'b.x'), cname(70, 'c.x', 'b.x'), a(5, 'c.x')], 70],
    ['of the kind of address that is kept longest', [a(60), aaaa(3600)], 3600],
    ['the largest of a set', [a(60), a(61)], 61],
    ['and none of what is not asked for', [a(60), a(9999, 'other.example.com')], 60],
  ])('is the longest %s', async (_, records, ttl) => {
    answer(records);
    expect((await ask()).value).toBe(ttl);
  });

  it('is a lower bound where the server does not answer for what an alias leads to', async () => {
    answer([cname(30, 'lb.example.net')]);
    expect(await ask()).toMatchObject({ value: 30, bound: 'at-least', remark: expect.stringMatching(/what app\.example\.com leads to/) as string }); // prettier-ignore
  });

  it('is read over TCP where it does not fit into a datagram', async () => {
    answer([a(60)], { authoritative: true, truncated: true });
    expect((await ask()).value).toBe(60);
    expect(resolver.questions.map((q) => q.over).sort()).toEqual(['tcp', 'tcp', 'udp', 'udp']);
  });

  it('is found for names in any spelling', async () => {
    answer([a(60)]);
    expect((await ask('APP.Example.com.')).value).toBe(60);
  });
});

describe('anything else is unknown, with the reason', () => {
  it.each<[string, FakeAnswer, RegExp]>([
    ['NXDOMAIN', { rcode: 3 }, /answers NXDOMAIN for app\.example\.com/],
    ['SERVFAIL', { rcode: 2 }, /SERVFAIL/],
    ['REFUSED', { rcode: 5 }, /REFUSED/],
    ['another code', { rcode: 9 }, /response code 9/],
    ['no address', {}, /knows no address/],
    ['aliases in a circle', { records: [cname(1, 'b.x'), cname(1, NAME, 'b.x')] }, /./],
  ])('%s', async (name, given, expected) => {
    resolver.answer = () => given;
    if (name === 'aliases in a circle') expect((await ask()).bound).toBe('at-least');
    else expect(await reason(ask())).toMatch(expected);
  });

  it('one kind of address that fails, though the other is there', async () => {
    resolver.answer = (type) => (type === 'A' ? { authoritative: true, records: [a(60)] } : { rcode: 2 });
    expect(await reason(ask())).toMatch(/SERVFAIL.*AAAA/);
  });

  it('silence, after two tries', async () => {
    resolver.answer = () => ({ mute: true });
    const asked = reason(ask());
    while (resolver.questions.length < 2) await new SystemClock().sleep(5);
    await clock.advance(2_000_000);
    while (resolver.questions.length < 4) await new SystemClock().sleep(5);
    await clock.advance(2_000_000);
    expect(await asked).toBe('127.0.0.1 did not answer within 2 s');
    expect(clock.sleepers).toBe(0);
  });

  it('answers that are none are not taken for one', async () => {
    resolver.answer = () => ({ raw: Buffer.from('nonsense') });
    const asked = reason(ask());
    for (const count of [2, 4]) {
      while (resolver.questions.length < count) await new SystemClock().sleep(5);
      await clock.advance(2_000_000);
    }
    expect(await asked).toMatch(/did not answer/);
  });

  it('nobody listening', async () => {
    await resolver.close();
    expect(await reason(ask())).toMatch(/cannot be asked: ECONNREFUSED/);
    resolver = await startFakeResolver();
  });

  it('a name that is none', async () => {
    expect(await reason(ask('a..b'))).toMatch(/no name/);
  });

  it('a machine without a resolver', async () => {
    expect(await reason(new TtlQuestion({ record: NAME, resolver: null }, clock, () => []).ask(never))).toMatch(
      /no resolver/,
    );
  });

  it('and the next of the system is asked where one is silent', async () => {
    answer([a(60)]);
    const dead = await startFakeResolver();
    await dead.close();
    const system = () => [dead.address, resolver.address];
    expect((await new TtlQuestion({ record: NAME, resolver: null }, clock, system).ask(never)).value).toBe(60);
  });
});

describe('a resolver that answers from its memory', () => {
  it('says what is left, which is less than the whole until the record is fetched again', async () => {
    const asking = question();
    answer([a(40)], {});
    expect(await asking.ask(never)).toMatchObject({ value: 40, bound: 'at-least', remark: expect.stringMatching(/40 s are left/) as string }); // prettier-ignore
    await clock.advance(15_000_000);
    answer([a(25)], {});
    expect(await asking.ask(never)).toMatchObject({ value: 25, bound: 'at-least', againMs: 26_200 });
    await clock.advance(26_200_000);
    answer([a(3600)], {});
    expect(await asking.ask(never)).toMatchObject({ value: 3600 });
    await clock.advance(3_590_000_000);
    answer([a(10)], {});
    const late = await asking.ask(never);
    expect(late).toMatchObject({ value: 3600 });
    expect(late.bound).toBeUndefined();
  });
});

/** What a resolver hands out that remembers a record of `ttl` s and fetched it at each of `fetched`, in s. */
const left = (ttl: number, fetched: readonly number[], at: number): number => {
  const last = Math.max(...fetched.filter((f) => f <= at));
  return Math.floor(last + ttl - at);
};

describe('the memory', () => {
  it('never says that a record is shorter than it is, but for two seconds, however often others ask', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 30, noNaN: true }),
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 30, maxLength: 30 }),
        (ttl, begun, idle, delays) => {
          const memory = new TtlMemory();
          const fetched = [-ttl * begun];
          let at = 0;
          for (const delay of delays) {
            // Whoever comes first after it has run out has it fetched: somebody else, after `idle` s, or this question.
            const runsOut = fetched.at(-1)! + ttl;
            if (runsOut <= at) fetched.push(Math.min(at, runsOut + idle));
            const whole = memory.take(new Map([['x/A', left(ttl, fetched, at)]]), at * 1e6);
            if (whole.bound === 'exact') expect(whole.ttl).toBeGreaterThanOrEqual(Math.min(ttl, ttl - 4));
            expect(whole.ttl).toBeLessThanOrEqual(ttl);
            at += Math.min(15, whole.againMs / 1000) + delay;
          }
        },
      ),
    );
  });

  it('knows a TTL that was lowered ten minutes after it was', () => {
    const memory = new TtlMemory();
    let value = 0;
    for (let at = 0; at < 1500; at += 61.2) value = memory.take(new Map([['x/A', at < 300 ? 60 : 20]]), at * 1e6).ttl;
    expect(value).toBe(20);
  });

  it('is not sure after a pause in which the record may have been fetched long before', () => {
    const memory = new TtlMemory();
    memory.take(new Map([['x/A', 10]]), 0);
    expect(memory.take(new Map([['x/A', 40]]), 300e6)).toMatchObject({ bound: 'at-least' });
  });

  it('is sure only of all records on the way', () => {
    const memory = new TtlMemory();
    memory.take(new Map([['x/CNAME', 3], ['y/A', 50]]), 0); // prettier-ignore
    expect(memory.take(new Map([['x/CNAME', 300], ['y/A', 46]]), 4.2e6)).toMatchObject({ ttl: 300, bound: 'at-least' }); // prettier-ignore
  });
});

describe('messages', () => {
  it('never throw, whatever arrives', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (bytes, framed) => {
        const message = Buffer.from(bytes);
        const asked = encodeQuestion(7, NAME, 'A');
        asked.writeUInt16BE(0x8180, 2);
        asked.writeUInt16BE(0, 10);
        asked.writeUInt16BE(4, 6);
        const whole = framed ? Buffer.concat([asked.subarray(0, asked.length - 11), message]) : message;
        decodeAnswer(whole, 7, NAME, 'A');
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['10.0.0.2', { host: '10.0.0.2', port: 53 }],
    ['10.0.0.2:5353', { host: '10.0.0.2', port: 5353 }],
    ['::1', { host: '::1', port: 53 }],
    ['[::1]:5353', { host: '::1', port: 5353 }],
    ['ns-1.awsdns-01.com', { host: 'ns-1.awsdns-01.com', port: 53 }],
  ])('a resolver is written %s', (text, expected) => {
    expect(resolverAddress(text)).toEqual(expected);
  });

  it('names are taken as DNS knows them', () => {
    expect(plainName('bücher.example')).toBe('xn--bcher-kva.example');
    expect(plainName('_dmarc.Example.COM.')).toBe('_dmarc.example.com');
    expect([plainName(''), plainName('a..b'), plainName('x'.repeat(64))]).toEqual([null, null, null]);
  });
});
