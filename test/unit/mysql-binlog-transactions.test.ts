import { deflateSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EVENT } from '../../collectors/mysql/binlog-events.js';
import { TransactionReader, type LocalTransaction } from '../../collectors/mysql/binlog-transactions.js';

const uuid = '3e11fa47-71ca-11e1-9e33-c80aa9429562';
const WRITE_ROWS = 30;

/** Writes events as a server does, and hands them to a reader; the server's id is 2. */
class Log {
  readonly found: LocalTransaction[] = [];
  readonly reader: TransactionReader;
  private at = 4;

  constructor(
    owner: { serverId: number; uuid: string | null } = { serverId: 2, uuid },
    private checksum = true,
  ) {
    this.reader = new TransactionReader(owner, checksum);
    const name = Buffer.from('binlog.000007');
    const offset = Buffer.alloc(8);
    offset.writeBigUInt64LE(4n);
    this.event(EVENT.rotate, 2, Buffer.concat([offset, name]), { artificial: true });
  }

  event(
    type: number,
    server: number,
    body: Buffer,
    options: { gtid?: string | null; artificial?: boolean; next?: number } = {},
  ): this {
    const header = Buffer.alloc(19);
    const size = 19 + body.length + (this.checksum ? 4 : 0);
    if (options.artificial !== true) this.at += size;
    header.writeUInt32LE(1_700_000_000, 0);
    header[4] = type;
    header.writeUInt32LE(server, 5);
    header.writeUInt32LE(size, 9);
    header.writeUInt32LE(options.artificial === true ? 0 : (options.next ?? this.at), 13);
    header.writeUInt16LE(options.artificial === true ? 0x20 : 0, 17);
    const bytes = Buffer.concat([
      Buffer.from('padding'),
      header,
      body,
      this.checksum ? Buffer.alloc(4) : Buffer.alloc(0),
    ]);
    const found = this.reader.take(bytes, 7, bytes.length, () => options.gtid ?? null);
    if (found !== null) this.found.push(found);
    return this;
  }

  /** How far into the file it has come. */
  get end(): number {
    return this.at;
  }

  /** There are events in the file that are not sent. */
  skip(bytes: number): this {
    this.at += bytes;
    return this;
  }

  gtid(gtid: string | null, server = 2): this {
    return this.event(gtid === null ? EVENT.anonymousGtid : EVENT.gtid, server, Buffer.alloc(42), { gtid });
  }

  query(text: string, server = 2, schema = 'app'): this {
    return this.event(EVENT.query, server, queryBody(schema, Buffer.from(text)));
  }

  map(id: number, schema: string, name: string, server = 2): this {
    const body = Buffer.concat([
      tableId(id),
      Buffer.from([1, 0, Buffer.byteLength(schema)]),
      Buffer.from(`${schema}\0`),
      Buffer.from([Buffer.byteLength(name)]),
      Buffer.from(`${name}\0`),
      Buffer.from([1, 3, 0, 0]),
    ]);
    return this.event(EVENT.tableMap, server, body);
  }

  rows(id: number, server = 2): this {
    return this.event(WRITE_ROWS, server, Buffer.concat([tableId(id), Buffer.from([1, 0, 2, 0, 1, 0xff, 0, 42])]));
  }

  xid(server = 2): this {
    return this.event(EVENT.xid, server, Buffer.alloc(8));
  }

  xaPrepare(gtrid: string, onePhase = false): this {
    const body = Buffer.alloc(13 + gtrid.length);
    body[0] = onePhase ? 1 : 0;
    body.writeInt32LE(1, 1);
    body.writeInt32LE(gtrid.length, 5);
    body.write(gtrid, 13);
    return this.event(EVENT.xaPrepare, 2, body);
  }

  get application(): string[] {
    return this.found.filter((t) => t.application).map((t) => t.position);
  }
}

function tableId(id: number): Buffer {
  const bytes = Buffer.alloc(6);
  bytes.writeUIntLE(id, 0, 6);
  return bytes;
}

