// Reservations: clients race for pools that are too small for them. They confirm, renew, shrink and grow what they get, close
// it with the units that were used, release it, or let it lapse. Meanwhile a checker reads the pools all the time: their
// units always add up, and none is ever over. At the end the pools say that as many units were used as clients have
// closed as used, and nothing is held any more. RATE (clients a second), POOLS, ROOM (units of each that are not used
// up), DURATION. Its pools are created before, and deleted afterwards. With a TARGET of your own that requires a token, set
// TOKEN: reads of pools want it too.

import { check, fail, sleep } from 'k6';
import http from 'k6/http';
import { Counter } from 'k6/metrics';

import { constantly, duration, judge, pick, sameEverywhere, setting, target, uuid, writing, wrong } from './lib.js';

const rate = setting('RATE', 60);
const length = duration('DURATION', '30s');
const room = setting('ROOM', 12);

const POOLS = '/api/v1/pool';
const RESERVATIONS = '/api/v1/reservation';
const MOST = 5;
// Answers after which a write may have happened or not, or could be tried elsewhere: it is repeated with its key.
const UNKNOWN = [0, 502, 503, 504];
const TRIES = 40;
const PAUSE_S = 0.5;
// How long a client has who does not let it lapse: longer than all its tries.
const HELD_S = 120;

const made = new Counter('reservations_made');
const refused = new Counter('reservations_refused');
const repeated = new Counter('requests_repeated');
// What clients have closed as used, less what the pools say at the end.
const unaccounted = new Counter('units_unaccounted');

export const options = {
  scenarios: {
    // One in seven waits until what it holds has lapsed.
    clients: { ...constantly('client', rate, length), preAllocatedVUs: rate, maxVUs: rate * 8, gracefulStop: '60s' },
    suppliers: { executor: 'constant-vus', exec: 'supply', vus: 1, duration: length },
    checkers: { executor: 'constant-vus', exec: 'look', vus: 2, duration: length },
  },
  thresholds: {
    wrong_answers: ['count==0'],
    checks: ['rate==1'],
    reservations_made: ['count>0'],
    reservations_refused: ['count>0'],
    units_unaccounted: ['count==0'],
  },
};

// Sends a request until it has a definite answer, and checks that. Returns the answer, or null if it was wrong.
function send(method, path, { body = null, expected = [200, 202], find = () => null, version = null, name = path } = {}) {
  const headers = writing(uuid());
  if (version !== null) headers['Placard-Min-Version'] = version;
  const params = { headers, tags: { name: `${method} ${name}` }, responseCallback: http.expectedStatuses(...expected) };
  let response = null;
  for (let tried = 0; tried < TRIES; tried += 1) {
    response = http.request(method, `${target}${path}`, body && JSON.stringify(body), params);
    if (!UNKNOWN.includes(response.status)) break;
    repeated.add(1);
    sleep(PAUSE_S);
  }
  return judge(response, `${method} ${path}`, (answer) => find(answer, response.status), expected) ? response : null;
}

function versionOf(response) {
  return response.headers['Placard-Version'];
}

// What is wrong with a pool as it is shown, or null. A supplier only ever raises its capacity.
function wrongPool(pool) {
  const parts = ['reserved', 'allotted', 'used', 'lost', 'available'];
  for (const part of [...parts, 'lapsed', 'capacity']) {
    if (!Number.isInteger(pool[part]) || pool[part] < 0) return `${part} of pool ${pool.id} is ${pool[part]}`;
  }
  const sum = parts.reduce((units, part) => units + pool[part], 0);
  if (sum !== pool.capacity) return `the units of pool ${pool.id} sum to ${sum} of ${pool.capacity}`;
  const status = pool.available === 0 ? 'exhausted' : 'active';
  return pool.paused || pool.status === status ? null : `pool ${pool.id} with ${pool.available} available is ${pool.status}`;
}

