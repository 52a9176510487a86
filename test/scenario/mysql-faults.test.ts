/** Every fault on MySQL, the newer of the two; one of each class on MariaDB. The rest is in test/faults. */
import { everyFlavour } from '../support/flavours.js';
import { mysqlFaultSuite, mysqlResetSuite } from '../support/mysql-fault-suite.js';

for (const { flavour, left } of everyFlavour) {
  mysqlFaultSuite({ flavour, left, gtid: true, faults: flavour === 'mysql' ? 'all' : 'first of each class' });
  mysqlResetSuite({ flavour, left, gtid: true });
}
