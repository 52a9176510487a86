import type { LinkConfig, MigrationConfig } from '../core/config.js';
import { isDmsSignal, MIGRATION_SIGNALS, type LinkName } from '../core/signal.js';
import { APPLIED_BY_SESSIONS, DUAL_WRITES } from '../core/stray.js';
import { VERIFY_SIGNALS } from '../core/verify-readings.js';
import { isRecord } from './issues.js';
import type { Path } from './locate.js';
import type { Problems } from './problems.js';

/** A part of the configuration that is specified but not built yet. */
interface Unavailable {
  /** `*` is any name. */
  path: Path;
  /** Only these values; without, the part as a whole. */
  values?: readonly string[];
  what: string;
  hint: string;
}

/**
 * What this version refuses although the schema knows it. An alert that silently never fires, or a comparison that never
 * runs, would be worse than none. Whoever builds a part deletes its row.
 */
const UNAVAILABLE: readonly Unavailable[] = [
  {
    path: ['databases', '*', 'password'],
    what: '`password: rds_iam`',
    hint: 'put a password into the URL, for example `${file:PATH}`, which is read again at each connection',
  },
];

/** Refuses, with one problem each, what this version does not do. */
export function refuseUnavailable(tree: unknown, problems: Problems): void {
  for (const row of UNAVAILABLE) {
    for (const { path, value } of matches(tree, row.path, [])) {
      if (value === undefined || (row.values !== undefined && !row.values.some((v) => v === value))) continue;
      const spot = { key: row.values === undefined };
      problems.add(path, `${row.what} is not available in this version`, row.hint, spot);
    }
  }
}

function matches(value: unknown, pattern: Path, path: Path): { path: Path; value: unknown }[] {
  const [part, ...rest] = pattern;
  if (part === undefined) return [{ path, value }];
  if (!isRecord(value)) return [];
  const keys = part === '*' ? Object.keys(value) : part === '(link)' ? ['forward', 'reverse'] : [String(part)];
  return keys.flatMap((key) => matches(value[key], rest, [...path, key]));
}

const MEASURED: ReadonlySet<string> = new Set([
  ...['forward', 'reverse', 'active', 'standby'].flatMap((l) =>
    [
      ...['lag', 'lag_low', 'lag_by_position', 'agreement', 'running', 'errors', 'backlog_bytes'],
      'backlog_transactions',
      'continuity',
      ...['tables_uncovered', 'tables_syncing', 'drain_eta', 'drain_eta_high', 'retained_bytes', 'runway'],
    ].map((s) => `${l}.${s}`),
  ),
  ...['source', 'target'].flatMap((side) =>
    [
      ...['reachable', 'writable', 'clock_skew', 'longest_transaction', 'connections'],
      'local_writes',
      'last_local_write_age',
    ].map((s) => `${side}.${s}`),
  ),
  'direction.reverse',
  'sequences.behind',
  'standby.stray_writes',
  'split_brain',
  'fence.drained',
  ...VERIFY_SIGNALS,
  ...Object.keys(MIGRATION_SIGNALS).filter(isDmsSignal),
]);

/** What this version measures of a link by DMS: its row, and what its tasks and control tables tell. */
const MEASURED_BY_DMS: ReadonlySet<string> = new Set(['lag', 'lag_low', 'running', 'errors', 'tables_syncing']);

/** The mechanism of each link of a migration, and whether its data is compared. */
export type Vias = Readonly<Partial<Record<LinkName, LinkConfig['via'] | undefined>>> & { readonly verify?: boolean };

/** The same of a migration that is resolved. */
export function viasOf({ links, verify }: Pick<MigrationConfig, 'links' | 'verify'>): Vias {
  return { forward: links.forward.via, reverse: links.reverse?.via, verify: verify !== undefined };
}

/** Why nothing is known of the replication of a link that has none. */
const NO_REPLICATION = 'this link has no replication (`via: none`)';

/**
 * Why a signal (named relative to its migration) is unknown for ever in this version, over these links; null when it is
 * measured, for `active.` and `standby.` in one direction at least.
 */
export function whyNotMeasured(signal: string, vias: Vias): string | null {
  if (!MEASURED.has(signal) && !/^(attest|traffic|dns)\./.test(signal)) {
    return 'this version of lockgate does not measure it';
  }
  const [head = '', name = ''] = signal.split('.');
  const { forward, reverse } = vias;
  if (head === 'verify') return vias.verify === true ? null : 'this migration has no `verify` section';
  if (forward === 'none') {
    const why = withoutReplication(signal, head);
    if (why !== null) return why;
  }
  if (isDmsSignal(signal)) {
    return [forward, reverse].includes('dms') ? null : 'no link of this migration comes by DMS';
  }
  if (signal === 'sequences.behind') {
    return forward === 'dms'
      ? 'sequences and auto-increment counters are not compared over a link by DMS in this version'
      : null;
  }
  if (
    name === 'local_writes' ||
    name === 'last_local_write_age' ||
    name === 'stray_writes' ||
    signal === 'split_brain'
  ) {
    // Whichever side is passive: without a link into it, nothing but clients writes to the source.
    const into = head === 'target' ? [forward] : head === 'source' ? [reverse] : [forward, reverse];
    return into.every((via) => via === 'dms') ? APPLIED_BY_SESSIONS : null;
  }
  const own = head === 'forward' ? [forward] : head === 'reverse' ? [reverse] : [forward, reverse ?? 'dms'];
  const ofLink = ['forward', 'reverse', 'active', 'standby'].includes(head);
  if (!ofLink || MEASURED_BY_DMS.has(name) || !own.every((via) => via === 'dms')) return null;
  if (name === 'lag_by_position' || name === 'agreement') {
    return 'DMS tells no applied position: there is only the heartbeat row to go by';
  }
  return 'this link comes by DMS, which does not tell it, and this version does not find it out by other means';
}

/** Why a signal of a migration of dual writes is never known; null when it can be. */
function withoutReplication(signal: string, head: string): string | null {
  if (signal === 'standby.stray_writes' || signal === 'split_brain') return DUAL_WRITES;
  if (signal === 'fence.drained') return `${NO_REPLICATION}, so that there is nothing that could drain`;
  if (signal === 'sequences.behind') return `${NO_REPLICATION}; sequences are compared along one only`;
  return ['forward', 'reverse', 'active', 'standby'].includes(head) ? NO_REPLICATION : null;
}
