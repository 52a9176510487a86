import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect } from '../../collectors/mysql/connection.js';
import { SideIdentity, identified } from '../../collectors/session/side-identity.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { testedFlavours } from '../support/flavours.js';
import { databaseAt } from '../support/listening.js';
import { startMysqlPair, type MysqlPair } from '../support/mysql-pair.js';

const limit = 120_000;
const fetchLimit = 300_000;

describe.each(testedFlavours)('sessions of one side on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('that lead to two servers', () => {
    let pair: MysqlPair;
    beforeAll(async () => {
      pair = await startMysqlPair({ flavour });
    }, fetchLimit);
    afterAll(() => pair.destroy(), limit);

    it('are ended, all of them, and none is opened for a while', { timeout: limit }, async () => {
      const splits: string[] = [];
      const database = databaseAt('onprem', pair.source.adminUrl('app'));
      const identity = new SideIdentity({ ...database, engine: 'mysql' }, new SystemClock());
      identity.onSplit((what) => splits.push(what));
      const open = async (server: 'source' | 'target') =>
        await connect(
          identified({ ...databaseAt('onprem', pair[server].adminUrl('app')), engine: 'mysql' }, identity),
          { applicationName: 'lockgate/test/identity' },
        );
      const first = await open('source');
      const second = await open('source');
      await first.query('SELECT 1');
      expect(splits).toEqual([]);
      // As behind a proxy: the same entry leads elsewhere.
      const other = await open('target');
      await expect(first.query('SELECT 1')).rejects.toThrow(/lead to different servers at the same time/);
      expect(splits[0]).toMatch(/server id 1.*server id 2/);
      for (const session of [first, second, other]) expect(session.lost).toMatchObject({ code: 'mysql_split_side' });
      await expect(open('source')).rejects.toMatchObject({ code: 'mysql_split_side' });
      for (const session of [first, second, other]) await session.close();
    });
  });
});
