import type { DatabaseConfig, LinkConfig, OmittedCondition } from '../core/config.js';
import type { LinkName, SideName } from '../core/signal.js';

/** A gate as a preset writes it. */
export interface PresetGate {
  name: string;
  require: readonly string[];
  omitted: readonly OmittedCondition[];
  /** As `gaps.tolerate` of a gate, microseconds. */
  gapToleranceUs: number;
}

/** A link as far as a preset depends on it. */
export interface PresetLink {
  via: LinkConfig['via'];
  /** `retention_limit` is configured for it. */
  limited: boolean;
  /** It does not run before the flip (`starts: with-flip`). */
  startsWithFlip: boolean;
}

/** A side as far as a preset depends on it. */
export interface PresetSide {
  read: DatabaseConfig['read'];
  /** Replication writes to it through ordinary sessions, for this migration or another one. */
  bySessions: boolean;
  /** The application writes to both sides itself: no write there is astray, and no fence can be placed. */
  dual: boolean;
}

const BY_HAND = 'DMS does not tell it: look at its tasks and their table mappings, and attest dms-checked';
/** Why local writes are no condition where DMS applies. */
export const BY_SESSIONS = 'DMS applies through ordinary sessions, which look like local writes';

/** Why a condition on a link is none where nothing is replicated. */
export const NO_LINK = 'with `via: none` nothing is replicated: the application writes to both sides';

/** Why the local writes of a side say nothing of the order of things; null when they do. */
export function unwatched({ read, bySessions, dual }: PresetSide): string | null {
  if (dual) return NO_LINK;
  if (bySessions) return BY_SESSIONS;
  return read === 'off' ? 'with `read: off` nobody watches local writes' : null;
}

/** A gate of a preset while it is put together: what it asks, and what it leaves out and why. */
export class Recipe {
  readonly #require: string[] = [];
  readonly #omitted: OmittedCondition[] = [];

  /** Unknown stretches of up to `gapToleranceUs` do not restart its holds. */
  constructor(
    private readonly name: string,
    private readonly gapToleranceUs = 0,
  ) {}

  /** The gate as it stands. */
  get gate(): PresetGate {
    return { name: this.name, require: this.#require, omitted: this.#omitted, gapToleranceUs: this.gapToleranceUs };
  }

  /** Adds conditions. */
  ask(...conditions: readonly string[]): this {
    this.#require.push(...conditions);
    return this;
  }

  /** Names a condition that the gate would have, and why it has not. */
  leaveOut(condition: string, why: string): this {
    this.#omitted.push({ condition, why });
    return this;
  }

  /**
   * The link has been level for `hold`: small by both measures, which agree, with nothing wrong in the machinery and the
   * chain unbroken.
   */
  level(link: LinkName, by: PresetLink, limit: string, hold = '10m'): this {
    if (by.via === 'dms') return this.#levelByRow(link, limit, hold);
    return this.#ofLink(
      by,
      `${link}.lag < ${limit} for ${hold}`,
      `${link}.lag_by_position < ${limit} for ${hold}`,
      `${link}.agreement is 1 for ${hold}`,
    ).sound(link, by, hold);
  }

  /** The machinery of a link that is not by DMS has run for `hold`, and its chain is unbroken: known without any heartbeat. */
  sound(link: LinkName, by: PresetLink, hold: string): this {
    const { via } = by;
    if (via === 'none') return this.#ofLink(by, `${link}.running is 1 for ${hold}`, `${link}.continuity is 1`);
    this.ask(`${link}.running is 1 for ${hold}`, `${link}.continuity is 1`);
    if (via === 'mysql') return this.ask(`${link}.errors is 0 for ${hold}`);
    return this.leaveOut(
      `${link}.errors is 0 for ${hold}`,
      via === 'postgres-physical'
        ? 'a standby has no count of apply errors: it stops, and then `running` is 0'
        : 'servers before 15 do not count them; an error that stays stops its flow, which `running` and ' +
            '`lag_by_position` see. Where the receiving side is 15 or newer it can be added',
    );
  }

