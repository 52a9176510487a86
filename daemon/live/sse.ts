/** One event of a stream of server-sent events. */
export interface Frame {
  event: string;
  data: string;
  /** The id that was given with it; null when none was. */
  id: string | null;
}

/** More than any event has; a server that sends as much without an end is none of ours. */
const LARGEST_CHARS = 8 * 1024 * 1024;

/**
 * Takes a stream of server-sent events in pieces, however it was cut, and gives the events that are complete. Comments
 * and `retry` give none; that anything arrived at all, whoever reads the stream sees for themselves.
 */
export class SseParser {
  /** What has come of a line that has not ended. */
  #line = '';
  #afterReturn = false;
  #first = true;
  #event = '';
  #data: string[] = [];
  #id: string | null = null;
  #held = 0;

  /** Gives the events that end in this piece of text; throws an Error when one does not come to an end. */
  push(text: string): Frame[] {
    const frames: Frame[] = [];
    let rest = text;
    if (rest === '') return frames;
    if (this.#first && rest.startsWith('\ufeff')) rest = rest.slice(1);
    this.#first = false;
    // A carriage return ended the piece before: its line feed belongs to the same end of a line.
    if (this.#afterReturn && rest.startsWith('\n')) rest = rest.slice(1);
    if (rest === '') {
      this.#afterReturn = false;
      return frames;
    }
    this.#afterReturn = rest.endsWith('\r');
    const lines = rest.split(/\r\n|\r|\n/);
    lines.forEach((line, i) => {
      this.#line += line;
      this.#held += line.length;
      if (this.#held > LARGEST_CHARS) throw new Error('an event without an end');
      if (i === lines.length - 1) return;
      const frame = this.#take(this.#line);
      this.#line = '';
      if (frame !== null) frames.push(frame);
    });
    return frames;
  }

  /** Takes a whole line; an empty one ends an event. */
  #take(line: string): Frame | null {
    if (line === '') {
      const frame = { event: this.#event || 'message', data: this.#data.join('\n'), id: this.#id };
      const empty = this.#data.length === 0;
      [this.#event, this.#data, this.#id, this.#held] = ['', [], null, 0];
      return empty ? null : frame;
    }
    const colon = line.indexOf(':');
    // A comment.
    if (colon === 0) {
      this.#held -= line.length;
      return null;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'event') this.#event = value;
    else if (field === 'data') this.#data.push(value);
    else if (field === 'id' && !value.includes('\0')) this.#id = value;
    return null;
  }
}
