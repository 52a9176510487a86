import { z } from 'zod';
import { parseBytes, parseDurationUs } from '../core/units.js';

// A message is `what is wrong`, a newline, `what would be right`. Where the type itself is wrong it is only what was
// expected, because what was found is told better from the text as written (see issues.ts).

/** Marks the message that carries the keys a mapping knows, for suggestions. */
export const KNOWN_KEYS = 'known keys:';

/** Names of gates, migrations and databases: they appear in URLs, labels and channel names. */
export const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
/** Names that would be ambiguous in URLs (`/v1/gates/{m}/{g}/check`) and in the configuration (`preset`). */
export const RESERVED_NAMES: readonly string[] = ['check', 'wait', 'history', 'preset'];

const TEN_YEARS_US = 3650 * 86_400_000_000;

/** A mapping with exactly these keys. */
export function section<T extends z.core.$ZodShape>(description: string, shape: T) {
  return z
    .strictObject(shape, {
      error: (issue) =>
        issue.code === 'unrecognized_keys' ? `${KNOWN_KEYS}${Object.keys(shape).join(',')}` : 'a mapping',
    })
    .meta({ description });
}

/** A mapping from names that the user chooses. */
export function named<T extends z.core.SomeType>(description: string, value: T) {
  return z.record(z.string(), value, { error: 'a mapping of names' }).meta({ description });
}

/** A text that is not empty. */
export function text(description: string, what = 'text') {
  return z
    .string({ error: what })
    .min(1, { error: `empty\nwrite ${what} or remove the key` })
    .meta({ description });
}

/** One of a few words. */
export function choice<const T extends readonly [string, ...string[]]>(description: string, words: T) {
  const list = words.map((w) => `\`${w}\``);
  const last = list.pop() ?? '';
  return z.enum(words, { error: list.length === 0 ? last : `${list.join(', ')} or ${last}` }).meta({ description });
}

/** True or false. */
export function flag(description: string) {
  return z.boolean({ error: '`true` or `false`' }).meta({ description });
}

/** A list with at least one entry. */
export function list<T extends z.core.SomeType>(description: string, item: T, what = 'a list') {
  return z
    .array(item, { error: what })
    .min(1, { error: 'the list is empty\nadd an entry or remove the key' })
    .meta({ description });
}

/** One text or several. */
export function oneOrMore(description: string, what: string) {
  const item = text(description, what);
  return z.union([item, list(description, item)], { error: `${what} or a list of them` }).meta({ description });
}

/** A duration above zero, such as `3s`. */
export function duration(description: string) {
  return z
    .string({ error: 'a duration with its unit, such as `3s` or `500ms`' })
    .superRefine((value, context) => {
      const us = parseDurationUs(value);
      if (us !== null && us > 0 && us <= TEN_YEARS_US) return;
      const message =
        us === null ? 'this is not a duration' : us === 0 ? 'a duration of 0' : 'a duration of more than ten years';
      context.addIssue({ code: 'custom', message: `${message}\nwrite it like \`500ms\`, \`3s\`, \`10m\` or \`90d\`` });
    })
    .meta({ description, examples: ['500ms', '3s', '10m', '1h30m', '90d'] });
}

/** A size above zero, such as `50GiB`. */
export function bytes(description: string) {
  return z
    .string({ error: 'a size with its unit, such as `50GiB`' })
    .superRefine((value, context) => {
      const size = parseBytes(value);
      if (size !== null && size > 0) return;
      const message = size === null ? 'this is not a size' : 'a size of 0';
      context.addIssue({ code: 'custom', message: `${message}\nwrite it like \`512MiB\` or \`50GiB\`` });
    })
    .meta({ description, examples: ['512MiB', '50GiB'] });
}

/** An http or https address. */
export function httpUrl(description: string) {
  return z
    .string({ error: 'a URL' })
    .refine((value) => /^https?:\/\/[^\s/]+/.test(value), {
      error: 'this is not an HTTP address\nwrite it with `http://` or `https://` and a host',
    })
    .meta({ description });
}

/** The other address that AWS clients and tests may be pointed at; null is the service's own. */
export function endpoint() {
  const description = 'Base URL of the service, for a proxy or a test; null is the real one.';
  return httpUrl(description).nullable().meta({ description });
}

/** An instant as RFC 3339 spells it. */
export function instant(description: string) {
  return z.iso
    .datetime({
      offset: true,
      error: 'this is not an instant\nwrite it like `2026-12-01T01:00:00Z`',
    })
    .meta({ description });
}
