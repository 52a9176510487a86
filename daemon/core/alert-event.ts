/** What is told to those who are called, and how: types only, through which the daemon and the sinks of alerts speak. */
import type { Severity } from './config.js';

/** One thing to tell. */
export interface AlertEvent {
  /** `trigger` and `resolve` begin and end an incident; `change` only says what was done. */
  readonly kind: 'trigger' | 'resolve' | 'change';
  /** Stays the same however often it is sent. */
  readonly id: string;
  /** By which an incident is found again, at most 255 characters; of a change, only what keeps changes in order. */
  readonly key: string;
  /** Wall clock, milliseconds since 1970. */
  readonly at: number;
  /** Id of the daemon that tells it. */
  readonly daemon: string;
  /** Null for a test, which is about none. */
  readonly migration: string | null;
  /** Null for a change. */
  readonly rule: string | null;
  readonly severity: Severity;
  /** One line for whoever is woken. */
  readonly summary: string;
  /** Evidence: values, reasons, what to do. Never row content, never secrets. */
  readonly details: Readonly<Record<string, string | number | boolean | null>>;
}

/** What became of one attempt. */
export type Delivery =
  /** It has been taken; `answer` is what was answered, for people. */
  | { outcome: 'delivered'; answer: string }
  /** It may be taken at another time, not before `afterMs` where the other side has said so. */
  | { outcome: 'retry'; reason: string; afterMs: number | null }
  /** It will never be taken. */
  | { outcome: 'refused'; reason: string };

/** Someone who is told. */
export interface AlertSink {
  /** Bounded and stable: a label of metrics, and the name by which its queue is kept. */
  readonly name: string;
  /** Tries once; it ends when `signal` aborts, rejects never, and no reason holds a secret. */
  deliver(event: AlertEvent, signal: AbortSignal): Promise<Delivery>;
}

/** What is kept of the queues across a restart, by sink; plain JSON. */
export type QueueMemory = Readonly<Record<string, readonly AlertEvent[]>>;

/** How a sink fares. */
export interface SinkStatus {
  name: string;
  waiting: number;
  delivered: number;
  retried: number;
  refused: number;
  /** Events that were given up because too many waited. */
  dropped: number;
  /** Null while the last attempt succeeded, and before the first one. */
  lastError: string | null;
  /** Wall clock; null before the first. */
  lastDeliveredAt: number | null;
}

/** What the queues ask of their surroundings. */
export interface QueueKeeper {
  /** Writes what still waits to where a restart finds it; called whenever something was taken or given up. */
  keep(): void;
  /** Whether an event must wait, for as long as this says so. */
  holds(event: AlertEvent): boolean;
  /** An event will never be told to that sink. */
  gaveUp(sink: string, event: AlertEvent, reason: string): void;
}

/** The queues, as the daemon sees them. */
export interface Deliveries {
  /** Who is told, now. */
  readonly sinks: readonly string[];
  /** Takes up other sinks; what waits for one that has gone is dropped. */
  use(sinks: readonly AlertSink[]): void;
  /** Puts an event behind the others of its sink; it is sent once `send` is called, so that it can be kept before. */
  add(sink: string, event: AlertEvent): void;
  /** Begins to send what was added. */
  send(): void;
  readonly memory: QueueMemory;
  readonly status: readonly SinkStatus[];
  /** Ends all sending; what waits stays kept. */
  stop(): Promise<void>;
}
