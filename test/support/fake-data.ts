/** Databases in memory: a side that is written to, one that applies the writes later, and everything that can go wrong. */
import type { Us } from '../../daemon/core/clock.js';
import { TransientError } from '../../daemon/core/errors.js';
import {
  ShapeChanged,
  TooSlow,
  type Bucket,
  type ColumnShape,
  type DataPort,
  type DataSession,
  type DataTraits,
  type Digest,
  type Key,
  type KeyRange,
  type Limit,
  type ReadSpec,
  type RowMark,
  type TableName,
  type TableReader,
  type TableShape,
  type TypeFamily,
} from '../../collectors/verify/port.js';
import type { LinkGauge } from '../../collectors/verify/verifier.js';
import type { FakeClock } from './fake-clock.js';

export type Values = Readonly<Record<string, string | null>>;

interface StoredRow {
  values: Values;
  version: string;
}

/** A column; integers sort by value unless told otherwise. */
export function column(name: string, family: TypeFamily = 'text', more: Partial<ColumnShape> = {}): ColumnShape {
  const order = family === 'integer' ? 'value' : family === 'text' ? 'bytes' : null;
  return { name, type: family, family, nullable: true, order, ...more };
}

/** A table of an integer key and one text, unless told otherwise. */
export function table(name: string, more: Partial<TableShape> = {}): TableShape {
  return {
    schema: 'public',
    name,
    columns: [column('id', 'integer', { nullable: false }), column('v')],
    keys: [{ name: `${name}_pkey`, primary: true, columns: ['id'] }],
    estimatedRows: null,
    estimatedBytes: null,
    unreadable: null,
    ...more,
  };
}

/** A question that a side was asked, as tests look at it. */
export interface Asked {
  what: string;
  table: string;
  at: Us;
  rows: number;
}

interface StoredTable {
  shape: TableShape;
  rows: Map<string, StoredRow>;
  /** Changes with every change of a row. */
  changes: number;
  /** The rows in the order of a key, as they were after so many changes. */
  sorted: { changes: number; spec: ReadSpec; rows: { r: StoredRow; key: Key }[] } | null;
}

/** What a fake database does to whoever asks. */
export interface FakeNature {
  /** Of each question, half before and half after it looks. */
  latencyUs: (random: () => number) => Us;
  perRowUs: number;
  /** Chances by question. */
  losesSession: number;
  tooSlow: number;
  failsToOpen: number;
  versions: boolean;
}

const CALM: FakeNature = {
  latencyUs: () => 1_000,
  perRowUs: 1,
  losesSession: 0,
  tooSlow: 0,
  failsToOpen: 0,
  versions: true,
};

let identity = 0;

export class FakeDatabase implements DataPort {
  readonly tablesByName = new Map<string, StoredTable>();
  readonly asked: Asked[] = [];
  readonly nature: FakeNature;
  /** Sessions that are open now. */
  open_ = 0;
  runningNow = 0;
  /** Statements that were ended, and sessions that were lost so far. */
  slow = 0;
  losses = 0;
  /** Questions under way, and the most that ever were at once. */
  busy = 0;
  most = 0;
  down = false;
  /** Called just before a question looks. */
  before: (what: string) => void = () => undefined;
  probe = 'probe';
  #versions = 0;

  constructor(
    readonly database: string,
    private readonly clock: FakeClock,
    nature: Partial<FakeNature> = {},
    readonly engine: 'postgres' | 'mysql' = 'postgres',
    private readonly random: () => number = Math.random,
    /** Brings everything up to date before anybody looks. */
    public pump: () => void = () => undefined,
  ) {
    this.nature = { ...CALM, ...nature };
  }

  create(shape: TableShape, rows: readonly Values[] = []): void {
    this.tablesByName.set(nameOf(shape), { shape, rows: new Map(), changes: 0, sorted: null });
    for (const row of rows) this.put(shape, row);
  }

