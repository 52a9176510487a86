/**
 * Holds a CloudFormation template against AWS's own specification of resources, which is published as a package: types and
 * their properties, what each is made of, what is required, which attributes there are. Intrinsic functions are followed:
 * what they name must exist. What only CloudFormation knows (limits, names already taken, quotas) stays open.
 */
import { loadAwsServiceSpec } from '@aws-cdk/aws-service-spec';
import type { PropertyType, ResourceProperties, SpecDatabase } from '@aws-cdk/service-spec-types';
import { parseDocument, type ScalarTag } from 'yaml';

/** A resource of a template. */
export interface TemplateResource {
  readonly Type: string;
  readonly Properties?: Record<string, unknown>;
  readonly DependsOn?: string | string[];
  /** It is there only where this holds. */
  readonly Condition?: string;
}

/** A template; its values may be intrinsic functions anywhere. */
export interface Template {
  readonly AWSTemplateFormatVersion?: string;
  readonly Parameters?: Record<string, { Type: string; Default?: unknown }>;
  readonly Conditions?: Record<string, unknown>;
  readonly Resources: Record<string, TemplateResource>;
  readonly Outputs?: Record<string, { Value: unknown }>;
}

const SECTIONS = [
  'AWSTemplateFormatVersion',
  'Description',
  'Metadata',
  'Parameters',
  'Conditions',
  'Resources',
  'Outputs',
];
const OF_RESOURCE = [
  'Type',
  'Properties',
  'DependsOn',
  'Condition',
  'DeletionPolicy',
  'UpdateReplacePolicy',
  'Metadata',
];
const PARAMETER_TYPES = /^(String|Number|CommaDelimitedList|(List<)?AWS::EC2::(VPC|Subnet|SecurityGroup)::Id>?)$/;
const PSEUDO = ['AccountId', 'NoValue', 'Partition', 'Region', 'StackId', 'StackName', 'URLSuffix'].map(
  (n) => `AWS::${n}`,
);
const FUNCTIONS = ['Ref', 'GetAtt', 'Sub', 'If', 'Equals', 'Not', 'And', 'Or', 'Join', 'Select', 'Split', 'Condition'];

/** Reads a template in YAML, short forms of functions (`!Ref`) included; throws at the first fault of the YAML. */
export function readTemplate(text: string): Template {
  const long = (name: string): string => (name === 'Ref' || name === 'Condition' ? name : `Fn::${name}`);
  const tags = FUNCTIONS.flatMap((name): ScalarTag[] => {
    const whole = (value: unknown): Record<string, unknown> => ({ [long(name)]: value });
    const scalar: ScalarTag = { tag: `!${name}`, resolve: (value) => whole(name === 'GetAtt' ? dotted(value) : value) };
    const list = { tag: `!${name}`, collection: 'seq', resolve: (seq: { toJSON(): unknown }) => whole(seq.toJSON()) };
    return [scalar, list as unknown as ScalarTag];
  });
  const document = parseDocument(text, { customTags: tags, uniqueKeys: true });
  const fault = document.errors[0] ?? document.warnings[0];
  if (fault !== undefined) throw fault;
  return JSON.parse(JSON.stringify(document.toJS())) as Template;
}

function dotted(text: string): string[] {
  const dot = text.indexOf('.');
  return [text.slice(0, dot), text.slice(dot + 1)];
}

/** Read once: it is large. */
let spec: Promise<SpecDatabase> | undefined;

/** Returns what is wrong with a template, each problem with its place; empty when nothing is. */
export async function templateProblems(template: Template): Promise<string[]> {
  const check = new Check(template, await (spec ??= loadAwsServiceSpec()));
  check.run();
  return check.problems;
}

class Check {
  readonly problems: string[] = [];
  private readonly used = new Set<string>();

  constructor(
    private readonly template: Template,
    private readonly db: SpecDatabase,
  ) {}

  run(): void {
    const { Parameters = {}, Conditions = {}, Resources, Outputs = {} } = this.template;
    this.names('', Object.keys(this.template), SECTIONS);
    for (const [name, { Type }] of Object.entries(Parameters)) {
      if (!PARAMETER_TYPES.test(Type)) this.say(`Parameters.${name}`, `there is no type ${Type}`);
    }
    for (const [name, condition] of Object.entries(Conditions)) this.follow(`Conditions.${name}`, condition);
    for (const [name, resource] of Object.entries(Resources)) {
      const at = `Resources.${name}`;
      this.names(at, Object.keys(resource), OF_RESOURCE);
      for (const other of [resource.DependsOn ?? []].flat()) {
        if (!(other in Resources)) this.say(at, `depends on ${other}, which there is not`);
      }
      const found = this.db.lookup('resource', 'cloudFormationType', 'equals', resource.Type)[0];
      if (found === undefined) this.say(at, `there is no ${resource.Type}`);
      else this.object(at, resource.Properties ?? {}, found.properties);
      if (resource.Condition !== undefined) this.condition(at, resource.Condition);
      this.follow(at, resource.Properties ?? {}, resource.Condition);
    }
    for (const [name, output] of Object.entries(Outputs)) this.follow(`Outputs.${name}`, output);
    for (const name of [...Object.keys(Parameters), ...Object.keys(Conditions)]) {
      if (!this.used.has(name)) this.say(name, 'is used nowhere');
    }
  }

  private say(at: string, what: string): void {
    this.problems.push(`${at}: ${what}`);
  }

  private names(at: string, names: readonly string[], known: readonly string[]): void {
    for (const name of names) if (!known.includes(name)) this.say(`${at}.${name}`, 'is not known');
  }

