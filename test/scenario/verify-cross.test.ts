import { describe } from 'vitest';
import { testedFlavours } from '../support/flavours.js';
import { verifySuite } from '../support/verify/suite.js';

describe.each(testedFlavours)('verification from $flavour to PostgreSQL', ({ flavour, left }) => {
  describe.skipIf(left)('by a relay', () => verifySuite(flavour === 'mysql' ? 'cross' : 'cross-mariadb', ['kinds']));
});
