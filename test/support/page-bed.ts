/** A daemon over a real pair that replicates both ways, and a browser that looks at its status page. */
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import axe from 'axe-core';
import type { BrowserContextOptions, Page } from 'playwright-core';
import type { GateState, VerdictJson } from '../../daemon/http/port.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { startChromium, type TestBrowser } from './chromium.js';
import { startPostgresCutover, type PostgresCutover } from './cutover-postgres.js';

/** The tokens of the daemon. */
export const READER = 'a-readers-secret';
export const OPERATOR = 'an-operators-secret';
/** The gate that is opened and closed. */
export const FLIP = 'shop/flip-writes';

const artifacts = fileURLToPath(new URL('../artifacts/page/', import.meta.url));
/** Everything of WCAG A and AA in all versions, and what is good practice. */
const AXE_TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

/** A gate's element. */
export interface GateElement {
  id: string;
  state: string;
  text: string;
}

/** A page of the status page, and what went wrong in it. */
export interface OpenPage {
  readonly page: Page;
  /** Errors on the console, exceptions, violations of the policy, and addresses of other servers that were asked for. */
  readonly troubles: string[];
  /** When anything was painted first, milliseconds after the page was asked for. */
  firstPaint(): Promise<number>;
  /** Bytes that came for the document and its files. */
  weight(): number;
  give(token: string, remember?: boolean): Promise<void>;
  /** Every element of a gate, in the order of the page. */
  gates(): Promise<GateElement[]>;
  /** The state of a gate as the page shows it. */
  gate(id?: string): Promise<string | null>;
  connection(): Promise<string | null>;
  untilConnection(state: 'live' | 'lost', timeoutMs?: number): Promise<void>;
  untilGate(state: GateState, timeoutMs?: number, id?: string): Promise<void>;
  shot(name: string): Promise<void>;
  /** What axe finds, in a few words each. */
  axe(): Promise<string[]>;
  overflow(): Promise<number>;
  close(): Promise<void>;
}

/** The bed. */
export interface PageBed {
  readonly cutover: PostgresCutover;
  readonly browser: TestBrowser;
  readonly url: string;
  verdict(gate?: string): Promise<VerdictJson>;
  untilVerdict(state: GateState, timeoutMs?: number, gate?: string): Promise<void>;
  open(options?: BrowserContextOptions): Promise<OpenPage>;
  destroy(): Promise<void>;
}

/** Starts servers, daemon and browser. */
export async function startPageBed(): Promise<PageBed> {
  mkdirSync(artifacts, { recursive: true });
  const browser = await startChromium();
  const cutover = await startPostgresCutover({ bothWays: true, amend }).catch(async (error: unknown) => {
    await browser.close();
    throw error;
  });
  const { url } = cutover.lockgate;
  const verdict = async (gate = FLIP): Promise<VerdictJson> => {
    const headers = { authorization: `Bearer ${READER}` };
    const response = await fetch(`${url}/v1/gates/${gate}`, { headers, signal: AbortSignal.timeout(2_000) });
    return (await response.json()) as VerdictJson;
  };
  return {
    cutover,
    browser,
    url,
    verdict,
    untilVerdict: (state, timeoutMs = 20_000, gate = FLIP) =>
      until(`the API to say that ${gate} is ${state}`, timeoutMs, async () => (await verdict(gate)).state === state),
    open: async (options) => openPage(browser, url, options),
    async destroy() {
      await browser.close();
      await cutover.destroy();
    },
  };
}

async function until(what: string, timeoutMs: number, is: () => Promise<boolean>): Promise<void> {
  await waitFor(what, timeoutMs, is);
}

