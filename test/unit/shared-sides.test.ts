import { describe, expect, it } from 'vitest';
import { SharedSides } from '../../collectors/session/shared-sides.js';
import { identityOf } from '../../collectors/session/side-identity.js';
import { FakeClock } from '../support/fake-clock.js';
import { databaseAt } from '../support/listening.js';

describe('the sides of a daemon', () => {
  const at = (name: string, port = 5432): ReturnType<typeof databaseAt> =>
    databaseAt(name, `postgres://lg:lg@db:${port}/app`);

  it('compare the sessions of whoever asks for the same database', () => {
    const sides = new SharedSides(new FakeClock());
    const identity = identityOf(sides.known(at('aws')));
    expect(identity).not.toBeNull();
    expect(identityOf(sides.known(at('aws')))).toBe(identity);
    expect(identityOf(sides.known(at('onprem')))).not.toBe(identity);
  });

  it('begin anew when the configuration says that it is somewhere else', () => {
    const sides = new SharedSides(new FakeClock());
    const before = identityOf(sides.known(at('aws')));
    const after = identityOf(sides.known(at('aws', 5433)));
    expect(after).not.toBe(before);
    expect(identityOf(sides.known(at('aws', 5433)))).toBe(after);
  });
});
