import { SourceError, reasonOf } from '../../daemon/core/errors.js';
import type { PassEnd, Selection } from '../../daemon/core/verification.js';
import { Aborted } from './aborted.js';
import { planAll, type Ask, type PlanBasis } from './catalogs.js';
import { ComparePass } from './compare-pass.js';
import { Desk } from './desk.js';
import { CATALOG_LIMIT } from './limits.js';
import type { PlannedTable, SideName } from './plan.js';
import type { DataSession, Key } from './port.js';
import { Reporter } from './reporter.js';
import { whereOf } from './state.js';
import type { Verifier, VerifierOptions } from './verifier.js';

/** Makes what compares the two databases; it opens sessions only while it is asked for something. */
export function createVerifier(options: VerifierOptions): Verifier {
  const { clock, log, config, settling } = options;
  const ports = { source: options.source, target: options.target };
  const basis: PlanBasis = { ports, config, carried: options.carried };
  const closed = new AbortController();
  const working = new Set<Promise<unknown>>();

  /** Does something until the caller or the end of the verifier ends it. */
  const work = <T>(signal: AbortSignal, what: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    const promise = what(AbortSignal.any([signal, closed.signal]));
    const ended = promise.then(
      () => undefined,
      () => undefined,
    );
    working.add(ended);
    void ended.then(() => working.delete(ended));
    return promise;
  };

  return {
    look: (signal) =>
      work(signal, (any) =>
        withSessions(ports, any, async (ask): Promise<Selection> => {
          const plan = await planAll(ask, basis);
          return { tables: new Map(plan.tables.map((t) => [t.table, t.shape])), narrower: plan.narrower };
        }),
      ),

    run: (pass, hooks, signal) =>
      work(signal, async (any): Promise<PassEnd> => {
        const order = 'order' in pass ? pass.order : pass;
        const where = 'order' in pass ? whereOf(pass) : null;
        const reporter = new Reporter(clock, order, (progress) => hooks.progress(progress));
        const active = order.direction === 'forward' ? 'source' : 'target';
        const desk = new Desk({ clock, ports, active, config, settling, reporter, signal: any });
        try {
          return await new ComparePass({ order, where, basis, desk, reporter, hooks, clock, log }).run();
        } catch (error) {
          if (!(error instanceof Aborted)) throw error;
          const endedAt = Math.round(clock.wallNow());
          const { pass: id, startedAt } = order;
          return { pass: id, startedAt, endedAt, complete: false, reason: 'it was ended before it was through' };
        } finally {
          await desk.close();
        }
      }),

    values: (table, keys, signal) =>
      work(signal, (any) =>
        withSessions(ports, any, async (ask) => {
          const found = await findTable(ask, basis, table);
          const { task } = found;
          if (task.kind === 'not-covered')
            throw new SourceError('verify_not_covered', `${table} cannot be read: ${task.reason}`);
          const read = async (side: SideName): Promise<(Record<string, string | null> | null)[]> => {
            const spec = task.kind === 'compare' ? task.specs[side] : task.on === side ? task.spec : null;
            if (spec === null) return keys.map(() => null);
            const names = spec.key?.map((k) => k.shape.name) ?? ['(row)'];
            const asked = keys.map((key): Key => names.map((name) => key[name] ?? ''));
            const rows = await ask(side, (session) => session.reader(spec).values(asked, CATALOG_LIMIT));
            const byKey = new Map(rows.map((row) => [JSON.stringify(row.key), row.values]));
            return asked.map((key) => byKey.get(JSON.stringify(key)) ?? null);
          };
          const [source, target] = await Promise.all([read('source'), read('target')]);
          return keys.map((key, i) => ({ key, source: source[i] ?? null, target: target[i] ?? null }));
        }),
      ),

    close: async () => {
      closed.abort();
      await Promise.all(working);
    },
  };
}

async function findTable(ask: Ask, basis: PlanBasis, table: string): Promise<PlannedTable> {
  const plan = await planAll(ask, basis);
  const found = plan.tables.find((t) => t.table === table);
  if (found === undefined) throw new SourceError('verify_no_such_table', `no such table is selected: ${table}`);
  return found;
}

/** One session for each side, for one answer; what cannot be asked rejects. */
async function withSessions<T>(
  ports: PlanBasis['ports'],
  signal: AbortSignal,
  what: (ask: Ask) => Promise<T>,
): Promise<T> {
  const opened: DataSession[] = [];
  const open = async (side: SideName): Promise<DataSession> => {
    try {
      const session = await ports[side].open(signal);
      opened.push(session);
      return session;
    } catch (error) {
      throw new SourceError(
        'verify_unreachable',
        `the ${side} (${ports[side].database}) cannot be asked: ${reasonOf(error)}`,
        null,
        { cause: error },
      );
    }
  };
  try {
    const [source, target] = await Promise.allSettled([open('source'), open('target')]);
    if (source.status === 'rejected') throw source.reason;
    if (target.status === 'rejected') throw target.reason;
    const sessions = { source: source.value, target: target.value };
    return await what((side, question) => question(sessions[side]));
  } finally {
    await Promise.all(opened.map((session) => session.close()));
  }
}
