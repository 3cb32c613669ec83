// A second connection of the same user, beside the page's own: for attempts that would get the page itself restricted,
// and for messages that nobody else should see.

import { endpoint, freshId, protocols } from './wire.js';

const WAIT_MS = 6_000;

/** Opens one and resolves when it was welcomed; rejects with the close code of a refused handshake. */
export async function aside(token) {
  const socket = new WebSocket(endpoint(), protocols(token));
  const heard = [];
  let wake = () => {};
  let over = null;
  socket.addEventListener('message', ({ data }) => {
    heard.push(JSON.parse(data));
    wake();
  });
  socket.addEventListener('close', ({ code }) => {
    over = code;
    wake();
  });

  /** The first message for which `fits` is true, of those that were not taken yet; null when none comes, or the end does. */
  async function hear(fits) {
    const until = Date.now() + WAIT_MS;
    for (;;) {
      const at = heard.findIndex(fits);
      if (at >= 0) return heard.splice(at, 1)[0];
      if (over !== null || Date.now() > until) return null;
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, 100);
      });
    }
  }

  const welcome = await hear(({ type }) => type === 'welcome');
  if (!welcome) throw new Error(`no welcome (close ${over})`);
  const skew = welcome.timestamp - Date.now();
  /** Sends and answers the id. */
  const send = (message) => {
    const id = freshId('aside');
    const common = { id, csrfToken: welcome.payload.csrfToken, timestamp: Math.round(Date.now() + skew) };
    if (over === null) socket.send(JSON.stringify({ ...common, ...message }));
    return id;
  };
  return {
    hear,
    send,
    /** Sends and resolves to the answer of this id; null when the connection ends first. */
    ask: (message) => {
      const id = send(message);
      return hear((answer) => answer.id === id && !answer.from);
    },
    ended: () => over,
    leave: () => socket.close(1000, 'done'),
  };
}
