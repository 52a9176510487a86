import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { BAD, ENV, problemsIn, problemsOf, small } from './config-inputs.js';

const fixtures = readdirSync(BAD)
  .filter((f) => f.endsWith('.yaml'))
  .map((f) => f.slice(0, -'.yaml'.length));

describe('every bad configuration is refused with its places and what would be right', () => {
  // NAME.yaml and, beside it, NAME.txt: exactly what `config check` prints.
  it.each(fixtures)('%s', (name) => {
    const expected = readFileSync(join(BAD, `${name}.txt`), 'utf8').trimEnd();
    expect(expected).not.toBe('');
    expect(problemsOf(`${name}.yaml`).join('\n')).toBe(expected);
  });

  it('and never with a secret', () => {
    const all = fixtures.flatMap((f) => problemsOf(`${f}.yaml`)).join('\n');
    for (const secret of [...Object.values(ENV).filter((v) => v !== ''), 'hunter2']) expect(all).not.toContain(secret);
  });
});

describe('problems', () => {
  it('are all reported at once, in the order of the text', () => {
    const text = small({
      onprem: '{ engine: postgre, url: "postgres://l:${env:NOT_SET}@db/app" }',
      shop: 'gates:\n  a: { require: forward.lag < 2 }\n  b: { require: [], gap: 1s }\npromotions: manual',
      top: 'daemon: { listen: nowhere }\nstore: { retain: -1d }',
    });
    expect(problemsIn(text).map((p) => p.split(': ').slice(0, 2).join(': '))).toEqual([
      'lockgate.yaml:2:21: databases.onprem.engine',
      'lockgate.yaml:2:49: databases.onprem.url',
      'lockgate.yaml:10:35: migrations.shop.gates.a.require',
      'lockgate.yaml:11:21: migrations.shop.gates.b.require',
      'lockgate.yaml:11:25: migrations.shop.gates.b.gap',
      'lockgate.yaml:12:5: migrations.shop.promotions',
      'lockgate.yaml:13:19: daemon.listen',
      'lockgate.yaml:14:18: store.retain',
    ]);
  });

  it('do not follow from one another: a broken part still counts as being there', () => {
    const text = small({
      forward: '{ via: postgres-logica, subscription: s }',
      shop: 'reverse: 3\ngates: 4',
      top: 'gates: { all: { require: [ shop.reverse.lag < 2s ] } }',
    });
    expect(problemsIn(text)).toEqual([
      'lockgate.yaml:8:21: migrations.shop.forward.via: expected `postgres-logical`, `postgres-physical`, `mysql`, `dms` or `none`, found `postgres-logica`',
      'lockgate.yaml:9:14: migrations.shop.reverse: expected a mapping, found a number',
      'lockgate.yaml:10:12: migrations.shop.gates: expected a mapping of gates, found a number',
    ]); // prettier-ignore
  });

  it.each([
    ['a plain scalar', '- forward.lag < 2', 25],
    ['a quoted scalar', '- "forward.lag < 2"', 26],
    ['a single-quoted scalar', "- 'forward.lag < 2'", 26],
    ['white space in front', '- "  forward.lag   <    2"', 33],
    ['escapes, which move everything: the scalar itself', '- "forward.lag\\t< 2"', 11],
  ])('of a condition stand at the offending word of %s', (_, entry, column) => {
    const [problem] = problemsIn(small({ shop: `gates:\n  a:\n    require:\n    ${entry}` }));
    expect(problem).toContain(`lockgate.yaml:12:${String(column)}: `);
  });

  it('point into the place that an alias stands for', () => {
    const text = small({ shop: 'gates:\n  a: &a { require: forward.lag < 2 }\n  b: *a' });
    expect(problemsIn(text)).toEqual([expect.stringMatching(/^lockgate\.yaml:10:38: /)]);
    expect(problemsIn(small({ shop: 'gates: *nowhere' }))[0]).toContain('there is no anchor `&nowhere`');
  });

  it('count columns after placeholders as written', () => {
    const text = small({ top: 'daemon: { id: ${env:EMPTY}, listen: nowhere }' });
    expect(problemsIn(text)).toEqual([
      expect.stringMatching(/^lockgate\.yaml:9:15: daemon\.id: the environment variable EMPTY is empty/),
      expect.stringMatching(/^lockgate\.yaml:9:37: daemon\.listen: this is not an address/),
    ]);
  });
});
