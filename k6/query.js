// The load that the service was first built for: every filter given, at a constant rate. RATE (queries a second),
// DURATION.

import { ask, constantly, duration, fullQuery, kept, setting } from './lib.js';

const rate = setting('RATE', 1000);

export const options = {
  scenarios: { queries: constantly('query', rate, duration('DURATION', '30s')) },
  thresholds: { ...kept(rate), http_req_duration: ['p(95)<50', 'p(99)<200'] },
};

export function query() {
  ask(fullQuery());
}
