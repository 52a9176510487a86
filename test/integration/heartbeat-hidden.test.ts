import { expect, test } from 'vitest';
import { installHeartbeats, startBed } from '../support/heartbeat-bed.js';
import { startPair } from '../support/pair.js';

test('row security on the heartbeat table makes lag unknown and says how to end it', async () => {
  const pair = await startPair();
  try {
    await installHeartbeats(pair);
    for (const run of [pair.onSource, pair.onTarget]) {
      await run(`create role lg login replication password 'lg'`);
      await run('grant usage on schema lockgate to lg');
      await run('grant select, insert, update, delete on lockgate.heartbeat to lg');
    }
    const bed = startBed(pair, { user: { name: 'lg', password: 'lg' } });
    try {
      await bed.beats(bed.mark(), 3);
      await pair.onTarget('alter table lockgate.heartbeat enable row level security');
      const since = bed.mark();
      await bed.until('the fault', () => bed.of('watch-fault', since).length > 0, 10_000);
      expect(bed.of('watch-fault', since)[0]?.reason).toMatch(
        /row security may hide rows of lockgate.heartbeat; ALTER TABLE lockgate.heartbeat DISABLE ROW LEVEL SECURITY/,
      );
      await pair.onTarget('alter table lockgate.heartbeat disable row level security');
      await bed.beats(bed.mark(), 3, 20_000);
      // Where heartbeats are written, one that may not be written was not committed.
      await pair.onSource('alter table lockgate.heartbeat enable row level security');
      const later = bed.mark();
      await bed.until('the failure', () => bed.of('heartbeat-failed', later).length > 0, 10_000);
      expect(bed.of('heartbeat-failed', later).at(-1)).toMatchObject({ outcome: 'not-committed' });
    } finally {
      await bed.stop();
    }
  } finally {
    await pair.destroy();
  }
});
