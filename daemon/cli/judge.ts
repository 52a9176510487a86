import type { GateState, VerdictJson } from '../http/port.js';
import type { Answer } from './client.js';
import { EXIT, type ExitCode } from './io.js';
import { durationText, plain } from '../live/words.js';
import { isObject, textOr, verdictOf } from '../live/read.js';

export { isObject, numberOr, textOr, verdictOf } from '../live/read.js';

/** How old a verdict may be, by this machine's clock and by the daemon's own, unless the command line says otherwise. */
export const LARGEST_AGE_MS = 10_000;

/** What an answer is worth: the exit code it leads to, and what to tell when it is not simply a result. */
export interface Judged {
  exit: ExitCode;
  message: string | null;
}

/** What an answer about a gate is worth; `verdict` is null whenever it must not be believed. */
export interface JudgedVerdict extends Judged {
  verdict: VerdictJson | null;
}

const EXIT_BY_STATE: Readonly<Record<GateState, ExitCode>> = {
  open: EXIT.ok,
  closed: EXIT.closed,
  unknown: EXIT.unknown,
};

const STATE_BY_STATUS: Readonly<Record<number, GateState>> = { 200: 'open', 409: 'closed', 503: 'unknown' };

/**
 * Judges an answer of `…/check` or `…/wait`. It is believed only if status, state and `open` agree, it names the gate
 * that was asked for, and it was evaluated just now. Just now means within `maxAgeMs` of this machine's clock and of the
 * answer's own Date, and not out of a cache (Age): each alone would let some old answer through, and clocks that differ
 * by more than that cannot tell an old answer from a new one.
 */
export function judgeVerdict(answer: Answer, gate: string, now: number, maxAgeMs = LARGEST_AGE_MS): JudgedVerdict {
  const verdict = answer.kind === 'answer' ? verdictOf(answer.json) : null;
  const refused = judgeRefusal(answer, verdict !== null);
  if (refused !== null) return { ...refused, verdict: null };
  if (answer.kind === 'unreachable') return { exit: EXIT.unreachable, message: answer.message, verdict: null };

  const doubt =
    verdict === null
      ? `what answers there (status ${String(answer.status)}) gives no verdict; is it lockgate?`
      : doubtAbout(verdict, answer, gate, now, maxAgeMs);
  if (verdict === null || doubt !== null) return { exit: EXIT.unknown, message: doubt, verdict: null };
  return { exit: EXIT_BY_STATE[verdict.state], message: null, verdict };
}

/** Judges an answer that is no verdict: done, refused, or not to be understood. */
export function judgeAnswer(answer: Answer): Judged {
  const refused = judgeRefusal(answer, false);
  if (refused !== null) return refused;
  if (answer.kind === 'unreachable') return { exit: EXIT.unreachable, message: answer.message };
  if (answer.status === 409) return { exit: EXIT.refused, message: detailOf(answer.json) ?? 'refused (409)' };
  if (answer.status < 200 || answer.status > 299 || !isObject(answer.json)) {
    return {
      exit: EXIT.unknown,
      message: `what answers there (status ${String(answer.status)}) cannot be understood; is it lockgate?`,
    };
  }
  return { exit: EXIT.ok, message: null };
}

/** Judges an answer to what only one daemon is asked (fences, directions): as others, but a 503 is unknown, not unreachable. */
export function judgeCommand(answer: Answer): Judged {
  if (answer.kind === 'answer' && answer.status === 503) {
    return {
      exit: EXIT.unknown,
      message: `cannot be done or told now (503): ${detailOf(answer.json) ?? 'no reason given'}`,
    };
  }
  return judgeAnswer(answer);
}

/** What keeps an answer from being looked at any further; null when nothing does. */
function judgeRefusal(answer: Answer, hasVerdict: boolean): Judged | null {
  if (answer.kind === 'unreachable') return { exit: EXIT.unreachable, message: answer.message };
  const { status } = answer;
  const detail = detailOf(answer.json);
  const said = detail === null ? '' : `: ${detail}`;
  if (status === 401) {
    return { exit: EXIT.refused, message: `the token is missing or not accepted (401): set LOCKGATE_TOKEN${said}` };
  }
  if (status === 403) return { exit: EXIT.refused, message: `the token does not allow this (403)${said}` };
  if (status === 404) return { exit: EXIT.refused, message: `there is no such thing (404)${said}` };
  if (status === 408 || status === 429)
    return { exit: EXIT.unreachable, message: `too busy (${String(status)})${said}` };
  if (status >= 400 && status <= 499 && status !== 409) {
    return { exit: EXIT.refused, message: `refused (${String(status)})${said}` };
  }
  if (status >= 500 && !(status === 503 && hasVerdict)) {
    return { exit: EXIT.unreachable, message: `the daemon cannot answer (${String(status)})${said}` };
  }
  return null;
}

function doubtAbout(
  verdict: VerdictJson,
  answer: Extract<Answer, { kind: 'answer' }>,
  gate: string,
  now: number,
  maxAgeMs: number,
): string | null {
  if (verdict.gate !== gate) return `the answer is about the gate ${plain(verdict.gate)}, not ${gate}`;
  if (STATE_BY_STATUS[answer.status] !== verdict.state || verdict.open !== (verdict.state === 'open')) {
    return `the answer contradicts itself (status ${String(answer.status)}, state ${verdict.state}, open ${String(verdict.open)})`;
  }
  const evaluated = Date.parse(verdict.evaluated_at);
  if (answer.age !== null && answer.age * 1000 > maxAgeMs) {
    return `the answer comes from a cache that has kept it for ${durationText(answer.age)}`;
  }
  if (answer.date !== null && answer.date - evaluated > maxAgeMs) {
    return `the verdict is old: evaluated ${durationText((answer.date - evaluated) / 1000)} before it was sent`;
  }
  const age = now - evaluated;
  if (Math.abs(age) > maxAgeMs) {
    const by = durationText(Math.abs(age) / 1000);
    return age > 0
      ? `the verdict is old: evaluated ${by} ago (or the clocks of this machine and the daemon differ)`
      : `the verdict is dated ${by} in the future: the clocks of this machine and the daemon differ`;
  }
  return null;
}

/** What a problem+json body tells people. */
function detailOf(json: unknown): string | null {
  if (!isObject(json)) return null;
  const told = textOr(json['detail'], null) ?? textOr(json['title'], null);
  const hint = textOr(json['hint'], null);
  return told === null ? null : `${plain(told)}${hint === null ? '' : ` (${plain(hint)})`}`;
}
