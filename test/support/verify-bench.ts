import type { VerifyConfig } from '../../daemon/core/config.js';
import type { PassEnd, PassOrder, PassProgress, TableResult } from '../../daemon/core/verification.js';
import { createVerifier } from '../../collectors/verify/service.js';
import type { PassState, Settling, Verifier, VerifierOptions } from '../../collectors/verify/verifier.js';
import { FakeClock } from './fake-clock.js';
import { drive, FakeDatabase, FakeLink, type FakeNature } from './fake-data.js';

/** A configuration that pauses for nothing and uses the source as it likes. */
export function verifyConfig(more: Partial<VerifyConfig> = {}): VerifyConfig {
  return {
    schedule: null,
    tables: null,
    exclude: [],
    ignoreColumns: new Map(),
    filters: new Map(),
    schemas: new Map(),
    chunkUs: 500_000,
    sourceShare: 1,
    pauseAboveLagUs: 5_000_000,
    pauseAboveRunning: null,
    standIns: new Map(),
    ...more,
  };
}

export function passOrder(more: Partial<PassOrder> = {}): PassOrder {
  return { pass: 'p1', startedAt: 0, tables: null, direction: 'forward', epoch: 1, actor: 'test', ...more };
}

const silent = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** Two databases, the link between them, and what a pass told. */
export class VerifyBench {
  readonly clock = new FakeClock();
  readonly source: FakeDatabase;
  readonly target: FakeDatabase;
  readonly link: FakeLink;
  readonly progress: PassProgress[] = [];
  readonly results: TableResult[] = [];
  readonly saved: { state: PassState; at: number }[] = [];

  constructor(
    nature: Partial<FakeNature> = {},
    readonly random: () => number = Math.random,
    engines: { source: 'postgres' | 'mysql'; target: 'postgres' | 'mysql' } = {
      source: 'postgres',
      target: 'postgres',
    },
    reverse = false,
  ) {
    this.source = new FakeDatabase('onprem', this.clock, nature, engines.source, random);
    this.target = new FakeDatabase('aws', this.clock, nature, engines.target, random);
    this.link = reverse
      ? new FakeLink(this.clock, this.target, this.source)
      : new FakeLink(this.clock, this.source, this.target);
  }

  verifier(config: Partial<VerifyConfig> = {}, more: Partial<VerifierOptions> = {}): Verifier {
    const settling: Settling = { by: 'link', gauge: this.link };
    const { clock, source, target } = this;
    return createVerifier({
      clock,
      log: silent,
      source,
      target,
      config: verifyConfig(config),
      carried: null,
      settling,
      ...more,
    });
  }

  /** Starts a pass; the time does not go on yet. */
  start(verifier: Verifier, pass: PassOrder | PassState, signal: AbortSignal): Promise<PassEnd> {
    return verifier.run(
      pass,
      {
        progress: (p) => this.progress.push(p),
        table: (r) => this.results.push(r),
        save: (state) =>
          this.saved.push({ state: JSON.parse(JSON.stringify(state)) as PassState, at: this.clock.monotonicNow() }),
      },
      signal,
    );
  }

  /** Runs a pass to its end. */
  async run(
    config: Partial<VerifyConfig> = {},
    more: Partial<VerifierOptions> = {},
    pass: PassOrder | PassState = passOrder(),
  ): Promise<PassEnd> {
    const verifier = this.verifier(config, more);
    const end = await drive(this.clock, this.start(verifier, pass, new AbortController().signal));
    await verifier.close();
    return end;
  }

  /** The newest result of a table. */
  result(table: string): TableResult {
    const found = this.results.findLast((r) => r.table === table);
    if (found === undefined) throw new Error(`no result of ${table}`);
    return found;
  }
}
