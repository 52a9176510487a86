import fc from 'fast-check';
import { parseMysqlGtidSet } from '../../../daemon/core/gtid.js';
import { describe, expect, it } from 'vitest';
import {
  breakChain,
  clearChain,
  continuityReading,
  foldChain,
  newChain,
  type ChainFacts,
  type ChainMemory,
} from '../../../daemon/core/continuity.js';
import { lsnOf, type Position } from '../../../daemon/core/position.js';
import { stateAt } from '../../../daemon/core/signal.js';

const lsn = (n: number | bigint): Position => ({ kind: 'lsn', lsn: BigInt(n) });
const facts = (over: Partial<ChainFacts> = {}): ChainFacts => ({ identities: [], positions: [], broken: [], ...over });
const system = (value: string): Partial<ChainFacts> => ({
  identities: [{ key: 'source.system', what: 'the system', value }],
});
const at = (n: number, life?: string): Partial<ChainFacts> => ({
  positions: [{ key: 'source', what: 'the WAL', position: lsn(n), ...(life === undefined ? {} : { life }) }],
});
const driven = (n: number, driver: string, life = 'l'): Partial<ChainFacts> => ({
  driven: [{ key: 'origin', what: 'the origin', position: lsn(n), driver, life, still: 'nothing was applied' }],
});
const counted = (value: number, life = 'l'): Partial<ChainFacts> => ({
  counters: [{ key: 'slot', fallen: 'the slot was made anew', value, life }],
});
const guarded = (value: string, watch: string, life = 'l'): Partial<ChainFacts> => ({
  guarded: [{ key: 'row', unwatched: 'it was altered unwatched', value, watch, life }],
});
const flawed = (...members: string[]): Partial<ChainFacts> => ({
  flaws: [
    {
      key: 'uncopied',
      what: 'taken up without rows:',
      members: members.map((id) => ({ id, name: id.replace(/'+$/, '') })),
    },
  ],
});
const gone: Partial<ChainFacts> = { broken: ['slot s is missing'] };

/** Folds looks, one a second, over a memory that goes through JSON in between, as over restarts. */
function fold(
  looks: Partial<ChainFacts>[],
  from: ChainMemory = newChain(0),
): { memory: ChainMemory; news: string[][] } {
  const news: string[][] = [];
  let memory = from;
  looks.forEach((look, n) => {
    const folded = foldChain(memory, facts(look), n * 1_000);
    memory = JSON.parse(JSON.stringify(folded.memory)) as ChainMemory;
    news.push(folded.news.map((b) => b.what));
  });
  return { memory, news };
}

it('takes the empty set of GTIDs for a place that one can be moved from by hand', () => {
  const set = (text: string, driver = 'd'): Partial<ChainFacts> => ({
    driven: [{ key: 'purged', what: 'gtid_purged', position: { kind: 'gtid', set: parseMysqlGtidSet(text) }, driver, life: 'l', still: 'nothing was purged' }], // prettier-ignore
  });
  const some = '3e11fa47-71ca-11e1-9e33-c80aa9429562:1-3';
  expect(fold([set(''), set('')]).news).toEqual([[], []]);
  expect(fold([set(''), set(some, 'other')]).news).toEqual([[], []]);
  expect(fold([set(some), set('')]).news).toEqual([[], []]);
  expect(fold([set(''), set(some)]).news[1]).toEqual([`gtid_purged moved from nothing to ${some} by hand: nothing was purged`]); // prettier-ignore
});

describe('a look at a chain', () => {
  it.each<[string, Partial<ChainFacts>[], string[][]]>([
    ['same identity', [system('a'), system('a')], [[], []]],
    ['another identity', [system('a'), system('b')], [[], ['the system changed from a to b']]],
    [
      'an identity that is not seen for a while',
      [system('a'), {}, system('b')],
      [[], [], ['the system changed from a to b']],
    ],
    [
      'and back again',
      [system('a'), system('b'), system('a')],
      [[], ['the system changed from a to b'], ['the system changed from b to a']],
    ],
    ['a position that rises or stays', [at(5), at(5), at(9)], [[], [], []]],
    ['one that goes back, told once', [at(9), at(5), at(6)], [[], ['the WAL went back from 0/9 to 0/5'], []]],
    [
      'and goes back again',
      [at(9), at(5), at(3)],
      [[], ['the WAL went back from 0/9 to 0/5'], ['the WAL went back from 0/5 to 0/3']],
    ],
    ['what another life may take back', [at(9, 'a'), at(5, 'b')], [[], []]],
    ['and not the same one', [at(9, 'a'), at(5, 'a')], [[], ['the WAL went back from 0/9 to 0/5']]],
    ['driven by replication', [driven(5, 'x'), driven(9, 'y')], [[], []]],
    [
      'moved by hand',
      [driven(5, 'x'), driven(9, 'x')],
      [[], ['the origin moved from 0/5 to 0/9 by hand: nothing was applied']],
    ],
    ['not moved', [driven(5, 'x'), driven(5, 'x')], [[], []]],
    ['a way back is for rising positions', [driven(9, 'x'), driven(5, 'x')], [[], []]],
    ['a driver of another life', [driven(5, 'x', 'a'), driven(9, 'x', 'b')], [[], []]],
    ['a counter that rises', [counted(3), counted(3), counted(4)], [[], [], []]],
    ['a counter that fell', [counted(3), counted(2)], [[], ['the slot was made anew']]],
    ['a counter of another life', [counted(3, 'a'), counted(0, 'b')], [[], []]],
    ['what is altered while it is watched', [guarded('x', 'a'), guarded('y', 'a')], [[], []]],
    ['what stays as it is while nobody looks', [guarded('x', 'a'), guarded('x', 'b')], [[], []]],
    [
      'what is altered while nobody looks',
      [guarded('x', 'a'), {}, guarded('y', 'b'), guarded('y', 'c')],
      [[], [], ['it was altered unwatched'], []],
    ],
    ['another one in its place', [guarded('x', 'a', 'l'), guarded('y', 'b', 'm')], [[], []]],
    [
      'flaws, each member once',
      [flawed('a'), flawed('a'), flawed('a', 'b')],
      [['taken up without rows: a'], [], ['taken up without rows: b']],
    ],
    ['a flaw that went and came', [flawed('a'), flawed(), flawed('a')], [['taken up without rows: a'], [], []]],
    [
      'another flaw of the same name',
      [flawed('a', 'b'), flawed('a', "b'")],
      [['taken up without rows: a, b'], ['taken up without rows: b']],
    ],
    [
      'many flaws',
      [flawed(...Array.from('abcdefghijklm'))],
      [['taken up without rows: a, b, c, d, e, f, g, h, i, j and 3 more']],
    ],
    ['a break that lasts, told once', [gone, gone, {}], [['slot s is missing'], [], []]],
  ])('%s', (_, looks, news) => {
    expect(fold(looks).news).toEqual(news);
  });
});

describe('a broken chain', () => {
  it('stays broken, whatever is seen afterwards, until it is cleared', () => {
    const { memory } = fold([system('a'), system('b'), system('b')]);
    expect(continuityReading(memory, 7, 3)).toMatchObject({ value: 0, freshUs: Infinity });
    expect(continuityReading(memory, 7, 3).reason).toMatch(
      /the system changed from a to b \(1970.*continuity-accepted/,
    );
    const cleared = clearChain(memory, Infinity, 9_000);
    expect(cleared).toMatchObject({ since: 9_000, breaks: [], identities: { 'source.system': 'b' } });
    expect(continuityReading(cleared, 7, 3)).toMatchObject({ value: 1, freshUs: 3 });
    expect(fold([system('b')], cleared).memory.breaks).toEqual([]);
  });

  it('is not cleared by a verification that began before the break', () => {
    const { memory } = fold([gone]);
    expect(clearChain(memory, 0, 9).breaks).toHaveLength(1);
    expect(clearChain(memory, 1, 9).breaks).toHaveLength(0);
  });

  it('that is accepted while it lasts is broken again at the next look; a flaw that stays is not', () => {
    const both = { ...gone, ...flawed('a') };
    const { memory } = fold([both]);
    expect(memory.breaks).toHaveLength(2);
    expect(fold([both], clearChain(memory, Infinity, 1)).news).toEqual([['slot s is missing']]);
  });

  it('keeps the first breaks, and what finds no room is no news at every look', () => {
    const many = { broken: Array.from({ length: 30 }, (_, n) => `break ${n}`) };
    const { memory, news } = fold([many, many]);
    expect(memory.breaks.map((b) => b.what)).toEqual(many.broken.slice(0, 20));
    expect(news.map((n) => n.length)).toEqual([20, 0]);
    expect(breakChain(memory, ['one more'], 5).news).toEqual([]);
    expect(breakChain(newChain(0), ['found elsewhere'], 5).news).toEqual([{ at: 5, what: 'found elsewhere' }]);
  });

  it('before the first look is unknown, and stale once nobody looks', () => {
    expect(continuityReading(null, 0, 3)).toMatchObject({ value: null });
    const whole = continuityReading(newChain(0), 0, 3);
    expect([stateAt(whole, 3), stateAt(whole, 4)]).toEqual(['ok', 'stale']);
  });
});

describe('any sequence of looks', () => {
  const look = fc.record({
    identities: fc
      .subarray(['a', 'b'])
      .chain((keys) =>
        fc.tuple(...keys.map((key) => fc.constantFrom('1', '2').map((value) => ({ key, what: key, value })))),
      ),
    positions: fc.option(fc.nat(9), { nil: undefined }).map((n) => (n === undefined ? [] : (at(n).positions ?? []))),
    broken: fc.subarray(['x', 'y']),
  });

  it('is broken exactly when something changed, went back, or was broken, and only the news are told', () => {
    fc.assert(
      fc.property(fc.array(look, { maxLength: 12 }), (looks) => {
        const { memory, news } = fold(looks);
        const last = new Map<string, string>();
        let highest: bigint | null = null;
        let broken = false;
        for (const { identities, positions, broken: clauses } of looks) {
          broken ||= clauses.length > 0;
          for (const { key, value } of identities) {
            broken ||= last.has(key) && last.get(key) !== value;
            last.set(key, value);
          }
          for (const { position } of positions) {
            broken ||= highest !== null && lsnOf(position) < highest;
            highest = lsnOf(position);
          }
        }
        expect(memory.breaks.length > 0).toBe(broken);
        expect(news.flat()).toEqual(memory.breaks.map((b) => b.what));
        // A look that says the same again is no news.
        const again = looks.at(-1);
        if (again !== undefined) expect(foldChain(memory, facts(again), 99).news).toEqual([]);
      }),
    );
  });
});
