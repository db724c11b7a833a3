// A crowd arrives at once and leaves again: answers stay right throughout, and are as fast afterwards as before.
// What cannot be sent during the spike is k6's loss and not counted. BASE_RATE and PEAK_RATE (queries a second),
// PART_SECONDS (of each of the three parts).

import { ALWAYS_RIGHT, ask, constantly, setting, sparseQuery } from './lib.js';

const base = setting('BASE_RATE', 200);
const peak = setting('PEAK_RATE', 4000);
const seconds = setting('PART_SECONDS', 10);
// The queue of the spike is not the time afterwards.
const pause = 2;

function part(rate, begin) {
  return { ...constantly('query', rate, `${seconds}s`), startTime: `${begin}s`, gracefulStop: '10s' };
}

export const options = {
  scenarios: {
    before: part(base, 0),
    spike: part(peak, seconds),
    after: part(base, 2 * seconds + pause),
  },
  thresholds: {
    ...ALWAYS_RIGHT,
    'http_req_duration{scenario:before}': ['p(99)<200'],
    'http_req_duration{scenario:spike}': ['p(99)<2000'],
    'http_req_duration{scenario:after}': ['p(99)<200'],
  },
};

export function query() {
  ask(sparseQuery());
}
