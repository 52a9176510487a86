import type { LinkPlan } from '../../collector.js';
import { quoteLiteral } from '../connection.js';
import type { DesiredObject } from './desired-object.js';
import { linkSignals, type SidePlan, type TriggerKind } from './side-plan.js';
import { DIRECTION_OID, HEARTBEAT_OID, VERSION_NUM, doBlock, textArray } from './sql-text.js';

/** What only the receiving side of logical links needs: triggers, and that the apply worker may write our tables. */
export function receivingObjects(plan: SidePlan): DesiredObject[] {
  if (plan.receives.length === 0) return [];
  return [
    directionStaysLocal(plan),
    ...[...plan.triggers].flatMap((kind) => heartbeatTrigger(plan, kind)),
    ...plan.receives.map((link) => applyMayWrite(link)),
  ];
}

interface Trigger {
  /** Name of the trigger and of its function in schema lockgate. */
  readonly name: string;
  readonly table: 'heartbeat' | 'direction';
  readonly events: string;
  /** pg_trigger.tgtype: 1 row, 2 before, 4 insert, 8 delete, 16 update. */
  readonly type: number;
  readonly enabled: 'ALWAYS' | 'REPLICA';
  readonly body: string;
}

/** Every trigger that setup may make, for teardown. */
export const TRIGGERS: Readonly<Record<TriggerKind | 'direction', Trigger>> = {
  // The apply worker commits asynchronously, and a walsender sends only what is flushed: without this the heartbeat
  // shows a third of a second of lag that is not there.
  flush: {
    name: 'heartbeat_flush',
    table: 'heartbeat',
    events: 'AFTER INSERT OR UPDATE',
    type: 1 + 4 + 16,
    enabled: 'ALWAYS',
    body: `
BEGIN
  PERFORM pg_catalog.set_config('synchronous_commit', 'local', true);
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL; -- nothing here may stop replication
END
`,
  },
  notify: {
    name: 'heartbeat_notify',
    table: 'heartbeat',
    events: 'AFTER INSERT OR UPDATE',
    type: 1 + 4 + 16,
    enabled: 'ALWAYS',
    body: `
BEGIN
  -- A listener that hangs keeps the queue from being emptied, and a full queue makes commits fail.
  IF pg_catalog.pg_notification_queue_usage() < 0.5 THEN
    PERFORM pg_catalog.pg_notify('lockgate_heartbeat',
      pg_catalog.json_build_array(NEW.daemon, NEW.link, NEW.run, NEW.seq)::pg_catalog.text);
  END IF;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RETURN NULL; -- nothing here may stop replication
END
`,
  },
  direction: {
    name: 'direction_local',
    table: 'direction',
    events: 'BEFORE INSERT OR UPDATE OR DELETE',
    type: 1 + 2 + 4 + 8 + 16,
    enabled: 'REPLICA',
    body: `
BEGIN
  RETURN NULL; -- each side's row is its own: what arrives by replication is left out
END
`,
  },
};

/**
 * A publication FOR ALL TABLES carries the direction table as well, and the row that a rollback inserts would then
 * collide with the one that the promotion had left here, and stop apply.
 */
function directionStaysLocal(plan: SidePlan): DesiredObject {
  return {
    ...triggerObject(TRIGGERS.direction),
    what: 'the trigger that keeps the direction table from being replicated',
    why: 'leave out direction rows that arrive by replication (where a publication carries all tables)',
    level: 'fault',
    signals: plan.receives.flatMap((l) => linkSignals(l, 'running')),
    link: null,
  };
}

function heartbeatTrigger(plan: SidePlan, kind: TriggerKind): DesiredObject {
  const links = plan.receives;
  const needed = kind === 'notify' && links.some((l) => l.config.heartbeat.watch === 'notify');
  return {
    ...triggerObject(TRIGGERS[kind]),
    what: `the trigger ${TRIGGERS[kind].name} on the heartbeat table`,
    why:
      kind === 'flush'
        ? 'make replicated heartbeats durable, and so visible to the WAL reader, at once'
        : 'announce heartbeats that arrive',
    // Without the flush lag is only seen too high; without the notification there may be nothing to see.
    level: needed ? 'fault' : 'warning',
    signals: needed ? links.flatMap((l) => linkSignals(l, 'lag', 'lag_low', 'agreement')) : [],
    link: null,
  };
}

