/** Docs that cannot lie, as far as that can be told without a server: names, links, configuration, and what is run elsewhere. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { prometheusRules } from '../../alerts/prometheus-rules.js';
import { builtInRules } from '../../daemon/core/alert-rule.js';
import { parseCondition } from '../../daemon/core/condition.js';
import { LINK_SIGNALS, MIGRATION_SIGNALS, SIDE_SIGNALS, findSignal } from '../../daemon/core/signal.js';
import { commandsOf, fateOf, simpleCommands } from '../support/docs/commands.js';
import { anchorOf, readMarker, readPages, root, type Page } from '../support/docs/markdown.js';
import { commandLine, hasConfigKey, metricNames, npmScripts, wrongCommand } from '../support/docs/names.js';
import { startServer } from '../support/http-server.js';
import { loadExample, problemsOfYaml } from '../support/docs/yaml-blocks.js';

const pages = [...readPages().values()];
const blocks = pages.flatMap((page) => page.blocks);
const spans = pages.flatMap((page) => page.spans.map((span) => ({ ...span, where: `${page.name}:${span.line}` })));
const text = (page: Page | undefined): string =>
  page === undefined ? '' : readFileSync(join(root, page.name), 'utf8');
const named = (name: string): string => text(pages.find((page) => page.name === name));
const CONTEXT = {
  links: ['forward', 'reverse'],
  traffic: { error_rate: 'ratio', latency: 's' },
  dns: ['app'],
} as const;

/** Names of other people's that look like ours. */
const NOT_OURS = /^(source|target)\.(md|yaml|json|example)$/;

