import { describe, expect, it } from 'vitest';
import { lose } from '../../../daemon/live/model.js';
import { painter } from '../../../daemon/cli/text.js';
import { sparkline } from '../../../daemon/cli/sparkline.js';
import { render } from '../../../daemon/cli/watch-frame.js';
import { textWidth, type Style } from '../../../daemon/cli/watch-style.js';
import type { View } from '../../../daemon/cli/watch-view.js';
import { alert, fence, signal } from '../../support/fake-port.js';
import { condition, later, liveModel, NOW, verdictOfNow } from '../../support/live-model.js';

const PLAIN: Style = { paint: (text) => text, unicode: true };
const COLOURED: Style = { paint: painter({ env: {}, isTTY: true }), unicode: true };
const GREEN = '\u001b[32m';

const model = liveModel({
  verdicts: [
    verdictOfNow('shop/target-ready', {}),
    verdictOfNow('shop/flip-writes', {
      state: 'closed',
      conditions: [
        condition('forward.running is 1', 'held', { value: 1, unit: '0/1' }),
        condition('forward.lag < 2s for 10m', 'holding', { held_seconds: 300, needs_seconds: 600 }),
        condition('forward.backlog_bytes < 1KiB', 'broken', { value: 4096, unit: 'B' }),
        condition('source.reachable is 1', 'unknown', { reason: 'hostile \u001b[2J text' }),
      ],
    }),
    verdictOfNow('shop/drained', { state: 'unknown' }),
    verdictOfNow('all-shards', {}),
  ],
  migration: { alerts: [alert('lag-high', 'firing')] },
  signals: [
    signal('forward.lag', 0.4),
    signal('forward.backlog_bytes', 4096, 'B'),
    signal('source.reachable', 0, 'flag'),
  ],
  fences: [fence('f1', 'placed', { deadline_at: new Date(NOW.wallMs + 42_000).toISOString() })],
  journal: [
    {
      id: 7,
      at: '2026-11-22T01:59:00Z',
      kind: 'gate',
      migration: 'shop',
      gate: 'drained',
      data: { from: 'open', to: 'closed' },
    },
  ],
  lag: [0.1, 0.2, null, 0.4, 9, 0.4],
});
const view: View = { daemons: [{ url: 'http://a', model }], migration: null, gate: 'shop/flip-writes' };
const whole = { columns: 100, rows: 30 };
const text = (v = view, now = NOW, size = whole, style = PLAIN): string => render(v, now, size, style).join('\n');

describe('a frame of watch', () => {
  it('holds the lag of the active link against what is asked of it by either name, the tightest first', () => {
    const conditions = ['active.lag < 5s', 'max(active.lag, 1m) <= 3s', 'standby.lag < 1s', 'active.lag > 1s'];
    const verdict = verdictOfNow('shop/flip-writes', {
      state: 'closed',
      conditions: conditions.map((c) => condition(c, 'broken', { value: 9 })),
    });
    const asks = liveModel({ verdicts: [verdict], signals: [signal('forward.lag', 9)] });
    const shown = text({ ...view, daemons: [{ url: 'http://a', model: asks }] });
    expect(shown).toMatch(/forward +lag .*needs <= 3s/);
    expect(shown).not.toMatch(/forward +lag .*needs < 1s/);
  });

  it('shows all that matters', () => {
    const shown = text();
    for (const part of [
      'lockgate-test 0.9.0',
      '● live  02:00:00Z',
      'onprem → aws  direction forward',
      'source NOT REACHABLE',
      'Phase 5: may writes flip? CLOSED because backlog bytes 4 KiB, needs < 1KiB',
      '● OPEN    target-ready',
      '▸ 5 flip writes  ■ CLOSED  flip-writes',
      '? UNKNOWN drained',
      'across       ● OPEN    all-shards',
      'fence PLACED  42s left  missing 4 KiB, 12 transactions, on shop_sub',
      'ALERT lag-high',
      'forward lag 400 ms',
      'needs < 2s  backlog 4 KiB',
      '■ broken   backlog bytes 4 KiB, needs < 1KiB',
      '◐ holding  lag 400 ms  ████░░░░ 5m of 10m',
      '01:59:00Z  gate       drained  open -> closed',
    ]) {
      expect(shown).toContain(part);
    }
    // What a database said steers no terminal.
    expect(shown).not.toContain('\u001b');
  });

  it.each([0, 3_001, 60_000])('shows nothing green %i ms after the last word, or once it is lost', (ms) => {
    const lost = { ...view, daemons: [{ url: 'http://a', model: ms === 0 ? lose(model, 'cut', NOW) : model }] };
    const shown = text(lost, later(ms), whole, COLOURED);
    expect(shown).not.toContain(GREEN);
    expect(shown).not.toMatch(/● |OPEN/);
    expect(shown).toContain('CONNECTION LOST, AS OF 02:00:00Z');
    expect(text(view, NOW, whole, COLOURED)).toContain(GREEN);
  });

  it('fits any terminal, the chosen gate always among what is shown', () => {
    for (const columns of [1, 10, 20, 46, 59, 80, 200]) {
      for (const rows of [1, 5, 8, 12, 24, 60]) {
        for (const style of [PLAIN, { ...PLAIN, unicode: false }]) {
          const lines = render(view, NOW, { columns, rows }, style);
          expect(lines).toHaveLength(rows);
          for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(columns);
          if (columns >= 46 && rows >= 5) expect(lines.join('\n')).toMatch(/[▸>].*flip-writes/);
          if (!style.unicode) expect(lines.join('')).toMatch(/^[\x20-\x7e]*$/);
        }
      }
    }
  });

  it('takes the worst of several daemons', () => {
    const other = lose(model, 'connection refused', NOW);
    const both = { ...view, gate: 'shop/target-ready', daemons: [...view.daemons, { url: 'http://b', model: other }] };
    expect(text(both)).toContain('target? UNKNOWN'.replace('target?', 'is the target ready?'));
    expect(text(both)).toContain('(http://b)');
    expect(text(both)).not.toContain('● OPEN');
    const same = { ...both, daemons: [...view.daemons, { url: 'http://b', model }] };
    expect(text(same)).toContain('is the target ready? OPEN');
  });

  it('says what it has not', () => {
    expect(text({ ...view, migration: 'crm' })).toContain('no migration crm is known');
  });
});

describe('a line of lag', () => {
  const draw = (points: (number | null)[], threshold: number | null) =>
    sparkline({
      points: points.map((value, i) => ({ atMs: (i + 1) * 1000, value })),
      ...{ toMs: 8_000, rangeMs: 8_000, columns: 8, threshold, unicode: true },
    });

  it('leaves gaps, and is red above the threshold', () => {
    const line = draw([0.1, 0.1, null, null, 4, 1, 0.1], 2);
    expect(line.map((p) => p.text).join('')).toBe(' ▁▁  █▂▁'.replace('▂', line[6]?.text ?? ''));
    expect(line.flatMap((p, i) => (p.colour === 'red' ? [i] : []))).toEqual([5]);
  });

  it('makes no mountains of milliseconds', () => {
    expect(new Set(draw([0.001, 0.002, 0.004, 0.001, 0.003, 0.002, 0.001], null).map((p) => p.text))).toEqual(
      new Set([' ', '▁']),
    );
  });
});
