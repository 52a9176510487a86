/** The real daemon beside a chain that is broken on purpose: its gate on the chain, and the gate on lag that cannot tell. */
import { expect } from 'vitest';
import type { JournalEntry } from '../../daemon/store/store.js';
import type { PostgresServer } from '../../deploy/demo/postgres-server.js';
import { GateWatch, workspace, type Daemon, type Workspace } from './lockgate.js';
import type { MysqlPair } from './mysql-pair.js';
import { setUpMysql } from './mysql-scenario.js';
import { database } from './pair.js';
import { setUp } from './scenario-setup.js';

/** How soon after a fault's effect the gate on the chain must not be open any more, in milliseconds. */
const boundMs = 3_000;

/** What is watched: two PostgreSQL servers, and the ports by which the daemon reaches them. */
export interface ChainSides {
  readonly source: PostgresServer;
  readonly target: PostgresServer;
  readonly sourcePort: number;
  readonly targetPort: number;
}

/** One way to break a chain. */
export interface ChainFault {
  /** Whether the daemon runs while it happens. */
  readonly daemon: 'running' | 'down';
  /** What the evidence must say, each in some place. */
  readonly says: readonly RegExp[];
  /** Brings it about; calls `effect` right after what breaks the chain. */
  readonly make: (effect: () => void) => Promise<unknown>;
  /** Lets replication go on, after which lag is perfect; left out when it goes on by itself. */
  readonly goOn?: () => Promise<unknown>;
}

/** A daemon that watches a chain. */
export class ChainScenario {
  private constructor(
    readonly lockgate: Workspace,
    public daemon: Daemon,
    readonly whole: GateWatch,
    readonly lag: GateWatch,
  ) {}

  /** Sets both sides of a link by logical replication up, starts the daemon, and waits until both gates are open. */
  static async start({ source, target, sourcePort, targetPort }: ChainSides): Promise<ChainScenario> {
    const url = (port: number): string => `postgres://lockgate:pw@127.0.0.1:${port}/${database}?sslmode=disable`;
    return await ChainScenario.begin(
      `
databases:
  onprem: { engine: postgres, url: "${url(sourcePort)}" }
  aws: { engine: postgres, url: "${url(targetPort)}" }`,
      'via: postgres-logical, subscription: shop_sub',
      (lockgate) => setUp(lockgate, { source, target, database }),
    );
  }

  /** The same for MySQL's own replication. */
  static async startMysql(pair: MysqlPair): Promise<ChainScenario> {
    const url = (port: number): string => `mysql://lockgate:pw@127.0.0.1:${port}/${pair.database}`;
    return await ChainScenario.begin(
      `
databases:
  onprem: { engine: mysql, url: "${url(pair.sourceProxy.port)}" }
  aws: { engine: mysql, url: "${url(pair.targetProxy.port)}" }`,
      'via: mysql',
      (lockgate) => setUpMysql(lockgate, pair),
    );
  }

  private static async begin(
    databases: string,
    link: string,
    prepare: (lockgate: Workspace) => Promise<void>,
  ): Promise<ChainScenario> {
    const lockgate = await workspace(
      (port) => `
daemon: { id: tester, listen: 127.0.0.1:${port} }${databases}
migrations:
  shop:
    source: onprem
    target: aws
    forward: { ${link}, heartbeat: { interval: 500ms } }
    gates:
      lag: { require: "forward.lag < 2s" }
      whole: { require: "forward.continuity is 1" }
`,
    );
    try {
      await prepare(lockgate);
      const daemon = await lockgate.start();
      const [whole, lag] = [new GateWatch(lockgate.url, 'shop/whole'), new GateWatch(lockgate.url, 'shop/lag')];
      const scenario = new ChainScenario(lockgate, daemon, whole, lag);
      await Promise.all([whole.until(['open'], 30_000), lag.until(['open'], 30_000)]);
      return scenario;
    } catch (error) {
      await lockgate.destroy();
      throw error;
    }
  }

  async destroy(): Promise<void> {
    await Promise.all([this.whole.stop(), this.lag.stop()]);
    await this.lockgate.destroy();
  }

  /** What has broken, by the journal. */
  async breaks(): Promise<JournalEntry[]> {
    const { body } = await this.daemon.get<{ entries: JournalEntry[] }>('/v1/journal?limit=500');
    return body.entries.filter((e) => e.kind === 'continuity-broken');
  }

  /** What the daemon says of the chain now. */
  async reason(): Promise<string> {
    return (await this.daemon.signals()).get('forward.continuity')?.reason ?? '';
  }

  /** Stops the daemon, lets something happen, and starts it again. */
  async meanwhile(what: () => Promise<unknown>): Promise<void> {
    expect(await this.daemon.stop()).toBe(0);
    await what();
    this.daemon = await this.lockgate.start();
  }

  /** Kills the daemon and starts it again. */
  async crash(): Promise<void> {
    await this.daemon.kill();
    this.daemon = await this.lockgate.start();
  }

  /** Someone accepts what has broken. */
  async accept(): Promise<void> {
    await acceptChain(this.lockgate.url);
    await this.whole.until(['open'], 10_000);
  }

  /**
   * Breaks the chain and follows the gate on it: shut within three seconds, and from then on never open, with lag perfect
   * again and over a crash of the daemon, until someone accepts it. Answers the milliseconds from the effect (of a fault
   * while the daemon was down: from its start) to the first answer that was not "open", and to the first "closed", and
   * what it then said.
   */
  async breaksBy({
    daemon,
    says,
    make,
    goOn,
  }: ChainFault): Promise<{ shutMs: number; closedMs: number; reason: string }> {
    const known = (await this.breaks()).length;
    let effect = NaN;
    const mark = (): void => void (effect = performance.now());
    if (daemon === 'running') await make(mark);
    else await this.meanwhile(() => make(mark));
    const since = daemon === 'running' ? effect : performance.now();
    const closedAt = await this.whole.until(['closed'], 15_000);
    const shut = this.whole.samples.find((s) => s.askedAt >= since && s.state !== 'open');
    await goOn?.();
    await this.lag.until(['open'], 20_000);
    if (daemon === 'running') await this.crash();
    await Promise.all([this.whole.until(['closed'], 10_000), this.lag.until(['open'], 15_000)]);
    // While the daemon was down nothing may have been green at all.
    const from = daemon === 'running' ? effect + boundMs : effect;
    expect(this.whole.between(from, performance.now()).filter((s) => s.state === 'open')).toEqual([]);
    const reason = await this.reason();
    expect(reason).toMatch(/; verify the data completely, or attest continuity-accepted/);
    const news = (await this.breaks()).slice(known).map((e) => String((e.data as { what?: unknown }).what));
    for (const what of says) expect([reason, ...news].join('\n')).toMatch(what);
    const times = {
      shutMs: Math.round((shut?.at ?? Infinity) - since),
      closedMs: Math.round(closedAt.at - since),
      reason,
    };
    expect(times.shutMs).toBeLessThan(boundMs);
    await this.accept();
    return times;
  }
}

/** Accepts what has broken in the migration `shop` of a daemon. */
export async function acceptChain(daemonUrl: string): Promise<void> {
  const { status } = await fetch(`${daemonUrl}/v1/migrations/shop/attestations/continuity-accepted`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ by: 'a test', note: 'it is known' }),
    signal: AbortSignal.timeout(10_000),
  });
  expect(status).toBe(201);
}
