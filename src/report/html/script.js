'use strict';
(() => {
  const all = (selector) => [...document.querySelectorAll(selector)];
  // Older browsers do not open what a link leads into.
  const reveal = () => {
    const at = document.getElementById(location.hash.slice(1));
    if (!at || !at.closest('details')) return;
    for (let e = at; e; e = e.parentElement) if (e.tagName === 'DETAILS') e.open = true;
    at.scrollIntoView();
  };
  addEventListener('hashchange', reveal);
  reveal();
  addEventListener('keydown', (event) => {
    if (event.key !== 'Escape') return;
    const shown = all('.explain').find((e) => getComputedStyle(e).display !== 'none');
    if (shown) shown.querySelector('.close').click();
  });
  const tools = document.querySelector('.tools');
  if (!tools) return;
  const stages = all('details.stage');
  const find = document.createElement('input');
  find.type = 'search';
  find.placeholder = 'Find a stage';
  find.setAttribute('aria-label', 'Find a stage');
  find.addEventListener('input', () => {
    const words = find.value.toLowerCase().split(/\s+/);
    for (const stage of stages) {
      const text = stage.querySelector('summary').textContent.toLowerCase();
      stage.hidden = !words.every((word) => text.includes(word));
    }
  });
  const button = document.createElement('button');
  button.textContent = 'Open all';
  button.addEventListener('click', () => {
    const open = button.textContent === 'Open all';
    for (const stage of stages) stage.open = open && !stage.hidden;
    button.textContent = open ? 'Close all' : 'Open all';
  });
  tools.append(find, button);
})();
