/** A bed with the real daemon beside it, for verification from configuration to gate. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { SignalJson, VerifyJson } from '../../../daemon/http/port.js';
import type { JournalEntry } from '../../../daemon/store/store.js';
import { waitFor } from '../../../deploy/demo/run-folder.js';
import { crossWorkspace } from '../cross-scenario.js';
import { GateWatch, workspace, type Daemon, type Workspace } from '../lockgate.js';
import { closeRing, mysqlScenarioYaml, setUpMysql } from '../mysql-scenario.js';
import { runAll } from '../pair.js';
import { scenarioYaml, setUp, timing } from '../scenario-setup.js';
import { startVerifyBed, type BedKind, type VerifyBed } from './bed.js';
import type { Found } from './passes.js';

/** A migration whose data is compared. */
export interface VerifyScenario {
  readonly bed: VerifyBed;
  readonly lockgate: Workspace;
  daemon: Daemon;
  /** On `verify.mismatched_rows is 0`. */
  readonly clean: GateWatch;
  destroy(): Promise<void>;
}

/** How a scenario differs from the usual one. */
export interface VerifyScenarioOptions {
  readonly kind: BedKind;
  /** Replication runs both ways; on MySQL and MariaDB alone. */
  readonly ring?: boolean;
}

/** The section, at full speed unless told; of all that is carried, or it could clear nothing. */
export function verifySection(
  bed: VerifyBed,
  pace: { share: string; chunk: string } = { share: '100%', chunk: '200ms' },
): string {
  const tables = bed.tables.map((t) => JSON.stringify(t)).join(', ');
  const across =
    bed.source.flavour === bed.target.flavour ? '' : `tables: [ ${tables} ], schemas: { ${bed.schema}: public }, `;
  return `    verify: { ${across}chunk: ${pace.chunk}, source_share: ${pace.share} }\n`;
}

const GATES = `      clean: { require: "verify.mismatched_rows is 0" }
      silent: { require: "standby.stray_writes is 0" }
      unbroken: { require: "forward.continuity is 1" }
`;

/** The configuration at another pace. */
export function scenarioText(
  s: Pick<VerifyScenario, 'bed' | 'lockgate'>,
  options: VerifyScenarioOptions,
  pace?: { share: string; chunk: string },
): string {
  return textOf(s.bed, options, pace)(Number(new URL(s.lockgate.url).port));
}

function textOf(
  bed: VerifyBed,
  { ring = false }: VerifyScenarioOptions,
  pace?: { share: string; chunk: string },
): (port: number) => string {
  const { pair } = bed;
  const base =
    'flavour' in pair
      ? mysqlScenarioYaml(pair, { flavour: pair.flavour, ring })
      : 'kind' in pair
        ? scenarioYaml(pair, { via: 'postgres-logical' })
        : null;
  if (base === null) throw new RangeError('across engines the configuration is the relay’s');
  // Heartbeats close together: each look again at a row that differs waits for one.
  return (port) =>
    base(port)
      .replaceAll(`heartbeat: { interval: ${timing.intervalMs}ms`, 'heartbeat: { interval: 100ms')
      .replace('    gates:\n', `${verifySection(bed, pace)}    gates:\n${GATES}`);
}

