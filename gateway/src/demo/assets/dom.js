// The only way this page makes elements: text goes in as text, never as markup.

const SVG = 'http://www.w3.org/2000/svg';

/** Makes an element; `props` are attributes, but for `class`, `dataset` and `on…` listeners; children are nodes or text. */
export function h(tag, props = {}, ...children) {
  const [name, svg] = tag.startsWith('svg:') ? [tag.slice(4), true] : [tag, false];
  const element = svg ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === 'dataset') Object.assign(element.dataset, value);
    else if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key === 'className' ? 'class' : key, value === true ? '' : String(value));
  }
  element.append(...children.filter((child) => child !== undefined && child !== null));
  return element;
}

/** The element with this id; a missing one is a mistake in the page. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element ${id}`);
  return element;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const exact = new Intl.DateTimeFormat(undefined, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  hourCycle: 'h23',
});

/** `14:03` */
export const shortTime = (ms) => clock.format(new Date(ms));
/** `14:03:27.118` */
export const exactTime = (ms) => exact.format(new Date(ms));

/** `58 min 12 s`, `12 s`, `340 ms` */
export function duration(ms) {
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** `64 KiB`, `312 B` */
export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const kib = count / 1024;
  return `${Number.isInteger(kib) ? kib : kib.toFixed(1)} KiB`;
}
