// The conversation: messages, who is here, what happened around them.

import { byId, h, shortTime } from './dom.js';

const KEEP = 300;
const BURST = 4;

export class Talk {
  #list = byId('messages');
  #people = byId('people');
  #count = byId('people-count');
  #empty = byId('talk-empty');
  #here = new Set();
  #last = null;
  #burst = { from: null, at: 0, count: 0, more: null };
  #me = { session: null, user: null };

  iAm(session, user) {
    this.#me = { session, user };
  }

  clear() {
    this.#list.replaceChildren();
    this.#last = null;
    this.#empty.hidden = false;
  }

  /** A message that came back from the gateway; the sender's own comes the same way. */
  say(message) {
    const from = message.from ?? {};
    if (this.#swallow(from.session, message.timestamp)) return;
    const own = from.session ? from.session === this.#me.session : from.user === this.#me.user;
    const text = typeof message.payload?.text === 'string' ? message.payload.text : JSON.stringify(message.payload);
    const run = this.#last?.from === from.session && message.timestamp - this.#last.at < 120_000;
    this.#last = { from: from.session, at: message.timestamp };
    const same = !own && from.user === this.#me.user;
    this.#add(h('li', { class: 'message', dataset: { own: String(own), run: String(run) } },
      h('div', { class: 'message-head' },
        h('span', { class: 'message-who' }, own ? 'You' : String(from.user ?? 'gateway'), same ? ' (your other window)' : ''),
        message.type !== 'chat' ? h('span', { class: 'chip' }, String(message.type)) : null),
      h('div', { class: 'message-line' },
        h('p', { class: 'message-text', dir: 'auto' }, text),
        h('span', { class: 'message-meta' },
          h('time', { datetime: new Date(message.timestamp).toISOString() }, shortTime(message.timestamp)),
          message.offset === undefined ? null : h('span', { title: 'place in the room’s order' }, ` #${message.offset}`),
          message.degraded ? h('span', { title: 'the store was not reached' }, ' degraded') : null))));
  }

  // More than a few messages of one sender within a second become one line that counts: a flood must not bury the rest.
  #swallow(from, at) {
    const burst = this.#burst;
    if (burst.from !== from || at - burst.at > 1_000) {
      this.#burst = { from, at, count: 1, more: null };
      return false;
    }
    burst.count += 1;
    if (burst.count <= BURST) return false;
    const text = `and ${burst.count - BURST} more in the same second`;
    if (burst.more) {
      burst.more.textContent = text;
    } else {
      burst.more = h('li', { class: 'event', 'aria-live': 'off' }, text);
      this.#add(burst.more);
    }
    this.#last = null;
    return true;
  }

  /** A line about the room or the connection; `kind` is `note` or `bad`. */
  note(text, kind = 'note') {
    this.#last = null;
    this.#add(h('li', { class: 'event', dataset: { kind } }, text));
  }

  #add(item) {
    this.#empty.hidden = true;
    const scroller = this.#list.parentElement;
    const atEnd = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 80;
    this.#list.append(item);
    while (this.#list.childElementCount > KEEP) this.#list.firstElementChild.remove();
    if (atEnd || item.dataset.own === 'true') scroller.scrollTop = scroller.scrollHeight;
  }

  /** A `presence` message: a list, or someone who comes or goes. */
  presence(payload) {
    const list = payload.users ?? payload.members;
    if (Array.isArray(list)) {
      this.#here = new Set(list.map((one) => String(one?.user ?? one)));
    } else {
      const joined = payload.event === 'joined' ? payload.user : payload.joined;
      const left = payload.event === 'left' ? payload.user : payload.left;
      const name = (who) => String(who?.user ?? who);
      if (joined && !this.#here.has(name(joined))) {
        this.#here.add(name(joined));
        if (name(joined) !== this.#me.user) this.note(`${name(joined)} came in`);
      }
      if (left && this.#here.delete(name(left))) this.note(`${name(left)} left`);
    }
    this.#showPeople();
  }

  nobody() {
    this.#here.clear();
    this.#showPeople();
  }

  #showPeople() {
    const names = [...this.#here].sort((a, b) => (b === this.#me.user) - (a === this.#me.user) || a.localeCompare(b));
    this.#count.textContent = names.length ? String(names.length) : '';
    this.#people.replaceChildren(...(names.length ? names : [null]).map((name) => name === null
      ? h('li', { class: 'quiet' }, 'Nobody yet.')
      : h('li', { class: 'person' },
        h('span', { class: 'avatar', 'aria-hidden': 'true', dataset: { tint: String(tint(name)) } }, [...name][0].toUpperCase()),
        h('span', { class: 'person-name' }, name), name === this.#me.user ? h('span', { class: 'quiet' }, 'you') : null)));
  }
}

function tint(name) {
  let sum = 0;
  for (const c of name) sum = (sum * 31 + c.codePointAt(0)) % 6;
  return sum;
}
