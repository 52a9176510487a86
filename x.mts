import { mkdtempSync, chmodSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { observeDemo } from './test/support/observed-demo.js';
process.env['VITEST'] = '1';
const port = 29188;
const seen = await observeDemo(port);
const folder = mkdtempSync('/tmp/demo-explore-'); chmodSync(folder, 0o755);
const start = Date.now()/1000;
const child = spawn(process.execPath, ['--import','tsx','deploy/demo/main.ts','--once','--port',String(port)], { env: {...process.env, TMPDIR: folder}, stdio: ['ignore','pipe','inherit'] });
let out=''; let joined=false, left=false;
child.stdout.on('data', (c: Buffer) => { out += c; process.stdout.write(c);
  if (!joined && out.includes('/check answers 200')) { joined = true; const t=Date.now(); seen.join(folder).then(() => console.log('JOINED', Date.now()-t), (e: unknown) => console.log('JOIN FAILED', e)); }
  if (!left && out.includes('then stops, and both sides')) { left = true; seen.leave().then(() => console.log('LEFT'), (e: unknown) => console.log('LEAVE FAILED', e)); }
});
await new Promise((r) => child.once('close', r));
writeFileSync('/tmp/explore.json', JSON.stringify({ url: seen.prometheus.url, start, end: Date.now()/1000 }));
writeFileSync('/tmp/explore-rules.yml', seen.rules);
writeFileSync('/tmp/explore-scrape.txt', seen.scrapes.join('\n=====\n'));
console.log('EXPLORE READY', seen.prometheus.url);
await new Promise((r) => process.once('SIGTERM', r));
await seen.stop();
process.exit(0);
