import { createServer, connect, type Server, type Socket } from 'node:net';
import { freePort } from '../../deploy/demo/run-folder.js';

/** A TCP proxy on 127.0.0.1 that makes a network misbehave on demand. */
export interface Proxy {
  readonly port: number;
  /** Holds all bytes in both directions; connections stay open, new ones are accepted and held as well. */
  freeze(): void;
  /** Ends a freeze: what was held goes on, in order. */
  thaw(): void;
  /** Resets all connections and refuses new ones. */
  cut(): Promise<void>;
  /** Accepts connections again after a cut. */
  restore(): Promise<void>;
  /** Delays what arrives from now on by so many milliseconds in each direction; 0 ends it and lets go of what is held. */
  delay(ms: number): void;
  /** Number of connections that clients have open now. */
  connections(): number;
  /** Resets all connections and stops for good. */
  close(): Promise<void>;
}

/** Bytes held in one direction of one connection before its sender is paused. */
const heldLimit = 1024 * 1024;

interface Conditions {
  frozen: boolean;
  delayMs: number;
}

/** Starts a proxy to a TCP server. */
export async function startProxy(upstream: { host: string; port: number }): Promise<Proxy> {
  let port = 0;
  const conditions: Conditions = { frozen: false, delayMs: 0 };
  const wires = new Set<Wire>();
  let server: Server | undefined;
  let closed = false;

  const listen = async (): Promise<void> => {
    if (server !== undefined || closed) return;
    const made = createServer({ allowHalfOpen: true }, (client) => {
      const wire = new Wire(client, upstream, conditions, () => wires.delete(wire));
      wires.add(wire);
    });
    await new Promise<void>((done, fail) => {
      made.once('error', fail);
      made.listen(port, '127.0.0.1', done);
    });
    server = made;
  };

  const cut = async (): Promise<void> => {
    const old = server;
    server = undefined;
    const gone = old === undefined ? undefined : new Promise<void>((done) => old.close(() => done()));
    for (const wire of wires) wire.reset();
    await gone;
  };

  const update = (): void => {
    for (const wire of wires) wire.update();
  };

  for (let attempt = 1; server === undefined; attempt++) {
    port = await freePort(); // not an ephemeral one: it must still be free at restore()
    await listen().catch((error: unknown) => {
      // Another process may have taken it since we looked.
      if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE' || attempt === 5) throw error;
    });
  }
  return {
    port,
    freeze() {
      conditions.frozen = true;
      update();
    },
    thaw() {
      conditions.frozen = false;
      update();
    },
    cut,
    restore: listen,
    delay(ms) {
      conditions.delayMs = ms;
      update();
    },
    connections: () => wires.size,
    async close() {
      closed = true;
      await cut();
    },
  };
}

/** One client's connection: two sockets and a lane for each direction. */
class Wire {
  readonly #client: Socket;
  readonly #conditions: Conditions;
  readonly #upstream: { host: string; port: number };
  readonly #onEnd: () => void;
  #server: Socket | undefined;
  #lanes: Lane[] = [];
  #ended = false;

  constructor(client: Socket, upstream: { host: string; port: number }, conditions: Conditions, onEnd: () => void) {
    this.#client = client;
    this.#upstream = upstream;
    this.#conditions = conditions;
    this.#onEnd = onEnd;
    client.pause();
    this.#guard(client);
    this.update();
  }

  /** Takes new conditions into account. */
  update(): void {
    if (this.#server === undefined && !this.#conditions.frozen && !this.#ended) {
      // Connecting only now: across a frozen network a new connection would not reach the server either.
      this.#server = connect({ host: this.#upstream.host, port: this.#upstream.port, allowHalfOpen: true });
      this.#guard(this.#server);
      this.#lanes = [
        new Lane(this.#client, this.#server, this.#conditions),
        new Lane(this.#server, this.#client, this.#conditions),
      ];
    }
    for (const lane of this.#lanes) lane.pump(this.#conditions.delayMs === 0);
  }

  /** Ends both connections with a TCP reset. */
  reset(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const lane of this.#lanes) lane.stop();
    this.#client.resetAndDestroy();
    this.#server?.resetAndDestroy();
    this.#onEnd();
  }

  #guard(socket: Socket): void {
    socket.setNoDelay(true);
    socket.on('error', () => this.reset());
    socket.on('close', () => {
      // An orderly end has passed through both lanes by then; anything else is passed on as what it was, a break.
      const other = socket === this.#client ? this.#server : this.#client;
      if (other === undefined || other.destroyed || socket.errored !== null) this.reset();
    });
  }
}

/** One direction of a connection: a queue of bytes, each with the time at which it may go on. */
class Lane {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #conditions: Conditions;
  /** `bytes: null` stands for the end of the stream. */
  #queue: { dueAt: number; bytes: Buffer | null }[] = [];
  #held = 0;
  #blocked = false;
  #stopped = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket, conditions: Conditions) {
    this.#from = from;
    this.#to = to;
    this.#conditions = conditions;
    from.on('data', (bytes: Buffer) => this.#take(bytes));
    from.on('end', () => this.#take(null));
    to.on('drain', () => {
      this.#blocked = false;
      this.pump(false);
    });
  }

  #take(bytes: Buffer | null): void {
    this.#held += bytes?.length ?? 0;
    this.#queue.push({ dueAt: performance.now() + this.#conditions.delayMs, bytes });
    this.pump(false);
  }

  /** Sends what may go on and decides whether to read on; `all` lets go of delayed bytes at once. */
  pump(all: boolean): void {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    if (all) for (const item of this.#queue) item.dueAt = 0;
    while (!this.#conditions.frozen && !this.#blocked) {
      const first = this.#queue[0];
      if (first === undefined) break;
      const wait = first.dueAt - performance.now();
      if (wait > 0) {
        this.#timer = setTimeout(() => this.pump(false), wait);
        break;
      }
      this.#queue.shift();
      if (first.bytes === null) {
        this.#to.end();
      } else {
        this.#held -= first.bytes.length;
        this.#blocked = !this.#to.write(first.bytes);
      }
    }
    if (this.#conditions.frozen || this.#blocked || this.#held > heldLimit) this.#from.pause();
    else this.#from.resume();
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#queue = [];
  }
}
