import { connect, createServer, type Server, type Socket } from 'node:net';

/** A TCP connection's way through this process, which can be held up as a network that has silently gone. */
export class Wire {
  readonly #sockets = new Set<Socket>();
  #server: Server | null = null;
  #frozen = false;
  port = 0;

  constructor(private readonly upstream: { host: string; port: number }) {}

  /** Begins to listen on a free port. */
  async open(): Promise<void> {
    const server = createServer((client) => {
      const far = connect(this.upstream.port, this.upstream.host);
      for (const socket of [client, far]) {
        this.#sockets.add(socket);
        socket.once('close', () => {
          this.#sockets.delete(socket);
          client.destroy();
          far.destroy();
        });
        socket.on('error', () => undefined); // the end of one side ends the other
      }
      client.on('data', (chunk) => void far.write(chunk));
      far.on('data', (chunk) => void client.write(chunk));
      if (this.#frozen) for (const socket of [client, far]) socket.pause();
    });
    await new Promise<void>((done, fail) => {
      server.once('error', fail);
      server.listen(0, '127.0.0.1', done);
    });
    const address = server.address();
    this.port = typeof address === 'object' && address !== null ? address.port : 0;
    this.#server = server;
  }

  /** Nothing passes any more, and nobody is told. */
  freeze(): void {
    this.#frozen = true;
    for (const socket of this.#sockets) socket.pause();
  }

  thaw(): void {
    this.#frozen = false;
    for (const socket of this.#sockets) socket.resume();
  }

  close(): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
