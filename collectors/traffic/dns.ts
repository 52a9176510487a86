/** The TTL that a resolver hands out for a name: how long a client may go on using the addresses it has. */
import { getServers } from 'node:dns';
import type { Clock } from '../../daemon/core/clock.js';
import type { DnsConfig } from '../../daemon/core/config.js';
import { LockgateError, SourceError, TransientError } from '../../daemon/core/errors.js';
import type { Answer } from './asked-number.js';
import { plainName, type AddressType, type DnsAnswer } from './dns-message.js';
import { askResolver, resolverAddress, type ResolverAddress } from './dns-transport.js';
import { TtlMemory } from './ttl-memory.js';

const TYPES: readonly AddressType[] = ['A', 'AAAA'];

/** Asks for one record again and again, and remembers what a remembering resolver said before. */
export class TtlQuestion {
  private readonly memory = new TtlMemory();

  constructor(
    private readonly config: Pick<DnsConfig, 'record' | 'resolver'>,
    private readonly clock: Clock,
    /** The system's resolvers, for where none is configured. */
    private readonly system: () => readonly string[] = getServers,
  ) {}

  /** Asks once; rejects with a LockgateError when no TTL can be told. */
  async ask(signal: AbortSignal): Promise<Answer> {
    const name = plainName(this.config.record);
    if (name === null) throw new SourceError('dns_name', `\`${this.config.record}\` is no name that DNS knows`);
    const askedAt = this.clock.monotonicNow();
    const { host, answers } = await this.askSome(name, signal);
    const ttls = new Map<string, number>();
    for (const { chain } of answers) {
      for (const { owner, type, ttl } of chain) {
        const key = `${owner}/${type}`;
        ttls.set(key, Math.max(ttl, ttls.get(key) ?? 0));
      }
    }
    if (ttls.size === 0) throw new TransientError('dns_empty', `${host} knows no address of ${name}`);
    const handedOut = Math.max(...ttls.values());
    if (answers.every((a) => !a.complete)) {
      const last = answers[0]?.chain.at(-1)?.owner ?? name;
      const remark = `${host} does not answer for what ${last} leads to: its TTL is not known`;
      return { value: handedOut, observedAt: askedAt, bound: 'at-least', remark };
    }
    if (answers.every((a) => a.authoritative)) return { value: handedOut, observedAt: askedAt };
    const whole = this.memory.take(ttls, askedAt);
    const answer = { value: whole.ttl, observedAt: askedAt, againMs: whole.againMs };
    if (whole.bound === 'exact') return answer;
    const remark = `${host} answers from its memory, where ${handedOut} s are left; the whole is seen when the record is fetched again`;
    return { ...answer, bound: 'at-least', remark };
  }

  /** The answers of the first resolver that answers at all. */
  private async askSome(name: string, signal: AbortSignal): Promise<{ host: string; answers: DnsAnswer[] }> {
    const { resolver } = this.config;
    const resolvers = (resolver === null ? this.system() : [resolver]).map(resolverAddress);
    let failure: unknown = new SourceError('dns_no_resolver', 'this machine has no resolver', 'name one as `resolver`');
    for (const address of resolvers) {
      try {
        return { host: address.host, answers: await this.askBoth(address, name, signal) };
      } catch (error) {
        failure = error;
        // What was answered is an answer; only silence makes the next one be asked.
        if (!(error instanceof LockgateError) || error.code === 'dns_error' || signal.aborted) break;
      }
    }
    throw failure;
  }

  /** Of both kinds, because a client may use either; one that fails makes the whole unknown. */
  private async askBoth(resolver: ResolverAddress, name: string, signal: AbortSignal): Promise<DnsAnswer[]> {
    const asked = TYPES.map((type) => askResolver(resolver, name, type, this.clock, signal));
    const answers = await Promise.allSettled(asked);
    return answers.map((result, i) => {
      if (result.status === 'rejected') throw result.reason;
      const { error } = result.value;
      if (error !== null) {
        throw new TransientError('dns_error', `${resolver.host} answers ${error} for ${name} (${TYPES[i] ?? ''})`);
      }
      return result.value;
    });
  }
}
