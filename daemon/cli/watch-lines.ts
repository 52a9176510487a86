import type { Now } from '../live/connection.js';
import { becauseOf, headline } from '../live/rail.js';
import { connectionWords, fenceShown, gateShown, isLive } from '../live/shown.js';
import { instantText, plain } from '../live/words.js';
import type { Io } from './io.js';
import type { View, Watched } from './watch-view.js';

/** One thing that can change, and what it is now. */
interface Fact {
  key: string;
  /** What makes it worth a line: not that a value moved. */
  state: string;
  text: string;
  json: object;
}

/** Tells a line for each change, for those who have no terminal to draw in: files, pipes, scripts. */
export class Lines {
  readonly #told = new Map<string, string>();

  constructor(
    private readonly io: Pick<Io, 'stdout'>,
    private readonly json: boolean,
  ) {}

  /** Tells what has changed since the last call. */
  tell(view: View, now: Now): void {
    const at = instantText(now.wallMs, now.wallMs);
    for (const watched of view.daemons) {
      for (const { key, state, text, json } of factsOf(watched, view, now)) {
        const id = `${watched.url} ${key}`;
        if (this.#told.get(id) === state) continue;
        this.#told.set(id, state);
        const from = view.daemons.length > 1 ? `  ${watched.url}` : '';
        const told = { at: new Date(now.wallMs).toISOString(), url: watched.url, ...json };
        this.io.stdout(this.json ? `${JSON.stringify(told)}\n` : `${at}${from}  ${text}\n`);
      }
    }
  }
}

function factsOf({ model }: Watched, view: View, now: Now): Fact[] {
  const live = isLive(model, now);
  const words = connectionWords(model, now);
  const facts: Fact[] = [];
  // Nothing was tried yet.
  if (model.connection.state !== 'connecting' || model.asOf !== null) {
    const state = live ? 'live' : 'lost';
    const told = live ? `live  ${plain(model.daemon?.id ?? '')}` : words.toUpperCase().startsWith('LOST') ? words : 'lost'; // prettier-ignore
    facts.push({ key: 'connection', state, text: told, json: { connection: state, reason: live ? null : words } });
  }
  // Before it was ever heard there is nothing to be said of its gates.
  if (model.asOf === null) return facts;
  const mine = (id: string): boolean => view.migration === null || id.startsWith(`${view.migration}/`);
  for (const gate of [...model.gates.keys()].filter(mine)) {
    const shown = gateShown(model, gate, now);
    const conditions = shown.doubt === null ? (shown.verdict?.conditions.map((c) => [c.text, c.state]) ?? []) : [];
    const reason = becauseOf(shown);
    facts.push({
      key: `gate ${gate}`,
      state: JSON.stringify([shown.state, conditions]),
      text: `${plain(gate)}  ${headline(shown)}`,
      json: { gate, state: shown.state, reason: reason === '' ? null : reason },
    });
  }
  for (const [name, migration] of model.migrations) {
    if (view.migration !== null && name !== view.migration) continue;
    const direction = live ? migration.direction : 'unknown';
    facts.push({
      ...{ key: `direction ${name}`, state: direction, text: `${plain(name)}  direction ${direction}` },
      json: { migration: name, direction },
    });
    const fence = fenceShown(model, name, now);
    if (fence !== null) {
      const { id } = fence.fence;
      facts.push({
        ...{ key: `fence ${name}`, state: `${id} ${fence.state}` },
        text: `${plain(name)}  fence ${plain(id)} ${fence.state.toUpperCase()}`,
        json: { migration: name, fence: id, state: fence.state },
      });
    }
    const alerts = migration.alerts.map((a) => plain(a.rule));
    const text = `${plain(name)}  ${alerts.length === 0 ? 'no alert fires' : `FIRING: ${alerts.join(', ')}`}`;
    facts.push({ key: `alerts ${name}`, state: alerts.join(), text, json: { migration: name, alerts } });
  }
  return facts;
}
