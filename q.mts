import { readFileSync } from 'node:fs';
import { committedDashboards, asksOf, filled, rulesAsk, selectorsOf, metricsOf } from './test/support/promql.js';
const x = JSON.parse(readFileSync('/tmp/explore.json','utf8'));
async function ask(expr: string) {
  const r = await fetch(`${x.url}/api/v1/query_range`, { method: 'POST', body: new URLSearchParams({ query: expr, start: String(x.start), end: String(x.end), step: '1' }) });
  const j = await r.json() as any;
  if (j.status !== 'success') return j.error as string;
  return j.data.result as any[];
}
let n = 0, t0 = Date.now();
for (const d of committedDashboards().values()) for (const a of asksOf(d)) {
  n++;
  const expr = filled(a.expr, { migration: d.uid === 'lockgate-migration' ? 'shop' : '.*', interval: '4s' });
  metricsOf(expr);
  let r = await ask(expr);
  if (Array.isArray(r) && r.length === 0 && d.uid === 'lockgate-migration') r = await ask(filled(a.expr, { migration: 'crm', interval: '4s' }));
  if (!Array.isArray(r)) console.log('ERR', a.where, r, expr);
  else if (r.length === 0) console.log('EMPTY', a.where);
}
for (const r of rulesAsk(readFileSync('/tmp/explore-rules.yml','utf8'))) {
  n++;
  const got = await ask(r.expr);
  if (!Array.isArray(got)) { console.log('ERR', r.name, got); continue; }
  if (got.length) continue;
  const sel = [];
  for (const s of selectorsOf(r.expr)) { const g = await ask(s); if (!Array.isArray(g) || !g.length) sel.push(s); }
  console.log('RULE EMPTY', r.name, sel);
}
console.log(n, Date.now()-t0);
