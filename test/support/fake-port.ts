import type {
  AlertJson,
  AlertsJson,
  CollectorStatus,
  DaemonEvent,
  DaemonPort,
  DirectionChange,
  DirectionChangeJson,
  FenceJson,
  GateState,
  HistoryPoint,
  MigrationJson,
  SignalJson,
  VerdictJson,
  VerifyJson,
  VerifyRowJson,
} from '../../daemon/http/port.js';
import { Refusal } from '../../daemon/core/errors.js';
import type { Attestation, JournalEntry } from '../../daemon/store/store.js';

const AT = '2026-11-22T00:00:00.000Z';

/** A verdict as the daemon would give it. */
export function verdict(gate: string, state: GateState, opensInSeconds: number | null = null): VerdictJson {
  return {
    gate,
    state,
    open: state === 'open',
    since: AT,
    evaluated_at: AT,
    opens_at: opensInSeconds === null ? null : new Date(Date.parse(AT) + opensInSeconds * 1000).toISOString(),
    conditions: [
      {
        text: 'forward.lag < 2s for 10m',
        state: state === 'open' ? 'held' : state === 'closed' ? 'holding' : 'unknown',
        value: state === 'unknown' ? null : 0.42,
        unit: 's',
        held_seconds: state === 'open' ? 600 : 412,
        needs_seconds: 600,
        last_broken: { at: AT, value: 3.1 },
        reason: state === 'unknown' ? 'the source is unreachable' : null,
      },
    ],
    reason: null,
    config_hash: 'c0ffee',
    daemon: 'lockgate-test',
  };
}

/** A signal as the daemon would give it; null is unknown. */
export function signal(name: string, value: number | null, unit = 's'): SignalJson {
  const known = value !== null;
  return {
    name,
    state: known ? 'ok' : 'unknown',
    value,
    unit,
    observed_at: known ? AT : null,
    age_seconds: known ? 0.2 : null,
    reason: known ? null : 'not observed yet',
  };
}

/** A fence as the daemon would give it. */
export function fence(id: string, state: FenceJson['state'], change: Partial<FenceJson> = {}): FenceJson {
  const drained = state === 'drained' || state === 'closed';
  return {
    id,
    migration: 'shop',
    link: 'forward',
    state,
    placed_at: AT,
    deadline_at: '2026-11-22T00:01:00.000Z',
    source_position: '0/16B3748',
    basis: drained ? ['marker', 'position'] : [],
    drained_at: drained ? '2026-11-22T00:00:01.300Z' : null,
    drain_seconds: drained ? 1.3 : null,
    missing: drained
      ? { bytes: null, transactions: null, flows: [], reasons: [] }
      : { bytes: 4096, transactions: 12, flows: ['shop_sub'], reasons: ['a transaction is open on the source'] },
    violations: { count: 0, first_position: null, first_at: null },
    unwatched: [],
    predicted: { drain_eta: 0.8, drain_eta_high: 2.1 },
    note: '',
    placed_by: 'runbook',
    ended_at: null,
    ended_because: null,
    ...change,
  };
}

/** The answer to a promotion as the daemon would give it. */
export function directionChange(change: Partial<DirectionChangeJson> = {}): DirectionChangeJson {
  return {
    migration: 'shop',
    action: 'promote',
    direction: 'reverse',
    epoch: 2,
    changed_at: AT,
    changed_by: 'runbook',
    reason: 'cutover',
    forced: false,
    fence: fence('f1', 'closed'),
    old_side_position: '0/16B3800',
    warnings: [],
    ...change,
  };
}

/** An alert of `shop` as the daemon would give it. */
export function alert(rule: string, state: AlertJson['state']): AlertJson {
  return {
    ...{ migration: 'shop', rule, severity: 'critical', state, since: AT, value: 0, unit: 'flag', reason: 'stopped' },
    ...{ when: 'active.running == 0 for 1m', summary: 'replication does not run', remedy: 'start it', built_in: true },
    silenced_until: null,
  };
}

