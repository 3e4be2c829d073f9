// The audit log.

import { html, useState } from './vendor/preact.js';
import { ago, time } from './format.js';
import { Fault, Pager, Rows, useRead } from './parts.js';

const ROWS = 50;

const look = (code) => (code === 0 ? 'warn' : code < 300 ? 'good' : code === 403 ? 'bad' : 'warn');

const COLUMNS = [
  { name: 'Time', cell: (entry) => html`<span title=${time(entry.at)}>${ago(entry.at)}</span>` },
  { name: 'Caller', cell: (entry) => html`<span title=${entry.token ? `token ${entry.token}` : entry.program}>${entry.name}</span>` },
  { name: 'From', cell: (entry) => html`<span title=${entry.program}>${entry.peer}${entry.forwarded && html` <span class="dim">for ${entry.forwarded}</span>`}</span>` },
  { name: 'Call', kind: 'wide why', cell: (entry) => html`<span class="id">${entry.action.replace('/api/v1/', '')}</span>` },
  { name: 'Body', kind: 'wide why', cell: (entry) => entry.body },
  { name: 'Status', kind: 'number', cell: (entry) => html`<span class=${`badge ${look(entry.code)}`}>${entry.code === 0 ? 'unknown' : entry.code}</span>` },
];

export function Audit() {
  // The last entry of each page before this one.
  const [before, setBefore] = useState([]);
  const query = new URLSearchParams({ limit: ROWS });
  if (before.length > 0) query.set('before', before.at(-1));
  const { body, fault } = useRead(`/audit?${query}`);
  return html`
    <section><header><h1>Audit</h1><span class="dim">calls of operators, newest first</span></header>
      <${Fault} fault=${fault} />
      ${body && (body.length === 0 ? html`<p class="empty">No calls${before.length > 0 && ' before that'}.</p>`
        : html`<${Rows} label="Audited calls" columns=${COLUMNS} rows=${body} rowKey=${(entry) => entry.id} />`)}
      ${body && (before.length > 0 || body.length === ROWS) && html`<${Pager} first=${before.length * ROWS} shown=${body.length}
        back=${before.length > 0 && (() => setBefore(before.slice(0, -1)))} on=${body.length === ROWS && (() => setBefore([...before, body.at(-1).id]))} />`}
    </section>`;
}
