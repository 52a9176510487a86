import { describe, expect, it } from 'vitest';
import { configJsonSchema } from '../../daemon/config/json-schema.js';

interface Schema {
  description?: string;
  properties?: Record<string, Schema>;
  items?: Schema;
  additionalProperties?: Schema | boolean;
  anyOf?: Schema[];
}

describe('the JSON Schema', () => {
  const schema = configJsonSchema();

  it('is of draft 2020-12 and refuses unknown keys', () => {
    expect(schema).toMatchObject({
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      title: 'lockgate configuration',
      type: 'object',
      required: ['databases', 'migrations'],
      additionalProperties: false,
    });
  });

  it('describes every key', () => {
    const missing: string[] = [];
    let keys = 0;
    const visit = (node: Schema, path: string): void => {
      for (const [key, value] of Object.entries(node.properties ?? {})) {
        keys += 1;
        if (value.description === undefined) missing.push(`${path}.${key}`);
        visit(value, `${path}.${key}`);
      }
      if (node.items !== undefined) visit(node.items, `${path}[]`);
      if (typeof node.additionalProperties === 'object') visit(node.additionalProperties, `${path}.*`);
      for (const branch of node.anyOf ?? []) visit(branch, path);
    };
    visit(schema, '');
    expect(missing).toEqual([]);
    expect(keys).toBeGreaterThan(80);
  });
});
