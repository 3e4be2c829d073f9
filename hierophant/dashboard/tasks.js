// The tasks as which several workers make one proof: what is done, by whom and when, and what waits for what.

import { html, useEffect, useRef, useState } from './vendor/preact.js';
import { bytes, duration, many, time } from './format.js';
import { Badge, Fault, JobLink, Table, useRead } from './parts.js';

const ROW = 16;
const MAX_ROWS = 64;
const EDGE = { left: 132, right: 12, top: 18, bottom: 22 };

const WAITS = {
  worker: () => 'a free worker',
  record: (task) => (task.record_on ? `its record, from ${task.record_on}` : 'the worker with its record'),
  events: () => 'precompile events of other shards',
  results: () => 'other tasks',
  execution: () => 'another execution',
};

const words = (text) => text.replaceAll('_', ' ');
const kindOf = (task) => (task.shard ? `${words(task.kind)}, ${task.shard}` : words(task.kind));

const COLUMNS = [
  { name: 'Task', cell: (task) => html`<span class="id" title=${task.id}>${task.id.slice(0, 8)}</span>` },
  { name: 'Kind', cell: kindOf },
  { name: 'State', cell: (task) => html`<${Badge} state=${task.state} />` },
  { name: 'Worker', cell: (task) => (task.worker ? html`<a href=${`#/worker/${task.worker}`}>${task.contemplant}</a>` : '–') },
  { name: 'Took', kind: 'number', cell: (task) => (task.started_at == null ? '–' : duration(((task.ended_at ?? Date.now()) - task.started_at) / 1000)) },
  { name: 'Attempts', kind: 'number', cell: (task) => (task.failures > 0 ? html`<b class="hot" title=${`${many(task.failures, 'failure')} by the fault of workers`}>${task.attempts}</b>` : task.attempts) },
  { name: 'Record', kind: 'number', cell: (task) => bytes(task.record_bytes) },
  { name: 'Result', kind: 'number', cell: (task) => bytes(task.result_bytes) },
  { name: 'Details', kind: 'wide why', cell: (task) => (task.waits_for ? `waits for ${WAITS[task.waits_for]?.(task) ?? task.waits_for}` : task.message ?? '') },
];

/** Tasks that a worker runs, in one line for each job. */
export function RunningTasks({ tasks }) {
  const byJob = new Map();
  for (const task of tasks) byJob.set(task.job, [...(byJob.get(task.job) ?? []), words(task.kind)]);
  return [...byJob].map(([job, kinds]) => html`<div class="of"><${JobLink} id=${job} /><span>${many(kinds.length, 'task')}: ${[...new Set(kinds)].join(', ')}</span></div>`);
}

/** Tasks of a job with the times of its phases. */
export function Tasks({ id }) {
  const { body, fault } = useRead(`/jobs/${id}/tasks`, (last) => last?.ended_at != null);
  if (body === null) return html`<section><header><h2>Tasks</h2></header><${Fault} fault=${fault} /></section>`;
  const { summary } = body;
  const after = (at) => `${duration((at - body.divided_at) / 1000)} after the start`;
  return html`
    <section class="tasks"><header><h2>Tasks</h2><span class="dim">${summary.done} of ${summary.all} done, ${summary.running} running, on ${many(summary.workers, 'worker')}</span></header>
      <${Fault} fault=${fault} />
      <${Gantt} tasks=${body.tasks} body=${body} />
      <dl class="facts">
        <dt>Engine</dt><dd>${body.engine}, shards of ${body.max_elements.toLocaleString('en')} cells</dd>
        <dt>Execution</dt><dd>${body.executed_at == null ? `in progress, ${many(body.shards, 'shard')} so far` : `${after(body.executed_at)}: ${many(body.shards, 'shard')}`}</dd>
        <dt>Proved shards</dt><dd>${body.shards_done} of ${body.shards}${body.first_shard_at == null ? '' : `; the first ${after(body.first_shard_at)}`}${body.last_shard_at == null ? '' : `, the last ${after(body.last_shard_at)}`}</dd>
        ${body.ended_at != null && html`<dt>Ended</dt><dd>${after(body.ended_at)}</dd>`}
        <dt>Bytes</dt><dd>${bytes(body.record_bytes)} of records, ${bytes(body.result_bytes)} of results</dd>
        ${body.restarts > 0 && html`<dt>Restarts</dt><dd>${body.restarts}: two executions of the program differed</dd>`}
      </dl>
      <${Table} label="Tasks" columns=${COLUMNS} rows=${body.tasks} rowKey=${(task) => task.id} empty="No tasks yet." size=${25} /></section>`;
}

/** Rows of the chart: each worker has as many as it ran tasks at once. */
function rowsOf(tasks, end) {
  const workers = new Map();
  for (const task of tasks.filter((task) => task.started_at != null).sort((a, b) => a.started_at - b.started_at)) {
    const bar = { task, from: task.started_at, to: Math.max(task.started_at, task.ended_at ?? end) };
    const rows = workers.get(task.contemplant) ?? [];
    workers.set(task.contemplant, rows);
    const free = rows.find((row) => row.at(-1).to <= bar.from);
    if (free) free.push(bar);
    else rows.push([bar]);
  }
  const named = [...workers].sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true }));
  return named.flatMap(([name, rows]) => rows.map((bars, index) => ({ name: index === 0 ? name : '', bars })));
}

