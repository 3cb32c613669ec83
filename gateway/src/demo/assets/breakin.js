// The cards of the attempts: a button, what has to happen, what did.

import { ATTEMPTS } from './attempts.js';
import { byId, duration, h } from './dom.js';

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** What an outcome amounts to: `held` (refused as it should be), `allowed` (rightly), `odd` (otherwise). */
export function verdict(attempt, outcome, isAdmin) {
  if (outcome.taken && attempt.admin && isAdmin) return 'allowed';
  if (attempt.expect.includes(outcome.code)) return 'held';
  if (attempt.close !== undefined && outcome.closed === attempt.close) return 'held';
  return 'odd';
}

function describe(attempt, outcome) {
  const parts = [];
  if (outcome.http) {
    if (outcome.message) parts.push(outcome.message);
    parts.push(`The page sees only close ${outcome.closed}; the gateway answers HTTP ${outcome.http}.`);
    return parts.join(' ');
  }
  if (outcome.taken) return attempt.admin ?? `Taken: answered by ${outcome.taken}.`;
  if (outcome.message) parts.push(outcome.message);
  if (outcome.retryAfter !== undefined) parts.push(`Try again in ${duration(outcome.retryAfter)}.`);
  if (outcome.closed) parts.push(`Connection closed with ${outcome.closed}.`);
  if (outcome.silent) parts.push('No answer.');
  return parts.join(' ');
}

export class BreakIn {
  #context;
  #cards = new Map();
  #running = false;
  #tally = byId('tally');
  #all = byId('try-all');

  /** `context` gives {client, room(), token(), isAdmin()}. */
  constructor(context) {
    this.#context = context;
    byId('attempts').replaceChildren(...ATTEMPTS.map((attempt) => this.#card(attempt)));
    this.#all.addEventListener('click', () => this.#tryAll());
    context.client.addEventListener('state', () => this.enable());
    this.enable();
  }

  #card(attempt) {
    const expected = [...attempt.expect.slice(0, 1), ...(attempt.close === 1009 ? ['close 1009'] : [])];
    const button = h('button', { type: 'button', class: 'try', 'aria-describedby': `what-${attempt.id}` }, attempt.title);
    button.addEventListener('click', () => this.#run(attempt));
    const answer = h('div', { class: 'answer', role: 'status' });
    const card = h('li', { class: 'attempt', id: `attempt-${attempt.id}` },
      button,
      h('div', {},
        h('p', { class: 'what', id: `what-${attempt.id}` }, attempt.what),
        h('p', { class: 'expect' }, 'Stage ', h('code', { class: 'stage' }, attempt.stage), ', expect ', ...expected.flatMap((code, i) => [i ? ', ' : '', h('code', {}, code)]))),
      answer);
    this.#cards.set(attempt.id, { card, button, answer });
    return card;
  }

  #ready() {
    return this.#context.client.state === 'open' && this.#context.room() !== null;
  }

  /** Shows whether attempts are possible: connected, in a room, none running. */
  enable() {
    const ready = this.#ready() && !this.#running;
    for (const { button } of this.#cards.values()) button.setAttribute('aria-disabled', String(!ready));
    this.#all.setAttribute('aria-disabled', String(!ready));
  }

  async #run(attempt, inSeries = false) {
    if (!this.#ready() || (this.#running && !inSeries)) return;
    this.#running = true;
    this.enable();
    const { card, answer } = this.#cards.get(attempt.id);
    card.dataset.verdict = 'running';
    answer.replaceChildren('Trying…');
    const { client, room, token, isAdmin } = this.#context;
    let outcome;
    try {
      outcome = await attempt.run({ client, room: room(), token });
    } catch (error) {
      outcome = { silent: true, message: error.message };
    }
    const found = verdict(attempt, outcome, isAdmin());
    card.dataset.verdict = found;
    const code = outcome.code ?? (outcome.closed ? `close ${outcome.closed}` : outcome.taken ? 'taken' : 'no answer');
    answer.replaceChildren(
      h('p', { class: 'answer-code' },
        h('strong', {}, { held: outcome.changed ? 'Changed' : 'Refused', allowed: 'Allowed', odd: 'Unexpected' }[found]), ' ',
        h('code', { class: 'code' }, code)),
      h('p', { class: 'answer-text' }, describe(attempt, outcome)),
      ...(outcome.requestId ? [h('p', { class: 'answer-id mono', title: 'request id: the gateway’s log knows more under it' },
        h('span', { class: 'visually-hidden' }, 'request id '), outcome.requestId)] : []));
    this.#running = inSeries;
    this.#count();
    this.enable();
  }

  #count() {
    const verdicts = [...this.#cards.values()].map(({ card }) => card.dataset.verdict);
    const tried = verdicts.filter((v) => v && v !== 'running');
    const held = tried.filter((v) => v === 'held').length;
    this.#tally.textContent = tried.length ? `${held} of ${tried.length} held` : '';
  }

  async #tryAll() {
    if (this.#all.getAttribute('aria-disabled') === 'true') return;
    this.#running = true;
    for (const attempt of ATTEMPTS) {
      for (let n = 0; n < 100 && !this.#ready(); n += 1) await pause(100);
      if (!this.#ready()) break;
      await this.#run(attempt, true);
    }
    this.#running = false;
    this.enable();
  }
}
