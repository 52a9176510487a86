/** A constant write load with rows that are never at rest, for verification to be tried under. */
import { setTimeout as sleep } from 'node:timers/promises';
import { langOf, wordOf } from './bed-tables.js';
import { idOf, type Flavoured } from './kinds.js';
import { isHotKind } from './plants.js';

/** Runs statements in one session of the source, as the application would. */
export interface LoadSession {
  query(sql: string): Promise<unknown>;
  end(): Promise<void>;
}

/** How much is written. */
export interface LoadOptions {
  readonly flavour: Flavoured;
  /** Rows of `kinds` that there are. */
  readonly kinds: number;
  readonly sessions: number;
  /** Between two statements of a session. */
  readonly pauseMs: number;
  connect(): Promise<LoadSession>;
}

/** A load at work. */
export interface Load {
  /** Transactions committed so far. */
  readonly transactions: number;
  /** What failed last but for deadlocks, which an application repeats; null when nothing has. */
  readonly trouble: string | null;
  stop(): Promise<void>;
}

/** MySQL's and MariaDB's, and PostgreSQL's. */
const deadlocks: readonly unknown[] = [1213, 1205, 1020, '40P01', '40001'];

/** Starts it; the tables of `bed-tables.ts` and `kinds` must be there. */
export function startLoad(options: LoadOptions): Load {
  const stopping = new AbortController();
  const state = { transactions: 0, trouble: null as string | null, low: -1, high: 10_000_000 };
  const session = async (number: number): Promise<void> => {
    const own = await options.connect();
    const random = randomOf(number);
    try {
      for (let turn = 0; !stopping.signal.aborted; turn++) {
        for (const transaction of transactionsOf(options, turn, number, random, state)) {
          try {
            for (const sql of transaction) await own.query(sql);
            state.transactions += 1;
          } catch (error) {
            if (transaction.length > 1) await own.query('rollback').catch(() => undefined);
            const { errno, code } = error as { errno?: number; code?: string };
            if (!deadlocks.includes(errno) && !deadlocks.includes(code))
              state.trouble = `${String(error)}: ${transaction.join('; ')}`;
          }
        }
        await sleep(options.pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    } finally {
      await own.end().catch(() => undefined);
    }
  };
  const running = Array.from({ length: options.sessions }, (_, i) => session(i));
  return {
    get transactions() {
      return state.transactions;
    },
    get trouble() {
      return state.trouble;
    },
    async stop() {
      stopping.abort();
      await Promise.all(running);
    },
  };
}

/** The same numbers in every run. */
function randomOf(seed: number): (below: number) => number {
  let state = (seed + 1) * 2_654_435_761;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

type Transaction = readonly string[];

function transactionsOf(
  { flavour, kinds }: LoadOptions,
  turn: number,
  session: number,
  random: (below: number) => number,
  state: { low: number; high: number },
): Transaction[] {
  const now = flavour === 'postgres' ? 'clock_timestamp()' : 'now(6)';
  // A row that is moved or reborn belongs to one session, so that no two do it at once.
  const own = 20 + 10 * session;
  switch (turn % 12) {
    case 0:
    case 4:
      return [[`update hot set counter = counter + 1, changed = ${now} where id = ${1 + random(5)}`]];
    case 1:
    case 7:
      return [[`update hot set state = case state when 'on' then 'off' else 'on' end where id = ${6 + random(5)}`]];
    case 2: {
      // In one transaction the key is never gone, in two it is for a moment.
      const [drop, make] = [
        `delete from hot where id = ${own}`,
        `insert into hot (id, counter, pad) values (${own}, ${turn}, 'again')`,
      ];
      return random(2) === 0 ? [['begin', drop, make, 'commit']] : [[drop], [make]];
    }
    case 3:
      return [
        [`insert into hot (id, pad, price) values (${(state.high += 1)}, 'above', ${random(1_000) / 7})`],
        [`insert into hot (id, pad, price) values (${(state.low -= 1)}, 'below', ${random(1_000) / 7})`],
      ];
    case 5: {
      const [from, to] = turn % 24 < 12 ? [own + 1, own + 2_000_001] : [own + 2_000_001, own + 1];
      return [[`update hot set id = ${to}, changed = ${now} where id = ${from}`]];
    }
    case 6: {
      const n = 7 * (1 + random(Math.floor(kinds / 7)));
      if (!isHotKind(n)) throw new RangeError('only hot rows are written to');
      return [[`update kinds set k_int = ${random(1_000_000)}, k_varchar = 'hot ${turn}' where id = ${idOf(n)}`]];
    }
    case 8:
      return [
        [`insert into logs values ('debug', ${100_000 + session}, 'turn ${turn}')`],
        [`delete from logs where n = ${100_000 + session} and said <> 'turn ${turn}'`],
      ];
    case 9: {
      const n = 30 + 30 * session;
      const part = turn % 24 < 12 ? [n % 2, 5] : [5, n % 2];
      const where = `lang = '${langOf(n)}' and word = '${wordOf(n)}' and part = ${part[0] ?? 0}`;
      return [[`update words set part = ${part[1] ?? 0}, score = score + 1 where ${where}`]];
    }
    case 10:
      return session === 0 && turn % 120 === 10
        ? [[`update hot set counter = counter + 1 where id between 1000 and 1500`]]
        : [[`update hot set price = price * 1.0001 where id = ${2_000 + random(900)}`]];
    default:
      return flavour === 'postgres'
        ? [[`update parted set part = (part + 1) % 5, v = 'moved ${turn}' where id = ${1 + session}`]]
        : [[`update codes set amount = amount + 1 where label = 'label ${100 + random(100)}'`]];
  }
}
