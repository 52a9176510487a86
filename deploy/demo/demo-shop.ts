/** What the tour needs of a shop on two servers, whatever their engine. */
import type { Side, Writer } from './shop.js';

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
  /** What keeps the shop out of a database that is to be silent, and what lets it in again. */
  readonly silences: string;
  readonly admits: string;
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
  /** YAML of the database entry at a port, for the user `lockgate`, and of both links. */
  entry(port: number, password: string): string;
  readonly link: string;
  readonly wayBack: string;
  /** Somebody who buys all the time. */
  writer(perSecond: number): Writer;
  /** Replication from the source to the target begins. */
  replicate(): Promise<void>;
  /** The way back, from the target to the source; what it brings is not sent around again. */
  replicateBack(): Promise<void>;
  /** Whether the way back is made before `lockgate setup`, which then adds its own table to it, or after. */
  readonly backBeforeSetup: boolean;
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
  /** The database lets the shop write no more, or again. */
  silence(side: Side): Promise<void>;
  admit(side: Side): Promise<void>;
  /** How many of these orders are not on a side. */
  missing(side: Side, orders: readonly number[]): Promise<number>;
  /** An administrator adds a customer on the source by mistake, past the shop. */
  addStray(): Promise<void>;
  /** Takes that customer out on the target, from where replication takes it out on the source. */
  removeStray(): Promise<void>;
  /** How many of them there are on each side. */
  strays(): Promise<{ source: number; target: number }>;
  destroy(): Promise<void>;
}

/** The name of the customer that nobody meant to add. */
export const STRAY = 'added by mistake';
