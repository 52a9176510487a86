import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SseParser, type Frame } from '../../../daemon/live/sse.js';

function parse(...pieces: string[]): Frame[] {
  const parser = new SseParser();
  return pieces.flatMap((piece) => parser.push(piece));
}

describe('server-sent events', () => {
  it.each<[string, string, Frame[]]>([
    ['an event', 'id: a-1\nevent: gate\ndata: {"a":1}\n\n', [{ id: 'a-1', event: 'gate', data: '{"a":1}' }]],
    ['no name', 'data: x\n\n', [{ id: null, event: 'message', data: 'x' }]],
    ['several lines', 'data: x\ndata:y\n\n', [{ id: null, event: 'message', data: 'x\ny' }]],
    ['comments and retry', 'retry: 2000\n: lockgate a\n\n: heartbeat\n\n', []],
    ['an event without data', 'event: gate\n\ndata: x\n\n', [{ id: null, event: 'message', data: 'x' }]],
    [
      'carriage returns',
      'event: a\r\ndata: x\r\rdata: y\n\r\n',
      [
        { id: null, event: 'a', data: 'x' },
        { id: null, event: 'message', data: 'y' },
      ],
    ],
    ['a byte order mark', '\ufeffdata: x\n\n', [{ id: null, event: 'message', data: 'x' }]],
    ['what has not ended', 'data: x\n', []],
    ['an unknown field', 'datum: x\ndata: y\n\n', [{ id: null, event: 'message', data: 'y' }]],
  ])('%s', (_name, text, frames) => expect(parse(text)).toEqual(frames));

  it('give the same however they were cut', () => {
    const line = fc.oneof(
      fc.constantFrom('', '', 'event: gate', ': heartbeat', 'id: 7', 'retry: 1'),
      fc.string().map((s) => `data: ${s.replace(/[\r\n]/g, '')}`),
    );
    const end = fc.constantFrom('\n', '\r\n', '\r');
    fc.assert(
      fc.property(
        fc.array(fc.tuple(line, end)).map((lines) => lines.flat().join('')),
        fc.array(fc.nat(40)),
        (text, cuts) => {
          const pieces: string[] = [];
          let rest = text;
          for (const cut of cuts) {
            pieces.push(rest.slice(0, cut));
            rest = rest.slice(cut);
          }
          expect(parse(...pieces, rest)).toEqual(parse(text));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('are given up when they do not end, and comments without end are not', () => {
    const parser = new SseParser();
    const megabyte = `data: ${'x'.repeat(1024 * 1024)}\n`;
    expect(() => {
      for (let n = 0; n < 9; n += 1) parser.push(megabyte);
    }).toThrow('without an end');
    const patient = new SseParser();
    const comment = `: ${'x'.repeat(1024 * 1024)}\n`;
    for (let n = 0; n < 12; n += 1) patient.push(comment);
    expect(patient.push('data: x\n\n')).toHaveLength(1);
  });
});
