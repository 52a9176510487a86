/** Chromium for tests of the page: the machine's own, else Debian's, unpacked below the cache folder and run from there. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions } from 'playwright-core';
import { fetchDebian } from '../../deploy/demo/debian.js';

/** Nothing but the pages under test is asked for; the tests run as root and without a graphics card. */
const FLAGS = [
  ...['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync'],
  ...['--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage'],
];

/**
 * What a browser without a window does without, and the C library: the loader of the machine and the C library must be of
 * one kind, so the machine's own is used.
 */
const LEAVE_OUT = [
  ...['doc', 'man', 'locale', 'perl5', 'X11', 'bug', 'lintian'].map((name) => `./usr/share/${name}`),
  ...['libLLVM*', 'libz3*', 'dri', 'gconv', 'perl*'].map((name) => `./usr/lib/*/${name}`),
  ...['c', 'm', 'dl', 'pthread', 'rt', 'resolv', 'util', 'nss_*'].map((name) => `./lib/*/lib${name}.so*`),
  ...['./lib/*/ld-linux*', './lib64', './usr/lib/chromium/libVkLayer*', './usr/lib/chromium/*.TOC', './var'],
];

/** How to start a browser. */
interface Installation {
  executablePath: string;
  env: Record<string, string>;
  /** Fonts that came with it; null where the machine's are to be used. */
  fonts: string | null;
}

let found: Promise<Installation> | null = null;

async function installation(): Promise<Installation> {
  for (const executablePath of ['/usr/bin/chromium-headless-shell', '/usr/bin/chromium']) {
    if (existsSync(executablePath)) return { executablePath, env: {}, fonts: null };
  }
  const root = await fetchDebian({
    name: 'chromium-headless',
    what: 'Chromium (Debian, about 110 MB and its lists)',
    packages: ['chromium-headless-shell', 'fonts-dejavu-core'],
    leaveOut: LEAVE_OUT,
    remedy: 'or install the package chromium; or leave it out of the tests: LOCKGATE_TEST_WITHOUT=chromium',
  });
  const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const libraries = ['', '/nss', '/pulseaudio'].map((folder) => join(root, 'usr/lib', `${triplet}${folder}`));
  return {
    executablePath: join(root, 'usr/lib/chromium/chromium-headless-shell'),
    env: { LD_LIBRARY_PATH: libraries.join(':') },
    fonts: join(root, 'usr/share/fonts'),
  };
}

/** A browser with a profile of its own that is gone afterwards. */
export interface TestBrowser {
  readonly browser: Browser;
  context(options?: BrowserContextOptions): Promise<BrowserContext>;
  close(): Promise<void>;
}

/** Starts a browser; rejects with what to do when there is none. */
export async function startChromium(): Promise<TestBrowser> {
  found ??= installation();
  const { executablePath, env, fonts } = await found;
  const home = mkdtempSync(join(tmpdir(), 'lockgate-chromium-'));
  const ofFonts = join(home, 'fonts.conf');
  if (fonts !== null) {
    // Made anew each time: the folder it names may be shared, and may have another name for the next one.
    writeFileSync(
      ofFonts,
      `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig><dir>${fonts}</dir><cachedir>${home}</cachedir></fontconfig>`,
    );
  }
  const inherited = Object.fromEntries(
    Object.entries(process.env).flatMap(([k, v]) => (v === undefined ? [] : [[k, v]])),
  );
  const browser = await chromium.launch({
    executablePath,
    args: FLAGS,
    // Whatever it writes beside its profile goes with it.
    env: {
      ...inherited,
      ...env,
      ...(fonts !== null && { FONTCONFIG_FILE: ofFonts }),
      HOME: home,
      XDG_CACHE_HOME: home,
      XDG_CONFIG_HOME: home,
    },
    timeout: 60_000,
  });
  return {
    browser,
    context: (options) => browser.newContext(options),
    async close() {
      await browser.close();
      rmSync(home, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}
