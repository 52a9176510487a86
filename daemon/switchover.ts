/**
 * Changes of direction: promotions and rollbacks, declared by an operator or detected while a fence is drained. Nothing
 * here moves data or traffic; it makes known, durably and to every daemon, which side carries the writes from now on.
 *
 * In order: the fence is proved anew; the old side says where it stands, and its reader must pass that without a write;
 * the change is journaled; the row is written on the new active side; the direction is taken up.
 */
import { createHash } from 'node:crypto';
import type { Log, SidePort } from '../collectors/collector.js';
import { askOrRefuse, askSide } from './asking.js';
import { US_PER_MS, type Clock } from './core/clock.js';
import type { Config, MigrationConfig } from './core/config.js';
import type { Direction, DirectionRow } from './core/direction.js';
import { LockgateError, messageOf, Refusal } from './core/errors.js';
import type { DirectionRows } from './core/observation.js';
import type { FenceMemory } from './core/fence-memory.js';
import { formatPosition, isBeyond, type Position } from './core/position.js';
import type { LinkName, SideName } from './core/signal.js';
import type { LocalWrite } from './core/stray.js';
import type { Engine } from './engine.js';
import type { Fences } from './fences.js';
import type { DirectionChange, DirectionChangeJson, FenceJson } from './http/port.js';
import { demandJournal, notJournaled } from './recorder.js';
import type { Store } from './store/store.js';

/** What changes of direction are made of. */
export interface SwitchoverParts {
  config: () => Config;
  clock: Clock;
  log: Log;
  engine: Engine;
  fences: Fences;
  store: Store;
  side: (database: string) => SidePort;
  /** Writes to the journal before anybody sees the effect; false when it cannot be written. */
  must: (kind: string, migration: string, actor: string, data: Record<string, unknown>) => boolean;
  note: (kind: string, migration: string, actor: string, data: Record<string, unknown>) => void;
  /** A change was declared. */
  declared?: (done: DirectionChangeJson) => void;
  /** Everything that must survive a restart. */
  save: () => void;
}

/** How long the old side's reader may take to pass where the old side stands. */
const SILENCE_MS = 3_000;
/** Answers that are kept for their Idempotency-Key, by migration. */
const MOST_ANSWERS = 50;
/** A detected promotion that was refused is tried again after so long. */
const DETECT_EVERY_MS = 1_000;

/** The first answer to a key, also across a restart. */
interface KeptAnswer {
  key: string;
  /** Of what was asked, because a key stands for one question. */
  asked: string;
  answer:
    { done: DirectionChangeJson } | { refused: { status: 409; code: string; message: string; hint: string | null } };
}

/** Where the old side stood, and what should be said about that. */
interface OldSide {
  stand: Position | null;
  warnings: string[];
}

/** Declares changes of direction, one at a time for each migration. */
export class Switchover {
  private readonly busy = new Map<string, Promise<unknown>>();
  /** Also those that could not be written. */
  private readonly answers = new Map<string, KeptAnswer[]>();
  private readonly detectAfter = new Map<string, number>();

  constructor(private readonly parts: SwitchoverParts) {}

  /** Declares a change; the same key gets the first answer again. */
  async change(change: DirectionChange): Promise<DirectionChangeJson> {
    const { migration } = change;
    const before = this.busy.get(migration) ?? Promise.resolve();
    const mine = before.catch(() => undefined).then(() => this.answer(change));
    this.busy.set(migration, mine);
    try {
      return await mine;
    } finally {
      if (this.busy.get(migration) === mine) this.busy.delete(migration);
    }
  }

