/**
 * Every command of README and docs, executed: in the order of its page, in one shell for each page, against real servers and
 * the real daemon. What cannot run here is named with its reason, and test/unit/docs.test.ts looks at it as far as possible.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandsOf, fateOf } from '../support/docs/commands.js';
import { readPages, type Block, type Page } from '../support/docs/markdown.js';
import { startWorld, type PageWorld, type World } from '../support/docs/world.js';

/** The longest that one command may take. */
const COMMAND_MS = 40_000;
/** Pages whose commands build on one another come in the order of a migration; the others follow by name. */
const FIRST = ['README.md', 'docs/getting-started.md', 'docs/gates.md', 'docs/runbook.md', 'docs/cutover.md'];

const counts = { executed: 0, elsewhere: 0, notHere: 0 };
const failures: string[] = [];

/** Runs what a page tells its reader to do. */
async function follow(page: Page, world: World): Promise<void> {
  const here = world.page(page.name);
  try {
    for (const block of page.blocks) {
      if (block.marker.has('file')) here.file(block);
      else if (block.marker.has('answer')) await compareAnswer(block, here);
      else if (block.lang === 'sql' && block.marker.has('on')) await runSql(block, world);
      else if (['sh', 'bash', 'shell', 'console'].includes(block.lang)) await runBlock(block, here);
    }
  } finally {
    await here.destroy();
    await endFences(world);
  }
}

async function runBlock(block: Block, here: PageWorld): Promise<void> {
  for (const command of commandsOf(block)) {
    const fate = fateOf(command);
    if (fate.kind === 'not-here') {
      counts.notHere += 1;
      continue;
    }
    if (fate.kind === 'elsewhere') {
      counts.elsewhere += 1;
      continue;
    }
    counts.executed += 1;
    const where = `${block.page}:${command.line}`;
    if (/^lockgate run\b/.test(command.text)) {
      await here.startOwn();
      continue;
    }
    const started = performance.now();
    const text = await here.adapt(command.text);
    const ended = await here.run(block.marker.has('script') ? `bash <<'THE_END'\n${text}\nTHE_END` : text, COMMAND_MS);
    if (process.env['LOCKGATE_DOCS_LOG'] !== undefined) {
      console.log(`${where} ${ended.code} ${Math.round(performance.now() - started)} ms: ${text}\n${ended.output}`);
    }
    if (ended.code !== fate.exit) {
      failures.push(`${where}: exit ${ended.code}, not ${fate.exit}\n${text}\n${ended.output}`);
    }
  }
}

async function runSql(block: Block, { pair }: World): Promise<void> {
  counts.executed += 1;
  const run = block.marker.get('on') === 'source' ? pair.onSource : pair.onTarget;
  await run(block.text).catch((error: unknown) => {
    failures.push(`${block.page}:${block.line}: ${String(error)}\n${block.text}`);
  });
}

/** The keys of an example are those of the real answer, at every depth. */
async function compareAnswer(block: Block, here: PageWorld): Promise<void> {
  const path = await here.adapt(block.marker.get('answer') ?? '');
  const response = await fetch(here.url() + path);
  const real: unknown = await response.json();
  const shown: unknown = JSON.parse(block.text.replace(/,?\s*… \([^)]*\)$/m, ''));
  const wrong = differences(shown, real, '');
  if (wrong.length > 0) failures.push(`${block.page}:${block.line}: ${path}: ${wrong.join('; ')}`);
}

function differences(shown: unknown, real: unknown, at: string): string[] {
  if (Array.isArray(shown)) {
    const first: unknown = Array.isArray(real) ? real[0] : undefined;
    return shown.length === 0 || first === undefined ? [] : differences(shown[0], first, `${at}[0]`);
  }
  if (typeof shown !== 'object' || shown === null || typeof real !== 'object' || real === null) return [];
  const wrong: string[] = [];
  for (const key of Object.keys(real)) if (!(key in shown)) wrong.push(`${at}.${key} is not shown`);
  for (const [key, value] of Object.entries(shown)) {
    if (!(key in real)) wrong.push(`${at}.${key} is not answered`);
    else wrong.push(...differences(value, (real as Record<string, unknown>)[key], `${at}.${key}`));
  }
  return wrong;
}

/** A page that leaves a fence open leaves it to nobody. */
async function endFences({ daemon }: World): Promise<void> {
  const { body } = await daemon.get<{ fences: { id: string; state: string }[] }>('/v1/migrations/shop/fences');
  for (const { id, state } of body.fences) {
    if (!['placed', 'drained', 'unknown'].includes(state)) continue;
    await fetch(`${daemon.url}/v1/migrations/shop/fences/${id}`, { method: 'DELETE' });
  }
}

describe('the commands of the docs', () => {
  let world: World;
  beforeAll(async () => {
    world = await startWorld();
  });
  afterAll(() => world.destroy());

  it('do what the docs say', async () => {
    const pages = [...readPages().values()];
    const order = (page: Page): number => (FIRST.includes(page.name) ? FIRST.indexOf(page.name) : FIRST.length);
    const only = process.env['LOCKGATE_DOCS_ONLY'];
    for (const page of pages.sort((a, b) => order(a) - order(b))) {
      if (only !== undefined && !only.split(',').includes(page.name)) continue;
      await follow(page, world);
    }
    console.log(`docs: ${counts.executed} executed, ${counts.elsewhere} proven elsewhere, ${counts.notHere} not here`);
    expect(failures.join('\n\n')).toBe('');
  });
});