/** A daemon that says what a test tells it to. */
export class FakePort implements DaemonPort {
  readonly id = 'lockgate-test';
  readonly version = '0.0.0-test';
  readonly verdicts = new Map<string, VerdictJson>([
    ['shop/flip-writes', verdict('shop/flip-writes', 'open')],
    ['shop/drained', verdict('shop/drained', 'closed', 188)],
    ['shop/verified', verdict('shop/verified', 'unknown')],
    ['all-shards', verdict('all-shards', 'open')],
  ]);
  readonly signalsOf = new Map<string, SignalJson[]>([
    [
      'shop',
      [
        signal('forward.lag', 0.012),
        signal('forward.backlog_bytes', 4096, 'B'),
        signal('reverse.lag', null),
        signal('source.reachable', 1, 'flag'),
      ],
    ],
  ]);
  readonly entries: JournalEntry[] = [];
  readonly past: (DaemonEvent & { id: number })[] = [];
  readonly gateListeners = new Map<string, Set<() => void>>();
  readonly subscribers = new Set<(event: DaemonEvent) => void>();
  readonly historyCalls: unknown[][] = [];
  /** Newest first, all of the migration `shop`. */
  fenceList: FenceJson[] = [];
  readonly fenceListeners = new Set<() => void>();
  readonly placed: unknown[] = [];
  readonly changes: DirectionChange[] = [];
  /** How often a fence was asked for. */
  fenceAsked = 0;
  alertList: AlertJson[] = [alert('replication-stopped', 'firing'), alert('lag-high', 'inactive')];
  collectorList: CollectorStatus[] = [{ name: 'onprem/wal', up: true, restarts: 2, reason: null }];
  reasons: string[] = [];
  writable = true;
  /** Thrown by whatever is asked next. */
  fault: Error | null = null;

  migrations(): string[] {
    return [...this.signalsOf.keys()];
  }

  migration(name: string): MigrationJson | undefined {
    this.#break();
    if (!this.signalsOf.has(name)) return undefined;
    const side = {
      database: 'onprem',
      reachable: true,
      writable: null,
      stray_writes: { count: 0, first_at: null, first_position: null },
    };
    return {
      name,
      direction: 'forward',
      epoch: 1,
      direction_since: AT,
      source: 'onprem',
      target: 'aws',
      links: { forward: { lag: signal('forward.lag', 0.012) } },
      sides: { source: side, target: { ...side, database: 'aws' } },
      gates: [{ name: 'flip-writes', state: 'open', opens_at: null }],
      fence: this.fenceList[0] ?? null,
      attestations: [{ name: 'backup', at: AT, by: 'dba', note: 'restored it', age_seconds: 5 }],
      alerts: this.alertList.filter((a) => a.state === 'firing'),
    };
  }

  signals(migration: string): SignalJson[] | undefined {
    return this.signalsOf.get(migration);
  }

  history(migration: string, name: string, since: number, step: number): HistoryPoint[] | undefined {
    this.historyCalls.push([migration, name, since, step]);
    if (this.signalsOf.get(migration)?.some((s) => s.name === name) !== true) return undefined;
    return [
      { at: AT, value: 0.1, max: 0.4 },
      { at: AT, value: null, max: null },
    ];
  }

  gates(): string[] {
    return [...this.verdicts.keys()];
  }

  verdict(gate: string): VerdictJson | undefined {
    this.#break();
    return this.verdicts.get(gate);
  }

  gateState(gate: string): { state: GateState; opensInSeconds: number | null } | undefined {
    const found = this.verdicts.get(gate);
    if (found === undefined) return undefined;
    const opensInSeconds =
      found.opens_at === null ? null : (Date.parse(found.opens_at) - Date.parse(found.evaluated_at)) / 1000;
    return { state: found.state, opensInSeconds };
  }

