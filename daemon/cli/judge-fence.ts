import type { DirectionChangeJson, FenceJson, FenceStateJson } from '../http/port.js';
import type { Answer } from './client.js';
import { EXIT, type ExitCode } from './io.js';
import { isObject, judgeCommand, LARGEST_AGE_MS, numberOr, textOr, type Judged } from './judge.js';
import { fenceOf, textsOf } from '../live/read.js';
import { durationText, plain } from '../live/words.js';

export { fenceOf } from '../live/read.js';

/** What an answer about a fence is worth; `fence` is null whenever it must not be believed. */
export interface JudgedFence extends Judged {
  fence: FenceJson | null;
}

/** Only `drained` is go: a fence that was closed tells of an earlier switch, not of now. */
const EXIT_BY_STATE: Readonly<Record<FenceStateJson, ExitCode>> = {
  placed: EXIT.closed,
  drained: EXIT.ok,
  unknown: EXIT.unknown,
  violated: EXIT.closed,
  expired: EXIT.closed,
  closed: EXIT.closed,
  cancelled: EXIT.closed,
};

/** Which fence was asked for, at what time by this machine's clock (ms since 1970), and how old an answer may be (ms). */
export interface AskedFence {
  migration: string;
  /** Null when it was just placed, so that any id is right. */
  id: string | null;
  now: number;
  maxAgeMs?: number;
}

/** Judges an answer about a fence. It is believed only if it names what was asked for, does not contradict itself and was sent just now. */
export function judgeFence(answer: Answer, asked: AskedFence): JudgedFence {
  const judged = judgeCommand(answer);
  if (judged.exit !== EXIT.ok || answer.kind === 'unreachable') return { ...judged, fence: null };
  const fence = fenceOf(answer.json);
  if (fence === null) {
    const message = `what answers there (status ${String(answer.status)}) gives no fence; is it lockgate?`;
    return { exit: EXIT.unknown, message, fence: null };
  }
  const doubt = doubtAbout(fence, answer, asked);
  if (doubt !== null) return { exit: EXIT.unknown, message: doubt, fence: null };
  return { exit: EXIT_BY_STATE[fence.state], message: null, fence };
}

function doubtAbout(fence: FenceJson, answer: Extract<Answer, { kind: 'answer' }>, asked: AskedFence): string | null {
  const { migration, id, now, maxAgeMs = LARGEST_AGE_MS } = asked;
  if (fence.migration !== migration || (id !== null && fence.id !== id)) {
    return `the answer is about the fence ${plain(fence.id)} of ${plain(fence.migration)}, not ${id ?? 'a new one'} of ${migration}`;
  }
  if (fence.state === 'drained' && (fence.violations.count > 0 || fence.drained_at === null)) {
    return 'the answer contradicts itself: drained, but violated or never drained';
  }
  if (answer.age !== null && answer.age * 1000 > maxAgeMs) {
    return `the answer comes from a cache that has kept it for ${durationText(answer.age)}`;
  }
  if (answer.date === null) return 'the answer has no date, so that its age cannot be told';
  const age = now - answer.date;
  if (Math.abs(age) <= maxAgeMs) return null;
  const by = durationText(Math.abs(age) / 1000);
  return age > 0
    ? `the answer is old: sent ${by} ago (or the clocks of this machine and the daemon differ: --max-age)`
    : `the answer is dated ${by} in the future: the clocks of this machine and the daemon differ (--max-age)`;
}

/** The answer to a promotion or a rollback; `change` is null unless it was carried out. */
export interface JudgedChange extends Judged {
  change: DirectionChangeJson | null;
}

/** Judges an answer to a promotion or a rollback; it is believed only if it says that this very thing was done. */
export function judgeChange(answer: Answer, migration: string, action: 'promote' | 'rollback'): JudgedChange {
  const judged = judgeCommand(answer);
  if (judged.exit !== EXIT.ok || answer.kind === 'unreachable') return { ...judged, change: null };
  const change = changeOf(answer.json);
  const direction = action === 'promote' ? 'reverse' : 'forward';
  if (change?.migration === migration && change.action === action && change.direction === direction) {
    return { ...judged, change };
  }
  const message = `what answers there (status ${String(answer.status)}) does not say that the direction of ${migration} is ${direction} now; is it lockgate?`;
  return { exit: EXIT.unknown, message, change: null };
}

function changeOf(json: unknown): DirectionChangeJson | null {
  if (!isObject(json)) return null;
  const { migration, action, direction } = json;
  if (typeof migration !== 'string' || (action !== 'promote' && action !== 'rollback')) return null;
  if (direction !== 'forward' && direction !== 'reverse') return null;
  return {
    migration,
    action,
    direction,
    epoch: numberOr(json['epoch'], NaN),
    changed_at: textOr(json['changed_at'], ''),
    changed_by: textOr(json['changed_by'], ''),
    reason: textOr(json['reason'], ''),
    forced: json['forced'] === true,
    fence: fenceOf(json['fence']),
    old_side_position: textOr(json['old_side_position'], null),
    warnings: textsOf(json['warnings']),
  };
}
