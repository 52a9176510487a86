/** The faults that the short run leaves out: the others on MariaDB, and all of them where replication is not by GTID. */
import { everyFlavour } from '../support/flavours.js';
import { mysqlFaultSuite, mysqlResetSuite } from '../support/mysql-fault-suite.js';

for (const { flavour, left } of everyFlavour) {
  if (flavour === 'mariadb') mysqlFaultSuite({ flavour, left, gtid: true, faults: 'others' });
  mysqlFaultSuite({ flavour, left, gtid: false, faults: 'all' });
  mysqlResetSuite({ flavour, left, gtid: false });
}
