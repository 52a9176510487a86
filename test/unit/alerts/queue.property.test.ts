/** The queue of a sink, against a sink that takes, loses, or takes without saying so, over restarts. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Queue } from '../../../alerts/queue.js';
import type { AlertEvent } from '../../../daemon/core/alert-event.js';

let made = 0;
const event = (kind: AlertEvent['kind'], key: string): AlertEvent => {
  made += 1;
  return {
    ...{ kind, id: String(made), key, at: made, daemon: 'a', migration: 'shop', rule: key, severity: 'error' },
    ...{ summary: '', details: {} },
  };
};

const key = fc.constantFrom('k1', 'k2', 'k3');
const op = fc.oneof(
  fc.record({ do: fc.constantFrom('trigger' as const, 'resolve' as const), key }),
  fc.record({ do: fc.constant('begin' as const), key }),
  fc.record({
    do: fc.constantFrom('taken' as const, 'lost' as const, 'taken unsaid' as const, 'restart' as const),
    key,
  }),
);

/** What a sink has made of what it took. */
class Taker {
  readonly open = new Set<string>();
  readonly newest = new Map<string, number>();

  take({ kind, key: k, at }: AlertEvent): void {
    // An older one may come again, but never after a newer one of its incident.
    expect(at).toBeGreaterThanOrEqual(this.newest.get(k) ?? 0);
    this.newest.set(k, at);
    if (kind === 'trigger') this.open.add(k);
    else this.open.delete(k);
  }
}

describe('what waits for a sink', () => {
  it('ends with what is true, in order, whatever is lost and whenever the daemon restarts', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(fc.array(op, { maxLength: 40 }), (ops) => {
        let queue = new Queue();
        let flying: AlertEvent | null = null;
        const taker = new Taker();
        const firing = new Map<string, boolean>();
        const end = (how: 'taken' | 'lost' | 'taken unsaid'): void => {
          if (flying === null) return;
          seen.add(how);
          if (how !== 'lost') taker.take(flying);
          if (how === 'taken') queue.done(flying.id);
          else queue.failed(flying.id);
          flying = null;
        };
        for (const o of ops) {
          switch (o.do) {
            case 'trigger':
            case 'resolve':
              // An alert resolves only what it has told.
              if (o.do === 'resolve' && firing.get(o.key) !== true) break;
              queue.add(event(o.do, o.key));
              firing.set(o.key, o.do === 'trigger');
              break;
            case 'begin':
              flying ??= queue.next();
              if (flying !== null) queue.begin(flying.id);
              break;
            case 'restart': {
              if (flying !== null) seen.add('restart while on its way');
              // What was on its way may have been taken.
              if (flying !== null && ops.length % 2 === 0) taker.take(flying);
              flying = null;
              queue = new Queue(JSON.parse(JSON.stringify(queue.memory)) as typeof queue.memory);
              break;
            }
            default:
              end(o.do);
          }
          expect(queue.length).toBeLessThanOrEqual(9);
        }
        end('taken');
        for (let next = queue.next(); next !== null; next = queue.next()) {
          queue.begin(next.id);
          taker.take(next);
          queue.done(next.id);
        }
        for (const [k, fires] of firing) expect(taker.open.has(k), k).toBe(fires);
      }),
      { numRuns: 2_000 },
    );
    expect([...seen].sort()).toEqual(['lost', 'restart while on its way', 'taken', 'taken unsaid']);
  });

  it('calls nobody for an incident that was over before anybody could be told', () => {
    const queue = new Queue();
    queue.add(event('trigger', 'k1'));
    queue.add(event('resolve', 'k1'));
    expect(queue.memory.map((e) => e.kind)).toEqual(['resolve']);
    queue.done(queue.next()!.id);
    const trigger = event('trigger', 'k1');
    queue.add(trigger);
    queue.begin(trigger.id);
    queue.add(event('resolve', 'k1'));
    // While it is on its way nothing else of it is sent; once that fails it is not tried again.
    expect(queue.next()).toBeNull();
    queue.failed(trigger.id);
    expect(queue.next()?.kind).toBe('resolve');
    expect(queue.length).toBe(1);
  });

  it('is held up by no event that always fails', () => {
    const queue = new Queue();
    const [poison, other] = [event('trigger', 'k1'), event('trigger', 'k2')];
    queue.add(poison);
    queue.add(other);
    expect(queue.next()).toBe(poison);
    queue.begin(poison.id);
    queue.failed(poison.id);
    expect(queue.next()).toBe(other);
  });

  it('is bounded: changes go first, then triggers, a resolve last of all', () => {
    const queue = new Queue([], 3);
    const [resolve, trigger, change] = [event('resolve', 'k1'), event('trigger', 'k2'), event('change', 'c')];
    expect([resolve, trigger, change].flatMap((e) => queue.add(e))).toEqual([]);
    expect(queue.add(event('trigger', 'k3'))).toEqual([change]);
    expect(queue.add(event('trigger', 'k4'))).toEqual([trigger]);
    expect(queue.memory.map((e) => e.kind)).toEqual(['resolve', 'trigger', 'trigger']);
  });
});
