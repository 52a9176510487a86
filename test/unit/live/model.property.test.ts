import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GateState } from '../../../daemon/http/port.js';
import { apply } from '../../../daemon/live/apply.js';
import { SILENCE_MS } from '../../../daemon/live/connection.js';
import { heard, look, lose, nothing, opened, opening, type Model, type Resource } from '../../../daemon/live/model.js';
import { receive } from '../../../daemon/live/receive.js';
import { FRESH_MS, fenceShown, gateShown, signalShown } from '../../../daemon/live/shown.js';
import type { Frame } from '../../../daemon/live/sse.js';
import { Telling } from '../../../daemon/telling.js';
import { fence, signal, verdict } from '../../support/fake-port.js';

const GATE = 'shop/flip-writes';
/** An event may be dated so much later than the clock can be before that is noticed. */
const DRIFT_MS = 250;

type Step =
  | { do: 'pass'; ms: number; looks: boolean }
  | { do: 'truth'; state: GateState }
  | { do: 'tell' }
  | { do: 'deliver'; frames: number }
  | { do: 'drop' }
  | { do: 'again'; which: number }
  | { do: 'open' }
  | { do: 'connect' }
  | { do: 'ask'; resource: Resource }
  | { do: 'answer' }
  | { do: 'cut' }
  | { do: 'comment' }
  | { do: 'set-server-clock'; ms: number }
  | { do: 'set-client-clock'; ms: number };

const EVERYTHING: Resource[] = [
  'gates',
  'migrations',
  'journal',
  'signals:shop',
  'verify:shop',
  'fences:shop',
  'lag:shop/forward',
];

/** A daemon, what lies between, and a client; time moves only by steps. */
class World {
  ms = 1_000_000;
  serverOffset = 5_000_000;
  wallOffset = 9_000_000;
  truth: GateState = 'closed';
  /** The truth by time: from when on it was so. */
  past: { from: number; state: GateState }[] = [{ from: 0, state: 'closed' }];
  queue: Frame[] = [];
  sent: Frame[] = [];
  asked: { resource: Resource; sentMs: number; answer: { status: number; json: unknown } }[] = [];
  model: Model = nothing(this.now());
  moved = false;
  readonly telling = new Telling(
    {
      migrations: () => ['shop'],
      signals: () => [signal('forward.lag', 0.5)],
      gates: () => [GATE],
      verdict: () => this.verdict(),
    },
    {
      publish: (event, data) => this.send(event, data),
      pass: (event, data) => this.send(event, data),
    },
  );

  now() {
    return { monotonicMs: this.ms, wallMs: this.ms + this.wallOffset };
  }

  verdict() {
    const since = new Date(this.past.at(-1)!.from).toISOString();
    const at = new Date(this.ms + this.serverOffset).toISOString();
    return { ...verdict(GATE, this.truth), since, evaluated_at: at };
  }

  send(event: string, data: unknown): void {
    const frame = { event, id: null, data: JSON.stringify(data) };
    this.queue.push(frame);
    this.sent.push(frame);
  }

  answer(resource: Resource): unknown {
    switch (resource) {
      case 'gates':
        return { gates: [this.verdict()] };
      case 'migrations': {
        const side = {
          database: 'a',
          reachable: true,
          writable: true,
          stray_writes: { count: 0, first_at: null, first_position: null },
        };
        return {
          migrations: [
            {
              name: 'shop',
              direction: 'forward',
              links: { forward: {} },
              sides: { source: side, target: side },
              gates: [],
            },
          ],
        };
      }
      case 'journal':
        return { entries: [] };
      case 'signals:shop':
        return { signals: [signal('forward.lag', 0.5)] };
      case 'verify:shop':
        return { tables: [] };
      case 'fences:shop':
        return { fences: [fence('f1', 'drained')] };
      default:
        return { points: [] };
    }
  }

  async step(s: Step): Promise<void> {
    switch (s.do) {
      case 'pass':
        this.ms += s.ms;
        if (s.looks) this.model = look(this.model, this.now());
        break;
      case 'truth':
        if (s.state === this.truth) break;
        this.truth = s.state;
        this.past.push({ from: this.ms, state: s.state });
        this.send('gate', { gate: GATE, from: 'unknown', to: s.state, verdict: this.verdict() });
        break;
      case 'tell':
        this.telling.tell();
        await Promise.resolve();
        break;
      case 'deliver':
        for (const frame of this.queue.splice(0, s.frames)) this.model = apply(this.model, frame, this.now());
        break;
      case 'drop':
        this.queue.shift();
        break;
      case 'again': {
        const frame = this.sent[s.which % Math.max(1, this.sent.length)];
        if (frame !== undefined) this.model = apply(this.model, frame, this.now());
        break;
      }
      case 'open':
        this.model = opened(opening(this.model, this.now()), null, this.now());
        this.queue = [];
        break;
      case 'connect':
        await this.connect();
        break;
      case 'ask':
        this.asked.push({
          resource: s.resource,
          sentMs: this.ms,
          answer: { status: 200, json: this.answer(s.resource) },
        });
        break;
      case 'answer': {
        const one = this.asked.shift();
        if (one !== undefined) this.model = receive(this.model, one.resource, one.answer, one.sentMs, this.now());
        break;
      }
      case 'cut':
        this.model = lose(this.model, 'cut', this.now());
        break;
      case 'comment':
        this.model = heard(this.model, this.now());
        break;
      case 'set-server-clock':
        this.serverOffset += s.ms;
        this.moved = true;
        break;
      case 'set-client-clock':
        this.wallOffset += s.ms;
        break;
    }
  }