async function openPage(browser: TestBrowser, url: string, options: BrowserContextOptions = {}): Promise<OpenPage> {
  const context = await browser.context({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const troubles: string[] = [];
  let weight = 0;
  page.on('pageerror', (error) => troubles.push(`exception: ${error.message}`));
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) troubles.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => {
    if (!request.url().startsWith(`${url}/`)) troubles.push(`asks another server: ${request.url()}`);
    if (request.url().includes('secret')) troubles.push(`a token in an address: ${request.url()}`);
  });
  page.on('requestfinished', (request) => {
    if (!/\/v1\//.test(request.url())) {
      void request
        .sizes()
        .then((sizes) => (weight += sizes.responseBodySize + sizes.responseHeadersSize))
        .catch(() => undefined);
    }
  });
  await page.goto(`${url}/`);
  const attribute = (selector: string, name: string): Promise<string | null> =>
    page
      .locator(selector)
      .getAttribute(name, { timeout: 2_000 })
      .catch(() => null);
  const gate = (id = FLIP): Promise<string | null> => attribute(`[data-gate="${id}"]`, 'data-state');
  const connection = (): Promise<string | null> => attribute('[data-connection]', 'data-connection');
  return {
    page,
    troubles,
    firstPaint: () => page.evaluate<number>("performance.getEntriesByName('first-contentful-paint')[0].startTime"),
    weight: () => weight,
    async give(token, remember = false) {
      await page.fill('input[type=password]', token);
      if (remember) await page.check('input[name=remember]');
      await page.keyboard.press('Enter');
    },
    gate,
    connection,
    untilConnection: (state, timeoutMs = 10_000) =>
      until(`the page to be ${state}`, timeoutMs, async () => (await connection()) === state),
    untilGate: (state, timeoutMs = 10_000, id = FLIP) =>
      until(`the page to show ${id} ${state}`, timeoutMs, async () => (await gate(id)) === state),
    gates: () =>
      page.evaluate<GateElement[]>(
        `[...document.querySelectorAll('[data-gate]')].map((e) => ({ id: e.dataset.gate, state: e.dataset.state, text: e.textContent }))`,
      ),
    async shot(name) {
      await page.screenshot({ path: `${artifacts}${name}.png`, fullPage: true });
    },
    axe: () => findings(page),
    overflow: () =>
      page.evaluate<number>('document.documentElement.scrollWidth - document.documentElement.clientWidth'),
    close: () => context.close(),
  };
}

interface AxeResult {
  violations: { id: string; help: string; nodes: { html: string; failureSummary?: string }[] }[];
}

async function findings(page: Page): Promise<string[]> {
  // By the protocol of the debugger, which the page's policy does not bind.
  const session = await page.context().newCDPSession(page);
  await session.send('Runtime.evaluate', { expression: axe.source });
  const run = `axe.run(document, { runOnly: ${JSON.stringify(AXE_TAGS)}, resultTypes: ['violations'] })`;
  const { result } = await session.send('Runtime.evaluate', {
    expression: run,
    awaitPromise: true,
    returnByValue: true,
  });
  await session.detach();
  return (result.value as AxeResult).violations.map(
    ({ id, help, nodes }) =>
      `${id}: ${help}: ${nodes.map((n) => `${n.html.slice(0, 160)} ${n.failureSummary ?? ''}`).join(' | ')}`,
  );
}

/** Tokens, the gates of the runbook, a second migration, a gate across both, verification and an alert. */
function amend(yaml: string): string {
  const tokens = `auth: { tokens: [ { name: ann, token: ${OPERATOR}, role: operator }, { name: screen, token: ${READER}, role: reader } ] }`;
  const more = `
  crm:
    source: onprem
    target: aws
    forward: { via: none }
    verify: { tables: [ public.customers ] }
    gates:
      level: { require: [ verify.mismatched_rows is 0, "attest.backup.age < 1h" ] }
gates:
  all-shards: { require: [ gate shop/flip-writes open, gate crm/level open ] }
alerts:
  resolve_after: 1s
  rules: [ { name: page-test, when: "forward.lag > 3s", severity: critical, migration: shop } ]
`;
  return `${yaml
    .replace(/^daemon: \{ (.*) \}$/m, `daemon: { $1, ${tokens} }`)
    .replace(
      '    gates:\n',
      '    verify: { tables: [ "public.*" ], source_share: 100% }\n    gates:\n      preset: runbook\n',
    )
    .trimEnd()}${more}`;
}
