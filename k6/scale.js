// Reads and writes while replicas come and go: not one request fails, and at the end all replicas hold the same.
// "make k6 SCRIPT=scale" has replicas started, stopped and restarted for as long as this runs; against a TARGET of
// your own that is for you to do. RATE (queries a second), WRITE_RATE (ads created a second), DURATION.

import { ALWAYS_RIGHT, ask, constantly, create, duration, sameEverywhere, setting, sparseQuery } from './lib.js';

const length = duration('DURATION', '60s');

export const options = {
  scenarios: {
    queries: constantly('query', setting('RATE', 300), length),
    writes: constantly('write', setting('WRITE_RATE', 20), length),
  },
  thresholds: { ...ALWAYS_RIGHT, http_req_failed: ['rate==0'], 'http_req_duration{scenario:queries}': ['p(99)<500'] },
};

export function query() {
  ask(sparseQuery());
}

export function write() {
  create();
}

export function teardown() {
  sameEverywhere();
}
