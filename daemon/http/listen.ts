import { readFileSync } from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import type { AddressInfo } from 'node:net';
import { createSecureContext } from 'node:tls';
import type { DaemonConfig } from '../core/config.js';
import { messageOf, UsageError } from '../core/errors.js';
import { LIMITS } from './limits.js';

/** Where the server listens; `port` is the one in use, also when 0 was asked for. */
export interface ListenAddress {
  host: string;
  port: number;
  url: string;
}

/** Makes the server of Node with every limit set; throws a UsageError (`tls_unusable`) when the certificate cannot be used. */
export function createListener(config: DaemonConfig, handler: http.RequestListener): http.Server {
  const options = {
    maxHeaderSize: LIMITS.headerBytes,
    requestTimeout: LIMITS.requestTimeoutMs,
    headersTimeout: LIMITS.headersTimeoutMs,
    keepAliveTimeout: LIMITS.keepAliveTimeoutMs,
    connectionsCheckingInterval: 5_000,
  };
  const server =
    config.tls === null
      ? http.createServer(options, handler)
      : https.createServer({ ...options, ...readTls(config.tls) }, handler);
  server.maxConnections = LIMITS.connections;
  return server;
}

/** Reads certificate and key and tries them; throws a UsageError (`tls_unusable`) when they are no pair. */
export function readTls(files: { cert: string; key: string }): { cert: Buffer; key: Buffer; minVersion: 'TLSv1.2' } {
  try {
    const tls = { cert: readFileSync(files.cert), key: readFileSync(files.key), minVersion: 'TLSv1.2' as const };
    createSecureContext(tls);
    return tls;
  } catch (error) {
    throw new UsageError(
      'tls_unusable',
      `daemon.tls: ${files.cert} and ${files.key} cannot be used: ${messageOf(error)}`,
      'Both must be readable PEM files, and the key must belong to the certificate.',
      { cause: error },
    );
  }
}

/** Listens at the configured address; throws a UsageError that names it when it cannot be had. */
export async function listen(server: http.Server, config: DaemonConfig): Promise<ListenAddress> {
  const host = config.listen.host.replace(/^\[(.*)\]$/, '$1');
  const wanted = shown(host, config.listen.port);
  await new Promise<void>((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException): void => reject(listenError(error, wanted));
    server.once('error', fail);
    server.listen({ host, port: config.listen.port }, () => {
      server.off('error', fail);
      resolve();
    });
  });
  const { address, port } = server.address() as AddressInfo;
  return { host: address, port, url: `${config.tls === null ? 'http' : 'https'}://${shown(host, port)}` };
}

function shown(host: string, port: number): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function listenError(error: NodeJS.ErrnoException, wanted: string): UsageError {
  const refuse = (code: string, what: string, hint: string): UsageError =>
    new UsageError(code, `${wanted} ${what}`, hint, { cause: error });
  switch (error.code) {
    case 'EADDRINUSE':
      return refuse(
        'port_in_use',
        'is already in use',
        'Stop what listens there (another lockgate?), or change daemon.listen.',
      );
    case 'EACCES':
      return refuse('port_forbidden', 'is not allowed for this user', 'Choose a port from 1024 up in daemon.listen.');
    default:
      return refuse(
        'listen_failed',
        `cannot be listened on: ${error.message}`,
        'daemon.listen must be an address of this machine.',
      );
  }
}
