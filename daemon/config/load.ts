import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import type { ConditionContext } from '../core/condition.js';
import type { Config, DatabaseConfig, LinkConfig, MigrationConfig } from '../core/config.js';
import { ConfigError, InvariantError } from '../core/errors.js';
import type { LinkName, SignalContext } from '../core/signal.js';
import { refuseUnavailable } from './available.js';
import { resolveDaemon } from './daemon.js';
import { resolveDatabase } from './databases.js';
import { checkCircles, resolveGate, type PlacedGate } from './gates.js';
import { checkShape } from './issues.js';
import { microseconds } from './links.js';
import { LocatedText, type Path } from './locate.js';
import * as migrations from './migrations.js';
import { expandPlaceholders } from './placeholders.js';
import { Problems } from './problems.js';
import { NAME, RESERVED_NAMES } from './schema-fields.js';
import type { RawConfig } from './schema.js';
import { besideFile, Scope } from './scope.js';
import { reservedCharacter, SecretReader, type ReadFile } from './secrets.js';
import {
  checkMigrationServices,
  checkServices,
  resolveAlerts,
  resolveCloudWatch,
  resolveMigrationServices,
} from './services.js';
import { resolveVerify } from './verify.js';
import { warnOfGates, warnOfRules } from './warnings.js';

export { explainConfig } from './explain.js';

/** What a configuration is loaded from; everything that comes from outside is handed in. */
export interface ConfigInput {
  /** Path of the file, for messages and as the anchor of relative paths. */
  file: string;
  /** The YAML text. */
  text: string;
  env: Readonly<Record<string, string | undefined>>;
  /** Reads a `${file:…}` secret; throws when it cannot. */
  readFile: ReadFile;
  /** Default of `daemon.id`. */
  hostName: string;
}

const DEFAULT_RETAIN_US = 90 * 86_400_000_000;
const DEFAULT_STORE = './lockgate.db';

/** Reads and checks a configuration file; throws a ConfigError with every problem found. */
export function loadConfigFile(file: string, env: ConfigInput['env']): Config {
  const readFile: ReadFile = (path) => readFileSync(path, 'utf8');
  let text: string;
  try {
    text = readFile(file);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason';
    const hint = 'check the path and who may read it';
    const message = `the configuration cannot be read: ${code}`;
    throw new ConfigError([{ file, line: 1, column: 1, path: '', message, hint }]);
  }
  return loadConfig({ file, text, env, readFile, hostName: hostname() });
}

/** Checks and resolves a configuration; throws a ConfigError with every problem found, in the order of the text. */
export function loadConfig(input: ConfigInput): Config {
  const { file, text } = input;
  const source = new LocatedText(file, text);
  const problems = new Problems(source);
  refuseText(source, problems);

  const tree = source.tree((path, message, hint) => problems.add(path, message, hint));
  const secrets = new SecretReader(input.env, input.readFile, (path) => besideFile(file, path));
  const { templates, broken } = expandPlaceholders(tree, secrets, problems);
  // Before the shape is checked, because that takes what is wrong out of the tree.
  refuseUnavailable(tree, problems);
  const raw = checkShape(tree, source, problems, broken);
  const scope = new Scope(source, problems, secrets, templates);

  const daemon = resolveDaemon(raw.daemon ?? {}, input.hostName, scope);
  const databases = resolveDatabases(raw, scope);
  const { configs, gates, gateOrigins, contexts } = resolveMigrations(raw, databases, scope);
  checkServices(raw, scope);
  const alerts = resolveAlerts(raw, contexts, scope);
  problems.throwIfAny();
  warnOfRules(alerts, configs, scope);

  return {
    file,
    hash: createHash('sha256').update(text).digest('hex'),
    daemon,
    store: {
      path: scope.beside(raw.store?.path ?? DEFAULT_STORE),
      retainUs: microseconds(raw.store?.retain) ?? DEFAULT_RETAIN_US,
    },
    databases: complete(databases, 'database'),
    migrations: complete(configs, 'migration'),
    gates,
    gateOrigins,
    warnings: scope.warnings,
    publish: { cloudwatch: resolveCloudWatch(raw) },
    alerts,
  };
}

/** Refuses what is no YAML, or not one document; goes on only where the rest can be judged. */
function refuseText(source: LocatedText, problems: Problems): void {
  const { problems: yaml, fatal } = source.yamlProblems();
  problems.addAll(yaml);
  const reserved = reservedCharacter(source.text);
  if (reserved >= 0) {
    const hint = 'remove it; it is invisible in most editors';
    problems.addAt(reserved, 'this character is from a private-use area of Unicode', hint);
  }
  if (source.isEmpty()) problems.addAt(0, 'the configuration is empty', 'name at least `databases` and `migrations`');
  if (fatal || reserved >= 0 || source.isEmpty()) problems.throwIfAny();
}

function resolveDatabases(raw: RawConfig, scope: Scope): Map<string, DatabaseConfig | null> {
  const databases = new Map<string, DatabaseConfig | null>();
  for (const name of scope.source.keys(['databases'])) {
    checkName(['databases', name], 'database', [], scope);
    const written = raw.databases?.[name];
    databases.set(name, written === undefined ? null : resolveDatabase(name, written, scope));
  }
  requireSome(databases, 'databases', scope);
  return databases;
}

