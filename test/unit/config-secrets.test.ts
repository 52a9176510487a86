import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SourceError } from '../../daemon/core/errors.js';
import { maskPlaceholders, unmask } from '../../daemon/config/secrets.js';
import { ENV, load, problemsIn, small } from './config-inputs.js';

const onprem = (url: string) => small({ onprem: `{ engine: postgres, url: ${url} }` });
const passwordOf = (url: string, files: Record<string, string> = {}) =>
  load(onprem(url), files).databases.get('onprem')?.password?.reveal();

describe('placeholders', () => {
  it('may stand in a flow mapping, in quotes, in the middle of a scalar and in comments', () => {
    const text = small({
      onprem: '{ engine: postgres, url: postgres://${env:USER}:${env:PW}@localhost/${file:db} } # ${env:NOT_SET}',
      top: "daemon: { id: 'watch-${env:USER}' }",
    });
    ENV['USER'] = 'lockgate';
    const config = load(text, { db: 'app\r\n' });
    delete ENV['USER'];
    expect(config.databases.get('onprem')?.address).toEqual({ host: 'localhost', port: 5432, database: 'app', user: 'lockgate' }); // prettier-ignore
    expect(config.daemon.id).toBe('watch-lockgate');
  });

  it('are hidden from YAML without moving anything, and come back', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('${', 'env:A', 'file:/é x', '}', '{', ': ', '\n', '"', 'é', '😀')),
        (parts) => {
          const text = parts.join('');
          const masked = maskPlaceholders(text);
          expect(masked.length).toBe(text.length);
          expect(unmask(masked)).toBe(text);
        },
      ),
    );
  });

  it('do not change the hash with their value', () => {
    const text = onprem('postgres://l:${file:pw}@localhost/app');
    expect(load(text, { pw: 'one' }).hash).toBe(load(text, { pw: 'two' }).hash);
  });
});

describe('a database URL', () => {
  it.each([
    ['postgres://l:${env:PW}@localhost/app', ENV['PW']],
    ['postgres://l:a${env:PW}b@localhost/app', `a${ENV['PW'] ?? ''}b`],
    ['"postgres://l:${file:pw}@localhost/app"', 'se/cr@t:'],
    ['postgres://l:p%40ss%2F@localhost/app', 'p@ss/'],
    ['postgres://l@localhost/app', undefined],
    ['${file:url}', 'x@y'],
    ['${file:url}?sslmode=require', 'x@y'],
  ])('%s', (url, password) => {
    const files = { pw: 'se/cr@t:\n', url: 'postgres://l:x%40y@localhost:7/app\n' };
    expect(passwordOf(url, files)).toBe(password);
  });

  it('takes its TLS from sslmode, and as libpq does checks an authority that is given', () => {
    const url = '"postgres://l@db/app?sslmode=require&sslrootcert=./ca.pem&sslcert=/c.pem&sslkey=k.pem"';
    expect(load(onprem(url)).databases.get('onprem')?.tls).toEqual({
      mode: 'verify-ca',
      ca: 'ca.pem',
      cert: '/c.pem',
      key: 'k.pem',
    });
  });

  it('takes an IPv6 address', () => {
    expect(load(onprem('"postgres://l@[::1]:5555/app"')).databases.get('onprem')?.address).toMatchObject({
      host: '::1',
      port: 5555,
    });
  });

  it.each([
    ['postgres://${file:all}/app', 'the URL names no user'],
    ['postgres://${file:all}@localhost/app', 'the user or the host of the URL contains'],
    ['"postgres://l:hunter2@a:b:c/app"', 'the host of the URL cannot be read'],
    ['"postgres://l:hunter2@a,b/app"', 'the URL names several hosts'],
    ['"postgres://l:hunter2/x@a/app"', 'the user or the password of the URL contains `/`, `?` or `#`'],
    ['postgres://l:%zz@localhost/app', 'the URL has a `%` that begins no escape'],
    ['hunter2', 'this is not a database URL'],
  ])('%s is refused without being quoted', (url, why) => {
    const problems = problemsIn(onprem(url), { all: 'me:hunter2@elsewhere' });
    expect(problems).toEqual([expect.stringContaining(why)]);
    expect(problems.join()).not.toContain('hunter2');
  });
});

describe('a secret', () => {
  const files: Record<string, string> = { pw: 'first\n' };
  const password = load(onprem('postgres://l:${file:pw}@localhost/app'), files).databases.get('onprem')!.password!;

  it('is read again each time', () => {
    expect(password.reveal()).toBe('first');
    files['pw'] = 'second\n\n';
    expect(password.reveal()).toBe('second');
    delete files['pw'];
    expect(() => password.reveal()).toThrow(SourceError);
    files['pw'] = '';
    expect(() => password.reveal()).toThrow('the file pw is empty');
    files['pw'] = 'third';
  });

  it('shows itself nowhere', () => {
    for (const shown of [String(password), JSON.stringify({ password }), inspect({ password }), inspect(password, { showHidden: true })]) {
      expect(shown).toContain('[secret]');
      expect(shown).not.toContain('third');
    } // prettier-ignore
  });

  it('is not quoted where it was written in the wrong place', () => {
    const wrong = [
      small({ top: 'daemon: { auth: hunter2 }' }),
      small({ top: 'daemon: { auth: { tokens: hunter2 } }' }),
      small({ top: 'daemon: { auth: { tokens: [ hunter2 ] } }' }),
      small({ top: 'daemon: { auth: { tokens: [ { name: a, role: reader, token: 77777 } ] } }' }),
      small({ onprem: 'hunter2' }),
      small({ onprem: '{ engine: postgres, url: "postgres://l@localhost/app", password: hunter2 }' }),
      small({ onprem: '{ engine: postgres, url: "postgres://l:hunter2@db/app" ' }),
      small({ onprem: '{ engine: postgres, url: "postgres://l:hunter2\\q@db/app" }' }),
      small({ onprem: '{ engine: postgres, url: postgres://l:pass,hunter2@db/app }' }),
      small({ top: 'daemon: { auth: { tokens: [ { name: a, role: reader, token: x,hunter2 } ] } }' }),
      small({ onprem: '"postgres://l:hunter2@db/app" x' }),
    ];
    for (const text of wrong) {
      const problems = problemsIn(text).join('\n');
      expect(problems).not.toBe('');
      expect(problems).not.toMatch(/hunter2|77777/);
    }
  });
});
