import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Refusal } from '../../daemon/core/errors.js';
import { verdict } from '../support/fake-port.js';
import type { Running } from '../support/http-server.js';
import { daemonConfig, startServer, tokens } from '../support/http-server.js';

interface Operation {
  operationId: string;
  summary: string;
  tags: string[];
  security?: unknown[];
  'x-lockgate-role'?: string;
  parameters: { name: string; in: string; required: boolean; schema: object }[];
  requestBody?: { required: boolean; content: Record<string, { schema?: object }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: object }> }>;
}

interface Document {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, object>; securitySchemes: object };
}

const AT = '2026-11-22T00:00:00.000Z';
const EXAMPLES: Readonly<Record<string, string>> = {
  migration: 'shop',
  signal: 'forward.lag',
  name: 'backup',
  fence: 'f1',
};

/** What has to be sent to be done, by the end of the path. */
const BODIES: readonly [string, string][] = [
  ['attestations/{name}', '{"by":"ann","note":"restored"}'],
  ['/fences', '{"deadline":"90s","note":"cutover"}'],
  ['/promote', '{"reason":"cutover","expect":"forward"}'],
  ['/rollback', '{"reason":"errors","expect":"reverse"}'],
  ['/verify', '{"tables":["public.orders"]}'],
  ['/verify/rows', '{"table":"public.orders","keys":[{"id":"42"}]}'],
];

let running: Running;
let document: Document;
let operations: { method: string; path: string; operation: Operation }[];

beforeAll(async () => {
  running = await startServer({ config: daemonConfig({ auth: { tokens: tokens().list } }) });
  running.port.record({
    kind: 'gate',
    migration: 'shop',
    gate: 'flip-writes',
    data: { from: 'closed', to: 'open', verdict: verdict('shop/flip-writes', 'open') },
  });
  document = (await running.ask('/openapi.json', { token: 'reader-secret' })).json() as unknown as Document;
  operations = Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  );
});
afterAll(() => running.server.close(1000));

const filled = (path: string): string =>
  path.replaceAll(/\{(\w+)\}/g, (_all, name: string) =>
    name === 'gate' ? (path.includes('{migration}') ? 'flip-writes' : 'all-shards') : (EXAMPLES[name] ?? 'none'),
  );

