/** What an operator can declare, and how each is put: pure, so that every word can be read in one place. */
import type { FenceJson, MigrationJson } from '../../port.js';

/** The actions on the page; to force a change of direction is for the command line alone. */
export type ActionName = 'fence' | 'cancel-fence' | 'promote' | 'rollback' | 'attest' | 'verify';

/** A field of a form. */
export interface ActionField {
  name: string;
  label: string;
  kind: 'line' | 'choice';
  required: boolean;
  value: string;
  /** For `choice`: what can be picked, or written otherwise. */
  options?: string[];
  /** The text that must be typed, letter by letter. */
  exactly?: string;
}

/** A form of one action. */
export interface ActionForm {
  name: ActionName;
  title: string;
  /** What is declared by sending it. */
  declares: string[];
  button: string;
  fields: ActionField[];
  /** What the button sends. */
  request(values: Readonly<Record<string, string>>, key: string): ActionRequest;
}

/** A request to the API. */
export interface ActionRequest {
  method: 'POST' | 'DELETE';
  path: string;
  body?: object;
  headers?: Record<string, string>;
}

const NO_FORCE =
  'It is refused without a drained fence. To force it in an emergency there is `lockgate promote --force` and `lockgate rollback --force`, not this page.';

/** The fence that can still be closed or cancelled; null without one. */
export function openFence(fence: FenceJson | null): FenceJson | null {
  return fence !== null && fence.ended_at === null && fence.state !== 'expired' && fence.state !== 'violated'
    ? fence
    : null;
}

/** The actions that make sense as things stand. */
export function possibleActions(m: MigrationJson, fence: FenceJson | null): ActionName[] {
  return [
    openFence(fence) === null ? 'fence' : 'cancel-fence',
    ...(m.direction === 'reverse' ? (['rollback'] as const) : m.direction === 'forward' ? (['promote'] as const) : []),
    'attest',
    'verify',
  ];
}

/** What stands on the button that opens the form. */
export const ACTION_LABELS: Readonly<Record<ActionName, string>> = {
  fence: 'Place fence …',
  'cancel-fence': 'Cancel fence …',
  promote: 'Promote …',
  rollback: 'Roll back …',
  attest: 'Attest …',
  verify: 'Start verification …',
};

/** What a form is made from: the migration as it stands now, its newest fence, and what its gates ask to be attested. */
export interface FormParts {
  migration: MigrationJson;
  fence: FenceJson | null;
  attestations: readonly string[];
}

/** The form of an action. */
export function actionForm(name: ActionName, { migration: m, fence, attestations }: FormParts): ActionForm {
  const base = `v1/migrations/${encodeURIComponent(m.name)}`;
  const [active, passive] = m.direction === 'reverse' ? [m.target, m.source] : [m.source, m.target];
  const line = (field: string, label: string, required = true, value = ''): ActionField => ({
    name: field,
    label,
    kind: 'line',
    required,
    value,
  });
  switch (name) {
    case 'fence':
      return {
        name,
        title: `Place a fence on ${m.name}`,
        declares: [
          `You declare that the application has stopped writing to ${active}.`,
          `lockgate records where ${active} stands now and watches until ${passive} durably has everything up to there. A write to ${active} after this violates the fence.`,
        ],
        button: 'Writes are stopped: place the fence',
        fields: [line('note', 'Reason, for the journal'), line('deadline', 'Give up after', true, '60s')],
        request: ({ note, deadline }) => ({ method: 'POST', path: `${base}/fences`, body: { deadline, note } }),
      };
    case 'cancel-fence':
      return {
        name,
        title: `Cancel the fence of ${m.name}`,
        declares: [
          `Fence ${fence?.id ?? ''} ends without a change of direction. Writes may go on at ${active} as before.`,
        ],
        button: 'Cancel the fence',
        fields: [],
        request: () => ({ method: 'DELETE', path: `${base}/fences/${encodeURIComponent(fence?.id ?? 'none')}` }),
      };
    case 'promote':
    case 'rollback':
      return {
        name,
        title: name === 'promote' ? `Promote ${passive}` : `Roll ${m.name} back to ${passive}`,
        declares: [
          `You declare that from now on writes belong on ${passive}, and no longer on ${active}.`,
          `Every later write on ${active} counts as astray. lockgate does not move traffic: repoint the application once this is done.`,
          NO_FORCE,
        ],
        button: name === 'promote' ? 'Promote' : 'Roll back',
        fields: [
          line('reason', 'Reason, for the journal'),
          { ...line('confirm', `Type ${m.name} to confirm`), exactly: m.name },
        ],
        request: ({ reason }, key) => ({
          method: 'POST',
          path: `${base}/${name}`,
          body: { reason, expect: m.direction, force: false },
          headers: { 'idempotency-key': key },
        }),
      };
    case 'attest':
      return {
        name,
        title: `Attest something for ${m.name}`,
        declares: [
          'You give your word for something that lockgate cannot see. It is journaled with your name, and its age counts from now.',
        ],
        button: 'Attest',
        fields: [
          { ...line('name', 'What'), kind: 'choice', options: [...attestations], value: attestations[0] ?? '' },
          line('by', 'Who vouches for it'),
          line('note', 'What was checked, and how'),
        ],
        request: ({ name: what, by, note }) => ({
          method: 'POST',
          path: `${base}/attestations/${encodeURIComponent(what ?? '')}`,
          body: { by, note },
        }),
      };
    case 'verify':
      return {
        name,
        title: `Verify the data of ${m.name}`,
        declares: [
          `Every selected table of ${m.source} and ${m.target} is compared, in chunks, while writes go on. The load on the databases is bounded as configured.`,
        ],
        button: 'Start verification',
        fields: [line('tables', 'Only these tables, separated by commas (all when empty)', false)],
        request({ tables }) {
          const names = (tables ?? '')
            .split(',')
            .map((t) => t.trim())
            .filter((t) => t !== '');
          return { method: 'POST', path: `${base}/verify`, body: names.length === 0 ? {} : { tables: names } };
        },
      };
  }
}

/** What still keeps a form from being sent, in words; null when nothing does. */
export function whyNotYet(form: ActionForm, values: Readonly<Record<string, string>>): string | null {
  for (const { name, label, required, exactly } of form.fields) {
    const value = (values[name] ?? '').trim();
    if (exactly !== undefined && value !== exactly) return `type ${exactly} to confirm`;
    if (required && value === '') return `fill in: ${label}`;
  }
  return null;
}

/** What the answer to an action comes to, in a sentence. */
export function doneText(name: ActionName, m: MigrationJson, answer: Readonly<Record<string, unknown>>): string {
  const text = (field: string): string =>
    typeof answer[field] === 'string' || typeof answer[field] === 'number' ? String(answer[field]) : '?';
  const warnings = Array.isArray(answer['warnings']) ? answer['warnings'].map(String) : [];
  switch (name) {
    case 'fence':
      return `Fence ${text('id')} is placed at ${text('source_position')}. Wait until it is drained.`;
    case 'cancel-fence':
      return `Fence ${text('id')} is cancelled.`;
    case 'promote':
    case 'rollback':
      return [
        `Done: writes belong on ${answer['direction'] === 'reverse' ? m.target : m.source} (epoch ${text('epoch')}).`,
        ...warnings.map((w) => `Warning: ${w}`),
      ].join(' ');
    case 'attest':
      return `Attested: ${text('name')} by ${text('by')}.`;
    case 'verify':
      return `Pass ${text('pass')} has begun.`;
  }
}
