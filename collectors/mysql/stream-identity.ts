import type { Us } from '../../daemon/core/clock.js';
import type { Member, SideIdentity, Whereabouts } from '../session/side-identity.js';

/**
 * The sessions of a reading thread among those of its side. They stay with the server that they were opened with: where the
 * address comes to lead elsewhere while that one lives on, what it writes says nothing of the side any more.
 */
export class StreamIdentity {
  #member: Member | null = null;
  #lost: Error | null = null;

  /** `identity` is null where nothing compares the sessions; `losing` is called, at most once, when the stream must end. */
  constructor(
    private readonly identity: SideIdentity | null,
    private readonly at: Whereabouts,
    private readonly losing: (error: Error) => void,
  ) {}

  /** Why nothing of the stream is to be believed any more; null while it is. */
  get lost(): Error | null {
    return this.#lost;
  }

  /** The stream begins; false when it must not. */
  enter(): boolean {
    try {
      this.#member ??= this.identity?.enter(this.at, (error) => this.#lose(error)) ?? null;
    } catch (error) {
      this.#lose(error as Error);
    }
    return this.#lost === null;
  }

  /** The server has told of its log as it was at `at`; false when that is not to be believed. */
  told(at: Us): boolean {
    if (this.#member !== null) this.identity?.streamed(this.#member, at);
    return this.#lost === null;
  }

  /** The stream has ended. */
  leave(): void {
    if (this.#member !== null) this.identity?.leave(this.#member);
    this.#member = null;
  }

  #lose(error: Error): void {
    if (this.#lost !== null) return;
    this.#lost = error;
    this.losing(error);
  }
}
