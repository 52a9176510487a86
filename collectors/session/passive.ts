import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { CollectorContext } from '../collector.js';

/** Why nothing is compared while `passiveOf` answers null. */
export const noDirection = 'the direction is unknown, so nobody can say which side is passive';

/** The one side that carries no production writes; null while nobody can tell. */
export function passiveOf(
  source: DatabaseConfig,
  target: DatabaseConfig,
  isPassive: CollectorContext['isPassive'],
): DatabaseConfig | null {
  const [s, t] = [isPassive?.(source.name) === true, isPassive?.(target.name) === true];
  if (s === t) return null;
  return s ? source : target;
}
