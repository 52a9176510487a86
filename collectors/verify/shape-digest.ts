import { createHash } from 'node:crypto';
import type { TableShape } from './port.js';

/** A digest of what a comparison of a table rests on; statistics and privileges have no part in it. */
export function shapeDigest(sides: { source: TableShape | null; target: TableShape | null }, rest: unknown): string {
  const side = (shape: TableShape | null): unknown =>
    shape === null
      ? null
      : [
          shape.schema,
          shape.name,
          shape.columns.map((c) => [c.name, c.type, c.family, c.nullable, c.order, c.detail ?? null]),
          shape.keys.map((k) => [k.name, k.primary, k.columns]),
        ];
  const text = JSON.stringify([side(sides.source), side(sides.target), rest]);
  return createHash('sha256').update(text).digest('hex').slice(0, 32);
}
