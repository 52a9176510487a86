/** What went wrong when AWS was asked, as what it means for whoever runs lockgate. */
import { LockgateError, messageOf, SourceError, TransientError } from '../../daemon/core/errors.js';

/** Errors that say so by name, whatever the service calls them. */
const KINDS: readonly { names: RegExp; kind: Kind }[] = [
  { names: /^(CredentialsProviderError|ProviderError|TokenProviderError)$/, kind: 'no-credentials' },
  { names: /^(ExpiredToken(Exception)?|RequestExpired)$/, kind: 'expired' },
  { names: /^(AccessDenied(Exception|Fault)?|UnauthorizedOperation|KMSAccessDeniedFault)$/, kind: 'denied' },
  {
    names:
      /^(UnrecognizedClientException|InvalidClientTokenId|InvalidSignature(Exception)?|SignatureDoesNotMatch|IncompleteSignature(Exception)?|MissingAuthenticationToken(Exception)?|InvalidAccessKeyId|OptInRequired)$/,
    kind: 'refused-credentials',
  },
  {
    names: /^(Throttling(Exception)?|ThrottledException|TooManyRequestsException|RequestLimitExceeded|SlowDown)$/,
    kind: 'throttled',
  },
  { names: /^ResourceNotFound(Fault|Exception)?$/, kind: 'not-found' },
];

type Kind = 'no-credentials' | 'expired' | 'denied' | 'refused-credentials' | 'throttled' | 'not-found';

/** Names of errors that are of the way to AWS, not of AWS. */
const NETWORK =
  /^(TimeoutError|AbortError|NetworkingError|ECONN\w+|EPIPE|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|ETIMEDOUT)$/;

/**
 * Turns whatever a client of the SDK threw into a LockgateError. `permission` is the action that the request needs, such as
 * `dms:DescribeReplicationTasks`. Codes: `aws_no_credentials`, `aws_expired`, `aws_denied`, `aws_refused_credentials`,
 * `aws_throttled`, `aws_not_found`, `aws_unreachable`, `aws_failed` (its own fault, or an answer that makes no sense) and
 * `aws_refused` (anything else that it said no to).
 */
export function awsError(error: unknown, permission: string): LockgateError {
  if (error instanceof LockgateError) return error;
  const name = error instanceof Error ? error.name : '';
  const said = messageOf(error);
  const options = { cause: error };
  switch (KINDS.find((k) => k.names.test(name))?.kind) {
    case 'no-credentials':
      return new SourceError(
        'aws_no_credentials',
        `no AWS credentials for ${permission}: ${said}`,
        'give the machine, container or pod a role, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE',
        options,
      );
    case 'expired':
      return new SourceError(
        'aws_expired',
        `the AWS credentials have expired (${permission}): ${said}`,
        'renew them (`aws sso login`, a new session), or give the machine a role, which renews itself',
        options,
      );
    case 'denied':
      return new SourceError(
        'aws_denied',
        `AWS denies ${permission}: ${said}`,
        `allow the action ${permission} to what lockgate runs as`,
        options,
      );
    case 'refused-credentials':
      return new SourceError(
        'aws_refused_credentials',
        `AWS does not accept the credentials (${permission}): ${name}: ${said}`,
        'look at the keys, at the region and at the clock of this machine',
        options,
      );
    case 'throttled':
      return new TransientError('aws_throttled', `AWS throttles ${permission}: ${said}`, undefined, options);
    case 'not-found':
      return new SourceError(
        'aws_not_found',
        `AWS does not know it (${permission}): ${said}`,
        'look at the ARN',
        options,
      );
    case undefined:
  }
  const code = codeOf(error);
  if (NETWORK.test(name) || NETWORK.test(code)) {
    const what = NETWORK.test(code) ? `${code} ${said}` : said;
    return new TransientError('aws_unreachable', `AWS does not answer (${permission}): ${what}`, undefined, options);
  }
  const status = statusOf(error);
  if (status === null || status >= 500 || (status >= 200 && status < 300)) {
    return new TransientError('aws_failed', `AWS failed (${permission}): ${name}: ${said}`, undefined, options);
  }
  return new SourceError('aws_refused', `AWS refuses ${permission}: ${name}: ${said}`, null, options);
}

function codeOf(error: unknown): string {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : null;
  return typeof code === 'string' ? code : '';
}

/** The status of HTTP that the answer had; null when there was none. */
function statusOf(error: unknown): number | null {
  const meta = typeof error === 'object' && error !== null && '$metadata' in error ? error.$metadata : null;
  const status = typeof meta === 'object' && meta !== null && 'httpStatusCode' in meta ? meta.httpStatusCode : null;
  return typeof status === 'number' ? status : null;
}
