import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** What takes minutes, longest first; begun last, it would be run with nothing beside it. */
const LONGEST = [
  'test/scenario/mysql-faults.test.ts',
  'test/faults/mysql-faults.test.ts',
  'test/faults/versions.test.ts',
  'test/faults/environment.test.ts',
  'test/faults/mysql-environment.test.ts',
  'test/scenario/mysql-cross.test.ts',
  'test/faults/long.test.ts',
  'test/scenario/mysql-environment.test.ts',
  'test/scenario/mysql-cutover-faults.test.ts',
  'test/scenario/special.test.ts',
  'test/scenario/faults-18.test.ts',
  'test/integration/positions.test.ts',
  'test/scenario/operations.test.ts',
  'test/scenario/page.test.ts',
  'test/scenario/docs.test.ts',
  'test/scenario/demo.test.ts',
  'test/faults/demo.test.ts',
  'test/scenario/cutover-races.test.ts',
  'test/integration/local-writes.test.ts',
  'test/scenario/cutover-faults.test.ts',
  'test/scenario/faults-13.test.ts',
  'test/scenario/coverage-18.test.ts',
  'test/scenario/bad-input.test.ts',
  'test/scenario/mysql-special.test.ts',
  'test/integration/setup-doctor.test.ts',
  'test/integration/mysql-chain.test.ts',
  'test/integration/mysql-binlog-reader.test.ts',
];

/** Before the first test, and once for all of these projects that run. */
const COMPILE = ['test/support/compile.ts'];

/** GitHub's parser of workflows names source maps whose sources it does not carry: a warning for each of its files. */
const WITHOUT_MAPS = {
  name: 'without-maps',
  enforce: 'pre' as const,
  load: (id: string): string | null =>
    /@actions\/.*\.js$/.test(id) ? readFileSync(id, 'utf8').replace(/^\/\/# sourceMappingURL.*$/m, '') : null,
};

/** The longest first, the others as vitest would have them. */
class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification): number => {
      const at = LONGEST.findIndex((name) => moduleId.endsWith(name));
      return at < 0 ? LONGEST.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}

/** They take minutes on real servers, so they run with the other long ones. */
const LONG = ['test/integration/positions.test.ts', 'test/scenario/mysql-environment.test.ts'];

/** Suites written for every major: `npm test` takes the newest, `test:faults` the oldest, `test:matrix` all of them. */
const BY_MAJOR = [
  'test/integration/chain.test.ts',
  'test/integration/chain-restore.test.ts',
  'test/integration/coverage.test.ts',
  'test/integration/fence-postgres.test.ts',
  'test/integration/heartbeat-faults.test.ts',
  'test/integration/heartbeat-modes.test.ts',
  'test/integration/local-writes.test.ts',
  'test/integration/positions-physical.test.ts',
  'test/integration/retention.test.ts',
  'test/integration/sequences.test.ts',
  'test/integration/side-activity.test.ts',
  'test/integration/side.test.ts',
  'test/integration/support.test.ts',
  'test/integration/wal-reader.test.ts',
  'test/scenario/chain.test.ts',
  'test/scenario/environment.test.ts',
  'test/scenario/stray-writes.test.ts',
];

/** Suites written for both flavours of MySQL: `npm test` takes MySQL itself, `test:faults` MariaDB, `test:mysql` both. */
const BY_FLAVOUR = [
  'test/integration/mysql-*.test.ts',
  'test/scenario/verify-mysql.test.ts',
  'test/scenario/verify-cross.test.ts',
  ...['chain', 'cross', 'cross-cutover', 'cutover', 'cutover-faults', 'demo', 'special', 'stray-writes'].map(
    (name) => `test/scenario/mysql-${name}.test.ts`,
  ),
];

// Unit tests touch nothing outside the process but loopback sockets and temporary files. Integration, scenario and
// fault tests start real database servers and wait most of the time: few workers, long limits, and never at the same time
// as the unit tests, whose timing they would spoil. How long a test may take there is for what hangs, and no measure: one
// that is cut off on a slow machine runs on beside the next and spoils that, too.
export default defineConfig({
  test: {
    reporters: ['default'],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          globalSetup: ['test/support/built-page.ts'],
          include: ['test/unit/**/*.test.ts', 'test/contract/**/*.test.ts'],
          testTimeout: 10_000,
          hookTimeout: 10_000,
          maxWorkers: 2,
          // GitHub's parser of workflows imports JSON as only bundlers do.
          server: { deps: { inline: [/@actions\//] } },
          sequence: { groupOrder: 0 },
        },
        plugins: [WITHOUT_MAPS],
      },
      {
        test: {
          name: 'integration',
          globalSetup: COMPILE,
          include: ['test/integration/**/*.test.ts', 'test/scenario/**/*.test.ts'],
          exclude: LONG,
          env: { LOCKGATE_TEST_MAJORS: '18', LOCKGATE_TEST_FLAVOURS: 'mysql' },
          testTimeout: 120_000,
          hookTimeout: 120_000,
          maxWorkers: 4,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'faults',
          globalSetup: COMPILE,
          include: ['test/faults/**/*.test.ts', ...LONG, ...BY_MAJOR, ...BY_FLAVOUR],
          env: { LOCKGATE_TEST_MAJORS: '13', LOCKGATE_TEST_FLAVOURS: 'mariadb' },
          testTimeout: 180_000,
          hookTimeout: 120_000,
          maxWorkers: 4,
          sequence: { groupOrder: 2 },
        },
      },
      {
        test: {
          name: 'mysql',
          globalSetup: COMPILE,
          include: ['test/{integration,scenario,faults}/mysql-*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          maxWorkers: 2,
          sequence: { groupOrder: 4 },
        },
      },
      {
        test: {
          name: 'matrix',
          globalSetup: COMPILE,
          include: ['test/matrix/**/*.test.ts', ...BY_MAJOR],
          // One's own choice wins: `LOCKGATE_TEST_MAJORS=15 npm run test:matrix`.
          env: { LOCKGATE_TEST_MAJORS: process.env['LOCKGATE_TEST_MAJORS'] ?? '13,14,15,16,17,18' },
          testTimeout: 60_000,
          hookTimeout: 120_000,
          maxWorkers: 2,
          sequence: { groupOrder: 3 },
        },
      },
    ],
  },
});