function queryBody(schema: string, text: Buffer): Buffer {
  const post = Buffer.alloc(13);
  post[8] = Buffer.byteLength(schema);
  post.writeUInt16LE(3, 11);
  return Buffer.concat([post, Buffer.from([9, 9, 9]), Buffer.from(`${schema}\0`), text]);
}

it('counts the transactions of everybody and the bytes of the file, once, and nothing that the sender makes up', () => {
  const log = new Log();
  const begun = log.end;
  expect(log.reader.counted()).toEqual({ transactions: 0, bytes: 0 });
  log
    .skip(5_000)
    .gtid(`${uuid}:1`)
    .query('BEGIN')
    .skip(70)
    .map(7, 'app', 'orders')
    .rows(7)
    .event(EVENT.xid, 2, Buffer.alloc(8));
  log.gtid(null, 1).query('CREATE TABLE more (id int)', 1);
  log.event(EVENT.heartbeat, 2, Buffer.from('binlog.000007'), { next: log.end });
  // What was passed over before the first one was not read; what was not sent of it is a part of it.
  const made = log.end - begun - 5_000 - (19 + 'binlog.000007'.length + 4);
  expect(log.reader.counted()).toEqual({ transactions: 2, bytes: made });
  expect(log.reader.counted()).toEqual({ transactions: 0, bytes: 0 });
});

