/**
 * GTID sets: which transactions of which server. MySQL names every single transaction, so its sets have holes and
 * containment is exact. MariaDB names the last transaction of each domain and relies on the numbers of a domain rising
 * with its commits; there, contained means that the domain has got as far. The two never contain each other.
 *
 * Texts are those of the servers' own variables: `3e11fa47-…:1-5:7:tag:1-3` (MySQL, tags from 8.3 on) and `0-1-42,1-1-7`
 * (MariaDB: domain, server id, number).
 */

/** Consecutive transactions, both ends included. */
export interface GtidInterval {
  readonly from: bigint;
  readonly to: bigint;
}

/** A MySQL set. The key is the UUID in lower case, followed by `:tag` where there is one; intervals rise and never touch. */
export interface MysqlGtidSet {
  readonly flavour: 'mysql';
  readonly sources: ReadonlyMap<string, readonly GtidInterval[]>;
}

/** A MariaDB position: the last transaction of each domain. */
export interface MariadbGtidSet {
  readonly flavour: 'mariadb';
  readonly domains: ReadonlyMap<number, { readonly server: number; readonly seq: bigint }>;
}

export type GtidSet = MysqlGtidSet | MariadbGtidSet;

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/;
const TAG = /^[a-z_][a-z0-9_]{0,31}$/;
const INTERVAL = /^(\d{1,19})(?:-(\d{1,19}))?$/;
const MARIADB = /^(\d{1,10})-(\d{1,10})-(\d{1,20})$/;
const LARGEST_GNO = 2n ** 63n - 1n;
const LARGEST_SEQ = 2n ** 64n - 1n;
const LARGEST_ID = 2 ** 32 - 1;

/** Parses the text of `gtid_executed` and its like; the empty text is the empty set. Throws a RangeError on anything else. */
export function parseMysqlGtidSet(text: string): MysqlGtidSet {
  const found = new Map<string, GtidInterval[]>();
  for (const part of text.split(',')) {
    const items = part.split(':').map((item) => item.trim().toLowerCase());
    const [uuid = '', ...rest] = items;
    if (items.length === 1 && uuid === '') continue;
    if (!UUID.test(uuid) || rest.length === 0) throw notGtid(text);
    const server = withDashes(uuid);
    let key = server;
    // A tag holds for the intervals after it, and needs one.
    let named = true;
    for (const item of rest) {
      const interval = INTERVAL.exec(item);
      if (interval !== null) {
        const from = BigInt(interval[1] ?? '');
        const to = interval[2] === undefined ? from : BigInt(interval[2]);
        if (from < 1n || to > LARGEST_GNO) throw notGtid(text);
        named = true;
        // The servers take a reversed interval for an empty one.
        if (to >= from) getOrMake(found, key).push({ from, to });
      } else if (TAG.test(item) && named) {
        key = `${server}:${item}`;
        named = false;
      } else {
        throw notGtid(text);
      }
    }
    if (!named) throw notGtid(text);
  }
  return mysqlSet([...found].map(([key, intervals]) => [key, joined(intervals)]));
}

/** Parses the text of `gtid_slave_pos` and its like; the empty text is the empty position. Throws a RangeError on anything else. */
export function parseMariadbGtidSet(text: string): MariadbGtidSet {
  const domains = new Map<number, { server: number; seq: bigint }>();
  if (text.trim() === '') return { flavour: 'mariadb', domains };
  for (const part of text.split(',')) {
    const match = MARIADB.exec(part.trim());
    if (match === null) throw notGtid(text);
    const [domain, server, seq] = [Number(match[1]), Number(match[2]), BigInt(match[3] ?? '')];
    if (domain > LARGEST_ID || server > LARGEST_ID || seq > LARGEST_SEQ) throw notGtid(text);
    // `gtid_binlog_state` names several servers of a domain: the highest number is how far the domain has got.
    const before = domains.get(domain);
    if (before === undefined || before.seq < seq) domains.set(domain, { server, seq });
  }
  return { flavour: 'mariadb', domains };
}

/** Renders a set as its server prints it, sources and domains in order. */
export function formatGtidSet(set: GtidSet): string {
  if (set.flavour === 'mariadb') {
    return [...set.domains]
      .sort(([a], [b]) => a - b)
      .map(([domain, { server, seq }]) => `${domain}-${server}-${seq}`)
      .join(',');
  }
  const texts: string[] = [];
  let last = '';
  for (const [key, intervals] of [...set.sources].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [uuid = '', tag] = key.split(':');
    const numbers = intervals.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(':');
    const text = tag === undefined ? numbers : `${tag}:${numbers}`;
    if (uuid === last) texts.push(`${texts.pop() ?? ''}:${text}`);
    else texts.push(`${uuid}:${text}`);
    last = uuid;
  }
  return texts.join(',');
}

