/** What the tour needs of a shop on two servers, whatever their engine. */
import type { Writer } from './shop.js';

/** One table's rows on both sides. */
export interface TableCounts {
  readonly table: string;
  readonly source: number;
  readonly target: number;
  /** Whether counts and a digest over all contents agree. */
  readonly same: boolean;
}

/** How an engine's demo is told, before anything runs. */
export interface DemoWords {
  /** `Two PostgreSQL 18 servers`. */
  readonly servers: string;
  /** `Logical replication`. */
  readonly replication: string;
  /** What the target has before replication begins. */
  readonly targetHas: string;
  /** What breaks and heals replication. */
  readonly breaks: string;
  readonly heals: string;
  /** The question that many dashboards take the lag from, and where it is asked. */
  readonly customary: string;
  readonly customaryAt: string;
}

/** One server, as far as the tour looks at it. */
export interface DemoServer {
  readonly port: number;
  adminUrl(database?: string): string;
}

/** The shop on two servers, and what is done to the replication between them. */
export interface DemoShop {
  readonly words: DemoWords;
  readonly source: DemoServer;
  readonly target: DemoServer;
  /** YAML of the database entry at a port, for the user `lockgate`, and of the link. */
  entry(port: number, password: string): string;
  readonly link: string;
  /** Somebody who buys all the time. */
  writer(perSecond: number): Writer;
  replicate(): Promise<void>;
  /** Whether the first rows of every table are on the target. */
  copied(): Promise<boolean>;
  /** Orders on both sides, the source counted last: what is missing on the target is never understated. */
  orders(): Promise<{ source: number; target: number }>;
  compare(): Promise<TableCounts[]>;
  /** What the customary question answers. */
  customaryLag(): Promise<string>;
  break(): Promise<void>;
  /** Heals what `break` and `blind` did. */
  heal(): Promise<void>;
  /** Takes the daemon's means to measure away, while replication goes on. */
  blind(): Promise<void>;
  destroy(): Promise<void>;
}
