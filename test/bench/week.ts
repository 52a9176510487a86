/** A week of heartbeats, as fast as they go: what becomes of the table that they are written to. */
import { freePort } from '../../deploy/demo/run-folder.js';
import { simulateWeek, type WeekResult } from '../support/heartbeat-week.js';
import type { Phase, SideWeek } from '../support/heartbeat-table.js';
import { startPair } from '../support/pair.js';
import { setUp, writeConfig } from './daemon.js';
import { busyShare } from './machine.js';
import { whole, type BenchContext, type SectionResult } from './report.js';

const WEEK_S = 7 * 24 * 3600;
const RESTARTS = 20;
/** Two hours of the week. */
const HELD = [0.4, 0.4 + 2 / (7 * 24)] as const;
const UNSEEN = [0.7, 0.7 + 1 / (7 * 24)] as const;
/** Share of the updates that must be HOT. */
const HOT_LEAST = 0.99;
/** What the table may take while no transaction is held open, and a while after. */
const TABLE_MOST_BYTES = 1024 * 1024;
/** Settings of both servers: a cleaner that comes as often as it can, because the heartbeats come faster than they would. */
const WEEK_SETTINGS = { autovacuum_naptime: '1s', fsync: 'off', track_counts: 'on' } as const;

/** Writes the heartbeats of a week, or of part of one. */
export async function measureWeek({ quick, progress }: BenchContext): Promise<SectionResult> {
  const beats = quick ? 40_000 : WEEK_S;
  const held = quick ? ([0.4, 0.5] as const) : HELD;
  const busyBefore = await busyShare(1_000);
  progress('week: starting two servers');
  const pair = await startPair({ settings: WEEK_SETTINGS });
  try {
    const url = (side: 'source' | 'target'): string => `${pair.daemonUrl(side)}?sslmode=disable`;
    const { config } = writeConfig(`
daemon: { id: week, listen: 127.0.0.1:${await freePort()} }
databases:
  onprem: { engine: postgres, url: "${url('source')}" }
  aws: { engine: postgres, url: "${url('target')}" }
migrations:
  shop: { source: onprem, target: aws, forward: { via: postgres-logical, subscription: shop_sub } }
`);
    await setUp(config, pair);
    let said = 0;
    const week = await simulateWeek(pair, {
      beats,
      restarts: RESTARTS,
      held,
      unseen: UNSEEN,
      lookEvery: Math.round(beats / 400),
      progress(done) {
        if (done < said) return;
        said = done + beats / 10;
        progress(`week: ${whole(done)} of ${whole(beats)} heartbeats`);
      },
    });
    return report(week, busyBefore, held);
  } finally {
    await pair.destroy();
  }
}

/** The largest of what was seen in some phases. */
function most(side: SideWeek, what: 'tableBytes' | 'indexBytes', phases: readonly Phase[]): number {
  return Math.max(...side.sights.filter((s) => phases.includes(s.phase)).map((s) => s[what]));
}

function report(week: WeekResult, busyBefore: number, [from, to]: readonly [number, number]): SectionResult {
  const kib = (bytes: number): string => whole(bytes / 1024);
  const sides = { source: week.source, target: week.target };
  const sizes = Object.entries(sides).flatMap(([name, side]) =>
    (['tableBytes', 'indexBytes'] as const).map((what) => [
      `${name}, ${what === 'tableBytes' ? 'table' : 'index'}`,
      kib(side.sights.find((s) => s.beats > 1_000)?.[what] ?? NaN),
      kib(most(side, what, ['before'])),
      kib(most(side, what, ['held'])),
      kib(most(side, what, ['recovering'])),
      kib(most(side, what, ['after'])),
      kib(side.sights.at(-1)?.[what] ?? NaN),
    ]),
  );
  const percent = (share: number): string => `${(share * 100).toFixed(2)} %`;
  const updates = Object.entries(sides).map(([name, side]) => [
    name,
    whole(side.updates),
    percent(side.hotShare),
    percent(side.hotShareFree),
    whole(side.autovacuums),
    whole(side.mostRows),
    whole(side.rows),
  ]);
  const wrong =
    Object.values(sides).filter(
      (side) => !(side.hotShare >= HOT_LEAST) || most(side, 'tableBytes', ['before', 'after']) > TABLE_MOST_BYTES,
    ).length + week.complaints.length;
  return {
    tables: [
      {
        title: `the heartbeat table over ${whole(week.beats)} heartbeats (${(week.beats / 86_400).toFixed(1)} days at one a second), in KiB`,
        head: ['', 'start', 'most before', 'held', 'recovering', 'after', 'end'],
        rows: sizes,
        notes: [
          `held: while a transaction on each server had a snapshot (${whole((to - from) * week.beats)} heartbeats); recovering: as long again.`,
          `Written in ${whole(week.seconds)} s, so a cleaner that comes every second is ${whole(week.beats / week.seconds)} times rarer by the clock of the heartbeats.`,
        ],
      },
      {
        title: 'updates of the heartbeat table',
        head: ['', 'updates', 'HOT', 'HOT, nothing held', 'autovacuums', 'most rows', 'rows at the end'],
        rows: updates,
        notes: [
          `${RESTARTS} restarts and an hour in which nothing was seen on the target made ${whole(week.runs)} runs; ended ones are pruned.`,
          `At least ${HOT_LEAST * 100} % must be HOT, and the table at most ${whole(TABLE_MOST_BYTES / 1024)} KiB while nothing is held.`,
          ...(week.complaints.length === 0
            ? []
            : [`The writer complained ${week.complaints.length} times: ${week.complaints[0] ?? ''}`]),
          `The machine was ${Math.round(busyBefore * 100)} % busy before this began.`,
        ],
      },
    ],
    data: { busyBefore, ...week },
    wrong,
  };
}
