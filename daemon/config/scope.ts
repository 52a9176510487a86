import { dirname, isAbsolute, join } from 'node:path';
import type { Secret } from '../core/config.js';
import { pathText, type LocatedText, type Path } from './locate.js';
import type { Problems } from './problems.js';
import { ResolvedSecret, type SecretReader, type Template } from './secrets.js';

/** Makes a path of the configuration relative to the folder of the configuration file. */
export function besideFile(file: string, path: string): string {
  return isAbsolute(path) ? path : join(dirname(file), path);
}

/** What the parts of the configuration are resolved with: where problems go, and what placeholders stand for. */
export class Scope {
  readonly warnings: string[] = [];

  constructor(
    readonly source: LocatedText,
    readonly problems: Problems,
    readonly secrets: SecretReader,
    /** Every scalar with a placeholder, by the text of its path. */
    private readonly templates: ReadonlyMap<string, Template>,
  ) {}

  /** The scalar at `path` cut at its placeholders; `value` is what it says if it has none. */
  template(path: Path, value: string): Template {
    return this.templates.get(pathText(path)) ?? [value];
  }

  /** The scalar at `path` as a secret. */
  secret(path: Path, value: string): Secret {
    const template = this.template(path, value);
    return new ResolvedSecret(() => this.secrets.expand(template));
  }

  /** A path of the configuration, taken from the folder of its file. */
  beside(path: string): string {
    return besideFile(this.source.file, path);
  }

  /** Adds something that is allowed but that a careful engineer would not do. */
  warn(message: string): void {
    const clean = this.problems.clean(message);
    if (!this.warnings.includes(clean)) this.warnings.push(clean);
  }
}
