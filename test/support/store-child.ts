// Started by the store tests in a process of its own: writes until it is killed or fails, and says what was acknowledged.
import { openStore } from '../../daemon/store/sqlite.js';
import { SystemClock } from '../../daemon/lifecycle/clock.js';
import { StoreError } from '../../daemon/store/store.js';

const [path = '', mode = 'write'] = process.argv.slice(2);
const clock = new SystemClock();

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

try {
  const { store } = openStore(path, clock);
  say('opened');
  let full = false;
  for (let n = 0; mode !== 'hold'; n += 1) {
    try {
      const id = store.append({
        at: n,
        kind: 'gate',
        migration: 'shop',
        gate: 'flip-writes',
        actor: 'lockgate',
        by: null,
        data: { n, filling: 'x'.repeat(400) },
      });
      say(`ack ${id} ${n}`);
      if (full) break;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (!full) say(`failed ${error.code} ${String(store.writable)}`);
      full = true;
      await clock.sleep(20);
      if (store.probe()) say(`probe ${String(store.writable)}`);
    }
    if (n % 50 === 0) await clock.sleep(0);
  }
  if (mode === 'hold') await clock.sleep(60_000);
  store.close();
  say('closed');
} catch (error) {
  say(error instanceof StoreError ? `refused ${error.code}` : `crashed ${String(error)}`);
  process.exitCode = 2;
}
