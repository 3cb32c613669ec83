// The page, put together: form, client, conversation, cards, tape.

import { BreakIn } from './breakin.js';
import { byId, duration } from './dom.js';
import { mint, Operator } from './operator.js';
import { Panel } from './panel.js';
import { Talk } from './talk.js';
import { Tape } from './tape.js';
import { Client } from './wire.js';

const NAMES = ['Ada', 'Grace', 'Radia', 'Edsger', 'Barbara', 'Hedy', 'Alan', 'Katherine'];
const LABELS = { idle: 'Not connected', connecting: 'Connecting', open: 'Connected', waiting: 'Reconnecting', ended: 'Closed' };

const form = byId('enter');
const fields = { name: byId('name'), room: byId('room') };
const composer = byId('compose');
const line = byId('line');
const talk = new Talk();
const tape = new Tape(byId('tape-list'), byId('tape-controls'));

let held = null; // the newest token: {token, expiresAt, user}
let room = null; // joined
let place = null; // {room, offset, epoch} of the last delivery, to ask for what was missed
let countdown = 0;

const role = () => form.elements.role.value; // FormData would leave out what is disabled
let chosen = { name: '', role: 'member' };

async function token(fresh = false) {
  if (fresh) chosen = { name: fields.name.value.trim(), role: role() };
  if (fresh || !held || held.expiresAt - Date.now() < 60_000) held = await mint(chosen.name, chosen.role);
  return held.token;
}

const client = new Client(token);
const panel = new Panel(client);

async function join(tries = 0) {
  const wanted = fields.room.value.trim() || 'lobby';
  const since = place?.room === wanted ? { since: { offset: place.offset, epoch: place.epoch } } : null;
  try {
    const ack = await client.ask({ type: 'join', to: { room: wanted }, ...(since ? { payload: since } : {}) });
    room = wanted;
    byId('room-name').textContent = wanted;
    composer.inert = false;
    breakIn.enable();
    const recovered = since && ack.payload?.recovered === false ? ' Some messages were missed.' : '';
    talk.note(`You are in ${wanted}.${recovered}`);
    if (document.activeElement === document.body || form.contains(document.activeElement)) line.focus();
    talk.presence((await client.ask({ type: 'presence', to: { room } })).payload ?? {});
  } catch (error) {
    if (error.code === 'rate_limited' && tries < 5) {
      setTimeout(() => client.state === 'open' && !room && join(tries + 1), (error.retryAfter ?? 1_000) + 100);
      return;
    }
    talk.note(`${wanted}: ${error.code}. ${error.message ?? ''}`, 'bad');
  }
}

async function renew() {
  try {
    held = await mint(chosen.name, chosen.role);
    const ack = await client.ask({ type: 'token_refresh', payload: { token: held.token } });
    panel.expires(ack.payload?.expiresAt ?? held.expiresAt);
  } catch (error) {
    talk.note(`The token was not renewed: ${error.code ?? error.message}.`, 'bad');
  }
}

function received(message) {
  if (message.type === 'presence' && message.room === room && !message.id) talk.presence(message.payload ?? {});
  else if (message.type === 'token_expiring') renew();
  else if (message.type === 'reconnect') talk.note(`Told to come back in ${duration(Number(message.payload?.after) || 0)}.`);
  if (!message.from || message.type === 'presence') return;
  if (message.offset !== undefined && message.room === room) place = { room, offset: message.offset, epoch: message.epoch };
  talk.say(message);
}

function showState({ state, text, retryIn }) {
  document.documentElement.dataset.state = state;
  byId('state').textContent = LABELS[state];
  clearInterval(countdown);
  const detail = byId('state-detail');
  detail.textContent = state === 'open' || state === 'idle' ? '' : text;
  if (state === 'waiting') {
    const at = Date.now() + retryIn;
    const tick = () => { byId('retry').textContent = `Next try in ${duration(Math.max(0, at - Date.now()))}.`; };
    tick();
    countdown = setInterval(tick, 1_000);
  } else {
    byId('retry').textContent = '';
  }
  const busy = state === 'open' || state === 'connecting' || state === 'waiting';
  byId('go').textContent = busy ? (state === 'open' ? 'Disconnect' : 'Stop') : 'Connect';
  byId('go').dataset.on = String(busy);
  for (const input of form.querySelectorAll('input')) input.disabled = busy;
  byId('renew').setAttribute('aria-disabled', String(state !== 'open'));
  if (state !== 'open') composer.inert = true;
}

function ended({ code, again, error, text }) {
  room = null;
  talk.nobody();
  const why = error ? ` The gateway said ${error.code}: ${error.message}` : '';
  tape.note(`closed with ${code}${again ? ', coming back' : ''}`);
  if (code === 1000 && !again) talk.note('You left.');
  else talk.note(`Closed with ${code}. ${text}${why}${again ? '' : ' The page will not reconnect by itself.'}`, 'bad');
  const banner = byId('banner');
  banner.hidden = again || code === 1000;
  if (banner.hidden) return;
  byId('banner-code').textContent = [error?.code, `close ${code}`].filter(Boolean).join(' · ');
  byId('banner-text').textContent = `${text} This page will not reconnect by itself.`;
}

form.addEventListener('submit', (event) => {
  event.preventDefault();
  if (client.state === 'idle' || client.state === 'ended') client.connect();
  else client.disconnect();
});
composer.addEventListener('submit', async (event) => {
  event.preventDefault();
  const text = line.value.trim();
  if (!text || !room) return;
  line.value = '';
  line.focus();
  try {
    await client.ask({ type: 'chat', to: { room }, payload: { text } });
  } catch (error) {
    const retry = error.retryAfter === undefined ? '' : ` Try again in ${duration(error.retryAfter)}.`;
    talk.note(`Not sent: ${error.code}. ${error.message ?? ''}${retry}`, 'bad');
    if (!line.value) line.value = text;
  }
});
byId('banner-again').addEventListener('click', () => client.connect());
byId('renew').addEventListener('click', () => client.state === 'open' && renew());
byId('second').addEventListener('click', () => {
  const other = NAMES.find((name) => name.toLowerCase() !== fields.name.value.trim().toLowerCase());
  const query = new URLSearchParams({ name: other, room: fields.room.value.trim() || 'lobby', enter: '1' });
  window.open(`${location.pathname}?${query}`, '_blank', 'noopener');
});
byId('theme').addEventListener('click', () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  try {
    localStorage.setItem('portcullis-theme', root.dataset.theme);
  } catch {
    // not remembered, then
  }
});

client.addEventListener('state', ({ detail }) => showState(detail));
client.addEventListener('frame', ({ detail }) => tape.add(detail));
client.addEventListener('closed', ({ detail }) => ended(detail));
client.addEventListener('message', ({ detail }) => received(detail.message));
client.addEventListener('welcome', ({ detail: { payload } }) => {
  byId('banner').hidden = true;
  talk.iAm(payload.sessionId, payload.userId);
  tape.note(`${payload.resume?.resumed ? 'went on at' : 'connected to'} ${payload.node ?? 'the gateway'}`);
  join();
});

const breakIn = new BreakIn({ client, room: () => room, token, isAdmin: () => chosen.role === 'admin' });
new Operator(client);
showState({ state: 'idle', text: '' });

const query = new URLSearchParams(location.search);
fields.name.value = query.get('name') ?? NAMES[Math.floor(Math.random() * NAMES.length)];
fields.room.value = query.get('room') ?? 'lobby';
if (query.get('enter') === '1') client.connect();
else fields.name.select();
