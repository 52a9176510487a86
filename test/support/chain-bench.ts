/** Runs the chain's collector against real servers, and remembers what it sees as the daemon does, over restarts too. */
import { MysqlChainCollector } from '../../collectors/mysql/chain.js';
import { ChainCollector } from '../../collectors/postgres/chain.js';
import type { LinkPlan } from '../../collectors/collector.js';
import { Chains, type ChainMemories } from '../../daemon/chains.js';
import type { Break } from '../../daemon/core/continuity.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { Reading } from '../../daemon/core/signal.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { contextOf, listenTo, planOf, type Listening } from './listening.js';

/** A chain that is being watched. */
export class ChainBench {
  private chains = new Chains({});
  private listening: Listening | null = null;
  private seen = 0;
  /** Every break since the last `forget`, with the newest last. */
  readonly breaks: Break[] = [];
  reading: Reading | null = null;
  private readonly plan: LinkPlan;

  constructor(
    private readonly from: DatabaseConfig,
    private readonly to: DatabaseConfig,
    private readonly via: 'postgres-logical' | 'postgres-physical' | 'mysql',
    flows: readonly string[],
  ) {
    this.plan = planOf(from, to, { via, flows });
  }

  /** Begins to look, as a daemon that starts would, with what the one before had kept; resolves after two looks. */
  async start(): Promise<void> {
    this.begin();
    await this.looks(2);
  }

  /** The same, without waiting. */
  begin(): void {
    this.chains = new Chains(JSON.parse(JSON.stringify(this.chains.kept)) as ChainMemories);
    const Kind = this.via === 'mysql' ? MysqlChainCollector : ChainCollector;
    const collector = new Kind(this.from, this.to, [this.plan], contextOf(), 200);
    this.listening = listenTo(collector, (o) => this.take(o));
  }

  /** Waits for so many successful looks more. */
  async looks(count: number, timeoutMs = 20_000): Promise<void> {
    const until = this.seen + count;
    await waitFor(`${count} looks at the chain`, timeoutMs, () => this.seen >= until, 10).catch((error: unknown) => {
      throw new Error(`${String(error)}; it reads ${JSON.stringify(this.reading)}`);
    });
  }

  async stop(): Promise<void> {
    const listening = this.listening;
    this.listening = null;
    await listening?.stop();
  }

  /** Waits for a break that matches, and returns its text. */
  async broken(what: RegExp, timeoutMs = 10_000): Promise<string> {
    return await waitFor(
      `a break that matches ${String(what)}`,
      timeoutMs,
      () => this.breaks.find((b) => what.test(b.what))?.what,
      10,
    ).catch((error: unknown) => {
      throw new Error(
        `${String(error)}; breaks: ${JSON.stringify(this.breaks)}, reading ${JSON.stringify(this.reading)}`,
      );
    });
  }

  /** Accepts what has broken, and expects the chain to be whole at the next looks. */
  async accept(): Promise<void> {
    this.chains.clear(this.plan.id, Infinity, Date.now());
    this.breaks.length = 0;
    if (this.listening !== null) await this.looks(3);
  }

  private take(o: Observation): void {
    if (o.kind === 'chain-fault') this.reading = this.chains.unseen(o.link, o.reason, o.at);
    if (o.kind !== 'chain-seen' && o.kind !== 'chain-broken') return;
    const { reading, news } =
      o.kind === 'chain-seen'
        ? this.chains.see(o.link, o.facts, o.at, o.freshUs, Date.now())
        : this.chains.broke(o.link, o.what, o.at, Date.now());
    this.reading = reading;
    this.breaks.push(...news);
    if (o.kind === 'chain-seen') this.seen += 1;
  }
}
