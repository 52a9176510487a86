/**
 * What verification asks of one database: its tables, digests of ranges of rows, and single rows by key. The engines
 * implement it; `collectors/verify` compares two of them without knowing which. Everything is computed inside the
 * database: only digests, keys and hashes travel, but for values that a person asked to see.
 */
import type { RowFilter } from '../../daemon/core/config.js';
import { LockgateError } from '../../daemon/core/errors.js';

/** A statement was ended because it took longer than it may; the range is to be cut smaller. */
export class TooSlow extends LockgateError {}

/** A table or column that was there when the plan was made is not, or is another one. */
export class ShapeChanged extends LockgateError {}

/** One database whose data is compared. */
export interface DataPort {
  readonly database: string;
  readonly engine: 'postgres' | 'mysql';
  /**
   * Opens a session that can only read, with everything pinned that decides how a value prints. Rejects with a
   * LockgateError that says what to do.
   */
  open(signal: AbortSignal): Promise<DataSession>;
}

/** What decides whether two servers print and hash equal rows alike. */
export interface DataTraits {
  flavour: 'postgres' | 'mysql' | 'mariadb';
  /** As the engine's own `connection.ts` numbers versions. */
  version: number;
  /** What the server makes of a fixed set of values by the native digest; where it differs, only the canonical form can be compared. */
  probe: string;
}

/** How long a statement may take; the server ends it, and it rejects with TooSlow. */
export interface Limit {
  readonly timeoutMs: number;
}

/** One session; its questions run one after the other. Aborting the signal it was opened with closes it. */
export interface DataSession {
  readonly traits: DataTraits;
  /** Why it cannot be used any more; null while it can. */
  readonly lost: Error | null;
  /**
   * All application tables (never lockgate's own, DMS's control tables, an extension's, views or temporary ones); a
   * partitioned table is one, named by its parent. With `only`, just those of these names that exist.
   */
  tables(limit: Limit, only?: readonly TableName[]): Promise<TableShape[]>;
  /** Statements that other clients are executing at this moment; replication and lockgate do not count. */
  running(limit: Limit): Promise<number>;
  /** What reads one table as `spec` says; asks nothing yet. */
  reader(spec: ReadSpec): TableReader;
  /** Takes at most a second and never throws. */
  close(): Promise<void>;
}

/** A table, by the names of its own database; a MySQL database is a schema. */
export interface TableName {
  readonly schema: string;
  readonly name: string;
}

/** A table as its catalog describes it. */
export interface TableShape extends TableName {
  readonly columns: readonly ColumnShape[];
  /** Unique keys all of whose columns are NOT NULL (no partial, deferrable or invalid ones), the primary key first, then by number of columns and name. */
  readonly keys: readonly KeyShape[];
  /** By the server's statistics; null when it has none. */
  readonly estimatedRows: number | null;
  readonly estimatedBytes: number | null;
  /** Why its rows cannot be read, with the grant that would mend it; null when they can. */
  readonly unreadable: string | null;
}

/** A unique key. */
export interface KeyShape {
  readonly name: string;
  readonly primary: boolean;
  readonly columns: readonly string[];
}

/** What kind of value a column holds; what has no kind of its own is `other`, which only the same engine can compare. */
export type TypeFamily =
  | 'integer'
  | 'decimal'
  | 'float4'
  | 'float8'
  | 'boolean'
  | 'text'
  | 'char'
  | 'bytes'
  | 'date'
  | 'time'
  | 'timestamp'
  | 'timestamptz'
  | 'json'
  | 'jsonb'
  | 'uuid'
  | 'enum'
  | 'bit'
  | 'year'
  | 'other';

/** A column as the catalog describes it. */
export interface ColumnShape {
  readonly name: string;
  /** As the server prints it with its modifiers, for example `numeric(12,2)`. */
  readonly type: string;
  readonly family: TypeFamily;
  readonly nullable: boolean;
  /**
   * What an index of this column is ordered by: `value` (numbers, dates, UUIDs and the like: the same on every server),
   * `bytes` (text by its bytes), or the collation with its version, which two servers must share to order alike; null
   * where it has no order.
   */
  readonly order: string | null;
  /** Set where the server can tell columns of a family further apart, for example `tinyint(1)`. */
  readonly detail?: string;
}

