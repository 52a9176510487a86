/**
 * Every command of README and docs, executed: in the order of its page, in one shell for each page, against real servers and
 * the real daemon. What cannot run here is named with its reason, and test/unit/docs.test.ts looks at it as far as possible.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { commandsOf, fateOf } from '../support/docs/commands.js';
import { argoPhase, atPath, shownObject, shownText } from '../support/docs/integrations.js';
import { readPages, root, type Block, type Page } from '../support/docs/markdown.js';
import { HOOK_SECRET, startWorld, worldYaml, type PageWorld, type World } from '../support/docs/world.js';
import { workspace, type Workspace } from '../support/lockgate.js';

/** For all of them together, on a machine that does other things as well; a minute where it does not. */
const ALL_MS = 300_000;
/** The longest that one command may take. */
const COMMAND_MS = 40_000;
/** Pages whose commands build on one another come in the order of a migration; the others follow by name. */
const FIRST = [
  ...['README.md', 'docs/getting-started.md', 'docs/dual-write.md', 'docs/gates.md', 'docs/integrations.md'],
  ...['docs/runbook.md', 'docs/cutover.md'],
];

const counts = { executed: 0, elsewhere: 0, notHere: 0 };
const failures: string[] = [];

/** Runs what a page tells its reader to do. */
async function follow(page: Page, world: World): Promise<void> {
  const here = world.page(page.name);
  try {
    for (const block of page.blocks) {
      if (block.marker.has('file')) here.file(block);
      else if (block.marker.has('answer')) await compareAnswer(block, here, world);
      else if (block.lang === 'sql' && block.marker.has('on')) await runSql(block, world);
      else if (['sh', 'bash', 'shell', 'console'].includes(block.lang)) await runBlock(block, here, world);
    }
  } finally {
    await here.destroy();
    await endFences(world);
  }
}

