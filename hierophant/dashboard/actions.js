// What operators do, each after a question. Only one question is open at a time.

import { html, useEffect, useLayoutEffect, useRef, useState } from './vendor/preact.js';
import { act } from './api.js';
import { many, short } from './format.js';
import { hasEnded, refresh } from './live.js';
import { MODES } from './parts.js';

let show = () => {};
let tell = () => {};

/** Asks which of some actions to take on something, and takes it. */
export const ask = (title, actions) => show({ title, actions });

/** Asks which waiting jobs to cancel, says how many they are, and cancels them. */
export const askClear = () => show({ clear: true });

/** The place where questions and their outcome appear. */
export function Questions() {
  const [question, setQuestion] = useState(null);
  const [outcome, setOutcome] = useState(null);
  show = (next) => { setOutcome(null); setQuestion(next); };
  tell = setOutcome;
  useEffect(() => {
    if (outcome === null) return undefined;
    const timer = setTimeout(() => setOutcome(null), 8000);
    return () => clearTimeout(timer);
  }, [outcome]);
  const close = () => setQuestion(null);
  return html`
    ${question && (question.clear ? html`<${Clear} close=${close} />` : html`<${Ask} ...${question} close=${close} />`)}
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
  const [words, setWords] = useState('');
  const [fault, setFault] = useState(null);
  const [busy, setBusy] = useState(false);
  const action = actions[chosen];
  const go = async (event) => {
    event.preventDefault();
    setBusy(true);
    setFault(null);
    try {
      await act(action.path, action.field ? { ...action.body, [action.field]: words.trim() } : action.body);
      tell(`${title}: ${action.done}.`);
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
          <fieldset><legend class="hidden">What to do</legend>${actions.map((each, index) => html`
            <label class="option"><input type="radio" name="action" checked=${index === chosen} onChange=${() => { setChosen(index); setFault(null); }} />
              <span><b>${each.name}</b><small>${each.says}</small></span></label>`)}
          </fieldset>`}
        ${action.field && html`<label class="words">Reason, for everybody who looks
          <input required maxlength="200" value=${words} onInput=${(event) => setWords(event.target.value)} /></label>`}
        ${fault && html`<p class="note bad" role="alert">${fault}</p>`}
        <div class="buttons">
          <button type="button" onClick=${close}>Leave it</button>
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
    const filled = Object.entries(filter).filter(([, word]) => word.trim() !== '');
    const body = Object.fromEntries(filled.map(([name, word]) => [name, name === 'older_than_seconds' ? Number(word) : word.trim()]));
    try {
      const answer = await act('/queue/clear', { ...body, running, dry_run: dryRun });
      if (dryRun) {
        setFound(answer);
      } else {
        tell(`${many(answer.jobs, 'job')} cancelled.`);
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
        <p>Cancels the waiting jobs that fit all of this. Empty fields fit every job.</p>
        <div class="fields">
          <label>Kind of proof<select value=${filter.mode} onChange=${change('mode')}>${MODES.map(([word, text]) => html`<option value=${word}>${text}</option>`)}</select></label>
          <label>Older than, in seconds<input type="number" min="0" step="1" value=${filter.older_than_seconds} onInput=${change('older_than_seconds')} /></label>
          <label>Program's id<input value=${filter.program} onInput=${change('program')} /></label>
          <label>Requester's address<input value=${filter.requester} onInput=${change('requester')} /></label>
        </div>
        <label class="option"><input type="checkbox" checked=${running} onChange=${() => { setRunning(!running); setFound(null); }} /><span>Also jobs in progress</span></label>
        <p role="status">${found !== null && (found.jobs === 0 ? 'No job fits.' : html`<b>${many(found.jobs, 'job')}</b> with ${many(found.requests, 'request')} would end as cancelled.`)}</p>
        ${fault && html`<p class="note bad" role="alert">${fault}</p>`}
        <div class="buttons">
          <button type="button" onClick=${close}>Leave it</button>
          ${found === null || found.jobs === 0
            ? html`<button key="count" class="primary" disabled=${busy} onClick=${send(true)}>Count them</button>`
            : html`<button key="clear" class="danger" disabled=${busy}>Cancel ${many(found.jobs, 'job')}</button>`}
        </div>
      </form>
    <//>`;
}

/** What can be done with a job. */
export function jobActions(job) {
  const path = `/jobs/${job.id}`;
  const clients = job.requests ? many(job.requests.length, 'request') : 'requests';
  const cancel = { name: 'Cancel', danger: true, path: `${path}/cancel`, body: {}, done: 'cancelled',
    says: `It ends as cancelled, with its ${clients}. A Contemplant that is at it stops.` };
  const requeue = { name: 'Requeue', path: `${path}/requeue`, body: {}, done: 'requeued',
    says: 'The job goes back into the queue. A Contemplant that is at it stops, and it does not count against it.' };
  const priority = ['urgent', 'normal', 'low'].map((word) => ({
    name: `Priority: ${word}`, path: `${path}/priority`, body: { class: word }, done: `its priority is ${word} now`,
    says: { urgent: 'It goes before all others.', normal: 'It goes in its turn.', low: 'It goes after all others.' }[word] }));
  if (hasEnded(job.state)) return job.state === 'failed' ? [requeue] : [];
  return job.state === 'queued' ? [cancel, ...priority] : [cancel, requeue];
}

/** What can be done with a Contemplant. */
export function workerActions(worker) {
  const path = `/workers/${worker.id}`;
  const drain = { name: 'Drain', path: `${path}/drain`, body: {}, done: 'it takes no more jobs',
    says: 'It takes no more jobs and finishes what it has.' };
  const undrain = { name: 'Undrain', path: `${path}/undrain`, body: {}, done: 'it takes jobs again', says: 'It takes jobs again.' };
  const drop = { name: 'Drop', danger: true, path: `${path}/drop`, body: {}, done: 'dropped',
    says: 'Its connection is closed. What it proves goes back into the queue at once. It may come back.' };
  const block = { name: 'Block', danger: true, path: `${path}/block`, body: {}, done: 'blocked',
    says: 'It is dropped and turned away until it is unblocked.' };
  const unblock = { name: 'Unblock', path: `${path}/unblock`, body: {}, done: 'unblocked', says: 'It may connect again.' };
  const turn = worker.blocked == null ? block : unblock;
  return worker.state === null ? [turn] : [worker.state === 'draining' ? undrain : drain, drop, turn];
}

/** Asks whether to cancel one request of a job. */
export const askRequest = (request) => ask(`Request ${request.id}`, [{ name: 'Cancel', danger: true, path: `/requests/${request.id}/cancel`, body: {}, done: 'cancelled',
  says: 'It ends as cancelled. Its job goes on if somebody else waits for it.' }]);

/** Asks what to do with a job. */
export const askJob = (job, only) => ask(`Job ${short(job.id)}`, jobActions(job).filter((action) => !only || action.name === only));

/** Asks what to do with a Contemplant. */
export const askWorker = (worker) => ask(`Contemplant ${worker.name}`, workerActions(worker));

/** Asks whether to stop giving out jobs. */
export const askPause = () => ask('Pause', [{ name: 'Pause', danger: true, path: '/dispatch/pause', body: {}, field: 'reason', done: 'no more jobs are given out',
  says: 'No more jobs are given out. Proofs in the making go on, and clients go on being told that theirs are accepted.' }]);

/** Asks whether to give out jobs again. */
export const askResume = () => ask('Resume', [{ name: 'Resume', path: '/dispatch/resume', body: {}, done: 'jobs are given out again', says: 'Jobs are given out again.' }]);
