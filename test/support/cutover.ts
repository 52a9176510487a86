/**
 * A cutover as it is carried out on the night, by tests: an application that remembers every commit which the server has
 * acknowledged, the operator's calls to the API, and what every gate has said when.
 */
import { expect } from 'vitest';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DirectionChangeJson, FenceJson, MigrationJson } from '../../daemon/http/port.js';
import type { JournalEntry } from '../../daemon/store/store.js';
import { GateWatch, type Daemon, type GateSample, type Workspace } from './lockgate.js';

/** One of the two databases by its original role. */
export type Side = 'source' | 'target';

/** A connection of the application. */
export interface AppConnection {
  /** Inserts a row with this token, and returns once the server has acknowledged the commit. */
  write(token: string): Promise<void>;
  close(): Promise<void>;
}

/** What a cutover is carried out on. */
export interface CutoverBed {
  readonly lockgate: Workspace;
  daemon: Daemon;
  connect(side: Side): Promise<AppConnection>;
  /** Tokens of all rows of the application on a side. */
  tokens(side: Side): Promise<ReadonlySet<string>>;
  /** What the operator does between the promotion and the first write on the target. */
  turnToTarget(): Promise<void>;
  /** What the operator does between the rollback and the first write on the source. */
  turnToSource(): Promise<void>;
  /** Writes a row to a side past the application. */
  stray(side: Side): Promise<void>;
  destroy(): Promise<void>;
}

/** Writes rows all the time over a few connections, wherever it is pointed to. */
export class Application {
  /** Tokens whose commits were acknowledged. */
  readonly acknowledged = new Set<string>();
  /** `performance.now()` when the newest commit was acknowledged, the last one before writes were stopped, and the first since they began again. */
  lastAt = NaN;
  lastAt0 = NaN;
  firstAt = NaN;
  #connections: AppConnection[] = [];
  #loops: Promise<void>[] = [];
  #running = false;
  #next = 0;

  constructor(
    private readonly bed: Pick<CutoverBed, 'connect'>,
    private readonly connections = 3,
    private readonly pauseMs = 2,
  ) {}

  /** Opens connections to a side, without writing. */
  async prepare(side: Side): Promise<() => void> {
    const connections = await Promise.all(Array.from({ length: this.connections }, () => this.bed.connect(side)));
    return () => {
      this.#connections = connections;
      this.#running = true;
      this.firstAt = NaN;
      this.#loops = connections.map((c) => this.#write(c, side));
    };
  }

  /** Begins to write to a side. */
  async start(side: Side): Promise<void> {
    (await this.prepare(side))();
  }

  /** Ends all writing: resolves once the last commit was acknowledged. */
  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
    this.lastAt0 = this.lastAt;
    const connections = this.#connections;
    this.#connections = [];
    await Promise.all(connections.map((c) => c.close()));
  }

  async #write(connection: AppConnection, side: Side): Promise<void> {
    while (this.#running) {
      const token = `${side}-${(this.#next += 1)}`;
      await connection.write(token);
      this.acknowledged.add(token);
      this.lastAt = performance.now();
      if (Number.isNaN(this.firstAt)) this.firstAt = this.lastAt;
      await sleep(this.pauseMs);
    }
  }
}

/** The operator's calls. */
export class Operator {
  constructor(private readonly url: string) {}

  // eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- the caller knows what it has asked for
  async post<T>(
    path: string,
    body: unknown,
    headers: Record<string, string> = {},
  ): Promise<{ status: number; body: T }> {
    const response = await fetch(`${this.url}/v1/migrations/shop/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(60_000),
    });
    return { status: response.status, body: (await response.json()) as T };
  }

  /** Places a fence; throws unless it is placed. */
  async fence(deadline = '30s'): Promise<FenceJson> {
    const { status, body } = await this.post<FenceJson>('fences', { deadline, note: 'cutover' });
    expect(status, JSON.stringify(body)).toBe(201);
    return body;
  }

  /** Waits until a fence has left `placed`, or for so long. */
  async settled(id: string, wait = '30s'): Promise<FenceJson> {
    const response = await fetch(`${this.url}/v1/migrations/shop/fences/${id}?wait=${wait}`, {
      signal: AbortSignal.timeout(60_000),
    });
    return (await response.json()) as FenceJson;
  }

  /** Places a fence and waits until it is drained. */
  async drained(): Promise<FenceJson> {
    let fence = await this.settled((await this.fence()).id);
    // A server's own housekeeping may be a transaction for a moment; whoever waits asks again, as the command does.
    const until = performance.now() + 5_000;
    while (fence.state === 'unknown' && performance.now() < until) {
      await sleep(50);
      fence = await this.settled(fence.id);
    }
    expect(fence.state, JSON.stringify(fence, null, 1)).toBe('drained');
    return fence;
  }

  cancel(id: string): Promise<{ status: number; body: FenceJson }> {
    return fetch(`${this.url}/v1/migrations/shop/fences/${id}`, { method: 'DELETE' }).then(async (r) => ({
      status: r.status,
      body: (await r.json()) as FenceJson,
    }));
  }

  change(action: 'promote' | 'rollback', extra: Record<string, unknown> = {}, headers: Record<string, string> = {}) {
    const expected = action === 'promote' ? 'forward' : 'reverse';
    return this.post<DirectionChangeJson>(action, { reason: 'cutover night', expect: expected, ...extra }, headers);
  }

  /** Declares a change of direction; throws unless it is done. */
  async changed(action: 'promote' | 'rollback'): Promise<DirectionChangeJson> {
    let answer = await this.change(action);
    // As with `drained`: an operator who is told that nothing is known just now asks once more.
    const until = performance.now() + 5_000;
    while (answer.status === 409 && / is unknown: /.test(JSON.stringify(answer.body)) && performance.now() < until) {
      await sleep(50);
      answer = await this.change(action);
    }
    expect(answer.status, JSON.stringify(answer.body, null, 1)).toBe(200);
    return answer.body;
  }

  async migration(): Promise<MigrationJson> {
    const response = await fetch(`${this.url}/v1/migrations/shop`, { signal: AbortSignal.timeout(10_000) });
    return (await response.json()) as MigrationJson;
  }

  async journal(): Promise<JournalEntry[]> {
    const response = await fetch(`${this.url}/v1/journal?limit=1000`, { signal: AbortSignal.timeout(10_000) });
    return ((await response.json()) as { entries: JournalEntry[] }).entries;
  }
}

/** Gates that are asked all the time, and the stretches in which each may say what. */
export class Timeline {
  readonly watches: ReadonlyMap<string, GateWatch>;

  constructor(url: string, gates: readonly string[]) {
    this.watches = new Map(gates.map((g) => [g, new GateWatch(url, `shop/${g}`)]));
  }

  of(gate: string): GateWatch {
    const found = this.watches.get(gate);
    if (found === undefined) throw new Error(`gate ${gate} is not watched`);
    return found;
  }

  /** Asserts that a gate was asked all through a stretch, and said nothing but these states; question to answer lies in it. */
  said(gate: string, from: number, to: number, states: readonly GateSample['state'][]): void {
    const samples = this.of(gate).between(from, to);
    expect(samples.length, `${gate} was asked all the time`).toBeGreaterThanOrEqual(Math.floor((to - from) / 1_000));
    const wrong = samples.find((s) => !states.includes(s.state));
    expect(
      wrong,
      `${wrong?.state === 'open' ? 'FALSE GREEN: ' : ''}${gate} said ${wrong?.state ?? ''} ${Math.round((wrong?.askedAt ?? 0) - from)} ms into a stretch of ${states.join(' or ')}: ${JSON.stringify(wrong?.verdict, null, 1)}`,
    ).toBeUndefined();
  }

  async stop(): Promise<void> {
    await Promise.all([...this.watches.values()].map((w) => w.stop()));
  }
}

/** Asserts that everything that was acknowledged is on a side; answers how much that is. */
export async function nothingMissing(bed: CutoverBed, side: Side, application: Application): Promise<number> {
  const wanted = [...application.acknowledged];
  const found = await bed.tokens(side);
  const missing = wanted.filter((token) => !found.has(token));
  expect(
    missing,
    `FALSE GREEN: ${missing.length} of ${wanted.length} acknowledged rows are missing on the ${side}`,
  ).toEqual([]);
  return wanted.length;
}
