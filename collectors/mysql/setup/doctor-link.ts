import type { Finding, LinkPlan } from '../../collector.js';
import { isFrom, judgeApplied, judgeRunning, lostBySource, nameOf, channelOfFlow } from '../channel-state.js';
import { quoteIdent, type MysqlConnection } from '../connection.js';
import { readSource, readTarget } from '../position-views.js';
import { linkSignals, type Say } from './doctor-words.js';

const timeoutMs = 5_000;

/** Looks at a link as a whole, over both of its servers. */
export async function examineLink(
  link: LinkPlan,
  all: readonly LinkPlan[],
  from: MysqlConnection,
  to: MysqlConnection,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  const on =
    (database: string): Say =>
    (level, message, remedy, signals = []) =>
      findings.push({ level, database, link: link.id, message, signals, remedy });
  const say = on(link.to.name);
  if (from.home === to.home) {
    const signals = linkSignals(link, 'lag', 'lag_low', 'lag_by_position', 'agreement', 'running');
    say('fault', 'source and target lead to the same server', 'correct the URL of one of them', signals);
    return findings;
  }
  if (link.config.heartbeat.external !== undefined && link.config.heartbeat.external !== null) {
    await examineExternal(link, link.config.heartbeat.external, from, on(link.from.name));
  }
  if (link.config.via !== 'mysql') return findings;
  const target = await readTarget(to, timeoutMs);
  const source = await readSource(from, timeoutMs);
  const identity = { name: link.from.name, ...source.identity };
  if (target.identity.serverId === source.identity.serverId) {
    const message = `both servers have the server id ${source.identity.serverId}: a replica passes over what carries its own`;
    say(
      'fault',
      message,
      `give ${link.to.name} another server_id and restart its replication`,
      linkSignals(link, 'running'),
    );
  }
  for (const flow of link.config.flows) {
    const { value, reason } = judgeRunning(flow, link.to.name, target.channels, identity);
    const channel = channelOfFlow(flow, target.channels, identity);
    const name = channel === null ? flow : nameOf(channel);
    if (value !== 1) {
      const remedy = channel === null ? 'CHANGE REPLICATION SOURCE TO … (MariaDB: CHANGE MASTER TO …), or correct `channel` of the link' : 'see the error, mend it, and START REPLICA (MariaDB: START SLAVE)'; // prettier-ignore
      say('fault', reason ?? `${name} does not run`, remedy, channel === null ? linkSignals(link, 'lag', 'lag_low', 'lag_by_position') : []); // prettier-ignore
      continue;
    }
    say(
      'ok',
      `${name} replicates from ${link.from.name}, ${channel?.byGtid === true ? 'by GTID' : 'by file and position'}`,
      null,
    );
    if (reason !== null) say('warning', `${name}: ${reason}`, 'lag shows the delay, rightly; take it away before the switch (SOURCE_DELAY = 0)'); // prettier-ignore
    const filters = Object.entries(channel?.filters ?? {}).map(([key, filter]) => `${key} = ${filter}`);
    if (filters.length > 0) {
      say(
        'warning',
        `${name} leaves things out: ${filters.join('; ')}`,
        'see that it lets lockgate.heartbeat through, and that what it leaves out is not wanted (`tables` of the link)',
      );
    }
    const applied = judgeApplied(flow, link.to.name, target.channels, identity, source.position, target.executed);
    if (applied.position === null) {
      const remedy =
        source.position?.kind === 'gtid'
          ? 'turn GTIDs on here as well (gtid_mode)'
          : 'wait until it has applied something';
      say(
        'fault',
        `${name}: ${applied.reason}`,
        remedy,
        linkSignals(link, 'lag_by_position', 'agreement', 'backlog_bytes'),
      );
    }
  }
  const lost = lostBySource(target, source, link.from.name);
  if (lost !== null) {
    say('fault', lost, 'make the replica anew, or compare the data', linkSignals(link, 'lag_by_position', 'agreement'));
  }
  const flows = new Set(all.filter((l) => l.to.name === link.to.name).flatMap((l) => l.config.flows));
  const named = [...flows].map((flow) => channelOfFlow(flow, target.channels, identity)?.channel);
  const strangers = target.channels.filter((c) => isFrom(c, identity) && !named.includes(c.channel));
  if (strangers.length > 0) {
    const names = strangers.map((c) => nameOf(c)).join(', ');
    say(
      'warning',
      `${names} also replicates from ${link.from.name}, but no link names it`,
      `add it to \`channel\` of ${link.id}`,
    );
  }
  return findings;
}

async function examineExternal(link: LinkPlan, table: string, from: MysqlConnection, say: Say): Promise<void> {
  const name = table.split('.').map(quoteIdent).join('.');
  const rows = await from.query<{ own: string | number }>(
    `SELECT server_id = @@GLOBAL.server_id AS own FROM ${name} ORDER BY own DESC LIMIT 1`,
  );
  if (Number(rows[0]?.own ?? 0) === 1) {
    say('ok', `${table} has the row of this server`, null);
    return;
  }
  const remedy = `pt-heartbeat --update --database ${table.split('.')[0] ?? ''} --host … against ${link.from.name} itself`;
  say('fault', `${table} has no row of this server`, remedy, linkSignals(link, 'lag', 'lag_low', 'agreement'));
}
