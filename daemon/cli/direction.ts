import { randomUUID } from 'node:crypto';
import { Option, type Command } from 'commander';
import { oneDaemonOf, type Answer, type ClientOptions, type Daemon } from './client.js';
import { clientCommand, complaint, durationOption, jsonOf, parseMigration, type CliContext } from './context.js';
import { interruptible } from './interrupt.js';
import { EXIT, type ExitCode, type Io } from './io.js';
import { judgeChange } from './judge-fence.js';
import { changeText } from './render-fence.js';
import { painter } from './text.js';

interface DirectionOptions extends ClientOptions {
  reason: string;
  expect: 'forward' | 'reverse';
  force?: boolean;
  timeout: number;
}

type Action = 'promote' | 'rollback';

/** Between two tries of the same request. */
const RETRY_MS = 1000;

/** `promote MIGRATION`: writes belong on the target now. */
export function addPromote(program: Command, context: CliContext): void {
  addChange(program, context, 'promote', 'forward', 'declare that writes belong on the target from now on');
}

/** `rollback MIGRATION`: writes belong on the source again. */
export function addRollback(program: Command, context: CliContext): void {
  addChange(program, context, 'rollback', 'reverse', 'declare that writes belong on the source again');
}

function addChange(
  program: Command,
  { io, finish }: CliContext,
  action: Action,
  expect: 'forward' | 'reverse',
  what: string,
): void {
  clientCommand(program.command(action))
    .description(`${what} (needs an operator token and a drained fence)`)
    .argument('<migration>', 'name of the migration', parseMigration)
    .requiredOption('--reason <text>', 'why, one line for the journal')
    .addOption(
      new Option('--expect <direction>', 'the direction that you believe is the present one')
        .choices(['forward', 'reverse'])
        .default(expect),
    )
    .option('--force', 'without a drained fence, in an emergency: what has not arrived yet may be lost')
    .addOption(durationOption('--timeout <duration>', 'longest wait for the answer, retries included', '60s'))
    .addHelpText(
      'after',
      `
lockgate moves no traffic: this declares the change, turns the direction of its gates and writes it to the journal.
When the connection breaks, the same request is sent again with the same Idempotency-Key, so that nothing is done twice.

Exit codes: 0 done, 2 refused (no drained fence, another direction), 3 cannot be told now, 4 no daemon answers.

Examples:
  lockgate ${action} shop --reason "cutover, OPS-41"
  lockgate ${action} shop --reason "the ${action === 'promote' ? 'source' : 'target'} is lost, OPS-42" --force`,
    )
    .action(async (migration: string, options: DirectionOptions) =>
      finish(await interruptible(io, (signal) => changeDirection(io, action, migration, options, signal))),
    );
}

async function changeDirection(
  io: Io,
  action: Action,
  migration: string,
  options: DirectionOptions,
  signal: AbortSignal,
): Promise<ExitCode> {
  const daemon = await oneDaemonOf(io, options);
  const { answer, inDoubt } = await askUntilAnswered(io, daemon, action, migration, options, signal);
  const judged = judgeChange(answer, migration, action);
  if (options.json === true) io.stdout(jsonOf(answer, daemon, false));
  else if (judged.change !== null) io.stdout(changeText(judged.change, painter(io), io.clock.wallNow()));
  if (judged.message !== null) io.stderr(complaint(daemon, judged.message));
  const unclear = answer.kind === 'answer' && judged.exit !== EXIT.refused && answer.status !== 503;
  if (judged.change === null && (inDoubt || unclear)) {
    const look = '`lockgate status` shows the direction, `lockgate journal` what was declared';
    io.stderr(complaint(daemon, `it may have been carried out all the same: ${look}`));
  }
  return judged.exit;
}

/**
 * Sends the request, and sends it again with the same key while the connection breaks. A daemon that never took it is not
 * asked again: a wrong URL should say so at once. `inDoubt` is whether a try without an answer may have done it.
 */
async function askUntilAnswered(
  io: Io,
  daemon: Daemon,
  action: Action,
  migration: string,
  { reason, expect, force = false, timeout }: DirectionOptions,
  signal: AbortSignal,
): Promise<{ answer: Answer; inDoubt: boolean }> {
  const { clock } = io;
  const started = clock.monotonicNow();
  const leftMs = (): number => timeout - (clock.monotonicNow() - started) / 1000;
  const path = `/v1/migrations/${migration}/${action}`;
  const idempotencyKey = randomUUID();
  const body = { reason, expect, force };
  let inDoubt = false;
  for (;;) {
    const timeoutMs = Math.max(1, Math.ceil(leftMs()));
    const answer = await daemon.ask({ method: 'POST', path, body, idempotencyKey, timeoutMs, signal });
    inDoubt ||= isBroken(answer);
    // Once in doubt, a daemon that is starting again or not there yet is worth asking until the time is over.
    const again = inDoubt && (answer.kind === 'unreachable' || isBroken(answer) || answer.status === 503);
    if (!again || signal.aborted || leftMs() <= RETRY_MS) return { answer, inDoubt };
    const why = answer.kind === 'unreachable' ? answer.message : `status ${String(answer.status)}`;
    io.stderr(complaint(daemon, `${why}; asking again with the same key`));
    await clock.sleep(RETRY_MS, signal);
  }
}

/** No answer of the daemon's own, although the request may have reached it. */
function isBroken(answer: Answer): boolean {
  return answer.kind === 'unreachable' ? answer.sent : answer.status === 502 || answer.status === 504;
}
