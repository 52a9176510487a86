import { describe, expect, it } from 'vitest';
import { bytesAcross, BinlogMeter } from '../../collectors/mysql/binlog-distance.js';
import {
  channelOfFlow,
  errorKeyOf,
  judgeApplied,
  judgeRunning,
  lostBySource,
  type SourceIdentity,
} from '../../collectors/mysql/channel-state.js';
import { parseVersion, quoteIdent, quoteLiteral } from '../../collectors/mysql/connection.js';
import type { SourceFacts, TargetFacts } from '../../collectors/mysql/position-views.js';
import { channelOf, type ReplicaChannel } from '../../collectors/mysql/replica-status.js';
import { obstacleOf } from '../../collectors/mysql/side.js';
import { parseMariadbGtidSet, parseMysqlGtidSet } from '../../daemon/core/gtid.js';

const uuid = '3f992c3a-e6c1-11f1-b0ed-02fc00000001';
const source: SourceIdentity = { name: 'onprem', uuid, serverId: 1 };
const other = '11111111-e6c1-11f1-b0ed-02fc00000001';

/** As MySQL 9.7 shows a healthy replica. */
const mysqlRow = {
  Channel_Name: '',
  Source_Host: '10.0.0.1',
  Source_Port: '3306',
  Source_UUID: uuid.toUpperCase(),
  Source_Server_Id: '1',
  Replica_IO_Running: 'Yes',
  Replica_SQL_Running: 'Yes',
  Last_IO_Errno: '0',
  Last_IO_Error: '',
  Last_SQL_Errno: '0',
  Last_SQL_Error: '',
  Source_Log_File: 'binlog.000002',
  Read_Source_Log_Pos: '900',
  Relay_Source_Log_File: 'binlog.000002',
  Exec_Source_Log_Pos: '700',
  SQL_Delay: '0',
  Auto_Position: '1',
} as const;
/** As MariaDB 10.11 shows one. */
const mariadbRow = {
  Connection_name: 'shop',
  Master_Host: '10.0.0.1',
  Master_Port: '3306',
  Master_Server_Id: '1',
  Slave_IO_Running: 'Yes',
  Slave_SQL_Running: 'Yes',
  Master_Log_File: 'binlog.000002',
  Read_Master_Log_Pos: '900',
  Relay_Master_Log_File: 'binlog.000002',
  Exec_Master_Log_Pos: '700',
  Using_Gtid: 'Slave_Pos',
  Replicate_Ignore_Table: 'lockgate.heartbeat',
} as const;

const healthy: ReplicaChannel = channelOf(mysqlRow);
const changed = (more: Partial<ReplicaChannel>): ReplicaChannel => ({ ...healthy, ...more });
const flow = 'default channel';

describe('the status of a replica', () => {
  it('reads both spellings', () => {
    expect(healthy).toMatchObject({ sourceUuid: uuid, io: 'Yes', sql: 'Yes', executedOffset: 700, byGtid: true });
    expect(channelOf(mariadbRow)).toMatchObject({
      channel: 'shop',
      sourceUuid: null,
      sourceServerId: 1,
      readOffset: 900,
      executedFile: 'binlog.000002',
      byGtid: true,
      filters: { Replicate_Ignore_Table: 'lockgate.heartbeat' },
    });
    expect(channelOf({ ...mariadbRow, Using_Gtid: 'No' }).byGtid).toBe(false);
  });

  it('finds the channel that is meant', () => {
    const named = changed({ channel: 'shop' });
    expect(channelOfFlow('shop', [healthy, named], source)).toBe(named);
    expect(channelOfFlow(flow, [healthy, named], source)).toBe(healthy);
    expect(channelOfFlow(flow, [named], source)).toBe(named);
    expect(channelOfFlow(flow, [changed({ channel: 'crm', sourceUuid: other })], source)).toBeNull();
    expect(channelOfFlow(flow, [named, changed({ channel: 'b' })], source)).toBeNull();
    expect(channelOfFlow('nobody', [named], source)).toBeNull();
  });
});

