import type { Us } from '../../daemon/core/clock.js';
import type { GtidSet } from '../../daemon/core/gtid.js';
import { LogRate } from '../session/log-rate.js';
import type { BinlogMeter } from './binlog-distance.js';
import { channelOfFlow, isCaughtUp, type Judged, type SourceIdentity } from './channel-state.js';
import type { MysqlConnection } from './connection.js';
import type { SourceFacts } from './position-views.js';
import type { ReplicaChannel } from './replica-status.js';
import { FinishedFiles, judgeRetained, judgeRunway, type NeededFrom, type PurgeSettings } from './retention.js';

/** What one look found, as far as retention depends on it. */
export interface RetentionSight {
  readonly source: SourceFacts;
  readonly channels: readonly ReplicaChannel[];
  readonly executed: GtidSet | null;
}

/** Follows how long the source of a link keeps what its channels need. */
export class BinlogRetention {
  readonly #rate: LogRate;
  readonly #finished = new FinishedFiles();
  #settings: PurgeSettings = { expireS: null, totalBytes: null };
  #refetches = true;

  /** `learnUs`: for so long the rate of the binlog is learnt; a minute unless told. */
  constructor(
    private readonly from: string,
    learnUs?: Us,
  ) {
    this.#rate = new LogRate(learnUs);
  }

  /** Asks both servers for their settings; to be asked before `judge`, as they may change at any time. */
  async ask(source: MysqlConnection, target: MysqlConnection, timeoutMs: number): Promise<void> {
    this.#settings = await readPurgeSettings(source, timeoutMs);
    const [row] = await target.query<{ recovery: string | number }>(
      'SELECT @@GLOBAL.relay_log_recovery AS recovery',
      undefined,
      { timeoutMs },
    );
    this.#refetches = Number(row?.recovery) !== 0;
  }

  /** Takes one look; `uptime` counts the time that the machine sleeps. */
  observe({ files, head }: SourceFacts, meter: BinlogMeter, at: Us, uptime: Us): void {
    this.#finished.observe({ files, head }, uptime);
    const end = head === null ? null : meter.at(head);
    if (end !== null) this.#rate.observe(at, BigInt(Math.round(end)));
  }

  /** What a link needs of the source's binlog, and for how long it will be there. */
  judge(
    flows: readonly string[],
    limitBytes: number | null,
    identity: SourceIdentity,
    { source, channels, executed }: RetentionSight,
    uptime: Us,
  ): Record<'retained_bytes' | 'runway', Judged> {
    const caughtUp = isCaughtUp(source.gtids, executed) === true;
    const needed = flows.map((flow): NeededFrom => {
      const channel = channelOfFlow(flow, channels, identity);
      return { flow, caughtUp, place: channel === null ? null : this.#placeOf(channel) };
    });
    const log = { from: this.from, files: source.files, head: source.head };
    const rate = this.#rate.perSecond();
    return {
      retained_bytes: judgeRetained(log, needed),
      runway: judgeRunway(log, needed, this.#settings, limitBytes, rate, this.#finished, uptime),
    };
  }

  /**
   * From where on a channel would have to read again when it starts anew: after what it has read already, if it keeps
   * that. MariaDB throws its relay logs away when a channel by GTID starts, and relay_log_recovery does so at a restart.
   */
  #placeOf(channel: ReplicaChannel): NeededFrom['place'] {
    const throwsAway = this.#refetches || (channel.sourceUuid === null && channel.byGtid);
    return throwsAway
      ? { file: channel.executedFile, offset: channel.executedOffset }
      : { file: channel.readFile, offset: channel.readOffset };
  }
}

/** What a server's settings say of purging its binlog. */
async function readPurgeSettings(connection: MysqlConnection, timeoutMs: number): Promise<PurgeSettings> {
  const rows = await connection.query<{ Variable_name: string; Value: string }>(
    `SHOW GLOBAL VARIABLES WHERE Variable_name IN ('binlog_expire_logs_seconds', 'binlog_expire_logs_auto_purge',
      'expire_logs_days', 'max_binlog_total_size')`,
    undefined,
    { timeoutMs },
  );
  return purgeSettingsOf(new Map(rows.map((row) => [row.Variable_name.toLowerCase(), row.Value])));
}

/** The settings as their names are in the one or the other flavour and version. */
export function purgeSettingsOf(variables: ReadonlyMap<string, string>): PurgeSettings {
  const positive = (text: string | undefined): number | null => (Number(text) > 0 ? Number(text) : null);
  const days = positive(variables.get('expire_logs_days'));
  const seconds = positive(variables.get('binlog_expire_logs_seconds')) ?? (days === null ? null : days * 86_400);
  const off = variables.get('binlog_expire_logs_auto_purge') === 'OFF';
  return { expireS: off ? null : seconds, totalBytes: positive(variables.get('max_binlog_total_size')) };
}
