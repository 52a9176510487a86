import { readFile } from 'node:fs/promises';
import type { ConnectionOptions } from 'node:tls';
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { SourceError, messageOf } from '../../daemon/core/errors.js';
import { placeOf } from './faults.js';

/** Options of a TLS connection as the database's `tls` asks for them; files are read again at each call. */
export async function tlsOptions(db: DatabaseConfig): Promise<ConnectionOptions> {
  const { mode, ca, cert, key } = db.tls;
  const verify = mode === 'verify-ca' || mode === 'verify-full';
  const options: ConnectionOptions = { rejectUnauthorized: verify };
  if (mode === 'verify-ca') options.checkServerIdentity = () => undefined;
  if (ca !== null && verify) options.ca = await pem(db, 'ca', ca);
  if (cert !== null) options.cert = await pem(db, 'cert', cert);
  if (key !== null) options.key = await pem(db, 'key', key);
  return options;
}

async function pem(db: DatabaseConfig, what: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const hint = `make tls.${what} of database ${db.name} a file that the daemon can read`;
    throw new SourceError('tls_file', `${placeOf(db)}: cannot read ${path}: ${messageOf(error)}`, hint, {
      cause: error,
    });
  }
}
