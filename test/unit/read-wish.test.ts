import { describe, expect, it } from 'vitest';
import { ReadWish } from '../../collectors/mysql/read-wish.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { contextOf, databaseAt } from '../support/listening.js';

const database = (read: DatabaseConfig['read']): DatabaseConfig => ({
  ...databaseAt('onprem', 'mysql://u:p@127.0.0.1:1/app'),
  engine: 'mysql',
  read,
});

describe('whether a binlog is to be read', () => {
  it.each([
    ['auto', true, false, true],
    ['auto', false, false, false],
    ['auto', false, true, true],
    ['auto', null, true, true],
    ['auto', null, false, false],
    ['on', false, false, true],
    ['off', false, true, false],
    ['off', true, true, false],
  ] as const)('read: %s, passive %s, watched closely %s: %s', (read, passive, closely, wanted) => {
    const context = {
      ...contextOf(),
      isPassive: () => passive,
      watchClosely: (name: string) => closely && name === 'onprem',
    };
    expect(new ReadWish(database(read), context).now().wanted).toBe(wanted);
  });

  it('ends when nobody watches closely any more', () => {
    let closely = true;
    const context = { ...contextOf(), isPassive: () => false, watchClosely: () => closely };
    const wish = new ReadWish(database('auto'), context);
    expect(wish.now()).toEqual({ wanted: true });
    closely = false;
    expect(wish.now()).toMatchObject({ wanted: false });
  });
});
