import type { DirectionChangeJson, FenceJson, FenceStateJson } from '../http/port.js';
import { missingText, violationsText } from '../live/fence-words.js';
import { instantText, plain, valueText } from '../live/words.js';
import type { Colour, Paint } from './text.js';

export { missingText, violationsText } from '../live/fence-words.js';

const COLOUR: Readonly<Record<FenceStateJson, Colour>> = {
  placed: 'yellow',
  drained: 'green',
  unknown: 'magenta',
  violated: 'red',
  expired: 'red',
  closed: 'dim',
  cancelled: 'dim',
};

/** The state in capitals, in its colour. */
export function fenceWord(state: FenceStateJson, paint: Paint): string {
  return paint(state.toUpperCase(), COLOUR[state]);
}

/** The sides of a fence by their original roles: the one where writes stopped, the one that receives. */
function sidesOf(fence: FenceJson): { silent: string; receiving: string } {
  return fence.link === 'forward'
    ? { silent: 'source', receiving: 'target' }
    : { silent: 'target', receiving: 'source' };
}

/** `predicted 0.8 s, at most 2.1 s`, or nothing when the drain was not predicted. */
function predictedText({ predicted }: FenceJson): string {
  if (predicted === null) return '';
  return `predicted ${valueText(predicted.drain_eta, 's')}, at most ${valueText(predicted.drain_eta_high, 's')}`;
}

/** How to see what becomes of a fence, or to give it up. */
export function followText(fence: Pick<FenceJson, 'id' | 'migration'>): string[] {
  return [
    `follow it: lockgate fence ${fence.migration} --id ${plain(fence.id)}`,
    `cancel it: lockgate fence ${fence.migration} --cancel ${plain(fence.id)}`,
  ];
}

/** A fence for people: what its state means, the evidence, and what to do now. */
export function fenceText(fence: FenceJson, paint: Paint, now: number): string {
  const head = `${fenceWord(fence.state, paint)}  ${paint(fence.migration, 'bold')}  fence ${plain(fence.id)}  ${fence.link}`;
  const gaps = fence.unwatched.map(
    (gap) =>
      `not watched from ${instantText(gap.from, now)} to ${gap.to === null ? 'now' : instantText(gap.to, now)}: ${plain(gap.reason)}`,
  );
  const lines = [...meaning(fence, now), ...gaps];
  return `${[head, ...lines.map((line) => `  ${line}`)].join('\n')}\n`;
}

function meaning(fence: FenceJson, now: number): string[] {
  const { silent, receiving } = sidesOf(fence);
  const position = plain(fence.source_position);
  const again = `lockgate fence ${fence.migration}`;
  const ended = fence.ended_at === null ? '' : ` at ${instantText(fence.ended_at, now)}`;
  const because = fence.ended_because === null ? '' : `: ${plain(fence.ended_because)}`;
  switch (fence.state) {
    case 'drained': {
      const took = fence.drain_seconds === null ? 'not told' : valueText(fence.drain_seconds, 's');
      const predicted = predictedText(fence);
      const command = fence.link === 'forward' ? 'promote' : 'rollback';
      return [
        `the ${receiving} has everything that the ${silent} had when the fence was placed (up to ${position})`,
        `drain time ${took}${predicted === '' ? '' : ` (${predicted})`}; proved by ${fence.basis.map(plain).join(', ') || '?'}`,
        `now: keep writes stopped, and declare it: lockgate ${command} ${fence.migration} --reason "..."`,
      ];
    }
    case 'violated':
      return [
        `writes on the ${silent} had not really stopped: ${violationsText(fence, now)} after ${position}`,
        `now: do not switch; find and stop what writes there, then place a new fence: ${again}`,
      ];
    case 'expired':
      return [
        `not drained by its deadline ${instantText(fence.deadline_at, now)}: ${missingText(fence)}`,
        `now: do not switch; let writes go on, mend what is missing, then stop them again and place a new fence: ${again}`,
      ];
    case 'placed':
      return [
        `the ${receiving} does not have everything yet (up to ${position}): ${missingText(fence)}`,
        `it stays placed until ${instantText(fence.deadline_at, now)}; do not switch before it is drained`,
        ...followText(fence),
      ];
    case 'unknown':
      return [
        `it cannot be proved now whether the ${receiving} has everything (up to ${position}): ${missingText(fence)}`,
        'now: do not switch; mend what keeps it from being proved',
        ...followText(fence),
      ];
    case 'closed':
      return [
        `a change of direction was declared on it${ended}${because}; it says nothing about now`,
        `for another switch place a new fence: ${again}`,
      ];
    case 'cancelled':
      return [`given up${ended}${because}`, 'now: writes may go on as before, and nothing was switched'];
  }
}

/** A promotion or rollback that was carried out, for people: where writes belong now, and what to watch. */
export function changeText(change: DirectionChangeJson, paint: Paint, now: number): string {
  const { action, migration, direction, fence } = change;
  const side = direction === 'reverse' ? 'target' : 'source';
  const old = direction === 'reverse' ? 'source' : 'target';
  const epoch = Number.isFinite(change.epoch) ? `, epoch ${String(change.epoch)}` : '';
  const lines = [
    `${paint('DONE', 'green')}  ${paint(migration, 'bold')}  ${action}  writes belong on the ${side} now (direction ${direction}${epoch}, since ${instantText(change.changed_at, now)})`,
  ];
  if (fence !== null) {
    const took = fence.drain_seconds === null ? '' : ` in ${valueText(fence.drain_seconds, 's')}`;
    lines.push(`  fence ${plain(fence.id)} had drained${took}, up to ${plain(fence.source_position)}`);
  }
  if (change.forced) {
    lines.push(
      `  ${paint('FORCED', 'red')} without proof that the ${side} has everything: compare the data before you trust it`,
    );
  }
  lines.push(
    change.old_side_position === null
      ? `  where the ${old} stood could not be asked`
      : `  the ${old} stood at ${plain(change.old_side_position)}: every write there from then on is a stray`,
  );
  for (const warning of change.warnings) lines.push(`  ${paint('WARNING', 'yellow')} ${plain(warning)}`);
  lines.push(`  now: point writes at the ${side}, and keep them off the ${old}`);
  return `${lines.join('\n')}\n`;
}
