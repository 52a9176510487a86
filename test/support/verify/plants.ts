/** Differences of every sort, each put on the target past replication, with what verification must say of it, and undone. */
import type { Mismatch } from '../../../daemon/core/verification.js';
import { codeOf, counts, foldedOf, langOf, wordOf, wordRow } from './bed-tables.js';
import { idOf, insertKinds, type Flavoured, type Kind } from './kinds.js';

/** A difference. */
export interface Plant {
  readonly name: string;
  /** Without its schema. */
  readonly table: string;
  /** Statements for the target. */
  readonly plant: string;
  /** Statements for the target that take it back. */
  readonly undo: string;
  /** What a comparison lists because of it; of a table without a key, only the kinds. */
  readonly finds: readonly Mismatch[];
}

/** Rows of `kinds`: those that the load writes to are every seventh, and a plant has others for itself. */
export const isHotKind = (n: number): boolean => n % 7 === 0;

/** Far outside of all that the load inserts. */
const FAR = 1_000_000_000_000;

/** What the plants are for. */
export interface Planting {
  readonly source: Flavoured;
  readonly target: Flavoured;
  readonly kinds: readonly Kind[];
  /** Rows of `kinds` are numbered from 1 to here. */
  readonly rows: number;
}

/** All differences for a pair of engines; none of them touches a row of another one. */
export function plantsOf({ source, target, kinds, rows }: Planting): Plant[] {
  let next = 0;
  const row = (): number => {
    do next += 1;
    while (isHotKind(next));
    if (next > rows) throw new RangeError('kinds has too few rows for all plants');
    return next;
  };
  const sideOf = source === target ? 'source' : 'target';
  const different = (n: number): Mismatch => ({ kind: 'different', key: { id: String(idOf(n)) } });
  const put = (n: number, id: (n: number) => number = idOf): string => insertKinds(kinds, sideOf, n, n, id);
  const drop = (id: number): string => `delete from kinds where id = ${id};`;
  const valueOf = (kind: Kind, n: number): string =>
    (sideOf === 'target' && kind.target !== undefined ? kind.target : kind).value(n);
  const change = (name: string, kind: Kind, n: number, to: string): Plant => ({
    ...{ name, table: 'kinds' },
    plant: `update kinds set ${kind.name} = ${to} where id = ${idOf(n)};`,
    undo: `update kinds set ${kind.name} = ${valueOf(kind, n)} where id = ${idOf(n)};`,
    finds: [different(n)],
  });
  const named = (name: string): Kind => {
    const found = kinds.find((k) => k.name === name);
    if (found === undefined) throw new RangeError(`kinds has no ${name}`);
    return found;
  };
  const pg = target === 'postgres';
  const joined = (...parts: string[]): string => (pg ? `(${parts.join(' || ')})` : `concat(${parts.join(', ')})`);
  const plants: Plant[] = [];

  const missing = row();
  plants.push({
    ...{ name: 'missing row', table: 'kinds', plant: drop(idOf(missing)), undo: put(missing) },
    finds: [{ kind: 'missing', key: { id: String(idOf(missing)) } }],
  });
  const extra = row();
  plants.push({
    ...{ name: 'extra row', table: 'kinds', plant: put(extra, () => idOf(extra) + 1), undo: drop(idOf(extra) + 1) },
    finds: [{ kind: 'extra', key: { id: String(idOf(extra) + 1) } }],
  });
  for (const kind of kinds) plants.push(change(`one bit of ${kind.name}`, kind, row(), kind.changed));
  plants.push(change('NULL against empty', named('k_null'), row(), "''"));
  plants.push(change('trailing space', named('k_varchar'), row(), joined('k_varchar', "' '")));
  const hour = pg ? "interval '1 hour'" : 'interval 1 hour';
  const stamp = named(kinds.some((k) => k.name === 'k_tstz') ? 'k_tstz' : 'k_ts');
  plants.push(change('time zone shift', stamp, row(), `${stamp.name} - ${hour}`));
  const long = row();
  // One with several kilobytes.
  const longRow = Array.from({ length: rows }, (_, i) => i + 1).find((n) => n % 50 === 1 && n > 150 && !isHotKind(n));
  plants.push(change('truncated text', named('k_text'), longRow ?? long, 'left(k_text, 4000)'));
  const [a, b] = [row(), row()];
  const varchar = named('k_varchar');
  plants.push({
    ...{ name: 'swapped values between two rows', table: 'kinds' },
    plant: [a, b]
      .map((n, i) => `update kinds set k_varchar = ${valueOf(varchar, i === 0 ? b : a)} where id = ${idOf(n)};`)
      .join(' '),
    undo: [a, b].map((n) => `update kinds set k_varchar = ${valueOf(varchar, n)} where id = ${idOf(n)};`).join(' '),
    finds: [different(a), different(b)],
  });
  // Rows that are equal but for their key, then both wrong in the same way.
  const [c, d] = [row(), row()];
  plants.push({
    ...{ name: 'two equal errors', table: 'kinds' },
    plant: `update kinds set k_null = 'wrong' where id in (${idOf(c)}, ${idOf(d)});`,
    undo: `update kinds set k_null = null where id in (${idOf(c)}, ${idOf(d)});`,
    finds: [different(c), different(d)],
  });
  const moved = row();
  plants.push({
    ...{ name: 'moved key', table: 'kinds' },
    plant: `update kinds set id = ${idOf(moved) + 3} where id = ${idOf(moved)};`,
    undo: `update kinds set id = ${idOf(moved)} where id = ${idOf(moved) + 3};`,
    finds: [
      { kind: 'missing', key: { id: String(idOf(moved)) } },
      { kind: 'extra', key: { id: String(idOf(moved) + 3) } },
    ],
  });
  for (const [name, id] of [
    ['a row below the least key', -FAR],
    ['a row above the greatest key', FAR],
  ] as const) {
    plants.push({
      ...{ name, table: 'kinds', plant: put(1, () => id), undo: drop(id) },
      finds: [{ kind: 'extra', key: { id: String(id) } }],
    });
  }
  return [...plants, ...otherPlants(source, target)];
}

