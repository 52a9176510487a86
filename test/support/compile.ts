/**
 * Compiles the daemon once for a whole run of tests with servers, which start it hundreds of times: as JavaScript it is
 * there in half of the processor time. Only types are taken away here; whether they fit is another check's matter.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { buildPage } from '../../deploy/page/build.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** What `npm run build` compiles. */
const FOLDERS = ['daemon', 'collectors', 'alerts'];

/** Names the compiled main file in `LOCKGATE_TEST_MAIN` for the tests; answers what removes it again. */
export default function compile(): () => void {
  // Below the project, so that packages are found from there; for this run alone, for others may change the sources meanwhile.
  const folder = join(root, '.cache', `compiled-${process.pid}`);
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  for (const name of FOLDERS.filter((each) => existsSync(join(root, each)))) {
    for (const file of readdirSync(join(root, name), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts')) continue;
      const to = join(folder, name, file.replace(/\.ts$/, '.js'));
      const { outputText } = ts.transpileModule(readFileSync(join(root, name, file), 'utf8'), {
        compilerOptions: {
          target: ts.ScriptTarget.ES2023,
          module: ts.ModuleKind.ESNext,
          verbatimModuleSyntax: true,
        },
      });
      mkdirSync(dirname(to), { recursive: true });
      writeFileSync(to, outputText);
    }
  }
  buildPage();
  process.env['LOCKGATE_TEST_MAIN'] = join(folder, 'daemon', 'main.js');
  return remove;
}
