import { describe, expect, it } from 'vitest';
import { SourceError } from '../../daemon/core/errors.js';
import type { FakePass } from '../support/fake-verifier.js';
import { found } from '../support/fake-verifier.js';
import { TABLES, VerifyBed } from '../support/verify-bed.js';
import { load, small } from './config-inputs.js';

const S = 1_000_000;
const config = (verify = '{}', more = '') => load(small({ shop: `verify: ${verify}\n${more}` }));
const bed = (verify = '{}', more = '') => new VerifyBed(config(verify, more)).start();
const ask = (b: VerifyBed, tables: string[] | null = null) => b.all.start('shop', { tables, actor: 'ann' });
const state = (b: VerifyBed) => b.all.json('shop')?.tables.map((t) => t.state);

/** Starts a pass, and lets it find both tables equal. */
async function matched(b: VerifyBed): Promise<FakePass> {
  await ask(b);
  await b.settle();
  const { pass } = b.verifier;
  for (const table of TABLES) pass.hooks.table(found(pass.order, table, 'match', b.clock.wallNow()));
  b.all.tick();
  return pass;
}

describe('a pass', () => {
  it('is started, followed and counted, and the signals follow', async () => {
    const b = await bed();
    expect(b.value('verify.mismatched_rows')).toBeNull();
    expect(b.value('verify.coverage')).toBe(0);
    const { pass: id } = await ask(b);
    await b.settle();
    expect(b.all.json('shop')?.running).toMatchObject({ pass: id, paused: null });
    const { pass } = b.verifier;
    expect(pass.order).toMatchObject({ tables: null, direction: 'forward', epoch: 0, actor: 'ann' });
    pass.hooks.table(found(pass.order, 'public.a', 'match', b.clock.wallNow()));
    expect(b.value('verify.mismatched_rows')).toBeNull();
    pass.hooks.table(found(pass.order, 'public.b', 'mismatch', b.clock.wallNow(), { mismatchedRows: 2 }));
    expect(b.value('verify.mismatched_rows')).toBe(2);
    expect(b.value('verify.coverage')).toBe(1);
    pass.end(true);
    await b.seconds(1);
    expect(b.value('verify.age')).toBe(1);
    expect(b.all.json('shop')).toMatchObject({ running: null, last: { pass: id, complete: true, reason: null } });
    expect(b.rows).toBe(20);
    expect(b.kinds()).toEqual(['verify-started', 'verify-mismatch', 'verify-ended']);
    expect(b.journal[1]?.data).toEqual({
      ...{ table: 'public.b', mismatched_rows: 2, at_least: false, reason: null },
      keys: [{ kind: 'different', key: { id: '42' } }],
    });
    expect(b.journal[2]).toMatchObject({ actor: 'ann', data: { pass: id, complete: true, match: 1, mismatch: 1 } });
    // The same rows again are no news.
    await ask(b, ['public.b']);
    await b.settle();
    b.verifier.pass.hooks.table(found(b.verifier.pass.order, 'public.b', 'mismatch', b.clock.wallNow(), { mismatchedRows: 2 })); // prettier-ignore
    expect(b.kinds().filter((kind) => kind === 'verify-mismatch')).toHaveLength(1);
  });

  it('is refused while one runs, while nothing is known, and for tables that there are not', async () => {
    const b = await bed();
    const { pass } = await ask(b);
    await expect(ask(b)).rejects.toMatchObject({ status: 409, code: 'verify_running', extra: { pass } });
    await expect(b.all.end('shop', 'ann')).resolves.toEqual({ pass });
    await b.settle();
    await expect(b.all.end('shop', 'ann')).rejects.toMatchObject({ status: 409, code: 'no_verify_running' });
    expect(b.all.json('shop')?.last).toMatchObject({ complete: false, reason: 'ended by ann' });
    await expect(ask(b, ['public.c'])).rejects.toMatchObject({ status: 404, code: 'unknown_table' });
    b.verifier.selection = new SourceError('hidden', 'nothing can be seen', 'grant select');
    await b.seconds(31);
    await expect(ask(b)).rejects.toMatchObject({ status: 503, code: 'tables_unknown' });
    b.direction = 'unknown';
    b.observeDirection();
    await expect(ask(b)).rejects.toMatchObject({ status: 409, code: 'direction_unknown' });
    await expect(b.all.start('none', { tables: null, actor: 'ann' })).rejects.toMatchObject({ code: 'not_configured' });
    b.writable = false;
  });

  it('is not carried out when it cannot be journaled', async () => {
    const b = await bed();
    b.writable = false;
    await expect(ask(b)).rejects.toMatchObject({ status: 503, code: 'store_not_writable' });
    expect(b.all.json('shop')?.running).toBeNull();
  });

  it('ends when the direction changes, and its results do not count', async () => {
    const b = await bed();
    const pass = await matched(b);
    expect(b.value('verify.coverage')).toBe(1);
    [b.direction, b.epoch] = ['reverse', 1];
    b.observeDirection();
    expect(b.value('verify.coverage')).toBe(0);
    expect(b.value('verify.age')).toBeNull();
    expect(b.value('verify.mismatched_rows')).toBeNull();
    expect(pass.signal.aborted).toBe(true);
    await b.settle();
    expect(b.all.json('shop')?.last).toMatchObject({ complete: false, reason: 'the direction has changed' });
    pass.hooks.table(found(pass.order, 'public.a', 'match', b.clock.wallNow()));
    expect(state(b)).toEqual(['unknown', 'unknown']);
    // Back under a new epoch, what was compared under the old one is no more true.
    [b.direction, b.epoch] = ['forward', 2];
    await b.seconds(1);
    expect(b.value('verify.coverage')).toBe(0);
  });

  it('says nothing while the direction is not known, and goes on', async () => {
    const b = await bed();
    const pass = await matched(b);
    b.direction = 'unknown';
    b.observeDirection();
    for (const name of ['mismatched_rows', 'mismatched_tables', 'row_count_delta', 'coverage', 'age']) {
      expect(b.value(`verify.${name}`), name).toBeNull();
    }
    expect(pass.signal.aborted).toBe(false);
    b.direction = 'forward';
    await b.seconds(1);
    expect(b.value('verify.mismatched_rows')).toBe(0);
  });

  it('is incomplete when it fails, with the reason', async () => {
    const b = await bed();
    await ask(b);
    await b.settle();
    b.verifier.pass.fail(new SourceError('gone', 'the target is gone'));
    await b.settle();
    expect(b.all.json('shop')?.last).toMatchObject({ complete: false, reason: 'the target is gone' });
    expect(b.all.json('shop')?.last_complete_at).toBeNull();
  });

  it('tells of its progress at most four times a second, and of the last at last', async () => {
    const b = await bed();
    await ask(b);
    await b.settle();
    const { order, hooks } = b.verifier.pass;
    const progress = (rowsDone: number) => ({
      ...{ pass: order.pass, startedAt: order.startedAt, tablesDone: 0, tablesTotal: 2, rowsDone, rowsEstimated: 100 },
      ...{ etaSeconds: null, table: 'public.a', paused: null },
    });
    b.events.length = 0;
    for (let i = 0; i < 100; i += 1) {
      hooks.progress(progress(i));
      await b.clock.advance(10_000);
    }
    expect(b.events.length).toBeGreaterThan(2);
    expect(b.events.length).toBeLessThanOrEqual(5);
    await b.seconds(1);
    expect(b.events.at(-1)).toMatchObject({ migration: 'shop', running: { rows_done: 99 } });
  });

  it('lists no more mismatches than it may, and tells of ten', async () => {
    const b = await bed();
    await ask(b);
    await b.settle();
    const { order, hooks } = b.verifier.pass;
    const mismatches = Array.from({ length: 1_500 }, (_, i) => ({ kind: 'missing' as const, key: { id: String(i) } }));
    hooks.table(found(order, 'public.a', 'mismatch', b.clock.wallNow(), { mismatches, mismatchedRows: 1_500 }));
    const shown = b.all.json('shop')?.tables[0];
    expect([shown?.mismatches.length, shown?.mismatches_truncated, shown?.mismatched_rows]).toEqual([
      1_000,
      true,
      1_500,
    ]);
    expect(b.journal.at(-1)?.data['keys']).toHaveLength(10);
    expect(b.events.at(-1)).toMatchObject({ table: { mismatches: { length: 10 }, mismatches_truncated: true } });
  });
});

