// What the load scripts share: where the server is, the queries that are asked, the ads that are written, and the
// checks that an answer is right. From the environment: TARGET (the server's URL) and TOKEN (for writes, if the
// server wants one). Rates and durations are each script's.

import { check, sleep } from 'k6';
import http from 'k6/http';
import { Counter } from 'k6/metrics';

export const target = (__ENV.TARGET || 'http://127.0.0.1:8080').replace(/\/$/, '');

const COUNTRIES = ['TW', 'HK', 'JP', 'US', 'KR', 'CN'];
const GENDERS = ['F', 'M'];
const PLATFORMS = ['android', 'ios', 'web'];
const LIMITS = [5, 10, 15];
// What a filter says if the visitor's value is not known.
const UNKNOWN = 'unknown';
// How far this machine's clock and the time that a page was under way may put "now" off.
const CLOCK_SLACK_MS = 2000;

// Counted beside k6's own checks, so that a threshold can ask for none, whatever the number of requests.
export const wrong = new Counter('wrong_answers');
// Ads in the pages that were right: a server that has none to show passes no load.
const seen = new Counter('ads_seen');

// A number from the environment, or the script's own.
export function setting(name, otherwise) {
  const given = __ENV[name];
  if (given === undefined || given === '') return otherwise;
  const number = Number(given);
  if (!Number.isInteger(number) || number < 1) throw new Error(`${name}=${given} is not a whole number from 1`);
  return number;
}

// A duration from the environment, as k6 has it, or the script's own.
export function duration(name, otherwise) {
  return __ENV[name] || otherwise;
}

// What must hold, whatever the load. Latency is the script's business.
export const ALWAYS_RIGHT = { wrong_answers: ['count==0'], checks: ['rate==1'], ads_seen: ['count>0'] };

// What also must hold of a load that the machines are meant to carry: at most what the first second may lack while
// workers are being made was not sent.
export function kept(rate) {
  return { ...ALWAYS_RIGHT, dropped_iterations: [`count<=${rate}`] };
}

// An executor that starts iterations at a constant rate, whether or not earlier ones are done.
export function constantly(exec, rate, length) {
  return {
    executor: 'constant-arrival-rate',
    exec,
    rate,
    timeUnit: '1s',
    duration: length,
    preAllocatedVUs: workers(rate),
    maxVUs: workers(rate) * 8,
  };
}

// Enough workers for a rate if a request takes 20 ms.
export function workers(rate) {
  return Math.max(4, Math.ceil(rate / 50));
}

export function pick(values) {
  return values[Math.floor(Math.random() * values.length)];
}

function upTo(most) {
  return Math.floor(Math.random() * (most + 1));
}

// A query as the service's first users send it: every filter is there.
export function fullQuery() {
  return {
    age: 1 + upTo(99),
    gender: pick(GENDERS),
    country: pick(COUNTRIES),
    platform: pick(PLATFORMS),
    limit: pick(LIMITS),
    offset: upTo(9),
  };
}

// A query in which each filter is absent half the time, and is unknown in 2 % of them.
export function sparseQuery() {
  const query = fullQuery();
  for (const filter of ['age', 'gender', 'country', 'platform']) {
    const drawn = Math.random();
    if (drawn < 0.5) delete query[filter];
    else if (drawn < 0.52) query[filter] = UNKNOWN;
  }
  return query;
}

// Asks for a page, and checks it; `find` may find more wrong with it. The name keeps k6 from making a time series of
// every query.
export function ask(query, { headers = {}, find = () => null } = {}) {
  const text = Object.entries(query)
    .map(([name, value]) => `${name}=${value}`)
    .join('&');
  const response = http.get(`${target}/api/v1/ad?${text}`, { headers, tags: { name: 'GET /api/v1/ad' } });
  let ads = 0;
  const right = judge(response, `GET ${text}`, (page) => {
    const fault = wrongPage(query, page) || find(page);
    if (fault === null) ads = page.ads.length;
    return fault;
  });
  seen.add(ads);
  return right;
}

// Checks a response: 200 or another expected status, JSON, and nothing that `find` finds wrong with it.
export function judge(response, what, find, expected = [200]) {
  let fault = null;
  if (!expected.includes(response.status)) {
    fault = `status ${response.status} ${response.error || ''} ${String(response.body || '').slice(0, 200)}`;
  } else {
    try {
      fault = find(response.body ? response.json() : null);
    } catch (error) {
      fault = `not to be read: ${error}`;
    }
  }
  const name = (response.request && response.request.method) || 'request';
  check(fault, { [`${name} is answered rightly`]: (found) => found === null });
  if (fault !== null) {
    wrong.add(1);
    console.error(`${what}: ${fault}`);
  }
  return fault === null;
}

// What is wrong with a page, or null.
function wrongPage(query, page) {
  const { ads, total } = page;
  if (!Array.isArray(ads) || !Number.isInteger(total) || total < 0) return 'no page';
  const expected = Math.min(query.limit, Math.max(0, total - query.offset));
  if (ads.length !== expected) return `${ads.length} ads, not ${expected}, of ${total} after ${query.offset}`;
  const now = Date.now();
  for (let at = 0; at < ads.length; at += 1) {
    const ad = ads[at];
    const why = misfit(query, ad);
    if (why) return `ad ${ad.id} does not fit ${why}`;
    if (Date.parse(ad.start_at) > now + CLOCK_SLACK_MS) return `ad ${ad.id} has not begun`;
    if (Date.parse(ad.end_at) < now - CLOCK_SLACK_MS) return `ad ${ad.id} has ended`;
    if (at > 0 && !inOrder(ads[at - 1], ad)) return `ad ${ad.id} is out of order`;
  }
  return null;
}

