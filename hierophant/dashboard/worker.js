// One worker: its hardware, its proofs in progress, its latest attempts.

import { html } from './vendor/preact.js';
import { ago, bytes, count, duration, time } from './format.js';
import { Badge, Eta, Fault, JobLink, Progress, Table, useRead } from './parts.js';
import { askWorker } from './actions.js';
import { mayAct } from './session.js';
import { RunningTasks } from './tasks.js';

const ATTEMPTS = [
  { name: 'Job', cell: (attempt) => html`<${JobLink} id=${attempt.job} />` },
  { name: 'Work', cell: (attempt) => (attempt.task_kind ? `task: ${attempt.task_kind.replaceAll('_', ' ')}` : 'proof') },
  { name: 'Outcome', cell: (attempt) => html`<${Badge} state=${attempt.outcome} />` },
  { name: 'Started', cell: (attempt) => html`<span title=${time(attempt.started_at)}>${ago(attempt.started_at)}</span>` },
  { name: 'Took', kind: 'number', cell: (attempt) => duration(((attempt.ended_at ?? Date.now()) - attempt.started_at) / 1000) },
  { name: 'Cause', cell: (attempt) => attempt.failure_class ?? '–' },
  { name: 'Details', kind: 'wide why', cell: (attempt) => attempt.message ?? '' },
];

const describeGpu = (gpu) => [
  gpu.model,
  bytes(gpu.memory_bytes),
  gpu.driver && `driver ${gpu.driver}`,
  gpu.utilisation_percent != null && `load ${Math.round(gpu.utilisation_percent)} %`,
  gpu.temperature_celsius != null && `${Math.round(gpu.temperature_celsius)} °C`,
  gpu.memory_used_bytes != null && `${bytes(gpu.memory_used_bytes)} used`,
].filter(Boolean).join(', ');

export function Worker({ id }) {
  const { body, fault } = useRead(`/workers/${id}`);
  if (body === null) return html`<${Fault} fault=${fault} />${!fault && html`<p class="loading">…</p>`}`;
  const { worker, gone, history, blocked } = body;
  const name = worker?.name ?? history[0]?.contemplant ?? id;
  return html`
    <section><header><h1>Worker ${name}</h1>${worker ? html`<${Badge} state=${worker.state} />` : html`<span class="badge plain">departed</span>`}
        ${mayAct() && (worker || blocked != null) && html`<button class="small" onClick=${() => askWorker({ state: null, ...worker, id, name, blocked })}>Act…</button>`}</header>
      <${Fault} fault=${fault} />
      ${gone && html`<p class="lead">Left ${ago(gone.at)}: ${gone.reason}</p>`}
      ${worker?.drained && html`<p class="note">Drained by an operator: ${worker.drained}</p>`}
      ${blocked != null && html`<p class="note bad">Blocked${blocked && `: ${blocked}`}</p>`}
      ${worker?.obstacle && html`<p class="note bad">Cannot prove: ${worker.obstacle}</p>`}
      ${worker?.running.map((proof) => html`<div class="making"><p><${JobLink} id=${proof.job} /> ${proof.mode}</p><${Progress} proof=${proof} /><p class="dim">remaining: <${Eta} seconds=${proof.eta_seconds} estimated=${proof.estimated} /></p></div>`)}
      ${worker && html`<${RunningTasks} tasks=${worker.tasks ?? []} />`}
      ${(worker?.ahead ?? []).map((job) => html`<p class="dim">Prepares <${JobLink} id=${job} />, which starts once a slot is free.</p>`)}
      <dl class="facts">
        <dt>Id</dt><dd class="id">${id}</dd>
        ${worker && html`
          <dt>Hardware</dt><dd>${(worker.gpus ?? []).length > 0 ? worker.gpus.map((gpu) => html`<div>${describeGpu(gpu)}</div>`) : worker.backend}</dd>
          <dt>Offers</dt><dd>${worker.modes.join(', ') || 'nothing'}; ${worker.slots === 1 ? 'one job' : `${worker.slots} jobs`} at once</dd>
          <dt>Address</dt><dd>${worker.ip}</dd>
          ${worker.instance && html`<dt>Instance</dt><dd>${worker.instance}</dd>`}
          <dt>Version</dt><dd>${worker.version}</dd>
          <dt>Connected</dt><dd>${ago(worker.joined_at)}; last message ${ago(worker.heard_at)}</dd>
          <dt>Proved</dt><dd>${count(worker.proofs_completed)}${worker.average_proof_seconds == null ? '' : `, in ${duration(worker.average_proof_seconds)} on average`}</dd>
          ${worker.tasks_completed > 0 && html`<dt>Tasks done</dt><dd>${count(worker.tasks_completed)}</dd>`}
          <dt>Strikes</dt><dd>${worker.strikes}</dd>`}
      </dl></section>
    <section><header><h2>Latest attempts</h2></header>
      <${Table} label="Attempts" columns=${ATTEMPTS} rows=${history} rowKey=${(attempt) => attempt.job + attempt.started_at + (attempt.task ?? '')} empty="No attempts yet." /></section>`;
}
