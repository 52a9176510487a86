// Every file of deploy/ that a machine reads, held against the tool or the published schema that knows it.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readTemplate, templateProblems, type Template } from '../support/deploy/cloudformation.js';
import { exampleConfig, generatedFiles } from '../support/deploy/generated.js';
import { statementProblems, statementsOf } from '../support/deploy/iam.js';
import { kustomize, manifestProblems, type Manifest } from '../support/deploy/kubernetes.js';
import { checkOf, deployFiles } from '../support/deploy-files.js';

const root = new URL('../../', import.meta.url).pathname;
const text = (file: string): string => readFileSync(join(root, file), 'utf8');
/** How long everything may take to close before the process ends regardless, in seconds; as the daemon has it. */
const stopSeconds =
  Number(/STOP_DEADLINE_MS = ([\d_]+)/.exec(text('daemon/cli/run.ts'))?.[1]?.replaceAll('_', '')) / 1_000;
const dockerfile = text('deploy/docker/Dockerfile');

describe('files of deploy/', () => {
  it.each(deployFiles())('%s', async (file) => {
    const check = checkOf(file);
    expect(check, `nobody checks ${file}: add an entry to test/support/deploy-files.ts`).toBeDefined();
    expect(await check?.problems(file), `by ${check?.by ?? ''}`).toEqual([]);
  });

  it('are what lockgate prints, where it prints them', async () => {
    for (const [file, wanted] of await generatedFiles()) expect(text(file), file).toBe(wanted);
  });
});

/** A part of an object by its path; fails where there is nothing. */
function at(value: unknown, path: string): unknown {
  let here = value;
  for (const key of path.split('.')) here = (here as Record<string, unknown> | undefined)?.[key];
  if (here === undefined) throw new Error(`there is no ${path}`);
  return here;
}

interface Policy {
  podSelector: { matchLabels: Record<string, string> };
}

