// All jobs, newest first, with filters.

import { html, useState } from './vendor/preact.js';
import { ago, count } from './format.js';
import { Badge, Choice, Fault, JobLink, MODES, Pager, Rows, useRead } from './parts.js';

const ROWS = 50;
const STATES = ['queued', 'leased', 'proving', 'uploaded', 'verifying', 'proved', 'unexecutable', 'failed', 'cancelled', 'expired'];

const COLUMNS = [
  { name: 'Job', cell: (job) => html`<${JobLink} id=${job.id} />` },
  { name: 'State', cell: (job) => html`<${Badge} state=${job.state} />` },
  { name: 'Kind', cell: (job) => job.mode },
  { name: 'Program', cell: (job) => html`<span class="id" title=${job.program}>${job.program.slice(0, 10)}</span>` },
  { name: 'Requests', kind: 'number', cell: (job) => job.requests.length },
  { name: 'Attempts', kind: 'number', cell: (job) => job.attempts },
  { name: 'Worker', cell: (job) => job.contemplant ?? '–' },
  { name: 'Cycles', kind: 'number', cell: (job) => count(job.cycles) },
  { name: 'Created', kind: 'number', cell: (job) => ago(job.created_at) },
  { name: 'Failure', kind: 'wide why', cell: (job) => job.failure ?? '' },
];

export function Jobs() {
  const [filter, setFilter] = useState({ state: '', mode: '' });
  // The last job of each page before this one.
  const [before, setBefore] = useState([]);
  const choose = (name) => (value) => { setFilter({ ...filter, [name]: value }); setBefore([]); };
  const query = new URLSearchParams({ limit: ROWS });
  for (const [name, value] of Object.entries({ ...filter, before: before.at(-1) ?? '' })) if (value !== '') query.set(name, value);
  const { body, fault } = useRead(`/jobs?${query}`);
  return html`
    <section><header><h1>Jobs</h1><span class="dim">newest first</span></header>
      <div class="filters">
        <${Choice} name="State" value=${filter.state} choose=${choose('state')} options=${[['', 'any'], ...STATES.map((state) => [state, state])]} />
        <${Choice} name="Kind" value=${filter.mode} choose=${choose('mode')} options=${MODES} /></div>
      <${Fault} fault=${fault} />
      ${body && (body.length === 0 ? html`<p class="empty">No job matches.</p>` : html`<${Rows} label="Jobs" columns=${COLUMNS} rows=${body} rowKey=${(job) => job.id} />`)}
      ${body && (before.length > 0 || body.length === ROWS) && html`<${Pager} first=${before.length * ROWS} shown=${body.length}
        back=${before.length > 0 && (() => setBefore(before.slice(0, -1)))} on=${body.length === ROWS && (() => setBefore([...before, body.at(-1).id]))} />`}
    </section>`;
}