  /** Opens and fetches everything at once. */
  async connect(): Promise<void> {
    await this.step({ do: 'open' });
    for (const resource of EVERYTHING) {
      await this.step({ do: 'ask', resource });
      while (this.asked.length > 0) await this.step({ do: 'answer' });
    }
  }

  shown(): GateState {
    return gateShown(this.model, GATE, this.now()).state;
  }

  /** Whether it was so at any moment of the last `ms`. */
  wasTrue(state: GateState, ms: number): boolean {
    const from = this.ms - ms;
    return this.past.some((p, i) => p.state === state && (this.past[i + 1]?.from ?? Infinity) >= from);
  }
}

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('pass' as const),
      ms: fc.oneof(fc.nat(900), fc.nat(900), fc.nat(900), fc.nat(6_000)),
      looks: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('truth' as const),
      state: fc.constantFrom<GateState>('open', 'closed', 'unknown'),
    }),
  },
  { weight: 5, arbitrary: fc.constant<Step>({ do: 'tell' }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant('deliver' as const), frames: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'drop' }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('again' as const), which: fc.nat(100) }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'open' }) },
  { weight: 4, arbitrary: fc.constant<Step>({ do: 'connect' }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('ask' as const), resource: fc.constantFrom(...EVERYTHING) }) },
  { weight: 2, arbitrary: fc.constant<Step>({ do: 'answer' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'cut' }) },
  { weight: 2, arbitrary: fc.constant<Step>({ do: 'comment' }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('set-server-clock' as const),
      ms: fc.integer({ min: -20_000, max: 20_000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('set-client-clock' as const),
      ms: fc.integer({ min: -20_000, max: 20_000 }),
    }),
  },
);

