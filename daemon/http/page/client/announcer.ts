/** Says to screen readers what changes, politely: a gate that opens or closes, a connection that is lost or found. */
import type { GateState } from '../../port.js';
import type { Now } from '../../../live/connection.js';
import type { Model } from '../../../live/model.js';
import { gateShown, isLive } from '../../../live/shown.js';

/** A region that is read out when it changes. */
export class Announcer {
  readonly #region = document.createElement('p');
  readonly #before = new Map<string, GateState>();
  #live: boolean | null = null;

  constructor(parent: Element) {
    this.#region.className = 'hidden-text';
    this.#region.setAttribute('aria-live', 'polite');
    this.#region.setAttribute('role', 'status');
    parent.append(this.#region);
  }

  /** Says what has changed since the last look; at the first, and while the connection is lost, no single gate. */
  look(model: Model, now: Now): void {
    const live = isLive(model, now);
    const said: string[] = [];
    if (this.#live !== null && live !== this.#live) {
      said.push(live ? 'connected: the gates are as the daemon says now' : 'connection lost: every gate is unknown');
    }
    this.#live = live;
    if (live) {
      for (const gate of model.gates.keys()) {
        const { state } = gateShown(model, gate, now);
        const before = this.#before.get(gate);
        if (before !== undefined && before !== state) said.push(`${gate} is ${state}`);
        this.#before.set(gate, state);
      }
    }
    if (said.length > 0) this.#region.textContent = said.join('. ');
  }
}
