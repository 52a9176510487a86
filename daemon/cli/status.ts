import type { Command } from 'commander';
import { daemonsOf, type Answer, type ClientOptions, type Daemon } from './client.js';
import { clientCommand, complaint, durationOption, type CliContext } from './context.js';
import { EXIT, worst, type ExitCode, type Io } from './io.js';
import { isObject, judgeAnswer, type Judged } from './judge.js';
import { statusText } from './render-status.js';
import { painter } from './text.js';

interface StatusOptions extends ClientOptions {
  timeout: number;
}

/** `status`: everything at a glance. */
export function addStatus(program: Command, { io, finish }: CliContext): void {
  clientCommand(program.command('status'))
    .description('show migrations, links and gates at a glance')
    .addOption(durationOption('--timeout <duration>', 'longest wait for each answer', '5s'))
    .addHelpText(
      'after',
      `
Exit code 0 when every daemon answered, whatever the gates say; ask \`check\` for a verdict.
--json prints {"migrations":[...],"gates":[...]} as the API gives them; with several URLs one line each.

Examples:
  lockgate status --url http://127.0.0.1:9188
  lockgate status --url https://a:9188 --url https://b:9188 --ca ca.pem`,
    )
    .action(async (options: StatusOptions) => finish(await status(io, options)));
}

async function status(io: Io, options: StatusOptions): Promise<ExitCode> {
  const daemons = await daemonsOf(io, options);
  const paint = painter(io);
  const results = await Promise.all(daemons.map((daemon) => askStatus(daemon, options.timeout)));
  for (const { daemon, judged, migrations, gates } of results) {
    if (options.json === true) {
      const said = judged.message === null ? { migrations, gates } : { url: daemon.url, error: judged.message };
      io.stdout(`${JSON.stringify(said)}\n`);
    } else if (judged.message === null) {
      const from = daemons.length > 1 ? daemon.url : null;
      io.stdout(statusText({ migrations, gates }, paint, from, io.clock.wallNow()));
    }
    if (judged.message !== null) io.stderr(complaint(daemon, judged.message));
  }
  return worst(results.map((r) => r.judged.exit));
}

interface Result {
  daemon: Daemon;
  judged: Judged;
  migrations: unknown[];
  gates: unknown[];
}

async function askStatus(daemon: Daemon, timeoutMs: number): Promise<Result> {
  const answers = await Promise.all(['/v1/migrations', '/v1/gates'].map((path) => daemon.ask({ path, timeoutMs })));
  const [migrations, gates] = [listOf(answers[0], 'migrations'), listOf(answers[1], 'gates')];
  const judged = answers.map(judgeAnswer).find((j) => j.exit !== EXIT.ok);
  if (judged !== undefined) return { daemon, judged, migrations: [], gates: [] };
  if (migrations === null || gates === null) {
    const message = 'the answer is no status; is it lockgate?';
    return { daemon, judged: { exit: EXIT.unknown, message }, migrations: [], gates: [] };
  }
  return { daemon, judged: { exit: EXIT.ok, message: null }, migrations, gates };
}

function listOf(answer: Answer | undefined, name: string): unknown[] | null {
  if (answer?.kind !== 'answer' || !isObject(answer.json)) return null;
  const list = answer.json[name];
  return Array.isArray(list) ? (list as unknown[]) : null;
}
