import { LockgateError } from '../../../daemon/core/errors.js';
import type { Finding, LinkPlan } from '../../collector.js';
import { controlFindings, statusFindings } from '../../session/control-tables.js';
import { quoteIdent, quoteLiteral, type PgConnection } from '../connection.js';
import { readControlTables, readTaskStatus } from '../control-tables.js';
import { addToPublication, echoes, rowsByConfig } from './carriage.js';
import { examineOverlaps, type Say } from './doctor-overlap.js';
import {
  carrierOf,
  flowsOf,
  holds,
  readCarriage,
  readPublishedTables,
  readSubscribedTables,
  readSubscriptions,
  type OtherSides,
  type Subscription,
} from './other-side.js';
import { carrierSql } from './receiving-objects.js';
import { hasHeartbeat, refreshEffect, refreshSql } from './refresh.js';
import { linkSignals, triggerFor, twinOf } from './side-plan.js';
import { HEARTBEAT_OID, VERSION_NUM, shown } from './sql-text.js';

/** Looks at a link as a whole, over both of its databases; where one cannot be reached, that has been reported already. */
export async function examineLink(link: LinkPlan, all: readonly LinkPlan[], others: OtherSides): Promise<Finding[]> {
  if (link.config.via === 'dms') return examineByDms(link, others);
  if (link.from.engine !== 'postgres' || link.to.engine !== 'postgres') return [];
  if (link.config.via === 'none') return [];
  const [sender, receiver] = await Promise.all([others.look(link.from), others.look(link.to)]);
  if (receiver instanceof LockgateError) return [];
  const findings: Finding[] = [];
  const say: Say = (level, database, message, remedy, signals = []) => {
    findings.push({ level, database, link: link.id, message, signals, remedy });
  };
  if (link.config.via === 'postgres-physical') {
    await examineStandby(link, receiver, say);
    return findings;
  }
  const subscriptions = await readSubscriptions(receiver);
  examineFlows(link, subscriptions, say);
  await examineFlushing(link, receiver, say);
  if (!(sender instanceof LockgateError)) await examinePair(link, all, sender, receiver, subscriptions, say);
  return findings;
}

async function examineByDms(link: LinkPlan, others: OtherSides): Promise<Finding[]> {
  const findings = link.from.engine === 'postgres' ? [byDms(link)] : [];
  if (link.to.engine !== 'postgres') return findings;
  const receiver = await others.look(link.to);
  if (receiver instanceof LockgateError) return findings;
  return [
    ...findings,
    ...controlFindings(link.id, link.to.name, await readControlTables(receiver, link.to)),
    ...statusFindings(link.id, link.to.name, await readTaskStatus(receiver, link.to)),
  ];
}

function byDms(link: LinkPlan): Finding {
  return {
    level: 'warning',
    database: null,
    link: link.id,
    message: 'this link comes by DMS: its lag is that of the heartbeat row alone, and no position seconds it',
    signals: ['lag_by_position', 'agreement', 'continuity', 'tables_uncovered', 'backlog_bytes', 'runway'],
    remedy: 'let the task carry lockgate.heartbeat, and compare its table mappings with what ought to be carried',
  };
}

async function examineStandby(link: LinkPlan, receiver: PgConnection, say: Say): Promise<void> {
  if (!(await holds(receiver, 'pg_catalog.pg_is_in_recovery()'))) return; // said already
  const streams = await holds(receiver, 'EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver WHERE pid IS NOT NULL)');
  if (streams) say('ok', link.to.name, 'the standby has a WAL receiver', null);
  else {
    say(
      'fault',
      link.to.name,
      'the standby has no WAL receiver: it does not stream',
      "see primary_conninfo, primary_slot_name and the standby's log",
      linkSignals(link, 'running'),
    );
  }
}

function examineFlows(link: LinkPlan, subscriptions: readonly Subscription[], say: Say): void {
  const to = link.to.name;
  for (const flow of link.config.flows) {
    const found = subscriptions.find((s) => s.name === flow);
    const name = quoteIdent(flow);
    if (found === undefined) {
      const known = subscriptions.map((s) => shown(s.name)).join(', ') || 'none';
      say(
        'fault',
        to,
        `there is no subscription ${shown(flow)} in this database (there is: ${known})`,
        'create it, or name the right one as `subscription` of the link',
        linkSignals(
          link,
          'lag',
          'lag_low',
          'lag_by_position',
          'agreement',
          'backlog_bytes',
          'drain_eta',
          'drain_eta_high',
        ),
      );
    } else if (!found.enabled) {
      say('fault', to, `the subscription ${shown(flow)} is disabled`, `ALTER SUBSCRIPTION ${name} ENABLE;`);
    } else if (!found.running) {
      const remedy = "see the server's log; the worker may be between two attempts";
      say('warning', to, `the subscription ${shown(flow)} has no apply worker just now`, remedy);
    } else {
      say('ok', to, `the subscription ${shown(flow)} is enabled and its apply worker runs`, null);
    }
  }
  const { publication } = link.config;
  const flows = flowsOf(link, subscriptions);
  if (publication !== null && flows.length > 0 && carrierOf(link, subscriptions) === null) {
    say(
      'fault',
      to,
      `no subscription of this link subscribes to the publication ${shown(publication)}`,
      `ALTER SUBSCRIPTION ${quoteIdent(flows[0]?.name ?? '')} ADD PUBLICATION ${quoteIdent(publication)} WITH (copy_data = false); or name the right publication`,
      linkSignals(link, 'lag', 'lag_low', 'agreement'),
    );
  }
}

/**
 * From 16 on a table's owner who may not become the subscription's owner is kept in a sandbox, at whose end settings
 * that a trigger made are taken back: the flush then has no effect.
 */
