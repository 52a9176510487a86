import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { HistoryPoint, VerdictJson } from '../../daemon/http/port.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { openStore } from '../../daemon/store/sqlite.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import {
  workspace,
  type CommandResult,
  type Daemon,
  type Workspace,
  type WorkspaceOptions,
} from '../support/lockgate.js';
import { runAll, startPair, type Pair } from '../support/pair.js';

/** Secrets of these tests, distinctive enough to be found wherever they should not be. */
const secrets = {
  password: 'ocelot-PASSWORD-5521',
  newPassword: 'lynx-PASSWORD-9034',
  reader: 'heron-TOKEN-1187',
  operator: 'crane-TOKEN-6642',
  newReader: 'egret-TOKEN-3398',
} as const;

/** Everything that any process of these tests has said, and what the API and the store held. */
const said: string[] = [];

let pair: Pair;
/** The catalogs before setup, and what it said. */
let pristine: unknown;
let firstSetup: CommandResult;
const undo: (() => Promise<void>)[] = [];
const after: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  pair = await startPair();
  undo.push(() => pair.destroy());
  pristine = await catalogs();
  const lockgate = await place(yaml({ link: ', publication: shop_pub' }));
  firstSetup = await setUp(lockgate);
  await lockgate.destroy();
}, 60_000);
afterAll(() => runAll(undo));
afterEach(async () => {
  for (const work of after.splice(0).reverse()) await work();
});

interface Options {
  id?: string;
  /** Lines of `gates`. */
  gates?: string;
  /** Further lines of `migrations`. */
  migrations?: string;
  daemon?: string;
  /** The password as it is written in the URLs. */
  password?: string;
  /** How the link differs. */
  link?: string;
  user?: string;
}

const usual = 'lag: { require: "forward.lag < 5s for 1s" }';

function yaml(options: Options = {}): (port: number) => string {
  const {
    id = 'tester',
    gates = usual,
    migrations = '',
    daemon = '',
    password = '${file:password}',
    link = '',
  } = options;
  const url = (port: number): string =>
    `postgres://${options.user ?? 'lockgate'}:${password}@127.0.0.1:${port}/${pair.database}?sslmode=disable`;
  return (port) => `daemon:
  id: ${id}
  listen: 127.0.0.1:${port}
  ${daemon}
databases:
  onprem: { engine: postgres, url: "${url(pair.sourceProxy.port)}" }
  aws: { engine: postgres, url: "${url(pair.targetProxy.port)}" }
migrations:
  shop:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub, heartbeat: { interval: 200ms }${link} }
    gates:
      ${gates.trim().replaceAll('\n', '\n      ')}
${migrations}`;
}

async function place(text: (port: number) => string, options?: WorkspaceOptions): Promise<Workspace> {
  const made = await workspace(text, options);
  writeFileSync(join(made.folder, 'password'), `${secrets.password}\n`);
  after.push(() => made.destroy());
  return {
    ...made,
    async run(...args) {
      const result = await made.run(...args);
      said.push(result.stdout, result.stderr);
      return result;
    },
    async start(env) {
      const daemon = await made.start(env);
      after.push(() => {
        said.push(daemon.log());
        return Promise.resolve();
      });
      return daemon;
    },
  };
}

const portOf = ({ url }: Workspace): number => Number(new URL(url).port);

async function setUp(lockgate: Workspace, command = 'setup'): Promise<CommandResult> {
  const args = [command, '--config', lockgate.configFile];
  args.push('--admin', `onprem=${pair.source.adminUrl(pair.database)}`);
  args.push('--admin', `aws=${pair.target.adminUrl(pair.database)}`);
  const result = await lockgate.run(args, {}, 60_000);
  expect(result.code, result.stdout + result.stderr).toBe(0);
  return result;
}

/** Waits until a gate says `state`, and returns the verdict. */
async function until(
  daemon: Daemon,
  gate: string,
  state: VerdictJson['state'],
  timeoutMs = 15_000,
): Promise<VerdictJson> {
  let last: VerdictJson | undefined;
  return waitFor(`${gate} to be ${state}`, timeoutMs, async () => {
    last = await daemon.verdict(gate);
    return last.state === state ? last : undefined;
  }).catch((error: unknown) => {
    throw new Error(`${String(error)}: ${JSON.stringify(last, null, 1)}`);
  });
}

async function metrics(daemon: Daemon): Promise<string> {
  const text = await (await fetch(`${daemon.url}/metrics`)).text();
  said.push(text);
  return text;
}

async function gauge(daemon: Daemon, series: string): Promise<number> {
  const found = (await metrics(daemon)).split('\n').find((line) => line.startsWith(`${series} `));
  return Number(found?.slice(series.length + 1) ?? NaN);
}

/** What lockgate has open on both servers. */
async function leftovers(): Promise<unknown[]> {
  const sql = `select 'slot ' || slot_name as what from pg_replication_slots where temporary
    union all select 'session ' || application_name from pg_stat_activity where application_name like 'lockgate%'
    union all select 'lock ' || pid from pg_locks where locktype = 'advisory'`;
  return [...(await pair.onSource(sql)), ...(await pair.onTarget(sql))];
}

