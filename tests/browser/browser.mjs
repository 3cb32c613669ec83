// One Chromium for the whole run, a fresh context for each person, and what every page is watched for.

import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

/** Where the gateway is; the run fails without it. */
export const BASE = (process.env.PORTCULLIS_URL ?? '').replace(/\/$/, '');
/** Where screenshots go. */
export const OUT = resolve(process.env.OUT ?? fileURLToPath(new URL('../../out/browser', import.meta.url)));

const ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts Chromium with a profile of its own that goes away with it. */
export async function launch() {
  if (!BASE) throw new Error('PORTCULLIS_URL is not set: the base URL of a running `portcullis-gateway dev`');
  await mkdir(OUT, { recursive: true });
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGS });
}

/**
 * Somebody at a browser: a context and a page. `person.complaints` collects what no page may do: script errors,
 * violations of the content security policy, requests to another origin. `person.sockets` counts WebSockets.
 */
export async function person(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  const who = { context, page, complaints: [], sockets: 0 };
  page.setDefaultTimeout(15_000);
  page.on('pageerror', (error) => who.complaints.push(`script error: ${error.message}`));
  page.on('console', (line) => {
    if (/content security policy|trusted ?(type|script|html)/i.test(line.text())) who.complaints.push(line.text());
  });
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== new URL(BASE).origin) who.complaints.push(`request to ${request.url()}`);
  });
  page.on('websocket', () => { who.sockets += 1; });
  return who;
}

/** Opens the page, takes a name and a role, connects, and waits until the room is joined. */
export async function enter({ page }, name, { role = 'member', room = 'lobby' } = {}) {
  await page.goto(`${BASE}/`);
  await page.getByLabel('Name', { exact: true }).fill(name);
  await page.getByLabel('Room', { exact: true }).fill(room);
  await page.getByLabel(role, { exact: true }).check();
  await page.getByRole('button', { name: 'Connect', exact: true }).click();
  await inRoom(page, room);
}

/** Waits until the page says that it is in the room. */
export async function inRoom(page, room = 'lobby') {
  await page.locator('html[data-state=open]').waitFor();
  await page.locator('#compose:not([inert])').waitFor();
  await page.locator('#room-name', { hasText: room }).waitFor();
}

/** Says something and waits until it has come back from the room. */
export async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
  await hears(page, text, true);
}

/** Waits until a message is on the page, as one's own or as another's. */
export async function hears(page, text, own = false) {
  await page.locator(`.message[data-own=${own}] .message-text`).getByText(text, { exact: true }).waitFor();
}
