/**
 * A heartbeat that another tool writes (pt-heartbeat), told by our own clock alone. What the row holds is only a name:
 * it is seen to appear on the source and later to appear on the target. Pure: every instant is handed in.
 *
 * With `before` = when the newest look at the source was asked for that did not show the row yet, `shown` = when a look
 * that did had answered, and `unseen` and `seen` as for heartbeats of our own: the row was committed between `before` and
 * `shown`, so its delay lies in `[max(0, unseen - shown), seen - before]`. The clocks of writer and databases may be
 * off by anything.
 */
import type { Us } from '../../daemon/core/clock.js';
import type { Observation } from '../../daemon/core/observation.js';
import type { LinkId } from '../../daemon/core/signal.js';

/** What an external heartbeat is judged by. */
export interface ExternalRowsOptions {
  readonly link: LinkId;
  /** How often the other tool writes. */
  readonly intervalUs: Us;
  /** How often each side is looked at. */
  readonly lookUs: Us;
  /** For messages: `percona.heartbeat on onprem`. */
  readonly where: string;
}

/** Rows of the source that are remembered; older ones count as unknown. */
const kept = 512;
/** For so many looks a row that only the target shows may still turn out to be newer than what the source has shown. */
const looksForNewer = 3;

/** Turns looks at both sides into observations of heartbeats. */
export class ExternalRows {
  readonly #seqs = new Map<string, number>();
  #seq = 0;
  #row: string | null = null;
  /** When the newest answer of the source was asked for; null when the one before the next is not known. */
  #askedAt: Us | null = null;
  #changedAt: Us = 0;
  #seen: number | null = null;
  /** A row that only the target has shown, since when, and since when there have been nothing but such rows. */
  #strange: { row: string; since: Us } | null = null;
  #strangeSince: Us | null = null;

  constructor(private readonly options: ExternalRowsOptions) {}

  /** Takes what the source showed; null when it has no such row. */
  source(row: string | null, askedAt: Us, at: Us): Observation[] {
    const { link, intervalUs, lookUs, where } = this.options;
    if (row === null) {
      const reason = `${where} has no row of this server: pt-heartbeat does not write there (--update)`;
      // What is gone from the source cannot arrive, and the target lacks it rightly.
      const gone: Observation[] = [];
      for (const seq of this.#seqs.values()) {
        if (seq > (this.#seen ?? 0))
          gone.push({ kind: 'heartbeat-failed', link, seq, outcome: 'uncertain', at, reason });
      }
      this.#seqs.clear();
      this.#row = null;
      this.#seen = null;
      return [...gone, ...this.sourceFailed(reason, at)];
    }
    const before = this.#askedAt;
    this.#askedAt = askedAt;
    if (row === this.#row) {
      const still = at - this.#changedAt;
      if (still <= Math.max(2 * intervalUs, 1_000_000) + 2 * lookUs) return [];
      const seconds = (still / 1e6).toFixed(1);
      const reason =
        `the writer of ${where} is dead or stopped: its row has not changed for ${seconds} s. Start pt-heartbeat again; ` +
        'if it writes less often, set `heartbeat.interval` to its --interval';
      return [{ kind: 'writer-fault', link, at, reason }];
    }
    const known = this.#row !== null;
    this.#row = row;
    this.#changedAt = at;
    this.#seq += 1;
    this.#seqs.delete(row);
    this.#seqs.set(row, this.#seq);
    const [oldest] = this.#seqs.keys();
    if (this.#seqs.size > kept && oldest !== undefined) this.#seqs.delete(oldest);
    // Of the first row nobody knows since when it is there.
    if (!known || before === null) return [];
    const seq = this.#seq;
    return [
      { kind: 'heartbeat-sent', link, run: 'external', seq, at: before },
      { kind: 'heartbeat-acked', link, seq, at },
    ];
  }

  /** The source could not be asked, or has no row to be told. */
  sourceFailed(reason: string, at: Us): Observation[] {
    this.#askedAt = null;
    return [{ kind: 'writer-fault', link: this.options.link, at, reason }];
  }

  /** Takes what the target showed; null when it has no such row. */
  target(row: string | null, askedAt: Us, at: Us): Observation[] {
    const { link } = this.options;
    const seq = row === null ? null : (this.#seqs.get(row) ?? undefined);
    if (seq === undefined && row !== null) return this.#unknownRow(row, askedAt, at);
    this.#strange = null;
    this.#strangeSince = null;
    const shown = this.#seen;
    this.#seen = seq ?? null;
    const base = { kind: 'heartbeat-visible', link, upTo: seq ?? null, askedAt, at, by: 'poll' } as const;
    return shown !== null && (seq ?? 0) < shown ? [{ ...base, lost: { shown } }] : [base];
  }

  /** The target could not be asked. */
  targetFailed(reason: string, at: Us): Observation[] {
    return [{ kind: 'watch-fault', link: this.options.link, at, reason }];
  }

  /**
   * A row that the source has not shown is newer than what it has shown, or from before the first look. The source
   * decides: where it has been asked since and still not shown it, it is an old one, and what was shown is not there.
   */
  #unknownRow(row: string, askedAt: Us, at: Us): Observation[] {
    const { link, lookUs, where, intervalUs } = this.options;
    const moved = this.#strange !== null && this.#strange.row !== row;
    if (this.#strange?.row !== row) this.#strange = { row, since: askedAt };
    this.#strangeSince ??= askedAt;
    const { since } = this.#strange;
    const asked = this.#askedAt !== null && this.#askedAt > since;
    if (asked && at - since >= looksForNewer * lookUs) {
      return [{ kind: 'heartbeat-visible', link, upTo: this.#seen, askedAt: since, at, by: 'poll' }];
    }
    if (moved && at - this.#strangeSince > Math.max(4 * intervalUs, 4_000_000)) {
      const reason =
        `the target shows rows of ${where} that were not seen on the source in between: pt-heartbeat writes more often ` +
        'than lockgate looks, or other servers write that row too. Let it write once a second';
      return [{ kind: 'watch-fault', link, at, reason }];
    }
    return [];
  }
}
