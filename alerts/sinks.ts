/** Those who are told, as the configuration names them; and a test of each. */
import type { AlertEvent, AlertSink, Delivery } from '../daemon/core/alert-event.js';
import type { Clock } from '../daemon/core/clock.js';
import type { AlertsConfig } from '../daemon/core/config.js';
import { attempt } from './courier.js';
import { pagerDuty } from './pagerduty.js';
import { webhook } from './webhook.js';

/** The sinks of a configuration; none where nobody is told. */
export function sinksOf(alerts: AlertsConfig | null | undefined, clock: Clock): AlertSink[] {
  const wallNow = (): number => clock.wallNow();
  return [
    ...(alerts?.pagerduty ? [pagerDuty(alerts.pagerduty, wallNow)] : []),
    ...(alerts?.webhook ? [webhook(alerts.webhook, wallNow)] : []),
  ];
}

/** What one sink answered to one event of a test. */
export interface TestAnswer {
  sink: string;
  event: 'trigger' | 'resolve';
  delivery: Delivery;
}

/** Sends each sink a test alert and ends it, once and without a queue; `id` tells this test apart from others. */
export async function testSinks(
  sinks: readonly AlertSink[],
  about: { daemon: string; id: string },
  clock: Clock,
  signal: AbortSignal,
): Promise<TestAnswer[]> {
  const eventOf = (kind: 'trigger' | 'resolve'): AlertEvent => ({
    ...{ kind, id: `${about.id}-${kind}`, key: `lockgate/alerts-test/${about.id}`, at: clock.wallNow() },
    ...{ daemon: about.daemon, migration: null, rule: 'alerts-test', severity: 'info' },
    summary: `[TEST] lockgate on ${about.daemon}: this is only a test, nothing is wrong`,
    details: { test: true, sent_by: 'lockgate alerts test' },
  });
  const each = sinks.map(async (sink): Promise<TestAnswer[]> => {
    const answers: TestAnswer[] = [];
    for (const event of ['trigger', 'resolve'] as const) {
      answers.push({ sink: sink.name, event, delivery: await attempt(sink, eventOf(event), clock, signal) });
    }
    return answers;
  });
  return (await Promise.all(each)).flat();
}
