const pageBytes = 8_192n;
/** The longest header of a page of WAL. */
const headerBytes = 40n;

/**
 * The end of what has been written to the WAL, given how far it is flushed and where the next record is put. At the end of
 * a page the latter lies behind the next page's header already, although nothing is there yet, and nobody who follows the
 * WAL gets there before the next record.
 */
export function walEnd(flushed: bigint, insert: bigint): bigint {
  const nothingBetween = flushed % pageBytes === 0n && insert > flushed && insert - flushed <= headerBytes;
  return nothingBetween ? flushed : insert;
}
