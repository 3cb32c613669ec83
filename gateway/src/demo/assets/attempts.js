// What a hostile client would try. Each attempt says what it does, what has to happen, and does it for real.

import { endpoint, freshId, protocols } from './wire.js';

const WAIT_MS = 6_000;

/** A whole, correct chat message that an attempt may then spoil. */
function correct(client, room, extra = {}) {
  return {
    type: 'chat',
    id: freshId('try'),
    to: { room },
    payload: { text: 'knock knock' },
    csrfToken: client.csrf,
    timestamp: client.now(),
    ...extra,
  };
}

/**
 * Sends text and resolves with what the gateway makes of it: {code, message, requestId, retryAfter}, {taken: type} or
 * {closed}. An error without an id answers too: a message that could not be read has none.
 */
function provoke(client, text, id) {
  return new Promise((resolve) => {
    const stop = new AbortController();
    let refusal = null;
    const done = (outcome) => {
      stop.abort();
      clearTimeout(late);
      resolve(outcome);
    };
    const late = setTimeout(() => done(refusal ?? { silent: true }), WAIT_MS);
    client.addEventListener('message', ({ detail: { message } }) => {
      const answers = message.id === id || (message.type === 'error' && message.id === undefined);
      if (!answers) return;
      if (message.type === 'error') {
        refusal = message.payload ?? {};
        setTimeout(() => done(refusal), 150); // a close may follow
      } else {
        done({ taken: message.type });
      }
    }, { signal: stop.signal });
    client.addEventListener('closed', ({ detail: { code, text: why } }) =>
      done({ ...refusal, closed: code, why }), { signal: stop.signal });
    if (!client.raw(text)) done({ silent: true, message: 'Not connected.' });
  });
}

const spoilt = (spoil) => ({ client, room }) => {
  const message = correct(client, room);
  const text = spoil(message) ?? JSON.stringify(message);
  return provoke(client, text, message.id);
};

/** One more handshake outside the page's own client; resolves to the open socket, or to how it was refused. */
function handshake(token) {
  return new Promise((resolve) => {
    const socket = new WebSocket(endpoint(), protocols(token));
    let welcomed = false;
    socket.addEventListener('message', ({ data }) => {
      welcomed ||= String(data).includes('"welcome"');
      if (welcomed) resolve({ socket });
    });
    socket.addEventListener('close', ({ code }) => resolve({ closed: code, opened: welcomed }));
  });
}

async function oneTooMany({ token }) {
  const held = [];
  try {
    for (let n = 0; n < 8; n += 1) {
      const { socket, closed } = await handshake(await token());
      if (!socket) return { closed, http: 429, code: 'session_limit', message: `${held.length} more let in, then refused.` };
      held.push(socket);
    }
    return { taken: `${held.length} more sessions` };
  } finally {
    for (const socket of held) socket.close(1000, 'done');
  }
}

async function forgedToken({ token }) {
  const [head, , signature] = (await token()).split('.');
  const claims = btoa(JSON.stringify({ sub: 'root', roles: ['admin'], exp: Math.floor(Date.now() / 1000) + 600 }));
  const forged = [head, claims.replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, ''), signature].join('.');
  const { socket, closed } = await handshake(forged);
  socket?.close(1000, 'done');
  return socket ? { taken: 'the forged token' } : { closed, http: 401, code: 'unauthenticated', message: 'No upgrade.' };
}

function oversize({ client, room }) {
  const message = correct(client, room, { payload: { text: 'x'.repeat(70_000) } });
  client.expectClose(); // 1009 is no code to come back after by itself: here it was on purpose
  return provoke(client, JSON.stringify(message), message.id).finally(() => {
    if (client.state === 'open') client.expectClose(false);
  });
}

/** Two hundred messages at once; counts what became of them until all are answered or nothing comes any more. */
function flood({ client, room }) {
  return new Promise((resolve) => {
    const ids = new Set();
    const stop = new AbortController();
    let taken = 0;
    let refused = null;
    let quiet = 0;
    const done = (extra = {}) => {
      stop.abort();
      clearTimeout(quiet);
      const message = `${taken} of 200 taken, ${200 - taken} not.`;
      resolve(refused || extra.closed ? { ...refused, ...extra, message } : { taken: `all of ${taken}` });
    };
    client.addEventListener('message', ({ detail: { message } }) => {
      if (!ids.has(message.id) || message.from) return;
      if (message.type === 'error') refused = message.payload;
      else taken += 1;
      ids.delete(message.id);
      clearTimeout(quiet);
      quiet = setTimeout(done, ids.size ? 1_500 : 0);
    }, { signal: stop.signal });
    client.addEventListener('closed', ({ detail }) => done({ closed: detail.code, why: detail.text }), { signal: stop.signal });
    client.expectClose(); // enough of this may end the connection: then come back
    for (let n = 0; n < 200; n += 1) {
      const message = correct(client, room, { id: freshId('flood'), payload: { text: `flood ${n}` } });
      ids.add(message.id);
      client.raw(JSON.stringify(message));
    }
    quiet = setTimeout(done, WAIT_MS);
  }).finally(() => client.state === 'open' && client.expectClose(false));
}

