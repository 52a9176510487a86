/** The state of something as a shape: told apart without colour, from afar, and in print. */
import type { Node_ } from './dom.js';
import { h } from './dom.js';

/** What is shown as a shape. */
export type Shape = 'open' | 'closed' | 'holding' | 'unknown';

/** A ring with a way through, a barred square, a square that fills, a dashed diamond with a question mark. */
export function shape(of: Shape): Node_ {
  return h('svg', { class: 'shape', viewBox: '0 0 24 24', 'aria-hidden': 'true', focusable: 'false' }, ...PARTS[of]());
}

const line = (d: string, width = 2.6, more: Record<string, string> = {}): Node_ =>
  h('path', {
    d,
    fill: 'none',
    stroke: 'currentColor',
    'stroke-width': width,
    'stroke-linecap': 'round',
    'stroke-linejoin': 'round',
    ...more,
  });

const PARTS: Readonly<Record<Shape, () => Node_[]>> = {
  open: () => [
    h('circle', { cx: 12, cy: 12, r: 10.5, fill: 'currentColor' }),
    h('path', {
      d: 'M7 12.6l3.6 3.5L17.2 8.6',
      fill: 'none',
      stroke: 'var(--panel)',
      'stroke-width': 2.8,
      'stroke-linecap': 'round',
      'stroke-linejoin': 'round',
    }),
  ],
  closed: () => [
    h('rect', { x: 1.5, y: 1.5, width: 21, height: 21, rx: 2.5, fill: 'currentColor' }),
    h('rect', { x: 5.5, y: 10, width: 13, height: 4, rx: 1, fill: 'var(--panel)' }),
  ],
  holding: () => [
    h('rect', {
      x: 2.5,
      y: 2.5,
      width: 19,
      height: 19,
      rx: 2.5,
      fill: 'none',
      stroke: 'currentColor',
      'stroke-width': 2.4,
    }),
    h('rect', { x: 5.5, y: 12, width: 13, height: 6.5, rx: 1, fill: 'currentColor' }),
  ],
  unknown: () => [
    line('M12 1.6L22.4 12 12 22.4 1.6 12z', 2, { 'stroke-dasharray': '3.2 2.6' }),
    line('M9.6 9.6a2.5 2.5 0 1 1 3.3 2.4c-.7.25-.9.7-.9 1.5', 2.1),
    h('circle', { cx: 12, cy: 16.7, r: 1.35, fill: 'currentColor' }),
  ],
};
