/** `PRAGMA application_id` of a lockgate store ("lkgt"), so that another program's database is never taken for ours. */
export const APPLICATION_ID = 0x6c6b6774;

/**
 * One script per schema version, applied in order and never changed once released; the version reached is kept in
 * `PRAGMA user_version`.
 */
export const MIGRATIONS: readonly string[] = [
  // AUTOINCREMENT: an id that was pruned must not be handed out again, because clients page by it.
  `
  CREATE TABLE journal (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at NUMERIC NOT NULL,
    kind TEXT NOT NULL,
    migration TEXT,
    gate TEXT,
    actor TEXT NOT NULL,
    by_whom TEXT,
    data TEXT NOT NULL
  );
  CREATE INDEX journal_at ON journal (at);
  CREATE INDEX journal_kind ON journal (kind, migration, gate);
  CREATE TABLE attestation (
    migration TEXT NOT NULL,
    name TEXT NOT NULL,
    at NUMERIC NOT NULL,
    by_whom TEXT NOT NULL,
    note TEXT NOT NULL,
    actor TEXT NOT NULL,
    PRIMARY KEY (migration, name)
  );
  CREATE TABLE hold (
    gate TEXT NOT NULL,
    condition TEXT NOT NULL,
    held_since NUMERIC NOT NULL,
    observed_until NUMERIC NOT NULL,
    PRIMARY KEY (gate, condition)
  );
  CREATE TABLE named_value (key TEXT PRIMARY KEY, value TEXT NOT NULL);
  `,
];

/** The newest schema this build can read and write. */
export const SCHEMA_VERSION = MIGRATIONS.length;