describe('what there is to compare', () => {
  it('is looked at every 30 s; a look that fails makes everything unknown at once', async () => {
    const b = await bed();
    await matched(b);
    expect(b.verifier.looks).toBe(1);
    await b.seconds(31);
    expect(b.verifier.looks).toBe(2);
    expect(b.value('verify.mismatched_rows')).toBe(0);
    b.verifier.selection = new SourceError('hidden', 'nothing can be seen', 'grant select');
    await b.seconds(30);
    expect(b.reading('verify.mismatched_rows').reason).toBe('nothing can be seen; grant select');
    expect(b.value('verify.age')).toBeNull();
    b.verifier.selection = { tables: new Map([['public.a', 's1'], ['public.new', 's1']]), narrower: null }; // prettier-ignore
    await b.seconds(11);
    expect(b.value('verify.coverage')).toBe(0.5);
    expect(b.reading('verify.mismatched_rows').reason).toContain('public.new (not compared yet)');
    b.verifier.selection = { tables: new Map([['public.a', 's2']]), narrower: null };
    await b.seconds(31);
    expect(b.all.json('shop')?.tables).toMatchObject([{ state: 'unknown', reason: expect.stringContaining('has changed since') as string }]); // prettier-ignore
  });

  it('is not known any more when a look does not come back', async () => {
    const b = await bed();
    await matched(b);
    b.verifier.look = () => new Promise(() => undefined);
    await b.seconds(29 + 24);
    expect(b.value('verify.mismatched_rows')).toBe(0);
    await b.seconds(3);
    expect(b.reading('verify.mismatched_rows').reason).toContain('not within 25 s');
    await b.all.stop();
  });

  it('is looked at again at once when a table was compared under another shape', async () => {
    const b = await bed();
    await ask(b);
    await b.settle();
    const { pass } = b.verifier;
    b.verifier.selection = {
      tables: new Map([
        ['public.a', 'changed'],
        ['public.b', 's1'],
      ]),
      narrower: null,
    };
    const result = found(pass.order, 'public.a', 'match', b.clock.wallNow());
    pass.hooks.table({ ...result, shape: 'changed' });
    await b.settle();
    expect(state(b)).toEqual(['match', 'unknown']);
  });

  it('is looked at again when the clocks have jumped', async () => {
    const b = await bed();
    await matched(b);
    b.verifier.look = () => new Promise(() => undefined);
    b.clock.suspend(3_600 * S);
    b.engine.tick();
    expect(b.value('verify.mismatched_rows')).toBeNull();
    expect(b.value('verify.age')).toBeNull();
    expect(b.reading('verify.coverage').reason).not.toBeNull();
  });
});

