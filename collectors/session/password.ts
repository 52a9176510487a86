/** The password that a session logs in with: as configured, or a token of IAM that is made for it. */
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { messageOf, SourceError, TransientError } from '../../daemon/core/errors.js';
import { placeOf } from './faults.js';

/** How long finding credentials may take: the SDK asks the instance's own address for them where nothing else is set. */
const TOKEN_MS = 5_000;

/**
 * What `db` is logged in to with now; undefined where nothing is configured. A token of IAM is signed on this machine,
 * for this host, port and user, and is good for 15 minutes, so that each session has one of its own. Rejects with a
 * LockgateError that names the database, and never says what the password or the credentials were.
 */
export async function passwordFor(db: DatabaseConfig): Promise<string | undefined> {
  const region = db.rdsIam?.region;
  if (region === undefined) return db.password?.reveal();
  const { host, port, user } = db.address;
  // Loaded when somebody needs it: most have no use for AWS.
  const { Signer } = await import('@aws-sdk/rds-signer');
  const signed = new Signer({ hostname: host, port, username: user, region }).getAuthToken();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const message = `${placeOf(db)}: no credentials of AWS were found within ${TOKEN_MS / 1000} s to sign in with`;
      reject(new TransientError('rds_iam_slow', message, 'look whether the metadata service of the instance answers'));
    }, TOKEN_MS);
  });
  try {
    return await Promise.race([signed, late]);
  } catch (error) {
    if (error instanceof TransientError) throw error;
    throw new SourceError(
      'rds_iam_credentials',
      `${placeOf(db)}: no token of IAM could be made: ${messageOf(error)}`,
      'give the daemon credentials by the default chain of AWS (a role of the task or instance, or AWS_… variables) that allow rds-db:connect',
      { cause: error },
    );
  } finally {
    clearTimeout(timer);
    signed.catch(() => undefined);
  }
}