describe('running', () => {
  it.each<[string, ReplicaChannel[], number, RegExp | null]>([
    ['healthy', [healthy], 1, null],
    ['no replica', [], 0, /is no replica/],
    ['SQL thread stopped', [changed({ sql: 'No' })], 0, /the SQL thread is stopped$/],
    ['SQL thread failed', [changed({ sql: 'No', sqlErrno: 1062, sqlError: 'Dup' })], 0, /by error 1062: Dup/],
    [
      'IO thread stopped',
      [changed({ io: 'No', ioErrno: 1236, ioError: 'purged' })],
      0,
      /IO thread is stopped by error/,
    ],
    ['IO thread connecting', [changed({ io: 'Connecting' })], 0, /cannot connect to 10.0.0.1/],
    ['a word that is not known', [changed({ io: 'Preparing' })], 0, /IO thread is stopped/],
    ['another source', [changed({ sourceUuid: other })], 0, /which is not onprem/],
    ['another channel', [changed({ channel: 'x', sourceUuid: other })], 0, /no channel of this name/],
    ['delayed', [changed({ delay: 3600 })], 1, /delayed on purpose by 3600 s/],
  ])('%s', (_, channels, value, reason) => {
    const judged = judgeRunning(flow, 'aws', channels, source);
    expect(judged.value).toBe(value);
    if (reason === null) expect(judged.reason).toBeNull();
    else expect(judged.reason).toMatch(reason);
  });
});

describe('the applied position', () => {
  const set = parseMysqlGtidSet(`${uuid}:1-7`);
  const place = { kind: 'binlog', server: uuid, file: 'binlog.000002', offset: 900 } as const;

  it('is the set that was executed where the source has GTIDs', () => {
    expect(judgeApplied(flow, 'aws', [], source, { kind: 'gtid', set }, set).position).toEqual({ kind: 'gtid', set });
    expect(judgeApplied(flow, 'aws', [healthy], source, { kind: 'gtid', set }, null).position).toBeNull();
  });

  it('is what the channel has executed where it has none', () => {
    const at = (channels: ReplicaChannel[]) => judgeApplied(flow, 'aws', channels, source, place, null).position;
    expect(at([healthy])).toEqual({ ...place, offset: 700 });
    expect(at([])).toBeNull();
    expect(at([changed({ executedFile: '' })])).toBeNull();
    expect(at([changed({ sourceUuid: other })])).toBeNull();
  });
});

describe('a source that has lost transactions', () => {
  const target = (more: Partial<TargetFacts>): TargetFacts => ({
    identity: { uuid: other, serverId: 2 },
    channels: [healthy],
    executed: null,
    ...more,
  });
  const facts = (more: Partial<SourceFacts>): SourceFacts => ({
    identity: source,
    position: null,
    gtids: null,
    head: null,
    files: [],
    ...more,
  });

  it.each([
    [`${uuid}:1-7`, `${uuid}:1-9`, false],
    [`${uuid}:1-7`, `${uuid}:1-7`, false],
    [`${uuid}:1-7`, `${uuid}:1-6`, true],
    [`${uuid}:1-7`, '', true],
    [`${uuid}:1-7,${other}:1-3`, `${uuid}:1-7`, false],
  ])('by GTIDs of MySQL: %s there, %s here', (there, here, lost) => {
    const seen = target({ executed: parseMysqlGtidSet(there) });
    expect(lostBySource(seen, facts({ gtids: parseMysqlGtidSet(here) }), 'onprem') !== null).toBe(lost);
  });

  it.each([
    ['0-1-7', '0-1-9', false],
    ['0-1-7', '0-1-6', true],
    ['0-1-7', '', true],
    ['0-9-7', '0-1-6', false],
    ['0-1-7,5-3-8', '0-1-7', false],
  ])('by GTIDs of MariaDB: %s there, %s here', (there, here, lost) => {
    const seen = target({ executed: parseMariadbGtidSet(there) });
    const identity = { uuid: null, serverId: 1 };
    expect(lostBySource(seen, facts({ identity, gtids: parseMariadbGtidSet(here) }), 'onprem') !== null).toBe(lost);
  });

  it.each([
    ['binlog.000002', 900, false],
    ['binlog.000002', 700, false],
    ['binlog.000002', 699, true],
    ['binlog.000001', 9_000, true],
    ['binlog.000003', 4, false],
  ])('by coordinates: it ends at %s:%d', (file, offset, lost) => {
    const position = { kind: 'binlog', server: uuid, file, offset } as const;
    expect(lostBySource(target({}), facts({ position }), 'onprem') !== null).toBe(lost);
    const elsewhere = target({ channels: [changed({ sourceUuid: other })] });
    expect(lostBySource(elsewhere, facts({ position }), 'onprem')).toBeNull();
  });
});