/** Starts servers, setup and daemon, and waits until what there is to compare is known. */
export async function startVerifyScenario(options: VerifyScenarioOptions): Promise<VerifyScenario> {
  const cleanups: (() => Promise<void>)[] = [];
  try {
    const bed = await startVerifyBed(options.kind);
    cleanups.push(() => bed.destroy());
    const { pair } = bed;
    if (options.ring === true && 'flavour' in pair) await closeRing(pair);
    let lockgate: Workspace;
    if ('relay' in pair) {
      const cross = options.kind === 'cross' ? 'mysql' : 'mariadb';
      const more = verifySection(bed);
      lockgate = await crossWorkspace(pair, {
        from: cross,
        to: 'postgres',
        yaml: more,
        gates: GATES,
        heartbeatMs: 100,
      });
    } else {
      lockgate = await workspace(textOf(bed, options));
      if ('flavour' in pair) await setUpMysql(lockgate, pair);
      else await setUp(lockgate, pair);
    }
    cleanups.push(() => lockgate.destroy());
    const daemon = await lockgate.start();
    const clean = new GateWatch(lockgate.url, 'shop/clean');
    cleanups.push(() => clean.stop());
    const scenario: VerifyScenario = { bed, lockgate, daemon, clean, destroy: () => runAll(cleanups) };
    await ready(scenario);
    return scenario;
  } catch (error) {
    await runAll(cleanups);
    throw error;
  }
}

/** Waits until a pass could begin and the lag is known. */
export async function ready({ daemon }: Pick<VerifyScenario, 'daemon'>): Promise<void> {
  await waitFor('the lag and the tables to be known', 30_000, async () => {
    const { tables } = await verifyOf(daemon);
    return tables.length > 0 && (await daemon.signals()).get('active.lag')?.state === 'ok';
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${daemon.log().slice(-3_000)}`);
  });
}

/** What `GET …/verify` answers. */
export async function verifyOf(daemon: Daemon): Promise<VerifyJson> {
  return (await daemon.get<VerifyJson>('/v1/migrations/shop/verify')).body;
}

/** `POST …/verify`. */
export async function post(
  daemon: Daemon,
  path: string,
  body: unknown,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await fetch(`${daemon.url}/v1/migrations/shop/${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(30_000),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

/** Starts a pass and answers its id. */
export async function begin(daemon: Daemon, tables?: readonly string[]): Promise<string> {
  const { status, body } = await post(daemon, 'verify', tables === undefined ? {} : { tables });
  if (status !== 202) throw new Error(`the pass was refused: ${status} ${JSON.stringify(body)}`);
  return String(body['pass']);
}

/** Waits for the end of a pass. */
export async function ended(daemon: Daemon, pass: string, timeoutMs = 120_000): Promise<VerifyJson> {
  let seen: VerifyJson | null = null;
  return waitFor('the pass to end', timeoutMs, async () => {
    seen = await verifyOf(daemon);
    return seen.running === null && seen.last?.pass === pass ? seen : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(seen?.running)}\n${daemon.log().slice(-3_000)}`);
  });
}

/** The API's tables as `problemsOf` takes them. */
export function foundIn(json: VerifyJson): Found[] {
  return json.tables.map((t) => ({
    table: t.table,
    state: t.state === 'unknown' ? 'not-covered' : t.state,
    reason: t.reason,
    mismatchedRows: t.mismatched_rows ?? -1,
    mismatches: t.mismatches,
  }));
}

/** Journal entries of these kinds, oldest first. */
export async function journal(daemon: Daemon, ...kinds: string[]): Promise<JournalEntry[]> {
  const { body } = await daemon.get<{ entries: JournalEntry[] }>('/v1/journal?limit=1000');
  return body.entries.filter((e) => kinds.includes(e.kind));
}

/** Waits until a signal is as it should be; the last one is in the error. */
export async function signal(
  daemon: Daemon,
  name: string,
  is: (s: SignalJson) => boolean,
  timeoutMs = 15_000,
): Promise<SignalJson> {
  let last: SignalJson | undefined;
  return waitFor(`${name} to be as it should`, timeoutMs, async () => {
    last = (await daemon.signals()).get(name);
    return last !== undefined && is(last) ? last : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last)}`);
  });
}

/** Plants or takes back. */
export async function apply(
  bed: VerifyBed,
  what: 'plant' | 'undo',
  tables?: readonly string[],
): Promise<typeof bed.plants> {
  const own = bed.plants.filter((p) => tables === undefined || tables.includes(p.table));
  await bed.target.past(own.map((p) => p[what]).join('\n'));
  await sleep(10);
  return own;
}
