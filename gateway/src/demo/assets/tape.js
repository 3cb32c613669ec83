// The protocol tape: every frame in both directions, newest last, bounded, secrets masked.

import { bytes, exactTime, h } from './dom.js';

const KEEP = 400;
const SHOW_MAX = 4_096;
const SECRETS = new Set(['csrfToken', 'token']);

/** The first four characters of a secret, so that two can be told apart. */
export const mask = (secret) => (typeof secret === 'string' && secret ? `${secret.slice(0, 4)}••••••••` : '—');

function masked(key, value) {
  return SECRETS.has(key) && typeof value === 'string' ? mask(value) : value;
}

// What parsing would change (a key said twice, broken JSON) is shown as it was sent, its secrets cut out by pattern.
function shown(text, message) {
  const whole = message && JSON.stringify(message) === text
    ? JSON.stringify(message, masked, 2)
    : text.replace(/("(?:csrfToken|token)"\s*:\s*")([^"]{4})[^"]*/g, '$1$2••••••••');
  return whole.length > SHOW_MAX ? `${whole.slice(0, SHOW_MAX)}… (${bytes(text.length)} in all)` : whole;
}

function parse(text) {
  try {
    const message = JSON.parse(text);
    return message && typeof message === 'object' ? message : null;
  } catch {
    return null;
  }
}

function summary(message) {
  const payload = message?.payload ?? {};
  if (message?.type === 'error') {
    return [payload.code, payload.message, payload.requestId].filter(Boolean).join(' · ');
  }
  const where = message?.to?.room ?? message?.room ?? message?.to?.user;
  return [where, typeof payload.text === 'string' ? `“${payload.text.slice(0, 80)}”` : null].filter(Boolean).join(' · ');
}

function entry({ direction, text, at, note }) {
  const message = note ? null : parse(text);
  const type = note ? 'connection' : String(message?.type ?? 'not JSON').slice(0, 40);
  const kind = note ? 'note' : type === 'error' ? 'error' : direction;
  const arrow = { in: '←', out: '→', error: '✕', note: '•' }[kind];
  const spoken = { in: 'received', out: 'sent', error: 'refused', note: 'connection' }[kind];
  const head = [
    h('span', { class: 'tape-time' }, exactTime(at)),
    h('span', { class: 'tape-arrow', 'aria-hidden': 'true' }, arrow),
    h('span', { class: 'visually-hidden' }, spoken),
    h('span', { class: 'tape-type' }, type),
    h('span', { class: 'tape-what' }, note ?? summary(message)),
  ];
  const dataset = { kind, quiet: String(type === 'health-check') };
  if (note) return h('li', { class: 'tape-entry', dataset }, h('div', { class: 'tape-head' }, ...head));
  head.push(h('span', { class: 'tape-size' }, bytes(new Blob([text]).size)));
  const details = h('details', {}, h('summary', { class: 'tape-head' }, ...head));
  details.addEventListener('toggle', () => {
    if (details.open && !details.querySelector('pre')) {
      details.append(h('pre', { tabindex: '0' }, shown(text, message)));
    }
  });
  return h('li', { class: 'tape-entry', dataset }, details);
}

export class Tape {
  #list;
  #pending = [];
  #paused = false;
  #filters = { kind: 'all', text: '', quiet: true };

  constructor(list, controls) {
    this.#list = list;
    controls.addEventListener('change', () => this.#refilter(controls));
    controls.addEventListener('input', () => this.#refilter(controls));
    controls.addEventListener('submit', (event) => event.preventDefault());
    controls.querySelector('[data-do=clear]').addEventListener('click', () => this.#list.replaceChildren());
    const pause = controls.querySelector('[data-do=pause]');
    pause.addEventListener('click', () => {
      this.#paused = !this.#paused;
      pause.setAttribute('aria-pressed', String(this.#paused));
      if (!this.#paused) this.#flush();
    });
  }

  /** Puts a frame on the tape; many in one animation frame cost one layout. */
  add(frame) {
    this.#pending.push(frame);
    if (this.#pending.length > KEEP) this.#pending.splice(0, this.#pending.length - KEEP);
    if (this.#pending.length === 1) setTimeout(() => this.#flush(), 30);
  }

  note(text) {
    this.add({ note: text, at: Date.now() });
  }

  #flush() {
    if (this.#paused) return;
    const list = this.#list;
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    const fresh = this.#pending.splice(0).map(entry);
    for (const item of fresh) item.hidden = !this.#passes(item);
    list.append(...fresh);
    while (list.childElementCount > KEEP) list.firstElementChild.remove();
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  #refilter(controls) {
    const data = new FormData(controls);
    this.#filters = {
      kind: data.get('kind') ?? 'all',
      text: String(data.get('find') ?? '').toLowerCase(),
      quiet: data.get('quiet') !== null,
    };
    for (const item of this.#list.children) item.hidden = !this.#passes(item);
    this.#list.scrollTop = this.#list.scrollHeight;
  }

  #passes(item) {
    const { kind, text, quiet } = this.#filters;
    if (quiet && item.dataset.quiet === 'true') return false;
    if (kind !== 'all' && item.dataset.kind !== kind) return false;
    return !text || item.textContent.toLowerCase().includes(text);
  }
}
