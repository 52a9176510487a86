import { startPostgresCutover } from '../support/cutover-postgres.js';
import { cutoverSuite } from '../support/cutover-suite.js';

cutoverSuite('18 -> 18, both ways at once', () => startPostgresCutover({ bothWays: true }));
cutoverSuite('13 -> 18, one direction at a time', () =>
  startPostgresCutover({ source: 13, target: 18, bothWays: false }),
);
