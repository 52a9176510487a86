/** Turns for what must not run all at once; whoever waits longest is next. */
export class Turns {
  private taken = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly most: number) {}

  /** Waits for a turn; the function that is answered gives it back. Rejects when the signal aborts before. */
  async take(signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.taken >= this.most) await this.wait(signal);
    else this.taken += 1;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const next = this.waiting.shift();
      if (next === undefined) this.taken -= 1;
      else next();
    };
  }

  private wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        signal.removeEventListener('abort', gone);
        resolve();
      };
      const gone = (): void => {
        this.waiting.splice(this.waiting.indexOf(turn), 1);
        reject(new Error('it does not wait for its turn any more'));
      };
      this.waiting.push(turn);
      signal.addEventListener('abort', gone, { once: true });
    });
  }
}