function readPool(id, version = null) {
  const response = send('GET', `${POOLS}/${id}`, { expected: [200], find: wrongPool, version, name: `${POOLS}/{id}` });
  return response && response.json();
}

export function setup() {
  const pools = [];
  for (let nth = 0; nth < setting('POOLS', 4); nth += 1) {
    const body = { id: uuid(), name: `Load ${nth}`, capacity: room };
    if (!send('POST', POOLS, { body, expected: [201, 202] })) fail('a pool could not be created');
    pools.push(body.id);
  }
  return pools;
}

// What is wrong with a reservation as it is answered, or null.
function wrongReservation({ id, pool, amount }, lapses) {
  return (answer) => {
    if (answer.id !== id || answer.pool !== pool) return 'another reservation';
    if (answer.amount !== amount) return `${answer.amount} units instead of ${amount}`;
    return (answer.expires_at !== null) === lapses ? null : `it lapses at ${answer.expires_at}`;
  };
}

// What is wrong with a refusal for want of capacity, or null.
function wrongRefusal({ type, available }, least) {
  if (type !== '/problems/capacity-exhausted') return `refused as ${type}`;
  if (!Number.isInteger(available) || available < 0) return `available is ${available}`;
  return available < least ? null : `refused ${least} units though ${available} are available`;
}

// Asks for units. Returns the reservation, or null if there are too few.
function reserve(pool, expiresIn) {
  const wanted = { id: uuid(), pool, amount: 1 + Math.floor(Math.random() * MOST) };
  const response = send('POST', RESERVATIONS, {
    body: { ...wanted, expires_in: expiresIn },
    expected: [201, 202, 409],
    find: (answer, status) =>
      status === 409 ? wrongRefusal(answer, wanted.amount) : wrongReservation(wanted, true)(answer),
  });
  if (response === null) return null;
  if (response.status === 409) {
    refused.add(1);
    return null;
  }
  made.add(1);
  return { ...wanted, version: versionOf(response) };
}

const ONE = `${RESERVATIONS}/{id}`;

function change(held, body, lapses) {
  return send('PATCH', `${RESERVATIONS}/${held.id}`, { body, find: wrongReservation(held, lapses), name: ONE });
}

// Asks for more units of a reservation, which there may not be.
function grow(held) {
  const more = { ...held, amount: held.amount + 1 };
  const response = send('PATCH', `${RESERVATIONS}/${held.id}`, {
    body: { amount: more.amount },
    expected: [200, 202, 409],
    find: (answer, status) => (status === 409 ? wrongRefusal(answer, 1) : wrongReservation(more, true)(answer)),
    name: ONE,
  });
  return response && response.status !== 409 ? more : held;
}

function close(held, used) {
  const query = used > 0 ? `?used=${used}` : '';
  const find = ({ id }) => (id === held.id ? null : 'another reservation');
  const closed = send('DELETE', `${RESERVATIONS}/${held.id}${query}`, { find, name: ONE });
  if (closed === null) return;
  unaccounted.add(used);
  // Whichever replica this asks, it waits until it knows.
  send('GET', `${RESERVATIONS}/${held.id}`, { expected: [404], version: versionOf(closed), name: ONE });
}

function upTo(most) {
  return Math.floor(Math.random() * (most + 1));
}

// What clients do with what they have got.
const WAYS = {
  use(held) {
    if (change(held, { expires_at: null }, false)) close(held, 1 + upTo(held.amount - 1));
  },
  renew(held) {
    if (change(held, { expires_in: HELD_S }, true)) close(held, 0);
  },
  shrink(held) {
    const less = { ...held, amount: 1 + upTo(held.amount - 1) };
    if (change(less, { amount: less.amount }, true)) close(less, upTo(less.amount));
  },
  grow(held) {
    const grown = grow(held);
    close(grown, upTo(grown.amount));
  },
  release(held) {
    const find = wrongReservation(held, true);
    send('GET', `${RESERVATIONS}/${held.id}`, { expected: [200], find, version: held.version, name: ONE });
    close(held, 0);
    // As often as one likes.
    close(held, 0);
  },
};

