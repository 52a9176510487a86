/** What a task's settings mean for whoever trusts its target. Pure: the settings come in as DMS gives them, JSON in a text. */
import type { Finding } from '../collector.js';

/** A finding without its link. */
export type Advice = Pick<Finding, 'level' | 'message' | 'signals' | 'remedy'>;

type Settings = Readonly<Record<string, unknown>>;

/** What is worth saying of a task's settings. */
export function adviseOn(task: string, json: string | undefined): Advice[] {
  const all = parsed(json);
  if (all === null) {
    const message = `${task}: its settings cannot be read, so that nothing is known of LOBs, order and control tables`;
    return [{ level: 'warning', message, signals: [], remedy: 'look at the task settings in the console' }];
  }
  return [...ofOrder(task, all), ...ofLobs(task, all), ...ofControlTables(task, all), ...ofValidation(task, all)];
}

function ofOrder(task: string, all: Settings): Advice[] {
  const metadata = section(all, 'TargetMetadata');
  const found: Advice[] = [];
  if (metadata['BatchApplyEnabled'] === true) {
    found.push(
      unordered(
        `${task}: BatchApplyEnabled is on`,
        'set TargetMetadata.BatchApplyEnabled to false before a fence is placed',
      ),
    );
  }
  if (Number(metadata['ParallelApplyThreads'] ?? 0) > 0) {
    const message = `${task}: ParallelApplyThreads is ${String(metadata['ParallelApplyThreads'])}`;
    found.push(unordered(message, 'set TargetMetadata.ParallelApplyThreads to 0 before a fence is placed'));
  }
  return found;
}

function unordered(what: string, remedy: string): Advice {
  return {
    level: 'warning',
    message: `${what}: changes of different tables may be applied in another order, and the heartbeat and a fence's marker may overtake rows`,
    signals: ['lag', 'fence.drained'],
    remedy: `${remedy}; attest dms-applies-in-order only then`,
  };
}

function ofLobs(task: string, all: Settings): Advice[] {
  const metadata = section(all, 'TargetMetadata');
  if (metadata['SupportLobs'] === false) {
    const message = `${task}: SupportLobs is off: columns of large objects are not migrated`;
    return [{ level: 'warning', message, signals: [], remedy: 'set TargetMetadata.SupportLobs to true, or compare' }];
  }
  // As the older settings have it, LimitedSizeLobMode; without FullLobMode it is what the task does.
  if (metadata['LimitedSizeLobMode'] !== true) return [];
  const size = JSON.stringify(metadata['LobMaxSize'] ?? '?');
  return [
    {
      level: 'warning',
      message: `${task}: limited LOB mode: values longer than LobMaxSize (${size} KB) are cut off, without an error`,
      signals: [],
      remedy: 'raise LobMaxSize above the longest value, or set FullLobMode',
    },
  ];
}

function ofControlTables(task: string, all: Settings): Advice[] {
  const metadata = section(all, 'TargetMetadata');
  const tables = section(all, 'ControlTablesSettings');
  const found: Advice[] = [];
  if (metadata['TaskRecoveryTableEnabled'] !== true) {
    found.push({
      level: 'ok',
      message: `${task}: TaskRecoveryTableEnabled is off: after a failure DMS goes on from its own checkpoint only`,
      signals: [],
      remedy: null,
    });
  }
  for (const [setting, table] of [
    ['StatusTableEnabled', 'awsdms_status'],
    ['SuspendedTablesTableEnabled', 'awsdms_suspended_tables'],
  ] as const) {
    if (tables[setting] === true || tables[lowered(setting)] === true) continue;
    found.push({
      level: 'warning',
      message: `${task}: ControlTablesSettings.${setting} is off: there is no ${table} on the target`,
      signals: setting === 'SuspendedTablesTableEnabled' ? ['errors'] : [],
      remedy: `set ControlTablesSettings.${setting} to true`,
    });
  }
  return found;
}

function ofValidation(task: string, all: Settings): Advice[] {
  if (section(all, 'ValidationSettings')['EnableValidation'] === true) return [];
  return [
    {
      level: 'ok',
      message: `${task}: EnableValidation is off`,
      signals: ['dms.validation_failed', 'dms.validation_pending', 'dms.validation_suspended'],
      remedy: 'set ValidationSettings.EnableValidation to true if gates are to use these signals',
    },
  ];
}

/** DMS's documentation spells these settings with a small first letter as well. */
function lowered(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1);
}

function section(all: Settings, name: string): Settings {
  const found = all[name];
  return isRecord(found) ? found : {};
}

function parsed(json: string | undefined): Settings | null {
  if (json === undefined) return null;
  try {
    const value: unknown = JSON.parse(json);
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