async function expectNothingLeft(): Promise<void> {
  // A backend needs a moment to notice that its client has said goodbye.
  await waitFor('nothing to be left', 1_000, async () => (await leftovers()).length === 0).catch(async () => {
    expect(await leftovers()).toEqual([]);
  });
}

const reloads = (daemon: Daemon, what: string): number => daemon.log().split(what).length - 1;

/** Sends SIGHUP and waits until it has been answered. */
async function reload(daemon: Daemon, refused = false): Promise<void> {
  const word = refused ? 'not reloaded, the old configuration goes on' : 'lockgate: configuration reloaded';
  const before = reloads(daemon, word);
  daemon.signal('SIGHUP');
  await waitFor(`the daemon to say "${word}"`, 15_000, () => reloads(daemon, word) > before).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${daemon.log()}`);
  });
}

describe('setup, grants and teardown', () => {
  it('setup twice changes nothing, teardown leaves the catalogs as they were, and grants by hand make the same', async () => {
    const lockgate = await place(yaml({ link: ', publication: shop_pub' }));
    expect(firstSetup.stdout).toMatch(/\n\d+ done, \d unchanged\n$/);
    const made = await catalogs();
    expect(made).not.toEqual(pristine);
    expect((await setUp(lockgate)).stdout).toMatch(/\n0 done, \d+ unchanged\n$/);
    expect(await catalogs()).toEqual(made);

    const removed = await setUp(lockgate, 'teardown');
    expect(removed.stdout).toMatch(/the login role "lockgate" stays: drop it yourself when nothing else uses it/);
    // It is stripped of all that was given to it, or it could not be dropped.
    for (const run of [pair.onSource, pair.onTarget]) {
      await run(`revoke connect on database ${pair.database} from lockgate`);
      await run('drop role lockgate');
    }
    expect(await catalogs()).toEqual(pristine);
    expect((await setUp(lockgate, 'teardown')).stdout).toMatch(/\n0 done, /);

    // As an administrator would: the target's first, because the source's says so, the password by hand, the refresh
    // that is only a comment by hand.
    const printed = async (name: string): Promise<string> => {
      const result = await lockgate.run(['grants', '--config', lockgate.configFile, '--database', name]);
      expect(result.code).toBe(0);
      return result.stdout;
    };
    const [source, target] = [await printed('onprem'), await printed('aws')];
    const alter = `alter role lockgate password '${secrets.password}'`;
    for (const [run, text] of [
      [pair.onTarget, target],
      [pair.onSource, source],
    ] as const) {
      expect(text).toContain(String.raw`\password "lockgate"`);
      await run(text);
      await run(alter);
    }
    const refresh = /^-- *(ALTER SUBSCRIPTION .* REFRESH PUBLICATION .*;)$/m.exec(target)?.[1];
    expect(refresh, target).toBeDefined();
    await pair.onTarget(refresh ?? '');
    expect(await catalogs()).toEqual(made);
    expect((await setUp(lockgate)).stdout).toMatch(/\n0 done, \d+ unchanged\n$/);
    const doctor = await lockgate.run(['doctor', '--config', lockgate.configFile]);
    expect(doctor.code, doctor.stdout).toBe(0);
  });
});

describe('a daemon that runs', () => {
  it('answers the commands, journals what happens, and streams it', async () => {
    const lockgate = await place(
      yaml({
        gates: `${usual}
slow: { require: "forward.lag < 5s for 5s" }
closed: { require: "forward.lag > 1h" }
unmeasured: { require: "verify.mismatched_rows is 0" }
checked: { require: "attest.backup.age < 1h" }`,
      }),
    );
    const cli = (...args: string[]): Promise<CommandResult> => lockgate.run(args);
    expect((await cli('check', 'shop/lag')).code).toBe(4);

    let daemon = await lockgate.start();
    const events = await openEvents(lockgate.url);
    const waiting = cli('wait', 'shop/slow', '--timeout', '30s');
    await until(daemon, 'shop/lag', 'open');

    const open = await cli('check', 'shop/lag');
    expect(open.code, open.stderr).toBe(0);
    expect(open.stdout).toMatch(/^OPEN +shop\/lag/);
    const closed = await cli('check', 'shop/closed');
    expect([closed.code, closed.stdout]).toEqual([1, expect.stringMatching(/^CLOSED +shop\/closed/)]);
    const unknown = await cli('check', 'shop/unmeasured');
    expect([unknown.code, unknown.stdout]).toEqual([3, expect.stringMatching(/^UNKNOWN +shop\/unmeasured/)]);
    const none = await cli('check', 'shop/none');
    expect([none.code, none.stdout]).toEqual([2, '']);
    expect(none.stderr).toContain('there is no such thing (404): there is no gate "shop/none"');
    const json = await cli('check', 'shop/lag', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ gate: 'shop/lag', state: 'open', open: true, daemon: 'tester' });
    const late = await cli('wait', 'shop/closed', '--timeout', '1500ms', '--json');
    expect(late.code).toBe(1);
    expect(JSON.parse(late.stdout)).toMatchObject({ gate: 'shop/closed', open: false });
    const early = await waiting;
    expect(early.code, early.stderr).toBe(0);
    expect(early.stdout).toMatch(/^OPEN +shop\/slow/);
    const status = await cli('status');
    expect(status.code).toBe(0);
    for (const word of ['shop', 'onprem', 'aws', 'lag', 'slow', 'unmeasured']) expect(status.stdout).toContain(word);
    const all = JSON.parse((await cli('status', '--json')).stdout) as { migrations: unknown[]; gates: unknown[] };
    expect([all.migrations.length, all.gates.length]).toEqual([1, 5]);

    expect((await daemon.verdict('shop/checked')).state).toBe('unknown');
    const attested = await cli('attest', 'shop', 'backup', '--by', 'Ana', '--note', 'restored to staging');
    expect(attested.code, attested.stderr).toBe(0);
    await until(daemon, 'shop/checked', 'open', 1_000);

    // A client that was away gets what it missed, and nothing twice.
    const seen = await events.until((e) => e.event === 'journal' && JSON.stringify(e.data).includes('"attestation"'));
    expect(seen.data).toMatchObject({
      kind: 'attestation',
      migration: 'shop',
      by: 'Ana',
      data: { name: 'backup', note: 'restored to staging' },
    });
    events.close();
    await cli('attest', 'shop', 'backup', '--by', 'Ben', '--note', 'again');
    const back = await openEvents(lockgate.url, seen.id);
    const again = await back.until((e) => e.event === 'journal' && JSON.stringify(e.data).includes('"attestation"'));
    expect(again.data).toMatchObject({ by: 'Ben' });
    const numbers = back.all.map((e) => Number(e.id.split('-')[1]));
    expect(numbers[0]).toBe(Number(seen.id.split('-')[1]) + 1);
    expect(numbers).toEqual(numbers.map((_, i) => (numbers[0] ?? 0) + i));
    expect(back.all.some((e) => e.event === 'reset')).toBe(false);
    back.close();

    // The history has a gap where the signal was unknown.
    await pair.sourceProxy.cut();
    await until(daemon, 'shop/lag', 'unknown');
    await sleep(2_500);
    await pair.sourceProxy.restore();
    await until(daemon, 'shop/lag', 'open');
    await sleep(1_000);
    const since = encodeURIComponent(new Date(Date.now() - 60_000).toISOString());
    const { body } = await daemon.get<{ points: HistoryPoint[] }>(
      `/v1/migrations/shop/signals/forward.lag/history?since=${since}&step=1s`,
    );
    const values = body.points.map((p) => (p.value === null ? '-' : 'x')).join('');
    expect(values).toMatch(/x-{2,}x/);

    expect(await daemon.stop()).toBe(0);
    daemon = await lockgate.start();
    const kept = await daemon.verdict('shop/checked');
    expect(kept.conditions[0]?.reason).toContain('attested by Ben');
    expect(kept.state).toBe('open');
    expect(await daemon.stop()).toBe(0);
    expect(await openEventsFails(lockgate.url)).toBe(true);

    const restarted = await lockgate.start();
    const journal = await cli('journal', '--since', '1h', '--json');
    const { entries } = JSON.parse(journal.stdout) as {
      entries: {
        id: number;
        at: string;
        kind: string;
        gate: string | null;
        by: string | null;
        data: Record<string, unknown>;
      }[];
    };
    expect(entries.map((e) => e.id)).toEqual(entries.map((e) => e.id).toSorted((a, b) => a - b));
    const gist = entries.map((e) =>
      e.kind === 'gate'
        ? `${e.gate ?? ''}:${String(e.data['from'])}>${String(e.data['to'])}`
        : e.kind === 'attestation'
          ? `${e.kind} ${e.by ?? ''}`
          : e.kind,
    );
    const story = [
      'start',
      'lag:closed>open',
      'slow:closed>open',
      'attestation Ana',
      'checked:unknown>open',
      'attestation Ben',
      'lag:open>unknown',
      'stop',
      'start',
      'stop',
      'start',
    ];
    let at = -1;
    for (const step of story) {
      const next = gist.indexOf(step, at + 1);
      expect(next, `${step} after ${String(at)} in ${gist.join(', ')}`).toBeGreaterThan(at);
      at = next;
    }
    const opening = entries.find((e) => e.kind === 'gate' && e.data['to'] === 'open');
    expect(opening?.data['verdict']).toMatchObject({
      state: 'open',
      conditions: [
        { text: expect.stringContaining('forward.lag') as string, state: 'held', value: expect.any(Number) as number },
      ],
    });
    expect((await cli('journal')).stdout).toMatch(/ start .* tester|start/);
    expect(await restarted.stop()).toBe(0);
    said.push(readFileSync(join(lockgate.folder, 'lockgate.db'), 'latin1'));
  }, 90_000);

  it('stops on SIGTERM: answers who waits, and leaves no slot, no connection and no lock', async () => {
    const lockgate = await place(yaml({ gates: `${usual}\nnever: { require: "forward.lag > 1h" }` }));
    const daemon = await lockgate.start();
    await until(daemon, 'shop/lag', 'open');
    expect((await leftovers()).length).toBeGreaterThan(4);
    // Many who wait are no leak.
    const waits = Array.from({ length: 15 }, () => fetch(`${lockgate.url}/v1/gates/shop/never/wait?timeout=60s`));
    await waitFor('all to wait', 5_000, async () => (await gauge(daemon, 'lockgate_http_waiters')) === 15);
    // A second one on the same store refuses, and does not harm the first.
    const second = await place(yaml());
    writeFileSync(
      second.configFile,
      readFileSync(second.configFile, 'utf8') + `store: { path: ${join(lockgate.folder, 'lockgate.db')} }\n`,
    );
    const refused = await second.run(['run', '--config', second.configFile]);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain(`the store ${join(lockgate.folder, 'lockgate.db')} is in use by another process`);
    expect((await daemon.verdict('shop/lag')).state).toBe('open');

    const from = performance.now();
    expect(await daemon.stop()).toBe(0);
    expect(performance.now() - from).toBeLessThan(5_000);
    for (const answer of await Promise.all(waits)) {
      expect(answer.status).toBe(409);
      expect(((await answer.json()) as VerdictJson).gate).toBe('shop/never');
    }
    await expectNothingLeft();
    expect(daemon.log()).not.toMatch(/MaxListeners/);
  });

  it('ends at once on a second SIGINT', async () => {
    const lockgate = await place(yaml());
    const daemon = await lockgate.start();
    await until(daemon, 'shop/lag', 'open');
    // A request that never ends holds the orderly end up.
    const socket = connect(portOf(lockgate), '127.0.0.1');
    socket.on('error', () => undefined);
    await new Promise<void>((done) => socket.write('GET /livez HTTP/1.1\r\nHost: 127', () => done()));
    await sleep(100);
    daemon.signal('SIGINT');
    await sleep(300);
    expect(daemon.exited()).toBe(false);
    const from = performance.now();
    daemon.signal('SIGINT');
    await waitFor('the daemon to end', 2_000, () => daemon.exited());
    expect(performance.now() - from).toBeLessThan(1_000);
    expect(daemon.log()).toContain('SIGINT again, ending at once');
    socket.destroy();
    await waitFor('nothing to be left', 12_000, async () => (await leftovers()).length === 0);
  });

  it('keeps a long hold over a restart within the tolerance, and not over a longer one', async () => {
    const condition = 'forward.lag < 5s for 2h';
    const lockgate = await place(
      yaml({
        gates: `brief: { require: "${condition}", gaps: { tolerate: 1m } }
long: { require: "${condition}", gaps: { tolerate: 1m } }
strict: { require: "${condition}" }`,
      }),
    );
    // The daemon itself keeps what it holds, and what each hold is about; only the times are made older here.
    const early = await lockgate.start();
    await waitFor('the holds to begin', 15_000, async () => (await early.verdict('shop/strict')).opens_at !== null);
    expect(await early.stop()).toBe(0);
    const clock = new SystemClock();
    const { store } = openStore(join(lockgate.folder, 'lockgate.db'), clock);
    const agoS: Record<string, number> = { 'shop/brief': 20, 'shop/long': 300, 'shop/strict': 20 };
    const kept = store.loadHolds();
    expect(kept.map((h) => h.gate).sort()).toEqual(Object.keys(agoS));
    store.saveHolds(
      kept.map((h) => ({
        ...h,
        heldSince: clock.wallNow() - 3 * 3_600_000,
        observedUntil: clock.wallNow() - (agoS[h.gate] ?? 0) * 1_000,
      })),
    );
    store.close();

    const daemon = await lockgate.start();
    const brief = await until(daemon, 'shop/brief', 'open');
    expect(brief.conditions[0]?.held_seconds).toBeGreaterThan(3 * 3_600 - 60);
    for (const gate of ['shop/long', 'shop/strict']) {
      const verdict = await daemon.verdict(gate);
      expect(verdict.state).toBe('closed');
      expect(verdict.conditions[0]?.held_seconds).toBeLessThan(60);
    }
    // And once more, by what the daemon itself has kept.
    expect(await daemon.stop()).toBe(0);
    const again = await lockgate.start();
    await until(again, 'shop/brief', 'open');
    expect(await again.stop()).toBe(0);
  });

  it('shares a pair with another id, and refuses to write beside its own', async () => {
    const [first, twin, other] = await Promise.all([place(yaml()), place(yaml()), place(yaml({ id: 'another' }))]);
    const one = await first.start();
    await until(one, 'shop/lag', 'open');
    const [same, different] = await Promise.all([twin.start(), other.start()]);
    await until(different, 'shop/lag', 'open');
    const verdict = await until(same, 'shop/lag', 'unknown');
    await waitFor('the reason', 5_000, async () =>
      /another process \(backend \d+ on the server, .*\) writes heartbeats as daemon tester already; stop it, or give one of them another daemon\.id/.test(
        (await same.verdict('shop/lag')).conditions[0]?.reason ?? '',
      ),
    ).catch(() => expect(verdict.conditions[0]?.reason).toMatch(/another process/));
    expect((await one.verdict('shop/lag')).state).toBe('open');
    expect((await different.verdict('shop/lag')).state).toBe('open');
    // Once the first has gone, the second takes over.
    expect(await one.stop()).toBe(0);
    await until(same, 'shop/lag', 'open');
    expect([await same.stop(), await different.stop()]).toEqual([0, 0]);
    await expectNothingLeft();
  }, 60_000);
});

describe('SIGHUP', () => {
  it('keeps what is unchanged, starts anew what is changed, adds and removes, and refuses the rest', async () => {
    const gates = (changed: string): string => `${usual}\nchanged: { require: "forward.lag < ${changed} for 1s" }`;
    const third = (name: string): string => `  ${name}:
    source: onprem
    target: aws
    forward: { via: postgres-logical, subscription: shop_sub, heartbeat: { interval: 200ms } }
    gates: { lag: { require: "forward.lag < 5s for 1s" } }
`;
    const lockgate = await place(yaml({ gates: gates('5s') }));
    const write = (options: Options): void => lockgate.write(yaml(options)(portOf(lockgate)));
    const daemon = await lockgate.start();
    await until(daemon, 'shop/lag', 'open');
    const before = await until(daemon, 'shop/changed', 'open');
    const unchanged = await daemon.verdict('shop/lag');

    write({ gates: gates('6s') });
    await reload(daemon);
    const kept = await daemon.verdict('shop/lag');
    expect(kept).toMatchObject({ state: 'open', since: unchanged.since });
    expect(kept.conditions[0]?.held_seconds).toBeGreaterThan(unchanged.conditions[0]?.held_seconds ?? Infinity);
    expect(kept.config_hash).not.toBe(unchanged.config_hash);
    const anew = await daemon.verdict('shop/changed');
    expect(anew.conditions[0]?.text).toBe('forward.lag < 6s for 1s');
    expect(anew.conditions[0]?.held_seconds).toBeLessThan(before.conditions[0]?.held_seconds ?? 0);
    expect(anew.state).toBe('closed');
    await until(daemon, 'shop/changed', 'open');

    // A migration more over the same databases: its heartbeats are written beside, and nobody's hold is lost.
    const watch = sampled(daemon, 'shop/lag');
    write({ gates: gates('6s'), migrations: third('crm') });
    await reload(daemon);
    await until(daemon, 'crm/lag', 'open');
    expect((await daemon.get('/v1/migrations/crm')).status).toBe(200);
    expect(await metrics(daemon)).toContain('migration="crm"');
    const beside = await daemon.verdict('shop/lag');
    expect(await watch()).toEqual(['open']);
    expect(beside).toMatchObject({ state: 'open', since: unchanged.since });
    expect(beside.conditions[0]?.held_seconds).toBeGreaterThan(kept.conditions[0]?.held_seconds ?? Infinity);

    const pending = fetch(`${lockgate.url}/v1/gates/crm/lag/wait?timeout=60s`);
    expect((await pending).status).toBe(200);
    write({ gates: gates('6s') });
    await reload(daemon);
    for (const path of [
      '/v1/migrations/crm',
      '/v1/gates/crm/lag',
      '/v1/gates/crm/lag/check',
      '/v1/migrations/crm/signals',
    ]) {
      expect((await daemon.get(path)).status, path).toBe(404);
    }
    expect(await metrics(daemon)).not.toContain('crm');
    expect((await daemon.verdict('shop/lag')).state).toBe('open');

    // Bad files and changes that cannot be made leave everything as it is.
    const good = yaml({ gates: gates('6s') })(portOf(lockgate));
    const now = await daemon.verdict('shop/lag');
    for (const [text, says] of [
      [good.replace('< 6s', '< 6'), /needs a unit/],
      ['{', /./],
      [
        good.replace('id: tester', 'id: renamed'),
        /daemon\.id cannot change while the daemon runs \(restart it to change them; holds will start again\)/,
      ],
      [good.replace(/listen: .*/, 'listen: 127.0.0.1:1'), /daemon\.listen cannot change/],
      [`${good}store: { path: ./other.db }\n`, /store\.path cannot change/],
    ] as const) {
      lockgate.write(text);
      const logged = daemon.log().length;
      await reload(daemon, true);
      expect(daemon.log().slice(logged)).toMatch(says);
      expect(await gauge(daemon, 'lockgate_config_reload_success')).toBe(0);
    }
    const still = await daemon.verdict('shop/lag');
    expect(still).toMatchObject({ state: 'open', since: now.since, config_hash: now.config_hash });
    lockgate.write(good);
    await reload(daemon);
    expect(await gauge(daemon, 'lockgate_config_reload_success')).toBe(1);

    // A link more: that migration is another one now, and begins anew.
    lockgate.write(
      good.replace(
        /( +)forward: .*/,
        (line, space: string) => `${line}\n${space}reverse: { via: postgres-logical, subscription: back_sub }`,
      ),
    );
    await reload(daemon);
    const signals = await daemon.signals();
    expect(signals.has('reverse.lag')).toBe(true);
    expect((await daemon.verdict('shop/lag')).conditions[0]?.held_seconds).toBeLessThan(1);
    lockgate.write(good);
    await reload(daemon);
    expect((await daemon.signals()).has('reverse.lag')).toBe(false);
    await until(daemon, 'shop/lag', 'open');

    const { body } = await daemon.get<{ entries: { kind: string }[] }>('/v1/journal?limit=1000');
    expect(body.entries.filter((e) => e.kind === 'reload')).toHaveLength(6);
    expect(body.entries.filter((e) => e.kind === 'reload-refused')).toHaveLength(5);
    expect(await daemon.stop()).toBe(0);
    await expectNothingLeft();
  }, 90_000);

  it('takes up a rotated password from its file without a restart, and without a reload', async () => {
    const lockgate = await place(yaml());
    const daemon = await lockgate.start();
    await until(daemon, 'shop/lag', 'open');
    const rotate = async (password: string): Promise<void> => {
      for (const run of [pair.onSource, pair.onTarget]) await run(`alter role lockgate password '${password}'`);
      writeFileSync(join(lockgate.folder, 'password'), `${password}\n`);
    };
    await rotate(secrets.newPassword);
    const dropped = await pair.onSource<{ n: string }>(
      `select count(pg_terminate_backend(pid)) as n from pg_stat_activity where application_name like 'lockgate%'`,
    );
    expect(Number(dropped[0]?.n)).toBeGreaterThan(2);
    await pair.onTarget(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'lockgate%'`,
    );
    await until(daemon, 'shop/lag', 'unknown', 2_000).catch(() => undefined);
    await until(daemon, 'shop/lag', 'open');
    expect(daemon.log()).not.toContain('password authentication failed');
    await rotate(secrets.password);
    expect(await daemon.stop()).toBe(0);
  });

  it('takes up rotated tokens by a reload, and from files without one; auth and TLS end to end', async () => {
    const daemonLines = (reader: string): string => `tls: { cert: cert.pem, key: key.pem }
  auth:
    tokens:
      - { name: dashboard, token: "${reader}", role: reader }
      - { name: runbook, token: "\${env:RUNBOOK_TOKEN}", role: operator }`;
    const text = (reader: string): ((port: number) => string) =>
      yaml({ daemon: daemonLines(reader), gates: `${usual}\nchecked: { require: "attest.backup.age < 1h" }` });
    const lockgate = await place(text('${file:reader}'), { tls: true, env: { RUNBOOK_TOKEN: secrets.operator } });
    const file = (name: string): string => join(lockgate.folder, name);
    writeFileSync(file('reader'), secrets.reader);
    certificate(lockgate.folder);
    const daemon = await lockgate.start();
    const cli = (token: string | null, ...args: string[]): Promise<CommandResult> =>
      lockgate.run([...args, '--ca', file('cert.pem')], token === null ? {} : { LOCKGATE_TOKEN: token });

    const waited = await cli(secrets.reader, 'wait', 'shop/lag', '--timeout', '20s');
    expect(waited.code, waited.stderr).toBe(0);
    const nobody = await cli(null, 'check', 'shop/lag');
    expect([nobody.code, nobody.stderr]).toEqual([
      2,
      expect.stringContaining('the token is missing or not accepted (401): set LOCKGATE_TOKEN'),
    ]);
    expect((await cli('wrong', 'check', 'shop/lag')).code).toBe(2);
    const untrusted = await lockgate.run(['check', 'shop/lag'], { LOCKGATE_TOKEN: secrets.reader });
    expect([untrusted.code, untrusted.stderr]).toEqual([
      4,
      expect.stringContaining('its certificate is not trusted here (--ca FILE)'),
    ]);
    const attest = ['attest', 'shop', 'backup', '--by', 'Ana', '--note', 'restored'];
    const forbidden = await cli(secrets.reader, ...attest);
    expect([forbidden.code, forbidden.stderr]).toEqual([
      2,
      expect.stringContaining(
        "the token does not allow this (403): the token dashboard is a reader's; this needs the role operator",
      ),
    ]);
    const done = await cli(secrets.operator, ...attest);
    expect(done.code, done.stderr).toBe(0);
    expect((await cli(secrets.reader, 'check', 'shop/checked')).code).toBe(0);
    const journal = await cli(secrets.reader, 'journal', '--json');
    expect(journal.stdout).toContain('"actor":"runbook"');

    // By the file alone, within the seconds after which it is read again.
    writeFileSync(file('reader'), secrets.newReader);
    await waitFor(
      'the new token to be taken',
      10_000,
      async () => (await cli(secrets.newReader, 'check', 'shop/lag')).code === 0,
      500,
    );
    expect((await cli(secrets.reader, 'check', 'shop/lag')).code).toBe(2);
    // By a reload: at once.
    writeFileSync(file('other'), secrets.reader);
    lockgate.write(text('${file:other}')(portOf(lockgate)));
    await reload(daemon);
    expect((await cli(secrets.reader, 'check', 'shop/lag')).code).toBe(0);
    expect((await cli(secrets.newReader, 'check', 'shop/lag')).code).toBe(2);
    // A new certificate by a reload, too; an unusable one is refused.
    certificate(lockgate.folder);
    expect((await cli(secrets.reader, 'check', 'shop/lag')).code).toBe(4);
    await reload(daemon);
    expect((await cli(secrets.reader, 'check', 'shop/lag')).code).toBe(0);
    const cert = readFileSync(file('cert.pem'));
    writeFileSync(file('cert.pem'), 'no certificate');
    await reload(daemon, true);
    writeFileSync(file('cert.pem'), cert);
    expect((await cli(secrets.reader, 'check', 'shop/lag')).code).toBe(0);
    expect(await daemon.stop()).toBe(0);
    said.push(readFileSync(file('lockgate.db'), 'latin1'));
  }, 90_000);

  it('does not grow with reloads and lost connections', async () => {
    const lockgate = await place(yaml());
    const daemon = await lockgate.start();
    await until(daemon, 'shop/lag', 'open');
    const text = yaml()(portOf(lockgate));
    const cycle = async (times: number): Promise<void> => {
      for (let n = 0; n < times; n += 1) {
        // Every fifth restarts the collectors as well.
        lockgate.write(n % 5 === 0 ? text.replace('interval: 200ms', `interval: ${String(201 + (n % 7))}ms`) : text);
        await reload(daemon);
      }
      for (let n = 0; n < times; n += 1) {
        const proxy = n % 2 === 0 ? pair.sourceProxy : pair.targetProxy;
        await proxy.cut();
        await proxy.restore();
        await sleep(100);
      }
      lockgate.write(text);
      await reload(daemon);
      await until(daemon, 'shop/lag', 'open', 30_000);
    };
    const measure = async (): Promise<{ resources: number; heap: number; sessions: number }> => {
      await sleep(1_500);
      const shown = await metrics(daemon);
      const sum = (name: string): number =>
        [...shown.matchAll(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, 'gm'))].reduce((n, m) => n + Number(m[1]), 0);
      return {
        resources: sum('nodejs_active_resources'),
        heap: sum('nodejs_heap_size_used_bytes'),
        sessions: (await leftovers()).length,
      };
    };
    await cycle(10);
    const before = await measure();
    await cycle(50);
    const grown = await measure();
    // The WAL reader looks at its slot over a connection of its own now and then.
    expect(grown.sessions).toBeLessThanOrEqual(before.sessions + 2);
    expect(grown.resources, JSON.stringify({ before, grown })).toBeLessThanOrEqual(before.resources + 4);
    expect(grown.heap - before.heap, JSON.stringify({ before, grown })).toBeLessThan(40e6);
    expect(await daemon.stop()).toBe(0);
    await expectNothingLeft();
  }, 120_000);
});

