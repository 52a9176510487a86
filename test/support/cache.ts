/** Where the tests keep what they fetch once: further servers, and packages of Debian. Ignored by git; may be deleted at any time. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { cacheFolder } from '../../deploy/demo/postgres-install.js';

/** Returns the path of an entry below the cache folder, which is made if need be. */
export function cached(...names: string[]): string {
  mkdirSync(cacheFolder, { recursive: true });
  return join(cacheFolder, ...names);
}
