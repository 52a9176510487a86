/** The dialog in which an operator reads what will be declared, gives a reason, and sees what the API says to it. */
import type { MigrationJson } from '../../port.js';
import type { ActionForm } from './actions.js';
import { doneText, whyNotYet } from './actions.js';
import type { Api } from './api.js';
import { Refused } from './api.js';
import type { Child, Node_ } from './dom.js';
import { h, patch } from './dom.js';

/** What the dialog is opened with. */
export interface DialogParts {
  form: ActionForm;
  migration: MigrationJson;
  api: Api;
  role: 'reader' | 'operator' | null;
  /** Whether what the page shows is what the daemon says: nothing is declared otherwise. */
  live: () => boolean;
  closed: () => void;
}

/** An open dialog. */
export class ActionDialog {
  readonly #element = document.createElement('dialog');
  readonly #values: Record<string, string> = {};
  /** The same for every try, so that one whose answer was lost is not done twice. */
  readonly #key = randomKey();
  #state: 'asking' | 'sending' | 'done' = 'asking';
  #refused: Refused | null = null;
  #said = '';

  constructor(private readonly parts: DialogParts) {
    for (const { name, value } of parts.form.fields) this.#values[name] = value;
    this.#element.setAttribute('aria-labelledby', 'action-title');
    this.#element.addEventListener('close', () => {
      this.#element.remove();
      parts.closed();
    });
    document.body.append(this.#element);
    this.render();
    this.#element.showModal();
  }

  /** Renders again: the connection may have been lost or found. */
  render(): void {
    const { form, role } = this.parts;
    patch(this.#element, [
      h('h1', { id: 'action-title' }, form.title),
      ...(this.#state === 'done' ? this.#done() : role === 'operator' ? this.#asking() : this.#notYours()),
    ]);
  }

  #notYours(): Child[] {
    return [
      h(
        'p',
        { class: 'refused', role: 'alert' },
        'Your token is a reader’s. This needs a token with the role operator: forget this one (top right) and give another.',
      ),
      h('div', { class: 'row' }, this.#close('Close')),
    ];
  }

  #asking(): Child[] {
    const { form, live } = this.parts;
    const lost = !live();
    const missing = whyNotYet(form, this.#values);
    return [
      h(
        'div',
        { class: 'declare' },
        form.declares.map((text) => h('p', {}, text)),
      ),
      h(
        'form',
        {
          onsubmit: (event: Event) => {
            event.preventDefault();
            void this.#send();
          },
        },
        form.fields.map((field) => this.#field(field.name)),
        this.#refused === null
          ? null
          : h(
              'div',
              { class: 'refused', role: 'alert' },
              h('p', {}, h('b', {}, 'Refused: '), this.#refused.message),
              this.#refused.hint === null ? null : h('p', {}, this.#refused.hint),
            ),
        lost
          ? h('p', { class: 'refused', role: 'alert' }, 'The connection is lost: nothing can be declared now.')
          : null,
        h(
          'div',
          { class: 'row' },
          this.#close('Back'),
          h(
            'button',
            { class: 'primary', type: 'submit', disabled: lost || missing !== null || this.#state === 'sending' },
            this.#state === 'sending' ? 'Asking …' : form.button,
          ),
        ),
        missing === null ? null : h('p', { class: 'soft' }, `Still to do: ${missing}.`),
      ),
    ];
  }

  #field(name: string): Node_ | null {
    const field = this.parts.form.fields.find((f) => f.name === name);
    if (field === undefined) return null;
    const { label, kind, options = [] } = field;
    const list = kind === 'choice' ? `list-${name}` : undefined;
    return h(
      'label',
      { class: 'field', key: name },
      h('span', {}, label),
      h('input', {
        name,
        value: field.value,
        autocomplete: 'off',
        spellcheck: 'false',
        list,
        oninput: (event: Event) => {
          this.#values[name] = (event.target as HTMLInputElement).value;
          this.render();
        },
      }),
      list === undefined
        ? null
        : h(
            'datalist',
            { id: list },
            options.map((value) => h('option', { value })),
          ),
    );
  }

  #done(): Child[] {
    return [h('p', { class: 'done', role: 'status' }, this.#said), h('div', { class: 'row' }, this.#close('Close'))];
  }

  #close(label: string): Node_ {
    return h('button', { type: 'button', onclick: () => this.#element.close() }, label);
  }

  async #send(): Promise<void> {
    const { form, api, migration, live } = this.parts;
    if (this.#state !== 'asking' || !live() || whyNotYet(form, this.#values) !== null) return;
    this.#state = 'sending';
    this.#refused = null;
    this.render();
    try {
      const { method, path, body, headers } = form.request(this.#values, this.#key);
      this.#said = doneText(form.name, migration, await api.act(method, path, body, headers));
      this.#state = 'done';
    } catch (error) {
      this.#refused = error instanceof Refused ? error : new Refused(0, 'error', String(error), null);
      this.#state = 'asking';
    }
    this.render();
  }
}

/** Random, also where the page came over plain HTTP and the browser offers no randomUUID. */
function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