describe('errors', () => {
  it('are told apart by what they say and where, and connecting again is none', () => {
    expect(errorKeyOf(healthy)).toBeNull();
    expect(errorKeyOf(changed({ io: 'Connecting', ioErrno: 2003 }))).toBeNull();
    const first = errorKeyOf(changed({ sqlErrno: 1062, sqlError: 'Dup' }));
    expect(first).not.toBeNull();
    expect(errorKeyOf(changed({ sqlErrno: 1062, sqlError: 'Dup', executedOffset: 701 }))).not.toBe(first);
  });
});

describe('distances in a binlog', () => {
  const files = [
    { name: 'b.1', size: 100 },
    { name: 'b.2', size: 50 },
    { name: 'b.3', size: 10 },
  ];

  it('go across files', () => {
    expect(bytesAcross(files, { file: 'b.1', offset: 40 }, { file: 'b.3', offset: 30 })).toBe(60 + 50 + 30);
    expect(bytesAcross(files, { file: 'b.2', offset: 40 }, { file: 'b.2', offset: 45 })).toBe(5);
    expect(bytesAcross(files, { file: 'b.3', offset: 4 }, { file: 'b.1', offset: 45 })).toBe(0);
    expect(bytesAcross(files, { file: 'b.0', offset: 4 }, { file: 'b.1', offset: 45 })).toBeNull();
  });

  it('are kept when files are purged', () => {
    const meter = new BinlogMeter();
    meter.learn(files);
    meter.learn([...files.slice(1), { name: 'b.4', size: 1 }]);
    expect(meter.at({ file: 'b.1', offset: 40 })).toBe(40);
    expect(meter.at({ file: 'b.4', offset: 1 })).toBe(161);
    expect(meter.at({ file: 'b.9', offset: 1 })).toBeNull();
  });
});

describe('a server', () => {
  it.each([
    ['9.7.0', 'mysql', 90_700],
    ['8.0.36-0ubuntu0.22.04.1', 'mysql', 80_036],
    ['10.11.18-MariaDB-0+deb12u1', 'mariadb', 101_118],
    ['5.5.5-10.6.12-MariaDB-log', 'mariadb', 100_612],
  ])('of version %s is %s', (text, flavour, number) => {
    expect(parseVersion(text)).toEqual({ flavour, number, text });
  });

  it('says why it takes no writes', () => {
    const off = { read_only: '0', super_read_only: '0', innodb_read_only: '0' };
    expect(obstacleOf(off)).toBeNull();
    expect(obstacleOf({ ...off, read_only: '1' })).toMatch(/^read_only is on/);
    expect(obstacleOf({ ...off, super_read_only: 1 })).toMatch(/^super_read_only/);
    expect(obstacleOf({ ...off, innodb_read_only: 1 })).toMatch(/^innodb_read_only/);
  });

  it('is given names and texts quoted', () => {
    expect(quoteIdent('a`b')).toBe('`a``b`');
    expect(quoteLiteral("a'b\\c")).toBe("'a''b\\\\c'");
  });
});
