import { describe, expect, it } from 'vitest';
import type { GateState } from '../../../daemon/http/port.js';
import { askedOf, conditionWords } from '../../../daemon/live/condition-words.js';
import { headline, presentGate, railOf, topGates } from '../../../daemon/live/rail.js';
import { gateShown, worstState } from '../../../daemon/live/shown.js';
import { fence } from '../../support/fake-port.js';
import { condition, later, liveModel, NOW, verdictOfNow, type Said } from '../../support/live-model.js';

const PRESET = [
  'decommission',
  'ramp',
  'drained',
  'flip-writes',
  'shift-reads',
  'verified',
  'replicated',
  'target-ready',
];

function world(states: Partial<Record<string, GateState>>, said: Partial<Said> = {}) {
  const names = [...PRESET, 'rollback-ready', 'own'];
  const verdicts = names.map((name) => verdictOfNow(`shop/${name}`, { state: states[name] ?? 'closed' }));
  const model = liveModel({ verdicts: [...verdicts, verdictOfNow('all-shards', {})], ...said });
  return { model, migration: model.migrations.get('shop')! };
}

describe('the rail', () => {
  it('has the phases of the runbook in their order, then what goes in any phase, then all others', () => {
    const { model, migration } = world({});
    expect(railOf(migration).map(({ number, gates }) => [number, ...gates])).toEqual([
      [1, 'target-ready'],
      [2, 'replicated'],
      [3, 'verified'],
      [4, 'shift-reads'],
      [5, 'flip-writes', 'drained'],
      [6, 'ramp'],
      [7, 'decommission'],
      [null, 'rollback-ready'],
      [null, 'own'],
    ]);
    expect(topGates(model)).toEqual(['all-shards']);
  });

  const open = { 'target-ready': 'open', replicated: 'open', verified: 'open' } as const;
  it.each<[string, Partial<Record<string, GateState>>, Partial<Said>, string]>([
    ['the first that may not be left', { 'target-ready': 'open', replicated: 'unknown' }, {}, 'replicated'],
    [
      'the flip, when all before it is open',
      { ...open, 'shift-reads': 'open', 'flip-writes': 'open' },
      {},
      'flip-writes',
    ],
    ['the fence, while one is there', open, { fences: [fence('f1', 'placed')] }, 'drained'],
    [
      'no fence that has ended',
      open,
      { fences: [fence('f1', 'expired', { ended_at: '2026-11-22T01:00:00Z' })] },
      'shift-reads',
    ],
    ['the ramp, after the flip', open, { migration: { direction: 'reverse' } }, 'ramp'],
    ['the ramp still, when it is open', { ramp: 'open' }, { migration: { direction: 'reverse' } }, 'ramp'],
    ['the end', { ramp: 'open', decommission: 'open' }, { migration: { direction: 'reverse' } }, 'decommission'],
  ])('knows what matters now: %s', (_name, states, said, gate) => {
    const { model, migration } = world(states, said);
    expect(presentGate(model, migration, NOW)).toBe(gate);
  });

  it('says it in a sentence', () => {
    const lag = condition('forward.lag < 1s for 10s', 'broken', { value: 3.66, needs_seconds: 10 });
    const model = liveModel({
      verdicts: [
        verdictOfNow('shop/flip-writes', {
          state: 'closed',
          conditions: [condition('forward.running is 1', 'held'), lag],
        }),
        verdictOfNow('shop/own', { state: 'open' }),
        verdictOfNow('shop/ramp', {
          state: 'closed',
          opens_at: new Date(NOW.wallMs + 90_000).toISOString(),
          conditions: [condition('forward.lag < 1s for 2m', 'holding', { held_seconds: 30, needs_seconds: 120 })],
        }),
      ],
    });
    const say = (gate: string, now = NOW): string => headline(gateShown(model, gate, now));
    expect(say('shop/flip-writes')).toBe('Phase 5: may writes flip? CLOSED because lag 3.66 s, needs < 1s');
    expect(say('shop/own')).toBe('Is own open? OPEN');
    expect(say('shop/ramp')).toBe(
      'Phase 6: may more traffic move? CLOSED because lag 400 ms, held 30s of 2m; could open in 1m 30s',
    );
    expect(say('shop/own', later(5_000))).toBe('Is own open? UNKNOWN because connection lost, as of 02:00:00Z');
  });

  it('takes the worst of several', () => {
    expect(worstState(['open', 'open'])).toBe('open');
    expect(worstState(['open', 'closed'])).toBe('closed');
    expect(worstState(['closed', 'unknown', 'open'])).toBe('unknown');
    expect(worstState([])).toBe('unknown');
  });
});

describe('a condition', () => {
  it.each<[string, ReturnType<typeof askedOf>]>([
    ['forward.lag < 2s for 10m', { signal: 'forward.lag', fn: null, op: '<', threshold: 2, thresholdText: '2s' }],
    [
      'forward.lag under 500 ms for 10 min',
      { signal: 'forward.lag', fn: null, op: '<', threshold: 0.5, thresholdText: '500 ms' },
    ],
    [
      'p99(forward.lag, 5m) <= 1m30s',
      { signal: 'forward.lag', fn: 'p99', op: '<=', threshold: 90, thresholdText: '1m30s' },
    ],
    [
      'forward.backlog_bytes < 16MiB',
      { signal: 'forward.backlog_bytes', fn: null, op: '<', threshold: 16 * 1024 ** 2, thresholdText: '16MiB' },
    ],
    ['verify.coverage >= 100%', { signal: 'verify.coverage', fn: null, op: '>=', threshold: 1, thresholdText: '100%' }],
    ['forward.running is 1', { signal: 'forward.running', fn: null, op: '==', threshold: 1, thresholdText: '1' }],
    ['gate verified open for 5m', null],
    ['nonsense', null],
  ])('is read back: %s', (text, asked) => expect(askedOf(text)).toEqual(asked));

  it.each([
    [condition('forward.lag < 2s', 'held'), 'lag 400 ms'],
    [condition('reverse.running is 1', 'broken', { value: 0, unit: '0/1' }), 'reverse running no, needs yes'],
    [condition('p99(forward.lag, 5m) < 1s', 'broken', { value: 3 }), 'p99 of lag 3 s, needs < 1s'],
    [condition('forward.lag < 2s', 'unknown', { reason: 'the source is away' }), 'lag unknown: the source is away'],
    [condition('gate verified open', 'broken', { value: null, unit: '' }), 'gate verified open not so'],
  ])('in words', (c, words) => expect(conditionWords(c)).toBe(words));
});
