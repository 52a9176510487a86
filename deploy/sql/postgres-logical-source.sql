-- What `lockgate grants` prints for postgres-logical.yaml; `npm run deploy:generate` makes this file.
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

-- let the daemon compare the data of both sides
DO $lockgate$
DECLARE
  x record;
BEGIN
  FOR x IN SELECT n.nspname AS schema, c.relname AS name,
      pg_catalog.has_schema_privilege('lockgate', n.oid, 'USAGE') AS used,
      pg_catalog.has_table_privilege('lockgate', c.oid, 'SELECT') AS readable FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence IN ('p', 'u')
       AND c.oid >= 16384 AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lockgate') AND c.relname !~ '^awsdms_'
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                        AND e.objid = c.oid AND e.objsubid = 0 AND e.deptype = 'e') LOOP
    IF NOT x.used THEN EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', x.schema, 'lockgate'); END IF;
    IF NOT x.readable THEN EXECUTE pg_catalog.format('GRANT SELECT ON %I.%I TO %I', x.schema, x.name, 'lockgate'); END IF;
  END LOOP;
END
$lockgate$;

-- let the daemon read how far each subscription has durably applied
DO $lockgate$
BEGIN
  IF pg_catalog.current_setting('server_version_num')::int >= 140000 THEN
    BEGIN
      GRANT EXECUTE ON FUNCTION pg_catalog.pg_replication_origin_progress(text, boolean) TO "lockgate";
    EXCEPTION WHEN insufficient_privilege THEN
      NULL;
    END;
    IF pg_catalog.has_function_privilege('lockgate', 'pg_catalog.pg_replication_origin_progress(text, boolean)', 'EXECUTE') THEN
      RETURN;
    END IF;
  END IF;
  IF NOT (CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 140000 THEN pg_catalog.has_function_privilege((SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname = current_user), 'pg_catalog.pg_replication_origin_progress(text, boolean)', 'EXECUTE')
      ELSE (SELECT a.rolsuper FROM pg_catalog.pg_roles a WHERE a.oid = (SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname = current_user)) END) THEN
    RAISE insufficient_privilege USING MESSAGE = 'only a superuser may read applied positions, or let others read them';
  END IF;
  CREATE OR REPLACE FUNCTION lockgate.origin_progress(name text, flush boolean) RETURNS pg_catalog.pg_lsn
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT pg_catalog.pg_replication_origin_progress($1, $2)';
  REVOKE ALL ON FUNCTION lockgate.origin_progress(text, boolean) FROM PUBLIC;
  GRANT EXECUTE ON FUNCTION lockgate.origin_progress(text, boolean) TO "lockgate";
END
$lockgate$;

-- let the daemon see whether a subscription was moved by hand
DO $lockgate$
BEGIN
  BEGIN
    GRANT SELECT (oid, xmin) ON pg_catalog.pg_subscription TO "lockgate";
  EXCEPTION WHEN insufficient_privilege THEN
    NULL;
  END;
  IF pg_catalog.current_setting('server_version_num')::int >= 140000 THEN
    BEGIN
      GRANT EXECUTE ON FUNCTION pg_catalog.pg_show_replication_origin_status() TO "lockgate";
    EXCEPTION WHEN insufficient_privilege THEN
      NULL;
    END;
    IF pg_catalog.has_function_privilege('lockgate', 'pg_catalog.pg_show_replication_origin_status()', 'EXECUTE') THEN
      RETURN;
    END IF;
  END IF;
  IF NOT (CASE WHEN pg_catalog.current_setting('server_version_num')::int >= 140000 THEN pg_catalog.has_function_privilege((SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname = current_user), 'pg_catalog.pg_show_replication_origin_status()', 'EXECUTE')
      ELSE (SELECT a.rolsuper FROM pg_catalog.pg_roles a WHERE a.oid = (SELECT a.oid FROM pg_catalog.pg_roles a WHERE a.rolname = current_user)) END) THEN
    RAISE insufficient_privilege USING MESSAGE = 'only a superuser may see where origins stand, or let others see it';
  END IF;
  CREATE OR REPLACE FUNCTION lockgate.origin_status(OUT name text, OUT remote_lsn pg_catalog.pg_lsn, OUT local_lsn pg_catalog.pg_lsn)
    RETURNS SETOF record LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'SELECT external_id, remote_lsn, local_lsn FROM pg_catalog.pg_show_replication_origin_status()';
  REVOKE ALL ON FUNCTION lockgate.origin_status() FROM PUBLIC;
  GRANT EXECUTE ON FUNCTION lockgate.origin_status() TO "lockgate";
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

