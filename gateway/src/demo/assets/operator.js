// The operator's card of the dev profile: who is connected to this node, and a way to end a session.

import { byId, h, shortTime } from './dom.js';

const EVERY_MS = 4_000;

async function post(path, body) {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  const value = await answer.json();
  if (!answer.ok) throw new Error(`${value.payload?.code ?? answer.status}: ${value.payload?.message ?? ''}`);
  return value;
}

/** A dev token for a name. */
export const mint = (name, role) => post('/demo/token', { name, role });

export class Operator {
  #client;
  #rows = byId('sessions');
  #said = byId('operator-said');

  constructor(client) {
    this.#client = client;
    byId('sessions-refresh').addEventListener('click', () => this.refresh());
    client.addEventListener('welcome', () => this.refresh());
    client.addEventListener('closed', () => this.refresh());
    setInterval(() => document.hidden || this.refresh(), EVERY_MS);
    this.refresh();
  }

  async refresh() {
    try {
      const answer = await fetch('/demo/sessions');
      if (!answer.ok) throw new Error(String(answer.status));
      this.#show(await answer.json());
    } catch {
      this.#rows.replaceChildren(h('tr', {}, h('td', { colspan: '4', class: 'quiet' }, 'The list is not to be had just now.')));
    }
  }

  #show(list) {
    const focused = document.activeElement?.dataset?.session;
    const mine = this.#client.state === 'open' ? this.#client.welcome?.sessionId : null;
    this.#rows.replaceChildren(...list.map(({ sessionId, user, since }) => h('tr', {},
      h('td', {}, user, sessionId === mine ? h('span', { class: 'chip' }, 'this window') : null),
      h('td', { class: 'mono wrap-any' }, sessionId),
      h('td', {}, shortTime(since)),
      h('td', {}, h('button', {
        type: 'button',
        class: 'small danger',
        dataset: { session: sessionId },
        'aria-label': `Kick ${user}, session ${sessionId}`,
        onclick: () => this.#kick(sessionId, user),
      }, 'Kick')))));
    if (list.length === 0) {
      this.#rows.append(h('tr', {}, h('td', { colspan: '4', class: 'quiet' }, 'No sessions.')));
    }
    if (focused) this.#rows.querySelector(`[data-session="${CSS.escape(focused)}"]`)?.focus();
  }

  async #kick(sessionId, user) {
    try {
      const { kicked } = await post('/demo/kick', { sessionId });
      this.#said.textContent = kicked ? `${user}’s session was ended.` : 'That session was gone already.';
    } catch (error) {
      this.#said.textContent = error.message;
    }
    this.refresh();
  }
}