describe('openapi.json', () => {
  it('is OpenAPI 3.1 and names every resource', () => {
    expect(document.openapi).toBe('3.1.0');
    expect(document.info).toMatchObject({ title: 'lockgate', version: '0.0.0-test' });
    expect(Object.keys(document.paths).sort()).toEqual(
      [
        '/',
        '/assets/{file}',
        '/livez',
        '/metrics',
        '/openapi.json',
        '/readyz',
        '/v1/alerts',
        '/v1/events',
        '/v1/gates',
        ...['', '/check', '/history', '/wait'].flatMap((s) => [
          `/v1/gates/{gate}${s}`,
          `/v1/gates/{migration}/{gate}${s}`,
        ]),
        '/v1/journal',
        '/v1/migrations',
        '/v1/migrations/{migration}',
        '/v1/migrations/{migration}/attestations/{name}',
        '/v1/migrations/{migration}/fences',
        '/v1/migrations/{migration}/fences/{fence}',
        '/v1/migrations/{migration}/promote',
        '/v1/migrations/{migration}/rollback',
        '/v1/migrations/{migration}/signals',
        '/v1/migrations/{migration}/signals/{signal}/history',
        '/v1/migrations/{migration}/verify',
        '/v1/migrations/{migration}/verify/rows',
      ].sort(),
    );
  });

  it('has well-formed operations', () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { path, method, operation } of operations) {
      const inPath = operation.parameters.filter((p) => p.in === 'path');
      expect(inPath.map((p) => `{${p.name}}`)).toEqual(path.match(/\{\w+\}/g) ?? []);
      expect(inPath.every((p) => p.required)).toBe(true);
      expect(operation.summary).not.toBe('');
      expect(operation.responses['default']?.description).toBe('Any error');
      if (method !== 'POST') expect(operation.requestBody).toBeUndefined();
    }
  });

  it('says which headers change what is done, and which bodies may be left out', () => {
    const at = (path: string): Operation | undefined => document.paths[`/v1/migrations/{migration}${path}`]?.['post'];
    for (const path of ['/promote', '/rollback']) {
      const header = at(path)?.parameters.find((p) => p.in === 'header');
      expect([header?.name, header?.required]).toEqual(['Idempotency-Key', false]);
      expect(at(path)?.requestBody?.required).toBe(true);
    }
    expect(at('/fences')?.requestBody?.required).toBe(false);
    expect(at('/verify')?.requestBody?.required).toBe(false);
    expect(at('/attestations/{name}')?.requestBody?.required).toBe(true);
  });

  it('refers only to schemas that it has, and has none that nothing refers to', () => {
    const used = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)].map((m) => m[1]);
    expect(new Set(used)).toEqual(new Set(Object.keys(document.components.schemas)));
  });

  it('says who may ask, and the server agrees', async () => {
    for (const { method, path, operation } of operations) {
      const answer = await running.ask(filled(path), { method });
      const open = operation.security?.length === 0;
      expect(answer.status === 401, `${method} ${path}`).toBe(!open);
      if (operation['x-lockgate-role'] === 'operator') {
        expect((await running.ask(filled(path), { method, token: 'reader-secret' })).status).toBe(403);
      }
    }
  });

  it('describes every answer as it is', async () => {
    for (const { method, path, operation } of operations) {
      if (path === '/v1/events') continue;
      if (path.endsWith('/{fence}')) running.port.setFence('f1', 'placed');
      const [, bodyText] = BODIES.find(([end]) => method === 'POST' && path.endsWith(end)) ?? [];
      const body = bodyText === undefined ? {} : { body: bodyText };
      const headers = { 'content-type': 'application/json' };
      const answer = await running.ask(filled(path), { method, token: 'operator-secret', headers, ...body });
      const described = operation.responses[String(answer.status)];
      expect(described, `${method} ${path} answered ${answer.status}`).toBeDefined();
      const type = answer.headers['content-type']?.split(';')[0] ?? '';
      if (method === 'HEAD') continue;
      const schema = described?.content?.[type]?.schema;
      expect(schema, `${method} ${path} answered ${type}`).toBeDefined();
      if (type === 'application/json') conforms(schema ?? {}, answer.json(), `${method} ${path}`);
    }
  });

  it('describes closed, unknown and erring answers, too', async () => {
    const token = 'reader-secret';
    for (const gate of ['drained', 'verified']) {
      conforms(
        { $ref: '#/components/schemas/Verdict' },
        (await running.ask(`/v1/gates/shop/${gate}/check`, { token })).json(),
      );
    }
    for (const state of ['drained', 'violated', 'unknown', 'cancelled'] as const) {
      running.port.setFence('f1', state, { unwatched: [{ from: AT, to: null, reason: 'the reader stopped' }] });
      const answer = await running.ask('/v1/migrations/shop/fences/f1', { token });
      conforms({ $ref: '#/components/schemas/Fence' }, answer.json());
      conforms(
        { $ref: '#/components/schemas/Migration' },
        (await running.ask('/v1/migrations/shop', { token })).json(),
      );
    }
    running.port.fault = new Refusal(503, 'source_silent', 'the source cannot be asked', 'start it');
    conforms(
      { $ref: '#/components/schemas/Problem' },
      (await running.ask('/v1/migrations/shop/fences', { token })).json(),
    );
    const problems = ['/nothing', '/v1/gates/none', '/v1/journal?x=1'];
    for (const path of problems) {
      conforms({ $ref: '#/components/schemas/Problem' }, (await running.ask(path, { token })).json());
    }
  });
});

function conforms(schema: object, value: unknown, what = ''): void {
  const inlined = JSON.parse(
    JSON.stringify({ ...schema, $defs: document.components.schemas }).replaceAll('#/components/schemas/', '#/$defs/'),
  ) as Parameters<typeof z.fromJSONSchema>[0];
  const result = z.fromJSONSchema(inlined).safeParse(value);
  expect(result.success ? [] : result.error.issues, what).toEqual([]);
}
