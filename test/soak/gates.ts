/** Asks the gates as their users would, and holds each answer against the truth. */
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VerdictJson } from '../../daemon/http/port.js';
import type { Observer, TrueLag } from '../support/observer.js';
import type { Random } from './schedule.js';

/** `lag`: on lag alone. `whole`: on everything that can be asked of a link and its passive side. */
export const GATES = ['lag', 'whole'] as const;
export type Gate = (typeof GATES)[number];

/** One answer of `check`; instants by `performance.now()`. */
export interface Answer {
  readonly gate: Gate;
  readonly askedAt: number;
  readonly at: number;
  /** By the status code; `unreachable` when there was none. */
  readonly state: 'open' | 'closed' | 'unknown' | 'unreachable';
  readonly verdict: VerdictJson | null;
}

const STATES: Readonly<Record<number, Answer['state']>> = { 200: 'open', 409: 'closed', 503: 'unknown' };
const ASK_EVERY_MS = [100, 250] as const;
const ANSWER_WITHIN_MS = 2_000;
/** Long enough for a fault, its healing and the waiting after it. */
const KEEP_MS = 300_000;

/** Asks both gates again and again, and keeps the answers of the last five minutes. */
export class Asker {
  readonly asked: Record<Gate, number> = { lag: 0, whole: 0 };
  readonly #answers: Record<Gate, Answer[]> = { lag: [], whole: [] };
  readonly #agent = new Agent({ keepAlive: true });
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[];

  constructor(
    private readonly url: string,
    random: Random,
    private readonly onAnswer: (answer: Answer) => void,
  ) {
    this.#loops = GATES.map((gate) => this.#loop(gate, random));
  }

  /** The newest answer, if it was asked after `since`. */
  latest(gate: Gate, since = 0): Answer | undefined {
    const answer = this.#answers[gate].at(-1);
    return answer !== undefined && answer.askedAt >= since ? answer : undefined;
  }

  /** The answers that were asked for and came within `[from, to]`. */
  between(gate: Gate, from: number, to: number): Answer[] {
    return this.#answers[gate].filter((a) => a.askedAt >= from && a.at <= to);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
    this.#agent.destroy();
  }

  async #loop(gate: Gate, random: Random): Promise<void> {
    const answers = this.#answers[gate];
    while (!this.#stopping.signal.aborted) {
      const askedAt = performance.now();
      const { status, verdict } = await this.#check(gate);
      const answer = { gate, askedAt, at: performance.now(), state: STATES[status] ?? 'unreachable', verdict };
      this.asked[gate] += 1;
      answers.push(answer);
      while ((answers[0]?.at ?? Infinity) < askedAt - KEEP_MS) answers.shift();
      this.onAnswer(answer);
      const [least, most] = ASK_EVERY_MS;
      await sleep(least + (most - least) * random());
    }
  }

  #check(gate: Gate): Promise<{ status: number; verdict: VerdictJson | null }> {
    return new Promise((resolve) => {
      const asked = request(`${this.url}/v1/gates/shop/${gate}/check`, {
        agent: this.#agent,
        timeout: ANSWER_WITHIN_MS,
      });
      const none = (): void => resolve({ status: 0, verdict: null });
      asked.on('response', (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (part: string) => (text += part));
        answer.on('error', none);
        answer.on('end', () => {
          const status = answer.statusCode ?? 0;
          if (STATES[status] === undefined) none();
          else resolve({ status, verdict: JSON.parse(text) as VerdictJson });
        });
      });
      asked.on('timeout', () => asked.destroy(new Error('no answer in time')));
      asked.on('error', none);
      asked.end();
    });
  }
}

/** A gate that was open while the truth forbade it: answers of one gate in one fault. */
export interface FalseGreen {
  readonly gate: Gate;
  readonly fault: string;
  readonly why: string;
  /** Seconds since the start of the run. */
  readonly fromSeconds: number;
  toSeconds: number;
  answers: number;
  /** For how long a committed row had been missing, at least; null where the fault itself forbids it. */
  worstMissingMs: number | null;
  /** The first and the last verdict of them, and the truth beside each. */
  readonly evidence: { askedAt: number; at: number; truth: TrueLag | null; verdict: VerdictJson | null }[];
}

/** A stretch in which a gate must not be open, whatever the truth about rows. */
export interface Forbidden {
  readonly gate: Gate;
  readonly from: number;
  readonly to: number;
  readonly why: string;
}

/** An answer is judged once the observer has surely looked again. */
const SETTLE_MS = 3_000;

/** Finds false greens. */
export class Judge {
  readonly falseGreens: FalseGreen[] = [];
  /** Answers "open" held against the truth; those at instants whose truth nobody knows. */
  readonly judged = { open: 0, truthUnknown: 0 };
  /** The longest that a row had been missing, at least, when a gate was open, in ms. */
  worstOpenMs = 0;
  readonly #waiting: { answer: Answer; fault: string }[] = [];

  constructor(
    private readonly observer: Pick<Observer, 'trueLagAt'>,
    /** A gate may be open while a row has been missing for so long, in ms. */
    private readonly allowedMs: number,
    private readonly startedAt: number,
  ) {}

  /** Takes an answer that was given in this fault (or after it). */
  take(answer: Answer, fault: string): void {
    if (answer.state === 'open') this.#waiting.push({ answer, fault });
  }

  /** Judges what has waited long enough at `now`; Infinity for everything. */
  sweep(now: number): void {
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      if (first.answer.at > now - SETTLE_MS) return;
      this.#waiting.shift();
      const truth = this.observer.trueLagAt(first.answer.askedAt);
      if (truth === null) {
        this.judged.truthUnknown += 1;
        continue;
      }
      this.judged.open += 1;
      this.worstOpenMs = Math.max(this.worstOpenMs, truth.lowMs);
      if (truth.lowMs > this.allowedMs) this.#count(first.answer, first.fault, 'rows were missing', truth);
    }
  }

  /** Counts the answers "open" of a stretch in which there may be none. */
  forbid({ why }: Forbidden, answers: readonly Answer[], fault: string): void {
    for (const answer of answers) {
      if (answer.state === 'open') this.#count(answer, fault, why, null);
    }
  }

  #count(answer: Answer, fault: string, why: string, truth: TrueLag | null): void {
    const seconds = (answer.askedAt - this.startedAt) / 1_000;
    const known = this.falseGreens.find(
      (f) => f.gate === answer.gate && f.fault === fault && f.why === why && seconds - f.toSeconds < 60,
    );
    const found =
      known ??
      ({
        ...{ gate: answer.gate, fault, why, fromSeconds: seconds, toSeconds: seconds },
        ...{ answers: 0, worstMissingMs: null, evidence: [] },
      } satisfies FalseGreen);
    if (known === undefined) this.falseGreens.push(found);
    found.toSeconds = seconds;
    found.answers += 1;
    if (truth !== null) found.worstMissingMs = Math.max(found.worstMissingMs ?? 0, truth.lowMs);
    if (found.evidence.length === 2) found.evidence.pop();
    found.evidence.push({ askedAt: answer.askedAt, at: answer.at, truth, verdict: answer.verdict });
  }
}
