import type { VerifyConfig } from './config.js';

/** Everything of the section `verify` that decides what its signals say, as text; undefined without one. */
export function verifyQuestion(verify: VerifyConfig | undefined): string | undefined {
  if (verify === undefined) return undefined;
  const { tables, exclude, ignoreColumns, filters, schemas, standIns } = verify;
  return JSON.stringify([tables, exclude, ...[ignoreColumns, filters, schemas, standIns].map((map) => [...map])]);
}
