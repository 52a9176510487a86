/** The real `pt-table-checksum` of Percona Toolkit over one table of a pair: the source's part and the replica's. */
import { spawn } from 'node:child_process';
import type { MysqlPair } from './mysql-pair.js';
import { perconaTool } from './percona.js';

/** Checksums a table and waits until the replica has computed its part; rejects when the tool finds fault or differences. */
export async function ptTableChecksum(
  pair: MysqlPair,
  schema: string,
  table: string,
): Promise<{ seconds: number; rows: number }> {
  const tool = await perconaTool('pt-table-checksum', pair.flavour);
  const dsn = `h=${pair.source.host},P=${pair.source.port},u=root,p=${pair.source.password}`;
  const how = [
    ...['--databases', schema, '--tables', table, '--replicate', 'percona.checksums', '--create-replicate-table'],
    // The replica is known; looking for it needs report_host. Rows are replicated as statements by the tool itself.
    ...[
      '--recursion-method',
      'none',
      '--no-check-binlog-format',
      '--no-check-replication-filters',
      '--no-version-check',
    ],
  ];
  const from = performance.now();
  const child = spawn('perl', [tool.script, ...how, dsn], {
    env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC', ...tool.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const line = out.split('\n').find((l) => l.trim().endsWith(`${schema}.${table}`));
  if (code !== 0 || line === undefined) throw new Error(`pt-table-checksum ended with ${String(code)}:\n${out}${err}`);
  await pair.settled(600_000);
  const seconds = (performance.now() - from) / 1_000;
  // Percona Toolkit 3.7, which knows MySQL, has other names for the source than 3.2, which knows MariaDB.
  const crc = pair.flavour === 'mysql' ? 'source_crc' : 'master_crc';
  const count = pair.flavour === 'mysql' ? 'source_cnt' : 'master_cnt';
  const [row] = await pair.onTarget<{ wrong: string; n: string }>(
    `select coalesce(sum(this_crc <> ${crc} or this_cnt <> ${count} or isnull(this_crc)), 0) as wrong, sum(this_cnt) as n
       from percona.checksums where db = ? and tbl = ?`,
    [schema, table],
  );
  if (Number(row?.wrong) !== 0) throw new Error(`pt-table-checksum found ${String(row?.wrong)} chunks that differ`);
  return { seconds, rows: Number(row?.n) };
}
