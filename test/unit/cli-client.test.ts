import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../../daemon/cli/program.js';
import { json, startApi, verdict, type ApiServer, type Handler } from '../support/api-server.js';
import { fence } from '../support/fake-port.js';
import { FakeIo, noBackend } from '../support/fake-io.js';

const open: ApiServer[] = [];
let io: FakeIo;

beforeEach(() => {
  io = new FakeIo();
});

afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()));
});

async function api(handler: Handler): Promise<ApiServer> {
  const server = await startApi(handler);
  open.push(server);
  return server;
}

const cli = (...argv: string[]): Promise<number> => runCli(argv, io, noBackend);

describe('attest', () => {
  const argv = ['attest', 'shop', 'backup-restored', '--by', 'Ana', '--note', 'ticket 41'];

  it('posts who and what to every daemon', async () => {
    const [a, b] = [await api(json(201, { name: 'backup-restored' })), await api(json(201, {}))];
    expect(await cli(...argv, '--url', a.url, '--url', b.url)).toBe(0);
    for (const { requests } of [a, b]) {
      expect(requests).toMatchObject([{ method: 'POST', url: '/v1/migrations/shop/attestations/backup-restored' }]);
      expect(JSON.parse(requests[0]!.body)).toEqual({ by: 'Ana', note: 'ticket 41' });
    }
    expect(io.out).toMatch(/^DONE {2}shop: backup-restored attested by Ana at http/);
  });

  it.each([
    ['refused', json(403, { detail: 'reader' }), 2, /does not allow this/],
    ['a conflict', json(409, { detail: 'not now' }), 2, /not now/],
    ['journal not writable', json(503, { detail: 'the journal cannot be written now' }), 4, /cannot be written/],
    ['not lockgate', json(200, []), 3, /is it lockgate/],
  ] as const)('%s', async (_name, handler, code, printed) => {
    const { url } = await api(handler);
    expect(await cli(...argv, '--url', url)).toBe(code);
    expect(io.err).toMatch(printed);
    expect(io.out).toBe('');
  });

  it('2 without --by or --note', async () => {
    expect(await cli('attest', 'shop', 'x', '--by', 'Ana', '--url', 'http://127.0.0.1:1')).toBe(2);
    expect(io.err).toContain("required option '--note <text>' not specified");
  });
});