  /** A write was seen on the passive side while a fence is drained: with `promotion: detect` that is a promotion. */
  targetWrote(migration: string, first: LocalWrite): void {
    const { config, clock, engine, log } = this.parts;
    const m = config().migrations.get(migration);
    const direction = engine.direction(migration);
    if (m?.promotion !== 'detect' || direction.direction === 'unknown' || this.busy.has(migration)) return;
    if (clock.monotonicNow() < (this.detectAfter.get(migration) ?? -Infinity)) return;
    this.detectAfter.set(migration, clock.monotonicNow() + DETECT_EVERY_MS * US_PER_MS);
    const passive = direction.direction === 'forward' ? m.target : m.source;
    const reason = `detected: ${passive} was written to at ${first.position} while a fence was drained and ${direction.direction === 'forward' ? m.source : m.target} was silent`; // prettier-ignore
    const action = direction.direction === 'forward' ? 'promote' : 'rollback';
    const asked = { migration, action, reason, expect: direction.direction, force: false, actor: 'lockgate' } as const;
    this.change({ ...asked, idempotencyKey: null }).catch((error: unknown) => {
      log.warn({ migration }, `a promotion looked as if it had happened, and was not taken up: ${messageOf(error)}`);
    });
  }

  private async answer(change: DirectionChange): Promise<DirectionChangeJson> {
    const { migration, idempotencyKey: key } = change;
    if (key === null) return this.carryOut(change);
    const asked = digestOf(change);
    const kept = this.kept(migration).find((k) => k.key === key);
    if (kept !== undefined) {
      if (kept.asked !== asked) {
        throw new Refusal(409, 'key_reused', 'this Idempotency-Key was used for another question: use a new one');
      }
      if ('done' in kept.answer) return kept.answer.done;
      const { status, code, message, hint } = kept.answer.refused;
      throw new Refusal(status, code, message, hint);
    }
    try {
      const done = await this.carryOut(change);
      this.keep(migration, { key, asked, answer: { done } });
      return done;
    } catch (error) {
      // What could not be decided now may be asked again under the same key.
      if (error instanceof Refusal && error.status === 409) {
        const { status, code, message, hint } = error;
        this.keep(migration, { key, asked, answer: { refused: { status, code, message, hint } } });
      }
      throw error;
    }
  }

