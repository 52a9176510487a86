import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { PrometheusQuery, TrafficConfig } from '../../daemon/core/config.js';
import { ENV, load, problemsIn, small } from './config-inputs.js';

const traffic = (query: string, files: Record<string, string> = {}): TrafficConfig =>
  load(small({ shop: `traffic: { x: ${query} }` }), files)
    .migrations.get('shop')!
    .traffic!.get('x')!;
const prometheus = (query: string, files: Record<string, string> = {}): PrometheusQuery =>
  traffic(query, files).ask as PrometheusQuery;
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;
const problems = (query: string): string => problemsIn(small({ shop: `traffic: { x: ${query} }` })).join('\n');

describe('how a Prometheus is reached', () => {
  it.each<[string, string, string | null]>([
    ['http://prom:9090', 'http://prom:9090', null],
    ['https://prom/path?x=1', 'https://prom/path?x=1', null],
    ['http://u:p%40ss@prom:9090', 'http://prom:9090', basic('u:p@ss')],
    ['http://u@prom', 'http://prom', basic('u:')],
    ['http://u:${env:PW}@prom:9090/p', 'http://prom:9090/p', basic(`u:${ENV['PW']!}`)],
    ['http://${env:TOKEN_A}:${env:PW}@prom', 'http://prom', basic(`${ENV['TOKEN_A']!}:${ENV['PW']!}`)],
    ['http://${env:TOKEN_A}:9090/p', `http://${ENV['TOKEN_A']!}:9090/p`, null],
    ['http://u:${env:TOKEN_B}@${env:TOKEN_A}/p', `http://${ENV['TOKEN_A']!}/p`, basic(`u:${ENV['TOKEN_B']!}`)],
  ])('%s', (url, expected, header) => {
    const ask = prometheus(`{ prometheus: "${url}", query: up }`);
    expect([ask.url, ask.authorization?.reveal() ?? null]).toEqual([expected, header]);
  });

  it('a token is read again each time, and shown nowhere', () => {
    const files = { '/run/token': 'one\n' };
    const ask = prometheus('{ prometheus: "http://prom", query: up, token: "${file:/run/token}" }', files);
    expect(ask.authorization?.reveal()).toBe('Bearer one');
    files['/run/token'] = 'two\n';
    expect(ask.authorization?.reveal()).toBe('Bearer two');
    expect(`${inspect(ask)}${JSON.stringify(ask)}`).not.toMatch(/one|two/);
  });

  it('is refused where it makes no sense', () => {
    expect(problems('{ prometheus: "http://u:p@prom", query: up, token: "${env:TOKEN_A}" }')).toMatch(
      /two ways to sign in/,
    );
    expect(problems('{ prometheus: "http://u:p@", query: up }')).toMatch(/not an HTTP address/);
    expect(problems('{ prometheus: "http://prom", query: up, every: 200ms }')).toMatch(/more than once a second/);
    expect(problems('{ cloudwatch: { region: r, namespace: n, metric: m, stat: s }, token: "${env:TOKEN_A}" }')).toMatch(/signed in to by the SDK/); // prettier-ignore
  });
});

it.each([
  ['Lockgate', true],
  ['Team/Lockgate-1', true],
  ['AWS/Lockgate', false],
  [':x', false],
  ['Lock gate', false],
  ['x'.repeat(256), false],
])('CloudWatch is published to under %s: %s', (namespace, taken) => {
  const top = `publish: { cloudwatch: { region: r, namespace: "${namespace}" } }`;
  expect(problemsIn(small({ top })).join()).toMatch(taken ? /^$/ : /no such namespace/);
});

it('CloudWatch is asked once a minute by default, Prometheus four times', () => {
  expect(traffic('{ cloudwatch: { region: r, namespace: n, metric: m, stat: s } }').everyUs).toBe(60e6);
  expect(traffic('{ prometheus: "http://prom", query: up }').everyUs).toBe(15e6);
});