  onGate(gate: string, listener: () => void): () => void {
    const listeners = this.gateListeners.get(gate) ?? new Set();
    this.gateListeners.set(gate, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  /** Changes a gate and wakes those who wait for it; undefined removes it, as a reload would. */
  setGate(gate: string, state: GateState | undefined): void {
    if (state === undefined) this.verdicts.delete(gate);
    else this.verdicts.set(gate, verdict(gate, state));
    for (const listener of [...(this.gateListeners.get(gate) ?? [])]) listener();
  }

  waiting(gate: string): number {
    return this.gateListeners.get(gate)?.size ?? 0;
  }

  journal(query: Parameters<DaemonPort['journal']>[0]): JournalEntry[] {
    this.#break();
    return this.entries
      .filter(
        (e) =>
          e.at >= (query.since ?? -Infinity) &&
          e.id > (query.after ?? 0) &&
          (query.kind === undefined || e.kind === query.kind) &&
          (query.migration === undefined || e.migration === query.migration) &&
          (query.gate === undefined || e.gate === query.gate),
      )
      .slice(...(query.newest === true ? [-query.limit] : [0, query.limit]));
  }

  /** Puts an entry into the journal. */
  record(entry: Partial<JournalEntry>): JournalEntry {
    const whole: JournalEntry = {
      id: this.entries.length + 1,
      at: Date.parse(AT) + this.entries.length * 1000,
      kind: 'start',
      migration: null,
      gate: null,
      actor: 'lockgate',
      by: null,
      data: {},
      ...entry,
    };
    this.entries.push(whole);
    return whole;
  }

  attest(migration: string, name: string, by: string, note: string, actor: string): Attestation {
    this.#break();
    const at = Date.parse(AT);
    this.record({ at, kind: 'attestation', migration, actor, by, data: { name, note } });
    return { migration, name, at, by, note, actor };
  }

  placeFence(migration: string, asked: { deadlineMs: number; note: string; actor: string }): Promise<FenceJson> {
    return this.#soon(() => {
      this.placed.push({ migration, ...asked });
      const placed = fence(`f${this.placed.length}`, 'placed', { note: asked.note, placed_by: asked.actor });
      this.fenceList.unshift(placed);
      return placed;
    });
  }

  fence(_migration: string, id: string): Promise<FenceJson | undefined> {
    this.fenceAsked += 1;
    return this.#soon(() => this.fenceList.find((f) => f.id === id));
  }

  fences(): Promise<FenceJson[]> {
    return this.#soon(() => this.fenceList);
  }

