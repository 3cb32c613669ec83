// The demo page as people use it, in Chromium, against the gateway at PORTCULLIS_URL.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { BASE, OUT, enter, hears, inRoom, launch, person, say } from './browser.mjs';

let browser;
let people = [];
let run = 0;

before(async () => { browser = await launch(); });
after(() => browser?.close());
afterEach(async () => {
  const complaints = people.flatMap((who) => who.complaints);
  await Promise.all(people.map(({ context }) => context.close()));
  people = [];
  assert.deepEqual(complaints, [], 'no page broke its policy, threw, or left its origin');
});

async function someone(options) {
  const who = await person(browser, options);
  people.push(who);
  return who;
}

// a user of one's own for each test, so that no test meets another's session cap
const named = (name) => `${name} ${Date.now().toString(36)}${(run += 1)}`;

test('two users in two browsers talk in the lobby and see each other', async () => {
  const [ada, grace] = [await someone(), await someone()];
  const [adasName, gracesName] = [named('Ada'), named('Grace')];
  await enter(ada, adasName);
  await enter(grace, gracesName);
  const slug = (name) => name.toLowerCase().replace(' ', '-');
  await ada.page.locator('.person-name', { hasText: slug(gracesName) }).waitFor();
  await grace.page.locator('.person-name', { hasText: slug(adasName) }).waitFor();

  await say(ada.page, 'Is this the gate?');
  await hears(grace.page, 'Is this the gate?');
  const markup = 'Mind the <b>spikes</b> & the "moat"';
  await say(grace.page, markup);
  await hears(ada.page, markup);
  assert.equal(await ada.page.locator('#messages b').count(), 0, 'markup stays text');

  await ada.page.getByRole('button', { name: 'Disconnect' }).click();
  await ada.page.locator('html[data-state=idle]').waitFor();
  await grace.page.locator('.person-name', { hasText: slug(adasName) }).waitFor({ state: 'detached' });
});

test('the card shows the session, the limits, a round trip, and never a whole secret', async () => {
  const ada = await someone();
  let csrf = '';
  ada.page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
    csrf ||= JSON.parse(String(payload)).payload?.csrfToken ?? '';
  }));
  await enter(ada, named('Ada'));
  const { page } = ada;
  assert.match(await page.locator('#fact-session').textContent(), /^[0-9A-HJKMNP-TV-Z]{26}$/);
  assert.match(await page.locator('#fact-expiry').textContent(), /^in (59 min|1 h)/);
  await page.locator('#fact-rtt', { hasText: /ms/ }).waitFor();
  assert.ok(await page.locator('#limits dt').count() > 0, 'limits from the welcome');
  await page.getByRole('button', { name: 'A key twice' }).click();
  await page.locator('#attempt-key-twice[data-verdict=held]').waitFor();
  for (const summary of await page.locator('.tape-entry summary:visible').all()) await summary.click();
  await page.locator('#tape-list pre').first().waitFor();
  await page.locator('#tape-list pre', { hasText: '"type":"health-check","type":"chat"' }).waitFor(); // as it was sent
  assert.ok(csrf.length >= 16, 'the welcome carried a token');
  assert.ok(!(await page.locator('body').innerText()).includes(csrf), 'the CSRF token is masked everywhere');
});

test('every attempt to break in is refused with the code that it says', async () => {
  const { page } = await (async () => {
    const mallory = await someone();
    await enter(mallory, named('Mallory'));
    return mallory;
  })();
  await page.getByRole('button', { name: 'Try all' }).click();
  const cards = page.locator('.attempt');
  const total = await cards.count();
  assert.ok(total >= 24);
  const stages = new Set(await page.locator('.attempt .stage').allTextContents());
  for (const stage of ['size', 'flow', 'decode', 'csrf', 'role', 'rate', 'schema', 'signatures', 'sanitise', 'score', 'outbound']) {
    assert.ok(stages.has(stage), `${stage} is shown at work`);
  }
  await page.locator('#tally', { hasText: `of ${total}` }).waitFor({ timeout: 60_000 });
  const found = Object.fromEntries(await cards.evaluateAll((all) => all.map((card) => [
    card.id.replace('attempt-', ''),
    `${card.dataset.verdict} ${card.querySelector('.code')?.textContent}`,
  ])));
  const expected = {
    'csrf-wrong': 'held csrf_invalid',
    'csrf-missing': 'held csrf_invalid',
    'type-undeclared': 'held type_unknown',
    'member-unknown': 'held malformed',
    'key-twice': 'held malformed',
    'room-forbidden': 'held forbidden',
    role: 'held forbidden',
    'not-member': 'held not_member',
    token: 'held unauthenticated',
    sessions: 'held session_limit',
    schema: 'held schema_invalid',
    signature: 'held forbidden',
    lookup: 'held forbidden',
    path: 'held schema_invalid',
    html: 'held cleaned',
    leak: 'held masked',
    'leak-key': 'held masked',
    probing: 'held restricted',
    hurry: 'held rate_limited',
    flood: 'held rate_limited',
  };
  for (const [id, verdict] of Object.entries(expected)) assert.equal(found[id], verdict, id);
  for (const [id, verdict] of Object.entries(found)) assert.match(verdict, /^held /, `${id}: ${verdict}`);
  assert.match(await page.locator('#attempt-oversize .answer').innerText(), /1009/);
  assert.match(await page.locator('#attempt-flood .answer').innerText(), /Try again in/);
  await page.locator('#tape-list .tape-entry[data-kind=error]').first().waitFor();
});