async function examineFlushing(link: LinkPlan, receiver: PgConnection, say: Say): Promise<void> {
  if (triggerFor(link.config.heartbeat.watch, link.to.read) !== 'flush' || receiver.serverVersion < 160000) return;
  const sandboxed = await holds(
    receiver,
    `EXISTS (SELECT FROM (${carrierSql(link, 's.subowner AS owner')}) x JOIN pg_catalog.pg_class t ON t.oid = ${HEARTBEAT_OID}
      WHERE NOT pg_catalog.pg_has_role(t.relowner, x.owner, CASE WHEN ${VERSION_NUM} >= 160000 THEN 'SET' ELSE 'USAGE' END))`,
  );
  if (!sandboxed) return;
  say(
    'warning',
    link.to.name,
    "the trigger's setting is taken back by the server, because the heartbeat table's owner may not become the subscription's owner: lag is seen up to half a second too high",
    "ALTER TABLE lockgate.heartbeat OWNER TO the subscription's owner; or set `heartbeat: { watch: notify }`",
  );
}

async function examinePair(
  link: LinkPlan,
  all: readonly LinkPlan[],
  sender: PgConnection,
  receiver: PgConnection,
  subscriptions: readonly Subscription[],
  say: Say,
): Promise<void> {
  const flows = flowsOf(link, subscriptions);
  const carrier = carrierOf(link, subscriptions);
  if (carrier !== null) await examineCarriage(link, all, sender, carrier.publication, flows, say);
  let subscribed = false;
  for (const flow of flows) {
    const tables = await readSubscribedTables(receiver, flow.name);
    const ours = tables.filter((t) => hasHeartbeat([t]));
    subscribed ||= ours.some((t) => t.ready);
    const published = await readPublishedTables(sender, receiver.serverVersion, flow.publications);
    const { added } = refreshEffect(tables, published);
    if (added.length > 0) {
      say(
        'warning',
        link.to.name,
        `the subscription ${shown(flow.name)} does not carry ${added.join(', ')}, which its publications have`,
        `ALTER SUBSCRIPTION ${quoteIdent(flow.name)} REFRESH PUBLICATION; (it copies them)`,
      );
    }
  }
  if (carrier !== null && !subscribed) {
    say(
      'fault',
      link.to.name,
      `the subscription ${shown(carrier.subscription.name)} does not know the heartbeat table, or has not finished copying it`,
      `run \`lockgate setup\`, which checks that no other table would change: ${refreshSql(carrier.subscription.name)}`,
      linkSignals(link, 'lag', 'lag_low', 'agreement'),
    );
  }
  await examineOverlaps(link, all, sender, receiver, subscriptions, say);
  await examineStrangers(link, all, sender, subscriptions, say);
}

async function examineCarriage(
  link: LinkPlan,
  all: readonly LinkPlan[],
  sender: PgConnection,
  publication: string,
  flows: readonly Subscription[],
  say: Say,
): Promise<void> {
  const from = link.from.name;
  const lag = linkSignals(link, 'lag', 'lag_low', 'agreement');
  const twin = twinOf(link, all);
  const publications = flows.flatMap((s) => s.publications);
  const carriage = await readCarriage(sender, publications);
  const partial = await sender.query<{ name: string }>(
    `SELECT pubname AS name FROM pg_catalog.pg_publication WHERE pubname = ANY ($1) AND NOT (pubinsert AND pubupdate)`,
    [carriage.map((c) => c.publication)],
  );
  if (carriage.length === 0) {
    say(
      'fault',
      from,
      `the publication ${shown(publication)} does not carry the heartbeat table`,
      addToPublication(link, publication, rowsByConfig(link, all)),
      lag,
    );
  } else if (partial.length > 0) {
    const names = partial.map((p) => quoteIdent(p.name)).join(', ');
    say(
      'fault',
      from,
      `the publication ${names} leaves out inserts or updates`,
      `ALTER PUBLICATION ${names} SET (publish = 'insert, update, delete, truncate');`,
      lag,
    );
  } else if (twin !== null && (await echoes(link, sender, flows))) {
    say(
      'fault',
      from,
      `heartbeats of ${twin.id} would come back through this link and go round for ever`,
      'stop the daemon and run `lockgate setup`, which adds the row filter, or set origin = none on both subscriptions (16 and later)',
      lag,
    );
  } else {
    say(
      'ok',
      from,
      `the publication ${shown(carriage[0]?.publication ?? publication)} carries the heartbeat table`,
      null,
    );
  }
}

/** Subscriptions of the same pair that no link names: their data flows unwatched. */
async function examineStrangers(
  link: LinkPlan,
  all: readonly LinkPlan[],
  sender: PgConnection,
  subscriptions: readonly Subscription[],
  say: Say,
): Promise<void> {
  const named = new Set(all.filter((l) => l.to.name === link.to.name).flatMap((l) => l.config.flows));
  const slots = subscriptions.filter((s) => !named.has(s.name)).flatMap((s) => (s.slot === null ? [] : [s.slot]));
  if (slots.length === 0) return;
  const found = await sender.query<{ slot: string }>(
    `SELECT slot_name AS slot FROM pg_catalog.pg_replication_slots
      WHERE database = pg_catalog.current_database() AND slot_name = ANY ($1)`,
    [slots],
  );
  const strangers = subscriptions.filter((s) => found.some((f) => f.slot === s.slot));
  if (strangers.length === 0) return;
  const names = strangers.map((s) => shown(s.name)).join(', ');
  say(
    'warning',
    link.to.name,
    `${names} also replicates from ${link.from.name}, but no link names it: its data flows unwatched`,
    `add it to \`subscription\` of ${link.id}: [${[...link.config.flows, ...strangers.map((s) => s.name)].map(quoteLiteral).join(', ')}]`,
  );
}
