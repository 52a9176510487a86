import { createHash } from 'node:crypto';
import type { Clock, Us } from '../../daemon/core/clock.js';
import type { DnsConfig, MigrationConfig, TrafficConfig } from '../../daemon/core/config.js';
import { LockgateError, messageOf } from '../../daemon/core/errors.js';
import type { Finding, ServicePort } from '../collector.js';
import type { LazyAws } from '../session/lazy-aws.js';
import { AskedNumber, type Answer, type Asking } from './asked-number.js';
import { TtlQuestion } from './dns.js';
import { askPrometheus } from './promql.js';

const LEAST_FRESH_US: Us = 3_000_000;
/** CloudWatch has its numbers minutes late. */
const CLOUDWATCH_FRESH_US: Us = 600_000_000;
const DNS_EVERY_US: Us = 15_000_000;

/** The traffic and DNS signals of all migrations. */
export function trafficService(aws: LazyAws): ServicePort {
  const asked = (migration: MigrationConfig, clock: Clock): Question[] => [
    ...[...(migration.traffic?.values() ?? [])].map((t) => trafficQuestion(migration.name, t, aws, clock)),
    ...[...(migration.dns?.values() ?? [])].map((d) => dnsQuestion(migration.name, d, clock)),
  ];
  return {
    service: 'traffic',
    parts: (config) =>
      [...config.migrations.values()].flatMap(({ name, traffic, dns }) => [
        ...[...(traffic?.values() ?? [])].map((t) => ({
          key: JSON.stringify([name, t, credentialsDigest(t)]),
          make: ({ clock }: { clock: Clock }) => [collector(trafficQuestion(name, t, aws, clock), clock)],
        })),
        ...[...(dns?.values() ?? [])].map((d) => ({
          key: JSON.stringify([name, d]),
          make: ({ clock }: { clock: Clock }) => [collector(dnsQuestion(name, d, clock), clock)],
        })),
      ]),
    doctor: async (config, { clock }, signal) => {
      const questions = [...config.migrations.values()].flatMap((m) => asked(m, clock));
      return Promise.all(questions.map((q) => diagnose(q, clock, signal)));
    },
  };
}

interface Question extends Asking {
  /** Whom it asks, for people. */
  whom: string;
  /** What is shown with a value. */
  unit: string;
}

function collector(question: Question, clock: Clock): AskedNumber {
  return new AskedNumber(`${question.migration}/${question.signal}`, question, clock);
}

function trafficQuestion(migration: string, t: TrafficConfig, aws: LazyAws, clock: Clock): Question {
  const { ask, scale, everyUs, unit } = t;
  const frame = { migration, signal: `traffic.${t.name}`, everyUs, unit } as const;
  if (ask.kind === 'cloudwatch') {
    const freshUs = Math.max(CLOUDWATCH_FRESH_US, 3 * everyUs);
    const whom = `CloudWatch (${ask.namespace} ${ask.metric})`;
    const asked = async (signal: AbortSignal): Promise<Answer> => {
      const { askCloudWatch } = await import('./cloudwatch.js');
      return askCloudWatch(await aws.clients(), ask, { clock, scale }, signal);
    };
    return { ...frame, freshUs, whom, ask: asked };
  }
  const freshUs = Math.max(LEAST_FRESH_US, 3 * everyUs);
  return {
    ...frame,
    freshUs,
    whom: 'Prometheus',
    ask: (signal) => askPrometheus(ask, { clock, scale, freshUs }, signal),
  };
}

function dnsQuestion(migration: string, d: DnsConfig, clock: Clock): Question {
  const question = new TtlQuestion(d, clock);
  return {
    migration,
    signal: `dns.${d.name}.ttl`,
    everyUs: DNS_EVERY_US,
    freshUs: 3 * DNS_EVERY_US,
    whom: d.resolver ?? 'the resolver of this machine',
    unit: 's',
    ask: (signal) => question.ask(signal),
  };
}

/** Tells changed credentials from unchanged ones without keeping them. */
function credentialsDigest({ ask }: TrafficConfig): string | null {
  if (ask.kind !== 'prometheus' || ask.authorization === null) return null;
  try {
    return createHash('sha256').update(ask.authorization.reveal()).digest('hex');
  } catch {
    // Read again at the next question, which says so if it is still missing.
    return null;
  }
}

async function diagnose(question: Question, clock: Clock, signal: AbortSignal): Promise<Finding> {
  const { migration, signal: name, whom } = question;
  const frame = { database: null, link: null } as const;
  const full = `${migration}.${name}`;
  try {
    return { ...frame, ...judged(question, await question.ask(signal), clock) };
  } catch (error) {
    if (!(error instanceof LockgateError)) throw error;
    const message = `${full}: ${messageOf(error)}`;
    return { ...frame, level: 'fault', message, signals: [full], remedy: error.hint ?? `ask ${whom} by hand` };
  }
}

function judged(
  { migration, signal, whom, unit, freshUs }: Question,
  { value, bound, observedAt, remark }: Answer,
  clock: Clock,
): Pick<Finding, 'level' | 'message' | 'signals' | 'remedy'> {
  const full = `${migration}.${signal}`;
  const ageUs = clock.monotonicNow() - observedAt;
  const said = `${full}: ${whom} says ${bound === undefined ? '' : 'at least '}${value} ${unit}`;
  const age = ageUs > 1_000_000 ? `, ${Math.round(ageUs / 1_000_000)} s old` : '';
  const message = `${said}${age}${remark === undefined || remark === null ? '' : ` (${remark})`}`;
  if (ageUs > freshUs) {
    return { level: 'fault', message: `${message}, too old to be used`, signals: [full], remedy: `see why ${whom} has no newer sample` }; // prettier-ignore
  }
  if (bound === undefined) return { level: 'ok', message, signals: [], remedy: null };
  const remedy = 'name a server of the zone itself as `resolver`, or wait until the record has been fetched again';
  return { level: 'warning', message, signals: [full], remedy };
}
