/**
 * AWS's own models of its APIs, as the development package `aws-sdk` 2 carries them, and what they say about a value on the
 * JSON wire. The models tell types, required members and all members there are; limits and enums are not in them, and stand
 * in `limits.ts` as documented.
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

interface Shape {
  type?: string;
  shape?: string;
  required?: readonly string[];
  members?: Readonly<Record<string, Shape>>;
  member?: Shape;
  value?: Shape;
}

interface ModelFile {
  operations: Readonly<Record<string, { input?: Shape; output?: Shape }>>;
  shapes: Readonly<Record<string, Shape>>;
}

/** One service's model. */
export class ApiModel {
  private readonly file: ModelFile;

  /** Reads `node_modules/aws-sdk/apis/{name}.min.json`. */
  constructor(name: string) {
    const path = createRequire(import.meta.url).resolve(`aws-sdk/apis/${name}.min.json`);
    this.file = JSON.parse(readFileSync(path, 'utf8')) as ModelFile;
  }

  /** Whether the service has the operation. */
  has(operation: string): boolean {
    return Object.hasOwn(this.file.operations, operation);
  }

  /** What is wrong with a request, a clause each; empty when nothing is. */
  checkInput(operation: string, value: unknown): string[] {
    return this.check(this.file.operations[operation]?.input, value, operation);
  }

  /** What is wrong with an answer, a clause each; empty when nothing is. */
  checkOutput(operation: string, value: unknown): string[] {
    return this.check(this.file.operations[operation]?.output, value, `${operation} answer`);
  }

  private check(shape: Shape | undefined, value: unknown, path: string): string[] {
    if (shape === undefined)
      return isObject(value) && Object.keys(value).length === 0 ? [] : [`${path}: takes nothing`];
    const full = shape.shape === undefined ? shape : { ...this.file.shapes[shape.shape], ...shape };
    switch (full.type) {
      case 'structure':
        return this.structure(full, value, path);
      case 'list':
        if (!Array.isArray(value)) return [`${path}: not a list`];
        return value.flatMap((item, i) => this.check(full.member, item, `${path}[${i}]`));
      case 'map':
        if (!isObject(value)) return [`${path}: not a map`];
        return Object.entries(value).flatMap(([key, item]) => this.check(full.value, item, `${path}.${key}`));
      case 'integer':
      case 'long':
        return Number.isSafeInteger(value) ? [] : [`${path}: not an integer`];
      case 'double':
      case 'float':
        return typeof value === 'number' && Number.isFinite(value) ? [] : [`${path}: not a finite number`];
      case 'timestamp':
        return typeof value === 'number' && Number.isFinite(value) ? [] : [`${path}: not epoch seconds`];
      case 'boolean':
        return typeof value === 'boolean' ? [] : [`${path}: not a boolean`];
      case 'blob':
      case 'string':
      case undefined:
        return typeof value === 'string' ? [] : [`${path}: not a string`];
      default:
        throw new Error(`a model with the type ${full.type}`);
    }
  }

  private structure(shape: Shape, value: unknown, path: string): string[] {
    if (!isObject(value)) return [`${path}: not a structure`];
    const members = shape.members ?? {};
    return [
      ...(shape.required ?? [])
        .filter((name) => value[name] === undefined)
        .map((name) => `${path}.${name}: is missing`),
      ...Object.entries(value).flatMap(([name, item]) => {
        const member = Object.hasOwn(members, name) ? members[name] : undefined;
        return member === undefined ? [`${path}.${name}: no such member`] : this.check(member, item, `${path}.${name}`);
      }),
    ];
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
