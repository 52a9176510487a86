/** AWS Database Migration Service as the rest of lockgate sees it. */
import type { Config, DmsConfig } from '../../daemon/core/config.js';
import { linkId, type LinkId } from '../../daemon/core/signal.js';
import type { CollectorContext, ServicePort } from '../collector.js';
import type { LazyAws } from '../session/lazy-aws.js';
import { DmsCollector, type DmsLink } from './collector.js';
import { examine } from './doctor.js';
import type { DmsReaches } from './reach.js';

/** Watches the tasks of all links by DMS, under one pace for each account and region. */
export function dmsService(aws: LazyAws): ServicePort {
  let loading: Promise<DmsReaches> | null = null;
  const load = (): Promise<DmsReaches> => (loading ??= reaches(aws));
  const linkOf = (id: LinkId, dms: DmsConfig, { clock, log }: CollectorContext): DmsLink => ({
    ...{ id, dms, clock, log },
    reach: async () => (await load()).of(dms, clock),
  });
  return {
    service: 'dms',
    parts: (config) =>
      linksOf(config).map(({ id, dms }) => ({
        key: JSON.stringify([id, dms]),
        make: (context) => [new DmsCollector(linkOf(id, dms, context))],
      })),
    doctor: async (config, context, signal) => {
      const links = linksOf(config).map(({ id, dms }) => linkOf(id, dms, context));
      return (await Promise.all(links.map((link) => examine(link, signal)))).flat();
    },
  };
}

async function reaches(aws: LazyAws): Promise<DmsReaches> {
  const [clients, { DmsReaches }] = await Promise.all([aws.clients(), import('./reach.js')]);
  return new DmsReaches(clients);
}

function linksOf(config: Config): { id: LinkId; dms: DmsConfig }[] {
  return [...config.migrations.values()].flatMap((m) =>
    Object.values(m.links).flatMap((link) =>
      link.dms === undefined ? [] : [{ id: linkId(m.name, link.name), dms: link.dms }],
    ),
  );
}
