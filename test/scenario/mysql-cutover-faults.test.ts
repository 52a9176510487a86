import { afterAll, beforeAll, beforeEach, describe } from 'vitest';
import { startMysqlCutover, type MysqlCutover, type MysqlCutoverOptions } from '../support/cutover-mysql.js';
import { Night } from '../support/cutover-night.js';
import { promotionRaces } from '../support/cutover-races.js';
import {
  byCoordinates,
  halfCarried,
  interrupted,
  openTransactions,
  outOfOrder,
  wayBack,
} from '../support/cutover-stuck.js';
import { twoDaemons } from '../support/cutover-two.js';
import { testedFlavours } from '../support/flavours.js';

/** Cutovers that go wrong on the real servers; each case leaves the pair as it found it. */
describe.each(testedFlavours)('a cutover that goes wrong on $flavour', { timeout: 180_000 }, ({ flavour, left }) => {
  const begin = async (options: Omit<MysqlCutoverOptions, 'flavour'>): Promise<Night<MysqlCutover>> => {
    const night = new Night(await startMysqlCutover({ flavour, ...options }));
    await night.timeline.of('flip-writes').until(['open'], 60_000);
    return night;
  };
  /** Also after a case that has failed in the midst of a fault. */
  const ready = async (night: Night<MysqlCutover>): Promise<void> => {
    const { pair, wayBackProxy } = night.bed;
    wayBackProxy.thaw();
    await pair.sourceProxy.restore();
    await pair.startReplica().catch(() => pair.attach());
    await night.tidy();
  };
  const end = async (night: Night<MysqlCutover>): Promise<void> => {
    await night.timeline.stop();
    await night.bed.destroy();
  };

  describe.skipIf(left)('both ways at once', () => {
    let night: Night<MysqlCutover>;

    beforeAll(async () => {
      // A replica that applies out of order, as far as the flavour lets it.
      const targetSettings =
        flavour === 'mysql'
          ? { replica_parallel_workers: '4', replica_preserve_commit_order: 'OFF' }
          : { slave_parallel_threads: '4', slave_parallel_mode: 'optimistic' };
      night = await begin({ targetSettings });
    }, 300_000);
    afterAll(() => end(night), 60_000);
    beforeEach(() => ready(night));

    openTransactions(() => night);
    halfCarried(() => night);
    interrupted(() => night);
    promotionRaces(() => night);
    wayBack(() => night);
    twoDaemons(() => night);
    outOfOrder(() => night);
  });

  // On MariaDB there are always GTIDs.
  describe.skipIf(left || flavour === 'mariadb')('without GTIDs', () => {
    let night: Night<MysqlCutover>;

    beforeAll(async () => {
      night = await begin({ gtid: false });
    }, 300_000);
    afterAll(() => end(night), 60_000);
    beforeEach(() => ready(night));

    byCoordinates(() => night);
  });
});