  private object(at: string, value: unknown, properties: ResourceProperties): void {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return this.say(at, 'is no object');
    this.names(at, Object.keys(value), Object.keys(properties));
    for (const [name, property] of Object.entries(properties)) {
      const given = (value as Record<string, unknown>)[name];
      if (given !== undefined) this.value(`${at}.${name}`, given, property.type);
      else if (property.required === true) this.say(`${at}.${name}`, 'is required');
    }
  }

  private value(at: string, value: unknown, type: PropertyType): void {
    const branches = branchesOf(value);
    if (branches !== null) return branches.forEach((branch) => this.value(at, branch, type));
    if (isFunction(value)) return;
    switch (type.type) {
      case 'string':
        if (!['string', 'number', 'boolean'].includes(typeof value)) this.say(at, 'is no text');
        else if (type.allowedValues !== undefined && !type.allowedValues.includes(String(value))) {
          this.say(at, `is none of ${type.allowedValues.join(', ')}`);
        }
        return;
      case 'number':
      case 'integer':
        if (typeof value !== 'number') this.say(at, 'is no number');
        return;
      case 'boolean':
        if (typeof value !== 'boolean') this.say(at, 'is no boolean');
        return;
      case 'array':
        if (!Array.isArray(value)) return this.say(at, 'is no list');
        return value.forEach((each, index) => this.value(`${at}[${index}]`, each, type.element));
      case 'map':
        if (typeof value !== 'object' || value === null || Array.isArray(value)) return this.say(at, 'is no map');
        for (const [key, each] of Object.entries(value)) this.value(`${at}.${key}`, each, type.element);
        return;
      case 'ref':
        return this.object(at, value, this.db.get('typeDefinition', type.reference.$ref).properties);
      case 'union': {
        const tries = type.types.map((one) => {
          const inner = new Check(this.template, this.db);
          inner.value(at, value, one);
          return inner.problems;
        });
        if (!tries.some((found) => found.length === 0)) this.problems.push(...(tries[0] ?? []));
        return;
      }
      default: // json, tag, date-time, null: nothing is published of what they are made of
        return;
    }
  }

  /** Follows every function below a value; `under` is the condition that holds there, if one is asked. */
  private follow(at: string, value: unknown, under?: string): void {
    if (Array.isArray(value)) return value.forEach((each, index) => this.follow(`${at}[${index}]`, each, under));
    if (typeof value !== 'object' || value === null) return;
    for (const [key, inner] of Object.entries(value)) {
      const here = `${at}.${key}`;
      if (key === 'Ref') this.name(here, String(inner), under);
      else if (key === 'Fn::GetAtt') this.attribute(here, inner as string[], under);
      else if (key === 'Fn::Sub') this.substitute(here, inner, under);
      else if (key === 'Fn::If') this.either(here, inner as unknown[], under);
      else {
        if (key === 'Condition' && typeof inner === 'string') this.condition(here, inner);
        if (key.startsWith('Fn::') && !FUNCTIONS.includes(key.slice(4))) this.say(here, 'is no function');
        this.follow(here, inner, under);
      }
    }
  }

  private either(at: string, [name, yes, no]: readonly unknown[], under: string | undefined): void {
    this.condition(at, String(name));
    this.follow(at, yes, String(name));
    this.follow(at, no, under);
  }

  private name(at: string, name: string, under: string | undefined): void {
    this.used.add(name);
    const { Parameters = {}, Resources } = this.template;
    const resource = Resources[name];
    if (resource !== undefined) this.mayBeMissing(at, name, resource, under);
    else if (!(name in Parameters) && !PSEUDO.includes(name)) this.say(at, `names ${name}, which there is not`);
  }

  private attribute(at: string, [name = '', attribute = '']: readonly string[], under: string | undefined): void {
    const resource = this.template.Resources[name];
    if (resource === undefined) return this.say(at, `names ${name}, which there is not`);
    this.mayBeMissing(at, name, resource, under);
    const found = this.db.lookup('resource', 'cloudFormationType', 'equals', resource.Type)[0];
    if (found !== undefined && !(attribute in found.attributes))
      this.say(at, `${resource.Type} has no attribute ${attribute}`);
  }

  private mayBeMissing(at: string, name: string, { Condition }: TemplateResource, under: string | undefined): void {
    if (Condition !== undefined && Condition !== under) this.say(at, `${name} is there only where ${Condition} holds`);
  }

  private substitute(at: string, inner: unknown, under: string | undefined): void {
    const [text, own] = (Array.isArray(inner) ? inner : [inner, {}]) as [string, Record<string, unknown>];
    for (const [, name = ''] of text.matchAll(/\$\{([^!}][^}]*)\}/g)) {
      if (name in own) continue;
      if (name.includes('.')) this.attribute(at, dotted(name), under);
      else this.name(at, name, under);
    }
    this.follow(at, own, under);
  }

  private condition(at: string, name: string): void {
    this.used.add(name);
    if (!(name in (this.template.Conditions ?? {}))) this.say(at, `there is no condition ${name}`);
  }
}

function isFunction(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const [key = '', more] = Object.keys(value);
  return more === undefined && (key === 'Ref' || key.startsWith('Fn::'));
}

/** What a condition may become; null for what is no condition. */
function branchesOf(value: unknown): unknown[] | null {
  if (typeof value !== 'object' || value === null || !('Fn::If' in value)) return null;
  const [, ...branches] = value['Fn::If'] as unknown[];
  return branches;
}