function otherPlants(source: Flavoured, target: Flavoured): Plant[] {
  const pg = target === 'postgres';
  // Across engines a UUID is its digits.
  const uuid = (code: string): string => (source === target ? code : code.replaceAll('-', ''));
  const key = (n: number): Record<string, string> => ({ lang: langOf(n), word: wordOf(n), part: String(n % 2) });
  const at = (n: number): string => `where lang = '${langOf(n)}' and word = '${wordOf(n)}' and part = ${n % 2}`;
  const [w1, w2, w3] = [5, 7, 10];
  const seen = pg ? `seen + interval '1 us'` : 'seen + interval 1 microsecond';
  const rows = (n: number): Plant['finds'] =>
    Array.from({ length: n }, (_, i) => ({ kind: 'missing', key: { id: String(i + 1) } }));
  const plants: Plant[] = [
    {
      ...{ name: 'missing row of a composite key', table: 'words', plant: `delete from words ${at(w1)};` },
      undo: `insert into words values ('${langOf(w1)}', '${wordOf(w1)}', ${w1 % 2}, ${wordRow(w1)});`,
      finds: [{ kind: 'missing', key: key(w1) }],
    },
    {
      ...{ name: 'extra row of a composite key, before all others', table: 'words' },
      plant: `insert into words values ('aa', '', -5, ${wordRow(1)});`,
      undo: `delete from words where lang = 'aa';`,
      finds: [{ kind: 'extra', key: { lang: 'aa', word: '', part: '-5' } }],
    },
    {
      ...{ name: 'a microsecond in a row of a composite key', table: 'words' },
      plant: `update words set seen = ${seen} ${at(w2)};`,
      undo: `update words set seen = '2026-03-29 01:30:${String(w2 % 60).padStart(2, '0')}.123456' ${at(w2)};`,
      finds: [{ kind: 'different', key: key(w2) }],
    },
    {
      ...{ name: 'moved part of a composite key', table: 'words' },
      plant: `update words set part = 9 ${at(w3)};`,
      undo: `update words set part = ${w3 % 2} where word = '${wordOf(w3)}' and part = 9;`,
      finds: [
        { kind: 'missing', key: key(w3) },
        { kind: 'extra', key: { ...key(w3), part: '9' } },
      ],
    },
    {
      ...{ name: 'a key in other case', table: 'folded' },
      plant: `update folded set word = 'Key 50' where word = '${foldedOf(50)}';`,
      undo: `update folded set word = '${foldedOf(50)}' where word = 'Key 50';`,
      finds: [
        { kind: 'missing', key: { word: foldedOf(50) } },
        { kind: 'extra', key: { word: 'Key 50' } },
      ],
    },
    {
      ...{ name: 'missing and changed rows by UUID', table: 'codes' },
      plant: `delete from codes where code = '${codeOf(17)}';
        update codes set amount = amount + 0.0001 where code = '${codeOf(18)}';`,
      undo: `insert into codes values ('${codeOf(17)}', 'label 17', 17.2500);
        update codes set amount = 18.2500 where code = '${codeOf(18)}';`,
      finds: [
        { kind: 'missing', key: { code: uuid(codeOf(17)) } },
        { kind: 'different', key: { code: uuid(codeOf(18)) } },
      ],
    },
    {
      // Of three equal rows one is enough: the tuple's place tells them apart, or a limit does.
      ...{ name: 'one of three equal rows without a key is missing', table: 'logs' },
      plant: pg
        ? `delete from logs where ctid = (select min(ctid) from logs where n = 50);`
        : `delete from logs where n = 50 limit 1;`,
      undo: `insert into logs values ('info', 50, 'said 50');`,
      finds: [{ kind: 'missing', key: {} }],
    },
    {
      ...{ name: 'one row without a key too many', table: 'logs' },
      plant: `insert into logs values ('info', 51, 'not said');`,
      undo: `delete from logs where said = 'not said';`,
      finds: [{ kind: 'extra', key: {} }],
    },
    {
      ...{ name: 'emptied table', table: 'emptied', plant: 'delete from emptied;' },
      undo: `insert into emptied values ${Array.from({ length: counts.emptied }, (_, i) => `(${i + 1}, 'v${i + 1}')`).join(', ')};`,
      finds: rows(counts.emptied),
    },
  ];
  if (source !== 'postgres') return plants;
  return [
    ...plants,
    {
      ...{ name: 'a row of a partitioned table in another partition', table: 'parted' },
      plant: `update parted set part = 1 where id = 103 and part = 3;`,
      undo: `update parted set part = 3 where id = 103 and part = 1;`,
      finds: [
        { kind: 'missing', key: { part: '3', id: '103' } },
        { kind: 'extra', key: { part: '1', id: '103' } },
      ],
    },
  ];
}
