-- What `lockgate grants` prints for postgres-physical.yaml; `npm run deploy:generate` makes this file.
-- source: postgres, database shop at source.example:5432

-- create the login role of the daemon
-- Then give it the password that the configuration names, in psql: \password "lockgate"
DO $lockgate$
BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'lockgate') THEN
    ALTER ROLE "lockgate" LOGIN;
  ELSE
    CREATE ROLE "lockgate" LOGIN;
  END IF;
END
$lockgate$;

-- let the daemon connect to the database
GRANT CONNECT ON DATABASE "shop" TO "lockgate";

-- let the daemon read the WAL (where read is off for this database it is not needed)
DO $lockgate$
BEGIN
  IF EXISTS (SELECT g.oid FROM pg_catalog.pg_roles g WHERE g.rolname = 'rds_replication') THEN
    GRANT rds_replication TO "lockgate";
  ELSE
    ALTER ROLE "lockgate" REPLICATION;
  END IF;
END
$lockgate$;

-- let the daemon see positions in pg_stat_replication and other sessions in pg_stat_activity
DO $lockgate$
BEGIN
  GRANT pg_read_all_stats TO "lockgate";
EXCEPTION WHEN insufficient_privilege THEN
  GRANT pg_monitor TO "lockgate";
END
$lockgate$;

-- create the schema that holds all that is ours
CREATE SCHEMA IF NOT EXISTS lockgate;

-- create the heartbeat table
CREATE TABLE IF NOT EXISTS lockgate.heartbeat (
  daemon text NOT NULL,
  link text NOT NULL,
  run text NOT NULL,
  seq bigint NOT NULL,
  sent_at timestamptz NOT NULL,
  PRIMARY KEY (daemon, link, run)
);

-- keep updates of the heartbeat table HOT and the table tiny
ALTER TABLE lockgate.heartbeat SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);

-- create the table that says in which direction each migration runs
CREATE TABLE IF NOT EXISTS lockgate.direction (
  migration text PRIMARY KEY,
  epoch bigint NOT NULL,
  direction text NOT NULL,
  changed_at timestamptz,
  changed_by text,
  reason text
);

-- let the daemon reach its schema
GRANT USAGE ON SCHEMA lockgate TO "lockgate";

-- let the daemon write, read and prune heartbeats
GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE lockgate.heartbeat TO "lockgate";

-- let the daemon read the direction, and write it when a promotion is declared
GRANT SELECT, INSERT, UPDATE ON TABLE lockgate.direction TO "lockgate";

-- let the daemon compare sequences, which replication does not carry
DO $lockgate$
DECLARE
  x record;
BEGIN
  FOR x IN SELECT DISTINCT n.nspname AS name,
      pg_catalog.has_schema_privilege('lockgate', n.oid, 'USAGE') AS used FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind = 'S' AND c.relpersistence = 'p' AND c.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lockgate') LOOP
    IF NOT x.used THEN EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', x.name, 'lockgate'); END IF;
    EXECUTE pg_catalog.format('GRANT SELECT ON ALL SEQUENCES IN SCHEMA %I TO %I', x.name, 'lockgate');
  END LOOP;
END
$lockgate$;

-- create the publication for the daemon's own WAL reader
DO $lockgate$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = 'lockgate') THEN
    CREATE PUBLICATION lockgate FOR TABLE lockgate.heartbeat;
  ELSIF NOT EXISTS (SELECT FROM pg_catalog.pg_publication_tables
      WHERE pubname = 'lockgate' AND schemaname = 'lockgate' AND tablename = 'heartbeat') THEN
    ALTER PUBLICATION lockgate ADD TABLE lockgate.heartbeat;
  END IF;
END
$lockgate$;