function resolveMigrations(raw: RawConfig, databases: ReadonlyMap<string, DatabaseConfig | null>, scope: Scope) {
  const { source } = scope;
  const names = source.keys(['migrations']);
  const signals = new Map<string, SignalContext>();
  const gateIds = new Set(source.keys(['gates']));
  for (const name of names) {
    const written = raw.migrations?.[name];
    signals.set(name, migrations.signalContext(name, written, scope));
    for (const gate of migrations.gateNames(name, written, scope)) gateIds.add(`${name}/${gate}`);
  }

  const configs = new Map<string, MigrationConfig | null>();
  const contexts = new Map<string, ConditionContext>();
  const placed = new Map<string, PlacedGate>();
  const place = (gate: PlacedGate) => placed.set(gate.gate.id, gate);
  const links: { migration: string; links: ReadonlyMap<LinkName, LinkConfig> }[] = [];
  for (const name of names) {
    checkName(['migrations', name], 'migration', RESERVED_NAMES, scope);
    for (const gate of source.keys(['migrations', name, 'gates'])) {
      if (gate !== 'preset') checkName(['migrations', name, 'gates', gate], 'gate', RESERVED_NAMES, scope);
    }
    configs.set(name, null);
    const written = raw.migrations?.[name];
    const context = signals.get(name);
    if (written === undefined || context === undefined) continue;
    migrations.checkSides(name, written, databases, scope);
    checkMigrationServices(name, written, scope);
    const own = migrations.resolveLinks(name, written, raw, scope);
    links.push({ migration: name, links: own });
    const within: ConditionContext = { migration: name, signals: context, gates: gateIds };
    contexts.set(name, within);
    const gates = migrations.resolveMigrationGates(name, written, raw, within, scope);
    gates.forEach(place);
    configs.set(
      name,
      migrations.assembleMigration(name, written, own, gates, {
        ...resolveMigrationServices(name, written, context, scope),
        verify: resolveVerify(name, written, scope),
      }),
    );
  }
  requireSome(configs, 'migrations', scope);

  const across: ConditionContext = { migration: null, migrations: signals, gates: gateIds };
  const top = new Map<string, PlacedGate>();
  for (const name of source.keys(['gates'])) {
    checkName(['gates', name], 'gate', RESERVED_NAMES, scope);
    const written = raw.gates?.[name];
    if (written !== undefined) top.set(name, resolveGate(name, written, ['gates', name], across, scope));
  }
  top.forEach(place);
  checkCircles(placed, scope);
  const viasOf = (name: string) => ({
    forward: raw.migrations?.[name]?.forward?.via,
    reverse: raw.migrations?.[name]?.reverse?.via,
    verify: raw.migrations?.[name]?.verify !== undefined,
  });
  warnOfGates(placed, viasOf, scope);
  migrations.warnOfSharedFlows(links, scope);
  migrations.warnOfSameDatabases(databases, scope);
  warnOfUnused(raw, databases, scope);
  return {
    configs,
    contexts,
    gates: new Map([...top].map(([name, { gate }]) => [name, gate])),
    gateOrigins: new Map([...placed].map(([id, { origin }]) => [id, origin])),
  };
}

function checkName(path: Path, what: string, reserved: readonly string[], scope: Scope): void {
  const name = String(path.at(-1));
  if (!NAME.test(name)) {
    const hint = 'use small letters, digits and `-`, at most 63, beginning with a letter or digit';
    scope.problems.add(path, `this cannot be the name of a ${what}`, hint, { key: true });
  } else if (reserved.includes(name)) {
    const hint = `${reserved.join(', ')} have a meaning in addresses and configuration`;
    scope.problems.add(path, `a ${what} cannot be named \`${name}\``, hint, { key: true });
  }
}

function requireSome(found: ReadonlyMap<string, unknown>, section: string, scope: Scope): void {
  // Without the section, or with something else in its place, that was reported.
  if (found.size > 0 || scope.source.kind([section]) !== 'a mapping' || !scope.source.has([section])) return;
  scope.problems.add([section], 'this section is empty', `there is nothing to watch; add one`, { key: true });
}

function warnOfUnused(raw: RawConfig, databases: ReadonlyMap<string, unknown>, scope: Scope): void {
  const used = new Set(Object.values(raw.migrations ?? {}).flatMap((m) => [m?.source, m?.target]));
  for (const name of databases.keys()) {
    if (!used.has(name)) scope.warn(`databases.${name}: no migration uses this database`);
  }
}

/** Every part is there once no problem was found; a gap would be a check that forgot to speak. */
function complete<T>(parts: ReadonlyMap<string, T | null>, what: string): Map<string, T> {
  const out = new Map<string, T>();
  for (const [name, part] of parts) {
    if (part === null) throw new InvariantError(`the ${what} ${name} was refused without a message`);
    out.set(name, part);
  }
  return out;
}
