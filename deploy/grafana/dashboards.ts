/** All dashboards as the text of their files. */
import { daemon } from './daemon.js';
import type { Name } from './frame.js';
import { migration } from './migration.js';
import { overview } from './overview.js';

const BUILDERS = { overview, migration, daemon } as const satisfies Record<Name, () => object>;

/** Builds every dashboard; the text of each by the name of its file in `deploy/grafana/dashboards`. */
export function dashboardFiles(): Map<string, string> {
  return new Map(
    Object.entries(BUILDERS).map(([name, build]) => [`${name}.json`, `${JSON.stringify(build(), null, 2)}\n`]),
  );
}