  drop(name: TableName): void {
    this.tablesByName.delete(nameOf(name));
  }

  /** Inserts or replaces; in a table without a key it always inserts. */
  put(name: TableName, values: Values): void {
    const stored = this.stored(name);
    this.#versions += 1;
    stored.changes += 1;
    stored.rows.set(this.#identity(stored.shape, values), { values, version: String(this.#versions) });
  }

  delete(name: TableName, key: Key): void {
    const stored = this.stored(name);
    stored.changes += 1;
    stored.rows.delete(JSON.stringify(key));
  }

  get(name: TableName, key: Key): Values | undefined {
    return this.stored(name).rows.get(JSON.stringify(key))?.values;
  }

  stored(name: TableName): StoredTable {
    const stored = this.tablesByName.get(nameOf(name));
    if (stored === undefined) throw new ShapeChanged('no_table', `no table ${nameOf(name)}`);
    return stored;
  }

  async open(signal: AbortSignal): Promise<DataSession> {
    await this.clock.sleep(this.nature.latencyUs(this.random) / 1000, signal);
    if (this.down || this.random() < this.nature.failsToOpen) throw new TransientError('down', 'connection refused');
    if (signal.aborted) throw new TransientError('aborted', 'aborted');
    this.open_ += 1;
    return new FakeSession(this, this.clock, this.random, signal);
  }

  #identity(shape: TableShape, values: Values): string {
    const key = shape.keys[0];
    if (key === undefined) return `row ${(identity += 1)}`;
    return JSON.stringify(key.columns.map((c) => values[c] ?? ''));
  }
}

function nameOf({ schema, name }: TableName): string {
  return `${schema}.${name}`;
}

class FakeSession implements DataSession {
  lost: Error | null = null;
  #closed = false;

  constructor(
    readonly db: FakeDatabase,
    private readonly clock: FakeClock,
    private readonly random: () => number,
    private readonly signal: AbortSignal,
  ) {}

  get traits(): DataTraits {
    return { flavour: this.db.engine, version: 1, probe: this.db.probe };
  }

  tables(limit: Limit, only?: readonly TableName[]): Promise<TableShape[]> {
    return this.ask('tables', '', limit, () => {
      const all = [...this.db.tablesByName.values()].map((t) => t.shape);
      return { rows: 0, answer: all.filter((t) => only === undefined || only.some((o) => nameOf(o) === nameOf(t))) };
    });
  }

  running(limit: Limit): Promise<number> {
    return this.ask('running', '', limit, () => ({ rows: 0, answer: this.db.runningNow }));
  }

  reader(spec: ReadSpec): TableReader {
    return new FakeReader(this, spec);
  }

  close(): Promise<void> {
    if (!this.#closed) this.db.open_ -= 1;
    this.#closed = true;
    this.lost ??= new TransientError('closed', 'the session was closed');
    return Promise.resolve();
  }

  /** Takes the time that a question takes, and looks in the middle of it. */
  async ask<T>(what: string, table: string, limit: Limit, look: () => { rows: number; answer: T }): Promise<T> {
    this.db.busy += 1;
    this.db.most = Math.max(this.db.most, this.db.busy);
    try {
      return await this.#ask(what, table, limit, look);
    } finally {
      this.db.busy -= 1;
    }
  }

  async #ask<T>(what: string, table: string, limit: Limit, look: () => { rows: number; answer: T }): Promise<T> {
    const { db, clock, signal } = this;
    const lost = this.lost;
    if (lost !== null) throw lost;
    const latency = db.nature.latencyUs(this.random);
    await clock.sleep(latency / 2000, signal);
    if (signal.aborted) throw new TransientError('aborted', 'aborted');
    if (db.down || this.random() < db.nature.losesSession) {
      db.losses += 1;
      this.lost = new TransientError('lost', 'the connection was lost');
      throw this.lost;
    }
    db.pump();
    db.before(what);
    const { rows, answer } = look();
    db.asked.push({ what, table, at: clock.monotonicNow(), rows });
    const restMs = latency / 2000 + (rows * db.nature.perRowUs) / 1000;
    // A server that stutters does so for seconds, not for half a minute.
    const stutters = limit.timeoutMs < 30_000 && this.random() < db.nature.tooSlow;
    if (what !== 'tables' && (restMs > limit.timeoutMs || stutters)) {
      db.slow += 1;
      await clock.sleep(stutters ? limit.timeoutMs : Math.min(restMs, limit.timeoutMs), signal);
      throw new TooSlow('too_slow', `${what} took too long`);
    }
    await clock.sleep(restMs, signal);
    if (isAborted(signal)) throw new TransientError('aborted', 'aborted');
    return answer;
  }
}

