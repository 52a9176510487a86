import { describe, expect, test } from 'vitest';
import { setup } from '../../collectors/postgres/setup/setup.js';
import { startPair } from '../support/pair.js';
import { administered, databaseOf, linkOf, rounds, setupOnce, type Administered } from './setup-kit.js';

describe('setup --dry-run before the first setup', () => {
  test('looks at the other side as its administrator, or says that it cannot be looked at yet', async () => {
    const pair = await startPair();
    try {
      const [onprem, aws] = [databaseOf('onprem', pair.source), databaseOf('aws', pair.target)];
      const databases: Administered[] = [administered(onprem, pair.source), administered(aws, pair.target)];
      const links = [linkOf('forward', onprem, aws)];
      const look = async (otherAdmins: ReadonlyMap<string, string>): Promise<string> => {
        const lines: string[] = [];
        for (const { config, adminUrl } of databases) {
          const options = { adminUrl, otherAdmins, dryRun: true, signal: new AbortController().signal };
          for await (const { step, outcome } of setup(config, links, options)) {
            lines.push(`${outcome} ${step.database}: ${step.why}`);
          }
        }
        return lines.join('\n');
      };
      const alone = await look(new Map());
      expect(alone).not.toMatch(/password authentication failed/);
      expect(alone).toMatch(
        /would-do onprem: .*aws does not admit the user lockgate yet, which setup makes there .*--admin aws=URL/,
      );
      const together = await look(new Map(databases.map(({ config, adminUrl }) => [config.name, adminUrl])));
      expect(together).not.toMatch(/must be looked at first|password authentication failed/);
      // It has seen the subscription there, and what is missing.
      expect(together).toMatch(/would-do onprem: .*\(waits: aws cannot take it yet: run setup there\)/);
      // Nothing was made meanwhile.
      expect(await pair.onTarget(`select from pg_roles where rolname = 'lockgate'`)).toEqual([]);
      await rounds(() => setupOnce(databases, links));
      expect(await look(new Map())).not.toMatch(/would-do/);
    } finally {
      await pair.destroy();
    }
  });
});
