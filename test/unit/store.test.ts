import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import Database from 'libsql';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { SCHEMA_VERSION } from '../../daemon/store/schema.js';
import { openStore } from '../../daemon/store/sqlite.js';
import type { JournalDraft, Store } from '../../daemon/store/store.js';
import { StoreError } from '../../daemon/store/store.js';
import { FakeClock } from '../support/fake-clock.js';

const clock = new FakeClock({ wall: '2026-11-22T18:00:00Z' });
let folder: string;
let path: string;
const open: Store[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockgate-store-'));
  path = join(folder, 'lockgate.db');
});

afterEach(() => {
  for (const store of open.splice(0)) store.close();
  rmSync(folder, { recursive: true, force: true });
});

function opened(file = path): Store {
  const { store } = openStore(file, clock);
  open.push(store);
  return store;
}

function draft(overrides: Partial<JournalDraft> = {}): JournalDraft {
  return { at: 1000, kind: 'start', migration: null, gate: null, actor: 'lockgate', by: null, data: {}, ...overrides };
}

function codeOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    if (error instanceof StoreError) return error.code;
    throw error;
  }
  return 'no error';
}

describe('journal', () => {
  it('reads back what was appended, oldest first, with rising ids', () => {
    const store = opened();
    const first = store.append(draft({ at: 1000.25, data: { lsn: '0/1', list: [1, null], nested: { ok: true } } }));
    const second = store.append(draft({ kind: 'attestation', migration: 'shop', by: 'dba', actor: 'runbook' }));
    expect(second).toBeGreaterThan(first);
    expect(store.journal({ limit: 10 })).toEqual([
      { ...draft({ at: 1000.25, data: { lsn: '0/1', list: [1, null], nested: { ok: true } } }), id: first },
      { ...draft({ kind: 'attestation', migration: 'shop', by: 'dba', actor: 'runbook' }), id: second },
    ]);
  });

  it('filters by instant, id, kind, migration (null: none) and gate', () => {
    const store = opened();
    const [a, b, c] = [
      store.append(draft({ at: 1, kind: 'gate', migration: null, gate: 'all' })),
      store.append(draft({ at: 2, kind: 'gate', migration: 'shop', gate: 'all' })),
      store.append(draft({ at: 3, kind: 'stop', migration: 'shop' })),
    ];
    const ids = (query: Partial<Parameters<Store['journal']>[0]>) =>
      store.journal({ limit: 10, ...query }).map((e) => e.id);
    expect(ids({ since: 2 })).toEqual([b, c]);
    expect(ids({ after: a, limit: 1 })).toEqual([b]);
    expect(ids({ kind: 'gate' })).toEqual([a, b]);
    expect(ids({ limit: 2, newest: true })).toEqual([b, c]);
    expect(ids({ migration: null })).toEqual([a]);
    expect(ids({ migration: 'shop', gate: 'all' })).toEqual([b]);
    expect(ids({ kind: "gate' OR 1=1 --" })).toEqual([]);
  });

  it('writes a bigint as text instead of losing the entry', () => {
    const store = opened();
    store.append(draft({ data: { lsn: 2n ** 63n } }));
    expect(store.journal({ limit: 1 })[0]?.data).toEqual({ lsn: '9223372036854775808' });
  });

  it('reads exactly a page of the driver and more', () => {
    const store = opened();
    for (let n = 0; n < 250; n += 1) store.append(draft({ at: n }));
    expect(store.journal({ limit: 100 })).toHaveLength(100);
    expect(store.journal({ limit: 1000 })).toHaveLength(250);
  });

  it('prunes what is older, and never hands out an id again', () => {
    const store = opened();
    let last = 0;
    for (let n = 0; n < 700; n += 1) last = store.append(draft({ at: n }));
    expect(store.prune(699)).toBe(699);
    expect(store.journal({ limit: 10 }).map((e) => e.at)).toEqual([699]);
    expect(store.prune(5000)).toBe(1);
    expect(store.append(draft())).toBe(last + 1);
  });
});

