import { flavours, type Flavour } from '../../deploy/demo/mysql-install.js';

/** What a run can leave out besides a flavour. */
const tools = ['pt-heartbeat', 'prometheus', 'image'] as const;
type Tool = (typeof tools)[number];

/** What the run leaves out by LOCKGATE_TEST_WITHOUT (`mysql`, `mariadb,pt-heartbeat`); those suites are skipped and say so. */
const without: readonly (Flavour | Tool)[] = (process.env['LOCKGATE_TEST_WITHOUT'] ?? '')
  .split(',')
  .map((text) => text.trim())
  .filter((text) => text !== '')
  .map((text) => {
    const named = [...flavours, ...tools].find((each) => each === text);
    if (named === undefined) throw new RangeError(`LOCKGATE_TEST_WITHOUT names nothing that can be left out: ${text}`);
    return named;
  });

if (without.length > 0) {
  process.stderr.write(`lockgate: NOT TESTED, by LOCKGATE_TEST_WITHOUT: ${without.join(', ')}\n`);
}

/** Whether the run does without the real pt-heartbeat. */
export const withoutPtHeartbeat = without.includes('pt-heartbeat');

/** Whether the run does without the real Prometheus and Alertmanager. */
export const withoutPrometheus = without.includes('prometheus');

/** Whether the run does without carrying out the Dockerfile, which takes root and the right to mount. */
export const withoutImage = without.includes('image');

interface TestedFlavour {
  readonly flavour: Flavour;
  /** For `describe.skipIf`: the run leaves it out. */
  readonly left: boolean;
}

/** Every flavour, for suites that belong to one run alone. */
export const everyFlavour: readonly TestedFlavour[] = flavours.map((flavour) => ({
  flavour,
  left: without.includes(flavour),
}));

const named = (process.env['LOCKGATE_TEST_FLAVOURS'] ?? flavours.join(',')).split(',');

/** The flavours of this run, for suites that another run repeats on the others (LOCKGATE_TEST_FLAVOURS names them). */
export const testedFlavours: readonly TestedFlavour[] = everyFlavour.filter(({ flavour }) => named.includes(flavour));
if (testedFlavours.length === 0) throw new RangeError(`LOCKGATE_TEST_FLAVOURS names no engine: ${named.join(',')}`);
