/** Whether a fence could be placed now, as far as the configuration decides it; the rest the engines' own looks say. */
import type { DatabaseConfig } from '../../daemon/core/config.js';
import { APPLIED_BY_SESSIONS } from '../../daemon/core/stray.js';
import type { Finding, LinkPlan } from '../collector.js';

/** What `doctor` says of a database that carries the writes of a migration until its flip, about the fence and the way back. */
export function fenceReadiness(database: DatabaseConfig, links: readonly LinkPlan[]): Finding[] {
  const forward = links.filter(
    (l) => l.config.name === 'forward' && l.config.via !== 'none' && l.from.name === database.name,
  );
  const fedByDms = links.some((l) => l.config.via === 'dms' && l.to.name === database.name);
  return forward.flatMap(({ id, migration }) => {
    const signals = [`${migration}.fence.drained`];
    const say = (level: Finding['level'], message: string, remedy: string | null = null): Finding => ({
      ...{ level, database: database.name, link: id, message, remedy },
      signals: level === 'ok' ? [] : signals,
    });
    const way = links.some((l) => l.migration === migration && l.config.name === 'reverse');
    const none =
      'no `reverse` link is configured: nothing would carry new writes back, so after a flip there is no way back';
    return [fence(database, fedByDms, say), ...(way ? [] : [say('ok', none)])];
  });
}

function fence(
  database: DatabaseConfig,
  fedByDms: boolean,
  say: (level: Finding['level'], message: string, remedy?: string | null) => Finding,
): Finding {
  if (fedByDms) {
    return say(
      'warning',
      `no fence can be placed: ${APPLIED_BY_SESSIONS}`,
      'compare the positions by hand when writes have stopped, and promote with force',
    );
  }
  switch (database.read) {
    case 'off':
      return say(
        'fault',
        'no fence can be placed: with `read: off` nobody watches the local writes, so nothing tells whether they have stopped',
        `set \`read: on\` for ${database.name}, or \`read: auto\``,
      );
    case 'auto':
      return say(
        'ok',
        'a fence can be placed; its reader starts with it, and waits for write transactions that are open then (with `read: on` ' +
          'it runs all the time, and a fence needs no time to arm)',
      );
    case 'on':
      return say('ok', 'a fence can be placed, and its reader runs all the time (read: on)');
  }
}