describe('attestations, holds and named values', () => {
  it('keeps the newest attestation per name and journals each', () => {
    const store = opened();
    const one = { migration: 'shop', name: 'backup', at: 1, by: 'ann', note: 'restored', actor: 'runbook' };
    store.attest(one);
    store.attest({ ...one, at: 2, by: 'bob' });
    store.attest({ ...one, name: 'rehearsal', at: 3 });
    store.attest({ ...one, migration: 'crm' });
    expect(store.attestations('shop').map((a) => [a.name, a.by, a.at])).toEqual([
      ['backup', 'bob', 2],
      ['rehearsal', 'ann', 3],
    ]);
    expect(store.journal({ limit: 10, kind: 'attestation' })).toHaveLength(4);
    expect(store.journal({ limit: 1 })[0]).toMatchObject({ by: 'ann', data: { name: 'backup', note: 'restored' } });
  });

  it('replaces all holds at once', () => {
    const store = opened();
    const hold = { gate: 'shop/soak', condition: 'a for 7d', heldSince: 1.5, observedUntil: 2 };
    store.saveHolds([hold, { ...hold, condition: 'b for 7d' }]);
    store.saveHolds([hold]);
    expect(store.loadHolds()).toEqual([hold]);
  });

  it('survives closing and opening again', () => {
    const store = opened();
    store.set('epoch', '3');
    store.set('epoch', '4');
    store.append(draft());
    store.close();
    expect(readdirSync(folder)).toEqual(['lockgate.db']);
    const again = opened();
    expect(again.get('epoch')).toBe('4');
    expect(again.get('none')).toBeNull();
    expect(again.journal({ limit: 5 })).toHaveLength(1);
  });

  it('refuses to work after close, which libsql would not', () => {
    const store = opened();
    store.append(draft());
    store.close();
    store.close();
    expect(codeOf(() => store.append(draft()))).toBe('store_closed');
    expect(codeOf(() => store.journal({ limit: 1 }))).toBe('store_closed');
    expect(store.writable).toBe(false);
  });
});

