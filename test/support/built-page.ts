import { buildPage } from '../../deploy/page/build.js';

/** Builds the status page once before the tests that ask a server for it. */
export default function builtPage(): void {
  buildPage();
}
