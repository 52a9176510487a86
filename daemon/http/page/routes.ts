import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from '../problem.js';
import type { Route } from '../route.js';
import { pathParameter, ref } from '../route.js';
import type { PageAsset, PageBundle } from './bundle.js';

/** Nothing is loaded, run, sent or framed but by and from this server; scripts can make no markup out of text. */
const PROTECTION = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const;

/** The name says what is in it, so it may be kept for ever. */
const FOR_EVER = 'public, max-age=31536000, immutable';

/** Whether the page has to ask for a token: known without one, as every refusal says it too. */
export type AuthNeed = 'token' | 'none';

/** The status page: a shell without data that asks for what it shows with the reader's own token. */
export function pageRoutes(page: PageBundle | { missing: string }, authNeed: () => AuthNeed): Route[] {
  return [
    {
      methods: ['GET', 'HEAD'],
      path: '/',
      access: 'open',
      operationId: 'getPage',
      tag: 'page',
      summary: 'The status page: a shell without data, which asks for a token and reads the API with it',
      query: [],
      responses: { 200: { description: 'The page', content: { type: 'text/html', schema: { type: 'string' } } } },
      handle(_request, reply) {
        const { html } = whole(page);
        void reply
          .headers({ ...PROTECTION, 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' })
          .send(html.replace('data-auth=""', `data-auth="${authNeed()}"`));
      },
    },
    {
      methods: ['GET', 'HEAD'],
      path: '/assets/{file}',
      access: 'open',
      operationId: 'getPageAsset',
      tag: 'page',
      summary: 'What the page loads, under names that hold the hash of the content',
      query: [],
      responses: {
        200: { description: 'The file', content: { type: '*/*', schema: { type: 'string' } } },
        304: { description: 'The file is the one you have' },
        404: {
          description: 'There is no such file: the page is of another version',
          content: { type: 'application/problem+json', schema: ref('Problem') },
        },
      },
      handle(request, reply) {
        const asset = whole(page).assets.get(pathParameter(request, 'file'));
        if (asset === undefined) throw new Problem(404, 'unknown_asset', 'the page has no such file: load / again');
        sendAsset(request, reply, asset);
      },
    },
  ];
}

function whole(page: PageBundle | { missing: string }): PageBundle {
  if (!('missing' in page)) return page;
  const detail =
    'the status page was not built: run `npm run build`. The API is at /openapi.json and is complete without it';
  throw new Problem(503, 'page_not_built', detail);
}

function sendAsset(request: FastifyRequest, reply: FastifyReply, asset: PageAsset): void {
  const shared = { ...PROTECTION, 'cache-control': FOR_EVER, etag: asset.etag, vary: 'accept-encoding' };
  if (request.headers['if-none-match']?.includes(asset.etag) === true) {
    void reply.code(304).headers(shared).send();
    return;
  }
  const accepted = acceptedEncodings(request.headers['accept-encoding']);
  const encoding = accepted.has('br') ? 'br' : accepted.has('gzip') ? 'gzip' : null;
  void reply
    .headers({ ...shared, 'content-type': asset.type, ...(encoding === null ? {} : { 'content-encoding': encoding }) })
    .send(encoding === null ? asset.plain : asset[encoding]);
}

/** Names in an Accept-Encoding header but those refused with `q=0`. */
function acceptedEncodings(header: string | string[] | undefined): Set<string> {
  const names = new Set<string>();
  for (const part of String(header ?? '').split(',')) {
    const [name = '', ...parameters] = part.split(';').map((p) => p.trim().toLowerCase());
    if (!parameters.some((p) => /^q=0(\.0*)?$/.test(p))) names.add(name);
  }
  return names;
}
