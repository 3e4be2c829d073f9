// Commands of operators, each in a dialog. Only one dialog is open at a time.

import { html, useEffect, useLayoutEffect, useRef, useState } from './vendor/preact.js';
import { act } from './api.js';
import { many, short } from './format.js';
import { hasEnded, refresh } from './live.js';
import { MODES } from './parts.js';

let show = () => {};
let report = () => {};

/** Opens a dialog to choose one of several actions. */
export const ask = (title, actions) => show({ title, actions });

/** Opens the dialog to cancel queued jobs. */
export const askClear = () => show({ clear: true });

/** The open dialog, and the outcome of the last one. */
export function Dialogs() {
  const [dialog, setDialog] = useState(null);
  const [outcome, setOutcome] = useState(null);
  show = (next) => { setOutcome(null); setDialog(next); };
  report = setOutcome;
  useEffect(() => {
    if (outcome === null) return undefined;
    const timer = setTimeout(() => setOutcome(null), 8000);
    return () => clearTimeout(timer);
  }, [outcome]);
  const close = () => setDialog(null);
  return html`
    ${dialog && (dialog.clear ? html`<${Clear} close=${close} />` : html`<${Ask} ...${dialog} close=${close} />`)}
    <div class="outcome" role="status">${outcome && html`<p>${outcome}</p>`}</div>`;
}

function Dialog({ title, close, children }) {
  const dialog = useRef(null);
  useLayoutEffect(() => { dialog.current.showModal(); }, []);
  return html`
    <dialog ref=${dialog} aria-label=${title} onClose=${close} onClick=${(event) => event.target === dialog.current && close()}>
      <h2>${title}</h2>${children}
    </dialog>`;
}

function Ask({ title, actions, close }) {
  const [chosen, setChosen] = useState(0);
  const [text, setText] = useState('');
  const [fault, setFault] = useState(null);
  const [busy, setBusy] = useState(false);
  const action = actions[chosen];
  const go = async (event) => {
    event.preventDefault();
    setBusy(true);
    setFault(null);
    try {
      await act(action.path, action.field ? { ...action.body, [action.field]: text.trim() } : action.body);
      report(`${title}: ${action.done}.`);
      close();
      refresh();
    } catch (error) {
      setFault(error.message);
    }
    setBusy(false);
  };
  return html`
    <${Dialog} title=${title} close=${close}>
      <form onSubmit=${go}>
        ${actions.length === 1 ? html`<p>${action.says}</p>` : html`
          <fieldset><legend class="hidden">Action</legend>${actions.map((each, index) => html`
            <label class="option"><input type="radio" name="action" checked=${index === chosen} onChange=${() => { setChosen(index); setFault(null); }} />
              <span><b>${each.name}</b><small>${each.says}</small></span></label>`)}
          </fieldset>`}
        ${action.field && html`<label class="words">Reason, shown to all operators
          <input required maxlength="200" value=${text} onInput=${(event) => setText(event.target.value)} /></label>`}
        ${fault && html`<p class="note bad" role="alert">${fault}</p>`}
        <div class="buttons">
          <button type="button" onClick=${close}>Close</button>
          <button class=${action.danger ? 'danger' : 'primary'} disabled=${busy}>${action.name}</button>
        </div>
      </form>
    <//>`;
}

function Clear({ close }) {
  const [filter, setFilter] = useState({ mode: '', program: '', requester: '', older_than_seconds: '' });
  const [running, setRunning] = useState(false);
  const [found, setFound] = useState(null);
  const [fault, setFault] = useState(null);
  const [busy, setBusy] = useState(false);
  const change = (name) => (event) => { setFilter({ ...filter, [name]: event.target.value }); setFound(null); };
  const send = (dryRun) => async (event) => {
    event.preventDefault();
    setBusy(true);
    setFault(null);
    const filled = Object.entries(filter).filter(([, value]) => value.trim() !== '');
    const all = filled.length === 0;
    const body = Object.fromEntries(filled.map(([name, value]) => [name, name === 'older_than_seconds' ? Number(value) : value.trim()]));
    try {
      const cleared = await act('/queue/clear', { ...body, ...(all && { all }), running, dry_run: dryRun });
      if (dryRun) {
        setFound(cleared);
      } else {
        report(`${many(cleared.jobs, 'job')} cancelled.`);
        close();
        refresh();
      }
    } catch (error) {
      setFault(error.message);
    }
    setBusy(false);
  };
  return html`
    <${Dialog} title="Clear the queue" close=${close}>
      <form onSubmit=${send(found === null)}>
        <p>Cancels the queued jobs that match all conditions. Empty fields match every job.</p>
        <div class="fields">
          <label>Kind of proof<select value=${filter.mode} onChange=${change('mode')}>${MODES.map(([value, text]) => html`<option value=${value}>${text}</option>`)}</select></label>
          <label>Older than, in seconds<input type="number" min="0" step="1" value=${filter.older_than_seconds} onInput=${change('older_than_seconds')} /></label>
          <label>Program id<input value=${filter.program} onInput=${change('program')} /></label>
          <label>Requester address<input value=${filter.requester} onInput=${change('requester')} /></label>
        </div>
        <label class="option"><input type="checkbox" checked=${running} onChange=${() => { setRunning(!running); setFound(null); }} /><span>Include jobs in progress</span></label>
        <p role="status">${found !== null && (found.jobs === 0 ? 'No job matches.' : html`<b>${many(found.jobs, 'job')}</b> with ${many(found.requests, 'request')} will be cancelled.`)}</p>
        ${fault && html`<p class="note bad" role="alert">${fault}</p>`}
        <div class="buttons">
          <button type="button" onClick=${close}>Close</button>
          ${found === null || found.jobs === 0
            ? html`<button key="count" class="primary" disabled=${busy} onClick=${send(true)}>Count matches</button>`
            : html`<button key="clear" class="danger" disabled=${busy}>Cancel ${many(found.jobs, 'job')}</button>`}
        </div>
      </form>
    <//>`;
}