// Lets it lapse, and finds that it cannot be used any more.
function lapse(pool) {
  const held = reserve(pool, 1);
  if (held === null) return;
  sleep(1.5);
  const over = ['/problems/reservation-lapsed', '/problems/reservation-closed'];
  const find = ({ type }) => (over.includes(type) ? null : `refused as ${type}`);
  send('PATCH', `${RESERVATIONS}/${held.id}`, { body: { expires_at: null }, expected: [409], find, name: ONE });
}

// Releases what is asked for only afterwards: it is not given any more.
function overtake(pool) {
  const id = uuid();
  if (!send('DELETE', `${RESERVATIONS}/${id}`, { name: ONE })) return;
  const find = ({ type }) => (type === '/problems/reservation-closed' ? null : `refused as ${type}`);
  send('POST', RESERVATIONS, { body: { id, pool, amount: 1 }, expected: [409], find });
}

export function client(pools) {
  const pool = pick(pools);
  const drawn = Math.random();
  if (drawn < 0.05) {
    overtake(pool);
  } else if (drawn < 0.2) {
    lapse(pool);
  } else {
    const held = reserve(pool, HELD_S);
    if (held !== null) WAYS[pick(Object.keys(WAYS))](held);
  }
}

// Replaces what was used up, so that there is always something to race for.
export function supply(pools) {
  for (const id of pools) {
    const pool = readPool(id);
    if (pool !== null && pool.used + room > pool.capacity) {
      send('PATCH', `${POOLS}/${id}`, { body: { capacity: pool.used + room }, name: `${POOLS}/{id}` });
    }
  }
  sleep(1);
}

// By pool, the newest state that this checker has read.
const newest = {};

export function look(pools) {
  const id = pick(pools);
  const find = (pool) => wrongPool(pool);
  const response = send('GET', `${POOLS}/${id}`, { expected: [200], find, name: `${POOLS}/{id}` });
  if (response === null) return;
  const [version, { used }] = [Number(versionOf(response)), response.json()];
  const before = newest[id] || { version: 0, used: 0 };
  const [older, newer] = version < before.version ? [used, before.used] : [before.used, used];
  const risen = older <= newer;
  check(risen, { 'what was used only rises': (found) => found });
  if (!risen) {
    wrong.add(1);
    console.error(`pool ${id} used ${before.used} at version ${before.version}, and ${used} at ${version}`);
  }
  if (version >= before.version) newest[id] = { version, used };
  const least = 1 + upTo(MOST);
  send('GET', `${POOLS}?available=${least}&limit=100`, {
    expected: [200],
    find: (page) => {
      const short = page.pools.find((pool) => pool.available < least);
      if (short) return `pool ${short.id} has ${short.available} of ${least}`;
      return page.pools.filter((pool) => pools.includes(pool.id)).reduce((fault, pool) => fault || wrongPool(pool), null);
    },
    name: POOLS,
  });
}

export function teardown(pools) {
  sameEverywhere();
  for (const id of pools) {
    let pool = readPool(id);
    // What clients have let lapse is closed within seconds.
    for (let tried = 0; pool !== null && pool.reserved + pool.lapsed > 0 && tried < 30; tried += 1) {
      sleep(0.5);
      pool = readPool(id);
    }
    const held = pool === null ? 'unknown' : pool.reserved + pool.lapsed + pool.allotted;
    check(held, { 'nothing is held at the end': (units) => units === 0 });
    if (held !== 0) {
      wrong.add(1);
      console.error(`pool ${id} ends with ${held} units held`);
    }
    if (pool !== null) unaccounted.add(-pool.used);
    send('PATCH', `${POOLS}/${id}`, { body: { paused: true }, name: `${POOLS}/{id}` });
    send('DELETE', `${POOLS}/${id}`, { name: `${POOLS}/{id}` });
  }
}
