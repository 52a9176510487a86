import type { VerdictJson } from './port.js';

/** Conditions that are remembered before the memory starts afresh; after a reload it would hold those that are gone. */
const MEMORY = 500;

type Condition = VerdictJson['conditions'][number];

/** The text of a condition but for what differs from one moment to the next. */
interface Frame {
  /** What it was made for. */
  of: Condition;
  head: string;
  middle: string;
  tail: string;
  /** Bytes in UTF-8 beyond one for each character. */
  extraBytes: number;
}

/** The same for the verdict around the conditions. */
interface Ending {
  of: VerdictJson;
  text: string;
  extraBytes: number;
}

/**
 * Writes verdicts as JSON, the same text as JSON.stringify gives in a fraction of the time: `check` is asked in tight loops,
 * and of one condition little more than how long it has held is new from one answer to the next. Instants are taken to be
 * what toISOString makes.
 */
export class VerdictWriter {
  readonly #frames = new Map<string, Frame>();
  #ending: Ending | null = null;
  #extraBytes = 0;

  /** How many bytes more than characters the text written last has in UTF-8: 0 when it is plain ASCII. */
  get extraBytes(): number {
    return this.#extraBytes;
  }

  write(v: VerdictJson): string {
    const gate = JSON.stringify(v.gate);
    const ending = this.#endingOf(v);
    this.#extraBytes = ending.extraBytes + Buffer.byteLength(gate) - gate.length;
    let text =
      `{"gate":${gate},"state":"${v.state}","open":${v.open ? 'true' : 'false'},"since":"${v.since}"` +
      `,"evaluated_at":"${v.evaluated_at}","opens_at":${v.opens_at === null ? 'null' : `"${v.opens_at}"`},"conditions":[`;
    let comma = '';
    for (const c of v.conditions) {
      const frame = this.#frameOf(c);
      const { last_broken: broken } = c;
      this.#extraBytes += frame.extraBytes;
      text += comma + frame.head + number(c.held_seconds) + frame.middle;
      text += broken === null ? 'null' : `{"at":"${broken.at}","value":${number(broken.value)}}`;
      text += frame.tail;
      comma = ',';
    }
    return text + ending.text;
  }

  #frameOf(c: Condition): Frame {
    const known = this.#frames.get(c.text);
    if (known !== undefined && isSame(known.of, c)) return known;
    if (known === undefined && this.#frames.size >= MEMORY) this.#frames.clear();
    const text = JSON.stringify(c.text);
    const unit = JSON.stringify(c.unit);
    const head = `{"text":${text},"state":"${c.state}","value":${number(c.value)},"unit":${unit},"held_seconds":`;
    const middle = `,"needs_seconds":${number(c.needs_seconds)},"last_broken":`;
    const tail = `,"reason":${JSON.stringify(c.reason)}}`;
    const frame = { of: c, head: flat(head), middle: flat(middle), tail: flat(tail), extraBytes: extra(head + tail) };
    this.#frames.set(c.text, frame);
    return frame;
  }

  #endingOf(v: VerdictJson): Ending {
    const known = this.#ending;
    const { reason, config_hash: hash, daemon } = v;
    if (known?.of.reason === reason && known.of.config_hash === hash && known.of.daemon === daemon) return known;
    const [r, h, d] = [reason, hash, daemon].map((text) => JSON.stringify(text));
    const text = `],"reason":${r ?? ''},"config_hash":${h ?? ''},"daemon":${d ?? ''}}`;
    this.#ending = { of: v, text: flat(text), extraBytes: extra(text) };
    return this.#ending;
  }
}

/** Whether two conditions have the same frame: all but how long it has held and when it was broken. */
function isSame(a: Condition, b: Condition): boolean {
  return (
    a.state === b.state &&
    Object.is(a.value, b.value) &&
    a.reason === b.reason &&
    a.unit === b.unit &&
    Object.is(a.needs_seconds, b.needs_seconds)
  );
}

/** A text that was put together is kept as its parts until it is read, by everyone who has it anew. */
function flat(text: string): string {
  return Buffer.from(text).toString();
}

function extra(text: string): number {
  return Buffer.byteLength(text) - text.length;
}

/** JSON knows no infinity and no NaN; JSON.stringify makes them null, too. */
function number(value: number | null): string {
  return value === null || !Number.isFinite(value) ? 'null' : String(value);
}
