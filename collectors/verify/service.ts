import { SourceError } from '../../daemon/core/errors.js';
import type { Verifier, VerifierOptions } from './verifier.js';

/** What compares the data of two databases. */
export function createVerifier({ source, target }: VerifierOptions): Verifier {
  const refuse = (): Promise<never> =>
    Promise.reject(
      new SourceError(
        'not_built',
        `comparing ${source.database} with ${target.database} is not built into this version yet`,
      ),
    );
  return { look: refuse, run: refuse, values: refuse, close: () => Promise.resolve() };
}