describe('opening', () => {
  it('commits with a full sync, into a log', () => {
    opened();
    expect(existsSync(`${path}-wal`)).toBe(true);
  });

  it('refuses a newer store and leaves the file as it is', () => {
    opened().close();
    const db = new Database(path);
    db.exec(`PRAGMA user_version=${SCHEMA_VERSION + 1}`);
    db.close();
    const before = readFileSync(path);
    expect(codeOf(() => openStore(path, clock))).toBe('store_newer');
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(readdirSync(folder)).toEqual(['lockgate.db']);
  });

  it("refuses another program's database and leaves it alone", () => {
    const db = new Database(path);
    db.exec('CREATE TABLE theirs (id)');
    db.close();
    const before = readFileSync(path);
    expect(codeOf(() => openStore(path, clock))).toBe('store_foreign');
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  it.each([
    ['no database at all', (f: string) => writeFileSync(f, 'this is not a database'.repeat(100))],
    [
      'damaged pages',
      (f: string) => {
        const store = openStore(f, clock).store;
        for (let n = 0; n < 200; n += 1) store.append(draft({ data: { filling: 'x'.repeat(500) } }));
        store.close();
        const bytes = readFileSync(f);
        bytes.fill(0xa5, 4096, 4096 * 6);
        writeFileSync(f, bytes);
      },
    ],
  ])('moves a corrupt file aside (%s) and says so', (_name, damage) => {
    damage(path);
    const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
    const { store, recovered } = openStore(path, clock);
    open.push(store);
    expect(recovered).toBe(`${path}.corrupt-2026-11-22T18-00-00-000Z`);
    expect(
      createHash('sha256')
        .update(readFileSync(recovered ?? ''))
        .digest('hex'),
    ).toBe(digest);
    const [entry] = store.journal({ limit: 5 });
    expect(entry).toMatchObject({ kind: 'store-recovered', actor: 'lockgate', data: { moved_to: recovered } });
  });

  it('does not overwrite what was moved aside before', () => {
    writeFileSync(path, 'nonsense'.repeat(200));
    openStore(path, clock).store.close();
    writeFileSync(path, 'nonsense'.repeat(200));
    const { store, recovered } = openStore(path, clock);
    open.push(store);
    expect(recovered).toMatch(/-1$/);
  });

  it('names a directory that does not exist, and a path that is no file', () => {
    expect(codeOf(() => openStore(join(folder, 'none', 'x.db'), clock))).toBe('store_not_writable');
    mkdirSync(join(folder, 'dir.db'));
    expect(codeOf(() => openStore(join(folder, 'dir.db'), clock))).toBe('store_not_writable');
  });

  it('refuses a second opening while the first is open', () => {
    opened();
    expect(codeOf(() => openStore(path, clock))).toBe('store_locked');
  });
});

describe('another process', () => {
  it('is refused while one has the store, and admitted at once after kill -9', async () => {
    const child = startChild([path, 'hold']);
    await child.line((l) => l === 'opened');
    expect(codeOf(() => openStore(path, clock))).toBe('store_locked');
    child.process.kill('SIGKILL');
    await child.ended;
    opened();
  });

  it('loses nothing that was acknowledged to kill -9 in the middle of writes', async () => {
    for (let round = 0; round < 3; round += 1) {
      const child = startChild([path]);
      await child.line((l) => l.startsWith('ack ') && Number(l.split(' ')[2]) >= 150 + round * 37);
      child.process.kill('SIGKILL');
      await child.ended;
      const acknowledged = child.lines.filter((l) => l.startsWith('ack ')).map((l) => Number(l.split(' ')[1]));
      const { store, recovered } = openStore(path, clock);
      expect(recovered).toBeNull();
      const present = new Set(store.journal({ limit: 1_000_000 }).map((e) => e.id));
      store.close();
      expect(acknowledged.filter((id) => !present.has(id))).toEqual([]);
    }
  }, 30_000);

  it('goes on after a full disk, once there is room', async () => {
    // A limit on the size of files is a disk that is full for this process alone; Node ignores SIGXFSZ.
    const child = startChild([path], ['prlimit', '--fsize=131072:unlimited']);
    await child.line((l) => l.startsWith('failed '));
    expect(child.lines.at(-1)).toMatch(/^failed store_(full|io) false$/);
    const acknowledged = child.lines.filter((l) => l.startsWith('ack ')).length;
    expect(acknowledged).toBeGreaterThan(0);
    const { pid } = child.process;
    const lifted = spawn('prlimit', ['--pid', String(pid), '--fsize=unlimited:unlimited']);
    await new Promise((resolve) => lifted.once('exit', resolve));
    await child.line((l) => l === 'closed');
    expect(child.lines).toContain('probe true');
    expect(child.lines.filter((l) => l.startsWith('ack '))).toHaveLength(acknowledged + 1);
    expect(opened().journal({ limit: 10_000 })).toHaveLength(acknowledged + 1);
  }, 30_000);

  it('is told plainly when the disk is full at the start', async () => {
    const child = startChild([path], ['prlimit', '--fsize=4096:4096']);
    await child.ended;
    expect(child.lines.at(-1)).toMatch(/^refused store_(full|io)$/);
  }, 30_000);
});

function startChild(args: string[], prefix: string[] = []) {
  const script = join(import.meta.dirname, '../support/store-child.ts');
  const [command = '', ...rest] = [...prefix, process.execPath, '--import', 'tsx', script, ...args];
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  const reader = createInterface({ input: child.stdout });
  const ended = new Promise<void>((resolve) => reader.once('close', resolve));
  let look = (): void => undefined;
  reader.on('line', (line) => {
    lines.push(line);
    look();
  });
  const line = (wanted: (line: string) => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      look = () => {
        const last = lines.at(-1);
        if (last !== undefined && wanted(last)) resolve();
      };
      look();
      void ended.then(() => reject(new Error(`ended with ${lines.slice(-3).join(' | ')}`)));
    });
  return { process: child, lines, line, ended };
}