// Which of the query's filters an ad does not fit, if any. A condition that an ad leaves open fits anyone; one with
// values does not fit a visitor whose value is not known.
function misfit(query, ad) {
  const { age } = query;
  if (age === UNKNOWN ? ad.age_start !== undefined : age < (ad.age_start || 1) || age > (ad.age_end || 100)) return 'age';
  for (const filter of ['gender', 'country', 'platform']) {
    const values = ad[filter];
    if (query[filter] !== undefined && values && values.length > 0 && !values.includes(query[filter])) return filter;
  }
  return null;
}

// Whether one ad comes before another: by end, then by id.
function inOrder(one, other) {
  const [first, second] = [padded(one.end_at), padded(other.end_at)];
  return first < second || (first === second && one.id < other.id);
}

// A time in UTC with all its six decimals, so that texts compare as times do.
function padded(time) {
  const [seconds, decimals = ''] = time.replace('Z', '').split('.');
  return `${seconds}.${decimals.padEnd(6, '0')}`;
}

// What is wrong with the first page of those that an ad belongs to, or null.
function wrongWithout(ad, { ads, total }) {
  if (total < 1) return `nothing fits, though ad ${ad.id} does`;
  // Of several pages it may be on a later one.
  if (ads.length < total && !inOrder(ad, ads[ads.length - 1])) return null;
  return ads.some(({ id }) => id === ad.id) ? null : `ad ${ad.id} is missing`;
}

// A query that an ad fits.
function queryFor(ad) {
  const query = { age: ad.age_start || 1 + upTo(99), limit: 100, offset: 0 };
  for (const [filter, values] of [['gender', GENDERS], ['country', COUNTRIES], ['platform', PLATFORMS]]) {
    query[filter] = pick(ad[filter] || values);
  }
  return query;
}

// The headers of a write. Its key makes repeating it harmless, for the balancer too.
export function writing(key) {
  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': key };
  if (__ENV.TOKEN) headers.Authorization = `Bearer ${__ENV.TOKEN}`;
  return headers;
}

// A random UUID: an ad's id, or a key that no other write has.
export function uuid() {
  const hex = (digits) => Array.from({ length: digits }, () => upTo(15).toString(16)).join('');
  return `${hex(8)}-${hex(4)}-4${hex(3)}-${pick(['8', '9', 'a', 'b'])}${hex(3)}-${hex(12)}`;
}

// An ad that targets something and runs from now for some minutes.
function newAd() {
  const id = uuid();
  const ad = {
    id,
    title: `Load ${id}`,
    content: 'Written under load',
    start_at: new Date(Date.now() - 60_000).toISOString(),
    end_at: new Date(Date.now() + 600_000 + upTo(600_000)).toISOString(),
  };
  if (Math.random() < 0.5) ad.country = [pick(COUNTRIES)];
  if (Math.random() < 0.5) ad.gender = [pick(GENDERS)];
  if (Math.random() < 0.5) ad.platform = [pick(PLATFORMS)];
  if (Math.random() < 0.5) Object.assign(ad, { age_start: 18 + upTo(10), age_end: 40 + upTo(20) });
  return ad;
}

// Creates an ad, reads it back through the balancer, by itself and in a query, and returns its id, or null if that
// went wrong.
export function create() {
  const ad = newAd();
  const body = JSON.stringify(ad);
  const tags = { name: 'POST /api/v1/ad' };
  const response = http.post(`${target}/api/v1/ad`, body, { headers: writing(uuid()), tags });
  if (!judge(response, `POST ${ad.id}`, (created) => (created.id === ad.id ? null : 'another ad'), [201, 202])) return null;
  // Whichever replica this asks, it waits until it has what the write's answer had seen.
  const headers = { 'Placard-Min-Version': response.headers['Placard-Version'] };
  const read = http.get(`${target}/api/v1/ad/${ad.id}`, { headers, tags: { name: 'GET /api/v1/ad/{id}' } });
  if (!judge(read, `GET ${ad.id}`, (found) => (found.title === ad.title ? null : 'another ad'))) return null;
  return ask(queryFor(ad), { headers, find: (page) => wrongWithout(ad, page) }) ? ad.id : null;
}

// Takes an ad down everywhere, and checks that a replica that knows of it serves it no more. It is confirmed by
// all, or 202 says who is missing.
export function takeDown(id) {
  const url = `${target}/api/v1/ad/${id}`;
  const tags = { name: 'DELETE /api/v1/ad/{id}' };
  const response = http.del(`${url}?ack=all`, null, { headers: writing(uuid()), tags });
  if (!judge(response, `DELETE ${id}`, () => null, [200, 202])) return;
  const headers = { 'Placard-Min-Version': response.headers['Placard-Version'] };
  const gone = { headers, tags: { name: 'GET /api/v1/ad/{id}' }, responseCallback: http.expectedStatuses(404) };
  judge(http.get(url, gone), `GET ${id} after its takedown`, () => null, [404]);
}

// Waits until every replica has published the head, and checks that they all hold the same.
export function sameEverywhere() {
  let members = [];
  for (let tried = 0; tried < 50; tried += 1) {
    const response = http.get(`${target}/api/v1/cluster`);
    members = (response.status === 200 && response.json().members) || [];
    // The row of a replica that has been killed stays for an hour.
    members = members.filter((member) => member.lease_ms > 0);
    if (members.length > 0 && members.every((member) => member.lag_entries === 0)) break;
    sleep(0.1);
  }
  const digests = new Set(members.map(({ published }) => `${published.version} ${published.digest}`));
  const same = digests.size === 1;
  check(same, { 'all replicas hold the same': (found) => found });
  if (!same) {
    wrong.add(1);
    console.error(`replicas differ: ${[...digests].join(', ')}`);
  }
}
