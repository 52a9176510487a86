/** An address of one's own: every event as JSON, signed. */
import { createHmac } from 'node:crypto';
import type { AlertEvent, AlertSink } from '../daemon/core/alert-event.js';
import type { AlertsConfig } from '../daemon/core/config.js';
import { post } from './post.js';

type WebhookConfig = NonNullable<AlertsConfig['webhook']>;

/** Tells an address; the secret is read anew for every event. */
export function webhook(config: WebhookConfig, wallNow: () => number): AlertSink {
  return {
    name: 'webhook',
    deliver: (event, signal) =>
      post(() => {
        const secret = config.secret?.reveal() ?? null;
        const timestamp = String(Math.floor(wallNow() / 1_000));
        const body = JSON.stringify(bodyOf(event));
        const signature = secret === null ? {} : { 'x-lockgate-signature': `v1=${sign(secret, timestamp, body)}` };
        return {
          url: config.url,
          headers: { 'x-lockgate-timestamp': timestamp, 'idempotency-key': event.id, ...signature },
          body,
          // A path may be a secret too.
          secrets: [secret ?? '', config.url],
          wallNow,
        };
      }, signal),
  };
}

/** HMAC-SHA256 over `timestamp.body`, hexadecimal. */
function sign(secret: string, timestamp: string, body: string): string {
  return createHmac('sha256', secret).update(`${timestamp}.${body}`).digest('hex');
}

function bodyOf({ kind, id, key, at, daemon, migration, rule, severity, summary, details }: AlertEvent): object {
  return {
    ...{ version: 1, id, event: kind, dedup_key: kind === 'change' ? null : key, at: new Date(at).toISOString() },
    ...{ daemon, migration, rule, severity, summary, details },
  };
}
