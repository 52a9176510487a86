import type { Homes } from '../collectors/collector.js';

/** Remembers where each entry of `databases` leads while it has sessions there. */
export class EntryHomes implements Homes {
  readonly #byEntry = new Map<string, string>();

  enter(entry: string, home: string): void {
    this.#byEntry.set(entry, home);
  }

  leave(entry: string): void {
    this.#byEntry.delete(entry);
  }

  sharedWith(entry: string): string[] {
    const home = this.#byEntry.get(entry);
    if (home === undefined) return [];
    const others = [...this.#byEntry].filter(([other, at]) => other !== entry && at === home);
    return others.map(([other]) => other).sort();
  }
}