describe('what is said without a daemon', () => {
  it('gates explain, config schema', async () => {
    const lockgate = await place(
      yaml({ gates: 'preset: runbook\nlag: { require: "forward.lag under 2s for 10 min", gaps: { tolerate: 5s } }' }),
    );
    const explained = await lockgate.run(['gates', 'explain', '--config', lockgate.configFile]);
    expect(explained.code, explained.stderr).toBe(0);
    expect(explained.stdout).toContain(
      'shop/lag is open when\n  forward.lag of shop has been below 2 s for 10m without a break',
    );
    expect(explained.stdout).toContain('Unknown stretches of up to 5s do not restart a hold.');
    const json = JSON.parse(
      (await lockgate.run(['gates', 'explain', '--config', lockgate.configFile, '--json'])).stdout,
    ) as { gates: { gate: string }[] };
    expect(json.gates.map((g) => g.gate)).toContain('shop/flip-writes');
    const schema = await lockgate.run(['config', 'schema']);
    expect(schema.code).toBe(0);
    expect(JSON.parse(schema.stdout)).toMatchObject({
      $schema: expect.stringContaining('json-schema.org') as string,
      type: 'object',
    });
  });
});

it('says no secret, no stack trace and no warning of Node anywhere', () => {
  // The servers' logs as well: a statement that fails is written there in full.
  said.push(pair.source.logTail(Infinity), pair.target.logTail(Infinity));
  const all = said.join('\n');
  expect(all.length).toBeGreaterThan(100_000);
  for (const [name, secret] of Object.entries(secrets))
    expect(all.includes(secret), `${name} is said somewhere`).toBe(false);
  expect(all).not.toContain(pair.source.password);
  expect(all).not.toMatch(/MaxListeners|UnhandledPromise|unhandledRejection|DeprecationWarning|a bug, ending/);
  expect(all).not.toMatch(/^\s+at .*:\d+:\d+\)?$/m);
});