describe('breaks of the chain', () => {
  it('make what was compared before count no more, and a complete match clears what is latched', async () => {
    const b = await bed();
    await matched(b);
    b.verifier.pass.end(true);
    await b.seconds(5);
    b.breaks('the slot was made anew');
    expect(b.value('verify.coverage')).toBe(0);
    expect(b.value('forward.continuity')).toBe(0);
    await b.seconds(1);
    await matched(b);
    expect(b.value('verify.coverage')).toBe(1);
    expect(b.value('forward.continuity')).toBeNull();
    expect(b.kinds()).toContain('verify-cleared');
    // Cleared is not broken again.
    await b.seconds(2);
    expect(b.value('verify.coverage')).toBe(1);
    expect(b.kinds().filter((kind) => kind === 'verify-cleared')).toHaveLength(1);
  });

  it('are not cleared by a comparison whose begin a wall clock that was set back since dates after them', async () => {
    const b = await bed();
    await ask(b);
    await b.settle();
    const { order, hooks } = b.verifier.pass;
    const begun = b.clock.wallNow();
    b.clock.stepWall(-3_600 * S);
    b.engine.tick();
    await b.seconds(2);
    b.breaks('the slot was made anew');
    for (const table of TABLES) hooks.table(found(order, table, 'match', begun));
    await b.seconds(1);
    expect(b.value('verify.coverage')).toBe(0);
    expect(b.value('forward.continuity')).toBe(0);
  });

  it('are not cleared by what was begun before, by a mismatch, or by a narrower selection', async () => {
    for (const spoil of ['before', 'mismatch', 'narrower', 'ignored', 'filters'] as const) {
      const b = await bed(spoil === 'filters' ? '{ filters: { public.a: [ "id = 1" ] } }' : '{}');
      if (spoil === 'narrower') {
        b.verifier.selection = { tables: new Map(TABLES.map((t) => [t, 's1'])), narrower: 'public.c is left out' };
        await b.seconds(31);
      }
      await ask(b);
      await b.settle();
      const { order, hooks } = b.verifier.pass;
      const earlier = b.clock.wallNow();
      await b.seconds(2);
      b.breaks('the slot was made anew');
      await b.seconds(2);
      const begun = (table: string) => (spoil === 'before' && table === 'public.b' ? earlier : b.clock.wallNow());
      for (const table of TABLES) {
        const spoilt = spoil === 'mismatch' && table === 'public.b';
        const more = spoil === 'ignored' ? { ignoredColumns: ['seen'] } : {};
        hooks.table(found(order, table, spoilt ? 'mismatch' : 'match', begun(table), more));
      }
      await b.seconds(1);
      expect(b.value('forward.continuity'), spoil).toBe(0);
      expect(b.kinds(), spoil).not.toContain('verify-cleared');
    }
  });

  it('count also when the daemon was killed before it could write that down', async () => {
    const b = await bed();
    await matched(b);
    await b.seconds(2);
    // Frozen on disk before the break; the memory of the engine is written at it.
    const values = structuredClone(b.disk.values);
    b.breaks('the slot was made anew');
    b.disk.values.clear();
    for (const [key, value] of values) b.disk.values.set(key, value);
    const next = await b.killed();
    expect(next.value('verify.coverage')).toBe(0);
    expect(next.reading('verify.age').reason).toContain('the slot was made anew');
  });
});

