import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Courier } from '../../alerts/courier.js';
import { baseOf, pagerDuty } from '../../alerts/pagerduty.js';
import { sinksOf, testSinks } from '../../alerts/sinks.js';
import { webhook } from '../../alerts/webhook.js';
import { changeEvent, incidentEvent, keyOf } from '../../daemon/alert-events.js';
import type { AlertEvent, AlertSink, Delivery } from '../../daemon/core/alert-event.js';
import type { Clock } from '../../daemon/core/clock.js';
import { SourceError } from '../../daemon/core/errors.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { TestSecret } from '../support/http-server.js';
import { PagerDuty, type Behaviour } from '../support/pagerduty.js';

const KEY = 'R0123456789abcdef0123456789abcdef';
const AT = Date.parse('2026-11-22T03:00:00Z');
const told = { at: AT, daemon: 'lockgate-a' };
const about = { migration: 'shop', name: 'lag-high', severity: 'critical' } as const;

const trigger = (): AlertEvent =>
  incidentEvent('trigger', about, 'the lag is high', { value: 42.5, reason: null, test: false }, told);
const resolve = (): AlertEvent => incidentEvent('resolve', about, 'it is over', { why: 'known to be false' }, told);
const change = (): AlertEvent => changeEvent('shop', 'direction forward -> reverse', { epoch: 2 }, told);

let pd: PagerDuty;
beforeEach(async () => {
  pd = await PagerDuty.start(KEY);
});
afterEach(() => pd.stop());

const sink = (secret = new TestSecret(KEY)): AlertSink =>
  pagerDuty({ routingKey: secret, region: 'us', endpoint: `${pd.url}/` }, () => AT);
const once = (event: AlertEvent, how: Behaviour = 'take', ms = 2_000): Promise<Delivery> => {
  pd.next.push(how);
  return sink().deliver(event, AbortSignal.timeout(ms));
};

describe('PagerDuty', () => {
  it('is sent what its API asks for', async () => {
    for (const event of [trigger(), resolve(), change()]) {
      expect(await sink().deliver(event, AbortSignal.timeout(2_000))).toMatchObject({ outcome: 'delivered' });
    }
    expect(pd.problems).toEqual([]);
    expect(pd.events).toEqual([
      {
        ...{ routing_key: KEY, event_action: 'trigger', dedup_key: 'lockgate/shop/lag-high', client: 'lockgate' },
        payload: {
          ...{ summary: '[shop] lag-high: the lag is high', source: 'lockgate-a', severity: 'critical' },
          ...{ timestamp: '2026-11-22T03:00:00.000Z', component: 'shop', group: 'shop', class: 'lag-high' },
          custom_details: { migration: 'shop', rule: 'lag-high', value: 42.5, reason: null, test: false },
        },
      },
      { routing_key: KEY, event_action: 'resolve', dedup_key: 'lockgate/shop/lag-high' },
    ]);
    expect(pd.changes).toMatchObject([
      { payload: { summary: '[shop] direction forward -> reverse', source: 'lockgate-a' } },
    ]);
    expect([...pd.open]).toEqual([]);
  });

  it('is reached where the region says, or elsewhere', () => {
    const config = { routingKey: new TestSecret(KEY), endpoint: null };
    expect(baseOf({ ...config, region: 'us' })).toBe('https://events.pagerduty.com');
    expect(baseOf({ ...config, region: 'eu' })).toBe('https://events.eu.pagerduty.com');
    expect(baseOf({ ...config, region: 'eu', endpoint: 'http://proxy/pd/' })).toBe('http://proxy/pd');
  });

  it('is sent nothing beyond its limits', async () => {
    const long = 'x'.repeat(600_000);
    const event = incidentEvent('trigger', { ...about, name: long }, long, { reason: long }, told);
    expect(event.key).toHaveLength(255);
    expect(event.key).not.toBe(keyOf('shop', `${long}y`));
    expect(await once(event)).toMatchObject({ outcome: 'delivered' });
    expect(await once({ ...change(), summary: long })).toMatchObject({ outcome: 'delivered' });
    expect(pd.problems).toEqual([]);
  });

  const retried = (reason: RegExp, afterMs: number | null = null) => ({
    ...{ outcome: 'retry', reason: expect.stringMatching(reason) as string, afterMs },
  });
  it.each<[string, Behaviour, object]>([
    ['202', 'take', { outcome: 'delivered', answer: expect.stringContaining('202 {"status":"success"') as string }],
    [
      '400',
      { status: 400, body: '{"status":"invalid event"}' },
      { outcome: 'refused', reason: 'it answered 400 {"status":"invalid event"}' },
    ],
    ['404', { status: 404 }, { outcome: 'refused', reason: 'it answered 404' }],
    [
      'a redirection',
      { status: 307, headers: { location: 'http://127.0.0.1:1/' } },
      { outcome: 'refused', reason: 'it answered 307' },
    ],
    ['429', { status: 429 }, retried(/it answered 429/)],
    ['429 with seconds', { status: 429, headers: { 'retry-after': '7' } }, retried(/429/, 7_000)],
    [
      '503 with a date',
      { status: 503, headers: { 'retry-after': 'Sun, 22 Nov 2026 03:00:30 GMT' } },
      retried(/503/, 30_000),
    ],
    ['503 with nonsense', { status: 503, headers: { 'retry-after': 'soon' } }, retried(/503/)],
    ['500', { status: 500 }, retried(/500/)],
    ['a reset', 'reset', retried(/ECONNRESET|socket hang up/)],
    ['half an answer', 'half', retried(/aborted/)],
    ['an endless answer', 'endless', retried(/^it answered 500 x+…$/)],
  ])('%s is understood', async (_what, how, expected) => {
    expect(await once(trigger(), how)).toEqual(expected);
  });

  it('that does not answer is given up', async () => {
    expect(await once(trigger(), 'silent', 100)).toEqual(retried(/no answer in time/));
    const { url } = pd;
    await pd.stop();
    const gone = pagerDuty({ routingKey: new TestSecret(KEY), region: 'us', endpoint: url }, () => AT);
    expect(await gone.deliver(trigger(), AbortSignal.timeout(2_000))).toEqual(retried(/ECONNREFUSED/));
    pd = await PagerDuty.start(KEY);
  });

  it('never has its key shown, which is read anew each time', async () => {
    const said = await once(trigger(), { status: 400, body: `no service has the key ${KEY}` });
    expect(said).toEqual({ outcome: 'refused', reason: 'it answered 400 no service has the key [secret]' });
    const secret = new TestSecret('old');
    const rotated = sink(secret);
    expect(await rotated.deliver(trigger(), AbortSignal.timeout(2_000))).toMatchObject({ outcome: 'refused' });
    secret.value = KEY;
    expect(await rotated.deliver(trigger(), AbortSignal.timeout(2_000))).toMatchObject({ outcome: 'delivered' });
    secret.reveal = () => {
      throw new SourceError('secret_gone', 'the file /run/key cannot be read', 'put it back');
    };
    // It may come back.
    expect(await rotated.deliver(trigger(), AbortSignal.timeout(2_000))).toEqual(
      retried(/^the file \/run\/key cannot be read; put it back$/),
    );
  });
});