const nested = (levels) => '{"a":'.repeat(levels) + '1' + '}'.repeat(levels);

/** `expect`: the codes that are right; `close`: the close code that is; `admin`: what is right for an admin instead. */
export const ATTEMPTS = [
  {
    id: 'csrf-wrong', title: 'Wrong CSRF token', what: 'Sends a chat message with a token that was never issued.',
    expect: ['csrf_invalid'], run: spoilt((m) => { m.csrfToken = 'AAAAAAAAAAAAAAAAAAAAAA'; }),
  },
  {
    id: 'csrf-missing', title: 'No CSRF token', what: 'Leaves the token out: undefined must not equal undefined.',
    expect: ['csrf_invalid'], run: spoilt((m) => { delete m.csrfToken; }),
  },
  {
    id: 'type-undeclared', title: 'Undeclared type', what: 'Sends “launch_missiles”, which the configuration does not know.',
    expect: ['type_unknown'], run: spoilt((m) => { m.type = 'launch_missiles'; }),
  },
  {
    id: 'member-unknown', title: 'Unknown member', what: 'Adds "admin": true beside the type.',
    expect: ['malformed'], run: spoilt((m) => { m.admin = true; }),
  },
  {
    id: 'key-twice', title: 'A key twice', what: 'Says "type" twice, so that two parsers would read two messages.',
    expect: ['malformed'], run: spoilt((m) => JSON.stringify(m).replace('{', '{"type":"health-check",')),
  },
  {
    id: 'proto', title: 'Prototype pollution', what: 'Hides a __proto__ key in the payload.',
    expect: ['malformed', 'schema_invalid'],
    run: spoilt((m) => JSON.stringify(m).replace('"payload":{', '"payload":{"__proto__":{"admin":true},')),
  },
  {
    id: 'depth', title: 'Nested too deep', what: 'A payload that makes the message seventeen levels deep.',
    expect: ['malformed'],
    run: spoilt((m) => JSON.stringify(m).replace('"payload":{', `"payload":{"deep":${nested(15)},`)),
  },
  {
    id: 'stale', title: 'Stale time', what: 'Replays a message with a timestamp ten minutes old.',
    expect: ['malformed', 'schema_invalid'], run: spoilt((m) => { m.timestamp -= 600_000; }),
  },
  {
    id: 'room-forbidden', title: 'Someone else’s room', what: 'Joins team.red; the token names only team blue.',
    expect: ['forbidden'],
    run: spoilt((m) => { m.type = 'join'; m.to = { room: 'team.red' }; delete m.payload; }),
  },
  {
    id: 'role', title: 'Above your role', what: 'Sends a “notification”, which only admins may.',
    expect: ['forbidden'], admin: 'You are an admin: it is allowed. Connect as a member to see it refused.',
    run: spoilt((m) => { m.type = 'notification'; m.payload = { text: 'from a member?' }; }),
  },
  {
    id: 'not-member', title: 'Talk without joining', what: 'Publishes to team.blue, open to you but not joined.',
    expect: ['not_member'], run: spoilt((m) => { m.to = { room: m.to.room === 'team.blue' ? 'lobby' : 'team.blue' }; }),
  },
  { id: 'token', title: 'Forged token', what: 'Opens a second connection with claims of its own under your signature.', expect: ['unauthenticated'], handshake: true, run: forgedToken },
  { id: 'sessions', title: 'One session too many', what: 'Opens sessions of your user until one is refused, then closes them.', expect: ['session_limit'], handshake: true, run: oneTooMany },
  { id: 'oversize', title: 'Oversize', what: 'One message of 70 KB; the limit is 64 KiB. The connection ends; the page comes back.', expect: ['too_large'], close: 1009, run: oversize },
  { id: 'flood', title: 'Flood', what: '200 messages at once, far over the rate.', expect: ['rate_limited', 'restricted'], close: 4429, run: flood },
];