-- leave out direction rows that arrive by replication (where a publication carries all tables)
CREATE OR REPLACE FUNCTION lockgate.direction_local() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $lockgate$
BEGIN
  RETURN NULL; -- each side's row is its own: what arrives by replication is left out
END
$lockgate$;
DROP TRIGGER IF EXISTS direction_local ON lockgate.direction;
CREATE TRIGGER direction_local BEFORE INSERT OR UPDATE OR DELETE ON lockgate.direction FOR EACH ROW EXECUTE FUNCTION lockgate.direction_local();
ALTER TABLE lockgate.direction ENABLE REPLICA TRIGGER direction_local;

-- make replicated heartbeats durable, and so visible to the WAL reader, at once
CREATE OR REPLACE FUNCTION lockgate.heartbeat_flush() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $lockgate$
BEGIN
  PERFORM pg_catalog.set_config('synchronous_commit', 'local', true);
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL; -- nothing here may stop replication
END
$lockgate$;
DROP TRIGGER IF EXISTS heartbeat_flush ON lockgate.heartbeat;
CREATE TRIGGER heartbeat_flush AFTER INSERT OR UPDATE ON lockgate.heartbeat FOR EACH ROW EXECUTE FUNCTION lockgate.heartbeat_flush();
ALTER TABLE lockgate.heartbeat ENABLE ALWAYS TRIGGER heartbeat_flush;

-- make lockgate's tables writable for the apply worker (when the subscription's owner is no superuser)
DO $lockgate$
DECLARE
  x record;
  super boolean := (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user);
BEGIN
  FOR x IN SELECT o.rolname AS name, o.rolsuper AS super FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_roles o ON o.oid = s.subowner
      WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
        AND s.subname = ANY (ARRAY['shop_back']::text[])
      ORDER BY pg_catalog.array_position(ARRAY['shop_back']::text[], s.subname::text) LIMIT 1 LOOP
    IF NOT x.super THEN
      EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA lockgate TO %I', x.name);
      -- A new owner must be able to create in the schema, unless a superuser says so.
      IF NOT super THEN EXECUTE pg_catalog.format('GRANT CREATE ON SCHEMA lockgate TO %I', x.name); END IF;
      EXECUTE pg_catalog.format('ALTER TABLE lockgate.heartbeat OWNER TO %I', x.name);
      EXECUTE pg_catalog.format('ALTER TABLE lockgate.direction OWNER TO %I', x.name);
      IF NOT super THEN EXECUTE pg_catalog.format('REVOKE CREATE ON SCHEMA lockgate FROM %I', x.name); END IF;
    END IF;
  END LOOP;
END
$lockgate$;

-- let the subscription's login read the heartbeat table, should it copy it
DO $lockgate$
DECLARE
  x record;
BEGIN
  FOR x IN SELECT DISTINCT r.oid, r.rolname AS name FROM pg_catalog.pg_stat_replication w
      LEFT JOIN pg_catalog.pg_replication_slots s ON s.active_pid = w.pid
      JOIN pg_catalog.pg_roles r ON r.oid = w.usesysid
      WHERE w.application_name = ANY (ARRAY['shop_sub']::text[]) OR s.slot_name = ANY (ARRAY['shop_sub']::text[]) LOOP
    EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA lockgate TO %I', x.name);
    EXECUTE pg_catalog.format('GRANT SELECT ON TABLE lockgate.heartbeat, lockgate.direction TO %I', x.name);
  END LOOP;
END
$lockgate$;

-- let shop/forward carry the heartbeat table
-- First run what is printed for target: a change for a table that the subscriber lacks stops its apply worker.
-- Which publication carries shop/forward is not in the configuration; on target this tells:
--   SELECT subname, subpublications FROM pg_subscription WHERE subname IN ('shop_sub');
-- Take the first publication of the first subscription (or name it as `publication` of the link), and run here:
--   ALTER PUBLICATION … ADD TABLE lockgate.heartbeat WHERE (link LIKE '%/forward');

-- make the subscription of shop/reverse take up the heartbeat table
-- Last, and only when target publishes no table that "shop_back" does not know yet: such a table would
-- be replicated from now on without its rows being copied. On target:
--   SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname IN (…);
-- and here:  SELECT srrelid::regclass FROM pg_subscription_rel;
-- If nothing but lockgate.heartbeat differs:
--   ALTER SUBSCRIPTION "shop_back" REFRESH PUBLICATION WITH (copy_data = false);