describe('an address of one’s own', () => {
  const SECRET = 'hook-secret-of-the-test';
  let server: Server;
  let received: { headers: IncomingHttpHeaders; body: string }[];
  let status: number;
  beforeEach(async () => {
    received = [];
    status = 204;
    server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        received.push({ headers: request.headers, body });
        response.writeHead(status).end();
      });
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  });
  afterEach(() => new Promise((done) => server.close(done)));

  const url = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/hooks/T0ken?x=1`;

  /** As docs/alerts.md tells receivers to. */
  const verified = ({ headers, body }: (typeof received)[number], secret: string): boolean => {
    const timestamp = String(headers['x-lockgate-timestamp']);
    const expected = createHmac('sha256', secret).update(`${timestamp}.${body}`).digest();
    const given = Buffer.from(String(headers['x-lockgate-signature']).replace(/^v1=/, ''), 'hex');
    return given.length === expected.length && timingSafeEqual(given, expected);
  };

  it('is sent every event as signed JSON', async () => {
    const hook = webhook({ url: url(), secret: new TestSecret(SECRET) }, () => AT);
    const event = trigger();
    for (const e of [event, resolve(), change()]) {
      expect(await hook.deliver(e, AbortSignal.timeout(2_000))).toEqual({ outcome: 'delivered', answer: '204' });
    }
    expect(received.every((r) => verified(r, SECRET))).toBe(true);
    const [first] = received;
    expect(verified({ ...first!, body: first!.body.replace('critical', 'info') }, SECRET)).toBe(false);
    expect(verified(first!, 'another')).toBe(false);
    expect(first!.headers).toMatchObject({
      ...{ 'x-lockgate-timestamp': String(AT / 1000), 'idempotency-key': event.id, 'content-type': 'application/json' },
    });
    expect(received.map((r) => JSON.parse(r.body) as object)).toMatchObject([
      {
        ...{ version: 1, id: event.id, event: 'trigger', dedup_key: 'lockgate/shop/lag-high', daemon: 'lockgate-a' },
        ...{ at: '2026-11-22T03:00:00.000Z', migration: 'shop', rule: 'lag-high', severity: 'critical' },
        ...{ summary: '[shop] lag-high: the lag is high', details: { value: 42.5 } },
      },
      { event: 'resolve', dedup_key: 'lockgate/shop/lag-high' },
      { event: 'change', dedup_key: null, rule: null },
    ]);
  });

  it('is sent no signature without a secret, and its path is not shown', async () => {
    status = 410;
    const hook = webhook({ url: url(), secret: null }, () => AT);
    expect(await hook.deliver(trigger(), AbortSignal.timeout(2_000))).toEqual({
      outcome: 'refused',
      reason: 'it answered 410',
    });
    expect(received[0]!.headers['x-lockgate-signature']).toBeUndefined();
    await new Promise((done) => server.close(done));
    const said = await hook.deliver(trigger(), AbortSignal.timeout(2_000));
    expect(JSON.stringify(said)).toContain('ECONNREFUSED');
    expect(JSON.stringify(said)).not.toContain('T0ken');
    server.listen(0);
  });
});

/** A clock on which whatever is waited for comes a hundred times as soon. */
function hurried(): Clock {
  const real = new SystemClock();
  return {
    wallNow: () => real.wallNow(),
    monotonicNow: () => real.monotonicNow(),
    uptime: () => real.uptime(),
    sleep: (ms, signal) => real.sleep(ms / 100, signal),
  };
}

describe('sending over HTTP', () => {
  const courier = (warnings: string[], gaveUp: string[]): Courier => {
    const made = new Courier(
      {
        ...{ clock: hurried(), random: () => 0.5, warn: (message) => void warnings.push(message) },
        keeper: {
          keep: () => undefined,
          holds: () => false,
          gaveUp: (_, event, reason) => void gaveUp.push(`${event.kind}: ${reason}`),
        },
      },
      {},
    );
    made.use([sink()]);
    return made;
  };

  it('gets everything there in order, whatever happens on the way, and begins one incident', async () => {
    const [warnings, gaveUp]: [string[], string[]] = [[], []];
    const c = courier(warnings, gaveUp);
    const asked: Behaviour[] = [{ status: 429, headers: { 'retry-after': '3' } }, { status: 500 }, 'reset', 'silent'];
    pd.next.push(...asked, 'half', 'take and reset');
    c.add('pagerduty', trigger());
    c.send();
    await expect.poll(() => pd.events.length, { timeout: 5_000, interval: 5 }).toBe(2);
    c.add('pagerduty', change());
    c.add('pagerduty', resolve());
    c.send();
    await expect.poll(() => c.status[0]?.waiting, { timeout: 5_000 }).toBe(0);
    expect(pd.events.map((e) => e.event_action)).toEqual(['trigger', 'trigger', 'resolve']);
    expect([pd.begun, [...pd.open], pd.changes.length, pd.problems]).toEqual([1, [], 1, []]);
    // 3 s were asked for, at a hundredth.
    expect(pd.asked[1]!.at - pd.asked[0]!.at).toBeGreaterThan(29);
    expect(c.status).toEqual([
      expect.objectContaining({ delivered: 3, retried: 6, refused: 0, dropped: 0, lastError: null }),
    ]);
    expect(warnings).toHaveLength(1);
    expect(gaveUp).toEqual([]);
    await c.stop();
  });

  it('gives up what is refused, and goes on with the rest', async () => {
    const gaveUp: string[] = [];
    const c = courier([], gaveUp);
    pd.next.push({ status: 400, body: 'no' });
    c.add('pagerduty', trigger());
    c.add('pagerduty', change());
    c.send();
    await expect.poll(() => pd.changes.length, { timeout: 5_000 }).toBe(1);
    await sleep(20);
    expect(gaveUp).toEqual(['trigger: it answered 400 no']);
    expect(pd.asked).toHaveLength(2);
    await c.stop();
  });
});

describe('a test of the sinks', () => {
  it('begins and ends an incident that nobody can take for a real one', async () => {
    const clock = new SystemClock();
    const pagerduty = { routingKey: new TestSecret(KEY), region: 'us', endpoint: pd.url } as const;
    const sinks = sinksOf({ resolveAfterUs: 0, pagerduty, webhook: null, rules: [] }, clock);
    const answers = await testSinks(sinks, { daemon: 'a', id: 'x1' }, clock, new AbortController().signal);
    expect(answers.map((a) => `${a.sink} ${a.event} ${a.delivery.outcome}`)).toEqual([
      'pagerduty trigger delivered',
      'pagerduty resolve delivered',
    ]);
    expect(pd.problems).toEqual([]);
    expect(pd.events[0]).toMatchObject({
      ...{ dedup_key: 'lockgate/alerts-test/x1', payload: { severity: 'info', class: 'alerts-test' } },
    });
    expect(JSON.stringify(pd.events[0])).toContain('[TEST]');
    expect([...pd.open]).toEqual([]);
    expect(sinksOf(null, clock)).toEqual([]);
  });
});
