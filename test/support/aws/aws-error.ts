/** A refusal by name, as it goes over the wire. */
export class AwsError extends Error {
  constructor(
    /** As the service spells it, for example `ResourceNotFoundFault`. */
    readonly code: string,
    message: string,
    readonly status = 400,
  ) {
    super(message);
  }
}
