/** The table of metrics in the documentation. */
import { readFileSync } from 'node:fs';

/** What docs/metrics.md says of each metric, by its name: its type and its labels. */
export function documentedMetrics(): Map<string, { type: string; labels: string[] }> {
  const text = readFileSync(new URL('../../docs/metrics.md', import.meta.url), 'utf8');
  const rows = [...text.matchAll(/^\| `((?:lockgate|process|nodejs)_\w+)` +\| (\w+) +\| ([^|]*)\|/gm)];
  return new Map(
    rows.map(([, name = '', type = '', labels = '']) => [
      name,
      { type, labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label) },
    ]),
  );
}
