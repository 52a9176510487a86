/**
 * The newest fence of a migration while the daemon lives: keeps looking at both sides, judges, and tells whoever must know.
 * What it is judged by is in core/fence.ts.
 */
import type { FenceSight, Log, SidePort } from '../collectors/collector.js';
import { askSide } from './asking.js';
import { US_PER_MS, type Clock, type Us } from './core/clock.js';
import type { LinkConfig } from './core/config.js';
import { messageOf, reasonOf } from './core/errors.js';
import type { Fence, FenceVerdict } from './core/fence.js';
import type { LocalWrites } from './core/observation.js';
import { linkId, stateAt, valueAt } from './core/signal.js';
import type { LocalWrite } from './core/stray.js';
import type { Engine } from './engine.js';
import type { FenceArchive } from './fence-archive.js';
import { fenceJson } from './fence-json.js';
import type { Watches } from './fence-watches.js';
import type { FenceJson } from './http/port.js';

/** What a fence needs of the daemon while it is kept. */
export interface KeptParts {
  clock: Clock;
  log: Log;
  engine: Engine;
  archive: FenceArchive;
  watches: Watches;
  side: (database: string) => SidePort;
  /** Writes to the journal what has happened anyway. */
  note: (migration: string, actor: string, data: Record<string, unknown>) => void;
  publish: (fence: FenceJson) => void;
  changed: (migration: string) => void;
  stopping: AbortSignal;
}

const PLACED_EVERY_MS = 50;
const DRAINED_EVERY_MS = 250;
/** The end of a fence that could not be written is tried again after so long. */
const SAVE_EVERY_MS = 1_000;
/** A question waits so long for the source's reader to pass it. */
const PASS_MS = 1_500;
/** Transitions between drained and unknown that are journaled for one fence. */
const MOST_WAVERING = 20;
/** What DMS cannot tell lockgate must be vouched for so recently, in seconds. */
const ATTESTED_S = 86_400;
const IN_ORDER = 'dms-applies-in-order';

/** A fence that is open, or was the last to be. */
export class KeptFence {
  private readonly migration: string;
  private readonly marker: string | null;
  /** Who ends it, where that is not the daemon by itself. */
  private actor = 'lockgate';
  private said: string;
  private wavered = 0;
  private over: boolean;
  private keepAt: Us = -Infinity;
  private round: Promise<void> | null = null;
  private readonly ending = new AbortController();
  /** Aborts when it ends, or the daemon does. */
  private readonly until: AbortSignal;
  private loop: Promise<void> = Promise.resolve();
  /** While a change of direction is declared on it: writes of the source since, which end nothing any more. */
  private closing: LocalWrite[] | null = null;

  constructor(
    private readonly parts: KeptParts,
    readonly fence: Fence,
    readonly link: LinkConfig,
  ) {
    const { migration, marker, state } = fence.memory;
    this.migration = migration;
    this.marker = marker;
    this.over = !fence.isOpen;
    this.until = AbortSignal.any([this.ending.signal, parts.stopping]);
    // When it was placed, or ended before a restart, that was journaled.
    this.said = fence.isOpen ? 'placed' : state;
  }

  /** Whether a change of direction is being declared on it. */
  get isClosing(): boolean {
    return this.closing !== null;
  }

  /** Begins to look at both sides, as often as its state asks for. */
  run(): void {
    const { clock, log, archive, stopping } = this.parts;
    const { until } = this;
    const loop = async (): Promise<void> => {
      while (!until.aborted && this.fence.isOpen) {
        await this.look();
        const { state } = this.judge();
        await clock.sleep(state === 'placed' ? PLACED_EVERY_MS : DRAINED_EVERY_MS, until);
      }
      while (!stopping.aborted && !archive.has(this.fence.memory)) {
        await clock.sleep(SAVE_EVERY_MS, stopping);
        this.keep();
      }
    };
    this.loop = loop().catch((error: unknown) => {
      log.error({ migration: this.migration }, `fence: ${messageOf(error)}`);
    });
  }

