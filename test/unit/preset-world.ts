/** What every signal reads on a night on which all goes well, by phase: what a gate of the preset must then make of it. */
import type { LinkConfig } from '../../daemon/core/config.js';

type Via = LinkConfig['via'];

/** `before` the flip, `drained` with writes stopped and a fence drained, `after` the flip. */
export type Phase = 'before' | 'drained' | 'after';

export interface Setup {
  forward: Via;
  reverse: Via | null;
  starts: 'before-flip' | 'with-flip';
  source: 'auto' | 'on' | 'off';
  target: 'auto' | 'on' | 'off';
  verify?: boolean;
}

const DAY_S = 86_400;

/** Whether a fence can be placed on the source: its local writes can be watched. */
export function fenceable(s: Setup): boolean {
  return s.source !== 'off' && s.reverse !== 'dms' && s.forward !== 'none';
}

/** Whether both directions can run at once, and do. */
export function bothWays(s: Setup): boolean {
  return s.reverse === s.forward && ['postgres-logical', 'mysql'].includes(s.forward) && s.starts === 'before-flip';
}

/** The value of a signal; null is unknown. Attestations are a minute old. */
export function valueOf(signal: string, phase: Phase, s: Setup): number | null {
  const [head = '', name = ''] = signal.split('.');
  const after = phase === 'after';
  switch (head) {
    case 'attest':
      return 60;
    case 'direction':
      return after ? 1 : 0;
    case 'fence':
      return phase === 'drained' && fenceable(s) ? 1 : null;
    case 'verify':
      return s.verify !== true ? null : name === 'coverage' ? 1 : name === 'age' ? 3_600 : 0;
    case 'sequences':
      return s.forward === 'none' || s.forward === 'dms' || (s.forward === 'postgres-physical' && !after) ? null : 0;
    case 'split_brain':
      return valueOf('standby.stray_writes', phase, s);
    case 'source':
    case 'target':
      return ofSide(head, name, phase, s);
    case 'active':
      return ofLink(after ? 'reverse' : 'forward', name, phase, s);
    case 'standby':
      if (name !== 'stray_writes') return ofLink(after ? 'forward' : 'reverse', name, phase, s);
      return watched(after ? 'source' : 'target', s) ? 0 : null;
    case 'forward':
    case 'reverse':
      return ofLink(head, name, phase, s);
    default:
      return null;
  }
}

function watched(side: 'source' | 'target', s: Setup): boolean {
  return s[side] !== 'off' && (side === 'target' ? s.forward : s.reverse) !== 'dms' && s.forward !== 'none';
}

function ofSide(side: 'source' | 'target', name: string, phase: Phase, s: Setup): number | null {
  const after = phase === 'after';
  const passive = side === (after ? 'source' : 'target');
  switch (name) {
    case 'reachable':
      return 1;
    case 'writable':
      // Whoever stops writes may do it by making the source read-only, and a MySQL replica is read-only.
      if (side === 'source') return phase === 'drained' || (after && s.reverse !== null && ['mysql', 'postgres-physical'].includes(s.reverse)) ? 0 : 1; // prettier-ignore
      return !after && ['mysql', 'postgres-physical'].includes(s.forward) ? 0 : 1;
    case 'local_writes':
      if (s.forward === 'none') return s[side] === 'off' ? null : 120;
      if (!watched(side, s)) return null;
      return passive ? 0 : s[side] === 'on' ? 120 : null;
    case 'last_local_write_age':
      if (s.forward === 'none') return s[side] !== 'off' && passive ? 8 * DAY_S : null;
      return watched(side, s) && passive ? 8 * DAY_S : null;
    case 'longest_transaction':
      return 0.2;
    case 'connections':
      return passive ? 0 : 40;
    default:
      return null;
  }
}

function ofLink(link: 'forward' | 'reverse', name: string, phase: Phase, s: Setup): number | null {
  const via = s[link];
  if (via === null || via === 'none') return null;
  const runs = link === 'forward' || phase === 'after' || bothWays(s);
  if (!runs) return name === 'running' ? 0 : null;
  // No heartbeat is written on a side that is read-only.
  const from = link === 'forward' ? 'source' : 'target';
  const beats = ofSide(from, 'writable', phase, s) === 1;
  switch (name) {
    case 'lag':
    case 'lag_low':
      return beats ? 0.1 : null;
    case 'lag_by_position':
      return beats && via !== 'dms' ? 0.1 : null;
    case 'agreement':
      return beats && via !== 'dms' ? 1 : null;
    case 'running':
      return 1;
    case 'continuity':
      return via === 'dms' ? null : 1;
    case 'tables_uncovered':
      return via === 'dms' ? null : 0;
    case 'tables_syncing':
      return via === 'mysql' ? null : 0;
    case 'errors':
      // A server of 13 or 14 counts none.
      return via === 'mysql' || via === 'dms' ? 0 : null;
    case 'backlog_bytes':
      return via === 'dms' ? null : 1_000;
    case 'drain_eta_high':
      return via === 'dms' || !beats ? null : 0.2;
    default:
      return null;
  }
}