describe('the docs', () => {
  let commands: Map<string, Set<string>>;
  let metrics: Set<string>;
  beforeAll(async () => {
    commands = await commandLine();
    metrics = await metricNames();
  });

  it('link to what is there', () => {
    const wrong: string[] = [];
    for (const page of pages) {
      for (const { to, line } of page.links) {
        if (/^(https?|mailto):/.test(to)) continue;
        const [path = '', anchor] = to.split('#');
        const file = path === '' ? page.name : normalize(join(dirname(page.name), path));
        if (!existsSync(join(root, file))) wrong.push(`${page.name}:${line}: there is no ${file}`);
        const target = pages.find((each) => each.name === file);
        if (anchor !== undefined && target !== undefined && !target.anchors.has(anchor)) {
          wrong.push(`${page.name}:${line}: ${file} has no heading #${anchor}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('are all reached from the index and from README', () => {
    const reached = new Set<string>();
    const visit = (name: string): void => {
      if (reached.has(name)) return;
      reached.add(name);
      for (const { to } of pages.find((page) => page.name === name)?.links ?? []) {
        visit(normalize(join(dirname(name), to.split('#')[0] ?? '')));
      }
    };
    visit('docs/README.md');
    expect(pages.map((page) => page.name).filter((name) => !reached.has(name))).toEqual([]);
    expect(named('README.md')).toContain('](docs/README.md)');
  });

  it('show configuration that can be loaded, and YAML and JSON that can be read', () => {
    const wrong: string[] = [];
    for (const block of blocks) {
      const where = `${block.page}:${block.line}`;
      if (block.lang === 'yaml') wrong.push(...problemsOfYaml(block).map((problem) => `${where}: ${problem}`));
      if (block.lang === 'json') {
        try {
          // `…` on a line of its own says that something was left out.
          JSON.parse(block.text.replace(/,?\s*… \([^)]*\)$/m, ''));
        } catch (error) {
          wrong.push(`${where}: ${String(error)}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('call nothing that nobody knows: commands that are not run here exist all the same', () => {
    const wrong: string[] = [];
    for (const block of blocks.filter(({ lang }) => ['sh', 'bash', 'shell', 'console'].includes(lang))) {
      for (const command of commandsOf(block)) {
        const where = `${block.page}:${command.line}`;
        const fate = fateOf(command);
        if (fate.kind === 'not-here' && fate.reason === '') wrong.push(`${where}: not-here needs a reason`);
        if (fate.kind === 'elsewhere' && !existsSync(join(root, fate.by))) wrong.push(`${where}: no ${fate.by}`);
        // As root the tests could do to this machine what the reader is to do to another one.
        const outside = /(?<![\w.])\/(?:etc|var|opt|usr|root|srv|run|home)\/[\w./-]*/.exec(command.text)?.[0] ?? null;
        if (fate.kind === 'execute' && outside !== null && !/^\/etc\/(lockgate|prometheus)\//.test(outside)) {
          wrong.push(`${where}: ${outside} is the machine's own: mark the block \`<!-- docs: not-here … -->\``);
        }
        for (const part of simpleCommands(command.text)) {
          const script = /^npm run (?:--silent )?([\w:-]+)/.exec(part)?.[1];
          if (script !== undefined && !npmScripts().has(script)) wrong.push(`${where}: no npm script ${script}`);
          const problem = part.startsWith('lockgate ') ? wrongCommand(part, commands) : null;
          if (problem !== null) wrong.push(`${where}: ${problem}`);
        }
        // Those of the project; `./dist` is made by its build.
        for (const m of command.text.matchAll(/(?<![\w./-]|> ?)(?:\.\/)?((?:deploy|docs|test|daemon)\/[\w./-]*\w)/g)) {
          if (!existsSync(join(root, m[1] ?? ''))) wrong.push(`${where}: there is no ${m[1] ?? ''}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('run every SQL, or say which test does', () => {
    const sql = blocks.filter(({ lang }) => lang === 'sql');
    const wrong = sql.filter(({ marker }) => {
      const by = marker.get('run')?.replace(/^elsewhere /, '');
      const elsewhere = by !== undefined && existsSync(join(root, by));
      return !elsewhere && !marker.has('on') && (marker.get('not-here') ?? '') === '';
    });
    expect(wrong.map(({ page, line }) => `${page}:${line}`)).toEqual([]);
  });

  it('name signals, conditions, metrics, commands and keys that exist', () => {
    const wrong: string[] = [];
    // What is shown as wrong.
    const refused = new Set(
      [...named('docs/gates.md').matchAll(/there is no signal `([^`]+)`/g)].map((m) => m[1] ?? ''),
    );
    const head = '(?:forward|reverse|active|standby|source|target|verify|sequences|dms|fence|direction)';
    const gates = new Set(
      ['flip-writes', 'shift-reads', 'rollback-ready', 'verified', 'replicated', 'X'].map((g) => `shop/${g}`),
    );
    for (const { text: span, where } of spans) {
      if (NOT_OURS.test(span) || refused.has(span)) continue;
      if (new RegExp(`^${head}\\.[a-z_]+$`).test(span) && findSignal(span, CONTEXT) === undefined) {
        if (!hasConfigKey(['migrations', 'shop', ...span.split('.')])) wrong.push(`${where}: no signal ${span}`);
      }
      if (
        new RegExp(`^(?:\\w+\\()?${head}\\.[a-z_]+.* (?:<|<=|>|>=|==|!=|is|under|below|over|above) [\\d.]`).test(span)
      ) {
        const parsed = parseCondition(span, { migration: 'shop', signals: CONTEXT, gates });
        // What is refused is shown as well.
        if (!parsed.ok && !named('docs/gates.md').includes(`| \`${span}\``))
          wrong.push(`${where}: ${span}: ${parsed.message}`);
      }
      for (const m of span.matchAll(/(?<![\w:])lockgate_[a-z_]*[a-z](?![a-z_]*…|_…|:)/g)) {
        if (!metrics.has(m[0].replace(/_(bucket|sum|count)$/, '')) && !metrics.has(m[0]))
          wrong.push(`${where}: no metric ${m[0]}`);
      }
      if (/^lockgate [a-z]/.test(span) && !/[…]/.test(span.replace(/ ….*/, ''))) {
        const problem = wrongCommand(span.replace(/ ….*/, '').replaceAll('…', 'x'), commands);
        if (problem !== null) wrong.push(`${where}: ${problem}`);
      }
      if (/^(?:test|daemon|collectors|alerts|deploy|docs)\/[\w./-]+\.(?:ts|md|yml|yaml|json|sql)$/.test(span)) {
        if (!existsSync(join(root, span))) wrong.push(`${where}: there is no ${span}`);
      }
      if (/^(?:daemon|store|publish|alerts)\.[a-z_.]+$/.test(span) && !hasConfigKey(span.split('.'))) {
        wrong.push(`${where}: the configuration has no ${span}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it('tell of every signal, alert, metric and command that there is', () => {
    const missing: string[] = [];
    // By a row of a table, alone or beside what is alike: a mention does not tell what it is.
    const says = (page: string, name: string): void => {
      const row = new RegExp('^\\| *(?:`Lockgate\\w+`, )?`' + name + '`[^|]*\\|', 'm');
      if (!row.test(named(page))) missing.push(`${page} does not tell of ${name}`);
    };
    for (const name of [
      ...Object.keys(LINK_SIGNALS),
      ...Object.keys(SIDE_SIGNALS),
      ...Object.keys(MIGRATION_SIGNALS),
    ]) {
      says('docs/signals.md', name);
    }
    for (const name of ['traffic.NAME', 'dns.NAME.ttl', 'attest.NAME.age']) says('docs/signals.md', name);
    const config = loadExample(`
databases:
  onprem: { engine: postgres, url: "postgres://lockgate@db.onprem.example/shop" }
  aws: { engine: postgres, url: "postgres://lockgate@db.aws.example/shop" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub }
    reverse: { via: postgres-logical, subscription: shop_back }
    verify: {}
    maintenance: [{ from: 2026-12-01T01:00:00Z, to: 2026-12-01T03:00:00Z, note: patching }]
    gates: { preset: runbook }
alerts: {}
`);
    const shop = config.migrations.get('shop');
    for (const rule of builtInRules(shop!, () => true)) says('docs/alerts.md', rule.name);
    for (const m of prometheusRules(config, () => true).matchAll(/alert: (\w+)/g))
      says('docs/prometheus.md', m[1] ?? '');
    for (const name of metrics) {
      if (!pages.some((page) => new RegExp(`\`${name}[\`{]`).test(text(page))))
        missing.push(`no page tells of ${name}`);
    }
    for (const name of commands.keys()) {
      if (name === '' || [...commands.keys()].some((other) => other.startsWith(`${name} `))) continue;
      const pattern = new RegExp(`\`(lockgate )?${name.replace('rules ', 'rules prometheus.*|rules ')}`);
      if (!pattern.test(named('README.md')) && !name.startsWith('rules'))
        missing.push(`README does not tell of ${name}`);
    }
    expect(missing).toEqual([]);
  });

  it('tell of every request that the API answers, and of no other', async () => {
    const running = await startServer();
    const { paths } = JSON.parse((await running.ask('/openapi.json')).body) as { paths: Record<string, object> };
    await running.server.close(0);
    const table = named('README.md').split('## HTTP')[1]?.split('\n## ')[0] ?? '';
    const short = (path: string): string => path.replace(/\{\w+\}/g, '{}');
    const shown = [...table.matchAll(/^\| (.*?) +\|/gm)].flatMap(([, cell = '']) => {
      const found = [...cell.matchAll(/(\/[\w/{}.-]*)/g)].map((m) => m[1] ?? '');
      // `/promote`, `/rollback`: the second is beside the first.
      return found.map((path) => (path === '/rollback' ? (found[0] ?? '').replace('/promote', path) : path)).map(short);
    });
    // Gates across migrations have the same paths without a migration.
    const real = Object.keys(paths)
      .filter((path) => !path.startsWith('/v1/gates/{gate}'))
      .map(short);
    expect(shown.filter((path) => !real.includes(path))).toEqual([]);
    const all = pages.map((page) => text(page).replace(/\{\w+\}/g, '{}')).join('\n');
    expect(real.filter((path) => !shown.includes(path) && !all.includes(path))).toEqual([]);
  });

  it('show what is refused in the words in which it is refused', () => {
    const section = named('docs/gates.md').split('### What is refused')[1]?.split('\n## ')[0] ?? '';
    const rows = [...section.matchAll(/^\| `([^`]+)` +\| (.*?) +\|$/gm)];
    expect(rows.length).toBeGreaterThan(20);
    const gates = new Set(['shop/shift-reads']);
    for (const [, written = '', answer] of rows) {
      const parsed = parseCondition(written, { migration: 'shop', signals: CONTEXT, gates });
      expect(parsed.ok ? 'nothing is wrong with it' : parsed.message, written).toBe(answer);
    }
  });

  it('know every marker that they use', () => {
    expect(() => readMarker('exit=1', 'here')).not.toThrow();
    expect(() => readMarker('exti=1', 'here')).toThrow('not understood');
    expect(anchorOf('`preset: runbook`')).toBe('preset-runbook');
  });
});
