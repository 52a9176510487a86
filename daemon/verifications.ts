/** Verification of all migrations: who is compared, and at most so many at once. */
import type { Verifier } from '../collectors/verify/verifier.js';
import { passwordDigest } from './collecting.js';
import type { Config, DatabaseConfig, MigrationConfig, VerifyConfig } from './core/config.js';
import { Refusal } from './core/errors.js';
import type { VerifyJson, VerifyRowJson } from './http/port.js';
import { MigrationVerification, type VerificationParts } from './migration-verification.js';
import type { Store } from './store/store.js';
import { VerifyMemory } from './verify-memory.js';
import { Turns } from './verify-turns.js';

/** Passes of different migrations that run at once. */
const MOST_AT_ONCE = 2;

/** What it needs of the daemon besides. */
export interface VerificationsParts extends VerificationParts {
  config: () => Config;
  store: Store;
  /** What compares the data of a migration. */
  verifier: (migration: MigrationConfig & { verify: VerifyConfig }) => Verifier;
}

/** Verification of a daemon. */
export class Verifications {
  private readonly all = new Map<string, { key: string; one: MigrationVerification }>();
  private readonly turns = new Turns(MOST_AT_ONCE);

  constructor(private readonly parts: VerificationsParts) {}

  /** Makes what is compared that of the configuration; what has changed begins anew, and its pass ends. */
  async apply(): Promise<void> {
    const config = this.parts.config();
    const wanted = new Map(
      [...config.migrations.values()].flatMap((m) => (isCompared(m) ? [[m.name, m] as const] : [])),
    );
    for (const [name, { key, one }] of this.all) {
      const m = wanted.get(name);
      if (m !== undefined && keyOf(m, config) === key) continue;
      this.all.delete(name);
      await one.stop('the configuration was changed');
    }
    for (const m of wanted.values()) {
      const there = this.all.get(m.name);
      if (there === undefined) this.begin(m, config);
      else there.one.reschedule(m);
    }
  }

  /** Makes known what the mere passing of time changes; called about once a second. */
  tick(): void {
    for (const { one } of this.all.values()) one.refresh();
  }

  /** What is known of a migration's direction, or of its chain, has changed. */
  turned(migration: string): void {
    this.all.get(migration)?.one.refresh();
  }

  /** The clocks jumped. */
  jumped(): void {
    for (const { one } of this.all.values()) one.jumped();
  }

  /** Ends everything; passes go on after a restart. */
  async stop(): Promise<void> {
    await Promise.all([...this.all.values()].map(({ one }) => one.stop(null)));
    this.all.clear();
  }

  /** As `DaemonPort.startVerify`. */
  start(migration: string, { tables, actor }: { tables: string[] | null; actor: string }): Promise<{ pass: string }> {
    return Promise.resolve().then(() => this.of(migration).begins(tables, actor));
  }

  /** As `DaemonPort.stopVerify`. */
  end(migration: string, actor: string): Promise<{ pass: string }> {
    return Promise.resolve().then(() => this.of(migration).ends(actor));
  }

  /** As `DaemonPort.verifyRows`. */
  rows(migration: string, table: string, keys: Record<string, string>[]): Promise<VerifyRowJson[]> {
    return Promise.resolve().then(() => this.of(migration).rows(table, keys));
  }

  /** As `DaemonPort.verification`. */
  json(migration: string): VerifyJson | undefined {
    if (!this.parts.config().migrations.has(migration)) return undefined;
    const none = {
      configured: false,
      running: null,
      last: null,
      last_complete_at: null,
      next_at: null,
      narrower: null,
      tables: [],
    };
    return this.all.get(migration)?.one.json() ?? none;
  }

  private of(migration: string): MigrationVerification {
    const found = this.all.get(migration);
    if (found !== undefined) return found.one;
    throw new Refusal(409, 'not_configured', `${migration} has no \`verify\` section`, 'add one to compare its data');
  }

  private begin(m: MigrationConfig & { verify: VerifyConfig }, config: Config): void {
    const { clock, log, store } = this.parts;
    const kept = new VerifyMemory(store, clock, log, m.name, basisOf(m, config));
    const one = new MigrationVerification(this.parts, m, this.parts.verifier(m), kept, this.turns);
    this.all.set(m.name, { key: keyOf(m, config), one });
    one.start();
  }
}

function isCompared(m: MigrationConfig): m is MigrationConfig & { verify: VerifyConfig } {
  return m.verify !== undefined;
}

function sidesOf(m: MigrationConfig, config: Config): (DatabaseConfig | undefined)[] {
  return [config.databases.get(m.source), config.databases.get(m.target)];
}

/** Which data was compared. */
function basisOf(m: MigrationConfig, config: Config): string {
  const where = sidesOf(m, config).map((db) => [db?.engine, db?.address.host, db?.address.port, db?.address.database]);
  return JSON.stringify(where);
}

/** Everything that decides how it is compared, but for when. */
function keyOf(m: MigrationConfig & { verify: VerifyConfig }, config: Config): string {
  const plain = (value: unknown): unknown => (value instanceof Map ? [...(value as Map<unknown, unknown>)] : value);
  const verify = Object.entries({ ...m.verify, schedule: null }).map(([name, value]) => [name, plain(value)]);
  const sides = sidesOf(m, config).map((db) => [db, db === undefined ? null : passwordDigest(db)]);
  return JSON.stringify([verify, sides, m.links.forward.via, m.links.forward.tables]);
}
