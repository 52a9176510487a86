/** Keeps the collectors of a configuration running, and starts them anew when what they collect has changed. */
import { createHash } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { Collector, CollectorContext, EnginePort, LinkPlan, ServicePort } from '../collectors/collector.js';
import type { Config, DatabaseConfig } from './core/config.js';
import { InvariantError } from './core/errors.js';
import type { Observation } from './core/observation.js';
import { linkId } from './core/signal.js';
import type { CollectorStatus } from './http/port.js';
import { supervise } from './lifecycle/supervise.js';

/** All links of a configuration, each with its two databases. */
export function linkPlans(config: Config): LinkPlan[] {
  const database = (name: string): DatabaseConfig => {
    const found = config.databases.get(name);
    if (found === undefined) throw new InvariantError(`no database ${name} in a checked configuration`);
    return found;
  };
  return [...config.migrations.values()].flatMap((m) =>
    Object.values(m.links).map((link) => ({
      id: linkId(m.name, link.name),
      migration: m.name,
      config: link,
      from: database(link.from),
      to: database(link.to),
      ...(m.verify !== undefined && { verify: m.verify }),
    })),
  );
}

/** The databases of an engine that some migration uses, and the links that begin or end at one of them. */
export function share(engine: EnginePort, config: Config): Part {
  return ofEngine(engine, everything(config));
}

function ofEngine(engine: EnginePort, part: Part): Part {
  const databases = part.databases.filter((d) => d.engine === engine.engine);
  const names = new Set(databases.map((d) => d.name));
  return { databases, links: part.links.filter((l) => names.has(l.from.name) || names.has(l.to.name)) };
}

/** All databases that some migration uses, and all links. */
function everything(config: Config): Part {
  const used = new Set([...config.migrations.values()].flatMap((m) => [m.source, m.target]));
  return { databases: [...config.databases.values()].filter((d) => used.has(d.name)), links: linkPlans(config) };
}

/** What is collected together. */
interface Part {
  databases: DatabaseConfig[];
  links: LinkPlan[];
}

/** Cuts a part into those that have no database in common, so that a change of one does not disturb the others. */
function cut({ databases, links }: Part): Part[] {
  const parts: Part[] = databases.map((db) => ({ databases: [db], links: [] }));
  const partOf = (name: string): Part | undefined => parts.find((p) => p.databases.some((db) => db.name === name));
  for (const link of links) {
    const [from, to] = [partOf(link.from.name), partOf(link.to.name)];
    const into = from ?? to;
    if (into === undefined) continue;
    into.links.push(link);
    if (from === undefined || to === undefined || from === to) continue;
    from.databases.push(...to.databases);
    from.links.push(...to.links);
    parts.splice(parts.indexOf(to), 1);
  }
  return parts;
}

/** Tells a changed password from an unchanged one without keeping it. */
export function passwordDigest(db: DatabaseConfig): string | null {
  try {
    return db.password === null ? null : createHash('sha256').update(db.password.reveal()).digest('hex');
  } catch {
    // A secret that cannot be read now is read again at the next connection, which says so if it is still missing.
    return null;
  }
}

interface Running {
  stop: AbortController;
  ended: Promise<void>;
  names: string[];
}

/** The running collectors of all engines. */
export class Collecting {
  /** By what their collectors were made for: where the text is equal they may go on. */
  private readonly running = new Map<string, Running>();
  private readonly statuses = new Map<string, CollectorStatus>();

  constructor(
    private readonly engines: readonly EnginePort[],
    private readonly context: CollectorContext,
    private readonly emit: (o: Observation) => void,
    private readonly crashed: (error: unknown) => void,
    /** What the collectors of one part share, made anew for each. */
    private readonly shared: () => Pick<CollectorContext, 'heartbeats'> = () => ({}),
    private readonly services: readonly ServicePort[] = [],
  ) {}

  /** What is known of each collector. */
  get status(): CollectorStatus[] {
    return [...this.statuses.values()];
  }

  /** Makes the running collectors those of `config`: those whose databases and links are unchanged go on undisturbed. */
  async apply(config: Config): Promise<void> {
    const wanted = new Map<string, () => Collector[]>();
    for (const part of cut(everything(config))) {
      // What is compared is no matter of the collectors: another section `verify` must not break what they watch.
      const key = JSON.stringify([part, part.databases.map(passwordDigest)], (name, value: unknown) =>
        name === 'verify' ? undefined : value,
      );
      wanted.set(key, () => this.make(part));
    }
    for (const service of this.services) {
      for (const part of service.parts(config)) {
        wanted.set(`${service.service} ${part.key}`, () => part.make(this.context));
      }
    }
    // All of them before any begins: two that write for the same daemon would keep each other out.
    const gone = [...this.running].filter(([key]) => !wanted.has(key));
    await Promise.all(gone.map(([key, running]) => this.end(key, running)));
    for (const [key, make] of wanted) if (!this.running.has(key)) this.running.set(key, this.begin(make()));
  }

  /** Stops all collectors; resolves when their connections are closed. */
  async stop(): Promise<void> {
    await Promise.all([...this.running].map(([key, running]) => this.end(key, running)));
  }

  /** The collectors of a part: each engine for its own databases, over one ledger of heartbeats. */
  private make(part: Part): Collector[] {
    const context = { ...this.context, ...this.shared() };
    return this.engines.flatMap((engine) => {
      const { databases, links } = ofEngine(engine, part);
      return databases.length === 0 ? [] : engine.collectors(databases, links, context);
    });
  }

  private begin(collectors: readonly Collector[]): Running {
    const stop = new AbortController();
    // Every collector listens on it, and there may be many: that is no leak.
    setMaxListeners(0, stop.signal);
    const { clock, log } = this.context;
    // A query under way while they are ended is of databases that may be others in the new configuration.
    const emit = (o: Observation): void => {
      if (!stop.signal.aborted) this.emit(o);
    };
    const onStatus = (status: CollectorStatus): void => void this.statuses.set(status.name, status);
    const ended = Promise.all(
      collectors.map((c) =>
        supervise(c, emit, { clock, log, onStatus }, stop.signal).catch((error: unknown) => this.crashed(error)),
      ),
    );
    return { stop, ended: ended.then(() => undefined), names: collectors.map((c) => c.name) };
  }

  private async end(key: string, running: Running): Promise<void> {
    running.stop.abort();
    await running.ended;
    this.running.delete(key);
    for (const collector of running.names) this.statuses.delete(collector);
  }
}
