/**
 * Writes what happens to the journal. An opening is written before anyone sees it: while the store cannot be written,
 * `opening` answers false and the gate stays shut. Everything else happens whether or not it can be written down; it is
 * kept in memory, bounded, and written once the store takes writes again.
 */
import type { Log } from '../collectors/collector.js';
import { messageOf, Refusal } from './core/errors.js';
import type { JournalDraft, Store } from './store/store.js';

/** How many entries wait for a store that cannot be written; the oldest are dropped and counted. */
const MOST_WAITING = 1_000;

/** The one writer of the journal. */
export class Recorder {
  private waiting: JournalDraft[] = [];
  private dropped = 0;

  constructor(
    private readonly store: Store,
    private readonly log: Log,
    private readonly written: (id: number, draft: JournalDraft) => void,
  ) {}

  /** Writes an entry that must be on disk before its effect is seen; false when it could not be written. */
  must(draft: JournalDraft): boolean {
    if (!this.store.writable) return false;
    return this.write(draft);
  }

  /** Writes an entry about something that has happened anyway; it waits in memory while the store cannot be written. */
  note(draft: JournalDraft): void {
    if (this.store.writable && this.write(draft)) return;
    this.waiting.push(draft);
    if (this.waiting.length > MOST_WAITING) {
      this.waiting.shift();
      this.dropped += 1;
    }
  }

  /** Tries the store again when it could not be written, and writes what has waited; called from time to time. */
  retry(): void {
    if (!this.store.writable && !this.store.probe()) return;
    while (this.waiting.length > 0) {
      const draft = this.waiting[0];
      if (draft === undefined || !this.write(draft)) return;
      this.waiting.shift();
    }
    this.tellDropped();
  }

  /** Tries for the last time, before the store is closed, and says what is lost for good. */
  end(): void {
    this.retry();
    this.dropped += this.waiting.length;
    this.waiting = [];
    this.tellDropped();
  }

  private tellDropped(): void {
    if (this.dropped === 0) return;
    this.log.error({ dropped: this.dropped }, 'journal entries were lost while the store could not be written');
    this.dropped = 0;
  }

  private write(draft: JournalDraft): boolean {
    try {
      this.written(this.store.append(draft), draft);
      return true;
    } catch (error) {
      this.log.error({ kind: draft.kind }, `the journal cannot be written: ${messageOf(error)}`);
      return false;
    }
  }
}

/** Refuses an operator's command while the store takes no writes; it is tried first. */
export function demandJournal(store: Store): void {
  if (!store.writable && !store.probe()) throw notJournaled();
}

/** The refusal of what could not be written to the journal. */
export function notJournaled(): Refusal {
  const what = 'the journal cannot be written now, and what is not journaled is not done';
  return new Refusal(503, 'store_not_writable', what);
}
