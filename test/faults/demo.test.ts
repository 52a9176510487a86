import { describe } from 'vitest';
import { interruptedAt } from '../support/demo-process.js';

describe('the demo', () => {
  interruptedAt(['The way back', 'A mistake']);
});
