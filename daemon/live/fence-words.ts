/** What is said of fences, for whoever shows them to people. */
import type { FenceJson } from '../http/port.js';
import { instantText, plain, plural, valueText } from './words.js';

/** What a fence still waits for, in a few words. */
export function missingText({ missing }: FenceJson): string {
  const parts = [
    missing.bytes === null ? '' : valueText(missing.bytes, 'B'),
    missing.transactions === null ? '' : plural(missing.transactions, 'transaction'),
    missing.flows.length === 0 ? '' : `on ${missing.flows.map(plain).join(', ')}`,
  ].filter((p) => p !== '');
  const reasons = missing.reasons.map(plain).join('; ');
  const amounts = parts.length === 0 ? '' : `missing ${parts.join(', ')}`;
  return [amounts, reasons].filter((p) => p !== '').join('; ') || 'what is missing is not known';
}

/** How many writes came after a fence, and the first one of them. */
export function violationsText({ violations }: FenceJson, now: number): string {
  const first = [
    violations.first_position === null ? '' : `at ${plain(violations.first_position)}`,
    violations.first_at === null ? '' : instantText(violations.first_at, now),
  ].filter((p) => p !== '');
  return `${plural(violations.count, 'write')}${first.length === 0 ? '' : `, the first ${first.join(', ')}`}`;
}