describe('local writes in a binlog', () => {
  it.each([true, false])('a row of the application is one, by its GTID (checksums %s)', (checksum) => {
    const log = new Log(undefined, checksum);
    log.gtid(`${uuid}:7`).query('BEGIN').map(1, 'app', 'orders').rows(1).rows(1).xid();
    expect(log.found).toEqual([
      { position: `${uuid}:7`, committedAt: 1_700_000_000_000, application: true, direction: false },
    ]);
  });

  it('one without a GTID has the coordinates of its end', () => {
    const log = new Log().gtid(null).query('BEGIN').map(1, 'app', 'orders').rows(1).xid();
    expect(log.application).toEqual([`binlog.000007:${log.reader.place.offset}`]);
  });

  it('what was written on another server is none, whatever it is', () => {
    const log = new Log().gtid('aaaaaaaa-71ca-11e1-9e33-c80aa9429562:1', 1).query('BEGIN', 1);
    log.map(1, 'app', 'orders', 1).rows(1, 1).xid(1);
    log.gtid('aaaaaaaa-71ca-11e1-9e33-c80aa9429562:2', 1).query('TRUNCATE orders', 1);
    expect(log.found).toEqual([]);
  });

  it('a GTID of this server is its own under any server id', () => {
    const log = new Log().gtid(`${uuid}:8`, 99).map(1, 'app', 'orders', 99).rows(1, 99).xid(99);
    expect(log.application).toEqual([`${uuid}:8`]);
  });

  it('lockgate’s own tables are none, unless there is more in the transaction', () => {
    const log = new Log().gtid('a:1').map(1, 'lockgate', 'heartbeat').rows(1).xid();
    log.gtid('a:2').map(1, 'lockgate', 'heartbeat').map(2, 'app', 'orders').rows(1).xid();
    expect(log.found).toEqual([]);
    log.gtid('a:3').map(1, 'lockgate', 'heartbeat').map(2, 'app', 'orders').rows(1).rows(2).xid();
    expect(log.application).toEqual(['a:3']);
  });

  it('rows of a table that was not named are the application’s', () => {
    const log = new Log().gtid('a:1').map(1, 'lockgate', 'heartbeat').rows(5).xid();
    expect(log.application).toEqual(['a:1']);
  });

  it('the table of directions is told of', () => {
    const log = new Log().gtid('a:1').map(1, 'lockgate', 'direction').rows(1).xid();
    expect(log.found).toMatchObject([{ direction: true, application: false }]);
  });

  it('an XA transaction counts at its commit, and not when it is rolled back', () => {
    const log = new Log();
    for (const [n, xid] of [
      [1, 'aa'],
      [2, 'bb'],
    ] as const) {
      log.gtid(`p:${n}`).query(`XA START X'..'`).map(1, 'app', 'orders').rows(1).query('XA END').xaPrepare(xid);
    }
    expect(log.found).toEqual([]);
    log.gtid('p:3').query("XA ROLLBACK X'6161',X'',1");
    log.gtid('p:4').query("XA COMMIT X'6262',X'',1");
    expect(log.application).toEqual(['p:4']);
    // Nobody knows any more what that one has changed.
    log.gtid('p:5').query("XA COMMIT X'6161',X'',1");
    log.gtid('p:6').map(1, 'app', 'orders').rows(1).xaPrepare('cc', true);
    expect(log.application).toEqual(['p:4', 'p:5', 'p:6']);
  });

  it('an XA transaction of lockgate’s is none at its commit either', () => {
    const log = new Log().gtid('p:1').map(1, 'lockgate', 'heartbeat').rows(1).xaPrepare('aa');
    log.gtid('p:2').query("XA COMMIT X'6161',X'',1");
    expect(log.found).toEqual([]);
  });

  it('a transaction whose end is not said ends with the next one', () => {
    const log = new Log().gtid('a:1').map(1, 'app', 'orders').rows(1).gtid('a:2').query('CREATE TABLE x (a int)');
    expect(log.application).toEqual(['a:1']);
  });

  it('a compressed statement is read (MariaDB)', () => {
    const log = new Log({ serverId: 2, uuid: null });
    const text = Buffer.from('TRUNCATE TABLE orders');
    const packed = Buffer.concat([Buffer.from([0x81, text.length]), deflateSync(text)]);
    log.event(EVENT.mariadbGtid, 2, Buffer.alloc(19), { gtid: '0-2-9' });
    log.event(EVENT.compressedQuery, 2, queryBody('app', packed));
    expect(log.application).toEqual(['0-2-9']);
  });

  it('compressed transactions of this server and lost events end what can be told', () => {
    const theirs = new Log().gtid('b:1', 1).event(EVENT.payload, 1, Buffer.alloc(20));
    expect(theirs.reader.unreadable).toBeNull();
    const own = new Log().gtid('a:1').event(EVENT.payload, 2, Buffer.alloc(20));
    expect(own.reader.unreadable).toBe('compressed');
    expect(new Log().event(EVENT.incident, 1, Buffer.alloc(4)).reader.unreadable).toBe('incident');
  });

  it('follows the place beyond 4 GiB, into the next file, and through rests', () => {
    const log = new Log();
    for (const next of [2 ** 31, 2 ** 32 - 100, 50]) log.event(EVENT.xid, 1, Buffer.alloc(8), { next });
    expect(log.reader.place).toEqual({ file: 'binlog.000007', offset: 2 ** 32 + 50 });
    log.event(EVENT.heartbeat, 2, Buffer.from('binlog.000007'), { next: 90 });
    expect(log.reader.place.offset).toBe(2 ** 32 + 90);
    const offset = Buffer.alloc(8);
    offset.writeBigUInt64LE(4n);
    log.event(EVENT.rotate, 2, Buffer.concat([offset, Buffer.from('binlog.000008')]), { next: 130 });
    expect(log.reader.place).toEqual({ file: 'binlog.000008', offset: 4 });
  });

  it('counts exactly the transactions of its own with rows of the application, in any order', () => {
    const transaction = fc.record({ own: fc.boolean(), tables: fc.array(fc.constantFrom('orders', 'heartbeat')) });
    fc.assert(
      fc.property(fc.array(transaction), (transactions) => {
        const log = new Log();
        const expected: string[] = [];
        transactions.forEach(({ own, tables }, n) => {
          const server = own ? 2 : 1;
          log.gtid(`g:${n}`, server).query('BEGIN', server);
          tables.forEach((table, i) => {
            log.map(i, table === 'heartbeat' ? 'lockgate' : 'app', table, server).rows(i, server);
          });
          log.xid(server);
          if (own && tables.includes('orders')) expected.push(`g:${n}`);
        });
        expect(log.application).toEqual(expected);
      }),
    );
  });
});
