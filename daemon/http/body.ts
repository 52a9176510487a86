import { Problem } from './problem.js';

/** Control characters, line separators and the marks that reorder text: they would let a note forge the journal's look. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/u;

/** The fields of a request's body; every reader throws a Problem (400 `invalid_body`) for what it cannot take. */
export class BodyFields {
  readonly #given: ReadonlyMap<string, unknown>;

  /** Takes a JSON object whose fields are all among `known`, so that none is silently dropped. */
  constructor(body: unknown, known: readonly string[]) {
    if (typeof body !== 'object' || body === null || Array.isArray(body)) {
      throw invalid(`the body must be a JSON object with ${known.join(' and ')}`);
    }
    const surplus = Object.keys(body).find((key) => !known.includes(key));
    if (surplus !== undefined) throw invalid(`unknown field ${JSON.stringify(surplus)}: known are ${known.join(', ')}`);
    this.#given = new Map(Object.entries(body));
  }

  has(name: string): boolean {
    return this.#given.has(name);
  }

  /** A string, whatever it says. */
  text(name: string): string {
    const value = this.#given.get(name);
    if (typeof value !== 'string') throw invalid(`${name} must be a string`);
    return value;
  }

  /** One line of printable text, trimmed, with 1 to `maxLength` characters. */
  line(name: string, maxLength: number): string {
    const text = this.text(name).trim();
    if (text === '') throw invalid(`${name} must not be empty`);
    if (text.length > maxLength) throw invalid(`${name} must have at most ${maxLength} characters`);
    if (UNPRINTABLE.test(text)) throw invalid(`${name} must be one line of printable text`);
    return text;
  }

  /** One of a few words. */
  choice<T extends string>(name: string, choices: readonly T[]): T {
    const found = choices.find((choice) => choice === this.#given.get(name));
    if (found === undefined) throw invalid(`${name} must be ${choices.join(' or ')}`);
    return found;
  }

  /** A list of 1 to `most` texts that are not empty. */
  texts(name: string, most: number): string[] {
    const list = this.#list(name, most);
    if (list.every((item): item is string => typeof item === 'string' && item !== '')) return list;
    throw invalid(`${name} must be a list of strings that are not empty`);
  }

  /** A list of 1 to `most` objects from names to texts. */
  records(name: string, most: number): Record<string, string>[] {
    return this.#list(name, most).map((item) => {
      const entries = typeof item === 'object' && item !== null && !Array.isArray(item) ? Object.entries(item) : [];
      if (entries.length > 0 && entries.every((e): e is [string, string] => typeof e[1] === 'string')) {
        return Object.fromEntries(entries);
      }
      throw invalid(`${name} must be a list of objects whose values are strings`);
    });
  }

  /** True or false; false when it is absent. */
  flag(name: string): boolean {
    const value = this.#given.has(name) ? this.#given.get(name) : false;
    if (typeof value !== 'boolean') throw invalid(`${name} must be true or false`);
    return value;
  }

  #list(name: string, most: number): unknown[] {
    const value = this.#given.get(name);
    if (!Array.isArray(value) || value.length === 0) throw invalid(`${name} must be a list that is not empty`);
    if (value.length > most) throw invalid(`${name} must have at most ${most} entries`);
    return value as unknown[];
  }
}

function invalid(detail: string): Problem {
  return new Problem(400, 'invalid_body', detail);
}
