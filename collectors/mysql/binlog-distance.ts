/** One file of a server's binlog. */
export interface BinlogFile {
  readonly name: string;
  readonly size: number;
}

/** A place in a server's binlog. */
export interface BinlogPlace {
  readonly file: string;
  readonly offset: number;
}

/**
 * Bytes from one place of a binlog to a later one across files, at least 0; null when the files between are not all
 * known, because they were purged or belong to another server. `files` are in their order.
 */
export function bytesAcross(files: readonly BinlogFile[], from: BinlogPlace, to: BinlogPlace): number | null {
  const start = files.findIndex((f) => f.name === from.file);
  const end = files.findIndex((f) => f.name === to.file);
  if (start < 0 || end < 0) return null;
  if (start > end || (start === end && from.offset >= to.offset)) return 0;
  if (start === end) return to.offset - from.offset;
  let bytes = Math.max(0, (files[start]?.size ?? 0) - from.offset) + to.offset;
  for (const { size } of files.slice(start + 1, end)) bytes += size;
  return bytes;
}

/**
 * A place as a count of bytes since a fixed point of the server's log, so that differences between places are bytes. It
 * keeps the sizes of files that were purged meanwhile, up to a bound.
 */
export class BinlogMeter {
  readonly #starts = new Map<string, { at: number; size: number }>();
  #next = 0;

  /** Takes in the server's list of files, in their order; a list that shares none with what is known begins anew. */
  learn(files: readonly BinlogFile[]): void {
    const [first] = files;
    if (first === undefined) return;
    if (this.#starts.size > 0 && !files.some((f) => this.#starts.has(f.name))) {
      this.#starts.clear();
      this.#next = 0;
    }
    let at = this.#starts.get(first.name)?.at ?? this.#next;
    for (const { name, size } of files) {
      const known = this.#starts.get(name);
      if (known !== undefined) at = known.at;
      this.#starts.set(name, { at, size });
      at += size;
    }
    this.#next = at;
    for (const name of this.#starts.keys()) {
      if (this.#starts.size <= mostFiles) break;
      this.#starts.delete(name);
    }
  }

  /** The count of a place; null when its file is not known. */
  at({ file, offset }: BinlogPlace): number | null {
    const start = this.#starts.get(file);
    return start === undefined ? null : start.at + offset;
  }
}

const mostFiles = 10_000;