describe('stray writes', () => {
  const write = (b: VerifyBed) =>
    b.engine.observe({
      ...{ kind: 'local-writes', database: 'aws', at: b.clock.monotonicNow() },
      writes: [{ position: '0/10', kind: 'transaction' }] as never,
    });
  const watch = (b: VerifyBed) =>
    b.engine.observe({
      ...{ kind: 'local-watch', database: 'aws', watching: true, emptyGap: true, upTo: null, mark: null },
      ...{ reason: null, at: b.clock.monotonicNow() },
    });

  it('of before a complete match are cleared; those of after it began stay', async () => {
    const b = await bed();
    watch(b);
    write(b);
    watch(b);
    expect(b.reading('standby.stray_writes').value).toBe(1);
    await b.seconds(2);
    await ask(b);
    await b.settle();
    const { order, hooks } = b.verifier.pass;
    const begun = b.clock.wallNow();
    await b.seconds(2);
    write(b);
    for (const table of TABLES) hooks.table(found(order, table, 'match', begun));
    await b.seconds(1);
    expect(b.reading('standby.stray_writes').value).toBeGreaterThan(0);
    await matchedAgain(b);
    expect(b.reading('standby.stray_writes').value ?? 0).toBe(0);
    expect(b.kinds()).toContain('verify-cleared');
  });

  it('that are held back during a switch are not lost by a comparison that began before them', async () => {
    const b = await bed();
    watch(b);
    b.breaks('the slot was made anew');
    await b.seconds(1);
    await ask(b);
    await b.settle();
    const { order, hooks } = b.verifier.pass;
    const begun = b.clock.wallNow();
    await b.seconds(1);
    watch(b);
    b.engine.switchBegan('shop', 'target');
    write(b);
    for (const table of TABLES) hooks.table(found(order, table, 'match', begun));
    b.all.tick();
    expect(b.kinds()).toContain('verify-cleared');
    watch(b);
    // The switch comes to nothing: what was written meanwhile is astray.
    b.engine.switchEnded('shop', false);
    expect(b.reading('standby.stray_writes').value).toBe(1);
  });

  async function matchedAgain(b: VerifyBed): Promise<void> {
    const { order, hooks } = b.verifier.pass;
    for (const table of TABLES) hooks.table(found(order, table, 'match', b.clock.wallNow()));
    await b.seconds(1);
  }
});