/**
 * All that setup may make; without what differs from one making to the next, and without the right to connect, which
 * everybody has here, so that setup leaves it and only `grants` spells it out.
 */
async function catalogs(): Promise<unknown> {
  const sql = `
      select 'role ' || rolname || ' ' || concat(rolcanlogin, rolreplication, rolsuper, rolcreatedb, rolcreaterole) as what
        from pg_roles where rolname !~ '^pg_'
      union all select 'member ' || m.roleid::regrole || ' ' || m.member::regrole from pg_auth_members m where m.member::regrole::text = 'lockgate'
      union all select 'schema ' || nspname || ' ' || coalesce(nspacl::text, '') from pg_namespace where nspname !~ '^pg_'
      union all select 'relation ' || c.oid::regclass || ' ' || relkind::text || case when relkind in ('S', 'r') then coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner))::text else '' end || coalesce(reloptions::text, '')
        from pg_class c join pg_namespace n on n.oid = relnamespace where nspname !~ '^(pg_|information_schema)' and relname <> 'lg_truth'
      union all select 'column ' || a.attrelid::regclass || ' ' || attname || ' ' || atttypid::regtype || ' ' || attnotnull
        from pg_attribute a join pg_class c on c.oid = attrelid join pg_namespace n on n.oid = relnamespace
        where nspname = 'lockgate' and attnum > 0 and relkind = 'r'
      union all select 'function ' || p.oid::regprocedure || ' ' || md5(prosrc) || coalesce(proacl::text, '') || coalesce(proconfig::text, '')
        from pg_proc p join pg_namespace n on n.oid = pronamespace where nspname !~ '^(pg_|information_schema)'
      union all select 'grant ' || p.oid::regprocedure || ' ' || proacl::text
        from pg_proc p where pronamespace = 'pg_catalog'::regnamespace and proacl::text like '%lockgate%'
      union all select 'trigger ' || tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text || tgtype from pg_trigger where not tgisinternal
      union all select 'publication ' || pubname || ' ' || concat(puballtables, pubinsert, pubupdate, pubdelete, pubtruncate) from pg_publication
      union all select 'published ' || pubname || ' ' || schemaname || '.' || tablename from pg_publication_tables
      union all select 'subscribed ' || subname || ' ' || srrelid::regclass from pg_subscription_rel join pg_subscription s on s.oid = srsubid
      union all select 'database ' || datname || ' ' || replace(coalesce(datacl, acldefault('d', datdba))::text, ',lockgate=c/postgres', '') from pg_database
      union all select 'setting ' || setrole::regrole || ' ' || setconfig::text from pg_db_role_setting where setrole <> 0
      order by 1`;
  const look = async (run: Pair['onSource']): Promise<unknown[]> =>
    (await run(sql)).map((row) => row['what'] as unknown);
  return { source: await look(pair.onSource), target: await look(pair.onTarget) };
}

