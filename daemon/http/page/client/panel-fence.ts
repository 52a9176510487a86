/** The newest fence: has the target everything that the source had when writes stopped? */
import type { FenceJson } from '../../port.js';
import type { FenceShown } from '../../../live/shown.js';
import { missingText, violationsText } from '../../../live/fence-words.js';
import { durationText, instantText, valueText } from '../../../live/words.js';
import type { Child, Node_ } from './dom.js';
import { h } from './dom.js';

const TONES: Readonly<Record<FenceJson['state'], 'open' | 'closed' | 'unknown'>> = {
  placed: 'unknown',
  drained: 'open',
  unknown: 'unknown',
  violated: 'closed',
  expired: 'closed',
  closed: 'unknown',
  cancelled: 'unknown',
};

/** The newest fence; without one it says what a fence is for. */
export function fencePanel(shown: FenceShown | null, nowMs: number): Node_ {
  return h(
    'section',
    {
      key: 'fence',
      class: 'panel',
      'aria-labelledby': 'fence-title',
      'data-fence': shown === null ? 'none' : shown.state,
    },
    h(
      'h2',
      { id: 'fence-title' },
      'Fence',
      h('span', {}, shown === null ? '' : `${shown.fence.link}, ${shown.fence.id}`),
    ),
    shown === null
      ? h(
          'p',
          { class: 'soft' },
          'None yet. Once writes are stopped, a fence proves that the passive side has everything.',
        )
      : h('div', { class: shown.doubt === null ? '' : 'stale' }, ...body(shown, nowMs)),
  );
}

function body({ fence, state, doubt, left }: FenceShown, nowMs: number): Child[] {
  const tone = TONES[state];
  const whole = (Date.parse(fence.deadline_at) - Date.parse(fence.placed_at)) / 1000;
  const { drain_seconds: drained, violations, unwatched } = fence;
  return [
    h(
      'p',
      { class: 'fence-word', 'data-tone': tone, role: 'status' },
      state.toUpperCase(),
      doubt === null ? '' : h('small', {}, ` was ${fence.state}`),
    ),
    h(
      'ol',
      { class: 'steps', 'aria-label': 'Progress of the fence' },
      STEPS.map((step, i) =>
        h(
          'li',
          {
            'data-tone': i < reached(fence.state) ? (doubt === null && state !== 'closed' ? 'open' : 'unknown') : null,
          },
          `${i + 1} ${step}`,
        ),
      ),
    ),
    left === null
      ? null
      : h(
          'div',
          {},
          h('p', {}, h('b', {}, missingText(fence))),
          h(
            'div',
            { class: 'progress' },
            h('span', { style: { '--part': Math.max(0, Math.min(1, left / whole)).toFixed(3) } }),
          ),
          h(
            'p',
            { class: 'soft' },
            left > 0 ? `${durationText(left)} left before it expires` : 'the deadline has passed',
          ),
        ),
    state === 'expired' || (state === 'unknown' && doubt === null)
      ? h('p', { class: 'alarm' }, missingText(fence))
      : null,
    violations.count > 0
      ? h('p', { class: 'alarm' }, h('b', {}, 'Writes had not stopped'), violationsText(fence, nowMs))
      : null,
    unwatched.length > 0
      ? h(
          'p',
          { class: 'soft' },
          `Not watched ${unwatched.length === 1 ? 'once' : `${unwatched.length} times`}: ${unwatched.map((u) => u.reason).join('; ')}`,
        )
      : null,
    h(
      'dl',
      { class: 'facts' },
      ...fact('Source position', fence.source_position),
      ...fact('Placed', `${instantText(fence.placed_at, nowMs)} by ${fence.placed_by}`),
      ...(drained === null ? [] : fact('Drained after', valueText(drained, 's'))),
      ...(fence.predicted === null
        ? []
        : fact(
            'Predicted',
            `${valueText(fence.predicted.drain_eta, 's')} (at most ${valueText(fence.predicted.drain_eta_high, 's')})`,
          )),
      ...fact('Rests on', fence.basis.join(', ') || '–'),
      ...(fence.ended_because === null ? [] : fact('Ended', fence.ended_because)),
    ),
  ];
}

const STEPS = ['placed', 'drained', 'declared'] as const;

/** How many of the steps a fence has come. */
function reached(state: FenceJson['state']): number {
  return state === 'closed' ? 3 : state === 'drained' ? 2 : 1;
}

function fact(name: string, value: string): Child[] {
  return [h('dt', {}, name), h('dd', {}, value)];
}
