// The known state of the network, kept current by the event stream, or by polling without one. Views are notified
// at most once per frame.

import { read, readPage } from './api.js';

const POLL_MS = 3000;
const QUIET_MS = 15000;
const STREAM_RETRY_MS = 30000;
const ENDED = 1000;
const ENDINGS = new Set(['proved', 'unexecutable', 'failed', 'cancelled', 'expired']);

/** Whether a job of this state has ended. */
export const hasEnded = (state) => ENDINGS.has(state);

/**
 * The known state. `link` is `starting`, `live`, `polling`, `lost`, or `locked` when a token is required; `session` is
 * the identity of the user; `version` counts changes.
 */
export const known = {
  session: null,
  overview: null,
  workers: new Map(),
  ended: null,
  link: 'starting',
  fault: null,
  heardAt: null,
  version: 0,
};

const listeners = new Set();
let frame = 0;
let stream = null;
let lastResponse = 0;
let fetching = null;
let historyWanted = false;
// Counts signing in and out. Responses to calls of an earlier epoch are ignored.
let epoch = 0;

/** Calls back after changes, at most once per frame; returns a function that ends the subscription. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Starts to follow the state of the network. */
export function follow() {
  fetchAll();
  open();
  setInterval(() => {
    const quiet = Date.now() - lastResponse;
    const polls = stream === null && known.link !== 'locked';
    if (quiet >= (polls ? POLL_MS : QUIET_MS)) fetchAll();
  }, 1000);
  setInterval(() => stream ?? (known.link === 'locked' || open()), STREAM_RETRY_MS);
}

/** Continues after signing in. */
export function enter() {
  epoch += 1;
  fetching = null;
  Object.assign(known, { link: 'starting', fault: null });
  changed();
  fetchAll(true);
  if (stream === null) open();
}

/** Locks the page after signing out. On Hierophant's own machine, where no token is required, it is unlocked at once. */
export function leave() {
  lock();
  fetchAll();
}

/** Discards all data: a token is required to see them. */
function lock() {
  epoch += 1;
  fetching = null;
  stream?.close();
  stream = null;
  Object.assign(known, { session: null, overview: null, workers: new Map(), ended: null, link: 'locked', fault: null, heardAt: null });
  changed();
}

/** Fetches all data now, for instance after a command. */
export const refresh = () => fetchAll();

function changed() {
  known.version += 1;
  if (frame !== 0) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    for (const listener of listeners) listener();
  });
}

function open() {
  const opened = new EventSource('/api/v1/events');
  stream = opened;
  opened.addEventListener('reset', () => fetchAll(true));
  opened.addEventListener('changes', (event) => {
    apply(JSON.parse(event.data));
    reached('live');
  });
  opened.onopen = () => reached('live');
  opened.onerror = () => {
    if (opened.readyState === EventSource.CLOSED) {
      // There is no stream, or it was rejected: fall back to polling.
      opened.close();
      stream = null;
    }
    fetchAll();
  };
}

function reached(link) {
  lastResponse = Date.now();
  Object.assign(known, { link, fault: null, heardAt: lastResponse });
  changed();
}

/** Fetches all data, one round at a time: calls during a round share it, or start another one for the whole history. */
function fetchAll(wholeHistory = false) {
  historyWanted ||= wholeHistory || known.ended === null;
  if (fetching === null) {
    const mine = round().finally(() => {
      if (fetching !== mine) return;
      fetching = null;
      if (historyWanted && !['lost', 'locked'].includes(known.link)) fetchAll();
    });
    fetching = mine;
  }
  return fetching;
}

async function round() {
  const began = epoch;
  const wholeHistory = historyWanted;
  historyWanted = false;
  try {
    const [session, overview, workers] = await Promise.all(['/session', '/overview', '/workers'].map(read));
    if (began !== epoch) return;
    known.session = session;
    known.overview = overview;
    known.workers = new Map(workers.map((worker) => [worker.id, worker]));
    if (known.link === 'locked') open();
    reached(stream !== null && stream.readyState === EventSource.OPEN ? 'live' : 'polling');
    // The long list is fetched after the first frame is drawn.
    const latest = await readPage(`/proof-history?limit=${wholeHistory ? ENDED : 50}`);
    if (began !== epoch) return;
    addEnded(latest.map(fromHistory), wholeHistory);
    changed();
  } catch (error) {
    if (began !== epoch) return;
    lastResponse = Date.now();
    historyWanted ||= wholeHistory;
    if (error.code === 401) {
      lock();
      return;
    }
    Object.assign(known, { link: 'lost', fault: error.message });
    changed();
  }
}

/** Applies an event of changes. */
function apply(changes) {
  known.overview = changes.overview ?? known.overview;
  for (const worker of changes.workers ?? []) known.workers.set(worker.id, worker);
  for (const id of changes.workers_gone ?? []) known.workers.delete(id);
  const ended = (changes.jobs ?? []).filter((job) => hasEnded(job.state));
  if (ended.length > 0) addEnded(ended.map(fromJob), false);
}

/** Adds ended jobs to the known ones, or replaces these; latest first. */
function addEnded(jobs, replace) {
  const all = new Map((replace ? [] : known.ended ?? []).map((job) => [job.id, job]));
  for (const job of jobs) all.set(job.id, job);
  known.ended = [...all.values()].sort((a, b) => b.finishedAt - a.finishedAt).slice(0, ENDED);
}

const millis = (seconds) => (seconds == null ? null : seconds * 1000);

const fromHistory = (job) => ({
  ...job,
  id: job.job,
  createdAt: millis(job.created_at),
  startedAt: millis(job.started_at),
  finishedAt: millis(job.finished_at),
  seconds: job.proof_seconds,
});

const fromJob = (job) => ({
  id: job.id,
  state: job.state,
  mode: job.mode,
  program: job.program,
  contemplant: job.contemplant,
  failure: job.failure,
  attempts: job.attempts,
  cycles: job.cycles,
  createdAt: job.created_at,
  startedAt: job.started_at,
  finishedAt: job.finished_at,
  seconds: job.started_at == null ? null : (job.finished_at - job.started_at) / 1000,
});
