import type { MetricsText, Route } from './route.js';

/** The metrics for Prometheus. */
export function metricsRoutes(metrics: MetricsText): Route[] {
  return [
    {
      methods: ['GET', 'HEAD'],
      path: '/metrics',
      access: 'reader',
      operationId: 'getMetrics',
      tag: 'metrics',
      summary: 'Metrics in the text format of Prometheus',
      query: [],
      responses: { 200: { description: 'The metrics', content: { type: 'text/plain', schema: { type: 'string' } } } },
      async handle(_request, reply) {
        const text = await metrics.text();
        void reply.headers({ 'cache-control': 'no-store', 'content-type': metrics.contentType }).send(text);
      },
    },
  ];
}
