import { describe, expect, it } from 'vitest';
import {
  applicationNameOf,
  judgeReplayed,
  judgeStreaming,
  matchWalsender,
  type PrimaryFacts,
  type ReceiverFacts,
  type StandbyFacts,
  type WalsenderFacts,
} from '../../collectors/postgres/physical-state.js';

const names = { from: 'onprem', to: 'aws', fromUser: '"lg"', toUser: '"lg"' };
const receiver: ReceiverFacts = {
  visible: true,
  status: 'streaming',
  timeline: 1,
  slot: 'standby',
  applicationName: 'walreceiver',
  sender: 'db:5432',
};
const standby: StandbyFacts = { inRecovery: true, systemIdentifier: '7', replayed: 100n, receiver };
const walsender: WalsenderFacts = {
  visible: true,
  applicationName: 'walreceiver',
  slot: 'standby',
  state: 'streaming',
  writeLag: null,
  replayLag: null,
};
const primary: PrimaryFacts = { systemIdentifier: '7', timeline: 1, sendable: 120n, walsenders: [walsender] };
const slotless = { ...receiver, slot: null };
const anonymous = { ...walsender, slot: null };

describe('judgeStreaming', () => {
  const cases: [string, Partial<StandbyFacts>, Partial<PrimaryFacts>, 0 | 1 | null, RegExp | null][] = [
    ['all is well', {}, {}, 1, null],
    ['catching up runs', {}, { walsenders: [{ ...walsender, state: 'catchup' }] }, 1, /catching up/],
    ['promoted', { inRecovery: false, replayed: null, receiver: null }, {}, 0, /no longer a standby/],
    ['another server', { systemIdentifier: '8' }, {}, 0, /system identifier 8/],
    ['another timeline', {}, { timeline: 2 }, 0, /timeline 1.*timeline 2/],
    ['no receiver', { receiver: null }, {}, 0, /no WAL receiver on aws/],
    ['receiver waits', { receiver: { ...receiver, status: 'waiting' } }, {}, 0, /state waiting/],
    ['receiver hidden', { receiver: { ...receiver, visible: false } }, {}, null, /GRANT pg_read_all_stats/],
    [
      'walsender hidden',
      {},
      { walsenders: [{ ...walsender, visible: false, state: null }] },
      null,
      /GRANT pg_read_all_stats/,
    ],
    ['a cascade', {}, { walsenders: [] }, null, /streams from db:5432/],
    ['matched by name', { receiver: slotless }, { walsenders: [anonymous, { ...walsender, slot: 'x' }] }, 1, null],
    ['several, all streaming', { receiver: slotless }, { walsenders: [anonymous, anonymous] }, 1, null],
    [
      'several, not all streaming',
      { receiver: slotless },
      { walsenders: [anonymous, { ...anonymous, state: 'startup' }] },
      null,
      /2 walsenders.*primary_slot_name/,
    ],
    ['nothing to match by', { receiver: { ...slotless, applicationName: null } }, {}, null, /names neither/],
  ];
  it.each(cases)('%s', (_, s, p, value, reason) => {
    const running = judgeStreaming(names, { ...standby, ...s }, { ...primary, ...p });
    expect(running.value).toBe(value);
    if (reason === null) expect(running.reason).toBeNull();
    else expect(running.reason).toMatch(reason);
  });
});

describe('judgeReplayed', () => {
  const judge = (s: Partial<StandbyFacts>, p: Partial<PrimaryFacts> = {}): ReturnType<typeof judgeReplayed> =>
    judgeReplayed(names, { ...standby, ...s }, { ...primary, ...p });

  it('is the replay position of a standby of this source', () => {
    expect(judge({})).toEqual({ lsn: 100n, reason: null });
  });

  it('goes on without streaming, as from an archive', () => {
    expect(judge({ receiver: null }).lsn).toBe(100n);
  });

  it('is a fault for a promoted standby, another server, another timeline or a position beyond the source', () => {
    expect(judge({ inRecovery: false, replayed: null }).reason).toMatch(/no longer a standby/);
    expect(judge({ systemIdentifier: '8' }).reason).toMatch(/no standby of onprem/);
    expect(judge({}, { timeline: 2 }).reason).toMatch(/timeline/);
    expect(judge({ replayed: 121n }).reason).toMatch(/ends at 0\/78/);
    expect(judge({ replayed: null }).reason).toMatch(/not replayed/);
  });

  it('wants another proof of identity where the identifier may not be read', () => {
    expect(judge({}, { systemIdentifier: null }).lsn).toBe(100n);
    expect(judge({ receiver: null }, { systemIdentifier: null }).reason).toMatch(/pg_control_system\(\) TO "lg"/);
    expect(judge({ systemIdentifier: null, receiver: { ...receiver, visible: false } }).lsn).toBeNull();
  });
});

describe('matchWalsender', () => {
  it('does not fall back from a slot to a name', () => {
    expect(matchWalsender(receiver, [anonymous]).kind).toBe('none');
  });
});

describe('applicationNameOf', () => {
  it.each([
    ['user=x application_name=aws host=db', 'aws'],
    [`user=x application_name='a \\'b\\' c'`, "a 'b' c"],
    ['user=x fallback_application_name=walreceiver', 'walreceiver'],
    ['fallback_application_name=walreceiver application_name=standby1', 'standby1'],
    ['user=x host=db', null],
    [null, null],
  ])('%s', (conninfo, name) => expect(applicationNameOf(conninfo)).toBe(name));
});
