import type { AwsClients } from './aws.js';

/** The clients of AWS, loaded when somebody asks for one: the SDK takes half a second and 20 MB that most have no use for. */
export class LazyAws {
  private loading: Promise<AwsClients> | null = null;

  /** The clients, the same ones for everybody. */
  clients(): Promise<AwsClients> {
    return (this.loading ??= import('./aws.js').then((m) => new m.AwsClients()));
  }

  /** Closes all connections; a client that is asked for again is made anew. */
  async close(): Promise<void> {
    if (this.loading !== null) (await this.loading).close();
  }
}
