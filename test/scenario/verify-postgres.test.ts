import { describe } from 'vitest';
import { verifySuite } from '../support/verify/suite.js';

describe('verification from PostgreSQL 18 to PostgreSQL 18', () => verifySuite('postgres', ['kinds', 'logs']));
