// Reads beside writes: each filter is absent half the time; ads are created, read back through the balancer, and
// some are taken down everywhere. RATE (queries a second), WRITE_RATE (ads created a second), TAKEDOWN_RATE,
// DURATION.

import { ask, constantly, create, duration, kept, sameEverywhere, setting, sparseQuery, takeDown } from './lib.js';

const rate = setting('RATE', 500);
const writeRate = setting('WRITE_RATE', 50);
const takedownRate = setting('TAKEDOWN_RATE', 5);
const length = duration('DURATION', '30s');

export const options = {
  scenarios: {
    queries: constantly('query', rate, length),
    writes: constantly('write', writeRate, length),
    takedowns: constantly('takedown', takedownRate, length),
  },
  thresholds: {
    ...kept(rate),
    'http_req_duration{scenario:queries}': ['p(95)<50', 'p(99)<200'],
    'http_req_duration{scenario:writes}': ['p(95)<250', 'p(99)<1000'],
  },
};

export function query() {
  ask(sparseQuery());
}

export function write() {
  create();
}

// What it takes down it has created itself, so that it takes nothing from anybody else.
export function takedown() {
  const id = create();
  if (id) takeDown(id);
}

export function teardown() {
  sameEverywhere();
}
