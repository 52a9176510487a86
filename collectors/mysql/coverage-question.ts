import type { Us } from '../../daemon/core/clock.js';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import type { Observation } from '../../daemon/core/observation.js';
import { TableChooser } from '../../daemon/core/table-pattern.js';
import type { LinkPlan } from '../collector.js';
import { catalogTimeoutMs, type CatalogQuestion } from '../session/catalog-watch.js';
import { existingTables, nameKey, readColumns, readSight, readTables, whyHidden } from './catalog.js';
import { channelOfFlow, isFrom, nameOf, type SourceIdentity } from './channel-state.js';
import type { MysqlConnection } from './connection.js';
import { judgeCoverage, listed, named, type CoverageFacts, type Judged, type Uncovered } from './coverage.js';
import { readIdentity } from './position-views.js';
import { readChannels, type ReplicaChannel } from './replica-status.js';
import { rulesOf, type ReplicateRules } from './replicate-rules.js';
import { binlogStatusSql } from './source-position.js';

const signals = ['tables_uncovered', 'tables_syncing'] as const;

interface Value {
  value: number | null;
  reason: string | null;
}

/** Until the catalogs grow large. */
const defaultIntervalMs = 2_000;

/** Replication begins where it is told to, and nobody tells whether what lies before was copied whole. */
const noCopy: Value = {
  value: null,
  reason:
    'MySQL replication copies no table: whether the dump or the clone that the target was made from is complete, only a comparison of the data tells',
};

/** Asks which application tables the links by MySQL's own replication from one server to another do not carry whole. */
export function mysqlCoverage(
  from: DatabaseConfig,
  to: DatabaseConfig,
  links: readonly LinkPlan[],
  intervalMs = defaultIntervalMs,
): CatalogQuestion<MysqlConnection> {
  return {
    name: `${from.name}->${to.name}/coverage`,
    purpose: 'coverage',
    databases: [from, to],
    intervalMs,
    async ask(source, target) {
      // The source first: what it makes after that cannot be asked of the target yet.
      const here = await readSourceSide(source);
      const there = await readTargetSide(target);
      const identity: SourceIdentity = { name: from.name, ...here.identity };
      const values: [LinkPlan, Value][] = [];
      for (const link of links) {
        const { tables: selection, flows } = link.config;
        const hidden = whyHidden(from, here.sight, selection) ?? whyHidden(to, there.sight, selection);
        const facts: CoverageFacts = {
          from: from.name,
          to: to.name,
          ...here,
          others: there.tables,
          otherColumns: there.columns,
          anyCase: here.anyCase || there.anyCase,
          flows: flows.map((flow) => rulesOfFlow(flow, to.name, there.channels, identity)),
        };
        const judged: Judged<Uncovered> =
          hidden === null ? judgeCoverage(facts, new TableChooser(selection)) : { found: null, reason: hidden };
        values.push([link, await counted(judged, source)]);
      }
      return {
        observations: (at, freshUs) =>
          values.flatMap(([{ id }, value]) => [
            reading(id, 'tables_uncovered', value, at, freshUs),
            reading(id, 'tables_syncing', noCopy, at, freshUs),
          ]),
        busyMs: here.busyMs + there.busyMs,
      };
    },
    unknown: (reason, at) =>
      links.flatMap(({ id }) => signals.map((signal) => reading(id, signal, { value: null, reason }, at, 0))),
  };
}

function reading(
  link: LinkPlan['id'],
  signal: (typeof signals)[number],
  value: Value,
  at: Us,
  freshUs: Us,
): Observation {
  // prettier-ignore
  return { kind: 'link-reading', link, signal, ...value, at, freshUs };
}

interface SettingsRow {
  format: string;
  domain: string | number | null;
  letters: string | number;
}

async function readSourceSide(connection: MysqlConnection) {
  const mariadb = connection.version.flavour === 'mariadb';
  const options = { timeoutMs: catalogTimeoutMs };
  const [settings] = await connection.query<SettingsRow>(
    `SELECT @@GLOBAL.binlog_format AS format, @@GLOBAL.lower_case_table_names AS letters,
        ${mariadb ? '@@GLOBAL.gtid_domain_id' : 'NULL'} AS domain`,
    undefined,
    options,
  );
  const [log] = await connection.query<{ Binlog_Do_DB: string; Binlog_Ignore_DB: string }>(
    binlogStatusSql(connection),
    undefined,
    options,
  );
  const identity = await readIdentity(connection, catalogTimeoutMs);
  const domain = settings?.domain ?? null;
  return {
    ...(await readCatalog(connection)),
    identity,
    anyCase: Number(settings?.letters) !== 0,
    origin: {
      serverId: identity.serverId,
      domain: domain === null ? null : Number(domain),
      format: settings?.format ?? '',
    },
    binlog: log === undefined ? null : { doDb: log.Binlog_Do_DB, ignoreDb: log.Binlog_Ignore_DB },
  };
}

async function readTargetSide(connection: MysqlConnection) {
  const [settings] = await connection.query<Pick<SettingsRow, 'letters'>>(
    'SELECT @@GLOBAL.lower_case_table_names AS letters',
    undefined,
    { timeoutMs: catalogTimeoutMs },
  );
  return {
    channels: await readChannels(connection, catalogTimeoutMs),
    ...(await readCatalog(connection)),
    anyCase: Number(settings?.letters) !== 0,
  };
}

async function readCatalog(connection: MysqlConnection) {
  const { tables, busyMs } = await readTables(connection, false);
  const { columns, busyMs: more } = await readColumns(connection);
  // Last, so that no privilege was gone while the tables were read.
  const sight = await readSight(connection);
  return { tables, columns, sight, busyMs: busyMs + more };
}

/** The filters of the channel that a flow names, or why it has none. */
function rulesOfFlow(
  flow: string,
  to: string,
  channels: readonly ReplicaChannel[],
  source: SourceIdentity,
): ReplicateRules | string {
  const channel = channelOfFlow(flow, channels, source);
  if (channel === null) return `there is no channel for it on ${to}`;
  if (channel.sourceServerId !== 0 && !isFrom(channel, source)) {
    return `${nameOf(channel)} on ${to} replicates from another server than ${source.name}`;
  }
  return rulesOf(channel.filters);
}

/** The count, with the names; of those that the target lacks, the source is asked once more whether it has them still. */
async function counted(judged: Judged<Uncovered>, source: MysqlConnection): Promise<Value> {
  if (judged.found === null) return { value: null, reason: judged.reason };
  const lacking = named(judged.found.filter(({ absent }) => absent));
  const still = await existingTables(source, lacking);
  const gone = new Set(lacking.filter((t) => !still.has(nameKey(t.schema, t.name))));
  const found = judged.found.filter((t) => !gone.has(t));
  return { value: found.length, reason: listed(found) };
}
