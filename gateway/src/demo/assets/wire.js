// The client: one WebSocket at a time, CSRF token, answers by id, reconnection as the close code says.

import { backoff, closeInfo } from './codes.js';

const PROTOCOL = 'portcullis.v1.json';
const GIVE_UP_AFTER = 8;
const ANSWER_MS = 8_000;
// An error that comes so shortly before a close is the reason for it.
const REASON_MS = 1_000;

let counter = 0;
/** A fresh client message id; the prefix says what it is for. */
export const freshId = (prefix = 'm') => `${prefix}-${Date.now().toString(36)}-${(counter += 1)}`;

/** `ws://…/ws` of this page's own origin. */
export const endpoint = () => `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/ws`;

/** The subprotocols that carry a token through a browser's handshake. */
export const protocols = (token, resume) =>
  [PROTOCOL, `bearer.${token}`, ...(resume ? [`resume.${resume}`] : [])];

function detail(name, value) {
  return new CustomEvent(name, { detail: value });
}

/**
 * Events: `state` {state, text, retryIn?}, `frame` {direction, text, at}, `welcome` {payload}, `message` {message},
 * `closed` {code, reason, again}.
 * States: idle, connecting, open, waiting, ended.
 */
export class Client extends EventTarget {
  #socket = null;
  #getToken;
  #csrf = null;
  #resume = null;
  #tries = 0;
  #timer = 0;
  #comeBackAt = 0;
  #lastError = null;
  #forced = false;
  #skew = 0;
  state = 'idle';
  welcome = null;

  /** `getToken(fresh)` resolves to a JWT. */
  constructor(getToken) {
    super();
    this.#getToken = getToken;
  }

  /** The gateway’s time as far as its welcome told it: a machine whose clock is wrong is not refused for that. */
  now() {
    return Math.round(Date.now() + this.#skew);
  }

  get csrf() {
    return this.#csrf;
  }

  /** Connects because a person asked for it: the count of tries starts anew. */
  async connect() {
    this.#tries = 0;
    this.#resume = null;
    this.#comeBackAt = 0;
    await this.#open(true);
  }

  /** The next close, whatever its code, is followed by a new connection: for attempts that end the connection. */
  expectClose(expected = true) {
    this.#forced = expected;
  }

  disconnect() {
    clearTimeout(this.#timer);
    this.#resume = null;
    const socket = this.#socket;
    if (socket && socket.readyState <= WebSocket.OPEN) socket.close(1000, 'done');
    if (!socket || this.state === 'waiting') this.#become('idle', 'Not connected');
  }

  async #open(fresh) {
    clearTimeout(this.#timer);
    if (this.#socket) return;
    this.#lastError = null;
    this.#become('connecting', 'Connecting…');
    let token;
    try {
      token = await this.#getToken(fresh);
    } catch (error) {
      this.#become('ended', `No token: ${error.message}`);
      return;
    }
    if (this.state !== 'connecting' || this.#socket) return;
    const socket = new WebSocket(endpoint(), protocols(token, this.#resume));
    this.#socket = socket;
    socket.addEventListener('message', (event) => this.#received(event.data));
    socket.addEventListener('close', (event) => this.#closed(event));
  }

  #received(data) {
    if (typeof data !== 'string') return;
    this.dispatchEvent(detail('frame', { direction: 'in', text: data, at: Date.now() }));
    let message;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (message.type === 'welcome') this.#welcomed(message.payload ?? {}, message.timestamp);
    else if (message.type === 'csrf') this.#csrf = message.payload?.token ?? this.#csrf;
    else if (message.type === 'error') this.#lastError = { payload: message.payload ?? {}, at: Date.now() };
    else if (message.type === 'reconnect') this.#told(Number(message.payload?.after) || 0);
    this.dispatchEvent(detail('message', { message }));
  }

  #welcomed(payload, sentAt) {
    this.#skew = Number.isFinite(sentAt) ? sentAt - Date.now() : 0;
    this.#csrf = payload.csrfToken ?? null;
    this.#resume = payload.resume?.token ?? null;
    this.#tries = 0;
    this.#comeBackAt = 0;
    this.welcome = payload;
    this.#become('open', 'Connected');
    this.dispatchEvent(detail('welcome', { payload }));
  }

  #told(after) {
    this.#comeBackAt = Date.now() + after;
    const socket = this.#socket;
    setTimeout(() => {
      if (socket !== this.#socket || socket?.readyState !== WebSocket.OPEN) return;
      this.#forced = true;
      // 1000 would end the session; a close without a code leaves it to be resumed
      socket.close();
    }, after);
  }

  #closed({ code, reason }) {
    this.#socket = null;
    this.#csrf = null;
    const info = closeInfo(code);
    const again = (info.again || this.#forced) && this.#tries < GIVE_UP_AFTER;
    this.#forced = false;
    if (!info.again && !this.#comeBackAt) this.#resume = null;
    const error = this.#lastError && Date.now() - this.#lastError.at < REASON_MS ? this.#lastError.payload : null;
    this.dispatchEvent(detail('closed', { code, reason, again, error, text: info.text }));
    if (!again) {
      this.#become(code === 1000 ? 'idle' : 'ended', code === 1000 ? 'Not connected' : info.text);
      return;
    }
    const wait = this.#comeBackAt ? Math.max(0, this.#comeBackAt - Date.now()) : backoff(this.#tries);
    this.#comeBackAt = 0;
    this.#tries += 1;
    this.#become('waiting', `${info.text} Trying again.`, wait);
    this.#timer = setTimeout(() => this.#open(false), wait);
  }

  #become(state, text, retryIn) {
    this.state = state;
    this.dispatchEvent(detail('state', { state, text, retryIn }));
  }

  /** Sends text exactly as it is. False when there is no open connection. */
  raw(text) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(text);
    this.dispatchEvent(detail('frame', { direction: 'out', text, at: Date.now() }));
    return true;
  }

  /** Completes a message with id, CSRF token and time, and sends it; returns the id, or null when not connected. */
  send(message) {
    const whole = { id: freshId(), ...message, csrfToken: this.#csrf, timestamp: this.now() };
    return this.raw(JSON.stringify(whole)) ? whole.id : null;
  }

  /** Sends and waits for the message that carries the same id. Rejects with the `error` payload, or when none comes. */
  ask(message) {
    return new Promise((resolve, reject) => {
      const id = message.id ?? freshId();
      const stop = new AbortController();
      const settle = (how, value) => {
        stop.abort();
        clearTimeout(late);
        how(value);
      };
      const late = setTimeout(() => settle(reject, { code: 'no answer', message: 'No answer came.' }), ANSWER_MS);
      this.addEventListener('message', ({ detail: { message: answer } }) => {
        if (answer.id !== id) return;
        if (answer.type === 'error') settle(reject, answer.payload ?? {});
        else settle(resolve, answer);
      }, { signal: stop.signal });
      this.addEventListener('closed', ({ detail: { code, text } }) =>
        settle(reject, { code: `closed ${code}`, message: text }), { signal: stop.signal });
      if (!this.send({ ...message, id })) settle(reject, { code: 'not connected', message: 'Not connected.' });
    });
  }
}
