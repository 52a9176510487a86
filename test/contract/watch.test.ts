import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Terminal } from '../../daemon/cli/io.js';
import { runCli } from '../../daemon/cli/program.js';
import { FakeIo, noBackend } from '../support/fake-io.js';
import { verdict } from '../support/fake-port.js';
import { daemonConfig, startServer, tokens, type Running } from '../support/http-server.js';
import { tellNow } from '../support/live-client.js';

let running: Running;
let endTelling: () => void;

/** A terminal that keeps what was typed for whoever listens, and what must be written at the end. */
class FakeTerminal implements Terminal {
  columns = 80;
  rows = 24;
  keys: ((keys: string) => void) | null = null;
  resized: (() => void) | null = null;
  end: string | null = null;

  size() {
    return { columns: this.columns, rows: this.rows };
  }

  onResize(listener: () => void) {
    this.resized = listener;
    return () => void (this.resized = null);
  }

  onKey(listener: (keys: string) => void) {
    this.keys = listener;
    return () => void (this.keys = null);
  }

  atEnd(text: string) {
    this.end = text;
    return () => void (this.end = null);
  }
}

/** What a terminal would show of all that was written to it: lines by their number. */
function screenOf(written: string): string {
  const lines: string[] = [];
  for (const [, row = '', text = ''] of written.matchAll(
    /\u001b\[(\d+);1H\u001b\[2K([^]*?)(?=\u001b\[\d+;1H|\u001b\[\?)/g,
  )) {
    lines[Number(row) - 1] = text.replace(/\u001b\[[0-9;]*m/g, '');
  }
  return lines.join('\n');
}

beforeEach(async () => {
  running = await startServer();
  const { port } = running;
  endTelling = tellNow(port);
});

afterEach(async () => {
  endTelling();
  await running.server.close(1000);
});

function watch(...args: string[]) {
  const io = new FakeIo();
  const terminal = new FakeTerminal();
  io.env = { LANG: 'C.UTF-8', TERM: 'xterm' };
  if (!args.includes('--json')) [io.terminal, io.isTTY] = [terminal, true];
  const code = runCli(['watch', '--url', running.url, ...args], io, noBackend);
  return { io, terminal, code, screen: () => screenOf(io.out) };
}

const soon = { timeout: 5000, interval: 20 };

describe('watch in a terminal', () => {
  it('draws, follows, listens to keys, and leaves the terminal as it was', async () => {
    const { io, terminal, code, screen } = watch();
    await expect.poll(screen, soon).toContain('● OPEN    flip-writes');
    expect(io.out.startsWith('\u001b[?1049h')).toBe(true);
    expect(terminal.end).toContain('\u001b[?1049l');
    running.port.verdicts.set('shop/flip-writes', verdict('shop/flip-writes', 'closed', 60));
    await expect.poll(screen, soon).toContain('■ CLOSED  flip-writes');
    const chosen = () => /^▸.*$/m.exec(screen())?.[0] ?? '';
    const before = chosen();
    terminal.keys?.('\u001b[B');
    expect(chosen()).not.toBe(before);
    terminal.keys?.('a');
    expect(chosen()).toBe(before);
    [terminal.columns, terminal.rows] = [40, 10];
    const written = io.out.length;
    terminal.resized?.();
    expect(screenOf(io.out.slice(written)).split('\n')).toHaveLength(10);
    terminal.keys?.('q');
    expect(await code).toBe(0);
    expect(io.out.endsWith('\u001b[?1049l')).toBe(true);
    expect([terminal.end, terminal.keys, terminal.resized, io.listeners]).toEqual([null, null, null, 0]);
  });

  it('writes nothing where nothing has changed', async () => {
    const { io, terminal, code, screen } = watch('--no-color');
    await expect.poll(screen, soon).toContain('OPEN    flip-writes');
    const written = io.out.length;
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    // The clock, once a second, and no more.
    expect(io.out.length - written).toBeLessThan(600);
    expect(io.out).not.toContain('\u001b[32m');
    terminal.keys?.('\u0003');
    expect(await code).toBe(0);
  });

  it.each([['SIGTERM'], ['SIGINT'], ['SIGHUP']] as const)('ends in good order on %s', async (signal) => {
    const { io, code, screen } = watch('--ascii');
    await expect.poll(screen, soon).toContain('O OPEN    flip-writes');
    io.send(signal);
    expect(await code).toBe(0);
    expect(io.out.endsWith('\u001b[?1049l')).toBe(true);
  });

  it('shows a daemon that is gone as lost, and nothing of it as open', async () => {
    const { terminal, code, screen } = watch();
    await expect.poll(screen, soon).toContain('● OPEN    flip-writes');
    await running.server.close(0);
    await expect.poll(screen, soon).toContain('CONNECTION LOST, AS OF');
    expect(screen()).not.toContain('OPEN');
    terminal.keys?.('q');
    expect(await code).toBe(0);
  });

  it('ends when it is refused, and says why', async () => {
    running.server.reload(daemonConfig({ auth: { tokens: tokens().list } }));
    const { io, code } = watch();
    expect(await code).toBe(2);
    expect(io.err).toContain('set LOCKGATE_TOKEN');
    expect(io.out.endsWith('\u001b[?1049l')).toBe(true);
  });
});

describe('watch without a terminal', () => {
  it('prints a line for each change and no more', async () => {
    const { io, code } = watch('--json', '--for', '2s');
    await expect.poll(() => io.out, soon).toContain('"gate":"all-shards"');
    running.port.verdicts.set('shop/flip-writes', verdict('shop/flip-writes', 'closed', 60));
    expect(await code).toBe(0);
    const lines = io.out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const flips = lines.filter((l) => l['gate'] === 'shop/flip-writes').map((l) => l['state']);
    expect(flips).toEqual(['open', 'closed']);
    expect(lines[0]).toMatchObject({ connection: 'live', url: running.url });
    expect(lines.some((l) => l['migration'] === 'shop' && Array.isArray(l['alerts']))).toBe(true);
  });

  it('ends with 4 when no daemon answers', async () => {
    await running.server.close(0);
    const { io, code } = watch('--json', '--for', '500ms');
    expect(await code).toBe(4);
    expect(io.out).toContain('"connection":"lost"');
  });
});
