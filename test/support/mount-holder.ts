/** Helper processes that hold a mount name space open, so that nothing stays mounted however this process ends. */
import type { ChildProcess } from 'node:child_process';

/** Waits until a helper has said that it is ready; answers null, or why it is not. */
export function readiness(holder: ChildProcess): Promise<string | null> {
  return new Promise((done) => {
    let said = '';
    holder.stdout?.on('data', (chunk: Buffer) => {
      if (chunk.toString().includes('ready')) done(null);
    });
    holder.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    holder.once('error', (error) => done(error.message));
    holder.once('close', (code) => done(`unshare ended with ${String(code)}: ${said.trim()}`));
  });
}
