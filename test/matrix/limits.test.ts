import { limitSuite } from '../support/limit-suite.js';
import { testedMajors } from '../support/majors.js';

for (const major of testedMajors) limitSuite(major);
