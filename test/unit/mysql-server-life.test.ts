import { expect, it } from 'vitest';
import { startOf } from '../../collectors/mysql/server-life.js';

it.each([
  ['1000', '10', '990'],
  ['1000', '0', '1000'],
  // The clock was set back by 744 s after 10 s.
  ['266', String(2n ** 64n - 734n), '1000'],
])('at %s with an uptime of %s a server was started at %s', (now, uptime, started) => {
  expect(startOf(now, uptime)).toBe(started);
});