describe('across a restart', () => {
  it('results count, with their age, and the pass goes on from where it was', async () => {
    const b = await bed();
    const pass = await matched(b);
    pass.hooks.save({ order: pass.order, version: 1, where: { at: 7 } });
    await b.seconds(60);
    const next = await b.killed();
    expect(next.value('verify.mismatched_rows')).toBe(0);
    expect(next.value('verify.age')).toBeCloseTo(66, 6);
    expect(next.verifier.pass.from).toEqual({ order: pass.order, version: 1, where: { at: 7 } });
    expect(next.kinds()).toEqual(['verify-resumed']);
    next.verifier.pass.end(true);
    await next.seconds(1);
    expect((await next.killed()).verifier.passes).toEqual([]);
  });

  it('and a stop leaves the pass to be gone on with, at its newest', async () => {
    const b = await bed();
    const pass = await matched(b);
    for (const at of [1, 2, 3]) pass.hooks.save({ order: pass.order, version: 1, where: { at } });
    await b.all.stop();
    expect(b.verifier.closed).toBe(1);
    expect(b.kinds()).toEqual(['verify-started']);
    const next = await b.killed();
    expect(next.verifier.pass.from?.where).toEqual({ at: 3 });
  });

  it('a pass of another direction does not go on', async () => {
    const b = await bed();
    await matched(b);
    [b.direction, b.epoch] = ['reverse', 1];
    const next = await b.killed();
    await next.seconds(1);
    expect(next.verifier.passes).toEqual([]);
    expect(next.all.json('shop')?.last).toMatchObject({ complete: false, reason: 'the direction has changed' });
  });

  it('waits with the pass until the direction is known', async () => {
    const b = await bed();
    await matched(b);
    b.direction = 'unknown';
    const next = await b.killed();
    expect(next.all.json('shop')?.running?.paused).toContain('until the direction is known');
    next.direction = 'forward';
    await next.seconds(2);
    expect(next.verifier.passes).toHaveLength(1);
  });

  it('a wall clock that was set back makes no comparison younger', async () => {
    const b = await bed();
    await matched(b);
    await b.seconds(120);
    const next = await b.killed((clock) => clock.stepWall(-3_600 * S));
    // Without the step it would be 126 s; what has passed since it was last written down, nobody knows.
    expect(next.value('verify.age')).toBeGreaterThanOrEqual(60);
    const ahead = await b.killed((clock) => clock.stepWall(3_600 * S));
    expect(ahead.value('verify.age')).toBeGreaterThanOrEqual(126);
  });

  it('results of other databases are none', async () => {
    const b = await bed();
    await matched(b);
    const other = load(
      small({ shop: 'verify: {}', onprem: '{ engine: postgres, url: "postgres://lockgate@db/app" }' }),
    );
    b.config = other;
    const next = await b.killed();
    expect(next.value('verify.coverage')).toBe(0);
  });

  it('an invalidation lasts', async () => {
    const b = await bed();
    await matched(b);
    b.breaks('the slot was made anew');
    await b.seconds(1);
    const next = await b.killed();
    expect(next.value('verify.coverage')).toBe(0);
    expect(state(next)).toEqual(['unknown', 'unknown']);
  });
});

describe('clocks that are set while a pass runs', () => {
  it.each([-3_600, 3_600])('by %i s make no comparison younger than it is', async (step) => {
    const b = await bed();
    await ask(b);
    await b.settle();
    const { order, hooks } = b.verifier.pass;
    const begunAt = b.clock.wallNow();
    await b.seconds(10);
    b.clock.stepWall(step * S);
    await b.seconds(10);
    for (const table of TABLES) hooks.table(found(order, table, 'match', begunAt));
    await b.seconds(1);
    const age = b.value('verify.age');
    expect(age).toBeGreaterThanOrEqual(21);
    expect(age).toBeLessThanOrEqual(21 + 3_600);
  });
});

describe('the schedule', () => {
  it('starts passes; a tick while one runs, or while nothing is known, is skipped, counted and journaled', async () => {
    const b = await bed('{ schedule: "*/15 * * * *" }');
    const [schedule] = b.schedules;
    expect(schedule?.expression).toBe('*/15 * * * *');
    schedule?.tick();
    await b.settle();
    expect(b.verifier.pass.order.actor).toBe('lockgate');
    schedule?.tick();
    schedule?.tick();
    expect(b.journal.slice(1)).toMatchObject([
      { kind: 'verify-skipped', data: { skipped: 1, reason: expect.stringContaining('running already') as string } },
      { kind: 'verify-skipped', data: { skipped: 2 } },
    ]);
    await b.all.stop();
    expect(schedule?.stopped).toBe(true);
  });
});