  /** Resolves when it looks no more; writes what must survive. */
  async stopped(): Promise<void> {
    await this.loop;
    this.parts.archive.save(this.fence.memory);
  }

  /**
   * Proves it anew for a question that is asked now: both sides are looked at, and nothing that was committed on the source
   * before the question may be unseen. Where the reader does not come so far, it is not known to be drained.
   */
  async prove(): Promise<FenceJson> {
    const { clock, watches, stopping } = this.parts;
    if (!this.fence.isOpen || stopping.aborted) return this.judge();
    const asked = clock.monotonicNow();
    await this.look();
    const json = this.judge();
    if (json.state !== 'drained' || (this.fence.silentAt ?? -Infinity) >= asked) return json;
    await watches.passed(this.link.from, clock.monotonicNow(), PASS_MS);
    const again = this.judge();
    if (again.state !== 'drained' || (this.fence.silentAt ?? -Infinity) >= asked) return again;
    const why = `the reader of local writes of ${this.link.from} has not come as far as this question within ${PASS_MS / 1_000} s`;
    return { ...again, state: 'unknown', missing: { ...again.missing, reasons: [why] } };
  }

  /** Judges it now, and tells whoever must know of what has changed. */
  judge(): FenceJson {
    const { engine, clock } = this.parts;
    // While a change of direction is declared on it, the direction is about to be another one.
    const direction = engine.direction(this.migration);
    if (this.fence.isOpen && this.closing === null) this.hinder(direction);
    const now = clock.monotonicNow();
    const verdict = this.fence.judge(now, clock.wallNow());
    engine.setReading(this.migration, 'fence.drained', this.fence.reading(verdict, now));
    const json = fenceJson(this.fence.memory, verdict);
    if (!this.fence.isOpen && !this.over) this.finish();
    if (this.said !== verdict.state) this.tell(verdict, json);
    else if (!this.parts.archive.has(this.fence.memory) && now >= this.keepAt) this.keep();
    return json;
  }

  /** Takes writes of its source. */
  wrote(o: LocalWrites, wall: number): void {
    if (this.closing === null) this.fence.wrote(o.writes, wall);
    else this.closing.push(...this.fence.beyond(o.writes));
    this.judge();
  }

  /** Ends it by hand, or because a change of direction was declared. */
  end(state: 'closed' | 'cancelled', because: string, actor: string): FenceJson {
    if (this.fence.isOpen) {
      this.actor = actor;
      this.fence.end(state, this.parts.clock.wallNow(), because);
    }
    return this.judge();
  }

  /** A change of direction is being declared on it from now on. */
  close(): void {
    this.closing = [];
  }

  /** Ends it because the change was declared; answers the writes of its source that came since `close`. */
  closed(because: string, actor: string): { json: FenceJson; late: LocalWrite[] } {
    const late = this.closing ?? [];
    return { json: this.end('closed', because, actor), late };
  }

  /** The change was not declared after all: writes since count as always. */
  reopen(): void {
    if (this.closing === null) return;
    const writes = this.closing;
    this.closing = null;
    this.fence.wrote(writes, this.parts.clock.wallNow());
    this.judge();
  }

  /** One look at both sides; whoever asks while one is under way gets the next one. */
  private async look(): Promise<void> {
    if (this.round !== null) await this.round;
    this.round ??= this.lookOnce().finally(() => (this.round = null));
    await this.round;
  }

  private async lookOnce(): Promise<void> {
    const { clock, side } = this.parts;
    const { fence, link, marker, until } = this;
    const id = linkId(this.migration, link.name);
    const one = async (which: 'source' | 'target', asked: (s: AbortSignal) => Promise<FenceSight>): Promise<void> => {
      try {
        fence.looked(which, await askSide(clock, asked, until));
      } catch (error) {
        if (!until.aborted) fence.looked(which, { fault: reasonOf(error) });
      }
    };
    await Promise.all([
      one('source', (signal) => side(link.from).lookAtSource(signal)),
      one('target', (signal) => side(link.to).lookAtTarget(id, marker, signal)),
    ]);
  }

