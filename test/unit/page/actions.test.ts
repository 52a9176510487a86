import { describe, expect, it } from 'vitest';
import {
  actionForm,
  doneText,
  openFence,
  possibleActions,
  whyNotYet,
} from '../../../daemon/http/page/client/actions.js';
import type { MigrationJson } from '../../../daemon/http/port.js';
import { fence, FakePort } from '../../support/fake-port.js';

const forward = new FakePort().migration('shop') as MigrationJson;
const reverse: MigrationJson = { ...forward, direction: 'reverse' };
const unknown: MigrationJson = { ...forward, direction: 'unknown' };
const parts = (migration: MigrationJson) => ({ migration, fence: null, attestations: ['backup'] });

describe('what an operator can declare', () => {
  it('fits the direction and the fence', () => {
    expect(possibleActions(forward, null)).toEqual(['fence', 'promote', 'attest', 'verify']);
    expect(possibleActions(reverse, fence('f1', 'drained'))).toEqual(['cancel-fence', 'rollback', 'attest', 'verify']);
    expect(possibleActions(unknown, null)).toEqual(['fence', 'attest', 'verify']);
  });

  it('takes only a fence that is open for one that can be cancelled', () => {
    expect(openFence(fence('f1', 'placed'))?.id).toBe('f1');
    expect(openFence(fence('f1', 'expired'))).toBeNull();
    expect(openFence(fence('f1', 'closed', { ended_at: '2026-11-22T00:00:00Z' }))).toBeNull();
    expect(openFence(null)).toBeNull();
  });

  it('names the sides as they are now, and sends the direction that the person saw', () => {
    const promote = actionForm('promote', parts(forward));
    expect(promote.declares.join(' ')).toContain('from now on writes belong on aws, and no longer on onprem');
    const values = { reason: 'the night', confirm: 'shop' };
    expect(promote.request(values, 'key-1')).toEqual({
      method: 'POST',
      path: 'v1/migrations/shop/promote',
      body: { reason: 'the night', expect: 'forward', force: false },
      headers: { 'idempotency-key': 'key-1' },
    });
    const rollback = actionForm('rollback', parts(reverse));
    expect(rollback.declares.join(' ')).toContain('writes belong on onprem, and no longer on aws');
    expect(rollback.request(values, 'k').body).toMatchObject({ expect: 'reverse' });
  });

  it('is not sent before the reason is given and the name is typed whole', () => {
    const form = actionForm('promote', parts(forward));
    expect(whyNotYet(form, { reason: '  ', confirm: 'shop' })).toContain('Reason');
    expect(whyNotYet(form, { reason: 'x', confirm: 'Shop' })).toContain('type shop');
    expect(whyNotYet(form, { reason: 'x', confirm: 'shop' })).toBeNull();
    expect(whyNotYet(actionForm('verify', parts(forward)), {})).toBeNull();
  });

  it('asks the API as it is documented', () => {
    expect(actionForm('fence', parts(forward)).request({ note: 'n', deadline: '60s' }, 'k')).toMatchObject({
      ...{ method: 'POST', path: 'v1/migrations/shop/fences', body: { deadline: '60s', note: 'n' } },
    });
    expect(actionForm('cancel-fence', { ...parts(forward), fence: fence('f/1', 'placed') }).request({}, 'k')).toEqual({
      ...{ method: 'DELETE', path: 'v1/migrations/shop/fences/f%2F1' },
    });
    expect(actionForm('attest', parts(forward)).request({ name: 'backup', by: 'ann', note: 'ok' }, 'k')).toMatchObject({
      ...{ path: 'v1/migrations/shop/attestations/backup', body: { by: 'ann', note: 'ok' } },
    });
    const verify = actionForm('verify', parts(forward));
    expect(verify.request({ tables: '' }, 'k').body).toEqual({});
    expect(verify.request({ tables: 'public.a, public.b,' }, 'k').body).toEqual({ tables: ['public.a', 'public.b'] });
  });

  it('says what came of it, warnings included', () => {
    const done = doneText('promote', forward, { direction: 'reverse', epoch: 1, warnings: ['strays unseen'] });
    expect(done).toBe('Done: writes belong on aws (epoch 1). Warning: strays unseen');
  });
});
