/** The yardstick for `check`: node:http with one answer that is ready beforehand, and nothing else. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answer } from './child.js';

/** What a bare server is to answer. */
export interface BareAnswer {
  status: number;
  body: string;
}

/** The yardstick's own process: a server for each answer it is given; sends back their ports. */
export function serveBare(): void {
  process.on('message', (answers: BareAnswer[]) => {
    const ports = answers.map(
      ({ status, body }) =>
        new Promise<number>((resolve) => {
          const length = Buffer.byteLength(body);
          const server = createServer((_request, response) => {
            response.writeHead(status, {
              'content-type': 'application/json; charset=utf-8',
              'cache-control': 'no-store',
              'content-length': length,
            });
            response.end(body);
          });
          server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
        }),
    );
    void Promise.all(ports).then(answer);
  });
  answer({});
}