  cancelFence(_migration: string, id: string, actor: string): Promise<FenceJson | undefined> {
    return this.#soon(() => {
      const found = this.fenceList.find((f) => f.id === id);
      if (found !== undefined && found.ended_at !== null) {
        throw new Refusal(409, 'fence_ended', `the fence ${id} has ended already`);
      }
      if (found === undefined) return undefined;
      return this.setFence(id, 'cancelled', { ended_at: AT, ended_because: `cancelled by ${actor}` });
    });
  }

  onFence(_migration: string, listener: () => void): () => void {
    this.fenceListeners.add(listener);
    return () => this.fenceListeners.delete(listener);
  }

  /** Changes or adds a fence and wakes those who wait for it. */
  setFence(id: string, state: FenceJson['state'], change: Partial<FenceJson> = {}): FenceJson {
    const changed = fence(id, state, change);
    const known = this.fenceList.some((f) => f.id === id);
    this.fenceList = known ? this.fenceList.map((f) => (f.id === id ? changed : f)) : [changed, ...this.fenceList];
    for (const listener of [...this.fenceListeners]) listener();
    return changed;
  }

  verify: VerifyJson = verification();
  /** Passes that were asked for, ended and rows that were shown. */
  readonly verifyAsked: unknown[] = [];

  startVerify(migration: string, asked: { tables: string[] | null; actor: string }): Promise<{ pass: string }> {
    return this.#soon(() => {
      this.verifyAsked.push({ migration, ...asked });
      return { pass: 'p1' };
    });
  }

  stopVerify(migration: string, actor: string): Promise<{ pass: string }> {
    return this.#soon(() => {
      this.verifyAsked.push({ migration, ended: actor });
      return { pass: 'p1' };
    });
  }

  verification(migration: string): VerifyJson | undefined {
    return migration === 'shop' ? this.verify : undefined;
  }

  verifyRows(migration: string, table: string, keys: Record<string, string>[]): Promise<VerifyRowJson[]> {
    return this.#soon(() => {
      this.verifyAsked.push({ migration, table, keys });
      return keys.map((key) => ({ key, source: { ...key, total: '9.50' }, target: null }));
    });
  }

  changeDirection(change: DirectionChange): Promise<DirectionChangeJson> {
    return this.#soon(() => {
      this.changes.push(change);
      const { migration, action, reason, force, actor } = change;
      const direction = action === 'promote' ? 'reverse' : 'forward';
      return directionChange({ migration, action, direction, reason, forced: force, changed_by: actor });
    });
  }

  subscribe(listener: (event: DaemonEvent) => void): () => void {
    this.subscribers.add(listener);
    return () => this.subscribers.delete(listener);
  }

  /** Publishes an event to whoever is subscribed. */
  publish(event: DaemonEvent['event'], data: unknown): DaemonEvent {
    const whole = { id: (this.past.at(-1)?.id ?? 0) + 1, event, data };
    this.past.push(whole);
    for (const listener of [...this.subscribers]) listener(whole);
    return whole;
  }

  /** Tells whoever is subscribed how things are now. */
  pass(event: DaemonEvent['event'], data: unknown): void {
    for (const listener of [...this.subscribers]) listener({ id: null, event, data });
  }

  eventsAfter(id: number): DaemonEvent[] | null {
    const first = this.past[0]?.id ?? 1;
    return id < first - 1 || id > (this.past.at(-1)?.id ?? 0) ? null : this.past.filter((e) => e.id > id);
  }

  alerts(migration?: string): AlertsJson {
    return {
      alerts: this.alertList.filter((a) => migration === undefined || a.migration === migration),
      sinks: [
        {
          ...{ name: 'pagerduty', waiting: 2, delivered: 5, retried: 3, refused: 1, dropped: 0 },
          ...{ last_error: 'it answered 500', last_delivered_at: AT },
        },
      ],
    };
  }

  collectors(): CollectorStatus[] {
    return this.collectorList;
  }

  notReady(): string[] {
    return this.reasons;
  }

  storeWritable(): boolean {
    return this.writable;
  }

  /** Answers later, as one does who has to ask a database first. */
  async #soon<T>(answer: () => T): Promise<T> {
    await Promise.resolve();
    this.#break();
    return answer();
  }

  #break(): void {
    if (this.fault === null) return;
    const fault = this.fault;
    this.fault = null;
    throw fault;
  }
}

/** What is known of the data of a migration: one table that is equal, one that differs. */
export function verification(change: Partial<VerifyJson> = {}): VerifyJson {
  const table = {
    ...{ reason: null, compared_at: AT, source_rows: 3, target_rows: 3, rows_compared: 3, ignored_columns: [] },
    ...{ mismatched_at_least: false, mismatches_truncated: false },
  };
  return {
    configured: true,
    running: null,
    last: { pass: 'p0', started_at: AT, ended_at: AT, complete: true, reason: null },
    last_complete_at: AT,
    next_at: null,
    narrower: null,
    tables: [
      { ...table, table: 'public.customers', state: 'match', mismatched_rows: 0, mismatches: [] },
      {
        ...{ ...table, table: 'public.orders', state: 'mismatch', mismatched_rows: 2 },
        mismatches: [
          { kind: 'missing', key: { id: '42' } },
          { kind: 'different', key: { id: '43' } },
        ],
      },
    ],
    ...change,
  };
}
