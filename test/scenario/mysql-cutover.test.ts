import { describe } from 'vitest';
import { startMysqlCutover } from '../support/cutover-mysql.js';
import { cutoverSuite } from '../support/cutover-suite.js';
import { testedFlavours } from '../support/flavours.js';

describe.each(testedFlavours)('on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('both ways at once', () => {
    cutoverSuite(flavour, () => startMysqlCutover({ flavour }));
  });
});