describe('the manifests of Kubernetes', async () => {
  const all = await kustomize(join(root, 'deploy/kubernetes/overlays/example'));
  const one = (kind: string, name = 'lockgate'): Manifest => {
    const found = all.find((each) => each.kind === kind && each.metadata.name.startsWith(name));
    if (found === undefined) throw new Error(`there is no ${kind} ${name}`);
    return found;
  };
  const set = one('StatefulSet');
  const pod = at(set.spec, 'template.spec');
  const container = at(pod, 'containers.0');

  it('give the pod no more than the image needs, and the user that the image has', () => {
    expect(at(container, 'securityContext')).toEqual({
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      privileged: false,
      readOnlyRootFilesystem: true,
    });
    const [, uid, gid] = /^USER (\d+):(\d+)$/m.exec(dockerfile) ?? [];
    expect(at(pod, 'securityContext')).toMatchObject({
      runAsNonRoot: true,
      runAsUser: Number(uid),
      runAsGroup: Number(gid),
      fsGroup: Number(gid),
      seccompProfile: { type: 'RuntimeDefault' },
    });
    expect(at(pod, 'automountServiceAccountToken')).toBe(false);
  });

  it('mount the store, the configuration and every secret where the configuration looks for them', () => {
    const mounts = at(container, 'volumeMounts') as { name: string; mountPath: string }[];
    const volumes = [
      ...(at(pod, 'volumes') as { name: string }[]),
      ...(at(set.spec, 'volumeClaimTemplates') as Manifest[]).map((v) => v.metadata),
    ];
    expect(mounts.map((m) => m.name).sort()).toEqual(volumes.map((v) => v.name).sort());
    const config = exampleConfig('deploy/kubernetes/overlays/example/lockgate.yaml');
    expect(config.store.path).toMatch(new RegExp(`^${mounts.find((m) => m.name === 'store')?.mountPath ?? '-'}/`));
    expect(dockerfile).toContain(`VOLUME ["${mounts.find((m) => m.name === 'store')?.mountPath ?? '-'}"]`);
    const keys = Object.keys(one('Secret').data ?? {});
    const named = [...text('deploy/kubernetes/overlays/example/lockgate.yaml').matchAll(/\$\{file:([^}]+)\}/g)];
    expect(new Set(named.map(([, path]) => path))).toEqual(new Set(keys.map((key) => `/run/secrets/lockgate/${key}`)));
    expect(Object.keys(one('ConfigMap').data ?? {}).sort()).toEqual(['ca.pem', 'lockgate.yaml']);
    expect(at(container, 'args')).toEqual(['run', '--config', '/etc/lockgate/lockgate.yaml']);
  });

  it('ask for health where it depends on no database, and wait longer for a stop than it takes', () => {
    expect(at(container, 'livenessProbe.httpGet.path')).toBe('/livez');
    expect(at(container, 'startupProbe.httpGet.path')).toBe('/livez');
    expect(at(container, 'readinessProbe.httpGet.path')).toBe('/readyz');
    expect(at(pod, 'terminationGracePeriodSeconds')).toBeGreaterThan(stopSeconds);
  });

  it('never run two daemons of one id, and let nothing evict the one', () => {
    expect(at(set.spec, 'replicas')).toBe(1);
    expect(at(one('PodDisruptionBudget').spec, 'maxUnavailable')).toBe(0);
    expect(exampleConfig('deploy/kubernetes/overlays/example/lockgate.yaml').daemon.id).toBe('lockgate-k8s');
  });

  it('select the pod, everywhere, and nobody else with it', () => {
    const labels = at(set.spec, 'template.metadata.labels') as Record<string, string>;
    const selectors = [
      at(set.spec, 'selector.matchLabels'),
      at(one('PodDisruptionBudget').spec, 'selector.matchLabels'),
      at(one('Service').spec, 'selector'),
      at(one('Service', 'lockgate-headless').spec, 'selector'),
      ...all
        .filter((each) => each.kind === 'NetworkPolicy')
        .map((p) => (p.spec as unknown as Policy).podSelector.matchLabels),
    ] as Record<string, string>[];
    for (const selector of selectors) {
      expect(Object.keys(selector).length).toBeGreaterThan(0);
      expect(labels).toMatchObject(selector);
    }
    expect(JSON.stringify(at(one('NetworkPolicy').spec, 'egress'))).not.toContain('app.kubernetes.io/name');
  });

  it('have Prometheus scrape one service, once, with a reader, under the job that the rules know', () => {
    const monitor = one('ServiceMonitor').spec;
    const [[key, values]] = [at(monitor, 'selector.matchExpressions.0') as { key: string; values: string[] }].map(
      (e) => [e.key, e.values],
    ) as [[string, string[]]];
    const scraped = all.filter((each) => each.kind === 'Service' && values.includes(each.metadata.labels?.[key] ?? ''));
    expect(scraped.map((each) => each.metadata.name)).toEqual(['lockgate']);
    expect(scraped[0]?.metadata.labels?.[at(monitor, 'jobLabel') as string]).toBe('lockgate');
    expect(Object.keys(one('Secret').data ?? {})).toContain(at(monitor, 'endpoints.0.authorization.credentials.key'));
    const file = 'deploy/kubernetes/overlays/example/lockgate.yaml';
    const token = /name: reader, token: '\$\{file:\/run\/secrets\/lockgate\/([\w-]+)\}', role: reader/.exec(text(file));
    expect(token?.[1]).toBe(at(monitor, 'endpoints.0.authorization.credentials.key'));
  });

  it('would be found out if they were wrong', () => {
    const wrong = JSON.parse(JSON.stringify(set)) as { spec: Record<string, unknown> } & Manifest;
    (at(wrong.spec, 'template.spec.containers.0') as Record<string, unknown>)['readinesProbe'] = {};
    expect(manifestProblems([wrong]).join()).toContain('readinesProbe');
    const service = { ...one('Service'), spec: { ports: [{ port: 'x' }] } };
    expect(manifestProblems([service]).join()).toContain('must be integer');
    expect(manifestProblems([{ ...one('Service'), kind: 'Serivce' }])).toEqual(['Serivce lockgate: no such kind']);
  });
});

