import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { heartbeatSchema, startBed, type Bed } from '../support/heartbeat-bed.js';
import { startPhysicalPair, type PhysicalPair } from '../support/physical-pair.js';

let pair: PhysicalPair;
let bed: Bed;

beforeAll(async () => {
  pair = await startPhysicalPair();
  await pair.onSource(heartbeatSchema);
});
afterEach(() => bed.stop());
afterAll(() => pair.destroy());

test('heartbeats reach a standby and are seen there by polling', async () => {
  bed = startBed(pair, { via: 'postgres-physical' });
  await bed.beats(0, 10);
  expect(bed.of('heartbeat-visible').every((o) => o.by === 'poll')).toBe(true);
  expect(bed.heartbeats.watchers.get('target')?.describe()).toMatchObject([
    { mode: 'poll', why: expect.stringContaining('in recovery') as string },
  ]);
  expect(bed.logged.some((line) => line.includes('the WAL of a standby is not read'))).toBe(true);
});
