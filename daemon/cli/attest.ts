import type { Command } from 'commander';
import { daemonsOf, type ClientOptions } from './client.js';
import { clientCommand, complaint, jsonOf, durationOption, parseMigration, type CliContext } from './context.js';
import { EXIT, worst, type ExitCode, type Io } from './io.js';
import { judgeAnswer } from './judge.js';
import { plain } from '../live/words.js';
import { painter } from './text.js';

interface AttestOptions extends ClientOptions {
  by: string;
  note: string;
  timeout: number;
}

/** `attest MIGRATION NAME`: a person's word for what lockgate cannot see. */
export function addAttest(program: Command, { io, finish }: CliContext): void {
  clientCommand(program.command('attest'))
    .description('state that something lockgate cannot see is done (needs an operator token)')
    .argument('<migration>', 'name of the migration', parseMigration)
    .argument('<name>', 'what is attested, as attest.NAME.age in a gate', parseMigration)
    .requiredOption('--by <who>', 'who answers for it')
    .requiredOption('--note <text>', 'what was done, and where to look it up')
    .addOption(durationOption('--timeout <duration>', 'longest wait for each answer', '5s'))
    .addHelpText(
      'after',
      `
It is written to the journal of every daemon that --url names; those that were reached keep it if another was not.

Examples:
  lockgate attest shop backup-restored --by "Ana" --note "restored to staging, ticket OPS-41"`,
    )
    .action(async (migration: string, name: string, options: AttestOptions) =>
      finish(await attest(io, migration, name, options)),
    );
}

async function attest(io: Io, migration: string, name: string, options: AttestOptions): Promise<ExitCode> {
  const daemons = await daemonsOf(io, options);
  const paint = painter(io);
  const path = `/v1/migrations/${migration}/attestations/${name}`;
  const body = { by: options.by, note: options.note };
  const codes = await Promise.all(
    daemons.map(async (daemon) => {
      const answer = await daemon.ask({ method: 'POST', path, body, timeoutMs: options.timeout });
      const judged = judgeAnswer(answer);
      if (options.json === true) io.stdout(jsonOf(answer, daemon, daemons.length > 1));
      else if (judged.exit === EXIT.ok) {
        io.stdout(
          `${paint('DONE', 'green')}  ${migration}: ${name} attested by ${plain(options.by)} at ${daemon.url}\n`,
        );
      }
      if (judged.message !== null) io.stderr(complaint(daemon, judged.message));
      return judged.exit;
    }),
  );
  return worst(codes);
}
