// The network at a glance: figures, what needs attention, proofs in progress, the queue, ended jobs.

import { html } from './vendor/preact.js';
import { ago, bytes, count, duration, money, percent, many } from './format.js';
import { Badge, Eta, Fault, JobLink, Progress, Table, Tile, runningProofs, useKnown, useRead } from './parts.js';
import { askJob } from './actions.js';

const SOME = 8;

/** Success rate of ended jobs, without cancelled ones. */
export function success(ended) {
  const counted = ended.filter((job) => job.state !== 'cancelled');
  const proved = counted.filter((job) => job.state === 'proved');
  return { of: counted.length, proved: proved.length, rate: counted.length === 0 ? null : proved.length / counted.length };
}

export function Overview() {
  const { overview, workers, ended } = useKnown();
  const running = runningProofs().sort((a, b) => a.started_at - b.started_at);
  const waiting = Object.values(overview.waiting).reduce((sum, each) => sum + each, 0);
  const byMode = Object.entries(overview.waiting).map(([mode, number]) => `${count(number)} ${mode}`).join(', ');
  const there = workers.size;
  const rate = success(ended ?? []);
  const others = ['draining', 'away'].filter((state) => overview.workers[state] > 0).map((state) => `${overview.workers[state]} ${state}`);
  const price = overview.price;
  return html`
    <h1 class="hidden">Overview</h1>
    <dl class="tiles">
      <${Tile} name="Proving" value=${count(overview.running)} more=${`${many(overview.slots, 'slot')}`} />
      <${Tile} name="Queued" value=${count(waiting)} more=${waiting === 0 ? 'the queue is empty' : html`${byMode}<br />oldest ${duration(overview.oldest_wait_seconds)}`} />
      <${Tile} name="Workers" value=${count(overview.workers.ready ?? 0)} look=${there === 0 ? 'bad' : others.length ? 'warn' : ''}
        more=${there === 0 ? 'none is connected' : others.length ? `ready; ${others.join(', ')}` : 'ready'} />
      <${Tile} name="Success" value=${percent(rate.rate)} look=${rate.rate != null && rate.rate < 0.95 ? 'warn' : ''}
        more=${rate.of === 0 ? 'no job has ended yet' : `${count(rate.proved)} of the latest ${count(rate.of)}`} />
      <${Tile} name="Stored" value=${bytes(overview.stored_bytes)} look=${overview.storage_low ? 'bad' : ''} more=${overview.free_bytes == null ? null : `${bytes(overview.free_bytes)} free`} />
      ${price && html`<${Tile} name="Fleet costs" value=${money(price.per_hour * there, price.currency)} more="an hour" />`}
    </dl>
    <${Attention} />
    <section aria-labelledby="h-running"><header><h2 id="h-running">Proofs in progress</h2>${running.length > SOME && html`<a href="#/running">all ${count(running.length)}</a>`}</header>
      <${RunningTable} proofs=${running.slice(0, SOME)} /></section>
    <section aria-labelledby="h-next"><header><h2 id="h-next">Next in the queue</h2>${waiting > SOME && html`<a href="#/queue">all ${count(waiting)}</a>`}</header>
      <${Next} /></section>
    <section aria-labelledby="h-ended"><header><h2 id="h-ended">Recently ended</h2><a href="#/history">history</a></header>
      <${EndedTable} jobs=${(ended ?? []).slice(0, SOME)} /></section>`;
}

/** What needs attention: workers that cannot prove, are away or have strikes; recently failed jobs. */
function Attention() {
  const { workers, ended } = useKnown();
  const since = Date.now() - 3600e3;
  const failed = (ended ?? []).filter((job) => (job.state === 'failed' || job.state === 'unexecutable') && job.finishedAt >= since);
  const stuck = [...workers.values()].filter((worker) => worker.obstacle);
  const struck = [...workers.values()].filter((worker) => worker.strikes > 0);
  const away = [...workers.values()].filter((worker) => worker.state === 'away');
  const name = (worker) => html`<a href=${`#/worker/${worker.id}`}>${worker.name}</a>`;
  const list = (some) => some.slice(0, 3).map((worker, index) => html`${index > 0 ? ', ' : ''}${name(worker)}`);
  const rest = (some) => (some.length > 3 ? ` and ${some.length - 3} more` : '');
  const lines = [
    failed.length > 0 && html`${many(failed.length, 'job')} failed in the last hour; the latest, <${JobLink} id=${failed[0].id} />: ${failed[0].failure ?? failed[0].state}`,
    stuck.length > 0 && html`${list(stuck)}${rest(stuck)} cannot prove: ${stuck[0].obstacle}`,
    away.length > 0 && html`${list(away)}${rest(away)} disconnected and may reconnect`,
    struck.length > 0 && html`${list(struck)}${rest(struck)} failed recently by their own fault`,
  ].filter(Boolean);
  if (lines.length === 0) return null;
  return html`<section class="attention" aria-label="Needs attention"><h2>Needs attention</h2><ul>${lines.map((line) => html`<li>${line}</li>`)}</ul></section>`;
}

