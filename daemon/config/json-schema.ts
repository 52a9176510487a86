import { z } from 'zod';
import { configSchema } from './schema.js';

/** The configuration file as JSON Schema (draft 2020-12), for completion and checking in editors. */
export function configJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(configSchema, { target: 'draft-2020-12', io: 'input' });
  return { ...schema, title: 'lockgate configuration' };
}
