/** What a gate, a migration and a signal are about, as text: only what is still about the same keeps its past. */
import { createHash } from 'node:crypto';
import type { Config, GateConfig } from './core/config.js';
import { verifyQuestion } from './core/verify-question.js';

/** Everything that a gate asks, with the gates and databases behind it: equal text means that its past still counts. */
export function footingOf(config: Config, gates: ReadonlyMap<string, GateConfig>, id: string): string {
  const gate = gates.get(id);
  const behind = gate?.require.map((c) =>
    c.kind === 'gate'
      ? footingOf(config, gates, c.gate)
      : [basisOf(config, c.migration), questionOf(config, c.migration, c.signal)],
  );
  return JSON.stringify([gate, behind]);
}

/** A short name for a long text. */
export function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

/** All that decides what the signals of a migration are about. */
export function basisOf(config: Config, migration: string): string {
  const m = config.migrations.get(migration);
  const side = (name: string | undefined): unknown => config.databases.get(name ?? '');
  return JSON.stringify([m?.links, side(m?.source), side(m?.target)]);
}

/** What another system is asked for a signal, as text; undefined for a signal that comes of the databases. */
export function questionOf(config: Config, migration: string, signal: string): string | undefined {
  const m = config.migrations.get(migration);
  const [head, name = ''] = signal.split('.');
  if (head === 'verify') return verifyQuestion(m?.verify);
  const question = head === 'traffic' ? m?.traffic?.get(name) : head === 'dns' ? m?.dns?.get(name) : undefined;
  return question === undefined ? undefined : JSON.stringify(question);
}
