// One job: its state and the reason for it, its requests and attempts.

import { html } from './vendor/preact.js';
import { ago, bytes, count, duration, short, time } from './format.js';
import { Badge, Fault, Progress, Eta, Rows, useRead } from './parts.js';
import { askJob, askRequest, jobActions } from './actions.js';
import { Why } from './queue.js';
import { hasEnded } from './live.js';
import { mayAct } from './session.js';
import { Tasks } from './tasks.js';

const ATTEMPTS = [
  { name: 'Started', cell: (attempt) => html`<span title=${time(attempt.started_at)}>${ago(attempt.started_at)}</span>` },
  { name: 'Worker', cell: (attempt) => html`${attempt.divided ? attempt.contemplant : html`<a href=${`#/worker/${attempt.worker}`}>${attempt.contemplant}</a>`} <span class="dim">${attempt.backend}</span>` },
  { name: 'Outcome', cell: (attempt) => html`<${Badge} state=${attempt.outcome} />` },
  { name: 'Took', kind: 'number', cell: (attempt) => duration(((attempt.ended_at ?? Date.now()) - attempt.started_at) / 1000) },
  { name: 'Cause', cell: (attempt) => attempt.failure_class ?? '–' },
  { name: 'Details', kind: 'wide why', cell: (attempt) => attempt.message ?? '' },
];

const REQUESTS = [
  { name: 'Request', cell: (request) => html`<span class="id">${request.id}</span>` },
  { name: 'State', cell: (request) => html`<${Badge} state=${request.state} />` },
  { name: 'Requester', cell: (request) => html`${request.client} <span class="id">${request.requester}</span>` },
  { name: 'Network', cell: (request) => request.network_mode },
  { name: 'Created', cell: (request) => html`<span title=${time(request.created_at)}>${ago(request.created_at)}</span>` },
  { name: 'Deadline', cell: (request) => time(request.deadline) },
  { name: 'Act', kind: 'act', cell: (request) => (request.state === 'open' ? html`<button class="small" aria-label=${`Cancel request ${request.id}`} onClick=${() => askRequest(request)}>Cancel…</button>` : '') },
];

/** Events in the life of a job, in order: requests, attempts, the end. */
function events(job) {
  const list = job.requests.map((request) => [request.created_at, `request ${request.id} from ${request.client ?? ''} ${request.requester}`]);
  for (const attempt of job.history) {
    list.push([attempt.started_at, attempt.divided ? 'divided into tasks' : `assigned to ${attempt.contemplant}`]);
    if (attempt.ended_at != null) list.push([attempt.ended_at, `${attempt.outcome} on ${attempt.contemplant}${attempt.message && attempt.outcome !== 'completed' ? `: ${attempt.message}` : ''}`]);
  }
  for (const request of job.requests) if (request.state !== 'open') list.push([request.updated_at, `request ${request.id} is ${request.state}`]);
  if (job.finished_at != null) list.push([job.finished_at, `the job is ${job.state}`]);
  return list.sort(([a], [b]) => a - b);
}

export function Job({ id }) {
  // A request id leads to its job.
  const { body: job, fault } = useRead(id.length === 32 ? `/jobs/${id}` : `/requests/${id}`, (last) => last && hasEnded(last.state));
  if (job === null) return html`<${Fault} fault=${fault} />${!fault && html`<p class="loading">…</p>`}`;
  const limit = (number) => (number >= 2 ** 63 ? 'unlimited' : count(number));
  return html`
    <section><header><h1>Job <span class="id">${short(job.id)}</span></h1><${Badge} state=${job.state} />
        ${mayAct() && jobActions(job).filter((action) => ['Cancel', 'Requeue'].includes(action.name)).map((action) => html`
          <button class=${action.danger ? 'small danger' : 'small'} onClick=${() => askJob(job, action.name)}>${action.name}…</button>`)}
        ${mayAct() && job.state === 'queued' && html`<button class="small" onClick=${() => askJob(job)}>Priority…</button>`}</header>
      <${Fault} fault=${fault} />
      <p class="lead"><${Why} id=${job.id} /></p>
      ${job.running.map((proof) => html`<div class="making"><${Progress} proof=${proof} /><p class="dim">remaining: <${Eta} seconds=${proof.eta_seconds} estimated=${proof.estimated} /></p></div>`)}
      <dl class="facts">
        <dt>Id</dt><dd class="id">${job.id}</dd>
        <dt>Kind</dt><dd>${job.mode}, circuit ${job.circuit_version}</dd>
        <dt>Program</dt><dd class="id">${job.program}</dd>
        <dt>Input</dt><dd>${bytes(job.input_bytes)}</dd>
        <dt>Limits</dt><dd>${limit(job.cycle_limit)} cycles, ${limit(job.gas_limit)} gas</dd>
        <dt>Execution</dt><dd>${job.cycles == null ? 'unknown yet' : `${job.cycles.toLocaleString('en')} cycles, ${job.gas == null ? 'gas unknown' : `${job.gas.toLocaleString('en')} gas`}`}</dd>
        ${job.priority && html`<dt>Priority</dt><dd>${job.priority}</dd>`}
        <dt>Created</dt><dd>${time(job.created_at)}</dd>
        ${job.finished_at != null && html`<dt>Ended</dt><dd>${time(job.finished_at)}, after ${duration((job.finished_at - job.created_at) / 1000)}</dd>`}
        ${job.failure && html`<dt>Failure</dt><dd class="why">${job.failure}</dd>`}
      </dl></section>
    ${job.tasks && html`<${Tasks} id=${job.id} />`}
    <section><header><h2>Attempts</h2></header>
      ${job.history.length === 0 ? html`<p class="empty">No attempts yet.</p>` : html`<${Rows} label="Attempts" columns=${ATTEMPTS} rows=${job.history} rowKey=${(attempt) => attempt.started_at + attempt.worker} />`}</section>
    <section><header><h2>Requests</h2></header><${Rows} label="Requests" columns=${REQUESTS} rows=${job.requests} rowKey=${(request) => request.id} /></section>
    <section><header><h2>Events</h2></header><ol class="events">${events(job).map(([at, words]) => html`<li><time>${time(at)}</time> ${words}</li>`)}</ol></section>`;
}