  private async carryOut(change: DirectionChange): Promise<DirectionChangeJson> {
    const { config, store, engine, clock, fences } = this.parts;
    const { migration, action, actor, reason, force } = change;
    const m = config().migrations.get(migration);
    if (m === undefined) throw new Refusal(404, 'not_found', `there is no migration ${migration}`);
    demandJournal(store);
    const { epoch } = this.present(change);
    const [from, to]: [LinkName, LinkName] = action === 'promote' ? ['forward', 'reverse'] : ['reverse', 'forward'];
    const [oldSide, newSide]: [SideName, SideName] = action === 'promote' ? ['source', 'target'] : ['target', 'source'];
    const proved = await fences.proved(migration, from);
    const fence = proved !== null && proved.json.state === 'drained' ? proved : null;
    if (fence === null && !force) throw notDrained(change, proved?.json ?? null);
    // Writes beyond where the old side stands now are nobody's until the row is written, and stray afterwards.
    const seen = fences.see(m[oldSide]);
    const seenSince = clock.wallNow();
    try {
      const old =
        fence === null ? await this.askOldSide(m[oldSide]) : await this.silence(change, m[oldSide], fence.memory);
      const row: DirectionRow = {
        migration,
        epoch: epoch + 1,
        direction: to,
        changedAt: new Date(clock.wallNow()).toISOString(),
        changedBy: actor,
        reason,
      };
      const evidence = {
        ...{ direction: to, epoch: row.epoch, reason, forced: fence === null, expect: change.expect },
        fence: fence?.json.id ?? null,
        old_side: m[oldSide],
        old_side_position: old.stand === null ? null : formatPosition(old.stand),
        new_side: m[newSide],
      };
      if (!this.parts.must(action, migration, actor, { step: 'declaring', ...evidence })) throw notJournaled();
      const rows = await this.declare(m, newSide, row);
      const because = `${action} declared by ${actor}: ${reason}`;
      // At once: a write of the old side is told either to the fence or to who counts strays, and to nobody twice.
      engine.observe(rows);
      const closed = fence === null ? null : fences.closed(migration, because, actor);
      const warnings = [...old.warnings, ...unconfirmed(engine.direction(migration), to)];
      if (fence === null) fences.overtaken(migration, `the direction was changed past it: ${because}`, actor);
      const late =
        closed?.late ?? seen.writes.filter((w) => old.stand === null || isBeyond(w.position, old.stand) !== false);
      const gap = seen.lost
        ? {
            from: seenSince,
            to: clock.wallNow(),
            reason: 'the watch of its local writes ended while the direction was changed',
          }
        : null;
      if (late.length > 0 || gap !== null) engine.countStrays(migration, oldSide, late, gap);
      if (gap !== null) warnings.push(`${m[oldSide]}: ${gap.reason}, so that stray writes may have gone unseen`);
      if (late.length > 0) {
        warnings.push(
          fence === null
            ? `${late.length} writes came to ${m[oldSide]} beyond where it stood: they are stray`
            : `${late.length} writes came to ${m[oldSide]} after it had been found silent: they are stray`,
        );
      }
      const done: DirectionChangeJson = {
        ...{
          migration,
          action,
          direction: to,
          epoch: row.epoch,
          changed_at: row.changedAt ?? '',
          changed_by: actor,
          reason,
        },
        forced: fence === null,
        fence: closed?.json ?? null,
        old_side_position: evidence.old_side_position,
        warnings,
      };
      this.parts.note(action, migration, actor, { step: 'declared', ...evidence, warnings });
      this.parts.declared?.(done);
      this.parts.save();
      this.parts.log.warn(
        { migration, direction: to, epoch: row.epoch, actor, forced: fence === null },
        `${action} of ${migration}`,
      );
      return done;
    } catch (error) {
      fences.reopen(migration);
      this.parts.note(action, migration, actor, { step: 'failed', why: messageOf(error) });
      throw error;
    } finally {
      fences.unsee(seen);
    }
  }

  /** The direction as it is, if it is what the caller and the action expect. */
  private present({ migration, action, expect, force }: DirectionChange): { epoch: number } {
    const { engine } = this.parts;
    const starts: LinkName = action === 'promote' ? 'forward' : 'reverse';
    const known = engine.direction(migration);
    if (known.direction === 'unknown' && !force) {
      throw new Refusal(
        409,
        'direction_unknown',
        `the direction of ${migration} is unknown: ${known.reason}`,
        'a side that cannot be read may hold a newer direction; in an emergency use force',
      );
    }
    const at = known.direction === 'unknown' ? engine.lastDirection(migration) : known;
    if (at === null) {
      throw new Refusal(409, 'direction_unknown', `the direction of ${migration} has never been known to this daemon`, 'write the row into lockgate.direction of the new active side by hand'); // prettier-ignore
    }
    if (at.direction !== expect || at.direction !== starts) {
      const wrong = at.direction === expect ? `a ${action} starts from ${starts}` : `expected was ${expect}`;
      throw new Refusal(409, 'direction_unexpected', `the direction of ${migration} is ${at.direction}: ${wrong}`);
    }
    return { epoch: at.epoch };
  }

  /** The old side must be silent up to where it stands now, and must be what the fence was placed on. */
  private async silence(change: DirectionChange, database: string, fence: FenceMemory): Promise<OldSide> {
    const { clock, side } = this.parts;
    const stand = await askOrRefuse(clock, database, (signal) => side(database).stand(signal));
    if (stand.identity !== fence.identity.source) {
      throw new Refusal(409, 'identity_changed', `${database} is not the server that fence ${fence.id} was placed on`);
    }
    if (stand.schema !== fence.schema) {
      throw new Refusal(
        409,
        'schema_changed',
        `the tables of ${database} were changed after fence ${fence.id} was placed`,
        'make the same change on the other side, then place a new fence',
      );
    }
    const why = await this.parts.fences.silentUntilNow(change.migration, fence.id, SILENCE_MS);
    if (why !== null)
      throw new Refusal(409, 'not_silent', why, 'make sure that writes have stopped, then place a new fence');
    return { stand: stand.position, warnings: [] };
  }

