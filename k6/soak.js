// A modest load for a long time, to find what grows: as many ads are taken down as are created, and at the end all
// replicas hold the same. RATE (queries a second), WRITE_RATE (ads created and taken down a second), DURATION.

import { ask, constantly, create, duration, kept, sameEverywhere, setting, sparseQuery, takeDown } from './lib.js';

const rate = setting('RATE', 200);
const writeRate = setting('WRITE_RATE', 20);
const length = duration('DURATION', '1h');

export const options = {
  scenarios: { queries: constantly('query', rate, length), writes: constantly('write', writeRate, length) },
  thresholds: {
    ...kept(rate),
    'http_req_duration{scenario:queries}': ['p(95)<50', 'p(99)<200'],
    'http_req_duration{scenario:writes}': ['p(95)<500'],
  },
};

export function query() {
  ask(sparseQuery());
}

export function write() {
  const id = create();
  if (id) takeDown(id);
}

export function teardown() {
  sameEverywhere();
}