/** Watches a gate's state; the function returned ends that and yields the states that were seen. */
function sampled(daemon: Daemon, gate: string): () => Promise<string[]> {
  const states = new Set<string>();
  const stop = new AbortController();
  const loop = (async () => {
    while (!stop.signal.aborted) {
      states.add((await daemon.verdict(gate)).state);
      await sleep(20);
    }
  })();
  return async () => {
    stop.abort();
    await loop;
    return [...states];
  };
}

interface SseEvent {
  id: string;
  event: string;
  data: unknown;
}

/** Reads server-sent events as a client does. */
async function openEvents(url: string, lastId?: string) {
  const stop = new AbortController();
  const response = await fetch(`${url}/v1/events`, {
    headers: lastId === undefined ? {} : { 'last-event-id': lastId },
    signal: stop.signal,
  });
  expect(response.status).toBe(200);
  const all: SseEvent[] = [];
  const reading = (async () => {
    let rest = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) {
      rest += decoder.decode(chunk as Uint8Array, { stream: true });
      const frames = rest.split('\n\n');
      rest = frames.pop() ?? '';
      for (const frame of frames) {
        said.push(frame);
        const field = (name: string): string | undefined => new RegExp(`^${name}: (.*)$`, 'm').exec(frame)?.[1];
        const [id, event, data] = [field('id'), field('event'), field('data')];
        if (event !== undefined) all.push({ id: id ?? '', event, data: JSON.parse(data ?? 'null') });
      }
    }
  })().catch(() => undefined);
  return {
    all,
    until: (wanted: (e: SseEvent) => boolean): Promise<SseEvent> => waitFor('an event', 10_000, () => all.find(wanted)),
    close: (): void => {
      stop.abort();
      void reading;
    },
  };
}

async function openEventsFails(url: string): Promise<boolean> {
  return fetch(`${url}/v1/events`).then(
    () => false,
    () => true,
  );
}

function certificate(folder: string): void {
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  args.push('-subj', '/CN=lockgate test', '-addext', 'subjectAltName=IP:127.0.0.1');
  execFileSync('openssl', [...args, '-keyout', join(folder, 'key.pem'), '-out', join(folder, 'cert.pem')], {
    stdio: 'ignore',
  });
}
