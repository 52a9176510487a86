/** Everything that one client, or all of them together, may take of the server; a monitor must not be brought down by its readers. */
export const LIMITS = {
  /** Sockets; more than all waiters and event clients together, so that these can never crowd out `check`. */
  connections: 2_048,
  /** A whole request header, the request line included. */
  headerBytes: 16_384,
  urlLength: 2_048,
  bodyBytes: 16_384,
  /** A request must have arrived in full after this. */
  requestTimeoutMs: 30_000,
  headersTimeoutMs: 10_000,
  keepAliveTimeoutMs: 72_000,
  /** Clients that wait for a gate or a fence, together. */
  waiters: 1_000,
  waitDefaultMs: 60_000,
  waitMaxMs: 600_000,
  eventClients: 200,
  /** What may lie unsent for one event client before it is cut off. */
  eventBacklogBytes: 1_048_576,
  /** A client that hears nothing for three of these takes the daemon for lost. */
  eventHeartbeatMs: 1_000,
  /** Seconds a client that was turned away for lack of room is asked to wait. */
  retryAfterSeconds: 5,
  pageDefault: 100,
  pageMax: 1_000,
  historyDefaultMs: 3_600_000,
  historyMaxMs: 7 * 86_400_000,
  /** Points of a chart when the client asks for no particular step. */
  historyPointsDefault: 360,
  historyPointsMax: 11_000,
  byLength: 200,
  noteLength: 2_000,
  reasonLength: 500,
  idempotencyKeyLength: 128,
  /** Tables that one pass can be asked for by name. */
  verifyTables: 1_000,
  /** Rows whose values are shown at once. */
  verifyRows: 20,
  fenceDeadlineDefaultMs: 60_000,
  fenceDeadlineMinMs: 1_000,
  fenceDeadlineMaxMs: 3_600_000,
} as const;
