import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runCli } from '../../daemon/cli/program.js';
import { Refusal } from '../../daemon/core/errors.js';
import { FakeIo } from '../support/fake-io.js';
import type { Running } from '../support/http-server.js';
import { daemonConfig, startServer, tokens } from '../support/http-server.js';

/** The command line and the server each have their own tests; here they have to understand each other. */
describe('a cutover by the command line, asked of the server itself', () => {
  let running: Running;
  let io: FakeIo;
  beforeEach(async () => {
    running = await startServer({ config: daemonConfig({ auth: { tokens: tokens().list } }) });
    io = new FakeIo();
    io.env = { LOCKGATE_URL: running.url, LOCKGATE_TOKEN: 'operator-secret' };
  });
  afterEach(async () => {
    expect(io.out + io.err + JSON.stringify(running.log)).not.toContain('-secret');
    await running.server.close(1000);
  });

  const cli = (...argv: string[]): Promise<number> =>
    runCli(argv, io, () => Promise.reject(new Error('a client command needs no backend')));
  const waiting = (): Promise<void> => expect.poll(() => running.server.stats().waiters, { timeout: 3000 }).toBe(1);

  it('fence, promote, status', async () => {
    const fenced = cli('fence', 'shop', '--deadline', '1m30s', '--note', 'OPS-41', '--wait', '20s');
    await waiting();
    expect(running.port.placed).toEqual([{ migration: 'shop', deadlineMs: 90_000, note: 'OPS-41', actor: 'runbook' }]);
    running.port.setFence('f1', 'drained');
    expect(await fenced).toBe(0);
    expect(io.out).toMatch(/^DRAINED {2}shop {2}fence f1 {2}forward\n/);
    expect(await cli('promote', 'shop', '--reason', 'cutover')).toBe(0);
    expect(running.port.changes).toMatchObject([
      { action: 'promote', expect: 'forward', force: false, actor: 'runbook' },
    ]);
    expect(running.port.changes[0]?.idempotencyKey).toMatch(/^[\x20-\x7e]{16,128}$/);
    expect(await cli('status')).toBe(0);
    expect(io.out).toContain('  fence  f1  forward  DRAINED  in 1.3 s, up to 0/16B3748\n');
  });

  it('a fence that is cancelled elsewhere ends the waiting', async () => {
    const fenced = cli('fence', 'shop', '--wait', '20s', '--json');
    await waiting();
    const other = new FakeIo();
    other.env = io.env;
    const cancelled = runCli(['fence', 'shop', '--cancel', 'f1'], other, () => Promise.reject(new Error('none')));
    expect([await cancelled, await fenced]).toEqual([0, 1]);
    expect(JSON.parse(io.out)).toMatchObject({ id: 'f1', state: 'cancelled', ended_because: 'cancelled by runbook' });
    expect(await cli('fence', 'shop', '--cancel', 'f1')).toBe(2);
    expect(await cli('fence', 'shop', '--cancel', 'f2')).toBe(2);
    expect(io.err).toContain('there is no fence "f2"');
  });

  it('an interrupted wait leaves the fence placed', async () => {
    const fenced = cli('fence', 'shop', '--wait', '10m');
    await waiting();
    io.send('SIGINT');
    expect(await fenced).toBe(1);
    expect(running.port.fenceList[0]?.state).toBe('placed');
    await expect.poll(() => running.server.stats().waiters, { timeout: 3000 }).toBe(0);
  });

  it('refusals, with what to do', async () => {
    running.port.fault = new Refusal(409, 'not_drained', 'no fence is drained', 'place one: lockgate fence shop');
    expect(await cli('promote', 'shop', '--reason', 'cutover')).toBe(2);
    expect(io.err).toContain('no fence is drained (place one: lockgate fence shop)');
    running.port.fault = new Refusal(503, 'source_unwatched', 'the source cannot be watched');
    expect(await cli('fence', 'shop')).toBe(3);
    expect(await cli('fence', 'shop', '--deadline', '2h')).toBe(2);
    expect(io.err).toContain('deadline must be 1s to 1h');
    expect(await cli('rollback', 'crm', '--reason', 'x')).toBe(2);
    running.port.writable = false;
    expect(await cli('rollback', 'shop', '--reason', 'x')).toBe(3);
    io.env = { ...io.env, LOCKGATE_TOKEN: 'reader-secret' };
    for (const command of [
      'promote shop --reason x',
      'rollback shop --reason x',
      'fence shop',
      'fence shop --cancel f1',
    ]) {
      expect(await cli(...command.split(' ')), command).toBe(2);
    }
    io.env = { ...io.env, LOCKGATE_TOKEN: 'nobody' };
    expect(await cli('fence', 'shop')).toBe(2);
    expect([running.port.changes, running.port.placed]).toEqual([[], []]);
  });
});
