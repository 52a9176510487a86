import { parentOf } from './run-folder.js';

const EVERY_MS = 1_000;

/**
 * Calls back when npm has gone. npm passes SIGTERM on to a shell, which dies of it and tells nobody, so that tsx and this
 * process would live on without anybody knowing. Without npm there is nothing to watch: then signals arrive.
 */
export function onNpmGone(env: Readonly<Record<string, string | undefined>>, gone: () => void): void {
  if (env['npm_command'] === undefined) return;
  // npm, its shell, tsx, this process: whichever is missing, the one above it has another parent from then on.
  const ancestors = (): string => {
    const parent = process.ppid;
    return `${parent} ${parentOf(parent) ?? 'gone'}`;
  };
  const before = ancestors();
  const timer = setInterval(() => {
    if (ancestors() === before) return;
    clearInterval(timer);
    gone();
  }, EVERY_MS);
  timer.unref();
}
