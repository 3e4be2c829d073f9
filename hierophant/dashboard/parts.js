// Components shared by several views.

import { html, useEffect, useRef, useState } from './vendor/preact.js';
import { read } from './api.js';
import { count, duration, percent, short } from './format.js';
import { known, subscribe } from './live.js';
import { mayAct } from './session.js';

const ROWS = 50;
const REFETCH_MS = 2000;

const LOOKS = {
  proved: 'good', completed: 'good', ready: 'good', fulfilled: 'good',
  proving: 'busy', leased: 'busy', uploaded: 'busy', verifying: 'busy', running: 'busy',
  done: 'good', waiting: 'plain',
  draining: 'warn', away: 'warn', lost: 'warn', expired: 'warn', blocked: 'warn',
  failed: 'bad', unexecutable: 'bad',
};

/** A coloured label of a state. */
export const Badge = ({ state }) => html`<span class=${`badge ${LOOKS[state] ?? 'plain'}`}>${state.replaceAll('_', ' ')}</span>`;

/** A link to the page of a job, with the start of its id as text. */
export const JobLink = ({ id }) => html`<a class="id" href=${`#/job/${id}`} title=${`Job ${id}`}>${short(id)}</a>`;

/** A figure with its name. */
export const Tile = ({ name, value, more, look }) => html`
  <div class=${`tile ${look ?? ''}`}><dt>${name}</dt><dd>${value}</dd>${more && html`<dd class="more">${more}</dd>`}</div>`;

/** Remaining seconds, marked if estimated. */
export const Eta = ({ seconds, estimated }) =>
  (seconds == null ? '–' : html`${estimated && html`<abbr title="estimated from recent proofs of the same kind">~</abbr>`}${seconds === 0 ? 'any moment' : duration(seconds)}`);

/** Progress of a proof. */
export function Progress({ proof }) {
  const part = proof.fraction;
  const label = `${proof.phase ?? 'assigned'}${part == null ? '' : ` ${percent(part)}`}`;
  const cycles = proof.tasks ? `tasks ${proof.tasks.done}/${proof.tasks.all}` : proof.cycles_total == null ? null
    : `${proof.cycles_done == null ? '' : `${count(proof.cycles_done)} of `}${count(proof.cycles_total)} cycles`;
  return html`
    <div class="progress">
      <div class="over"><span>${proof.estimated && part != null ? html`${proof.phase} <abbr title="estimated from recent proofs of the same kind">~</abbr>${percent(part)}` : label}</span>
        ${cycles && html`<span class="dim">${cycles}</span>`}</div>
      ${part == null
        ? html`<progress aria-label=${label}></progress>`
        : html`<progress aria-label=${label} max="1" value=${part}></progress>`}
    </div>`;
}

/** Subscribes a view to the known state: it is rendered again after changes. */
export function useKnown() {
  const [, draw] = useState(0);
  useEffect(() => subscribe(() => draw(known.version)), []);
  return known;
}

/**
 * The response to a GET of the API, fetched again after changes, at most every two seconds. `isFinal` says that a
 * response is final.
 */
export function useRead(path, isFinal) {
  const [response, setResponse] = useState({ path: null, body: null, fault: null });
  const state = useRef({ path: null, version: -1, busy: false }).current;
  useEffect(() => {
    let unmounted = false;
    const refetch = async () => {
      if (state.busy || (state.path === path && (state.version === known.version || isFinal?.(state.body)))) return;
      Object.assign(state, { busy: true, version: known.version, path });
      try {
        const body = await read(path);
        state.body = body;
        if (!unmounted) setResponse({ path, body, fault: null });
      } catch (error) {
        if (!unmounted) setResponse((old) => ({ path, body: old.path === path ? old.body : null, fault: error.message }));
      }
      state.busy = false;
      if (unmounted) state.path = null;
    };
    refetch();
    const timer = setInterval(refetch, REFETCH_MS);
    return () => { unmounted = true; clearInterval(timer); };
  }, [path]);
  return response.path === path ? response : { body: null, fault: null };
}

/** Error message of a failed call. */
export const Fault = ({ fault }) => fault && html`<p class="note bad" role="alert">${fault}</p>`;

/**
 * A table in pages of `size` rows. Columns are `{ name, cell, kind }`; a narrow screen shows rows as cards.
 */
export function Table({ label, columns, rows, rowKey, empty, size = ROWS }) {
  const [page, setPage] = useState(0);
  const last = Math.max(0, Math.ceil(rows.length / size) - 1);
  const at = Math.min(page, last);
  const shown = rows.slice(at * size, (at + 1) * size);
  if (rows.length === 0) return html`<p class="empty">${empty}</p>`;
  return html`
    <${Rows} label=${label} columns=${columns} rows=${shown} rowKey=${rowKey} />
    ${last > 0 && html`<${Pager} at=${at} shown=${shown.length} first=${at * size} total=${rows.length}
      back=${at > 0 && (() => setPage(at - 1))} on=${at < last && (() => setPage(at + 1))} />`}`;
}

/** The rows of a table. Columns of actions are hidden from users who may only read. */
export function Rows({ label, columns: all, rows, rowKey }) {
  const columns = all.filter((column) => column.kind !== 'act' || mayAct());
  return html`
  <table role="table" aria-label=${label}>
    <thead role="rowgroup"><tr role="row">${columns.map((column) =>
      html`<th role="columnheader" scope="col" class=${column.kind ?? ''}>${column.name}</th>`)}</tr></thead>
    <tbody role="rowgroup">${rows.map((row) => html`
      <tr role="row" key=${rowKey(row)}>${columns.map((column) =>
        html`<td role="cell" class=${column.kind ?? ''} data-name=${column.name}>${column.cell(row)}</td>`)}</tr>`)}
    </tbody>
  </table>`;
}

/** Buttons for the next and the previous page. */
export const Pager = ({ first, shown, total, back, on }) => html`
  <nav class="pager" aria-label="Pages">
    <button disabled=${!back} onClick=${back || undefined}>Back</button>
    <span>${first + 1}–${first + shown}${total == null ? '' : ` of ${total.toLocaleString('en')}`}</span>
    <button disabled=${!on} onClick=${on || undefined}>Next</button>
  </nav>`;

/** A choice of one of several options. */
export const Choice = ({ name, value, options, choose }) => html`
  <label class="choice">${name}
    <select value=${value} onChange=${(event) => choose(event.target.value)}>
      ${options.map(([option, text]) => html`<option value=${option} selected=${option === value}>${text}</option>`)}
    </select></label>`;

/** All proofs in progress, with the names of their workers; those that several workers make included. */
export const runningProofs = () => [...known.workers.values()].flatMap((worker) =>
  worker.running.map((proof) => ({ ...proof, workerName: worker.name }))).concat(known.overview?.divided ?? []);

/** Kinds of proof, as options of a choice. */
export const MODES = [['', 'any'], ...['core', 'compressed', 'plonk', 'groth16'].map((mode) => [mode, mode])];
