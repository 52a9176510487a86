import { flavours, type Flavour } from '../../deploy/demo/mysql-install.js';

/** Flavours that the run leaves out by LOCKGATE_TEST_WITHOUT (`mysql`, `mariadb,mysql`); their suites are skipped and say so. */
const without: readonly Flavour[] = (process.env['LOCKGATE_TEST_WITHOUT'] ?? '')
  .split(',')
  .map((text) => text.trim())
  .filter((text) => text !== '')
  .map((text) => {
    const flavour = flavours.find((each) => each === text);
    if (flavour === undefined)
      throw new RangeError(`LOCKGATE_TEST_WITHOUT names no engine that can be left out: ${text}`);
    return flavour;
  });

if (without.length > 0) {
  process.stderr.write(`lockgate: NOT TESTED, by LOCKGATE_TEST_WITHOUT: ${without.join(', ')}\n`);
}

/** Every flavour with the reason for leaving it out, for `describe.skipIf`. */
export const testedFlavours: readonly { readonly flavour: Flavour; readonly left: boolean }[] = flavours.map(
  (flavour) => ({ flavour, left: without.includes(flavour) }),
);