function triggerObject(trigger: Trigger): Pick<DesiredObject, 'check' | 'make'> {
  const { name, table, events, type, enabled, body } = trigger;
  const oid = table === 'heartbeat' ? HEARTBEAT_OID : DIRECTION_OID;
  const letter = enabled === 'ALWAYS' ? 'A' : 'R';
  return {
    check: `EXISTS (SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
      WHERE t.tgrelid = ${oid} AND t.tgname = '${name}' AND t.tgenabled = '${letter}' AND t.tgtype = ${type}
        AND t.tgqual IS NULL AND n.nspname = 'lockgate' AND p.proname = '${name}' AND p.prosrc = ${quoteLiteral(body)})`,
    make: `CREATE OR REPLACE FUNCTION lockgate.${name}() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $lockgate$${body}$lockgate$;
DROP TRIGGER IF EXISTS ${name} ON lockgate.${table};
CREATE TRIGGER ${name} ${events} ON lockgate.${table} FOR EACH ROW EXECUTE FUNCTION lockgate.${name}();
ALTER TABLE lockgate.${table} ENABLE ${enabled} TRIGGER ${name};`,
  };
}

/** The subscription through which a link's heartbeat comes, in SQL with columns of pg_subscription that anyone may read. */
export function carrierSql(link: LinkPlan, columns: string): string {
  const { flows, publication } = link.config;
  const named = publication === null ? '' : `\n        AND ${quoteLiteral(publication)} = ANY (s.subpublications)`;
  return `SELECT ${columns} FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_roles o ON o.oid = s.subowner
      WHERE s.subdbid = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database())
        AND s.subname = ANY (${textArray(flows)})${named}
      ORDER BY pg_catalog.array_position(${textArray(flows)}, s.subname::text) LIMIT 1`;
}

/**
 * From 16 on the apply worker takes on the role of a table's owner, which a subscription's owner who is no superuser may
 * not do for a superuser's table; on 15 it needs the privileges itself. Owning our tables serves both, with
 * run_as_owner and without.
 */
export function applyMayWrite(link: LinkPlan): DesiredObject {
  const mode = `CASE WHEN ${VERSION_NUM} >= 160000 THEN 'SET' ELSE 'USAGE' END`;
  const owned = (oid: string): string =>
    `EXISTS (SELECT FROM pg_catalog.pg_class t WHERE t.oid = ${oid} AND pg_catalog.pg_has_role(x.owner, t.relowner, ${mode}))`;
  return {
    what: `the right of the subscription's owner to write to lockgate's tables`,
    why: "make lockgate's tables writable for the apply worker (when the subscription's owner is no superuser)",
    check: `NOT EXISTS (SELECT FROM (${carrierSql(link, 's.subowner AS owner, o.rolsuper AS super')}) x
      WHERE NOT x.super AND NOT (${owned(HEARTBEAT_OID)} AND ${owned(DIRECTION_OID)}))`,
    make: doBlock(
      `DECLARE
  x record;
  super boolean := (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = current_user);
BEGIN
  FOR x IN ${carrierSql(link, 'o.rolname AS name, o.rolsuper AS super')} LOOP
    IF NOT x.super THEN
      EXECUTE pg_catalog.format('GRANT USAGE ON SCHEMA lockgate TO %I', x.name);
      -- A new owner must be able to create in the schema, unless a superuser says so.
      IF NOT super THEN EXECUTE pg_catalog.format('GRANT CREATE ON SCHEMA lockgate TO %I', x.name); END IF;
      EXECUTE pg_catalog.format('ALTER TABLE lockgate.heartbeat OWNER TO %I', x.name);
      EXECUTE pg_catalog.format('ALTER TABLE lockgate.direction OWNER TO %I', x.name);
      IF NOT super THEN EXECUTE pg_catalog.format('REVOKE CREATE ON SCHEMA lockgate FROM %I', x.name); END IF;
    END IF;
  END LOOP;
END`,
    ),
    level: 'fault',
    signals: linkSignals(link, 'lag', 'lag_low', 'agreement', 'running'),
    link: link.id,
  };
}