test('a member may not send what an admin may', async () => {
  const root = await someone();
  await enter(root, named('Root'), { role: 'admin' });
  await root.page.getByRole('button', { name: 'Above your role' }).click();
  await root.page.locator('#attempt-role[data-verdict=allowed]').waitFor();
});

test('after an oversize message the page comes back and talks on', async () => {
  const ada = await someone();
  await enter(ada, named('Ada'));
  await ada.page.getByRole('button', { name: 'Oversize', exact: true }).click();
  await ada.page.locator('#attempt-oversize[data-verdict=held]').waitFor();
  await inRoom(ada.page);
  assert.equal(ada.sockets, 2, 'one connection before, one after');
  await say(ada.page, 'back again');
});

test('a kicked user is told why and does not come back by itself', async () => {
  const [ada, operator] = [await someone(), await someone()];
  await ada.page.clock.install();
  await enter(ada, named('Ada'));
  const session = await ada.page.locator('#fact-session').textContent();
  await operator.page.goto(`${BASE}/`);
  await operator.page.getByRole('button', { name: new RegExp(session) }).click();

  const banner = ada.page.getByRole('alert');
  await banner.waitFor();
  assert.match(await banner.innerText(), /session_terminated.*close 4409.*not reconnect/s);
  assert.equal(await ada.page.locator('html').getAttribute('data-state'), 'ended');
  await ada.page.clock.fastForward('10:00'); // past any back-off
  assert.equal(await ada.page.locator('html').getAttribute('data-state'), 'ended');
  assert.equal(ada.sockets, 1, 'no second connection');
  await operator.page.getByRole('button', { name: new RegExp(session) }).waitFor({ state: 'detached' });

  await ada.page.getByRole('button', { name: 'Connect again' }).click();
  await inRoom(ada.page);
});

test('the keyboard alone is enough, and focus is always to be seen', async () => {
  const { page } = await someone();
  await page.goto(`${BASE}/`);
  const name = named('Keyboard');
  await page.keyboard.type(name); // the name field has the focus, its text selected
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('ArrowRight'); // admin
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter'); // Connect
  await inRoom(page);
  await page.keyboard.type('no mouse was used'); // the composer has the focus
  await page.keyboard.press('Enter');
  await hears(page, 'no mouse was used', true);
  assert.equal(await page.locator('#fact-user').textContent(), name.toLowerCase().replace(' ', '-'));

  const seen = new Set();
  for (let n = 0; n < 80 && !seen.has('Try all'); n += 1) {
    await page.keyboard.press('Tab');
    const { label, ring } = await page.evaluate(() => {
      const on = document.activeElement;
      const drawn = on.type === 'radio' ? on.nextElementSibling : on;
      return { label: on.textContent.trim() || on.getAttribute('aria-label') || on.id, ring: getComputedStyle(drawn).outlineStyle };
    });
    seen.add(label);
    if (label) assert.notEqual(ring, 'none', `the focus on ${label} is drawn`);
  }
  assert.ok(seen.has('Send') && seen.has('Try all'), 'the tab order reaches the composer and the attempts');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Space'); // the first attempt
  await page.locator('#attempt-csrf-wrong[data-verdict=held]').waitFor();
});

test('the policy of the page runs no inline script and lets nobody frame it', async () => {
  const { page } = await person(browser);
  const answer = await page.goto(`${BASE}/`);
  const headers = answer.headers();
  assert.match(headers['content-security-policy'], /default-src 'none'.*frame-ancestors 'none'/);
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.equal(headers.server, undefined);
  const ran = await page.evaluate(() => {
    try {
      const script = document.createElement('script');
      script.append('globalThis.ran = true');
      document.head.append(script);
    } catch {
      // trusted types may refuse before the policy does
    }
    return globalThis.ran === true;
  });
  assert.equal(ran, false);
  await page.context().close();
});

for (const colorScheme of ['light', 'dark']) {
  test(`the page fits a wide and a narrow window, ${colorScheme}`, async () => {
    const [ada, grace] = [
      await someone({ colorScheme }),
      await someone({ colorScheme, viewport: { width: 360, height: 780 }, deviceScaleFactor: 2 }),
    ];
    await enter(ada, named('Ada'));
    await enter(grace, named('Grace'));
    await say(ada.page, 'Good evening. Is this the gate?');
    await say(grace.page, 'It is. You need a token, a room and some manners.');
    await hears(ada.page, 'It is. You need a token, a room and some manners.');
    await ada.page.getByRole('button', { name: 'Undeclared type' }).click();
    await ada.page.locator('#attempt-type-undeclared[data-verdict=held]').waitFor();
    for (const { page } of [ada, grace]) {
      const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(content <= window, `no sideways scrolling: ${content} in ${window}`);
    }
    const dark = await ada.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(dark, colorScheme === 'dark' ? 'rgb(16, 18, 23)' : 'rgb(243, 240, 233)');
    await ada.page.screenshot({ path: join(OUT, `wide-${colorScheme}.png`), fullPage: true });
    await grace.page.screenshot({ path: join(OUT, `narrow-${colorScheme}.png`), fullPage: true });

    await ada.page.getByRole('button', { name: /light and dark/ }).click();
    const chosen = await ada.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.notEqual(chosen, dark, 'the switch overrides the system’s preference');
    await ada.page.reload();
    assert.equal(await ada.page.evaluate(() => getComputedStyle(document.body).backgroundColor), chosen, 'and is remembered');
  });
}
