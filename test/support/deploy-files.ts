/**
 * Who checks which file of deploy/. A file of a kind that machines read and that matches no entry here fails the tests:
 * add an entry for it. The first entry that matches counts.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readTemplate, templateProblems } from './deploy/cloudformation.js';
import { exampleConfig, generatedFiles } from './deploy/generated.js';
import { statementProblems, statementsOf } from './deploy/iam.js';
import { kustomize, manifestProblems, manifestsOf } from './deploy/kubernetes.js';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Checks files of one kind. */
export interface DeployCheck {
  /** Paths below the project, with `/`. */
  readonly files: RegExp;
  /** For the test's name: by what. */
  readonly by: string;
  /** Returns what is wrong with a file; empty when nothing is. It may reject as well. */
  problems(file: string): Promise<readonly string[]>;
}

/** All checks. */
export const deployChecks: readonly DeployCheck[] = [
  { files: /\/kustomization\.yaml$/, by: 'kubectl kustomize and the API of Kubernetes', problems: kustomization },
  {
    files: /^deploy\/(kubernetes\/.*|aws\/image|compose)\/lockgate\.yaml$|^deploy\/sql\/.*\.yaml$/,
    by: 'lockgate itself',
    problems: (file) => Promise.resolve(exampleConfig(file)).then(() => []),
  },
  {
    files: /^deploy\/kubernetes\/.*\.yaml$/,
    by: 'the API of Kubernetes',
    problems: (file) => Promise.resolve(manifestProblems(manifestsOf(textOf(file)))),
  },
  { files: /^deploy\/aws\/[^/]*\.yaml$/, by: "AWS's specification of resources and actions", problems: cloudformation },
  { files: /^deploy\/sql\/.*\.sql$/, by: 'what the command prints', problems: generated },
  inTest(/^deploy\/systemd\/.*\.service$/, 'test/scenario/deploy-systemd.test.ts'),
  inTest(/^deploy\/prometheus\/[^/]*\.yml$/, 'test/integration/prometheus-rules.test.ts'),
];

/** All files of deploy/ that have to be checked, by their paths below the project. */
export function deployFiles(): string[] {
  const all = readdirSync(join(root, 'deploy'), { recursive: true, encoding: 'utf8' });
  return all.filter((file) => /\.(ya?ml|json|service|sql)$/.test(file)).map((file) => `deploy/${file}`);
}

/** The check of a file; undefined when there is none. */
export function checkOf(file: string): DeployCheck | undefined {
  return deployChecks.find(({ files }) => files.test(file));
}

/** For what another test file checks with servers of its own: it has to be there and to name the file. */
export function inTest(files: RegExp, test: string): DeployCheck {
  return {
    files,
    by: test,
    problems: (file) => {
      const named = existsSync(join(root, test)) && textOf(test).includes(basename(file));
      return Promise.resolve(named ? [] : [`${test} does not check ${file}`]);
    },
  };
}

function textOf(file: string): string {
  return readFileSync(join(root, file), 'utf8');
}

async function kustomization(file: string): Promise<readonly string[]> {
  const folder = dirname(file);
  if (!textOf(file).includes('kind: Component')) return manifestProblems(await kustomize(join(root, folder)));
  // A component cannot be built alone.
  const users = deployFiles().filter((each) => each.endsWith('kustomization.yaml') && each !== file);
  return users.some((each) => textOf(each).includes(`components/${basename(folder)}`)) ? [] : ['no overlay uses it'];
}

async function cloudformation(file: string): Promise<readonly string[]> {
  const template = readTemplate(textOf(file));
  return [...(await templateProblems(template)), ...(await statementProblems(statementsOf(template)))];
}

/** Made once, for all files. */
let made: Promise<Map<string, string>> | undefined;

async function generated(file: string): Promise<readonly string[]> {
  const wanted = (await (made ??= generatedFiles())).get(file);
  if (wanted === undefined) return ['no command prints it: is it left over?'];
  return wanted === textOf(file) ? [] : ['it is not what the command prints: npm run deploy:generate'];
}
