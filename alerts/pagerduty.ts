/** PagerDuty's Events API v2: incidents, and changes beside them. */
import type { AlertEvent, AlertSink } from '../daemon/core/alert-event.js';
import type { AlertsConfig } from '../daemon/core/config.js';
import { post } from './post.js';

type PagerDutyConfig = NonNullable<AlertsConfig['pagerduty']>;

const BASES = { us: 'https://events.pagerduty.com', eu: 'https://events.eu.pagerduty.com' } as const;
const MOST_SUMMARY = 1_024;
/** PagerDuty takes 512 KB an event; no single value is worth more than this. */
const MOST_DETAIL = 4_096;

/** Tells PagerDuty; the routing key is read anew for every event. */
export function pagerDuty(config: PagerDutyConfig, wallNow: () => number): AlertSink {
  const base = baseOf(config);
  return {
    name: 'pagerduty',
    deliver: (event, signal) =>
      post(() => {
        const routingKey = config.routingKey.reveal();
        return {
          url: `${base}${event.kind === 'change' ? '/v2/change/enqueue' : '/v2/enqueue'}`,
          headers: {},
          body: JSON.stringify(bodyOf(event, routingKey)),
          secrets: [routingKey],
          wallNow,
        };
      }, signal),
  };
}

/** The address that paths are appended to. */
export function baseOf({ endpoint, region }: PagerDutyConfig): string {
  return (endpoint ?? BASES[region]).replace(/\/+$/, '');
}

/** What PagerDuty is sent for an event. */
function bodyOf(event: AlertEvent, routingKey: string): Record<string, unknown> {
  const { kind, key, migration } = event;
  const payload = {
    summary: cut(event.summary, MOST_SUMMARY),
    source: event.daemon,
    timestamp: new Date(event.at).toISOString(),
    custom_details: Object.fromEntries(
      Object.entries(event.details).map(([name, v]) => [name, typeof v === 'string' ? cut(v, MOST_DETAIL) : v]),
    ),
  };
  if (kind === 'change') return { routing_key: routingKey, payload, links: [] };
  if (kind === 'resolve') return { routing_key: routingKey, event_action: 'resolve', dedup_key: key };
  const about = migration === null ? {} : { component: migration, group: migration };
  return {
    routing_key: routingKey,
    event_action: 'trigger',
    dedup_key: key,
    client: 'lockgate',
    payload: {
      ...payload,
      severity: event.severity,
      ...about,
      ...(event.rule === null ? {} : { class: cut(event.rule, MOST_SUMMARY) }),
    },
  };
}

function cut(text: string, most: number): string {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}