const RUNNING = [
  { name: 'Job', cell: (proof) => html`<${JobLink} id=${proof.job} />` },
  { name: 'Kind', cell: (proof) => proof.mode },
  { name: 'Progress', kind: 'wide', cell: (proof) => html`<${Progress} proof=${proof} />` },
  { name: 'Remaining', kind: 'number', cell: (proof) => html`<${Eta} seconds=${proof.eta_seconds} estimated=${proof.estimated} />` },
  { name: 'Elapsed', kind: 'number', cell: (proof) => duration(Math.max(0, Math.round((Date.now() - proof.started_at) / 1000))) },
  { name: 'Worker', cell: (proof) => (proof.tasks ? many(proof.tasks.workers, 'worker') : html`<a href=${`#/worker/${proof.worker}`}>${proof.workerName}</a>`) },
  { name: 'Act', kind: 'act', cell: (proof) => html`<button class="small" aria-label=${`Act on job ${proof.job.slice(0, 10)}`} onClick=${() => askJob({ id: proof.job, state: 'proving' })}>Act…</button>` },
];

const RunningTable = ({ proofs }) => html`
  <${Table} label="Proofs in progress" columns=${RUNNING} rows=${proofs} rowKey=${(proof) => `${proof.job} ${proof.worker}`} empty="No proof is in progress." />`;

/** All proofs in progress. */
export function Running() {
  useKnown();
  const proofs = runningProofs().sort((a, b) => a.started_at - b.started_at);
  return html`<section><header><h1>Proofs in progress</h1><span class="dim">${many(proofs.length, 'proof')}, oldest first</span></header>
    <${RunningTable} proofs=${proofs} /></section>`;
}

/** Columns of queued jobs. */
export const WAITING = [
  { name: 'Position', cell: (job) => job.position + 1 },
  { name: 'Job', cell: (job) => html`<${JobLink} id=${job.id} />` },
  { name: 'Kind', cell: (job) => job.mode },
  { name: 'Waiting', kind: 'number', cell: (job) => duration(Math.max(0, Math.round((Date.now() - job.created_at) / 1000))) },
  { name: 'Proved in', kind: 'number', cell: (job) => html`<${Eta} seconds=${job.eta_seconds} estimated=${true} />` },
  { name: 'Attempts', kind: 'number', cell: (job) => job.attempts },
  { name: 'Requester', cell: (job) => html`<span class="id" title=${job.requests[0]?.requester}>${(job.requests[0]?.requester ?? '–').slice(0, 10)}</span>` },
];

function Next() {
  const { body, fault } = useRead(`/queue?limit=${SOME}`);
  return html`<${Fault} fault=${fault} />
    ${body && html`<${Table} label="Queued jobs" columns=${WAITING} rows=${body} rowKey=${(job) => job.id} empty="The queue is empty." />`}`;
}

const ENDED = [
  { name: 'Job', cell: (job) => html`<${JobLink} id=${job.id} />` },
  { name: 'State', cell: (job) => html`<${Badge} state=${job.state} />` },
  { name: 'Kind', cell: (job) => job.mode },
  { name: 'Took', kind: 'number', cell: (job) => duration(job.seconds) },
  { name: 'Cycles', kind: 'number', cell: (job) => count(job.cycles) },
  { name: 'Worker', cell: (job) => job.contemplant ?? '–' },
  { name: 'Ended', kind: 'number', cell: (job) => ago(job.finishedAt) },
  { name: 'Failure', kind: 'wide why', cell: (job) => job.failure ?? '' },
];

/** Jobs that have ended. */
export const EndedTable = ({ jobs }) => html`
  <${Table} label="Ended jobs" columns=${ENDED} rows=${jobs} rowKey=${(job) => job.id} empty="No job has ended yet." />`;
