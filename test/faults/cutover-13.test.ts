import { afterAll, afterEach, beforeAll, describe } from 'vitest';
import { everyMajor } from '../support/cutover-everywhere.js';
import { PostgresNight } from '../support/postgres-night.js';

describe('fences that must not drain, 13 -> 18, one direction at a time', { timeout: 180_000 }, () => {
  let night: PostgresNight;

  beforeAll(async () => {
    night = await PostgresNight.start({ source: 13, target: 18, bothWays: false });
  }, 120_000);
  afterEach(() => night.tidy());
  afterAll(() => night.stop(), 60_000);

  everyMajor(() => night);
});
