-- What `lockgate grants` prints for dms.yaml; `npm run deploy:generate` makes this file.
-- source: mysql, database shop at source.example:3306

-- create the database that holds all that is ours
CREATE DATABASE IF NOT EXISTS lockgate CHARACTER SET utf8mb4;

-- create the heartbeat table
CREATE TABLE IF NOT EXISTS lockgate.heartbeat (
  daemon varchar(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  link varchar(140) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  run varchar(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  seq bigint NOT NULL,
  sent_at datetime(6) NOT NULL,
  PRIMARY KEY (daemon, link, run)
) ENGINE = InnoDB;

-- create the table that says in which direction each migration runs
CREATE TABLE IF NOT EXISTS lockgate.direction (
  migration varchar(63) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
  epoch bigint NOT NULL,
  direction varchar(10) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  changed_at datetime(6),
  changed_by varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  reason text CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
) ENGINE = InnoDB;

-- create the account of the daemon
CREATE USER IF NOT EXISTS 'lockgate'@'%' ACCOUNT LOCK;
-- Then give it the password that the configuration names:
-- ALTER USER 'lockgate'@'%' IDENTIFIED BY '…' ACCOUNT UNLOCK;

-- let the daemon see replication, positions, all sessions, prepared transactions, and which tables there are
GRANT REPLICATION SLAVE, PROCESS, REFERENCES, REPLICATION CLIENT /*!80000 , XA_RECOVER_ADMIN */ /*M!100509 , SLAVE MONITOR */ ON *.* TO 'lockgate'@'%';

-- let the daemon read its tables
GRANT SELECT ON lockgate.* TO 'lockgate'@'%';

-- let the daemon write heartbeats and markers of fences, and delete old ones
GRANT INSERT, DELETE ON lockgate.heartbeat TO 'lockgate'@'%';

-- let the daemon compare the data of both sides
GRANT SELECT /*!80000 , XA_RECOVER_ADMIN */ /*M!100509 , SLAVE MONITOR */ ON *.* TO 'lockgate'@'%';

-- let the daemon record the direction of a migration
GRANT INSERT, UPDATE ON lockgate.direction TO 'lockgate'@'%';
