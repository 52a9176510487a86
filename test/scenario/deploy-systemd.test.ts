// The unit of deploy/systemd: held against systemd's own checks, and run by a real systemd with all that it forbids.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { waitFor } from '../../deploy/demo/run-folder.js';
import { deployedConfig } from '../support/deploy/config.js';
import { withoutImage } from '../support/flavours.js';
import { must } from '../support/deploy/sandbox.js';
import { systemdRoot, type Systemd, type SystemdRoot } from '../support/deploy/systemd.js';

const root = new URL('../../', import.meta.url).pathname;
const unit = 'lockgate.service';
const configFile = '/etc/lockgate/lockgate.yaml';

const config = (id: string): string =>
  deployedConfig(`  id: ${id}
  listen: 127.0.0.1:9188
  auth:
    tokens: [{ name: test, token: '\${file:/run/credentials/lockgate.service/secrets_token}', role: operator }]`);

describe.skipIf(withoutImage)('the unit', () => {
  let machine: SystemdRoot;
  let systemd: Systemd;
  const write = (text: string): Promise<string> =>
    must(machine.box.shell('printf %s "$2" >"$1"', [machine.root.path + configFile, text]));
  const ask = async (path: string): Promise<string> => {
    const from =
      'fetch(process.argv[1],{headers:{authorization:"Bearer a-token-of-the-test"}}).then(r=>r.text()).then(console.log)';
    return (await systemd.run('node', '-e', from, `http://127.0.0.1:9188${path}`)).output;
  };
  const alive = (): Promise<void> =>
    waitFor(
      'the service to answer',
      20_000,
      async () => (await ask('/readyz')).includes('"status":"ok"') || undefined,
    ).then(
      () => undefined,
      async (error: unknown) => {
        throw new Error(`${String(error)}: ${(await systemd.run('systemctl', 'status', '--full', unit)).output}`);
      },
    );
  const restarts = async (): Promise<number> => Number(await systemd.property('NRestarts'));

  beforeAll(async () => {
    machine = await systemdRoot();
    const main = process.env['LOCKGATE_TEST_MAIN'] ?? '';
    const lay = `
      mkdir -p "$1/opt/lockgate" "$1/etc/lockgate/secrets"
      cp -r "$2" "$1/opt/lockgate/dist"; cp "$3/package.json" "$1/opt/lockgate/"
      mkdir "$1/opt/lockgate/node_modules"; mount --bind "$3/node_modules" "$1/opt/lockgate/node_modules"
      cp "$3/deploy/systemd/lockgate.service" "$1/etc/systemd/system/"
      [ -x "$1/usr/bin/node" ] || ln -s "$4" "$1/usr/bin/node"
      (umask 077; printf 'a-token-of-the-test\\n' >"$1/etc/lockgate/secrets/token")`;
    const dist = main.slice(0, main.indexOf('/daemon/'));
    await must(machine.box.shell(lay, [machine.root.path, dist, root, process.execPath]));
    await write(config('first'));
    systemd = await machine.boot(unit);
    await must(systemd.run('systemctl', 'start', unit));
    await alive();
  }, 120_000);
  afterAll(async () => {
    // Whatever of it came to be.
    await (systemd as Systemd | undefined)?.stop();
    await (machine as SystemdRoot | undefined)?.box.destroy();
  });

  it('has no fault that systemd knows, and is exposed to little', async () => {
    expect(await machine.run('systemd-analyze', 'verify', `/etc/systemd/system/${unit}`)).toEqual({
      code: 0,
      output: '',
    });
    const judged = await machine.run('systemd-analyze', 'security', '--offline=true', '--threshold=25', unit);
    const [, exposure] = /Overall exposure level for lockgate.service: ([\d.]+)/.exec(judged.output) ?? [];
    expect(Number(exposure)).toBeLessThanOrEqual(2.5);
    expect(judged.code).toBe(0);
  });

  it('is run by a user of its own with no rights, behind a filter of system calls', async () => {
    const pid = await systemd.property('MainPID');
    const { output } = await systemd.run('cat', `/proc/${pid}/status`);
    const field = (name: string): string => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(output)?.[1] ?? '';
    expect(Number(field('Uid').split('\t')[0])).toBeGreaterThan(60_000);
    expect(field('CapEff')).toBe('0000000000000000');
    expect(field('CapBnd')).toBe('0000000000000000');
    expect([field('NoNewPrivs'), field('Seccomp')]).toEqual(['1', '2']);
    const seen = await systemd.run(
      'nsenter',
      '--target',
      pid,
      '--mount',
      'sh',
      '-c',
      'touch /opt/lockgate/x /etc/x /usr/x',
    );
    expect(seen.output.match(/Read-only file system/g)).toHaveLength(3);
    expect((await systemd.run('ls', '-l', '/var/lib/lockgate/')).output).toContain('lockgate.db');
  });

  it('is given its secrets, which only root can read on the machine', async () => {
    expect((await systemd.run('stat', '-c', '%a %U', '/etc/lockgate/secrets/token')).output.trim()).toBe('600 root');
    expect(await ask('/v1/gates')).toContain('"gate":"shop/flip-writes"');
  });

  it('takes up its configuration again, and says so in the journal', async () => {
    const before = await systemd.property('MainPID');
    await write(config('first').replace('10s', '20s'));
    await must(systemd.run('systemctl', 'reload', unit));
    await waitFor('the new condition', 10_000, async () => (await ask('/v1/gates')).includes('for 20s') || undefined);
    expect(await systemd.property('MainPID')).toBe(before);
    expect((await systemd.run('journalctl', '--unit', unit, '--output', 'cat')).output).toContain('"level":');
  });

  it('is started again when it is killed', async () => {
    const before = await restarts();
    await must(systemd.run('systemctl', 'kill', '--signal=KILL', unit));
    await waitFor('the restart', 15_000, async () => (await restarts()) > before || undefined);
    await alive();
  });

  it('stops when asked, within its time, and that is no failure', async () => {
    const from = performance.now();
    await must(systemd.run('systemctl', 'stop', unit));
    expect(performance.now() - from).toBeLessThan(12_000);
    expect(await systemd.property('Result')).toBe('success');
    expect(await systemd.property('ExecMainStatus')).toBe('0');
  });

  it('is not started again and again over a bad configuration', async () => {
    await write('daemon: { id: }\n');
    await systemd.run('systemctl', 'start', unit);
    await waitFor('it to end', 10_000, async () => (await systemd.property('ActiveState')) === 'failed' || undefined);
    const before = await restarts();
    await sleep(3_000);
    expect(await systemd.property('ExecMainStatus')).toBe('2');
    expect([await restarts(), await systemd.property('ActiveState')]).toEqual([before, 'failed']);
  });
});

describe('the unit file', () => {
  it('lets systemd wait longer for a stop than the daemon takes for it', () => {
    const text = readFileSync(join(root, 'deploy/systemd/lockgate.service'), 'utf8');
    const [, deadline] =
      /STOP_DEADLINE_MS = ([\d_]+)/.exec(readFileSync(join(root, 'daemon/cli/run.ts'), 'utf8')) ?? [];
    const [, wait] = /^TimeoutStopSec=(\d+)s$/m.exec(text) ?? [];
    expect(Number(wait) * 1_000).toBeGreaterThan(Number((deadline ?? '').replaceAll('_', '')));
  });
});
