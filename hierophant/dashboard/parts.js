// Parts that several views are made of.

import { html, useEffect, useRef, useState } from './vendor/preact.js';
import { read } from './api.js';
import { count, duration, percent, short } from './format.js';
import { known, subscribe } from './live.js';
import { mayAct } from './session.js';

const ROWS = 50;
const AGAIN_MS = 2000;

const LOOKS = {
  proved: 'good', completed: 'good', ready: 'good', fulfilled: 'good',
  proving: 'busy', leased: 'busy', uploaded: 'busy', verifying: 'busy', running: 'busy',
  draining: 'warn', away: 'warn', lost: 'warn', expired: 'warn', blocked: 'warn',
  failed: 'bad', unexecutable: 'bad',
};

/** A state as a coloured word. */
export const Badge = ({ state }) => html`<span class=${`badge ${LOOKS[state] ?? 'plain'}`}>${state}</span>`;

/** The beginning of an id, which leads to its page. */
export const JobLink = ({ id }) => html`<a class="id" href=${`#/job/${id}`} title=${`Job ${id}`}>${short(id)}</a>`;

/** A figure with its name. */
export const Tile = ({ name, value, more, look }) => html`
  <div class=${`tile ${look ?? ''}`}><dt>${name}</dt><dd>${value}</dd>${more && html`<dd class="more">${more}</dd>`}</div>`;

/** Seconds that are left, marked if estimated. */
export const Eta = ({ seconds, estimated }) =>
  (seconds == null ? '–' : html`${estimated && html`<abbr title="estimated from the latest proofs of its kind">~</abbr>`}${seconds === 0 ? 'any moment' : duration(seconds)}`);

/** How far a proof is. */
export function Progress({ proof }) {
  const part = proof.fraction;
  const label = `${proof.phase ?? 'given out'}${part == null ? '' : ` ${percent(part)}`}`;
  const cycles = proof.cycles_total == null ? null
    : `${proof.cycles_done == null ? '' : `${count(proof.cycles_done)} of `}${count(proof.cycles_total)} cycles`;
  return html`
    <div class="progress">
      <div class="over"><span>${proof.estimated && part != null ? html`${proof.phase} <abbr title="estimated from the latest proofs of its kind">~</abbr>${percent(part)}` : label}</span>
        ${cycles && html`<span class="dim">${cycles}</span>`}</div>
      ${part == null
        ? html`<progress aria-label=${label}></progress>`
        : html`<progress aria-label=${label} max="1" value=${part}></progress>`}
    </div>`;
}

/** Follows what is known: the view is drawn anew after changes. */
export function useKnown() {
  const [, draw] = useState(0);
  useEffect(() => subscribe(() => draw(known.version)), []);
  return known;
}

/**
 * What a path of the API answers, asked again after changes, not more often than every two seconds.
 * `still` ends that: what has ended does not change.
 */
export function useRead(path, still) {
  const [answer, setAnswer] = useState({ path: null, body: null, fault: null });
  const state = useRef({ path: null, version: -1, busy: false }).current;
  useEffect(() => {
    let gone = false;
    const ask = async () => {
      if (state.busy || (state.path === path && (state.version === known.version || still?.(state.body)))) return;
      Object.assign(state, { busy: true, version: known.version, path });
      try {
        const body = await read(path);
        state.body = body;
        if (!gone) setAnswer({ path, body, fault: null });
      } catch (error) {
        if (!gone) setAnswer((old) => ({ path, body: old.path === path ? old.body : null, fault: error.message }));
      }
      state.busy = false;
      if (gone) state.path = null;
    };
    ask();
    const timer = setInterval(ask, AGAIN_MS);
    return () => { gone = true; clearInterval(timer); };
  }, [path]);
  return answer.path === path ? answer : { body: null, fault: null };
}

/** What could not be read, and why. */
export const Fault = ({ fault }) => fault && html`<p class="note bad" role="alert">${fault}</p>`;

/**
 * A table of what fits on a page. Columns are `{ name, cell, wide }`; a narrow screen shows rows as cards.
 * Without `page` the table pages through `rows` itself.
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

/** The rows of a table; who may only look sees no column to act by. */
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

/** Buttons for the next page and the one before. */
export const Pager = ({ first, shown, total, back, on }) => html`
  <nav class="pager" aria-label="Pages">
    <button disabled=${!back} onClick=${back || undefined}>Back</button>
    <span>${first + 1}–${first + shown}${total == null ? '' : ` of ${total.toLocaleString('en')}`}</span>
    <button disabled=${!on} onClick=${on || undefined}>Next</button>
  </nav>`;

/** A choice of one word among several. */
export const Choice = ({ name, value, options, choose }) => html`
  <label class="choice">${name}
    <select value=${value} onChange=${(event) => choose(event.target.value)}>
      ${options.map(([word, text]) => html`<option value=${word} selected=${word === value}>${text}</option>`)}
    </select></label>`;

/** All proofs in the making, with who makes them. */
export const runningProofs = () => [...known.workers.values()].flatMap((worker) =>
  worker.running.map((proof) => ({ ...proof, workerName: worker.name })));

/** Kinds of proof as options of a choice. */
export const MODES = [['', 'any'], ...['core', 'compressed', 'plonk', 'groth16'].map((mode) => [mode, mode])];
