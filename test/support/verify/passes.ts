/** Passes over a bed without a daemon, and what is wrong with what they found. */
import { randomUUID } from 'node:crypto';
import { mysqlEngine } from '../../../collectors/mysql/engine.js';
import { postgresEngine } from '../../../collectors/postgres/engine.js';
import type { CollectorContext } from '../../../collectors/collector.js';
import type { DataPort } from '../../../collectors/verify/port.js';
import { createVerifier } from '../../../collectors/verify/service.js';
import type { PassState, Settling, Verifier } from '../../../collectors/verify/verifier.js';
import type { VerifyConfig } from '../../../daemon/core/config.js';
import {
  MOST_LISTED,
  type Mismatch,
  type PassEnd,
  type PassOrder,
  type PassProgress,
  type TableResult,
} from '../../../daemon/core/verification.js';
import { contextOf } from '../listening.js';
import type { BedSide, VerifyBed } from './bed.js';
import type { Plant } from './plants.js';

/** As a configuration would have it, but for the pace: tests have no production to spare. */
export const verifyConfig: VerifyConfig = {
  schedule: null,
  tables: null,
  exclude: [],
  ignoreColumns: new Map(),
  filters: new Map(),
  schemas: new Map(),
  chunkUs: 200_000,
  sourceShare: 1,
  pauseAboveLagUs: 10_000_000,
  pauseAboveRunning: null,
  standIns: new Map(),
};

/** Compares a bed's two sides with the engines' own readers. */
export function verifierOf(
  bed: Pick<VerifyBed, 'source' | 'target' | 'tables' | 'schema'>,
  settling: Settling,
  config: Partial<VerifyConfig> = {},
): Verifier {
  const context = contextOf();
  return createVerifier({
    clock: context.clock,
    log: context.log,
    source: dataOf(bed.source, context),
    target: dataOf(bed.target, context),
    config: {
      ...verifyConfig,
      tables: bed.tables,
      schemas: bed.source.flavour === bed.target.flavour ? new Map() : new Map([[bed.schema, 'public']]),
      ...config,
    },
    carried: null,
    settling,
  });
}

/** The data of one side. */
export function dataOf(side: Pick<BedSide, 'flavour' | 'database'>, context: CollectorContext): DataPort {
  const engine = side.flavour === 'postgres' ? postgresEngine : mysqlEngine;
  return engine.data(side.database, context);
}

/** What a pass has said. */
export interface Passed {
  readonly end: PassEnd;
  readonly results: ReadonlyMap<string, TableResult>;
  /** Where it was at the last moment that it told. */
  readonly saved: PassState | null;
  readonly seconds: number;
}

/** An order for all tables or some. */
export function orderOf(tables: readonly string[] | null = null): PassOrder {
  return { pass: randomUUID(), startedAt: Date.now(), tables, direction: 'forward', epoch: 0, actor: 'test' };
}

/** Runs a pass to its end, or until `signal` aborts. */
export async function runPass(
  verifier: Verifier,
  pass: PassOrder | PassState = orderOf(),
  options: { signal?: AbortSignal; progress?: (p: PassProgress) => void; save?: (s: PassState) => void } = {},
): Promise<Passed> {
  const results = new Map<string, TableResult>();
  let saved: PassState | null = null;
  const from = performance.now();
  const end = await verifier.run(
    pass,
    {
      progress: (p) => options.progress?.(p),
      table: (result) => void results.set(result.table, result),
      save: (state) => {
        // As a store would keep it.
        saved = JSON.parse(JSON.stringify(state)) as PassState;
        options.save?.(saved);
      },
    },
    options.signal ?? new AbortController().signal,
  );
  return { end, results, saved, seconds: (performance.now() - from) / 1_000 };
}

/** What of a table's result is looked at; the API answers the same by other names. */
export type Found = Pick<TableResult, 'table' | 'state' | 'reason' | 'mismatchedRows' | 'mismatches'>;

const keyText = ({ kind, key }: Mismatch, keyless: boolean): string =>
  keyless ? kind : `${kind} ${JSON.stringify(Object.fromEntries(Object.entries(key).sort()))}`;

/**
 * What is wrong with results, given what was planted; empty when every difference was found and named, and nothing else.
 * Tables of `moving` may be `not-settled` where nothing was planted in them.
 */
export function problemsOf(
  bed: Pick<VerifyBed, 'tables' | 'schema'>,
  plants: readonly Plant[],
  results: Iterable<Found>,
  moving: readonly string[] = [],
): string[] {
  const problems: string[] = [];
  const found = new Map([...results].map((r) => [r.table, r]));
  for (const table of bed.tables) {
    const name = table.slice(bed.schema.length + 1);
    const own = plants.filter((p) => p.table === name);
    const result = found.get(table);
    if (result === undefined) {
      problems.push(`${table} has no result`);
      continue;
    }
    const expected = own.flatMap((p) => p.finds);
    const states = expected.length > 0 ? ['mismatch'] : moving.includes(name) ? ['match', 'not-settled'] : ['match'];
    if (!states.includes(result.state)) problems.push(`${table} is ${result.state}: ${result.reason ?? 'no reason'}`);
    if (result.mismatchedRows !== expected.length) {
      problems.push(`${table}: ${result.mismatchedRows} rows, ${expected.length} were planted`);
    }
    const keyless = name === 'logs';
    const left = result.mismatches.map((m) => keyText(m, keyless));
    for (const plant of own) {
      for (const find of plant.finds) {
        const at = left.indexOf(keyText(find, keyless));
        if (at < 0) problems.push(`not found: ${plant.name} (${table}, ${keyText(find, keyless)})`);
        else left.splice(at, 1);
      }
    }
    if (expected.length <= MOST_LISTED) problems.push(...left.map((l) => `never planted: ${table}, ${l}`));
  }
  return problems;
}