/** How a table is to be read on one side; columns and key columns are in the same order on both sides. */
export interface ReadSpec extends TableName {
  /**
   * `native`: the stored value, exactly, as this engine prints it; both sides are of one engine. `canonical`: the text form
   * by type family that both engines can make (docs/verification.md).
   */
  readonly form: 'native' | 'canonical';
  readonly columns: readonly ReadColumn[];
  /** Null: the table has no key that both sides share, and is read whole. */
  readonly key: readonly ReadKeyColumn[] | null;
  readonly where: readonly RowFilter[];
  /** What stands for values that one side cannot hold, by `zero_date`, `infinity` and the like; null is NULL. */
  readonly standIns: ReadonlyMap<string, string | null>;
}

/** A column that is compared. */
export interface ReadColumn {
  readonly shape: ColumnShape;
  /** In canonical form: the family that both sides are brought to. */
  readonly as: TypeFamily;
  /**
   * Set in canonical form for values that may be equal though their texts differ: `float4`, `float8` (6 and 15 significant
   * digits) and `json`. They take part in digests by their exact text, and are handed out by `marks` and `lookup`.
   */
  readonly soft: 'float4' | 'float8' | 'json' | null;
}

/** A column of the key. */
export interface ReadKeyColumn {
  readonly shape: ColumnShape;
  readonly as: TypeFamily;
  /** `index`: both sides order it alike, as their index does. `bytes`: by the bytes of its canonical text, which no index may serve. */
  readonly by: 'index' | 'bytes';
}

/** A key's values, one text for each column (bytes as `\x…`); the same text on both sides for the same key. */
export type Key = readonly string[];

/** Rows whose key is greater than `after` (null: from the first) and not greater than `upTo` (null: to the last); NULLs do not occur in keys. */
export interface KeyRange {
  readonly after: Key | null;
  readonly upTo: Key | null;
}

/** Of a table without a key: the rows whose hash falls into one of `of` buckets. `of` 1 is the whole table. */
export interface Bucket {
  readonly bucket: number;
  readonly of: number;
}

/** What a range of rows amounts to: equal texts mean equal multisets of rows. */
export interface Digest {
  rows: number;
  /** Independent of the order; differs for any other multiset of rows but for an accident of some 2^-64. */
  sum: string;
  /** Rows with a value that the other engine cannot hold and for which no stand-in is configured, by name of the column. */
  odd: Readonly<Record<string, number>>;
}

/**
 * One row without its values. Of a table without a key, all equal rows together: `key` is their hash and `hash` their
 * number.
 */
export interface RowMark {
  key: Key;
  /** Of all columns that are not soft. */
  hash: string;
  /** Exact texts of the soft columns, in their order; null is NULL. */
  soft: readonly (string | null)[];
  /**
   * Changes with every change of this row and never comes back (PostgreSQL's xmin); null where the server has no such
   * thing.
   */
  version: string | null;
}

/** Reads one table. Every method rejects with TooSlow, ShapeChanged, or a LockgateError for everything else. */
export interface TableReader {
  digest(range: KeyRange | Bucket, limit: Limit): Promise<Digest>;
  /** The key of the `n`-th row of the range in the order of the key (n from 1); null when it has fewer rows. */
  bound(range: KeyRange, n: number, limit: Limit): Promise<Key | null>;
  /** Rows of the range, at most `most`; in the order of the key where there is one. */
  marks(range: KeyRange | Bucket, most: number, limit: Limit): Promise<RowMark[]>;
  /** Those of the rows with these keys that are there; two for a key that is there twice. */
  lookup(keys: readonly Key[], limit: Limit): Promise<RowMark[]>;
  /** Of a table without a key: the digests of all `n` buckets in one scan. */
  buckets(n: number, limit: Limit): Promise<Digest[]>;
  /** The values of the rows with these keys as text, for a person who asked; by name of the column, null is NULL. */
  values(keys: readonly Key[], limit: Limit): Promise<{ key: Key; values: Record<string, string | null> }[]>;
}
