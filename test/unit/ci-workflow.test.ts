import { readdirSync, readFileSync } from 'node:fs';
import { NoOperationTraceWriter, parseWorkflow, convertWorkflowTemplate } from '@actions/workflow-parser';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';

const folder = new URL('../../.github/workflows/', import.meta.url);

/** What is wrong with a workflow, by GitHub's own parser and schema; expressions are parsed as well. */
async function errorsOf(content: string): Promise<string[]> {
  const { context, value } = parseWorkflow({ name: 'ci.yml', content }, new NoOperationTraceWriter());
  if (value !== undefined) await convertWorkflowTemplate(context, value);
  return context.errors.getErrors().map((error) => error.message);
}

interface Workflow {
  permissions: Record<string, string>;
  jobs: Record<
    string,
    { permissions?: unknown; strategy: { matrix: { node: number[] } }; steps: { uses?: string; run?: string }[] }
  >;
}

describe.each(readdirSync(folder))('the workflow %s', (name) => {
  const content = readFileSync(new URL(name, folder), 'utf8');

  it('is one, by the schema of who runs it', async () => {
    expect(await errorsOf(content)).toEqual([]);
    expect(await errorsOf(content.replace('runs-on:', 'run-on:'))).not.toEqual([]);
    expect(await errorsOf(content.replace('matrix.node }}', 'matrix.node('))).not.toEqual([]);
  });

  it('may read and nothing else, takes actions by their major version, and runs what everybody runs', () => {
    const { permissions, jobs } = parse(content) as Workflow;
    expect(permissions).toEqual({ contents: 'read' });
    for (const job of Object.values(jobs)) {
      expect(job.permissions).toBeUndefined();
      expect(job.strategy.matrix.node).toEqual([20, 22, 24]);
      for (const { uses } of job.steps) if (uses !== undefined) expect(uses).toMatch(/^actions\/[a-z-]+@v\d+$/);
      expect(job.steps.map(({ run }) => run)).toContain('.ci/run');
    }
  });
});