describe('a reload', () => {
  const reload = async (b: VerifyBed, next: ReturnType<typeof config>) => {
    b.config = next;
    await b.all.apply();
    b.engine.reload(next);
    await b.seconds(1);
  };

  it('that changes nothing, or only the schedule, disturbs nothing', async () => {
    const b = await bed();
    const pass = await matched(b);
    await reload(b, config('{ schedule: "0 3 * * *" }'));
    expect([pass.signal.aborted, b.verifiers.length, b.schedules.length]).toEqual([false, 1, 1]);
    expect(b.value('verify.mismatched_rows')).toBe(0);
  });

  it('that compares otherwise ends the pass; results of the same shape count again once that is known', async () => {
    const b = await bed();
    const pass = await matched(b);
    await reload(b, config('{ exclude: [ public.x ] }'));
    expect([pass.signal.aborted, b.verifiers[0]?.closed]).toEqual([true, 1]);
    expect(b.all.json('shop')?.last).toMatchObject({ complete: false, reason: 'the configuration was changed' });
    expect(b.value('verify.mismatched_rows')).toBe(0);
    expect(b.verifier.passes).toEqual([]);
  });

  it('never lets the old section speak for the new one', async () => {
    const b = await bed();
    await matched(b);
    const next = config('{ exclude: [ public.x ] }');
    b.config = next;
    const { verifiers } = b;
    await b.all.apply();
    b.engine.reload(next);
    expect(verifiers).toHaveLength(2);
    expect(b.value('verify.mismatched_rows')).toBeNull();
    expect(b.value('verify.age')).toBeNull();
  });

  it('that takes the section away leaves no signal behind', async () => {
    const b = await bed();
    await matched(b);
    await reload(b, load(small()));
    expect(b.reading('verify.mismatched_rows').reason).toBe('this migration has no `verify` section');
    expect(b.value('verify.age')).toBeNull();
    expect(b.all.json('shop')).toMatchObject({ configured: false, tables: [] });
    expect(b.all.json('none')).toBeUndefined();
    await expect(ask(b)).rejects.toMatchObject({ status: 409, code: 'not_configured' });
  });
});

describe('many migrations', () => {
  it('are compared two at once; the others wait and say so', async () => {
    const text = small({ shop: 'verify: {}' }).trimEnd();
    const one = '{ source: onprem, target: aws, forward: { via: postgres-logical, subscription: s }, verify: {} }';
    const more = ['crm', 'pay'].map((m) => `  ${m}: ${one}`).join('\n');
    const b = await new VerifyBed(load(`${text}\n${more}\n`)).start();
    for (const m of ['shop', 'crm', 'pay']) await b.all.start(m, { tables: null, actor: 'ann' });
    await b.settle();
    const paused = () => ['shop', 'crm', 'pay'].map((m) => b.all.json(m)?.running?.paused ?? null);
    expect(paused()).toEqual([null, null, expect.stringContaining('waits for other verifications')]);
    b.verifiers[0]?.pass.end(true);
    await b.settle();
    expect(b.all.json('shop')?.running).toBeNull();
    expect(b.verifiers[2]?.passes).toHaveLength(1);
    await b.all.end('crm', 'ann');
    await b.settle();
    await b.all.stop();
  });
});

describe('values of rows', () => {
  it('are shown of tables that are selected', async () => {
    const b = await bed();
    const key = { id: '1' };
    expect(await b.all.rows('shop', 'public.a', [key])).toEqual([{ key, source: { id: '1', total: '9.50' }, target: null }]); // prettier-ignore
    await expect(b.all.rows('shop', 'public.c', [key])).rejects.toMatchObject({ status: 404, code: 'unknown_table' });
    b.verifier.values = () => Promise.reject(new SourceError('gone', 'the target is gone'));
    await expect(b.all.rows('shop', 'public.a', [key])).rejects.toMatchObject({ status: 503, code: 'gone' });
  });
});