/** Actions on a job in its state. */
export function jobActions(job) {
  const path = `/jobs/${job.id}`;
  const clients = job.requests ? many(job.requests.length, 'request') : 'requests';
  const cancel = { name: 'Cancel', danger: true, path: `${path}/cancel`, body: {}, done: 'cancelled',
    says: `Cancels the job with its ${clients}. A worker that is proving it stops.` };
  const requeue = { name: 'Requeue', path: `${path}/requeue`, body: {}, done: 'requeued',
    says: 'Returns the job to the queue. A worker that is proving it stops, without a strike.' };
  const priority = ['urgent', 'normal', 'low'].map((value) => ({
    name: `Priority: ${value}`, path: `${path}/priority`, body: { class: value }, done: `priority set to ${value}`,
    says: { urgent: 'Ahead of all other jobs.', normal: 'In queue order.', low: 'Behind all other jobs.' }[value] }));
  if (hasEnded(job.state)) return job.state === 'failed' ? [requeue] : [];
  return job.state === 'queued' ? [cancel, ...priority] : [cancel, requeue];
}

/** Actions on a worker in its state. */
export function workerActions(worker) {
  const path = `/workers/${worker.id}`;
  const drain = { name: 'Drain', path: `${path}/drain`, body: {}, done: 'draining',
    says: 'Accepts no more jobs, finishes those that it has, and leaves.' };
  const undrain = { name: 'Undrain', path: `${path}/undrain`, body: {}, done: 'accepts jobs again', says: 'Accepts jobs again.' };
  const drop = { name: 'Drop', danger: true, path: `${path}/drop`, body: {}, done: 'dropped',
    says: 'Closes its connection. Its jobs return to the queue at once. It may reconnect.' };
  const block = { name: 'Block', danger: true, path: `${path}/block`, body: {}, done: 'blocked',
    says: 'Closes its connection, and rejects it until it is unblocked.' };
  const unblock = { name: 'Unblock', path: `${path}/unblock`, body: {}, done: 'unblocked', says: 'It may connect again.' };
  const turn = worker.blocked == null ? block : unblock;
  return worker.state === null ? [turn] : [worker.state === 'draining' ? undrain : drain, drop, turn];
}

/** Opens the dialog to cancel one request of a job. */
export const askRequest = (request) => ask(`Request ${request.id}`, [{ name: 'Cancel', danger: true, path: `/requests/${request.id}/cancel`, body: {}, done: 'cancelled',
  says: 'Cancels the request. Its job continues if other requests wait for it.' }]);

/** Opens the dialog of actions on a job. */
export const askJob = (job, only) => ask(`Job ${short(job.id)}`, jobActions(job).filter((action) => !only || action.name === only));

/** Opens the dialog of actions on a worker. */
export const askWorker = (worker) => ask(`Worker ${worker.name}`, workerActions(worker));

/** Opens the dialog to pause dispatch. */
export const askPause = () => ask('Pause', [{ name: 'Pause', danger: true, path: '/dispatch/pause', body: {}, field: 'reason', done: 'dispatch is paused',
  says: 'Assigns no more jobs. Proofs in progress continue, and new requests are accepted and queued.' }]);

/** Opens the dialog to resume dispatch. */
export const askResume = () => ask('Resume', [{ name: 'Resume', path: '/dispatch/resume', body: {}, done: 'dispatch is resumed', says: 'Assigns jobs again.' }]);
