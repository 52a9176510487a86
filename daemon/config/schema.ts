import { z } from 'zod';
import { bytes, choice, duration, list, named, oneOrMore, section, text } from './schema-fields.js';
import { alerts, dms, dns, maintenance, publish, rdsIam, traffic, verify } from './schema-services.js';

const token = section('One client of the HTTP API.', {
  name: text('Name of the client; it is the actor in the journal.'),
  token: text('The bearer token, as `${env:NAME}` or `${file:PATH}`.', 'a token'),
  role: choice('What it may do: read, or also fence, promote, roll back and attest.', ['reader', 'operator']),
});

const daemon = section('The daemon itself.', {
  id: text('Identity of this daemon in heartbeat rows and verdicts; the host name by default.').optional(),
  listen: text(
    'Address and port of the HTTP API, 127.0.0.1:9188 by default; any but a loopback address needs `auth`.',
    'an address and a port such as `127.0.0.1:9188`',
  ).optional(),
  tls: section('Certificate of the HTTP API; read again when it changes.', {
    cert: text('Path of the certificate chain (PEM), relative to this file.'),
    key: text('Path of the private key (PEM), relative to this file.'),
  }).optional(),
  auth: z
    .union(
      [
        z.literal('none'),
        section('Who may use the HTTP API.', { tokens: list('The clients.', token, 'a list of tokens') }),
      ],
      { error: '`none`, or a mapping with `tokens`' },
    )
    .meta({ description: 'Who may use the HTTP API, or `none` to say that anybody may.' })
    .optional(),
});

const store = section('The journal and what must survive a restart.', {
  path: text('Path of the database file, relative to this file; ./lockgate.db by default.').optional(),
  retain: duration('How long journal entries are kept; 90d by default.').optional(),
});

const tls = section('How connections to this database are encrypted.', {
  mode: choice('As libpq spells it; `sslmode` of the URL, else `prefer`, by default.', [
    'disable',
    'prefer',
    'require',
    'verify-ca',
    'verify-full',
  ]).optional(),
  ca: text('Path of the certificate authority (PEM), relative to this file.').optional(),
  cert: text('Path of the client certificate (PEM), relative to this file.').optional(),
  key: text('Path of the client key (PEM), relative to this file.').optional(),
});

const database = section('One database.', {
  engine: choice('Kind of server.', ['postgres', 'mysql']),
  url: text('Where it is: `postgres://user:${env:PASSWORD}@host:5432/name`.', 'a database URL'),
  tls: tls.optional(),
  read: choice('Whether its WAL or binlog is read; `auto` by default.', ['auto', 'on', 'off']).optional(),
  server_id: z
    .int({ error: 'a whole number' })
    .min(1, { error: 'a server id is at least 1\nchoose one that no replica uses' })
    .max(4_294_967_295, { error: 'a server id is at most 4294967295\nchoose one that no replica uses' })
    .meta({ description: 'MySQL: id of the binlog reader, unique among the replicas of the server.' })
    .optional(),
  password: section('A password that is made anew at each connection.', { rds_iam: rdsIam }).optional(),
});

const heartbeat = section('The row by which lag is measured.', {
  interval: duration('How often it is written; 1s by default, at least 50ms.').optional(),
  watch: choice('How its arrival is observed; `auto` by default.', [
    'auto',
    'wal',
    'binlog',
    'notify',
    'poll',
  ]).optional(),
  external: text('Table of a heartbeat that another tool writes, for example `percona.heartbeat`.').optional(),
});

const tables = section('What ought to be carried; all application tables by default.', {
  include: list('Patterns such as `public.*`.', text('A pattern of tables.')).optional(),
  exclude: list('Patterns of tables that are left out on purpose.', text('A pattern of tables.')).optional(),
});

function link(description: string) {
  return section(description, {
    via: choice('What carries the changes; `none` for dual writes.', [
      'postgres-logical',
      'postgres-physical',
      'mysql',
      'dms',
      'none',
    ]),
    subscription: oneOrMore('Every subscription of this link; the worst counts.', 'a subscription').optional(),
    channel: oneOrMore('MySQL: every replication channel of this link; the worst counts.', 'a channel').optional(),
    heartbeat: heartbeat.optional(),
    freshness: duration(
      "How long this link's signals other than lag may be used; 3s or three heartbeat intervals by default.",
    ).optional(),
    publication: text(
      "The publication that carries lockgate's table; the subscription's first by default.",
      'a publication',
    ).optional(),
    tables: tables.optional(),
    retention_limit: bytes(
      "How much log the source's disk can keep back for this link, for `runway`; the server's own limit counts as well.",
    ).optional(),
    dms: dms.optional(),
    starts: choice(
      'Of a reverse link: whether it runs before the flip already, so that it is proven before (default).',
      ['before-flip', 'with-flip'],
    ).optional(),
  });
}

const gate = section('A question that tools ask before they go on.', {
  require: oneOrMore('Conditions that must all hold, such as `forward.lag < 2s for 10m`.', 'a condition'),
  gaps: section('What to make of moments without observation.', {
    tolerate: duration('Unknown stretches up to this long do not reset a hold; none by default.').optional(),
  }).optional(),
});

const migrationGates = z
  .object(
    { preset: choice('A ready set of gates; each can be overridden by a gate of its name.', ['runbook']).optional() },
    { error: 'a mapping of gates' },
  )
  .catchall(gate)
  .meta({ description: 'The gates of this migration, by name.' });

const migration = section('One pair of databases on its way from the source to the target.', {
  source: text('Name of the database that is left.', 'the name of a database'),
  target: text('Name of the database that is moved to.', 'the name of a database'),
  forward: link('Replication from the source to the target.'),
  reverse: link('Replication from the target back to the source, for rollback.').optional(),
  promotion: choice('How a change of direction becomes known; `manual` by default.', ['manual', 'detect']).optional(),
  verify: verify.optional(),
  traffic: traffic.optional(),
  dns: dns.optional(),
  maintenance: maintenance.optional(),
  gates: migrationGates.optional(),
});

/** The whole configuration file as it may be written; cross-checks between its parts come later. */
export const configSchema = section('Configuration of lockgate.', {
  daemon: daemon.optional(),
  store: store.optional(),
  databases: named('The databases, by a name that migrations use.', database),
  migrations: named('The migrations, by name.', migration),
  gates: named('Gates across migrations; their conditions write `migration.signal`.', gate).optional(),
  publish: publish.optional(),
  alerts: alerts.optional(),
});

/** What remains of a value when everything that was refused is taken out of it. */
export type Pruned<T> = T extends readonly (infer U)[]
  ? Pruned<U>[]
  : T extends object
    ? { [K in keyof T]?: Pruned<T[K]> | undefined }
    : T;

/** The configuration as written, without the parts that are wrong. */
export type RawConfig = Pruned<z.infer<typeof configSchema>>;
export type RawDaemon = NonNullable<RawConfig['daemon']>;
export type RawDatabase = Pruned<z.infer<typeof database>>;
export type RawMigration = Pruned<z.infer<typeof migration>>;
export type RawLink = NonNullable<RawMigration['forward']>;
export type RawGate = Pruned<z.infer<typeof gate>>;
