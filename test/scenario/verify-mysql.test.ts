import { describe } from 'vitest';
import { testedFlavours } from '../support/flavours.js';
import { verifySuite } from '../support/verify/suite.js';

describe.each(testedFlavours)('verification from $flavour to $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('replicated by itself', () => verifySuite(flavour, ['kinds']));
});
