/** The clocks of a pair's servers are wrong; more about its surroundings is in test/faults/environment.test.ts. */
import { clockSuite } from '../support/clock-suite.js';
import { testedMajors } from '../support/majors.js';

for (const major of testedMajors) clockSuite(major, { source: 744, target: -744 });
