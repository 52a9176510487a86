/** The browser's clocks, in one place. */
import type { LiveClock } from '../../../live/follow.js';

/** The clocks that the model is given. `performance.now` stands still or not while a machine sleeps: both are looked at. */
export const browserClock: LiveClock = {
  now: () => ({ monotonicMs: performance.now(), wallMs: Date.now() }),
  sleep: (ms, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted === true) {
        resolve();
        return;
      }
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal?.addEventListener('abort', done);
    }),
};
