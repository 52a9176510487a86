import { describe, expect, it } from 'vitest';
import { TableChooser } from '../../daemon/core/table-pattern.js';
import {
  chosenSequences,
  compareSequences,
  listedBehind,
  type SequencePosition,
  type SequenceState,
} from '../../collectors/postgres/sequences.js';

const at = (last: number, called = true): SequencePosition => ({ last: BigInt(last), called });
const sequence = (position: SequencePosition | null, increment = 1, name = 's'): SequenceState => ({
  schema: 'public',
  name,
  owner: null,
  increment: BigInt(increment),
  position,
});

describe('sequences of two sides', () => {
  it.each([
    ['the passive side was never called', sequence(at(10)), sequence(at(1, false)), /next 1, used up to 10/],
    ['neither was ever called', sequence(at(1, false)), sequence(at(1, false)), null],
    ['equal', sequence(at(10)), sequence(at(10)), null],
    ['one short', sequence(at(10)), sequence(at(9)), /next 10, used up to 10/],
    ['ahead', sequence(at(10)), sequence(at(5000)), null],
    ['restarted right after the last', sequence(at(10)), sequence(at(11, false)), null],
    ['restarted at the last', sequence(at(10)), sequence(at(10, false)), /next 10/],
    ['the active side was restarted higher', sequence(at(1000, false)), sequence(at(1, false)), /used up to 999/],
    ['descending, behind', sequence(at(-10), -1), sequence(at(-1, false), -1), /next -1, used up to -10/],
    ['descending, ahead', sequence(at(-10), -1), sequence(at(-20), -1), null],
    ['steps of 50, ahead', sequence(at(101), 50), sequence(at(101), 50), null],
    ['other steps, behind', sequence(at(100), 1), sequence(at(90), 10), /next 100/],
    ['other steps, ahead', sequence(at(100), 1), sequence(at(91), 10), null],
    ['the other way round', sequence(at(10)), sequence(at(5000), -1), /other way/],
    ['beyond 2^53', sequence({ last: 9007199254740993n, called: true }), sequence(at(9007199254740991)), /40992/],
  ])('%s', (_, active, passive, reason) => {
    const { behind } = compareSequences([active], [passive], 'aws');
    if (reason === null) expect(behind).toEqual([]);
    else expect(behind[0]?.reason).toMatch(reason);
  });

  it('counts one that only the active side has, and not the reverse', () => {
    expect(compareSequences([sequence(at(1))], [], 'aws').behind[0]?.reason).toMatch(/no such sequence on aws/);
    expect(compareSequences([], [sequence(at(1))], 'aws').behind).toEqual([]);
  });

  it('tells what may not be read from what was never called', () => {
    const judged = compareSequences(
      [sequence(null), sequence(at(1), 1, 'b')],
      [sequence(at(1)), sequence(null, 1, 'b')],
      'aws',
    );
    expect(judged.behind).toEqual([]);
    expect(judged.hidden.active.map((s) => s.name)).toEqual(['s']);
    expect(judged.hidden.passive.map((s) => s.name)).toEqual(['b']);
  });

  it('goes by the tables that they belong to', () => {
    const owned = { ...sequence(at(1)), owner: { schema: 'public', name: 'sessions' } };
    const chooser = new TableChooser({ include: ['public.*'], exclude: ['public.sessions'] });
    expect(chosenSequences([owned, sequence(at(1), 1, 'free')], chooser).map((s) => s.name)).toEqual(['free']);
  });

  it('names ten and counts the others', () => {
    const many = Array.from({ length: 12 }, (_, i) => ({ schema: 'a', name: `s${i + 10}`, reason: 'x' }));
    expect(listedBehind(many)).toMatch(/^a\.s10: x; .*a\.s19: x; and 2 more$/);
    expect(listedBehind([])).toBeNull();
  });
});
