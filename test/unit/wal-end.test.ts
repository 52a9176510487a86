import { describe, expect, it } from 'vitest';
import { walEnd } from '../../collectors/postgres/wal-end.js';

describe('the end of the WAL', () => {
  it.each([
    ['where the next record is put', 100n, 200n, 200n],
    ['the same when all is flushed', 200n, 200n, 200n],
    ['the end of a page, when nothing but the next page’s header lies beyond', 8_192n, 8_216n, 8_192n],
    ['so too at the first page of a file, whose header is longer', 16_777_216n, 16_777_256n, 16_777_216n],
    ['beyond the header once the least of records is there', 8_192n, 8_240n, 8_240n],
    ['beyond an end of a page that is not flushed', 8_000n, 8_216n, 8_216n],
  ])('is %s', (_, flushed, insert, end) => {
    expect(walEnd(flushed, insert)).toBe(end);
  });
});