  /** Without a fence the old side is asked where it stands, if it still answers. */
  private async askOldSide(database: string): Promise<OldSide> {
    const warnings = ['forced without a drained fence: what the old side had and the new side has not is not known'];
    try {
      const { clock, side } = this.parts;
      const stand = await askSide(clock, (signal) => side(database).stand(signal));
      return { stand: stand.position, warnings };
    } catch (error) {
      if (!(error instanceof LockgateError)) throw error;
      return { stand: null, warnings: [...warnings, `${database} does not tell where it stands: ${error.message}`] };
    }
  }

  /** Writes the row on the new active side; answers what the table says then. */
  private async declare(m: MigrationConfig, side: SideName, row: DirectionRow): Promise<DirectionRows> {
    const { engine, clock } = this.parts;
    const database = m[side];
    engine.expectTouch(database);
    let rows: DirectionRows;
    try {
      rows = await askOrRefuse(clock, database, (signal) => this.parts.side(database).declare(row, signal));
    } catch (error) {
      // The row may have been written all the same, or be written still.
      engine.doubtTouch(database);
      throw error;
    }
    const found = rows.rows?.find((r) => r.migration === row.migration);
    if (found?.epoch === row.epoch && found.direction === row.direction && found.changedBy === row.changedBy)
      return rows;
    engine.dropTouch(database);
    engine.observe(rows);
    const what =
      found === undefined
        ? (rows.reason ?? 'it has no row')
        : `it says ${found.direction} with epoch ${found.epoch}, by ${found.changedBy ?? 'nobody named'}`;
    throw new Refusal(
      409,
      'overtaken',
      `lockgate.direction on ${database} was changed by somebody else meanwhile: ${what}`,
    );
  }

  private kept(migration: string): KeptAnswer[] {
    const known = this.answers.get(migration);
    if (known !== undefined) return known;
    const text = this.parts.store.get(keyOf(migration));
    return text === null ? [] : (JSON.parse(text) as KeptAnswer[]);
  }

  private keep(migration: string, answer: KeptAnswer): void {
    const all = [answer, ...this.kept(migration)].slice(0, MOST_ANSWERS);
    this.answers.set(migration, all);
    try {
      this.parts.store.set(keyOf(migration), JSON.stringify(all));
    } catch (error) {
      this.parts.log.error({ migration }, `the answer to an Idempotency-Key could not be kept: ${messageOf(error)}`);
    }
  }
}

function notDrained({ migration, action }: DirectionChange, fence: FenceJson | null): Refusal {
  const what =
    fence === null
      ? `no fence is open on ${migration}`
      : `fence ${fence.id} is ${fence.state}${fence.missing.reasons.length === 0 ? '' : `: ${fence.missing.reasons.join('; ')}`}`;
  return new Refusal(409, 'not_drained', `${what}; a ${action} needs a drained one`, 'stop writes, place a fence and wait until it is drained; in an emergency use force'); // prettier-ignore
}

/** What should be said when the direction that was written does not show yet. */
function unconfirmed(now: Direction, wanted: LinkName): string[] {
  if (now.direction === wanted) return [];
  const what = now.direction === 'unknown' ? now.reason : `it still shows as ${now.direction}`;
  return [`the direction was written, and cannot be confirmed yet: ${what}`];
}

function digestOf({ migration, action, reason, expect, force }: DirectionChange): string {
  return createHash('sha256')
    .update(JSON.stringify([migration, action, reason, expect, force]))
    .digest('hex');
}

function keyOf(migration: string): string {
  return `direction-answers/${migration}`;
}