describe('journal', () => {
  const entries = [
    {
      id: 1,
      at: '2026-11-22T01:00:00.000Z',
      kind: 'start',
      migration: null,
      gate: null,
      actor: 'lockgate',
      by: null,
      data: { version: '1' },
    },
    {
      id: 2,
      at: '2026-11-22T02:00:00.500Z',
      kind: 'gate',
      migration: 'shop',
      gate: 'drained',
      actor: 'lockgate',
      by: null,
      data: { from: 'closed', to: 'open', verdict: {} },
    },
    {
      id: 3,
      at: '2026-11-22T03:00:00.000Z',
      kind: 'attestation',
      migration: 'shop',
      gate: null,
      actor: 'runbook',
      by: 'Ana',
      data: { name: 'backup', note: 'ok\n41' },
    },
  ];
  /** Two entries a page, as a daemon with a small limit would. */
  const paged: Handler = (request, response) => {
    const after = Number(new URL(request.url ?? '', 'http://x').searchParams.get('after') ?? 0);
    const page = entries.filter((e) => e.id > after).slice(0, 2);
    json(200, { entries: page, next: page.length < 2 ? null : String(page.at(-1)!.id) })(request, response);
  };

  it('prints aligned lines in UTC, page by page', async () => {
    const { url, requests } = await api(paged);
    expect(await cli('journal', '--url', url, '--since', '2026-11-22T00:00:00+01:00')).toBe(0);
    expect(io.out).toBe(
      [
        '2026-11-22T01:00:00Z  start        -             lockgate       version=1',
        '2026-11-22T02:00:00Z  gate         shop/drained  lockgate       closed -> open',
        '2026-11-22T03:00:00Z  attestation  shop/backup   Ana (runbook)  ok 41',
        '',
      ].join('\n'),
    );
    expect(requests.map((r) => new URL(r.url, url).searchParams.get('after'))).toEqual([null, '2']);
    expect(new URL(requests[0]!.url, url).searchParams.get('since')).toBe('2026-11-21T23:00:00.000Z');
  });

  it('keeps the newest with --limit, and puts all pages into one for --json', async () => {
    const { url } = await api(paged);
    expect(await cli('journal', '--url', url, '--limit', '1')).toBe(0);
    expect(io.out).toMatch(/^2026-11-22T03:00:00Z[^\n]*\n$/);
    expect(io.err).toContain('2 earlier entries left out');
    io.out = '';
    expect(await cli('journal', '--url', url, '--json')).toBe(0);
    expect(JSON.parse(io.out)).toEqual({ entries, next: null });
  });

  it('counts back from now', async () => {
    const { url, requests } = await api(json(200, { entries: [], next: null }));
    expect(await cli('journal', '--url', url, '--since', '1h')).toBe(0);
    const since = Date.parse(new URL(requests[0]!.url, url).searchParams.get('since') ?? '');
    expect(Math.abs(Date.now() - 3_600_000 - since)).toBeLessThan(5000);
  });

  it('tells a cutover from beginning to end', async () => {
    const entry = (seconds: number, kind: string, actor: string, data: object) => ({
      id: seconds,
      at: new Date(Date.parse('2026-11-22T02:00:00Z') + seconds * 1000).toISOString(),
      kind,
      migration: 'shop',
      gate: null,
      actor,
      by: null,
      data,
    });
    const violations = { count: 3, first_position: '0/16B3900', first_at: '2026-11-22T02:00:31.000Z' };
    const change = { direction: 'reverse', from: 'forward', epoch: 2 };
    const promotion = {
      ...{ direction: 'reverse', epoch: 2, reason: 'cutover', forced: false, expect: 'forward', fence: 'f3' },
      ...{ old_side: 'onprem', old_side_position: '0/16B3800', new_side: 'aws' },
    };
    const rollback = {
      ...{ direction: 'forward', epoch: 3, reason: 'errors', forced: true, expect: 'reverse', fence: null },
      ...{ old_side: 'aws', old_side_position: null, new_side: 'onprem' },
    };
    const told = [
      entry(1, 'fence', 'runbook', fence('f1', 'placed', { note: 'OPS-41' })),
      entry(2, 'fence', 'lockgate', fence('f1', 'violated', { violations })),
      entry(3, 'fence', 'lockgate', fence('f2', 'expired')),
      entry(4, 'fence', 'lockgate', { fence: fence('f3', 'drained') }),
      entry(5, 'fence', 'lockgate', fence('f3', 'closed', { ended_because: 'promote by runbook' })),
      entry(6, 'promote', 'runbook', { step: 'declaring', ...promotion }),
      entry(7, 'direction', 'lockgate', { ...change, changedAt: null }),
      entry(8, 'stray-write', 'lockgate', {
        side: 'source',
        count: 1,
        first_at: '2026-11-22T02:00:08.000Z',
        first_position: '0/16B3A00',
      }),
      entry(9, 'split-brain', 'lockgate', { reason: 'since 02:00:09 both sides have been written to' }),
      entry(10, 'rollback', 'runbook', { step: 'declaring', ...rollback }),
      entry(11, 'direction', 'lockgate', { from: 'reverse', direction: 'unknown', reason: 'target: cannot connect' }),
      entry(
        12,
        'fence',
        'runbook',
        fence('f4', 'cancelled', { link: 'reverse', ended_because: 'cancelled by runbook' }),
      ),
      entry(13, 'split-brain', 'lockgate', { what: 'both sides' }),
      entry(14, 'fence', 'lockgate', { odd: 'shape' }),
      entry(15, 'promote', 'runbook', { step: 'declared', ...promotion, warnings: [] }),
      entry(16, 'rollback', 'runbook', { step: 'declared', ...rollback, warnings: ['strays may have gone unseen'] }),
      entry(17, 'rollback', 'runbook', { step: 'failed', why: 'onprem: connection lost' }),
      entry(18, 'promote', 'runbook', { step: 'odd', direction: 'reverse' }),
    ];
    const { url } = await api(json(200, { entries: told, next: null }));
    expect(await cli('journal', '--url', url)).toBe(0);
    expect(io.out.split('\n').map((line) => line.replace(/^2026-11-22T/, ''))).toEqual([
      '02:00:01Z  fence        shop  runbook   forward fence f1 PLACED; at 0/16B3748, deadline 00:01:00Z; OPS-41',
      '02:00:02Z  fence        shop  lockgate  forward fence f1 VIOLATED; 3 writes, the first at 0/16B3900, 02:00:31Z',
      '02:00:03Z  fence        shop  lockgate  forward fence f2 EXPIRED; missing 4 KiB, 12 transactions, on shop_sub; a transaction is open on the source',
      '02:00:04Z  fence        shop  lockgate  forward fence f3 DRAINED; in 1.3 s, up to 0/16B3748, by marker, position',
      '02:00:05Z  fence        shop  lockgate  forward fence f3 CLOSED; it had drained up to 0/16B3748: promote by runbook',
      '02:00:06Z  promote      shop  runbook   DECLARING: writes belong on the target = aws (direction reverse, epoch 2); on fence f3; onprem stood at 0/16B3800; reason: cutover',
      '02:00:07Z  direction    shop  lockgate  forward -> reverse (epoch 2)',
      '02:00:08Z  stray-write  shop  lockgate  1 stray write on the source, the first at 0/16B3A00, 02:00:08Z',
      '02:00:09Z  split-brain  shop  lockgate  BOTH SIDES ARE WRITTEN TO: since 02:00:09 both sides have been written to',
      '02:00:10Z  rollback     shop  runbook   DECLARING BY FORCE: writes belong on the source = onprem (direction forward, epoch 3); no fence; aws could not be asked where it stood; reason: errors',
      '02:00:11Z  direction    shop  lockgate  reverse -> unknown: target: cannot connect',
      '02:00:12Z  fence        shop  runbook   reverse fence f4 CANCELLED; cancelled by runbook',
      '02:00:13Z  split-brain  shop  lockgate  BOTH SIDES ARE WRITTEN TO',
      '02:00:14Z  fence        shop  lockgate  odd=shape',
      '02:00:15Z  promote      shop  runbook   DECLARED: writes belong on the target = aws (direction reverse, epoch 2)',
      '02:00:16Z  rollback     shop  runbook   DECLARED BY FORCE: writes belong on the source = onprem (direction forward, epoch 3); WARNING: strays may have gone unseen',
      '02:00:17Z  rollback     shop  runbook   FAILED, see in `lockgate status` which direction holds: onprem: connection lost',
      '02:00:18Z  promote      shop  runbook   step=odd direction=reverse',
      '',
    ]);
  });

  it('does not follow a page that does not move on', async () => {
    const { url, requests } = await api(json(200, { entries: [entries[0]], next: '1' }));
    expect(await cli('journal', '--url', url)).toBe(0);
    expect(requests).toHaveLength(2);
  });

  it.each(['yesterday', '5', '2026-11-22', '2026-99-99T00:00:00Z', '0s'])('2 for --since %s', async (since) => {
    expect(await cli('journal', '--url', 'http://127.0.0.1:1', '--since', since)).toBe(2);
  });
});

