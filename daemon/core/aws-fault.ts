/** What a failed request of an AWS client means, told by the error's name and status, which are part of AWS's interface. */

/** `invalid` is the request's own fault; all others may pass, or end once somebody has granted or renewed something. */
export const AWS_FAULT_KINDS = ['throttled', 'credentials', 'denied', 'invalid', 'unreachable'] as const;

export type AwsFaultKind = (typeof AWS_FAULT_KINDS)[number];

/** One failure. */
export interface AwsFault {
  kind: AwsFaultKind;
  /** For people, with the error's name, bounded. */
  text: string;
}

const THROTTLED =
  /^(Throttling|ThrottlingException|ThrottledException|RequestThrottled|RequestThrottledException|RequestLimitExceeded|LimitExceeded|LimitExceededException|LimitExceededFault|TooManyRequestsException|SlowDown|BandwidthLimitExceeded)$/;
const CREDENTIALS =
  /^(ExpiredToken|ExpiredTokenException|RequestExpired|CredentialsProviderError|TokenProviderError|UnrecognizedClient|UnrecognizedClientException|InvalidClientTokenId|InvalidAccessKeyId|InvalidSignatureException|SignatureDoesNotMatch|IncompleteSignature|IncompleteSignatureException|MissingAuthenticationToken|MissingAuthenticationTokenException|AuthFailure)$/;
const DENIED =
  /^(AccessDenied|AccessDeniedException|AccessDeniedFault|UnauthorizedOperation|NotAuthorized|OptInRequired)$/;
/** Characters of AWS's words that are shown. */
const MOST_WORDS = 300;

/** Tells what an error thrown by a client of the SDK means. */
export function awsFaultOf(error: unknown): AwsFault {
  const { name, message, status } = partsOf(error);
  const words = message.length > MOST_WORDS ? `${message.slice(0, MOST_WORDS)}…` : message;
  const text = words === '' || words === name ? name : `${name}: ${words}`;
  return { kind: kindOf(name, status), text };
}

function kindOf(name: string, status: number | null): AwsFaultKind {
  if (THROTTLED.test(name) || status === 429) return 'throttled';
  if (CREDENTIALS.test(name)) return 'credentials';
  if (DENIED.test(name) || status === 403) return 'denied';
  return status !== null && status >= 400 && status < 500 && status !== 408 ? 'invalid' : 'unreachable';
}

function partsOf(error: unknown): { name: string; message: string; status: number | null } {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error), status: null };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : null;
  const metadata = '$metadata' in error ? error.$metadata : undefined;
  const status =
    typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata ? metadata.httpStatusCode : null;
  return {
    // A failure of the connection is best told by its code.
    name: error.name === 'Error' && code !== null ? code : error.name,
    message: error.message.replace(/[\s\p{Cc}]+/gu, ' ').trim(),
    status: typeof status === 'number' ? status : null,
  };
}