  #levelByRow(link: LinkName, limit: string, hold: string): this {
    return this.ask(
      `${link}.lag < ${limit} for ${hold}`,
      `${link}.running is 1 for ${hold}`,
      `${link}.errors is 0 for ${hold}`,
    )
      .dmsChecked()
      .leaveOut(`${link}.lag_by_position < ${limit} for ${hold}`, 'DMS tells no applied position: only the row counts')
      .leaveOut(`${link}.agreement is 1 for ${hold}`, 'there is only the heartbeat row to go by')
      .leaveOut(`${link}.continuity is 1`, BY_HAND);
  }

  /** Someone has looked at what of the tasks nobody tells lockgate. */
  dmsChecked(): this {
    const condition = 'attest.dms-checked.age < 1h';
    return this.#require.includes(condition) ? this : this.ask(condition);
  }

  /** Conditions on a link that nobody but DMS could answer over a link by DMS; asked over any other. */
  unlessDms(by: PresetLink, ...conditions: readonly string[]): this {
    if (by.via !== 'dms') return this.#ofLink(by, ...conditions);
    for (const condition of conditions) this.leaveOut(condition, BY_HAND);
    return this.dmsChecked();
  }

  /** Every table that ought to be carried is, and its first copy is finished. */
  carried(link: LinkName, by: PresetLink): this {
    const [uncovered, condition] = [`${link}.tables_uncovered is 0`, `${link}.tables_syncing is 0`];
    if (by.via === 'dms') return this.ask(condition).unlessDms(by, uncovered);
    if (by.via === 'none') return this.#ofLink(by, uncovered, condition);
    if (by.via !== 'mysql') return this.ask(uncovered, condition);
    this.ask(uncovered);
    // The way back begins at the side that has had its rows all along.
    if (link === 'reverse') return this.leaveOut(condition, 'MySQL replication copies no table, and the way back needs no copy'); // prettier-ignore
    return this.ask('attest.initial-copy-complete.age < 30d').leaveOut(
      condition,
      'MySQL replication copies no table: whoever made the target from a dump or a clone attests initial-copy-complete',
    );
  }

  /** The log that is kept back for the link does not run out of room; without a limit nobody knows how much there is. */
  roomFor(link: LinkName, by: PresetLink): this {
    const { limited, via } = by;
    const condition = `${link}.runway > 1d`;
    if (via === 'none') return this.#ofLink(by, condition);
    if (via === 'dms') return this.leaveOut(condition, BY_HAND);
    if (limited) return this.ask(condition);
    return this.leaveOut(
      condition,
      via === 'mysql'
        ? 'the link has no `retention_limit`: set it, or add this condition where the source lets its binlogs expire'
        : 'the link has no `retention_limit`: set it, or watch the space that the slot keeps back',
    );
  }

  /** Both sides hold the same, by a comparison of everything in the last day; `byHand` is asked where nothing is compared. */
  compared(verify: boolean, byHand: string): this {
    const all = ['verify.mismatched_rows is 0', 'verify.coverage >= 100%', 'verify.age < 1d'];
    // A table that is missing on one side differs even if it has no rows.
    if (verify) return this.ask(...all, 'verify.mismatched_tables is 0');
    this.ask(`attest.${byHand}.age < 1d`);
    for (const condition of all) {
      this.leaveOut(condition, `the migration has no \`verify\` section: compare the data, and attest ${byHand}`);
    }
    return this;
  }

  /** Conditions on a link, where there is one. */
  #ofLink({ via }: PresetLink, ...conditions: readonly string[]): this {
    if (via !== 'none') return this.ask(...conditions);
    for (const condition of conditions) this.leaveOut(condition, NO_LINK);
    return this;
  }

  /** Nobody has written to the side that is passive in this phase; after the flip that could be a split brain too. */
  noStrays(name: SideName, side: PresetSide): this {
    const conditions = ['standby.stray_writes is 0', ...(name === 'source' ? ['split_brain is 0'] : [])];
    const why = unwatched(side);
    if (why === null) return this.ask(...conditions);
    for (const condition of conditions) {
      this.leaveOut(condition, `${why}: make sure that nobody else writes to the ${name}`);
    }
    return this;
  }

  /** Whoever stops the writes of this side finds them watched, so that a fence there waits for nothing. */
  fenceable(name: SideName, side: PresetSide): this {
    // True of every value, and so of every value that is known.
    const condition = `${name}.local_writes >= 0 for 1m`;
    const why = unwatched(side);
    if (why !== null) return this.leaveOut(condition, `${why}, so that no fence can be placed on the ${name}`);
    if (side.read === 'on') return this.ask(condition);
    return this.leaveOut(
      condition,
      `on the side that carries the writes they are watched from the fence on; with \`read: on\` for the ${name} they are all ` +
        'the time, and a fence needs no time to arm',
    );
  }

  /** Someone has looked at the traffic lately: what is too many errors or too slow is nobody's to guess. */
  trafficChecked(traffic: readonly string[]): this {
    this.ask('attest.traffic-checked.age < 1h');
    const own = 'a threshold never defaults: write this gate with yours, and attest traffic-checked until then';
    for (const name of traffic) this.leaveOut(`traffic.${name} < … for 10m`, own);
    if (traffic.length > 0) return this;
    return this.leaveOut(
      'traffic.NAME < … for 10m',
      'no `traffic` is configured for the migration: attest traffic-checked at each step',
    );
  }

  /** What clients remember of the names that are switched is forgotten within a minute. */
  lowTtl(dns: readonly string[]): this {
    if (dns.length > 0) return this.ask(...dns.map((name) => `dns.${name}.ttl <= 60s`));
    return this.leaveOut(
      'dns.NAME.ttl <= 60s',
      'no `dns` is configured for the migration: look at the TTL of the names that are switched, and attest traffic-checked',
    );
  }
}
