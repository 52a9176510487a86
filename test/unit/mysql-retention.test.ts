import { describe, expect, it } from 'vitest';
import {
  FinishedFiles,
  judgeRetained,
  judgeRunway,
  type KeptLog,
  type NeededFrom,
  type PurgeSettings,
} from '../../collectors/mysql/retention.js';
import { purgeSettingsOf } from '../../collectors/mysql/retention-watch.js';

const S = 1_000_000;
const files = [
  { name: 'binlog.000003', size: 1_000 },
  { name: 'binlog.000004', size: 2_000 },
  { name: 'binlog.000005', size: 500 },
];
const log: KeptLog = { from: 'onprem', files, head: { file: 'binlog.000005', offset: 500 } };
const at = (file: string, offset: number): NeededFrom => ({ flow: 'shop', place: { file, offset }, caughtUp: false });
const newest = at('binlog.000005', 400);
const older = at('binlog.000003', 400);
const purged = at('binlog.000002', 4);
const caught: NeededFrom = { ...purged, caughtUp: true };
const begun: NeededFrom = { flow: 'shop', place: null, caughtUp: false };

describe('binlog kept back', () => {
  it.each([
    ['the newest file', [newest], 100, null],
    ['across files', [older], 600 + 2_000 + 500, null],
    ['the worst channel', [newest, older], 3_100, null],
    ['all applied', [caught], 0, null],
    ['purged', [purged], null, /needs binlog.000002 of onprem, which has been purged there/],
    ['ahead of the list', [at('binlog.000009', 4)], null, /binlog.000009 of onprem, which is not there/],
    ['another name', [at('mysql-bin.000001', 4)], null, /which is not there/],
    ['not begun', [begun], null, /has not said yet/],
    ['one of two cannot be told', [newest, begun], null, /has not said yet/],
    ['no channel', [], null, /no channel/],
  ])('%s', (_, flows, value, reason) => {
    const retained = judgeRetained(log, flows);
    expect(retained.value).toBe(value);
    if (reason !== null) expect(retained.reason).toMatch(reason);
  });

  it('knows nothing of a source without binlog', () => {
    expect(judgeRetained({ ...log, head: null, files: [] }, [newest])).toMatchObject({ value: null });
  });
});

describe('until it is purged', () => {
  const finished = new FinishedFiles();
  finished.observe({ files: files.slice(0, 1), head: { file: 'binlog.000003', offset: 9 } }, 10 * S);
  finished.observe({ files: files.slice(0, 1), head: { file: 'binlog.000003', offset: 1_000 } }, 100 * S);
  finished.observe({ files, head: { file: 'binlog.000005', offset: 500 } }, 160 * S);
  const none: PurgeSettings = { expireS: null, totalBytes: null };
  const age: PurgeSettings = { expireS: 3_600, totalBytes: null };
  const size: PurgeSettings = { expireS: null, totalBytes: 4_000 };
  it.each([
    ['nothing limits it', newest, none, null, 10, null, /until the disk is full: set binlog_expire/],
    ['the newest file, by age', newest, age, null, null, 3_600, /the newest: onprem keeps a binlog for 1h/],
    ['all applied, by age', caught, age, null, null, 3_600, /the newest/],
    ['an older file, by when it was last written to', older, age, null, null, 3_600 - 60, /needs binlog.000003/],
    // It came and went between two looks: not finished before the one before it.
    ['a file that was never seen at its end', at('binlog.000004', 4), age, null, null, 3_540, /000004/],
    ['expired', older, { ...age, expireS: 30 }, null, null, 0, /may purge at any time/],
    ['purged', purged, age, null, 10, 0, /needs binlog.000002, which onprem has purged already/],
    ['by size, from the beginning of the file', older, size, null, 10, 50, /500 B left of max_binlog_total_size/],
    ['by size, too much', older, { ...size, totalBytes: 3_000 }, null, 10, 0, /as much of the binlog as max_binlog/],
    ['by size, the rate is unknown', older, size, null, null, null, /being learnt/],
    ['by size, nothing is written', older, size, null, 0, 3650 * 86_400, /left/],
    ['by our own limit', newest, none, 1_100, 10, 100, /1000 B left of retention_limit/],
    ['over our own limit', newest, none, 100, null, 0, /as retention_limit allows/],
    ['the nearer of two', older, age, 3_200, 10, 10, /retention_limit/],
    ['the nearer of two, the other way', older, age, 1e9, 10, 3_540, /after the last write/],
    ['one cannot be told', older, age, 1e9, null, null, /being learnt/],
    ['one cannot be told, the other is over', older, { ...age, expireS: 30 }, 1e9, null, 0, /at any time/],
    ['not begun', begun, age, null, 10, null, /has not said yet/],
  ])('%s', (_, flow, settings, limit, rate, value, reason) => {
    const runway = judgeRunway(log, [flow], settings, limit, rate, finished, 160 * S);
    expect(runway.value).toBe(value);
    expect(runway.reason).toMatch(reason);
  });

  it('does not know when a file was finished that nobody watched', () => {
    const fresh = new FinishedFiles();
    fresh.observe(log, 160 * S);
    expect(judgeRunway(log, [older], age, null, 10, fresh, 170 * S)).toMatchObject({ value: null });
    expect(judgeRunway(log, [older, purged], age, null, 10, fresh, 170 * S)).toMatchObject({ value: 0 });
    expect(judgeRunway(log, [newest, caught], age, null, 10, fresh, 170 * S)).toMatchObject({ value: 3_600 });
    expect(judgeRunway(log, [], age, null, 10, fresh, 170 * S)).toMatchObject({ value: null });
  });

  it.each([
    [{ binlog_expire_logs_seconds: '2592000', binlog_expire_logs_auto_purge: 'ON' }, 2_592_000, null],
    [{ binlog_expire_logs_seconds: '2592000', binlog_expire_logs_auto_purge: 'OFF' }, null, null],
    [{ binlog_expire_logs_seconds: '0', expire_logs_days: '0.000000' }, null, null],
    [{ binlog_expire_logs_seconds: '0', expire_logs_days: '1.5' }, 129_600, null],
    [{ expire_logs_days: '10', max_binlog_total_size: '1073741824' }, 864_000, 1_073_741_824],
    [{}, null, null],
  ])('reads %j', (variables, expireS, totalBytes) => {
    expect(purgeSettingsOf(new Map(Object.entries(variables)))).toEqual({ expireS, totalBytes });
  });
});