describe('what a client shows', () => {
  it('is never open when it was not open within the last seconds, whatever arrives, late, twice, in any order or never', async () => {
    let opens = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), fc.boolean(), async (steps, open) => {
        const world = new World();
        if (open) await world.step({ do: 'truth', state: 'open' });
        await world.connect();
        for (const s of steps) {
          await world.step(s);
          // Calls that only draw change nothing, and judge by their own time.
          if (world.shown() !== 'open') continue;
          opens += 1;
          // A clock that was set while an event was on its way makes that look younger, by no more than a silence.
          const bound = FRESH_MS + (world.moved ? DRIFT_MS + SILENCE_MS : 0);
          expect(world.wasTrue('open', bound)).toBe(true);
          expect(world.model.connection.state).toBe('live');
        }
      }),
      { numRuns: 2_000 },
    );
    expect(opens).toBeGreaterThan(500);
  });

  it('is what the daemon says last, while everything arrives in its order', async () => {
    let checked = 0;
    const quiet = step.filter((s) => ['truth', 'tell', 'pass'].includes(s.do) && (s.do !== 'pass' || s.ms < 2_900));
    await fc.assert(
      fc.asyncProperty(fc.array(quiet, { maxLength: 60 }), async (steps) => {
        const world = new World();
        await world.connect();
        for (const s of steps) {
          await world.step(s);
          await world.step({ do: 'tell' });
          await world.step({ do: 'deliver', frames: 99 });
          expect(world.shown()).toBe(world.truth);
          checked += 1;
        }
      }),
      { numRuns: 300 },
    );
    expect(checked).toBeGreaterThan(1_000);
  });

  it('is not open once time has passed without a word, although nobody looked', async () => {
    const world = new World();
    await world.step({ do: 'truth', state: 'open' });
    await world.connect();
    expect(world.shown()).toBe('open');
    world.ms += FRESH_MS;
    expect(world.shown()).toBe('open');
    world.ms += 1;
    expect(gateShown(world.model, GATE, world.now())).toMatchObject({ state: 'unknown', opensIn: null });
    expect(gateShown(world.model, GATE, world.now()).doubt).toContain('connection lost, as of ');
    expect(signalShown(world.model, 'shop', 'forward.lag', world.now())).toMatchObject({
      state: 'unknown',
      value: null,
    });
    expect(fenceShown(world.model, 'shop', world.now())).toMatchObject({ state: 'unknown', fence: { id: 'f1' } });
  });

  it('is not open although comments keep coming, when verdicts do not', async () => {
    const world = new World();
    await world.step({ do: 'truth', state: 'open' });
    await world.connect();
    for (let n = 0; n < 8; n += 1) {
      world.ms += 500;
      await world.step({ do: 'comment' });
    }
    expect(world.model.connection.state).toBe('live');
    expect(world.shown()).toBe('unknown');
  });

  it('is lost after a sleep, and what was kept meanwhile does not count', async () => {
    const world = new World();
    await world.step({ do: 'truth', state: 'open' });
    await world.connect();
    await world.step({ do: 'tell' });
    // The monotonic clock stood still.
    world.wallOffset += 60_000;
    await world.step({ do: 'deliver', frames: 9 });
    expect(world.model.connection).toMatchObject({
      state: 'lost',
      reason: 'this machine was asleep, or its clock was set',
    });
    expect(world.shown()).toBe('unknown');
    await world.step({ do: 'tell' });
    await world.step({ do: 'deliver', frames: 9 });
    expect(world.shown()).toBe('unknown');
    await world.connect();
    expect(world.shown()).toBe('open');
  });

  it('is not what was said earlier and arrives later', async () => {
    const world = new World();
    await world.step({ do: 'truth', state: 'open' });
    await world.step({ do: 'tell' });
    const early = world.queue.splice(0);
    await world.connect();
    world.ms += 10;
    await world.step({ do: 'truth', state: 'closed' });
    await world.step({ do: 'deliver', frames: 9 });
    expect(world.shown()).toBe('closed');
    for (const frame of early) world.model = apply(world.model, frame, world.now());
    expect(world.shown()).toBe('closed');
    // Nor what was asked earlier and is answered later.
    world.asked.push({
      resource: 'gates',
      sentMs: world.ms - 20,
      answer: {
        status: 200,
        json: {
          gates: [
            { ...verdict(GATE, 'open'), evaluated_at: new Date(world.ms - 15 + world.serverOffset).toISOString() },
          ],
        },
      },
    });
    await world.step({ do: 'answer' });
    expect(world.shown()).toBe('closed');
  });

  it('is as old as a slow answer may be', async () => {
    const world = new World();
    await world.step({ do: 'truth', state: 'open' });
    await world.step({ do: 'open' });
    for (const resource of EVERYTHING.filter((r) => r !== 'gates')) {
      await world.step({ do: 'ask', resource });
      await world.step({ do: 'answer' });
    }
    await world.step({ do: 'ask', resource: 'gates' });
    for (let n = 0; n < 4; n += 1) {
      world.ms += 1_000;
      await world.step({ do: 'comment' });
    }
    await world.step({ do: 'answer' });
    expect(world.model.connection.state).toBe('live');
    expect(world.shown()).toBe('unknown');
  });

  it('is unknown when the clock of the daemon was set, until it was asked anew', async () => {
    for (const ms of [3_600_000, -3_600_000]) {
      const world = new World();
      await world.step({ do: 'truth', state: 'open' });
      await world.connect();
      world.serverOffset += ms;
      world.ms += 4_000;
      world.model = { ...world.model, heardMs: world.ms, looked: world.now() };
      await world.step({ do: 'tell' });
      await world.step({ do: 'deliver', frames: 9 });
      expect(world.shown()).toBe('unknown');
      await world.step({ do: 'ask', resource: 'gates' });
      await world.step({ do: 'answer' });
      await world.step({ do: 'tell' });
      await world.step({ do: 'deliver', frames: 9 });
      expect(world.shown()).toBe('open');
    }
  });

  it('is not the word of a stream that is far behind', async () => {
    const world = new World();
    await world.step({ do: 'truth', state: 'open' });
    await world.connect();
    // Everything arrives steadily, and four seconds late.
    const late: Frame[][] = [];
    for (let n = 0; n < 10; n += 1) {
      await world.step({ do: 'tell' });
      late.push(world.queue.splice(0));
      for (const frame of late.length > 4 ? late.shift()! : []) world.model = apply(world.model, frame, world.now());
      world.model = heard(world.model, world.now());
      if (n > 4) expect(world.shown()).toBe('unknown');
      world.ms += 1_000;
    }
    expect(world.model.connection.state).toBe('live');
  });

  it('understands nothing that contradicts itself or is no event of lockgate', async () => {
    for (const data of [
      'nonsense',
      '[]',
      JSON.stringify({ gate: GATE, to: 'open', verdict: { ...verdict(GATE, 'closed') } }),
      JSON.stringify({ gate: 'shop/other', to: 'open', verdict: verdict(GATE, 'open') }),
    ]) {
      const world = new World();
      await world.connect();
      world.model = apply(world.model, { event: 'gate', id: null, data }, world.now());
      expect(world.model.connection.state).toBe('lost');
    }
    const world = new World();
    await world.step({ do: 'truth', state: 'open' });
    await world.connect();
    const odd = { ...world.verdict(), state: 'open', open: false };
    world.model = apply(
      world.model,
      { event: 'gate', id: null, data: JSON.stringify({ gate: GATE, to: 'open', verdict: odd }) },
      world.now(),
    );
    expect(gateShown(world.model, GATE, world.now()).state).toBe('unknown');
  });
});