  /** What stands against it besides what collectors see. */
  private hinder(direction: ReturnType<Engine['direction']>): void {
    const { fence, link } = this;
    const { engine, clock } = this.parts;
    if (direction.direction === 'unknown') fence.hinder('direction', `the direction is unknown: ${direction.reason}`);
    else if (direction.direction !== fence.memory.link || direction.epoch !== fence.memory.epoch) {
      const state = fence.memory.state === 'drained' ? 'closed' : 'cancelled';
      const because = `the direction was declared to be ${direction.direction} (epoch ${direction.epoch}) elsewhere`;
      fence.end(state, clock.wallNow(), because);
    } else fence.hinder('direction', null);
    // A flow that was made anew, or skipped something, reports positions beyond the place without having applied what
    // lies before it; the marker tells that of its own flow only. A promotion breaks the chain as well, after its end.
    const id = linkId(this.migration, link.name);
    const broke = fence.isPromoted ? null : engine.brokenSince(id, fence.memory.placedAt);
    fence.hinder('chain', broke === null ? null : `the chain of changes broke after the fence was placed: ${broke}`);
    // A set of GTIDs is of the server, whatever became of the channel: there a chain that cannot be looked at does not matter.
    const { reachedAt } = fence;
    const looked = fence.isPromoted || reachedAt === null || engine.chainLookedAt(id, fence.isByGtid) >= reachedAt;
    const why = 'every flow is there, and it is not known yet whether the chain of changes was whole until then';
    fence.hinder('chain-look', looked ? null : why);
    if (link.via !== 'dms') return;
    const tasks = engine.reading(this.migration, `${link.name}.running`);
    const runs = stateAt(tasks, clock.monotonicNow()) === 'ok' && tasks.value === 1;
    fence.hinder(
      'tasks',
      runs ? null : `the DMS task is not known to run: ${tasks.reason ?? 'it was not seen lately'}`,
    );
    const age = valueAt(engine.reading(this.migration, `attest.${IN_ORDER}.age`), clock.monotonicNow());
    const vouched = age !== null && age < ATTESTED_S;
    fence.hinder(
      'order',
      vouched
        ? null
        : `with batch or parallel apply a marker may overtake older rows: see what \`lockgate doctor\` says of the task's settings, and attest ${IN_ORDER}`,
    );
  }

  /** Whatever has ended it, the switch is over: what was written to the passive side meanwhile is stray unless it was carried through. */
  private finish(): void {
    this.over = true;
    this.ending.abort();
    this.closing = null;
    this.parts.engine.switchEnded(this.migration, this.fence.memory.state === 'closed');
  }

  private tell(verdict: FenceVerdict, json: FenceJson): void {
    const wavering = this.said === 'unknown' || verdict.state === 'unknown';
    this.said = verdict.state;
    if (wavering) this.wavered += 1;
    this.keep();
    if (!wavering || this.over || this.wavered <= MOST_WAVERING) {
      this.parts.note(this.migration, this.actor, { ...json });
      this.parts.log.info(
        { migration: this.migration, fence: json.id, state: json.state },
        `fence of ${this.migration}: ${json.state}`,
      );
    }
    this.parts.publish(json);
    this.parts.changed(this.migration);
  }

  private keep(): void {
    const { archive, clock } = this.parts;
    archive.save(this.fence.memory);
    // What could not be written now is not tried at every observation.
    this.keepAt = archive.has(this.fence.memory) ? -Infinity : clock.monotonicNow() + SAVE_EVERY_MS * US_PER_MS;
  }
}
