/** Events for those who are told, made of incidents and of what was done. */
import { createHash, randomBytes } from 'node:crypto';
import type { AlertEvent } from './core/alert-event.js';
import type { AlertRule } from './core/alert-rule.js';

/** PagerDuty takes no longer one. */
const MOST_KEY = 255;

/** Longer texts are cut: what waits is kept in memory and in the store. */
const MOST_TEXT = 2_000;

/** By what an incident is found again, also after a restart: `lockgate/MIGRATION/RULE`, at most 255 characters. */
export function keyOf(migration: string, rule: string): string {
  const key = `lockgate/${migration}/${rule}`;
  if (key.length <= MOST_KEY) return key;
  const digest = createHash('sha256').update(key).digest('hex').slice(0, 16);
  return `${key.slice(0, MOST_KEY - digest.length - 1)}~${digest}`;
}

/** Who tells it, and when. */
export interface Told {
  at: number;
  daemon: string;
}

/** The begin or the end of an incident. */
export function incidentEvent(
  kind: 'trigger' | 'resolve',
  { migration, name, severity }: Pick<AlertRule, 'migration' | 'name' | 'severity'>,
  summary: string,
  details: AlertEvent['details'],
  told: Told,
): AlertEvent {
  return {
    ...{ kind, id: newId(), key: keyOf(migration, name), ...told, migration, rule: name, severity },
    summary: cut(`[${migration}] ${kind === 'trigger' ? `${name}: ` : ''}${summary}`),
    details: short({ migration, rule: name, ...details }),
  };
}

/** Something that was done, which is no incident. */
export function changeEvent(migration: string, what: string, details: AlertEvent['details'], told: Told): AlertEvent {
  return {
    ...{ kind: 'change', id: newId(), key: `lockgate/${migration} changes`, ...told, migration, rule: null },
    ...{ severity: 'info', summary: cut(`[${migration}] ${what}`), details: short({ migration, ...details }) },
  };
}

function short(details: AlertEvent['details']): AlertEvent['details'] {
  return Object.fromEntries(Object.entries(details).map(([name, v]) => [name, typeof v === 'string' ? cut(v) : v]));
}

function cut(text: string): string {
  return text.length > MOST_TEXT ? `${text.slice(0, MOST_TEXT - 1)}…` : text;
}

function newId(): string {
  return randomBytes(12).toString('hex');
}