async function runBlock(block: Block, here: PageWorld, world: World): Promise<void> {
  for (const command of commandsOf(block)) {
    const fate = fateOf(command);
    if (fate.kind === 'not-here' || [...world.missing].some((name) => calls(command.text, name))) {
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

const calls = (text: string, program: string): boolean => new RegExp(`(^|[\\s|(])${program}\\b`).test(text);

async function runSql(block: Block, { pair }: World): Promise<void> {
  counts.executed += 1;
  const run = block.marker.get('on') === 'source' ? pair.onSource : pair.onTarget;
  const text = block.marker.has('rollback') ? `BEGIN; ${block.text}; ROLLBACK` : block.text;
  await run(text).catch((error: unknown) => {
    failures.push(`${block.page}:${block.line}: ${String(error)}\n${block.text}`);
  });
}

/** The keys of an example are those of the real answer, or of what was really told, at every depth. */
async function compareAnswer(block: Block, here: PageWorld, world: World): Promise<void> {
  const path = block.marker.get('answer') ?? '';
  const real: unknown = path.startsWith('/') ? await answerTo(here, path) : await toldTo(path, world);
  const shown: unknown = JSON.parse(block.text.replace(/,?\s*… \([^)]*\)$/m, ''));
  const wrong = differences(shown, real, '');
  if (wrong.length > 0) failures.push(`${block.page}:${block.line}: ${path}: ${wrong.join('; ')}`);
}

async function answerTo(here: PageWorld, path: string): Promise<unknown> {
  return (await fetch(here.url() + (await here.adapt(path)))).json();
}

/** The event of an incident that this sink was told. */
async function toldTo(sink: string, { told }: World): Promise<unknown> {
  const found = await waitFor(`${sink} to be told`, 10_000, () =>
    Promise.resolve(told.find((each) => each.sink === sink && each.body.includes('something'))),
  );
  return JSON.parse(found.body);
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

  it(
    'do what the docs say',
    async () => {
      const pages = [...readPages().values()];
      const order = (page: Page): number => (FIRST.includes(page.name) ? FIRST.indexOf(page.name) : FIRST.length);
      const only = process.env['LOCKGATE_DOCS_ONLY'];
      for (const page of pages.sort((a, b) => order(a) - order(b))) {
        if (only !== undefined && !only.split(',').includes(page.name)) continue;
        await follow(page, world);
      }
      console.log(
        `docs: ${counts.executed} executed, ${counts.elsewhere} proven elsewhere, ${counts.notHere} not here`,
      );
      expect(failures.join('\n\n')).toBe('');
      if (only === undefined && world.missing.size === 0) expect(counts.executed).toBeGreaterThan(60);
    },
    ALL_MS,
  );

  it('show receivers of webhooks how to tell who has sent them', async () => {
    const block = readPages()
      .get('docs/alerts.md')
      ?.blocks.find(({ lang }) => lang === 'js');
    const file = join(world.lockgate.folder, 'receiver.mjs');
    writeFileSync(file, `${block?.text ?? ''}\nexport { isFromLockgate };\n`);
    const { isFromLockgate } = (await import(pathToFileURL(file).href)) as {
      isFromLockgate: (headers: object, body: string, secret: string) => boolean;
    };
    const one = await waitFor('a webhook', 10_000, () => Promise.resolve(world.told.find((t) => t.sink === 'webhook')));
    const sentAt = Number(one.headers['x-lockgate-timestamp']) * 1_000;
    const now = vi.spyOn(Date, 'now').mockReturnValue(sentAt + 1_000);
    try {
      expect(isFromLockgate(one.headers, one.body, HOOK_SECRET)).toBe(true);
      expect(isFromLockgate(one.headers, `${one.body} `, HOOK_SECRET)).toBe(false);
      expect(isFromLockgate(one.headers, one.body, 'another')).toBe(false);
      expect(isFromLockgate({ 'x-lockgate-timestamp': String(sentAt / 1_000) }, one.body, HOOK_SECRET)).toBe(false);
      now.mockReturnValue(sentAt + 301_000);
      expect(isFromLockgate(one.headers, one.body, HOOK_SECRET), 'an old one is played again').toBe(false);
    } finally {
      now.mockRestore();
    }
  });

  it('name every field of a verdict', async () => {
    const { body } = await world.daemon.get<Record<string, unknown> & { conditions: object[] }>(
      '/v1/gates/shop/always-open',
    );
    const page = readFileSync(join(root, 'docs/gates.md'), 'utf8');
    const fields = [...Object.keys(body), ...Object.keys(body.conditions[0] ?? {}).filter((name) => name !== 'text')];
    expect(fields.filter((name) => !new RegExp(`\\b${name}\\b`).test(page) && name !== 'gate')).toEqual([]);
  });

  describe('what integrations rely on', () => {
    const token = 'reader-of-the-docs-7c1d';
    /** By what its state is; `missing` is no gate, `gone` no daemon. */
    const gates = { open: 'always-open', closed: 'always-closed', unknown: 'never-known', missing: 'no-such-gate' };
    const states = ['open', 'closed', 'unknown', 'missing', 'gone'] as const;
    let lockgate: Workspace;
    beforeAll(async () => {
      const yaml = worldYaml(world.pair, 'http://127.0.0.1:9');
      lockgate = await workspace((port) =>
        yaml(port).replace(
          /id: docs\n( +)/,
          `id: docs-tokens\n$1auth: { tokens: [{ name: pipeline, token: ${token}, role: reader }] }\n$1`,
        ),
      );
      await lockgate.start();
      await waitFor('the gate to open', 15_000, async () => (await status('GET', 'open', '/check')) === 200);
    });
    afterAll(() => lockgate.destroy());

    const address = (state: (typeof states)[number], suffix: string): string =>
      state === 'gone'
        ? `http://127.0.0.1:9/v1/gates/shop/always-open${suffix}`
        : `${lockgate.url}/v1/gates/shop/${gates[state]}${suffix}`;

    async function status(method: string, state: (typeof states)[number], suffix: string, by = token) {
      const body =
        method === 'POST' ? { body: JSON.stringify({ name: 'shop', namespace: 'shop', phase: 'Progressing' }) } : {};
      const headers = { authorization: `Bearer ${by}`, 'content-type': 'application/json' };
      return fetch(address(state, suffix), { method, headers, ...body, signal: AbortSignal.timeout(5_000) }).then(
        (response) => response.status,
        () => 'no answer',
      );
    }

    it('is told by the status of check and wait', async () => {
      const wanted = { open: 200, closed: 409, unknown: 503, missing: 404, gone: 'no answer' };
      for (const state of states) {
        for (const method of ['GET', 'HEAD', 'POST']) {
          expect(await status(method, state, '/check'), `${method} ${state}`).toBe(wanted[state]);
        }
        expect(await status('GET', state, '/wait?timeout=1s'), `wait ${state}`).toBe(wanted[state]);
      }
      expect(await status('GET', 'open', '/check', 'nobody')).toBe(401);
      expect(await status('POST', 'open', '/check', 'nobody')).toBe(401);
    });

    it('lets Argo Rollouts go on with open alone, and pause on unknown', async () => {
      const { spec } = shownObject('AnalysisTemplate') as {
        spec: {
          metrics: {
            successCondition: string;
            failureCondition: string;
            provider: { web: { url: string; jsonPath: string } };
          }[];
        };
      };
      const [metric] = spec.metrics;
      const { url, jsonPath } = metric!.provider.web;
      const phases: Record<string, string> = {};
      for (const state of ['open', 'closed', 'unknown'] as const) {
        const path = new URL(url.replace('{{ args.gate }}', `shop/${gates[state]}`)).pathname;
        const response = await fetch(lockgate.url + path, { headers: { authorization: `Bearer ${token}` } });
        expect(response.status).toBe(200);
        phases[state] = argoPhase(metric!, atPath(await response.json(), jsonPath));
      }
      expect(phases).toEqual({ open: 'Successful', closed: 'Failed', unknown: 'Inconclusive' });
      // Neither is a measurement: Argo Rollouts takes anything but 2xx for an error.
      expect(await status('GET', 'missing', '')).toBe(404);
    });

    it('lets Spinnaker end its stage with open alone', async () => {
      const stage = JSON.parse(shownText('json')) as { url: string; statusJsonPath: string; successStatuses: string };
      const ended: string[] = [];
      for (const state of ['open', 'closed', 'unknown'] as const) {
        const path = new URL(stage.url).pathname.replace('shift-reads', gates[state]);
        const response = await fetch(lockgate.url + path, { headers: { authorization: `Bearer ${token}` } });
        if (atPath(await response.json(), stage.statusJsonPath) === stage.successStatuses) ended.push(state);
      }
      expect(ended).toEqual(['open']);
    });

    it('lets Flagger advance by gates that say go, and roll back by one that says back', () => {
      const { spec } = shownObject('Canary') as { spec: { analysis: { webhooks: { type: string; url: string }[] } } };
      const hooks = spec.analysis.webhooks;
      expect(hooks.every(({ url }) => /^\/v1\/gates\/shop\/[a-z-]+\/check$/.test(new URL(url).pathname))).toBe(true);
      const gate = (type: string): Set<string | undefined> =>
        new Set(hooks.filter((h) => h.type === type).map(({ url }) => new URL(url).pathname.split('/')[4]));
      // Answered 200 it rolls back: never the gate that says that all is well.
      expect(gate('rollback')).toEqual(new Set(['go-back']));
      expect(gate('confirm-traffic-increase')).toEqual(new Set(['shift-reads']));
    });

    it('lets the hook of CodeDeploy succeed with open alone', async () => {
      const fakes = `class CodeDeployClient { async send({ input }) { globalThis.reported = input.status; } }
class PutLifecycleEventHookExecutionStatusCommand { constructor(input) { this.input = input; } }`;
      const file = join(lockgate.folder, 'hook.mjs');
      writeFileSync(file, shownText('js').replace(/^import .*$/m, fakes));
      const { handler } = (await import(pathToFileURL(file).href)) as { handler: (event: object) => Promise<void> };
      const reported: Record<string, unknown> = {};
      process.env['LOCKGATE_TOKEN'] = token;
      for (const state of states) {
        process.env['LOCKGATE_URL'] = new URL(address(state, '')).origin;
        process.env['LOCKGATE_GATE'] = `shop/${state === 'gone' ? gates.open : gates[state]}`;
        await handler({ DeploymentId: 'd', LifecycleEventHookExecutionId: 'e' });
        reported[state] = (globalThis as { reported?: string }).reported;
      }
      expect(reported).toEqual({
        open: 'Succeeded',
        closed: 'Failed',
        unknown: 'Failed',
        missing: 'Failed',
        gone: 'Failed',
      });
    });
  });
});
