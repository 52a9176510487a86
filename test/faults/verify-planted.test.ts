import { describe } from 'vitest';
import { everyFlavour } from '../support/flavours.js';
import { verifySuite } from '../support/verify/suite.js';

describe('every difference on PostgreSQL', () => verifySuite('postgres'));

describe.each(everyFlavour)('every difference on $flavour', ({ flavour, left }) => {
  describe.skipIf(left)('replicated by itself', () => verifySuite(flavour));
  describe.skipIf(left)('to PostgreSQL', () => verifySuite(flavour === 'mysql' ? 'cross' : 'cross-mariadb'));
});
