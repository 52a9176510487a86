import type { VerdictJson } from './port.js';

/** Reasons may carry numbers that are never the same twice; then the memory starts afresh. */
const MEMORY = 500;

/**
 * Writes verdicts as JSON, the same text as JSON.stringify gives in a third of the time: `check` is asked in tight loops,
 * and no two verdicts are the same, but their strings mostly are. Instants are taken to be what toISOString makes.
 */
export class VerdictWriter {
  readonly #quoted = new Map<string, string>();

  write(v: VerdictJson): string {
    let conditions = '';
    for (const c of v.conditions) {
      const broken = c.last_broken;
      conditions +=
        `${conditions === '' ? '' : ','}{"text":${this.#quote(c.text)},"state":"${c.state}","value":${number(c.value)}` +
        `,"unit":${this.#quote(c.unit)},"held_seconds":${number(c.held_seconds)},"needs_seconds":${number(c.needs_seconds)}` +
        `,"last_broken":${broken === null ? 'null' : `{"at":"${broken.at}","value":${number(broken.value)}}`}` +
        `,"reason":${this.#quote(c.reason)}}`;
    }
    return (
      `{"gate":${this.#quote(v.gate)},"state":"${v.state}","open":${v.open ? 'true' : 'false'},"since":"${v.since}"` +
      `,"evaluated_at":"${v.evaluated_at}","opens_at":${v.opens_at === null ? 'null' : `"${v.opens_at}"`}` +
      `,"conditions":[${conditions}],"reason":${this.#quote(v.reason)}` +
      `,"config_hash":${this.#quote(v.config_hash)},"daemon":${this.#quote(v.daemon)}}`
    );
  }

  #quote(text: string | null): string {
    if (text === null) return 'null';
    const known = this.#quoted.get(text);
    if (known !== undefined) return known;
    if (this.#quoted.size >= MEMORY) this.#quoted.clear();
    const quoted = JSON.stringify(text);
    this.#quoted.set(text, quoted);
    return quoted;
  }
}

/** JSON knows no infinity and no NaN; JSON.stringify makes them null, too. */
function number(value: number | null): string {
  return value === null || !Number.isFinite(value) ? 'null' : String(value);
}