/** Read through a function, because the compiler takes a checked flag for settled. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

class FakeReader implements TableReader {
  constructor(
    private readonly session: FakeSession,
    private readonly spec: ReadSpec,
  ) {}

  digest(range: KeyRange | Bucket, limit: Limit): Promise<Digest> {
    return this.#ask('digest', limit, () => {
      const rows = this.#rows(range);
      return { rows: rows.length, answer: this.#digest(rows) };
    });
  }

  bound(range: KeyRange, n: number, limit: Limit): Promise<Key | null> {
    return this.#ask('bound', limit, () => {
      const row = this.#rows(range)[n - 1];
      return { rows: 0, answer: row === undefined ? null : this.#key(row.values) };
    });
  }

  marks(range: KeyRange | Bucket, most: number, limit: Limit): Promise<RowMark[]> {
    return this.#ask('marks', limit, () => {
      const marks = this.#marks(this.#rows(range)).slice(0, most);
      return { rows: marks.length, answer: marks };
    });
  }

  lookup(keys: readonly Key[], limit: Limit): Promise<RowMark[]> {
    return this.#ask('lookup', limit, () => {
      const wanted = new Set(keys.map((k) => JSON.stringify(k)));
      const rows = this.spec.key === null ? this.#rows(null) : this.#byKeys(keys);
      const found = this.#marks(rows).filter((m) => wanted.has(JSON.stringify(m.key)));
      return { rows: found.length, answer: found };
    });
  }

  buckets(n: number, limit: Limit): Promise<Digest[]> {
    return this.#ask('buckets', limit, () => {
      const rows = Array.from({ length: n }, (): StoredRow[] => []);
      for (const row of this.#rows(null)) rows[Number(fnv(this.#text(row.values)) % BigInt(n))]?.push(row);
      return { rows: 0, answer: rows.map((some) => this.#digest(some)) };
    });
  }

  values(keys: readonly Key[], limit: Limit): Promise<{ key: Key; values: Record<string, string | null> }[]> {
    return this.#ask('values', limit, () => {
      const found = this.#byKeys(keys).map((r) => ({ key: this.#key(r.values), values: { ...r.values } }));
      return { rows: found.length, answer: found };
    });
  }

  #ask<T>(what: string, limit: Limit, look: () => { rows: number; answer: T }): Promise<T> {
    return this.session.ask(what, this.spec.name, limit, () => {
      const { shape } = this.session.db.stored(this.spec);
      for (const c of this.spec.columns) {
        const now = shape.columns.find((other) => other.name === c.shape.name);
        if (now?.type !== c.shape.type) throw new ShapeChanged('no_column', `no column ${c.shape.name}`);
      }
      return look();
    });
  }

  #byKeys(keys: readonly Key[]): StoredRow[] {
    const { rows } = this.session.db.stored(this.spec);
    return keys.flatMap((key) => {
      const row = rows.get(JSON.stringify(key));
      return row === undefined ? [] : [row];
    });
  }

  #rows(range: KeyRange | Bucket | null): StoredRow[] {
    const stored = [...this.session.db.stored(this.spec).rows.values()];
    const { where } = this.spec;
    const rows =
      where.length === 0
        ? stored
        : stored.filter((r) => where.every((f) => f.op !== '=' || r.values[f.column] === f.value));
    if (range === null) return rows;
    if ('bucket' in range)
      return rows.filter((r) => fnv(this.#text(r.values)) % BigInt(range.of) === BigInt(range.bucket));
    const { after, upTo } = range;
    const all = this.#sorted(rows);
    const [from, to] = [
      after === null ? 0 : this.#until(all, after),
      upTo === null ? all.length : this.#until(all, upTo),
    ];
    return all.slice(from, to).map(({ r }) => r);
  }

  #sorted(rows: readonly StoredRow[]): { r: StoredRow; key: Key }[] {
    const stored = this.session.db.stored(this.spec);
    if (stored.sorted?.changes === stored.changes && stored.sorted.spec === this.spec) return stored.sorted.rows;
    const sorted = rows.map((r) => ({ r, key: this.#key(r.values) })).sort((a, b) => this.#compare(a.key, b.key));
    stored.sorted = { changes: stored.changes, spec: this.spec, rows: sorted };
    return sorted;
  }

  /** How many rows have a key up to this one. */
  #until(all: readonly { key: Key }[], key: Key): number {
    let [low, high] = [0, all.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#compare(all[middle]?.key ?? [], key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #key(values: Values): Key {
    return (this.spec.key ?? []).map((k) => values[k.shape.name] ?? '');
  }

  #compare(a: Key, b: Key): number {
    for (const [i, k] of (this.spec.key ?? []).entries()) {
      const [x = '', y = ''] = [a[i], b[i]];
      if (x === y) continue;
      if (k.shape.family === 'integer' && k.by === 'index') return BigInt(x) < BigInt(y) ? -1 : 1;
      return x < y ? -1 : 1;
    }
    return 0;
  }

  #text(values: Values): string {
    return JSON.stringify(this.spec.columns.map((c) => values[c.shape.name] ?? null));
  }

  #digest(rows: readonly StoredRow[]): Digest {
    let sum = 0n;
    const odd: Record<string, number> = {};
    for (const { values } of rows) {
      sum = BigInt.asUintN(64, sum + fnv(this.#text(values)));
      for (const c of this.spec.columns) {
        if (values[c.shape.name] === 'ODD') odd[c.shape.name] = (odd[c.shape.name] ?? 0) + 1;
      }
    }
    return { rows: rows.length, sum: String(sum), odd };
  }

  #marks(rows: readonly StoredRow[]): RowMark[] {
    if (this.spec.key === null) {
      const counts = new Map<string, number>();
      for (const { values } of rows) {
        const hash = String(fnv(this.#text(values)));
        counts.set(hash, (counts.get(hash) ?? 0) + 1);
      }
      return [...counts].map(([hash, n]) => ({ key: [hash], hash: String(n), soft: [], version: null }));
    }
    return rows.map(({ values, version }) => ({
      key: this.#key(values),
      hash: JSON.stringify(this.spec.columns.filter((c) => c.soft === null).map((c) => values[c.shape.name] ?? null)),
      soft: this.spec.columns.filter((c) => c.soft !== null).map((c) => values[c.shape.name] ?? null),
      version: this.session.db.nature.versions ? version : null,
    }));
  }
}

function fnv(text: string): bigint {
  let [a, b] = [0x811c9dc5, 0x1000193];
  for (let i = 0; i < text.length; i += 1) {
    a = Math.imul(a ^ text.charCodeAt(i), 0x01000193) >>> 0;
    b = Math.imul(b ^ text.charCodeAt(i), 0x85ebca6b) >>> 0;
  }
  return (BigInt(a) << 32n) | BigInt(b);
}

/** A write on the active side; a null row is deleted. */
export interface Write {
  table: TableName;
  key: Key;
  values: Values | null;
  /** It never gets to the passive side. */
  swallowed?: boolean;
}

/** A link that applies what was committed on one side to the other, in order and later, and the writers of that side. */
export class FakeLink implements LinkGauge {
  /** How long what is committed now takes to be applied. */
  lagUs: Us = 20_000;
  heartbeatUs: Us = 1_000_000;
  unknown: string | null = null;
  /** Writes that were committed and applied so far. */
  committed = 0;
  applied = 0;
  readonly #queue: { write: Write; committedAt: Us; due: Us }[] = [];
  readonly #writers: { nextAt: Us; write: (at: Us) => { write: Write | null; nextAt: Us } }[] = [];
  #lastDue: Us = -Infinity;
  #pumping = false;

  constructor(
    private readonly clock: FakeClock,
    private readonly active: FakeDatabase,
    private readonly passive: FakeDatabase,
  ) {
    active.pump = () => this.pump();
    passive.pump = () => this.pump();
  }

  /** Writes at instants that it chooses itself, one after the other. */
  writer(firstAt: Us, write: (at: Us) => { write: Write | null; nextAt: Us }): void {
    this.#writers.push({ nextAt: firstAt, write });
  }

  /** Commits one write at an instant. */
  commit(write: Write, at: Us = this.clock.monotonicNow()): void {
    apply(this.active, write);
    this.committed += 1;
    this.#lastDue = Math.max(this.#lastDue, at + this.lagUs);
    this.#queue.push({ write, committedAt: at, due: this.#lastDue });
  }

  /** Brings both sides to the present. */
  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    const now = this.clock.monotonicNow();
    for (;;) {
      const next = [...this.#writers].sort((a, b) => a.nextAt - b.nextAt)[0] ?? null;
      if (next === null || next.nextAt > now) break;
      const { write, nextAt } = next.write(next.nextAt);
      if (write !== null) this.commit(write, next.nextAt);
      next.nextAt = nextAt;
    }
    for (let head = this.#queue[0]; head !== undefined && head.due <= now; head = this.#queue[0]) {
      if (head.write.swallowed !== true) apply(this.passive, head.write);
      this.applied += 1;
      this.#queue.shift();
    }
    this.#pumping = false;
  }

  lag(): { seconds: number | null; reason: string | null } {
    return this.unknown === null
      ? { seconds: this.lagUs / 1e6, reason: null }
      : { seconds: null, reason: this.unknown };
  }

  passedAt(): Us {
    this.pump();
    if (this.unknown !== null) return -Infinity;
    const now = this.clock.monotonicNow();
    const firstOpen = this.#queue[0]?.committedAt ?? Infinity;
    const seen = Math.min(now - this.lagUs, firstOpen);
    return Math.floor(seen / this.heartbeatUs) * this.heartbeatUs;
  }
}

function apply(db: FakeDatabase, { table: name, key, values }: Write): void {
  if (!db.tablesByName.has(nameOf(name))) return;
  if (values === null) db.delete(name, key);
  else db.put(name, values);
}

/** Lets time go on until the promise is settled; throws when nothing happens any more. */
export async function drive<T>(clock: FakeClock, promise: Promise<T>, mostUs: Us = 7_200_000_000): Promise<T> {
  let ended = false;
  const end = (): void => void (ended = true);
  promise.then(end, end);
  const until = clock.monotonicNow() + mostUs;
  for (let idle = 0; !isEnded();) {
    const ms = clock.nextSleepMs;
    if (ms === null) {
      idle += 1;
      if (idle > 50) throw new Error('it waits for something other than time');
      await clock.advance(0);
      continue;
    }
    idle = 0;
    if (clock.monotonicNow() > until) throw new Error('it takes too long');
    await clock.advance(Math.ceil(Math.max(0, ms) * 1000));
  }
  return promise;

  function isEnded(): boolean {
    return ended;
  }
}
