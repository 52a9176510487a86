import { describe, expect, it } from 'vitest';
import { alertName, promDuration } from '../../alerts/promql.js';
import { alertOf, promRules, rulesText, shopBegins } from '../support/rules.js';
import { load } from './config-inputs.js';

const yaml = (end: string, gates = '{ preset: runbook }'): string => `${shopBegins}
    forward: { via: postgres-logical, subscription: a }
    gates: ${gates}
  crm: { source: onprem, target: aws, forward: { via: postgres-logical, subscription: b } }
${end}`;

const of = (end: string, gates?: string): Promise<string> => rulesText(load(yaml(end, gates)));

describe('rules for Prometheus', () => {
  it('are there without `alerts` as well, for every migration', async () => {
    const text = await of('');
    const stopped = promRules(text).filter((rule) => rule.alert === 'LockgateReplicationStopped');
    expect(stopped.map((rule) => rule.labels)).toEqual(
      ['shop', 'crm'].map((migration) => ({ severity: 'critical', migration, rule: 'replication-stopped' })),
    );
    expect(stopped[0]).toMatchObject({ for: '1m', keep_firing_for: '1m' });
    expect(stopped[0]?.expr).toContain('lockgate_signal{migration="shop",signal="active.running"} == 0');
  });

  it('are those of the configuration, which take the place of built-in ones', async () => {
    const text = await of(`alerts:
  resolve_after: 90s
  rules:
    - { name: lag-high, when: "p99(forward.lag, 5m) > 1500ms for 2m", severity: warning, migration: shop }
    - { name: replication-stopped, when: "active.running != 1 for 10s", severity: error }
`);
    const lag = alertOf(text, 'LockgateLagHigh');
    expect(lag).toMatchObject({
      for: '2m',
      keep_firing_for: '1m30s',
      labels: { severity: 'warning', migration: 'shop', rule: 'lag-high' },
    });
    expect(lag.expr).toContain(
      'quantile_over_time(0.99, lockgate_signal{migration="shop",signal="forward.lag"}[5m]) > 1.5',
    );
    const stopped = promRules(text).filter((rule) => rule.alert === 'LockgateReplicationStopped');
    expect(stopped.map((rule) => [rule.labels?.['migration'], rule.labels?.['severity'], rule.for])).toEqual([
      ['shop', 'error', '10s'],
      ['crm', 'error', '10s'],
    ]);
  });

  it('say what it means and what to do in every alert', async () => {
    for (const rule of promRules(await of('')).filter((r) => r.alert !== undefined)) {
      expect(rule.annotations?.['summary'], rule.alert).toMatch(/.{10}/);
      expect(rule.annotations?.['description'], rule.alert).toMatch(/.{10}/);
      expect(rule.annotations?.['runbook'], rule.alert).toMatch(/.{10}/);
      expect(rule.labels?.['severity']).toMatch(/^(critical|error|warning|info)$/);
    }
  });

  it('do not wait for the pulse of gates where there is no gate', async () => {
    const none = rulesText(load(yaml('').replace('    gates: { preset: runbook }\n', '')));
    expect(alertOf(await none, 'LockgateDown').expr).toBe('absent(lockgate_build_info)');
    expect(await none).not.toContain('LockgateEvaluationOld');
    expect(alertOf(await of(''), 'LockgateDown').expr).toBe('absent(lockgate_last_evaluation_timestamp_seconds)');
  });

  it('name the configuration that they come from, and the scrape job', async () => {
    const config = load(yaml(''));
    const text = await rulesText(config, { kind: 'prometheus', job: 'gates "eu"' });
    expect(text.split('\n').slice(0, 2).join(' ')).toContain(config.hash);
    expect(alertOf(text, 'LockgateDaemonDown').expr).toBe('up{job="gates \\"eu\\""} == 0');
  });

  it.each([
    [1, '1ms'],
    [1_500_000, '1s500ms'],
    [90_000_000, '1m30s'],
    [5_400_000_000, '1h30m'],
    [7 * 86_400_000_000, '7d'],
    [0, '0s'],
  ])('write %i microseconds as %s', (us, text) => {
    expect(promDuration(us)).toBe(text);
  });

  it('have names that Prometheus users expect', () => {
    expect(alertName('replication-stopped')).toBe('LockgateReplicationStopped');
    expect(alertName('p99 of lag')).toBe('LockgateP99OfLag');
  });
});