describe('status', () => {
  const signal = (value: number | null, unit: string, more = {}) => ({
    state: 'ok',
    value,
    unit,
    age_seconds: 0.1,
    reason: null,
    ...more,
  });
  const migration = {
    name: 'shop',
    direction: 'forward',
    direction_since: null,
    source: 'onprem',
    target: 'aws',
    links: {
      forward: { lag: signal(0.42, 's'), lag_by_position: signal(0.3, 's'), running: signal(1, 'flag') },
      reverse: {
        lag: signal(null, 's', { state: 'unknown', reason: 'no heartbeat table' }),
        running: signal(0, 'flag', { reason: 'disabled' }),
      },
    },
    sides: {
      source: { database: 'onprem', reachable: true, writable: true, stray_writes: { count: null } },
      target: { database: 'aws', reachable: true, writable: false, stray_writes: { count: 2 } },
    },
    gates: [],
  };
  const gates = () => [
    verdict({ gate: 'shop/target-ready' }),
    verdict({ gate: 'shop/flip-writes', state: 'closed', opens_at: new Date(Date.now() + 200_000).toISOString() }),
    verdict({
      gate: 'all-shards',
      state: 'unknown',
      conditions: [
        {
          text: 'gate crm/x open',
          state: 'unknown',
          value: null,
          unit: '',
          held_seconds: 0,
          needs_seconds: 0,
          last_broken: null,
          reason: 'stale',
        },
      ],
    }),
  ];
  const daemon: Handler = (request, response) =>
    json(200, request.url === '/v1/gates' ? { gates: gates() } : { migrations: [migration] })(request, response);

  it('shows sides, links and gates, each gate with its state first', async () => {
    const { url } = await api(daemon);
    expect(await cli('status', '--url', url)).toBe(0);
    expect(io.out.replace(/opens in .*/, 'opens in …')).toBe(
      [
        'shop  onprem -> aws  direction forward',
        '  source   onprem       reachable, writable',
        '  target   aws          reachable, read-only, 2 STRAY WRITES',
        '  forward  lag 420 ms   by position 300 ms, running',
        '  reverse  lag UNKNOWN  NOT RUNNING',
        '    no heartbeat table',
        '    disabled',
        '  OPEN     shop/target-ready',
        '  CLOSED   shop/flip-writes   opens in …',
        'across migrations',
        '  UNKNOWN  all-shards  gate crm/x open (unknown): stale',
        '',
      ].join('\n'),
    );
  });

  it('shows the newest fence, and where strays began', async () => {
    const at = '2001-01-01T02:00:00Z';
    const stray = { count: 2, first_at: at, first_position: '0/16B3900' };
    const violations = { count: 3, first_position: '0/16B3800', first_at: at };
    const cases: [unknown, string][] = [
      [fence('f1', 'placed', { deadline_at: at }), 'f1  forward  PLACED  until 2001-01-01 02:00:00Z; missing 4 KiB'],
      [fence('f1', 'drained'), 'f1  forward  DRAINED  in 1.3 s, up to 0/16B3748\n'],
      [fence('f1', 'unknown'), 'f1  forward  UNKNOWN  missing 4 KiB'],
      [fence('f1', 'violated', { violations }), 'f1  forward  VIOLATED  3 writes, the first at 0/16B3800, 2001-01-01'],
      [fence('f1', 'expired', { link: 'reverse' }), 'f1  reverse  EXPIRED  missing 4 KiB'],
      [
        fence('f1', 'closed', { ended_at: at, ended_because: 'promote by ann' }),
        'CLOSED  at 2001-01-01 02:00:00Z: promote',
      ],
      [fence('f1', 'cancelled'), 'f1  forward  CANCELLED\n'],
      [{ ...fence('f1', 'drained'), state: 'dry' }, 'UNKNOWN  (not to be understood)\n'],
    ];
    for (const [shown, line] of cases) {
      const target = { ...migration.sides.target, stray_writes: stray };
      const shop = { ...migration, sides: { ...migration.sides, target }, fence: shown };
      const { url } = await api((request, response) =>
        json(200, request.url === '/v1/gates' ? { gates: gates() } : { migrations: [shop] })(request, response),
      );
      io.out = '';
      expect(await cli('status', '--url', url)).toBe(0);
      expect(io.out).toMatch(/^ {2}fence {2}/m);
      expect(io.out).toContain(line);
      expect(io.out).toContain('2 STRAY WRITES (the first at 0/16B3900, 2001-01-01 02:00:00Z)');
    }
  });

  it('0 when all answered, whatever the gates say; the worst failure otherwise', async () => {
    const good = await api(daemon);
    const bad = await api(json(401, {}));
    expect(await cli('status', '--url', good.url, '--url', bad.url)).toBe(2);
    expect(io.out).toContain(good.url);
    expect(await cli('status', '--url', good.url, '--url', 'http://127.0.0.1:1')).toBe(4);
    expect(await cli('status', '--url', (await api(json(200, {}))).url)).toBe(3);
  });

  it('prints both answers with --json', async () => {
    const { url } = await api(daemon);
    expect(await cli('status', '--url', url, '--json')).toBe(0);
    const said = JSON.parse(io.out) as { migrations: unknown[]; gates: unknown[] };
    expect(said.migrations).toEqual([migration]);
    expect(said.gates).toHaveLength(3);
  });
});