/** True when every transaction of `inner` is in `outer`; sets of different flavours never contain each other. */
export function containsGtids(outer: GtidSet, inner: GtidSet): boolean {
  if (outer.flavour === 'mariadb' || inner.flavour === 'mariadb') {
    if (outer.flavour !== 'mariadb' || inner.flavour !== 'mariadb') return false;
    return [...inner.domains].every(([domain, { seq }]) => (outer.domains.get(domain)?.seq ?? -1n) >= seq);
  }
  return [...inner.sources].every(([key, intervals]) => covered(outer.sources.get(key) ?? [], intervals));
}

/** The MySQL transactions of `all` that `without` lacks. */
export function subtractGtids(all: MysqlGtidSet, without: MysqlGtidSet): MysqlGtidSet {
  return mysqlSet(
    [...all.sources].map(([key, intervals]) => [key, remainder(intervals, without.sources.get(key) ?? [])]),
  );
}

/** The MySQL transactions that are in either set. */
export function uniteGtids(a: MysqlGtidSet, b: MysqlGtidSet): MysqlGtidSet {
  const keys = new Set([...a.sources.keys(), ...b.sources.keys()]);
  return mysqlSet(
    [...keys].map((key) => [key, joined([...(a.sources.get(key) ?? []), ...(b.sources.get(key) ?? [])])]),
  );
}

/** The part of a MySQL set that one server wrote, tagged or not; `uuid` in any case. */
export function gtidsOf(set: MysqlGtidSet, uuid: string): MysqlGtidSet {
  const server = uuid.toLowerCase();
  return mysqlSet([...set.sources].filter(([key]) => key === server || key.startsWith(`${server}:`)));
}

/** Whether a set names no transaction. */
export function isEmptyGtidSet(set: GtidSet): boolean {
  return set.flavour === 'mysql' ? set.sources.size === 0 : set.domains.size === 0;
}

/**
 * How many transactions `applied` lacks of `wanted`. Exact for MySQL; for MariaDB the distance of the numbers, of which
 * some may never have been used. Null when the flavours differ.
 */
export function countMissing(applied: GtidSet, wanted: GtidSet): number | null {
  let count = 0n;
  if (applied.flavour === 'mysql' && wanted.flavour === 'mysql') {
    for (const intervals of subtractGtids(wanted, applied).sources.values()) {
      for (const { from, to } of intervals) count += to - from + 1n;
    }
  } else if (applied.flavour === 'mariadb' && wanted.flavour === 'mariadb') {
    for (const [domain, { seq }] of wanted.domains) {
      const has = applied.domains.get(domain)?.seq ?? 0n;
      if (seq > has) count += seq - has;
    }
  } else {
    return null;
  }
  return Number(count);
}

function notGtid(text: string): RangeError {
  return new RangeError(`not a GTID set: ${text.length > 200 ? `${text.slice(0, 200)}…` : text}`);
}

function withDashes(uuid: string): string {
  const hex = uuid.replaceAll('-', '');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

function getOrMake(map: Map<string, GtidInterval[]>, key: string): GtidInterval[] {
  const found = map.get(key) ?? [];
  map.set(key, found);
  return found;
}

function mysqlSet(sources: readonly (readonly [string, readonly GtidInterval[]])[]): MysqlGtidSet {
  return { flavour: 'mysql', sources: new Map(sources.filter(([, intervals]) => intervals.length > 0)) };
}

/** Sorts intervals and joins those that overlap or touch. */
function joined(intervals: readonly GtidInterval[]): GtidInterval[] {
  const result: GtidInterval[] = [];
  for (const next of [...intervals].sort((a, b) => (a.from < b.from ? -1 : a.from > b.from ? 1 : 0))) {
    const last = result.at(-1);
    if (last === undefined || next.from > last.to + 1n) result.push(next);
    else if (next.to > last.to) result[result.length - 1] = { from: last.from, to: next.to };
  }
  return result;
}

function covered(outer: readonly GtidInterval[], inner: readonly GtidInterval[]): boolean {
  return inner.every(({ from, to }) => outer.some((o) => o.from <= from && to <= o.to));
}

function remainder(all: readonly GtidInterval[], without: readonly GtidInterval[]): GtidInterval[] {
  let rest: GtidInterval[] = [...all];
  for (const { from, to } of without) {
    rest = rest.flatMap((piece) => {
      if (to < piece.from || from > piece.to) return [piece];
      const before = from > piece.from ? [{ from: piece.from, to: from - 1n }] : [];
      const after = to < piece.to ? [{ from: to + 1n, to: piece.to }] : [];
      return [...before, ...after];
    });
  }
  return rest;
}
