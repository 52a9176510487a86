import type { PassHooks, PassState, Verifier, VerifierOptions } from '../../collectors/verify/verifier.js';
import type { PassEnd, PassOrder, Selection, TableResult, TableState } from '../../daemon/core/verification.js';

/** A pass under way: the test says what it finds and when it ends. */
export interface FakePass {
  order: PassOrder;
  /** Where it was given to go on from; null: from its beginning. */
  from: PassState | null;
  hooks: PassHooks;
  signal: AbortSignal;
  end: (complete: boolean, reason?: string | null) => void;
  fail: (error: Error) => void;
}

/** Compares nothing: a test says what there is to compare and what was found. */
export class FakeVerifier implements Verifier {
  /** What `look` answers; an Error rejects. */
  selection: Selection | Error;
  readonly passes: FakePass[] = [];
  looks = 0;
  closed = 0;

  constructor(
    tables: readonly string[],
    readonly options: VerifierOptions | null = null,
  ) {
    this.selection = { tables: new Map(tables.map((t) => [t, 's1'])), narrower: null };
  }

  look(): Promise<Selection> {
    this.looks += 1;
    return this.selection instanceof Error ? Promise.reject(this.selection) : Promise.resolve(this.selection);
  }

  run(pass: PassOrder | PassState, hooks: PassHooks, signal: AbortSignal): Promise<PassEnd> {
    const order = 'order' in pass ? pass.order : pass;
    return new Promise((resolve, reject) => {
      const end = (complete: boolean, reason: string | null = null): void =>
        resolve({ pass: order.pass, startedAt: order.startedAt, endedAt: order.startedAt + 1_000, complete, reason });
      this.passes.push({ order, from: 'order' in pass ? pass : null, hooks, signal, end, fail: reject });
      signal.addEventListener('abort', () => end(false, 'aborted'), { once: true });
    });
  }

  values(_table: string, keys: readonly Readonly<Record<string, string>>[]) {
    return Promise.resolve(keys.map((key) => ({ key, source: { ...key, total: '9.50' }, target: null })));
  }

  close(): Promise<void> {
    this.closed += 1;
    return Promise.resolve();
  }

  /** The newest pass. */
  get pass(): FakePass {
    const found = this.passes.at(-1);
    if (found === undefined) throw new Error('no pass has been run');
    return found;
  }
}

/** The outcome of one comparison in a pass, begun and ended at an instant of wall clock. */
export function found(
  order: PassOrder,
  table: string,
  state: TableState,
  begunAt: number,
  more: Partial<TableResult> = {},
): TableResult {
  return {
    ...{ table, state, reason: null, begunAt, comparedAt: begunAt, direction: order.direction, epoch: order.epoch },
    ...{ shape: 's1', sourceRows: 10, targetRows: 10, rowsCompared: 10, ignoredColumns: [] },
    ...{ mismatchedRows: state === 'mismatch' ? 1 : 0, mismatchedAtLeast: false },
    mismatches: state === 'mismatch' ? [{ kind: 'different', key: { id: '42' } }] : [],
    mismatchesTruncated: false,
    ...more,
  };
}
