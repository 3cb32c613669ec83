// Runs before the first paint, so that a chosen theme does not flash.
'use strict';
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem('portcullis-theme');
  } catch {
    // storage is forbidden here: the system's preference stands
  }
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
