/** An open session with a database server, whatever its engine. */
export interface Session {
  /** Why it is no longer usable; null while it is. */
  readonly lost: Error | null;
  /** Ends the session; takes at most a second and never throws. */
  close(): Promise<void>;
}

/** Opens one; rejects with a classified error that names the database and says what to do. */
export type Open<S extends Session> = (signal: AbortSignal) => Promise<S>;
