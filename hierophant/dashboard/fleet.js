// The workers.

import { html, useState } from './vendor/preact.js';
import { bytes, count, duration } from './format.js';
import { Badge, Choice, JobLink, Progress, Table, useKnown } from './parts.js';
import { askWorker } from './actions.js';
import { RunningTasks } from './tasks.js';

const ORDER = ['away', 'draining', 'ready'];

/** Sort key: workers that need attention first. */
const urgency = (worker) => (worker.obstacle ? 0 : 1 + ORDER.indexOf(worker.state)) * 2 + (worker.strikes > 0 ? 0 : 1);

/** Hardware of a worker. */
export function Gpus({ worker }) {
  const gpus = worker.gpus ?? [];
  if (gpus.length === 0) return html`<span class="dim">${worker.backend}</span>`;
  return gpus.map((gpu) => html`<div class="gpu">${gpu.model} <span class="dim">${bytes(gpu.memory_bytes)}</span></div>`);
}

const load = (gpu) => (gpu.utilisation_percent == null ? '–' : `${Math.round(gpu.utilisation_percent)} %`);
const heat = (gpu) => (gpu.temperature_celsius == null ? '–' : html`<span class=${gpu.temperature_celsius >= 85 ? 'hot' : ''}>${Math.round(gpu.temperature_celsius)} °C</span>`);
const each = (worker, show) => ((worker.gpus ?? []).length === 0 ? '–' : worker.gpus.map((gpu) => html`<div>${show(gpu)}</div>`));

const isIdle = (worker) => worker.running.length === 0 && (worker.tasks ?? []).length === 0;

const COLUMNS = [
  { name: 'Worker', cell: (worker) => html`<a href=${`#/worker/${worker.id}`}>${worker.name}</a>` },
  { name: 'State', cell: (worker) => html`<${Badge} state=${worker.state} />` },
  { name: 'Hardware', cell: (worker) => html`<${Gpus} worker=${worker} />` },
  { name: 'Load', kind: 'number', cell: (worker) => each(worker, load) },
  { name: 'Temperature', kind: 'number', cell: (worker) => each(worker, heat) },
  { name: 'Memory used', kind: 'number', cell: (worker) => each(worker, (gpu) => bytes(gpu.memory_used_bytes)) },
  { name: 'Proving', kind: 'wide', cell: (worker) => (worker.obstacle ? html`<span class="obstacle">${worker.obstacle}</span>`
    : isIdle(worker) ? html`<span class="dim">idle</span>`
      : html`${worker.running.map((proof) => html`<div class="of"><${JobLink} id=${proof.job} /><${Progress} proof=${proof} /></div>`)}<${RunningTasks} tasks=${worker.tasks ?? []} />`) },
  { name: 'Proved', kind: 'number', cell: (worker) => count(worker.proofs_completed) },
  { name: 'Mean', kind: 'number', cell: (worker) => duration(worker.average_proof_seconds) },
  { name: 'Strikes', kind: 'number', cell: (worker) => (worker.strikes > 0 ? html`<b class="hot">${worker.strikes}</b>` : 0) },
  { name: 'Act', kind: 'act', cell: (worker) => html`<button class="small" aria-label=${`Act on ${worker.name}`} onClick=${() => askWorker(worker)}>Act…</button>` },
];

export function Fleet() {
  const { workers } = useKnown();
  const [text, setText] = useState('');
  const [state, setState] = useState('');
  const query = text.trim().toLowerCase();
  const shown = [...workers.values()]
    .filter((worker) => matches(worker, state) && (query === '' || `${worker.name} ${worker.id} ${worker.ip} ${(worker.gpus ?? []).map((gpu) => gpu.model).join(' ')}`.toLowerCase().includes(query)))
    .sort((a, b) => urgency(a) - urgency(b) || a.name.localeCompare(b.name, 'en', { numeric: true }));
  return html`
    <section><header><h1>Workers</h1><span class="dim">${shown.length < workers.size ? `${shown.length} of ` : ''}${workers.size} known</span></header>
      <div class="filters">
        <label>Find<input type="search" placeholder="name, address, GPU" value=${text} onInput=${(event) => setText(event.target.value)} /></label>
        <${Choice} name="State" value=${state} choose=${setState} options=${[['', 'any'], ['ready', 'ready'], ['idle', 'ready, idle'], ['draining', 'draining'], ['away', 'away'], ['trouble', 'needs attention']]} />
      </div>
      <${Table} label="Workers" columns=${COLUMNS} rows=${shown} rowKey=${(worker) => worker.id}
        empty=${workers.size === 0 ? 'No worker is connected. Start one: contemplant init, then contemplant.' : 'No worker matches.'} />
    </section>`;
}

function matches(worker, state) {
  if (state === 'trouble') return worker.obstacle != null || worker.strikes > 0;
  if (state === 'idle') return worker.state === 'ready' && isIdle(worker);
  return state === '' || worker.state === state;
}