describe('the templates for AWS', () => {
  const template = readTemplate(text('deploy/aws/lockgate.yaml'));
  const properties = (name: string): Record<string, unknown> => template.Resources[name]?.Properties ?? {};
  const container = at(properties('TaskDefinition'), 'ContainerDefinitions.0');

  it('run the image as the Dockerfile says', () => {
    expect(at(container, 'User')).toBe(/^USER (.*)$/m.exec(dockerfile)?.[1]);
    const [, command] = /^ +CMD (\[.*\])$/m.exec(dockerfile) ?? [];
    expect(at(container, 'HealthCheck.Command')).toEqual(['CMD', ...(JSON.parse(command ?? '[]') as string[])]);
    expect(at(container, 'ReadonlyRootFilesystem')).toBe(true);
    expect(at(container, 'StopTimeout')).toBeGreaterThan(stopSeconds);
    expect(at(properties('Service'), 'DesiredCount')).toBe(1);
    expect(at(properties('Service'), 'DeploymentConfiguration')).toMatchObject({
      MinimumHealthyPercent: 0,
      MaximumPercent: 100,
    });
  });

  it('give the configuration what it reads from the environment', () => {
    const named = [...text('deploy/aws/image/lockgate.yaml').matchAll(/\$\{env:(\w+)\}/g)].map(([, name]) => name);
    expect((at(container, 'Secrets') as { Name: string }[]).map((secret) => secret.Name).sort()).toEqual(named.sort());
  });

  it('allow what lockgate asks of AWS and nothing else', () => {
    const actions = statementsOf(properties('TaskRole'))
      .flatMap((s) => [s.Action].flat())
      .filter((a) => !a.startsWith('sts:'));
    const documented = [
      ...`${text('docs/dms.md')}${text('docs/cloudwatch.md')}`.matchAll(/"((?:dms|cloudwatch):\w+)"/g),
    ].map(([, a]) => a ?? '');
    const own = ['rds-db:connect', 'elasticfilesystem:ClientMount', 'elasticfilesystem:ClientWrite'];
    const asked = documented.filter((action) => /^(dms:Describe|cloudwatch:(Get|Put)Metric)/.test(action));
    expect(new Set(actions)).toEqual(new Set([...asked, ...own]));
    const publish = statementsOf(properties('TaskRole')).find((s) => s.Action === 'cloudwatch:PutMetricData');
    expect(publish?.Condition).toEqual({ StringEquals: { 'cloudwatch:namespace': { Ref: 'MetricsNamespace' } } });
  });

  it('draw numbers that are published, as lines that end, and alarm on silence', () => {
    const body = at(properties('Dashboard'), 'DashboardBody.Fn::Sub') as string;
    const { widgets } = JSON.parse(body) as {
      widgets: { type: string; properties: { view?: string; metrics?: string[][] } }[];
    };
    const drawn = widgets.filter((w) => w.type === 'metric');
    expect(drawn.every((w) => w.properties.view === 'timeSeries')).toBe(true);
    const published = [...text('docs/cloudwatch.md').matchAll(/^\| `(\w+)` +\| `/gm)].map(([, name]) => name);
    const names = drawn.flatMap((w) => w.properties.metrics ?? []).map(([, name]) => name);
    expect(names.length).toBeGreaterThan(5);
    for (const name of names) expect(published).toContain(name);
    expect(properties('SilenceAlarm')).toMatchObject({
      TreatMissingData: 'breaching',
      Statistic: 'SampleCount',
      MetricName: 'GateOpen',
    });
  });

  it.each<[string, (t: Record<string, Record<string, unknown>>) => void, string]>([
    [
      'a property that there is not',
      (r) => set(r, 'TaskDefinition.ContainerDefinitions.0.ReadOnlyRootFilesystem', true),
      'is not known',
    ],
    ['a property of a part', (r) => set(r, 'StoreAccessPoint.PosixUser.UserId', '1'), 'is not known'],
    ['a text for a number', (r) => set(r, 'Service.DesiredCount', 'one'), 'is no number'],
    ['a name that there is not', (r) => set(r, 'LogGroup.LogGroupName', { Ref: 'Nobody' }), 'names Nobody'],
    [
      'an attribute that there is not',
      (r) => set(r, 'LogGroup.LogGroupName', { 'Fn::GetAtt': ['TaskRole', 'Name'] }),
      'has no attribute',
    ],
    [
      'what is there on a condition only',
      (r) => set(r, 'LogGroup.LogGroupName', { Ref: 'StoreFileSystem' }),
      'only where',
    ],
    [
      'an action that there is not',
      (r) => set(r, 'TaskRole.Policies.0.PolicyDocument.Statement.0.Action', 'dms:DescribeNothing'),
      'no such action',
    ],
    [
      'more than is needed',
      (r) => set(r, 'ExecutionRole.Policies.0.PolicyDocument.Statement.1.Resource', '*'),
      'allowed on everything',
    ],
  ])('would be found out if they had %s', async (_, spoil, said) => {
    const spoilt = JSON.parse(JSON.stringify(template)) as Template;
    spoil(Object.fromEntries(Object.entries(spoilt.Resources).map(([name, r]) => [name, r.Properties ?? {}])));
    const problems = [...(await templateProblems(spoilt)), ...(await statementProblems(statementsOf(spoilt)))];
    expect(problems.join('\n')).toContain(said);
  });
});

function set(value: unknown, path: string, to: unknown): void {
  const [last = '', ...before] = path.split('.').reverse();
  (at(value, before.reverse().join('.')) as Record<string, unknown>)[last] = to;
}
