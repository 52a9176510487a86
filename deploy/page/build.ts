/**
 * Builds the status page into `dist/page`: one script and one style sheet, named by the hash of their content, with their
 * compressed forms beside them, and `page.json` that lists them for the daemon. Run by `npm run build:page`.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';

const root = fileURLToPath(new URL('../../', import.meta.url));
const client = join(root, 'daemon', 'http', 'page', 'client');

/** What the document loads, by the name that stands in its template. */
const ENTRIES = ['page.js', 'page.css', 'icon.svg'] as const;

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Builds the page and answers the folder; throws with what esbuild said. */
export function buildPage(folder = join(root, 'dist', 'page')): string {
  mkdirSync(folder, { recursive: true });
  let html = readFileSync(join(client, 'index.html'), 'utf8');
  const files: { name: string; type: string; hash: string }[] = [];
  for (const entry of ENTRIES) {
    const content = made(entry);
    const hash = createHash('sha256').update(content).digest('hex').slice(0, 16);
    const extension = extname(entry);
    const name = entry.replace(extension, `-${hash}${extension}`);
    const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY } };
    place(join(folder, name), content);
    place(join(folder, `${name}.gz`), gzipSync(content, { level: 9 }));
    place(join(folder, `${name}.br`), brotliCompressSync(content, quality));
    html = html.replaceAll(`assets/${entry}`, `assets/${name}`);
    files.push({ name, type: TYPES[extension] ?? 'application/octet-stream', hash });
  }
  place(join(folder, 'index.html'), Buffer.from(html));
  // Last: whoever reads it finds everything that it names.
  place(join(folder, 'page.json'), Buffer.from(`${JSON.stringify({ files }, null, 2)}\n`));
  const kept = new Set([...files.flatMap(({ name }) => [name, `${name}.gz`, `${name}.br`]), 'index.html', 'page.json']);
  for (const name of readdirSync(folder)) {
    if (!kept.has(name) && !name.includes('.draft-')) rmSync(join(folder, name), { force: true, recursive: true });
  }
  return folder;
}

function made(entry: (typeof ENTRIES)[number]): Buffer {
  if (entry === 'icon.svg') return readFileSync(join(client, entry));
  const { outputFiles } = buildSync({
    entryPoints: [join(client, entry === 'page.js' ? 'main.ts' : entry)],
    tsconfig: join(client, 'tsconfig.json'),
    bundle: true,
    minify: true,
    format: 'esm',
    target: ['es2022', 'chrome110', 'firefox110', 'safari16.4'],
    legalComments: 'none',
    logLevel: 'warning',
    write: false,
  });
  const [output] = outputFiles;
  if (output === undefined) throw new Error(`esbuild made nothing of ${entry}`);
  return Buffer.from(output.contents);
}

/** Whole or not at all: a daemon may start, and another build may run, at the same time. */
function place(path: string, content: Buffer): void {
  const draft = `${path}.draft-${process.pid}`;
  writeFileSync(draft, content);
  renameSync(draft, path);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) buildPage();
