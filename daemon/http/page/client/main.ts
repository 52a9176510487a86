/** The status page in the browser: a token, a connection that is followed, and the page drawn from what is known. */
import { follow } from '../../../live/follow.js';
import { lose, nothing, type Model } from '../../../live/model.js';
import { presentGate } from '../../../live/rail.js';
import { gateShown, isLive } from '../../../live/shown.js';
import { serverNow } from '../../../live/server-clock.js';
import { ActionDialog } from './action-dialog.js';
import { actionForm, type ActionName } from './actions.js';
import { Api } from './api.js';
import { Announcer } from './announcer.js';
import { LagChart } from './chart.js';
import { browserClock } from './clock.js';
import { patch } from './dom.js';
import { lagBound, lagSeries } from './lag-series.js';
import { applyTheme, rememberedTheme, rememberedToken, rememberToken, type Theme } from './session.js';
import { bar, page, refusedNote, tokenForm, type Chosen, type Handlers, type Scene } from './view.js';

/** Ages, countdowns, and above all silence: how often it is looked whether what is shown may still be shown. */
const REDRAW_MS = 250;
/** A pause of a quarter of a second that took so long was held back. */
const HELD_BACK_MS = 750;
const NEXT_THEME: Readonly<Record<Theme, Theme>> = { auto: 'dark', dark: 'light', light: 'auto' };

class StatusPage {
  readonly #shell = document.getElementById('shell') ?? document.body;
  readonly #announcer = new Announcer(document.body);
  readonly #needsToken = document.documentElement.dataset['auth'] === 'token';
  readonly #chosen: Chosen = { migration: null, gate: null, table: null, theme: rememberedTheme() };
  #token: string | null = null;
  #refused: string | null = null;
  #model: Model = nothing(browserClock.now());
  #following: AbortController | null = null;
  /** The person chose the gate; otherwise it is the one that matters now. */
  #gateChosen = false;
  /** The browser holds timers back, as it does in the background. */
  #heldBack = false;
  #offsetMs: number | null = null;
  #broken = false;
  #chart: { element: Element; chart: LagChart; drawn: string } | null = null;
  #dialog: ActionDialog | null = null;

