import { describe, expect, it } from 'vitest';
import type { LinkPlan } from '../../collectors/collector.js';
import { fenceReadiness } from '../../collectors/session/fence-readiness.js';
import type { Config } from '../../daemon/core/config.js';
import { load, small } from './config-inputs.js';

const BACK = 'reverse: { via: postgres-logical, subscription: back }';
const DMS = '{ via: dms, dms: { tasks: [ "arn:aws:dms:eu-west-1:1:task:X" ], region: eu-west-1 } }';

function plansOf(config: Config): LinkPlan[] {
  return [...config.migrations.values()].flatMap((m) =>
    Object.values(m.links).map((link): LinkPlan => {
      const [from, to] = [config.databases.get(link.from)!, config.databases.get(link.to)!];
      return { id: `${m.name}/${link.name}`, migration: m.name, config: link, from, to };
    }),
  );
}

function said(parts: Parameters<typeof small>[0], name = 'onprem'): string[] {
  const config = load(small(parts));
  return fenceReadiness(config.databases.get(name)!, plansOf(config)).map(
    (f) => `${f.level} ${f.signals.join()}: ${f.message} | ${f.remedy ?? ''}`,
  );
}

const onprem = (read: string) => `{ engine: postgres, url: "postgres://lockgate@localhost:5432/app", read: ${read} }`;

describe('whether a fence could be placed', () => {
  it.each([
    ['off', /^fault shop\.fence\.drained: no fence can be placed: .*\| set `read: on` for onprem/],
    ['auto', /^ok : a fence can be placed; its reader starts with it.*`read: on`/],
    ['on', /^ok : a fence can be placed, and its reader runs all the time/],
  ])('read: %s', (read, what) => {
    const found = said({ onprem: onprem(read), shop: BACK });
    expect(found).toEqual([expect.stringMatching(what)]);
  });

  it('is asked of the side that carries the writes only', () => {
    expect(said({ onprem: onprem('off'), shop: BACK }, 'aws')).toEqual([]);
  });

  it('names a missing way back, and what DMS writes to', () => {
    expect(said({})).toEqual([expect.stringMatching(/^ok/), expect.stringMatching(/^ok : no `reverse` link/)]);
    expect(said({ shop: `reverse: ${DMS}` })).toEqual([expect.stringMatching(/^warning shop\.fence\.drained: .*DMS/)]);
  });
});
