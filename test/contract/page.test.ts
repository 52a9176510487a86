import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPage } from '../../daemon/http/page/bundle.js';
import type { Running } from '../support/http-server.js';
import { daemonConfig, startServer, tokens } from '../support/http-server.js';

const MOST_BYTES = 150_000;

let running: Running;
let assets: string[];

beforeAll(async () => {
  running = await startServer({ config: daemonConfig({ auth: { tokens: tokens().list } }) });
  const { body } = await running.ask('/');
  assets = [...body.matchAll(/(?:src|href)="(assets\/[^"]+)"/g)].map((m) => `/${m[1] ?? ''}`);
});
afterAll(() => running.server.close(1000));

/** The bytes of an answer as they came, which the helper of the other tests would take for text. */
async function raw(path: string, headers: Record<string, string> = {}): Promise<{ response: Response; bytes: Buffer }> {
  const response = await fetch(running.url + path, { headers });
  return { response, bytes: Buffer.from(await response.arrayBuffer()) };
}

describe('the document', () => {
  it('holds no data, nothing to run inline, and says whether a token is needed', async () => {
    const page = await running.ask('/');
    expect(page.status).toBe(200);
    expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
    expect(page.headers['cache-control']).toBe('no-store');
    expect(page.headers['set-cookie']).toBeUndefined();
    expect(page.body).not.toMatch(/<style|style=|\son\w+=|<script(?![^>]*\ssrc=)|shop|lockgate-test|https?:/);
    expect(page.body).toContain('data-auth="token"');
    expect(page.body.match(/data-connection="lost"/g)).toHaveLength(1);
    expect(page.body).not.toContain('data-gate');
  });

  it('may load, run, send and be framed by nothing else', async () => {
    for (const path of ['/', ...assets]) {
      const { headers } = await running.ask(path);
      const policy = new Map(
        String(headers['content-security-policy'])
          .split(';')
          .map((d) => d.trim().split(/ (.*)/s) as [string, string]),
      );
      for (const name of ['default-src', 'base-uri', 'form-action', 'frame-ancestors']) {
        expect([path, name, policy.get(name)]).toEqual([path, name, "'none'"]);
      }
      for (const name of ['script-src', 'style-src', 'connect-src', 'img-src']) {
        expect([path, name, policy.get(name)]).toEqual([path, name, "'self'"]);
      }
      expect(headers['x-content-type-options']).toBe('nosniff');
      expect(headers['referrer-policy']).toBe('no-referrer');
    }
  });

  it('answers HEAD as GET without a body, and does not mind a query', async () => {
    const head = await running.ask('/', { method: 'HEAD' });
    expect([head.status, head.body]).toEqual([200, '']);
    expect((await running.ask('/?from=bookmark')).status).toBe(200);
  });

  it('asks for no token where none is configured, and follows a reload', async () => {
    const open = await startServer();
    expect((await open.ask('/')).body).toContain('data-auth="none"');
    open.server.reload(daemonConfig({ auth: { tokens: tokens().list } }));
    expect((await open.ask('/')).body).toContain('data-auth="token"');
    await open.server.close(1000);
  });
});

describe('what it loads', () => {
  it('is a script, a style sheet and an icon, kept for ever under names by their content', async () => {
    expect(assets.map((path) => path.replace(/-[0-9a-f]{16}\./, '-HASH.')).sort()).toEqual([
      '/assets/icon-HASH.svg',
      '/assets/page-HASH.css',
      '/assets/page-HASH.js',
    ]);
    for (const path of assets) {
      const { response, bytes } = await raw(path, { 'accept-encoding': 'identity' });
      expect(response.status).toBe(200);
      expect(response.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      expect(response.headers.get('vary')).toBe('accept-encoding');
      expect(response.headers.get('content-encoding')).toBeNull();
      expect(bytes.length).toBe(Number(response.headers.get('content-length')));
      const again = await running.ask(path, { headers: { 'if-none-match': response.headers.get('etag') ?? '' } });
      expect([again.status, again.body]).toEqual([304, '']);
      expect((await running.ask(path, { headers: { 'if-none-match': '"other"' } })).status).toBe(200);
    }
  });

  it('comes compressed to whoever takes it so, and is the same', async () => {
    const page = readPage();
    if ('missing' in page) throw new Error(page.missing);
    for (const [name, { plain, gzip, br }] of page.assets) {
      expect(gunzipSync(gzip).equals(plain), name).toBe(true);
      expect(brotliDecompressSync(br).equals(plain), name).toBe(true);
    }
    const script = assets.find((path) => path.endsWith('.js')) ?? '';
    const encoding = async (accept: string): Promise<string | undefined> =>
      (await running.ask(script, { method: 'HEAD', headers: { 'accept-encoding': accept } })).headers[
        'content-encoding'
      ];
    expect(await encoding('gzip, deflate, br')).toBe('br');
    expect(await encoding('gzip, br;q=0')).toBe('gzip');
    expect(await encoding('deflate')).toBeUndefined();
  });

  it('weighs less than 150 kB with the document, even as it is', async () => {
    let bytes = Buffer.byteLength((await running.ask('/')).body);
    for (const path of assets) bytes += (await raw(path, { 'accept-encoding': 'identity' })).bytes.length;
    expect(bytes).toBeLessThan(MOST_BYTES);
  });

  it('takes nothing from anywhere else', async () => {
    for (const path of assets) {
      const { bytes } = await raw(path, { 'accept-encoding': 'identity' });
      // The name of the SVG namespace is no address that anything is loaded from.
      const text = bytes.toString('utf8').replaceAll('http://www.w3.org/2000/svg', '');
      expect(text).not.toMatch(/https?:\/\/|@import|innerHTML|document\.cookie|EventSource|\beval\(/);
    }
  });

  it.each(['/assets/none.js', '/assets/..%2fpage.json', '/assets/..%2f..%2fpackage.json', '/assets/page.json'])(
    '%s is no such file',
    async (path) => {
      const answer = await running.ask(path);
      expect([answer.status, answer.json()['code']]).toEqual([404, 'unknown_asset']);
    },
  );
});

describe('without the built page', () => {
  it('/ says so, the log warns, and nothing else suffers', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'lockgate-page-'));
    const bare = await startServer({ pageFolder: folder });
    try {
      const answer = await bare.ask('/');
      expect([answer.status, answer.json()['code']]).toEqual([503, 'page_not_built']);
      expect(answer.json()['detail']).toContain('npm run build');
      expect((await bare.ask('/assets/page.js')).status).toBe(503);
      expect((await bare.ask('/livez')).status).toBe(200);
      expect((await bare.ask('/v1/gates')).status).toBe(200);
      expect(bare.log.filter((l) => l.level === 'warn' && l.message.includes('not built'))).toHaveLength(1);
    } finally {
      await bare.server.close(1000);
      rmSync(folder, { recursive: true });
    }
  });
});
