import { describe, expect, it } from 'vitest';
import {
  burdenOf,
  chooseServerId,
  noHeartbeatsIn,
  refusalIn,
  replicaUuid,
} from '../../collectors/mysql/binlog-checks.js';
import { sortFailure } from '../../collectors/mysql/binlog-stream.js';
import { pauseMs } from '../../collectors/mysql/binlog-reader.js';
import type { BinlogFailure } from '../../collectors/mysql/binlog-protocol.js';
import { SourceError, TransientError } from '../../daemon/core/errors.js';
import { databaseAt } from '../support/listening.js';

const db = databaseAt('aws', 'mysql://lg:pw@127.0.0.1:3306/app');
const fine = { log_bin: 'ON', binlog_format: 'ROW', log_replica_updates: 'ON', binlog_transaction_compression: 'OFF' };
const settings = (changed: Record<string, string> = {}) => new Map(Object.entries({ ...fine, ...changed }));

describe('settings of a server whose binlog is to be read', () => {
  it('nothing is in the way on a server as it should be', () => {
    expect(refusalIn(settings(), db)).toBeNull();
    expect(noHeartbeatsIn(settings())).toBeNull();
    // Of servers to come, which have no other format.
    expect(
      noHeartbeatsIn(
        new Map([
          ['log_bin', 'ON'],
          ['log_replica_updates', 'ON'],
        ]),
      ),
    ).toBeNull();
  });
  it.each([
    [{ log_bin: 'OFF' }, 'keeps no binlog', 'log_bin'],
    [{ binlog_transaction_compression: 'ON' }, 'binlog_transaction_compression is ON', 'SET PERSIST'],
  ])('%j', (changed, message, hint) => {
    const refusal = refusalIn(settings(changed), db);
    expect(refusal?.message).toContain(message);
    expect(refusal?.hint).toContain(hint);
  });
  it.each([
    [{ log_replica_updates: 'OFF' }, 'set log_replica_updates = ON'],
    [{ binlog_format: 'MIXED' }, 'SET GLOBAL binlog_format = ROW'],
    [{ binlog_format: 'STATEMENT' }, 'binlog_format is STATEMENT'],
  ])('%j hides heartbeats only', (changed, reason) => {
    expect(refusalIn(settings(changed), db)).toBeNull();
    expect(noHeartbeatsIn(settings(changed))).toContain(reason);
  });
  it('MariaDB is told its own word', () => {
    expect(noHeartbeatsIn(new Map([['log_slave_updates', 'OFF']]))).toContain('set log_slave_updates = ON');
  });
  it('gives way before it is a burden', () => {
    expect(burdenOf({ dumps: 7, freeConnections: 5 }, db)).toBeNull();
    expect(burdenOf({ dumps: 8, freeConnections: 50 }, db)?.code).toBe('binlog_many_readers');
    expect(burdenOf({ dumps: 0, freeConnections: 4 }, db)?.code).toBe('binlog_few_connections');
  });
});

describe('the reader’s server id', () => {
  it('is the same each time, another one for each daemon and database, and never taken', () => {
    const id = chooseServerId(db, 'a', new Set());
    expect(chooseServerId(db, 'a', new Set())).toBe(id);
    expect(chooseServerId(db, 'b', new Set())).not.toBe(id);
    expect(chooseServerId({ ...db, name: 'other' }, 'a', new Set())).not.toBe(id);
    expect(id).toBeGreaterThanOrEqual(2 ** 31);
    expect(chooseServerId(db, 'a', new Set([id, id + 1]))).toBe(id + 2);
    expect(replicaUuid(db, 'a')).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  });
  it('is the configured one, which must not be taken', () => {
    expect(chooseServerId({ ...db, serverId: 77 }, 'a', new Set([1, 2]))).toBe(77);
    expect(() => chooseServerId({ ...db, serverId: 2 }, 'a', new Set([1, 2]))).toThrow(SourceError);
  });
});

describe('why a stream ended', () => {
  const failure = (fields: Partial<BinlogFailure>): BinlogFailure => ({
    ...{ kind: 'error', message: 'x', errno: null, code: null, sqlState: null },
    ...fields,
  });
  it.each([
    [failure({ kind: 'stalled' }), 'binlog_stalled'],
    [failure({ kind: 'compressed' }), 'binlog_compressed'],
    [failure({ kind: 'reset' }), 'binlog_gone'],
    [failure({ errno: 4052, sqlState: 'HY000' }), 'binlog_duplicate'],
    [
      failure({ errno: 1236, message: 'A replica with the same server_uuid/server_id as this replica has connected' }),
      'binlog_duplicate',
    ],
    [failure({ errno: 1236, message: 'Could not find first log file name in binary log index file' }), 'binlog_gone'],
    [failure({ message: 'Insufficient permissions to access: lockgate.heartbeat' }), 'binlog_table'],
    [failure({ errno: 1227, sqlState: '42000' }), 'mysql_privilege'],
    [failure({ errno: 1045, sqlState: '28000' }), 'mysql_wrong_password'],
    [failure({ code: 'ECONNREFUSED', errno: -111 }), 'connection_refused'],
  ])('%j', (why, code) => expect(sortFailure(why, db).code).toBe(code));
});

describe('how long a reader stays off', () => {
  const duplicate = new SourceError('binlog_duplicate', 'put out', 'hint');
  it.each([
    [1, 60_000, 60_000],
    [2, 60_000, 120_000],
    [4, 240_000, 480_000],
    [7, 1_800_000, 3_600_000],
    [1_000, 1_800_000, 3_600_000],
  ])('after it was put out %i times', (evictions, least, most) => {
    for (let n = 0; n < 100; n += 1) {
      const pause = pauseMs(duplicate, 0, evictions);
      expect(pause).toBeGreaterThanOrEqual(least);
      expect(pause).toBeLessThanOrEqual(most);
    }
  });
  it('is short after what mends itself, and never nothing', () => {
    for (const failures of [0, 3, 1_000]) {
      const pause = pauseMs(new TransientError('x', 'lost'), failures, 5);
      expect(pause).toBeGreaterThanOrEqual(50);
      expect(pause).toBeLessThanOrEqual(5_000);
    }
  });
});