const lookOf = (task) => (task.outcome === 'running' ? 'running' : task.outcome === 'completed' ? 'good' : 'bad');

/** Which worker ran which task when: one bar for the latest attempt at each task. */
function Gantt({ tasks, body }) {
  const box = useRef(null);
  const [width, setWidth] = useState(600);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => setWidth(Math.max(280, Math.round(entry.contentRect.width))));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const end = body.ended_at ?? Date.now();
  const all = rowsOf(tasks, end);
  const rows = all.slice(0, MAX_ROWS);
  const left = width < 500 ? 76 : EDGE.left;
  const height = EDGE.top + rows.length * ROW + EDGE.bottom;
  const x = (at) => left + ((at - body.divided_at) / Math.max(1, end - body.divided_at)) * (width - left - EDGE.right);
  const marks = [['executed', body.executed_at], ['last shard', body.last_shard_at]].filter(([, at]) => at != null);
  const label = `Tasks by worker over time, ${many(all.length, 'row')}. The table below has the figures.`;
  const letters = Math.floor((left - 8) / 7);
  return html`
    <figure class="gantt"><div ref=${box}>
      ${rows.length > 0 && html`
      <svg role="img" aria-label=${label} width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`}>
        ${rows.map(({ name, bars }, row) => html`
          <text x="0" y=${EDGE.top + row * ROW + 12}>${name.length > letters ? `${name.slice(0, letters - 1)}…` : name}</text>
          ${bars.map(({ task, from, to }) => html`<rect key=${task.id} class=${`bar ${task.kind} ${lookOf(task)}`} x=${x(from).toFixed(1)} y=${EDGE.top + row * ROW + 2}
            width=${Math.max(1, x(to) - x(from) - 0.5).toFixed(1)} height=${ROW - 4}><title>${`${kindOf(task)} on ${task.contemplant}: ${words(task.outcome ?? task.state)}, ${duration((to - from) / 1000)}`}</title></rect>`)}`)}
        ${marks.map(([name, at], index) => html`<g class="axis"><path d=${`M${x(at).toFixed(1)} ${EDGE.top - 4}V${height - EDGE.bottom}`} />
          <text x=${x(at)} y=${11} text-anchor=${index === 0 && x(at) < width / 2 ? 'start' : 'end'}>${name}</text></g>`)}
        <g class="axis"><text x=${left} y=${height - 6}>${time(body.divided_at)}</text>
          <text x=${width - EDGE.right} y=${height - 6} text-anchor="end">${duration((end - body.divided_at) / 1000)}</text></g>
      </svg>`}
      </div>
      <figcaption class="dim"><span class="legend"><span class="kind execute">execution</span><span class="kind prove_shard">shard</span><span class="kind bad">failed or lost</span></span>
        ${all.length > rows.length && `${all.length - rows.length} more rows are not shown`}</figcaption>
    </figure>`;
}
