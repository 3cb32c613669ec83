// The connection card: what the welcome said, how long the token lives, how long a round trip takes.

import { byId, bytes, duration, h } from './dom.js';
import { mask } from './tape.js';

const EVERY_MS = 5_000;
const POINTS = 40;

function limitText(key, value) {
  if (value && typeof value === 'object' && 'count' in value) {
    const shown = key === 'bytes' ? bytes : String;
    return `${shown(value.count)} in ${duration(value.period)}, ${shown(value.burst)} at once`;
  }
  if (typeof value === 'number' && /bytes|size/i.test(key)) return bytes(value);
  if (typeof value === 'number' && /Ms$/.test(key)) return duration(value);
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

// maxMessageBytes → max message bytes
const words = (key) => key.replace(/(Bytes|Ms)$/, '').replace(/([A-Z])/g, ' $1').toLowerCase();

export class Panel {
  #client;
  #samples = [];
  #expiresAt = 0;
  #timer = 0;

  constructor(client) {
    this.#client = client;
    client.addEventListener('welcome', ({ detail }) => this.#welcomed(detail.payload));
    client.addEventListener('closed', () => this.#stop());
    client.addEventListener('message', ({ detail: { message } }) => {
      if (message.type === 'csrf') this.#set('csrf', mask(client.csrf));
    });
    setInterval(() => this.#countdown(), 1_000);
  }

  /** The token was renewed, or the gateway said when it ends. */
  expires(at) {
    this.#expiresAt = at;
    this.#countdown();
  }

  #set(name, text) {
    byId(`fact-${name}`).textContent = text;
  }

  #welcomed(payload) {
    this.#set('session', payload.sessionId ?? '—');
    this.#set('user', payload.userId ?? '—');
    this.#set('node', payload.node ?? '—');
    this.#set('csrf', mask(payload.csrfToken));
    this.#set('heartbeat', payload.heartbeat ? `a ping after ${duration(payload.heartbeat)} of silence` : '—');
    this.#set('resume', payload.resume?.resumed ? 'resumed' : payload.resume?.token ? 'possible' : 'new session each time');
    this.expires(payload.expiresAt ?? 0);
    const limits = Object.entries(payload.limits ?? {}).slice(0, 16);
    byId('limits').replaceChildren(...limits.flatMap(([key, value]) =>
      [h('dt', {}, words(key)), h('dd', {}, limitText(key, value))]));
    byId('limits-title').hidden = limits.length === 0;
    this.#samples = [];
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#measure(), EVERY_MS);
    this.#measure();
  }

  #stop() {
    clearInterval(this.#timer);
    this.#expiresAt = 0;
    for (const name of ['session', 'user', 'node', 'csrf', 'heartbeat', 'resume', 'expiry', 'rtt']) this.#set(name, '—');
    this.#samples = [];
    this.#draw();
  }

  async #measure() {
    if (document.hidden || this.#client.state !== 'open') return;
    const sent = performance.now();
    try {
      await this.#client.ask({ type: 'health-check' });
    } catch {
      return; // refused (the flood's doing) or gone: the tape shows it
    }
    this.#samples.push(performance.now() - sent);
    if (this.#samples.length > POINTS) this.#samples.shift();
    this.#draw();
  }

  #draw() {
    const line = byId('spark-line');
    const last = this.#samples.at(-1);
    const top = Math.max(...this.#samples, 1);
    const step = 120 / (POINTS - 1);
    const start = POINTS - this.#samples.length;
    line.setAttribute('points', this.#samples.map((ms, i) =>
      `${((start + i) * step).toFixed(1)},${(26 - (ms / top) * 22).toFixed(1)}`).join(' '));
    if (last !== undefined) this.#set('rtt', last < 10 ? `${last.toFixed(1)} ms` : `${Math.round(last)} ms`);
  }

  #countdown() {
    if (this.#expiresAt) this.#set('expiry', `in ${duration(this.#expiresAt - this.#client.now())}`);
  }
}
