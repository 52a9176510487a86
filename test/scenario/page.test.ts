import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { GateState } from '../../daemon/http/port.js';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { withoutChromium } from '../support/flavours.js';
import { FLIP, OPERATOR, READER, startPageBed, type OpenPage, type PageBed } from '../support/page-bed.js';

/** What the page may lag behind the API. */
const BEHIND_MS = 1_000;
/** Heard nothing for 3 s, and a look every quarter of a second. */
const LOST_MS = 3_000 + 1_000;
const MOST_BYTES = 150_000;
/** Measured in the tens of milliseconds; a machine with other tests on it is no measure. */
const FIRST_PAINT_MS = 1_500;

describe.skipIf(withoutChromium)('the status page, in Chromium, over real servers', () => {
  let bed: PageBed;
  let wall: OpenPage;
  beforeAll(async () => {
    bed = await startPageBed();
    wall = await bed.open({ colorScheme: 'dark', viewport: { width: 1920, height: 1080 } });
  }, 120_000);
  afterAll(() => bed.destroy(), 60_000);

  const texts = (page: OpenPage, selector: string): Promise<string> => page.page.locator(selector).first().innerText();
  const clear = (page: OpenPage): string[] => page.troubles.splice(0);

  it('shows nothing without a token, says why one is refused, and keeps it out of sight', async () => {
    expect(await wall.connection()).toBe('lost');
    expect(await wall.page.locator('[data-gate]').count()).toBe(0);
    expect(await wall.page.locator('[data-connection]').count()).toBe(1);
    expect(await wall.axe()).toEqual([]);
    const paint = await wall.firstPaint();
    console.log(`first paint after ${paint.toFixed(0)} ms, ${wall.weight()} bytes over the network`);
    expect(paint).toBeLessThan(FIRST_PAINT_MS);
    expect(wall.weight()).toBeGreaterThan(10_000);
    expect(wall.weight()).toBeLessThan(MOST_BYTES);
    await wall.give('wrong');
    await waitFor('the refusal', 5_000, async () => (await wall.page.content()).includes('the token is not known'));
    expect(await wall.page.locator('[data-gate]').count()).toBe(0);
    // The browser itself notes the 401.
    expect(clear(wall).filter((t) => !t.includes('401'))).toEqual([]);
    await wall.give(READER);
    await wall.untilConnection('live');
    expect(
      await wall.page.evaluate(
        'JSON.stringify([location.href, sessionStorage.length, localStorage.lockgateToken ?? null, document.cookie])',
      ),
    ).toBe(JSON.stringify([`${bed.url}/`, 0, null, '']));
    await wall.page.reload();
    expect(await wall.page.locator('[data-gate]').count()).toBe(0);
    await wall.give(READER, true);
    await wall.untilConnection('live');
    await wall.page.reload();
    await wall.untilConnection('live');
  });

  it('lists every gate once, and tells a reader that declaring takes an operator', async () => {
    const ids = (await wall.gates()).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toEqual(expect.arrayContaining([FLIP, 'shop/drained', 'shop/decommission', 'crm/level', 'all-shards']));
    await wall.page.click('[data-action=promote]');
    expect(await texts(wall, 'dialog')).toContain('This needs a token with the role operator');
    expect(await wall.axe()).toEqual([]);
    await wall.page.click('dialog button');
    await wall.page.click('text=Forget token');
    expect(await wall.page.locator('[data-gate]').count()).toBe(0);
    expect(await wall.page.evaluate('sessionStorage.length')).toBe(0);
    await wall.give(OPERATOR, true);
    await wall.untilConnection('live');
    expect(clear(wall)).toEqual([]);
  });

  it('opens and closes a gate within a second of the API, both ways', async () => {
    await bed.untilVerdict('open');
    await wall.untilGate('open');
    await wall.page.click(`[data-gate="${FLIP}"]`);
    await wall.shot('open-dark');
    await wall.page.evaluate(`{
      const at = () => document.querySelector('[data-gate="${FLIP}"]')?.getAttribute('data-state') ?? 'absent';
      window.seen = [[Date.now(), at()]];
      new MutationObserver(() => { if (at() !== window.seen.at(-1)[1]) window.seen.push([Date.now(), at()]); })
        .observe(document.body, { subtree: true, childList: true, attributes: true });
    }`);
    const said: [number, GateState][] = [];
    const asking = new AbortController();
    const asked = (async () => {
      while (!asking.signal.aborted) {
        const { state } = await bed.verdict();
        if (said.at(-1)?.[1] !== state) said.push([Date.now(), state]);
        await sleep(25);
      }
    })();
    {
      bed.cutover.pair.replicationProxy.freeze();
      await bed.untilVerdict('closed');
      await sleep(BEHIND_MS);
      await wall.shot('closed-dark');
      bed.cutover.pair.replicationProxy.thaw();
      await bed.untilVerdict('open');
      await sleep(BEHIND_MS);
    }
    asking.abort();
    await asked;
    const seen = await wall.page.evaluate<[number, GateState][]>('window.seen');
    // Whoever asks now and then may miss how it is not open for a moment, closed or unknown.
    const turns = (all: [number, GateState][]): [number, boolean][] =>
      all
        .map(([at, state]): [number, boolean] => [at, state === 'open'])
        .filter(([, open], i, list) => open !== list[i - 1]?.[1]);
    expect(turns(seen).map(([, open]) => open)).toEqual(turns(said).map(([, open]) => open));
    expect(turns(seen).length).toBeGreaterThanOrEqual(3);
    const behind = turns(seen)
      .map(([at], i) => at - (turns(said)[i]?.[0] ?? NaN))
      .slice(1);
    console.log(`the page behind the API, ms: ${behind.join(', ')}`);
    for (const ms of behind) expect(Math.abs(ms)).toBeLessThan(BEHIND_MS);
    expect(clear(wall)).toEqual([]);
  });

  it('is lost at once when the daemon stalls, with nothing open, and live again by itself', async () => {
    const { daemon } = bed.cutover;
    daemon.signal('SIGSTOP');
    onTestFinished(() => daemon.signal('SIGCONT'));
    const stopped = performance.now();
    await wall.untilConnection('lost');
    const after = performance.now() - stopped;
    console.log(`lost ${after.toFixed(0)} ms after the daemon was stopped`);
    expect(after).toBeLessThan(LOST_MS);
    const shown = await wall.gates();
    expect(shown.length).toBeGreaterThan(10);
    for (const { id, state, text } of shown) {
      expect([id, state]).toEqual([id, 'unknown']);
      expect(text).toMatch(/connection lost, as of \d\d:\d\d:\d\dZ$/);
    }
    expect(await texts(wall, '.banner')).toMatch(/^Connection lost, as of \d\d:\d\d:\d\dZ\. Every gate is unknown\./);
    expect(await wall.page.locator('.hero').getAttribute('data-tone')).toBe('unknown');
    expect(await wall.page.locator('[data-action]:enabled').count()).toBe(0);
    expect(await texts(wall, '#verify-title')).toMatch(/as last known$/);
    expect(await wall.page.locator('[data-condition=held], [data-table=match], [data-tone=open]').count()).toBe(0);
    expect(await wall.axe()).toEqual([]);
    await wall.shot('lost-dark');
    daemon.signal('SIGCONT');
    await wall.untilConnection('live');
    clear(wall);
  });

  it('comes back from the background and from a sleep as lost first', async () => {
    const { page } = wall;
    // What was not watched during the stall keeps other gates shut.
    const gate = 'shop/replicated';
    await wall.untilGate('open', 15_000, gate);
    const say = (state: string): Promise<unknown> =>
      page.evaluate(`Object.defineProperty(document, 'visibilityState', { configurable: true, value: '${state}' });
        document.dispatchEvent(new Event('visibilitychange'));
        document.querySelector('[data-gate="${gate}"]').getAttribute('data-state')`);
    // As long as its timers run it knows as much as in the foreground.
    expect(await say('hidden')).toBe('open');
    await page.evaluate('{ const set = setTimeout; window.setTimeout = (f, ms) => set(f, Math.max(ms, 1_000)); }');
    await wall.untilConnection('lost', 3_000);
    expect(await wall.gate(gate)).toBe('unknown');
    expect(await say('visible')).toBe('open');
    // The wall clock jumps as after a suspend, during which the monotonic one stood still.
    await page.evaluate('{ const now = Date.now.bind(Date); Date.now = () => now() + 60_000; }');
    await wall.untilConnection('lost', 2_000);
    expect(await wall.gate(gate)).toBe('unknown');
    await page.reload();
    await wall.untilGate('open', 10_000, gate);
    expect(clear(wall)).toEqual([]);
  });

  it('compares the data, and shows which rows differ', async () => {
    const { pair } = bed.cutover;
    // As if replication had brought it: nothing carries it back.
    const asReplication = (name: string): Promise<unknown> =>
      pair.onTarget(
        `select pg_replication_origin_session_setup('page'); update public.customers set name = '${name}' where id = 2; select pg_replication_origin_session_reset()`,
      );
    await pair.onTarget("select pg_replication_origin_create('page')");
    await asReplication('changed');
    await wall.page.click('[data-action=verify]');
    await wall.page.click('dialog button[type=submit]');
    await waitFor('the pass to begin', 5_000, async () => (await texts(wall, 'dialog')).includes('has begun'));
    await wall.page.click('dialog button');
    await waitFor(
      'the map to show the mismatch',
      30_000,
      async () => (await wall.page.locator('[data-table=mismatch]').count()) === 1,
    );
    await wall.page.click('[data-table=mismatch]');
    expect(await texts(wall, '.keys')).toMatch(/id=2\s+different values/);
    expect(await wall.axe()).toEqual([]);
    await wall.shot('mismatch-dark');
    await asReplication('customer 2');
  }, 60_000);

  it('carries an operator from the fence through the promotion and a stray write to the rollback', async () => {
    const { page } = wall;
    const submit = async (): Promise<string> => {
      await page.click('dialog button[type=submit]');
      await waitFor('an answer', 30_000, async () => (await page.locator('dialog .done, dialog .refused').count()) > 0);
      return texts(wall, 'dialog');
    };
    await page.click('[data-action=promote]');
    expect(await page.locator('dialog button[type=submit]').isDisabled()).toBe(true);
    await page.fill('dialog input[name=reason]', 'night of the cutover');
    await page.fill('dialog input[name=confirm]', 'sho');
    expect(await page.locator('dialog button[type=submit]').isDisabled()).toBe(true);
    await page.fill('dialog input[name=confirm]', 'shop');
    expect(await wall.axe()).toEqual([]);
    await wall.shot('promote-dark');
    // Without a drained fence the API refuses, and the page shows what it says.
    expect(await submit()).toMatch(/Refused:.*fence/s);
    await page.keyboard.press('Escape');

    await page.click('[data-action=fence]');
    await page.fill('dialog input[name=note]', 'writes are stopped');
    expect(await submit()).toMatch(/is placed at/);
    await page.click('dialog button');
    await waitFor(
      'the fence to be drained',
      15_000,
      async () => (await page.locator('[data-fence=drained]').count()) === 1,
    );
    await wall.untilGate('open', 10_000, 'shop/drained');
    await wall.shot('drained-dark');
    await page.click('[data-action=promote]');
    await page.fill('dialog input[name=reason]', 'night of the cutover');
    await page.fill('dialog input[name=confirm]', 'shop');
    expect(await submit()).toContain('Done: writes belong on aws (epoch 1)');
    await page.click('dialog button');
    await waitFor('the direction', 10_000, async () => (await texts(wall, '.side.active')).includes('aws'));

    await bed.cutover.stray('source');
    await waitFor('the stray write', 15_000, async () =>
      (await texts(wall, '[data-side=source]')).includes('1 stray write'),
    );
    expect(await wall.page.locator('[data-table=match]').count()).toBe(0);
    await wall.untilGate('closed', 10_000, 'shop/rollback-ready');
    await wall.shot('stray-dark');
    await page.click('[data-action=attest]');
    await page.fill('dialog input[name=name]', 'stray-writes-reconciled');
    await page.fill('dialog input[name=by]', 'ann');
    await page.fill('dialog input[name=note]', 'removed the row');
    expect(await submit()).toContain('Attested: stray-writes-reconciled by ann.');
    await page.click('dialog button');
    await wall.untilGate('open', 15_000, 'shop/rollback-ready');

    await page.click('[data-action=fence]');
    await page.fill('dialog input[name=note]', 'back again');
    expect(await submit()).toMatch(/is placed at/);
    await page.click('dialog button');
    await waitFor(
      'the second fence to be drained',
      15_000,
      async () => (await page.locator('[data-fence=drained]').count()) === 1,
    );
    await page.click('[data-action=rollback]');
    await page.fill('dialog input[name=reason]', 'back again');
    await page.fill('dialog input[name=confirm]', 'shop');
    expect(await submit()).toContain('Done: writes belong on onprem (epoch 2)');
    await page.click('dialog button');
    // The browser notes the 409 of the first try.
    expect(clear(wall).filter((t) => !t.includes('409'))).toEqual([]);
  }, 90_000);

  it('reads well in light and dark, large and small', async () => {
    for (const colorScheme of ['light', 'dark'] as const) {
      for (const [width, height] of [
        [1920, 1080],
        [360, 800],
      ] as const) {
        const other = await bed.open({ colorScheme, viewport: { width, height } });
        await other.give(READER);
        await other.untilConnection('live');
        console.log(`first paint at ${width} px, ${colorScheme}: ${(await other.firstPaint()).toFixed(0)} ms`);
        expect(await other.overflow()).toBe(0);
        expect(await other.axe()).toEqual([]);
        await other.shot(`${colorScheme}-${width}`);
        expect(other.troubles).toEqual([]);
        await other.close();
      }
    }
  }, 60_000);

  it('shows nothing rather than what it drew last when it cannot draw any more', async () => {
    const page = await bed.open();
    await page.give(READER);
    await page.untilConnection('live');
    expect(await page.page.locator('[data-gate]').count()).toBeGreaterThan(0);
    await page.page.evaluate(
      `Object.defineProperty(document, 'title', { set() { throw new Error('out of order'); } })`,
    );
    await page.untilConnection('lost');
    expect(await page.page.locator('[data-gate]').count()).toBe(0);
    expect(await texts(page, '[data-connection]')).toMatch(/This page has failed \(out of order\)/);
    expect(clear(page).join()).toContain('out of order');
    await page.page.close();
  });

  it('is lost when the daemon is killed, and live again with the next one', async () => {
    const killed = performance.now();
    await bed.cutover.daemon.kill();
    await wall.untilConnection('lost', 1_000);
    console.log(`lost ${(performance.now() - killed).toFixed(0)} ms after the daemon was killed`);
    expect(await wall.gate()).toBe('unknown');
    bed.cutover.daemon = await bed.cutover.lockgate.start();
    await wall.untilConnection('live', 15_000);
    await wall.untilGate('open', 20_000, 'shop/replicated');
    await wall.shot('restarted-dark');
    // Refused connections are noted by the browser itself.
    expect(clear(wall).filter((t) => !/ERR_(CONNECTION|INCOMPLETE|EMPTY)/.test(t))).toEqual([]);
  });
});
