import type { Answer, Daemon } from './client.js';
import { complaint, jsonOf } from './context.js';
import { EXIT, type Io } from './io.js';
import { judgeVerdict, type JudgedVerdict } from './judge.js';
import { stateWord, verdictText } from './render-verdict.js';
import { painter } from './text.js';

/** One daemon's answer about a gate and what it is worth. */
export interface GateAnswer {
  daemon: Daemon;
  answer: Answer;
  judged: JudgedVerdict;
}

/** Asks every daemon at once; `path` is below the URL, `maxAge` in milliseconds. */
export function askGate(
  io: Io,
  daemons: readonly Daemon[],
  gate: string,
  request: { path: string; timeoutMs: number; maxAge: number },
): Promise<GateAnswer[]> {
  return Promise.all(
    daemons.map(async (daemon) => {
      const answer = await daemon.ask({ path: request.path, timeoutMs: request.timeoutMs });
      return { daemon, answer, judged: judgeVerdict(answer, gate, io.clock.wallNow(), request.maxAge) };
    }),
  );
}

/** Prints verdicts on standard output and what is wrong with the other answers on standard error. */
export function printGateAnswers(io: Io, gate: string, answers: readonly GateAnswer[], json: boolean): void {
  const paint = painter(io);
  const several = answers.length > 1;
  for (const { daemon, answer, judged } of answers) {
    if (json) {
      io.stdout(jsonOf(answer, daemon, several));
    } else if (judged.verdict !== null) {
      io.stdout(verdictText(judged.verdict, paint, several ? daemon.url : null));
    } else if (judged.exit === EXIT.unknown) {
      io.stdout(`${stateWord('unknown', paint)}  ${paint(gate, 'bold')}${several ? `  at ${daemon.url}` : ''}\n`);
    }
    if (judged.message !== null) io.stderr(complaint(daemon, judged.message));
  }
}
