/**
 * Holds Kubernetes manifests against what is published of its API: the validators made of its OpenAPI schemas (types,
 * required fields, values) and, because those let unknown fields pass, the interfaces made of the same, by the compiler.
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import ts from 'typescript';
import { parseAllDocuments } from 'yaml';
import { fetchDebian } from '../../../deploy/demo/debian.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const packages = ['kubernetes-models', '@kubernetes-models/prometheus-operator'];

/** An object of Kubernetes. */
export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Record<string, string> };
  readonly spec?: Record<string, unknown>;
  readonly data?: Record<string, string>;
}

/** Builds a kustomization with Debian's kubectl; rejects with what it says of it. */
export async function kustomize(folder: string): Promise<Manifest[]> {
  const tools = await fetchDebian({
    name: 'kubectl',
    what: 'kubectl (Debian, about 15 MB and its lists)',
    packages: ['kubectl'],
    // The machine's own release has one that is years old.
    suite: 'trixie',
    dependencies: false,
    leaveOut: ['./usr/share'],
  });
  const run = promisify(execFile);
  const { stdout } = await run(join(tools, 'usr/bin/kubectl'), ['kustomize', folder], { timeout: 30_000 });
  return manifestsOf(stdout);
}

/** Reads all documents of a YAML text; throws at the first fault of it. */
export function manifestsOf(text: string): Manifest[] {
  return parseAllDocuments(text, { uniqueKeys: true }).map((document) => {
    const [fault] = document.errors;
    if (fault !== undefined) throw fault;
    return document.toJS() as Manifest;
  });
}

/** Returns what is wrong with these objects, each problem with the object's name; empty when nothing is. */
export function manifestProblems(manifests: readonly Manifest[]): string[] {
  const known = manifests.map((manifest) => ({ manifest: asPublished(manifest), model: modelOf(manifest) }));
  const strangers = known
    .filter(({ model }) => model === null)
    .map(({ manifest }) => `${titleOf(manifest)}: no such kind`);
  const found = known.flatMap(({ manifest, model }) => (model === null ? [] : [{ manifest, model }]));
  return [...strangers, ...found.flatMap((each) => invalid(each)), ...unknownFields(found)];
}

interface Modelled {
  readonly manifest: Manifest;
  /** Path of the model's module without its ending. */
  readonly model: string;
}

/** The published schemas of the Prometheus Operator are older than this field of its rules, which promtool checks. */
function asPublished(manifest: Manifest): Manifest {
  if (manifest.kind !== 'PrometheusRule') return manifest;
  const text = JSON.stringify(manifest, (key, value: unknown) => (key === 'keep_firing_for' ? undefined : value));
  return JSON.parse(text) as Manifest;
}

function titleOf({ kind, metadata }: Manifest): string {
  return `${kind} ${metadata.name}`;
}

function modelOf({ apiVersion, kind }: Manifest): string | null {
  const paths = packages.map((name) => join(root, 'node_modules', name, apiVersion, kind));
  return paths.find((path) => existsSync(`${path}.d.ts`)) ?? null;
}

interface Model {
  validate(): void;
}

function invalid({ manifest, model }: Modelled): string[] {
  const module = createRequire(import.meta.url)(`${model}.js`) as Record<string, new (data: unknown) => Model>;
  const Kind = module[manifest.kind];
  if (Kind === undefined) return [`${titleOf(manifest)}: its model is not where it should be`];
  try {
    new Kind(manifest).validate();
    return [];
  } catch (error) {
    return [`${titleOf(manifest)}: ${error instanceof Error ? error.message : String(error)}`];
  }
}

/** What the compiler has read already: the same thousands of lines for each check. */
const read = new Map<string, ts.SourceFile | undefined>();

/** A literal that is given a type may have no property that the type does not know: so the compiler finds misspelt fields. */
function unknownFields(all: readonly Modelled[]): string[] {
  const lines = all.map(({ manifest, model }, at) => {
    const type = `import(${JSON.stringify(model)}).I${manifest.kind}`;
    return `export const object${at}: ${type} = ${JSON.stringify(manifest)};`;
  });
  const name = join(root, 'manifests.virtual.ts');
  const options: ts.CompilerOptions = {
    // A few types of the language are all that the interfaces are made of.
    ...{ strict: true, noEmit: true, skipLibCheck: true, types: [], lib: ['lib.es5.d.ts'] },
    ...{ target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  };
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (file) => file === name || fileExists(file);
  host.getSourceFile = (file, ...rest) => {
    if (file === name) return ts.createSourceFile(file, lines.join('\n'), options.target ?? 99);
    if (!read.has(file)) read.set(file, getSourceFile(file, ...rest));
    return read.get(file);
  };
  const program = ts.createProgram([name], options, host);
  return ts.getPreEmitDiagnostics(program).map((diagnostic) => {
    const text = ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n  ');
    const line = diagnostic.file?.getLineAndCharacterOfPosition(diagnostic.start ?? 0).line ?? 0;
    const at = all[line];
    return `${at === undefined ? 'types' : titleOf(at.manifest)}: ${text}`;
  });
}
