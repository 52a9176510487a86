/** Majors that suites written for every PostgreSQL run on: LOCKGATE_TEST_MAJORS (`13,18`), the newest without it. */
export const testedMajors: readonly number[] = (process.env['LOCKGATE_TEST_MAJORS'] ?? '18').split(',').map((text) => {
  const major = Number(text);
  if (!Number.isInteger(major) || major < 13) throw new RangeError(`LOCKGATE_TEST_MAJORS names no major: ${text}`);
  return major;
});
