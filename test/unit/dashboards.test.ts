import { describe, expect, it } from 'vitest';
import { readFileSync, readdirSync } from 'node:fs';
import { dashboardFiles } from '../../deploy/grafana/dashboards.js';
import { UID } from '../../deploy/grafana/frame.js';
import { signalNames } from '../../daemon/core/signal.js';
import { createMetrics } from '../../daemon/publish/prometheus.js';
import { documentedMetrics } from '../support/documented-metrics.js';
import { FakePort } from '../support/fake-port.js';
import { asksOf, committedDashboards, filled, metricsOf, panelsOf, signalsOf } from '../support/promql.js';

const FOLDER = new URL('../../deploy/grafana/dashboards/', import.meta.url);
/** What Prometheus makes itself of every scrape and every alert. */
const OF_PROMETHEUS = ['up', 'scrape_duration_seconds', 'ALERTS'];
/** Everything is chosen. */
const ALL = { migration: '.*', interval: '20s' };

const dashboards = [...committedDashboards()];

/** Every name that may be asked for: of a histogram its series. */
async function told(): Promise<Set<string>> {
  const text = await createMetrics(new FakePort(), { nodeVersion: 'v20.0.0' }).text();
  const names = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].flatMap(([, name = '', type]) =>
    type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name],
  );
  return new Set(names);
}

describe('the dashboards', () => {
  it('are in their files as they are built', () => {
    const built = dashboardFiles();
    expect([...built.keys()].toSorted()).toEqual(readdirSync(FOLDER).toSorted());
    for (const [name, text] of built) {
      expect(readFileSync(new URL(name, FOLDER), 'utf8') === text, `${name}: run npm run dashboards`).toBe(true);
    }
  });

  it('have addresses of their own, and link to one another by them', () => {
    expect(dashboards.map(([, d]) => d.uid).toSorted()).toEqual(Object.values(UID).toSorted());
    for (const [name, dashboard] of dashboards) {
      const to = [...JSON.stringify(dashboard).matchAll(/"url":"\/d\/([\w-]+)/g)].map(([, uid]) => uid);
      expect(new Set(to).size, name).toBeGreaterThan(1);
      for (const uid of to) expect(Object.values(UID), name).toContain(uid);
      expect(dashboard.links.length).toBe(2);
    }
  });
});

describe.each(dashboards)('%s', (_, dashboard) => {
  const panels = panelsOf(dashboard);

  it('asks for nothing but what there is', async () => {
    const metrics = new Set([...(await told()), ...OF_PROMETHEUS]);
    const asked = asksOf(dashboard);
    expect(asked.length).toBeGreaterThan(15);
    for (const { where, expr } of asked) {
      for (const name of metricsOf(filled(expr, ALL))) expect(metrics, where).toContain(name);
    }
  });

  it('asks for signals that there are', () => {
    const names = signalNames({ links: ['forward', 'reverse'], traffic: { errors: 'ratio' }, dns: ['app'] });
    const known = [...names, 'attest.backup.age'];
    for (const { where, expr } of asksOf(dashboard)) {
      for (const { alternatives } of signalsOf(filled(expr, ALL))) {
        for (const regex of alternatives)
          expect(
            known.some((n) => regex.test(n)),
            `${where}: ${regex.source}`,
          ).toBe(true);
      }
    }
  });

  it('says of every panel what is seen, and what it means when there is nothing to see', () => {
    for (const panel of panels) {
      expect(panel.description?.length ?? 0, panel.title).toBeGreaterThan(15);
      expect(panel.fieldConfig?.defaults.noValue, panel.title).toMatch(/./);
      expect(panel.datasource, panel.title).toEqual({ type: 'prometheus', uid: '${datasource}' });
    }
    const ids = dashboard.panels.map((p) => p.id);
    expect(new Set(ids).size).toBe(ids.length);
    const ask = panels.map((p) => p.targets?.map((t) => t.refId) ?? []);
    for (const refIds of ask) expect(new Set(refIds).size).toBe(refIds.length);
  });

  it('shows the present in numbers and tables by instant queries: the last value of a range may be an old one', () => {
    for (const { type, title, targets = [] } of panels) {
      const present = type === 'stat' || type === 'table';
      expect(targets.length, title).toBeGreaterThan(0);
      for (const target of targets) expect(target.instant === true, title).toBe(present);
    }
  });

  it('draws nothing across a gap, and nothing green but an open gate or a drained fence', () => {
    for (const panel of panels) {
      const text = JSON.stringify(panel);
      if (panel.type === 'timeseries') expect(text, panel.title).not.toMatch(/"spanNulls":(true|[1-9])/);
      if (panel.type === 'state-timeline') expect(text, panel.title).toMatch(/"spanNulls":false/);
      for (const [said] of text.matchAll(/\{"text":"[^"]*","color":"#009E73"/g))
        expect(said).toMatch(/"(OPEN|DRAINED)"/);
      expect(text.replaceAll(/\{"text":"[^"]*","color":"#009E73"/g, ''), panel.title).not.toMatch(/#009E73|green/i);
    }
  });

  it('fits the width of 24, and no panel lies upon another', () => {
    const taken = new Set<string>();
    for (const { gridPos, title } of dashboard.panels) {
      expect(gridPos.x + gridPos.w, title).toBeLessThanOrEqual(24);
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect(taken.has(`${x},${y}`), `${title} at ${x},${y}`).toBe(false);
          taken.add(`${x},${y}`);
        }
      }
    }
  });
});

describe('the documentation of the metrics', () => {
  it('lists what there is with its type and labels, and nothing else', async () => {
    const metrics = createMetrics(new FakePort(), { nodeVersion: 'v20.0.0' });
    metrics.observeDelay('shop', 'forward', 0.02);
    metrics.streamed('onprem', 'wal', 1, 1);
    metrics.rowsCompared('shop', 1);
    const text = await metrics.text();
    const types = [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name = '', type = '']) => [name, type] as const);
    const documented = documentedMetrics();
    expect(Object.fromEntries([...documented].map(([name, { type }]) => [name, type]))).toEqual(
      Object.fromEntries(types),
    );
    for (const [name, { labels }] of documented) {
      // `le` is that of every histogram.
      const samples = [...text.matchAll(new RegExp(`^${name}(?:_count)?\\{(.*)\\} `, 'gm'))];
      for (const [, said = ''] of samples) {
        expect([...said.matchAll(/(\w+)="/g)].map(([, label]) => label).toSorted(), name).toEqual(labels.toSorted());
      }
    }
  });
});
