/** One mistake in the configuration, with its place and what would be right. */
export interface ConfigProblem {
  file: string;
  line: number;
  column: number;
  /** Dotted path of the value, for example `migrations.shop.gates.flip-writes.require[0]`. */
  path: string;
  message: string;
  hint: string | null;
}

/** Base of every error that lockgate raises on purpose; `code` is stable and documented. */
export abstract class LockgateError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly hint: string | null = null,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** The configuration cannot be used (exit 2); it carries every problem found, not only the first. */
export class ConfigError extends LockgateError {
  constructor(readonly problems: readonly ConfigProblem[]) {
    super('config_invalid', problems.map(formatProblem).join('\n'));
  }
}

/** A fault that may pass by itself (connection lost, timeout, server starting): the collector is started again. */
export class TransientError extends LockgateError {}

/** A fault that needs an operator (privilege missing, slot lost, wrong setting); `hint` says what to do. */
export class SourceError extends LockgateError {}

/** A request or a command line that cannot be honoured (4xx, exit 2). */
export class UsageError extends LockgateError {}

/** An operator's command that is understood and not carried out now; `status` is what HTTP answers (404, 409, 503). */
export class Refusal extends LockgateError {
  constructor(
    readonly status: 404 | 409 | 503,
    code: string,
    message: string,
    hint: string | null = null,
    /** Further members of the problem that HTTP answers. */
    readonly extra: Readonly<Record<string, unknown>> = {},
  ) {
    super(code, message, hint);
  }
}

/** A bug in lockgate: the process must not go on as if nothing were. */
export class InvariantError extends LockgateError {
  constructor(message: string, options?: ErrorOptions) {
    super('invariant', message, 'This is a bug in lockgate; please report it with the log.', options);
  }
}

/** Renders a problem as `file:line:column: path: message (hint)`. */
export function formatProblem(p: ConfigProblem): string {
  const where = `${p.file}:${String(p.line)}:${String(p.column)}`;
  return `${where}: ${p.path === '' ? '' : `${p.path}: `}${p.message}${p.hint === null ? '' : ` (${p.hint})`}`;
}

/** The message of anything thrown, for logs and reasons. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An error's message together with what to do about it, as reasons show it. */
export function reasonOf(error: unknown): string {
  const hint = error instanceof LockgateError ? error.hint : null;
  return hint === null ? messageOf(error) : `${messageOf(error)}; ${hint}`;
}
