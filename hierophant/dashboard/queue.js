// The queue, with the reason why a job is waiting on request.

import { html, useState } from './vendor/preact.js';
import { count, many } from './format.js';
import { Fault, Pager, Rows, useKnown, useRead } from './parts.js';
import { askClear, askJob } from './actions.js';
import { WAITING } from './overview.js';
import { mayAct } from './session.js';

const ROWS = 50;

export function Queue() {
  const { overview } = useKnown();
  const [page, setPage] = useState(0);
  const [opened, setOpened] = useState(null);
  const { body, fault } = useRead(`/queue?offset=${page * ROWS}&limit=${ROWS}`);
  const total = Object.values(overview.waiting).reduce((sum, each) => sum + each, 0);
  const columns = [
    ...WAITING,
    { name: 'Why', kind: 'wide', cell: (job) => (opened === job.id
      ? html`<${Why} id=${job.id} />`
      : html`<button class="link" aria-label=${`Why does job ${job.id.slice(0, 10)} wait?`} onClick=${() => setOpened(job.id)}>Why?</button>`) },
    { name: 'Act', kind: 'act', cell: (job) => html`<button class="small" aria-label=${`Act on job ${job.id.slice(0, 10)}`} onClick=${() => askJob(job)}>Act…</button>` },
  ];
  return html`
    <section><header><h1>Queue</h1>
        <span class="dim">${many(total, 'job')}: ${Object.entries(overview.waiting).map(([mode, number]) => `${count(number)} ${mode}`).join(', ') || 'the queue is empty'}</span>
        ${mayAct() && html`<button class="small" disabled=${total === 0} onClick=${askClear}>Clear…</button>`}</header>
      <${Fault} fault=${fault} />
      ${body && body.length === 0 && html`<p class="empty">${page === 0 ? 'The queue is empty.' : 'The queue is shorter now.'}</p>`}
      ${body && body.length > 0 && html`<${Rows} label="Queued jobs" columns=${columns} rows=${body} rowKey=${(job) => job.id} />`}
      ${body && (page > 0 || body.length === ROWS) && html`<${Pager} first=${page * ROWS} shown=${body.length} total=${total}
        back=${page > 0 && (() => setPage(page - 1))} on=${body.length === ROWS && (() => setPage(page + 1))} />`}
    </section>`;
}

/** The reason why a job has no proof yet. */
export function Why({ id }) {
  const { body, fault } = useRead(`/jobs/${id}/why`);
  return html`<span class="why" aria-live="polite">${body ? body.why : fault ?? '…'}</span>`;
}
