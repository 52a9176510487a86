/** The built page as it lies in the package: read once, kept in memory, served from there. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { messageOf } from '../../core/errors.js';

/** One file of the page, as it is and compressed. */
export interface PageAsset {
  readonly type: string;
  /** The hash of its content, quoted, as an entity tag. */
  readonly etag: string;
  readonly plain: Buffer;
  readonly gzip: Buffer;
  readonly br: Buffer;
}

/** The page: its document, and what that loads, by name. */
export interface PageBundle {
  readonly html: string;
  readonly assets: ReadonlyMap<string, PageAsset>;
}

/** What the build says of a file. */
interface Listed {
  name: string;
  type: string;
  hash: string;
}

/**
 * Reads the page that `npm run build:page` made; answers why not when it is not there or not whole. Without it nothing but
 * the page is missing.
 */
export function readPage(folder: string = builtPageFolder()): PageBundle | { missing: string } {
  try {
    const { files } = JSON.parse(readFileSync(join(folder, 'page.json'), 'utf8')) as { files: Listed[] };
    const assets = new Map<string, PageAsset>();
    for (const { name, type, hash } of files) {
      const read = (suffix: string): Buffer => readFileSync(join(folder, `${name}${suffix}`));
      assets.set(name, { type, etag: `"${hash}"`, plain: read(''), gzip: read('.gz'), br: read('.br') });
    }
    return { html: readFileSync(join(folder, 'index.html'), 'utf8'), assets };
  } catch (error) {
    return { missing: messageOf(error) };
  }
}

/** `dist/page` of the package that this file belongs to, whether it runs compiled or from source. */
function builtPageFolder(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  let folder = here;
  while (!existsSync(join(folder, 'package.json'))) {
    const above = dirname(folder);
    if (above === folder) return join(here, 'dist', 'page');
    folder = above;
  }
  return join(folder, 'dist', 'page');
}
