/** `lockgate watch` in a terminal of its own, on a real daemon over real servers: what it shows, and when. */
import { spawn, type ChildProcess } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { workspace, type Daemon, type Workspace } from '../support/lockgate.js';
import { runAll, startPair, type Pair } from '../support/pair.js';

const ENTER = '\u001b[?1049h';
const LEAVE = '\u001b[?1049l';

let pair: Pair;
let lockgate: Workspace;
let daemon: Daemon;
const undo: (() => Promise<void>)[] = [];

beforeAll(async () => {
  pair = await startPair();
  undo.push(() => pair.destroy());
  lockgate = await workspace(
    (port) => `daemon: { id: tester, listen: 127.0.0.1:${port} }
databases:
  onprem: { engine: postgres, url: "${pair.daemonUrl('source')}" }
  aws: { engine: postgres, url: "${pair.daemonUrl('target')}" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub, publication: shop_pub, heartbeat: { interval: 200ms } }
    gates:
      flip-writes: { require: [ "forward.running is 1", "forward.lag < 2s" ] }
`,
  );
  undo.push(() => lockgate.destroy());
  const setup = await lockgate.run(['setup', '--config', lockgate.configFile], {}, 60_000);
  expect(setup.code, setup.stdout + setup.stderr).toBe(0);
  daemon = await lockgate.start();
  await waitFor('the gate to be open', 20_000, async () => (await daemon.verdict('shop/flip-writes')).state === 'open');
}, 90_000);
afterAll(() => runAll(undo));

/** A terminal of 80 by 24 in which `watch` runs; `script` is part of every Debian. */
class Window {
  written = '';
  readonly #child: ChildProcess;
  readonly ended: Promise<number | null>;

  constructor(folder: string, args: string) {
    const main = process.env['LOCKGATE_TEST_MAIN'] ?? '';
    const command = `stty rows 24 cols 80; ${process.execPath} ${main} watch ${args}`;
    this.#child = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: folder,
      env: {
        ...process.env,
        LOCKGATE_URL: lockgate.url,
        LANG: 'C.UTF-8',
        TERM: 'xterm',
        NO_COLOR: '',
        SHELL: '/bin/sh',
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.written += text));
    this.ended = new Promise((resolve) => this.#child.once('close', resolve));
    undo.push(async () => {
      this.#child.kill('SIGKILL');
      await this.ended;
    });
  }

  type(keys: string): void {
    this.#child.stdin?.write(keys);
  }

  /** The lines as they stand now. */
  get screen(): string {
    const lines: string[] = [];
    const line = /\u001b\[(\d+);1H\u001b\[2K([^]*?)(?=\u001b\[\d+;1H|\u001b\[\?)/g;
    for (const [, row = '', text = ''] of this.written.matchAll(line)) {
      lines[Number(row) - 1] = text.replace(/\u001b\[[0-9;]*m/g, '');
    }
    return lines.join('\n');
  }

  /** Milliseconds until it shows what is wanted. */
  async until(wanted: string | RegExp, timeoutMs: number): Promise<number> {
    const began = performance.now();
    const shows = (): boolean => (typeof wanted === 'string' ? this.screen.includes(wanted) : wanted.test(this.screen));
    while (!shows()) {
      if (performance.now() - began > timeoutMs) throw new Error(`no ${String(wanted)}:\n${this.screen}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return performance.now() - began;
  }
}

it('shows gates as they are, and a daemon that is gone at once', async () => {
  const window = new Window(lockgate.folder, '');
  await window.until('● OPEN    flip-writes', 15_000);
  expect(window.written).toContain(ENTER);
  expect(window.screen).toMatch(/live {2}\d\d:\d\d:\d\dZ/);
  expect(window.screen).toContain('Phase 5: may writes flip? OPEN');

  await pair.disableSubscription();
  await waitFor(
    'the gate to be closed',
    10_000,
    async () => (await daemon.verdict('shop/flip-writes')).state === 'closed',
  );
  // As soon as anybody who asks is told.
  expect(await window.until('■ CLOSED  flip-writes', 5_000)).toBeLessThan(1_000);
  await window.until('running no, needs yes', 2_000);
  await pair.enableSubscription();
  await waitFor('the gate to be open', 20_000, async () => (await daemon.verdict('shop/flip-writes')).state === 'open');
  expect(await window.until('● OPEN    flip-writes', 5_000)).toBeLessThan(1_000);

  // Frozen: the connection stands, and nothing comes.
  daemon.signal('SIGSTOP');
  const silence = await window.until('CONNECTION LOST, AS OF', 6_000);
  expect(silence).toBeLessThan(4_000);
  expect(window.screen).not.toContain('OPEN');
  daemon.signal('SIGCONT');
  await window.until('● OPEN    flip-writes', 15_000);

  await daemon.kill();
  expect(await window.until('CONNECTION LOST, AS OF', 5_000)).toBeLessThan(1_000);
  expect(window.screen).not.toContain('OPEN');
  daemon = await lockgate.start();
  await window.until('● OPEN    flip-writes', 20_000);

  window.type('q');
  expect(await window.ended).toBe(0);
  expect(window.written.lastIndexOf(LEAVE)).toBeGreaterThan(window.written.lastIndexOf(ENTER));
});

it('leaves the terminal as it was when it is ended from outside', async () => {
  const window = new Window(lockgate.folder, '--for 1m & P=$!; sleep 3; kill -TERM $P; wait $P');
  await window.until('● OPEN    flip-writes', 10_000);
  await window.ended;
  expect(window.written.lastIndexOf(LEAVE)).toBeGreaterThan(window.written.lastIndexOf(ENTER));
});

it('prints lines where there is no terminal', async () => {
  const { code, stdout } = await lockgate.run(['watch', '--for', '2s']);
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\d\d:\d\d:\d\dZ {2}live {2}tester\n/);
  expect(stdout).toMatch(/Z {2}shop\/flip-writes {2}Phase 5: may writes flip\? OPEN\n/);
  expect(stdout).not.toContain('\u001b');
});
