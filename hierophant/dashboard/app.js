// The page: navigation, banners, and the current view.

import { html, render, useEffect, useState } from './vendor/preact.js';
import { follow } from './live.js';
import { useKnown } from './parts.js';
import { time } from './format.js';
import { Dialogs, askPause, askResume } from './actions.js';
import { Overview, Running } from './overview.js';
import { Queue } from './queue.js';
import { Fleet } from './fleet.js';
import { History } from './history.js';
import { Jobs } from './jobs.js';
import { Job } from './job.js';
import { Worker } from './worker.js';
import { Audit } from './audit.js';
import { SignIn, Who, mayAct } from './session.js';

const VIEWS = [['', 'Overview', Overview], ['running', 'Proving', Running], ['queue', 'Queue', Queue], ['fleet', 'Workers', Fleet], ['history', 'History', History], ['jobs', 'Jobs', Jobs], ['audit', 'Audit', Audit]];
const LINKS = { starting: 'connecting…', live: 'live', polling: 'every 3 s', lost: 'connection lost' };
const THEMES = { auto: 'light', light: 'dark', dark: 'auto' };

/** Segments of the path in the URL's fragment. */
function useRoute() {
  const [route, setRoute] = useState(location.hash);
  useEffect(() => {
    const navigated = () => { setRoute(location.hash); scrollTo(0, 0); };
    addEventListener('hashchange', navigated);
    return () => removeEventListener('hashchange', navigated);
  }, []);
  return route.replace(/^#\/?/, '').split('/');
}

function storedTheme() {
  try {
    return THEMES[localStorage.getItem('theme')] ? localStorage.getItem('theme') : 'auto';
  } catch {
    return 'auto';
  }
}

function Theme() {
  const [theme, setTheme] = useState(storedTheme());
  useEffect(() => {
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem('theme', theme);
    } catch {
      // Without storage the choice is lost when the page is closed.
    }
  }, [theme]);
  return html`<button class="small theme" aria-label=${`Colours: ${theme}; change to ${THEMES[theme]}`} onClick=${() => setTheme(THEMES[theme])}>
    ${{ auto: '◐', light: '☀', dark: '☾' }[theme]}<span> ${theme}</span></button>`;
}

function Find() {
  const go = (event) => {
    event.preventDefault();
    const id = event.target.elements.id.value.trim().replace(/^0x/, '').toLowerCase();
    if (id !== '') location.hash = `#/job/${id}`;
  };
  return html`<form class="find" role="search" onSubmit=${go}><input name="id" type="search" aria-label="Find a job or request by its id" placeholder="job or request id" pattern="\\s*(0x)?[0-9a-fA-F]{16,64}\\s*" title="16 to 64 hexadecimal digits" /></form>`;
}

function Banners() {
  const { overview, link, fault, heardAt } = useKnown();
  return html`<div aria-live="polite">
    ${link === 'lost' && html`<p class="banner bad"><b>Connection lost</b> (${fault}). ${heardAt ? `Showing the state of ${time(heardAt)}.` : ''} Reconnecting…</p>`}
    ${overview?.paused && html`<p class="banner warn"><b>Paused</b> since ${time(overview.paused.since)}: ${overview.paused.reason}. No jobs are assigned.</p>`}
    ${overview?.storage_low && html`<p class="banner bad"><b>Storage low</b>: ${overview.storage_low}. New uploads and requests are rejected until space is free.</p>`}
    ${overview?.mock_mode && html`<p class="banner plain"><b>Mock mode</b>: mock proofs, which prove nothing, are accepted.</p>`}
  </div>`;
}

function App() {
  const [view, id] = useRoute();
  const { overview, link } = useKnown();
  const known = VIEWS.find(([name]) => name === view);
  const content = () => {
    if (overview === null) return html`<p class="loading">${link === 'lost' ? 'No data yet.' : 'Loading…'}</p>`;
    if (view === 'job' && id) return html`<${Job} key=${id} id=${id} />`;
    if (view === 'worker' && id) return html`<${Worker} key=${id} id=${id} />`;
    if (!known) return html`<p class="empty">Page not found. <a href="#/">Overview</a></p>`;
    return html`<${known[2]} />`;
  };
  useEffect(() => { document.title = link === 'locked' ? 'Sign in · Hierophant' : `${known?.[1] ?? (view === 'job' ? 'Job' : 'Worker')} · Hierophant`; }, [view, link === 'locked']);
  useEffect(() => { if (overview !== null) performance.mark('first-picture'); }, [overview !== null]);
  if (link === 'locked') return html`<${SignIn} />`;
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById('main').focus(); }}>Skip to content</a>
    <header class="top">
      <a class="brand" href="#/"><img src="/dashboard/icon.svg" alt="" width="24" height="24" /> Hierophant</a>
      <span class=${`link ${link}`} role="status">${LINKS[link]}</span>
      <span class="space"></span>
      <${Find} />
      ${overview && mayAct() && (overview.paused ? html`<button class="small primary" onClick=${askResume}>Resume…</button>` : html`<button class="small" onClick=${askPause}>Pause…</button>`)}
      <${Who} />
      <${Theme} />
      <nav class="views" aria-label="Views">${VIEWS.map(([name, text]) => html`<a href=${`#/${name}`} aria-current=${name === view ? 'page' : undefined}>${text}</a>`)}</nav>
    </header>
    <${Banners} />
    <main id="main" tabindex="-1">${content()}</main>
    <footer>${overview && `Hierophant ${overview.version}`} · <a href="/api/v1/docs/">API</a> · <a href="/metrics">metrics</a></footer>
    <${Dialogs} />`;
}

const root = document.getElementById('app');
root.textContent = '';
render(html`<${App} />`, root);
follow();
