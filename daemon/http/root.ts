import type { Route } from './route.js';

const PAGE = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>lockgate</title></head>
<body>
<h1>lockgate</h1>
<p>This server answers over its API; there is no data on this page.</p>
<ul>
<li><a href="/openapi.json">/openapi.json</a>: what can be asked</li>
<li><a href="/v1/gates">/v1/gates</a>: the gates</li>
<li><a href="/metrics">/metrics</a>: metrics for Prometheus</li>
<li><a href="/readyz">/readyz</a>: is this daemon ready</li>
</ul>
</body>
</html>
`;

/** Nothing may be loaded, run, framed or sent from the page. */
const HEADERS = {
  'content-type': 'text/html; charset=utf-8',
  'content-security-policy': "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-store',
} as const;

/** What a browser sees at the root: where the API is, and no data, because it is shown without a token. */
export function rootRoutes(): Route[] {
  return [
    {
      methods: ['GET', 'HEAD'],
      path: '/',
      access: 'open',
      operationId: 'getPage',
      tag: 'page',
      summary: 'A page without data that says where the API is',
      query: [],
      responses: { 200: { description: 'The page', content: { type: 'text/html', schema: { type: 'string' } } } },
      handle(_request, reply) {
        void reply.headers(HEADERS).send(PAGE);
      },
    },
  ];
}
