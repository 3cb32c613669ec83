// What the close codes of `portcullis.v1` mean to a client, and what the page says about them.

/** `again`: the client may connect again by itself. */
export const CLOSES = {
  1000: { again: false, text: 'Closed, as asked.' },
  1001: { again: true, text: 'The gateway is going away.' },
  1002: { again: false, text: 'Protocol error.' },
  1003: { again: false, text: 'A kind of data that the gateway does not take.' },
  1005: { again: false, text: 'Closed, as asked.' },
  1006: { again: true, text: 'The connection broke, or the gateway refused the handshake: a browser does not say which.' },
  1007: { again: false, text: 'Text that is not UTF-8.' },
  1008: { again: false, text: 'Against policy.' },
  1009: { again: false, text: 'A message over the size limit.' },
  1011: { again: true, text: 'Something went wrong inside the gateway.' },
  1012: { again: true, text: 'The node restarts.' },
  1013: { again: true, text: 'The gateway is busy.' },
  4401: { again: false, text: 'The token is not valid any more. Connect again to get a new one.' },
  4403: { again: false, text: 'You are not allowed in.' },
  4408: { again: true, text: 'Idle for too long, or no answer to a ping.' },
  4409: { again: false, text: 'The session was ended, by an operator or by a newer session.' },
  4429: { again: true, text: 'Too many messages, too often.' },
  4508: { again: true, text: 'This page read too slowly.' },
};

/** Unknown codes are not guessed at: the page stays disconnected. */
export const closeInfo = (code) => CLOSES[code] ?? { again: false, text: 'Closed.' };

/** Delay before attempt `n` (from 0) in ms: full jitter over a doubling window, between 0.5 s and 30 s. */
export function backoff(n, random = Math.random) {
  const window = Math.min(30_000, 1_000 * 2 ** Math.min(n, 10));
  return Math.round(500 + random() * window);
}
