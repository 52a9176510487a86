import { describe, expect, it } from 'vitest';
import { whyNotMeasured } from '../../daemon/config/available.js';
import { load, problemsIn } from './config-inputs.js';

function text(parts: { onprem?: string; forward?: string } = {}): string {
  return [
    'databases:',
    `  onprem: ${parts.onprem ?? '{ engine: mysql, url: "mysql://lockgate@localhost/app" }'}`,
    '  aws: { engine: mysql, url: "mariadb://lockgate@localhost:3307/app", server_id: 7 }',
    'migrations:',
    '  shop:',
    '    source: onprem',
    '    target: aws',
    `    forward: ${parts.forward ?? '{ via: mysql }'}`,
    '    gates: { flip: { require: "forward.lag < 1s for 5s" } }',
    '',
  ].join('\n');
}

const flows = (forward: string): readonly string[] | undefined =>
  load(text({ forward })).migrations.get('shop')?.links.forward.flows;

describe('a configuration for MySQL', () => {
  it('takes both schemes of URL, the port of MySQL and a server id', () => {
    const { databases } = load(text());
    expect(databases.get('onprem')).toMatchObject({ engine: 'mysql', address: { port: 3306 }, serverId: null });
    expect(databases.get('aws')).toMatchObject({ engine: 'mysql', address: { port: 3307 }, serverId: 7 });
  });

  it('makes channels the flows of the link, and the one without a name where none is written', () => {
    expect(flows('{ via: mysql }')).toEqual(['default channel']);
    expect(flows('{ via: mysql, channel: shop }')).toEqual(['shop']);
    expect(flows('{ via: mysql, channel: [ shop, crm ] }')).toEqual(['shop', 'crm']);
  });

  it.each([
    ['{ via: mysql, subscription: s }', /a link by `mysql` has no `subscription`/],
    ['{ via: mysql, publication: p }', /a link by `mysql` has no `publication`/],
    ['{ via: mysql, heartbeat: { external: heartbeat } }', /not the name of a table/],
    ['{ via: mysql, heartbeat: { external: a.b.c } }', /not the name of a table/],
    ['{ via: mysql, heartbeat: { external: p.h, watch: binlog } }', /an external heartbeat is always polled/],
    ['{ via: postgres-logical, subscription: s }', /needs postgres on both sides, and the database `onprem` is mysql/],
  ])('refuses %s', (forward, problem) => {
    expect(problemsIn(text({ forward })).join('\n')).toMatch(problem);
  });

  it('takes the heartbeat of another tool, between servers of MySQL only', () => {
    const forward = '{ via: mysql, heartbeat: { external: percona.heartbeat } }';
    expect(load(text({ forward })).migrations.get('shop')?.links.forward.heartbeat.external).toBe('percona.heartbeat');
    const onprem = '{ engine: postgres, url: "postgres://lockgate@localhost/app" }';
    const dms =
      '{ via: dms, dms: { tasks: [ "arn:aws:dms:eu-west-1:1:task:X" ], region: eu-west-1 }, heartbeat: { external: p.h } }';
    expect(problemsIn(text({ forward: dms, onprem })).join('\n')).toMatch(
      /is one of pt-heartbeat, on MySQL or MariaDB/,
    );
  });

  it.each([
    ['{ engine: mysql, url: "postgres://lockgate@localhost/app" }', /does not fit the engine `mysql`/],
    ['{ engine: postgres, url: "postgres://lockgate@localhost/app" }', /needs mysql on both sides/],
    ['{ engine: postgres, url: "postgres://lockgate@localhost/app", server_id: 3 }', /PostgreSQL has no server ids/],
    ['{ engine: mysql, url: "mysql://lockgate@localhost/app", server_id: 0 }', /server_id/],
  ])('refuses the database %s', (onprem, problem) => {
    expect(problemsIn(text({ onprem })).join('\n')).toMatch(problem);
  });

  it('measures what a gate on a MySQL link can ask', () => {
    for (const signal of ['lag', 'lag_by_position', 'agreement', 'running', 'errors', 'backlog_transactions']) {
      expect(whyNotMeasured(`forward.${signal}`, { forward: 'mysql' }), signal).toBeNull();
    }
  });

  it('warns of a gate on what replication does not tell', () => {
    const asked = text().replace('forward.lag < 1s for 5s', 'forward.tables_syncing is 0');
    expect(load(asked).warnings.join('\n')).toMatch(/`forward.tables_syncing` is never known over `via: mysql`/);
    expect(load(text()).warnings.join('\n')).not.toMatch(/never known/);
  });

  it('has gates of the runbook that ask what it can tell, and an attestation for the copy', () => {
    const preset = text({ forward: '{ via: mysql, retention_limit: 50GiB }' }).replace(/gates: .*/, 'gates: { preset: runbook }'); // prettier-ignore
    const gates = load(preset.replace('    gates:', '    reverse: { via: mysql }\n    gates:')).migrations.get(
      'shop',
    )?.gates;
    const asked = (gate: string): string[] => (gates?.get(gate)?.require ?? []).map((c) => c.text);
    expect(asked('replicated')).toEqual(
      expect.arrayContaining([
        'forward.errors is 0 for 10m',
        'forward.continuity is 1',
        'forward.tables_uncovered is 0',
        'attest.initial-copy-complete.age < 30d',
        'forward.runway > 1d',
      ]),
    );
    for (const gate of gates?.keys() ?? []) expect(asked(gate).join()).not.toContain('tables_syncing');
    expect(asked('target-ready').join()).not.toContain('target.writable');
    expect(asked('flip-writes')).toContain('sequences.behind is 0');
    expect(asked('rollback-ready')).toEqual(expect.arrayContaining(['reverse.tables_uncovered is 0', 'sequences.behind is 0'])); // prettier-ignore
  });
});