  start(): void {
    applyTheme(this.#chosen.theme);
    this.#readHash();
    addEventListener('hashchange', () => {
      this.#readHash();
      this.#draw();
    });
    // What lies in the back-forward cache, in a frozen tab or a suspended machine must not look good at the first glance:
    // it is drawn as lost when it goes, and asked for anew when it comes back.
    document.addEventListener('visibilitychange', () => {
      this.#draw();
      if (document.visibilityState === 'visible' && this.#following === null && this.#refused === null) this.#connect();
    });
    document.addEventListener('freeze', () => this.#putAside());
    document.addEventListener('resume', () => this.#connect());
    addEventListener('pagehide', () => this.#putAside());
    addEventListener('pageshow', (event) => event.persisted && this.#connect());
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#draw());
    this.#token = this.#needsToken ? rememberedToken() : null;
    this.#connect();
    void this.#keepDrawing();
  }

  async #keepDrawing(): Promise<void> {
    for (;;) {
      this.#draw();
      const { monotonicMs } = browserClock.now();
      await browserClock.sleep(REDRAW_MS);
      this.#heldBack = browserClock.now().monotonicMs - monotonicMs > HELD_BACK_MS;
    }
  }

  #connect(): void {
    if (this.#needsToken && this.#token === null) return;
    this.#following?.abort();
    const following = new AbortController();
    this.#following = following;
    this.#refused = null;
    void follow({
      transport: new Api(this.#token),
      clock: browserClock,
      signal: following.signal,
      random: () => Math.random(),
      changed: (model) => {
        if (following.signal.aborted) return;
        const lost = model.connection.state !== this.#model.connection.state;
        this.#model = model;
        // A loss is shown at once; what is said every second can wait for the next drawing.
        if (lost) this.#draw();
        else this.#drawSoon();
      },
    }).then((model) => {
      if (following.signal.aborted || model.connection.state !== 'lost' || !model.connection.refused) return;
      this.#refused = model.connection.reason;
      this.#forgetToken();
    });
  }

  #putAside(): void {
    this.#following?.abort();
    this.#following = null;
    this.#model = lose(this.#model, 'this page was put aside', browserClock.now());
    this.#draw();
  }

  #forgetToken(): void {
    this.#following?.abort();
    this.#following = null;
    this.#token = null;
    rememberToken(null);
    this.#model = nothing(browserClock.now());
    this.#draw();
  }

  #readHash(): void {
    const [migration = '', gate] = decoded(location.hash.slice(1)).split('/');
    if (migration === '' || migration === this.#chosen.migration) return;
    this.#chosen.migration = migration;
    this.#chosen.gate = gate === undefined ? null : `${migration}/${gate}`;
    this.#gateChosen = gate !== undefined;
    this.#chosen.table = null;
  }

  #soon = false;

  #drawSoon(): void {
    if (this.#soon) return;
    this.#soon = true;
    setTimeout(() => {
      this.#soon = false;
      this.#draw();
    }, 30);
  }

  #draw(): void {
    if (this.#broken) return;
    try {
      this.#drawAll();
    } catch (error) {
      this.#break(error);
    }
  }

  /** A page that cannot be drawn any more must not stay as it was drawn last: that may have been an open gate. */
  #break(error: unknown): void {
    this.#broken = true;
    this.#following?.abort();
    const note = document.createElement('p');
    note.dataset['connection'] = 'lost';
    note.setAttribute('role', 'alert');
    note.textContent = `This page has failed (${error instanceof Error ? error.message : String(error)}), so it shows nothing. Reload it; until then ask by "lockgate status".`;
    this.#shell.replaceChildren(note);
    // To the browser's console, with its stack.
    reportError(error);
  }

  #drawAll(): void {
    const now = browserClock.now();
    // In the background, with its timers held back, the page would notice silence too late: so it claims nothing, and
    // whoever comes back sees a loss first, and then what is so.
    const asleep = this.#heldBack && document.visibilityState === 'hidden' && this.#model.connection.state !== 'lost';
    const model = asleep ? lose(this.#model, 'this tab is in the background', now) : this.#model;
    const live = isLive(model, now);
    if (model.clock !== null) this.#offsetMs = serverNow(model.clock, now.monotonicMs) - now.monotonicMs;
    const nowMs = this.#offsetMs === null ? now.wallMs : now.monotonicMs + this.#offsetMs;
    this.#choose(model, live);
    const on = this.#token === null ? { ...this.#handlers, forget: null } : this.#handlers;
    const scene: Scene = { model, now, nowMs, chosen: this.#chosen, on };
    if (this.#needsToken && this.#token === null) {
      const idle = { ...scene, model: lose(model, 'no token', now) };
      patch(this.#shell, [bar(idle), tokenForm(this.#refused, (token, remember) => this.#takeToken(token, remember))]);
    } else if (this.#refused !== null) patch(this.#shell, [bar(scene), refusedNote(this.#refused)]);
    else patch(this.#shell, page(scene));
    this.#drawChart(model, live, nowMs);
    this.#dialog?.render();
    const gate = this.#chosen.gate === null ? null : gateShown(model, this.#chosen.gate, now);
    document.title = gate === null ? 'lockgate' : `${live ? gate.state.toUpperCase() : 'LOST'} ${gate.gate} – lockgate`;
    if (!asleep) this.#announcer.look(model, now);
  }

  /** A migration and a gate are always selected once there are any; while nothing is known for sure, they stay. */
  #choose(model: Model, live: boolean): void {
    const chosen = this.#chosen;
    if (!live) return;
    if (chosen.migration === null || !model.migrations.has(chosen.migration)) {
      chosen.migration = [...model.migrations.keys()][0] ?? null;
      this.#gateChosen = false;
    }
    const migration = chosen.migration === null ? undefined : model.migrations.get(chosen.migration);
    if (this.#gateChosen && chosen.gate !== null && model.gates.has(chosen.gate)) return;
    this.#gateChosen = false;
    const present = migration === undefined ? null : presentGate(model, migration, browserClock.now());
    chosen.gate = present === null || migration === undefined ? null : `${migration.name}/${present}`;
  }

  #takeToken(token: string, remember: boolean): void {
    if (/[^\x21-\x7e]/.test(token)) {
      this.#refused = 'it has characters that no token has';
      this.#draw();
      return;
    }
    this.#token = token;
    rememberToken(remember ? token : null);
    this.#connect();
    this.#draw();
  }

  readonly #handlers: Handlers = {
    selectGate: (gate) => {
      const slash = gate.indexOf('/');
      if (slash > 0) {
        this.#chosen.migration = gate.slice(0, slash);
        history.replaceState(null, '', `#${gate}`);
      }
      this.#chosen.gate = gate;
      this.#gateChosen = true;
      this.#draw();
    },
    selectTable: (table) => {
      this.#chosen.table = table;
      this.#draw();
    },
    cycleTheme: () => {
      this.#chosen.theme = NEXT_THEME[this.#chosen.theme];
      applyTheme(this.#chosen.theme);
      this.#draw();
    },
    forget: this.#needsToken
      ? () => {
          this.#refused = null;
          this.#forgetToken();
        }
      : null,
    act: (action) => this.#openDialog(action),
    mountChart: (element) => {
      this.#chart?.chart.destroy();
      this.#chart = { element, chart: new LagChart(element as HTMLElement), drawn: '' };
    },
  };

  #openDialog(action: ActionName): void {
    const migration = this.#chosen.migration === null ? undefined : this.#model.migrations.get(this.#chosen.migration);
    if (migration === undefined || this.#dialog !== null) return;
    const asked = [...this.#model.gates.values()]
      .filter(({ verdict }) => verdict.gate.startsWith(`${migration.name}/`))
      .flatMap(({ verdict }) =>
        verdict.conditions.flatMap((c) => /^attest\.([a-z0-9-]+)\.age\b/.exec(c.text)?.[1] ?? []),
      );
    const fence = this.#model.fences.get(migration.name)?.[0] ?? null;
    this.#dialog = new ActionDialog({
      form: actionForm(action, { migration, fence, attestations: [...new Set(asked)] }),
      migration,
      api: new Api(this.#token),
      role: this.#model.daemon?.role ?? null,
      live: () => isLive(this.#model, browserClock.now()),
      closed: () => (this.#dialog = null),
    });
  }

  #drawChart(model: Model, live: boolean, nowMs: number): void {
    const chart = this.#chart;
    const { migration, gate, theme } = this.#chosen;
    if (chart === null || migration === null || !chart.element.isConnected) return;
    // Once a second is as often as there is something new.
    const dark = matchMedia('(prefers-color-scheme: dark)').matches;
    const look = `${theme} ${dark}`;
    const bound = lagBound(gate === null ? null : (model.gates.get(gate)?.verdict ?? null), nowMs / 1000);
    const key = `${Math.floor(nowMs / 1000)} ${look} ${live} ${gate ?? ''}`;
    if (chart.drawn === key) return;
    chart.drawn = key;
    const points = (link: string): NonNullable<ReturnType<Model['lag']['get']>> =>
      model.lag.get(`${migration}/${link}`) ?? [];
    const series = lagSeries(points('forward'), points('reverse'), Math.floor(nowMs / 1000));
    // What held until the loss need not hold now.
    chart.chart.draw(series, bound === null || live ? bound : { ...bound, heldSince: null }, look);
  }
}

/** A part of the address as it was meant; as it is where it means nothing. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

new StatusPage().start();
