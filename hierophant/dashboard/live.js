// What is known of the network, kept up to date: by the event stream, or by asking again and again where
// there is none. Views are told at most once per frame.

import { read, readPage } from './api.js';

const POLL_MS = 3000;
const QUIET_MS = 15000;
const STREAM_RETRY_MS = 30000;
const ENDED = 1000;
const ENDINGS = new Set(['proved', 'unexecutable', 'failed', 'cancelled', 'expired']);

/** Whether a job of this state has ended. */
export const hasEnded = (state) => ENDINGS.has(state);

/**
 * What is known. `link` is `starting`, `live`, `polling`, `lost`, or `locked` when a token is needed; `session` says
 * who looks; `version` counts changes.
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
let heard = 0;
let asking = null;
let allWanted = false;
// Answers to questions of before the last signing in or out count no more.
let epoch = 0;

/** Calls back after changes, at most once per frame; returns how to stop that. */
export function subscribe(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Starts to follow the network. */
export function follow() {
  askAll();
  open();
  setInterval(() => {
    const quiet = Date.now() - heard;
    const polls = stream === null && known.link !== 'locked';
    if (quiet >= (polls ? POLL_MS : QUIET_MS)) askAll();
  }, 1000);
  setInterval(() => stream ?? (known.link === 'locked' || open()), STREAM_RETRY_MS);
}

/** Goes on after signing in. */
export function enter() {
  epoch += 1;
  asking = null;
  Object.assign(known, { link: 'starting', fault: null });
  changed();
  askAll(true);
  if (stream === null) open();
}

/** After signing out: whoever needs no token, on Hierophant's own machine, goes on. */
export function leave() {
  lock();
  askAll();
}

/** Forgets everything: a token is needed to see it. */
function lock() {
  epoch += 1;
  asking = null;
  stream?.close();
  stream = null;
  Object.assign(known, { session: null, overview: null, workers: new Map(), ended: null, link: 'locked', fault: null, heardAt: null });
  changed();
}

/** Asks for everything that changes now, for instance after an action. */
export const refresh = () => askAll();

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
  opened.addEventListener('reset', () => askAll(true));
  opened.addEventListener('changes', (event) => {
    take(JSON.parse(event.data));
    reached('live');
  });
  opened.onopen = () => reached('live');
  opened.onerror = () => {
    if (opened.readyState === EventSource.CLOSED) {
      // There is no stream, or it was refused: asking must do.
      opened.close();
      stream = null;
    }
    askAll();
  };
}

function reached(link) {
  heard = Date.now();
  Object.assign(known, { link, fault: null, heardAt: heard });
  changed();
}

/** One round of questions at a time; whoever comes meanwhile shares it, unless everything is to be read anew. */
function askAll(everything = false) {
  allWanted ||= everything || known.ended === null;
  if (asking === null) {
    const mine = round().finally(() => {
      if (asking !== mine) return;
      asking = null;
      if (allWanted && !['lost', 'locked'].includes(known.link)) askAll();
    });
    asking = mine;
  }
  return asking;
}

async function round() {
  const began = epoch;
  const everything = allWanted;
  allWanted = false;
  try {
    const [session, overview, workers] = await Promise.all(['/session', '/overview', '/workers'].map(read));
    if (began !== epoch) return;
    known.session = session;
    known.overview = overview;
    known.workers = new Map(workers.map((worker) => [worker.id, worker]));
    if (known.link === 'locked') open();
    reached(stream !== null && stream.readyState === EventSource.OPEN ? 'live' : 'polling');
    // The long list comes after the first picture.
    const latest = await readPage(`/proof-history?limit=${everything ? ENDED : 50}`);
    if (began !== epoch) return;
    addEnded(latest.map(fromHistory), everything);
    changed();
  } catch (error) {
    if (began !== epoch) return;
    heard = Date.now();
    allWanted ||= everything;
    if (error.code === 401) {
      lock();
      return;
    }
    Object.assign(known, { link: 'lost', fault: error.message });
    changed();
  }
}

function take(news) {
  known.overview = news.overview ?? known.overview;
  for (const worker of news.workers ?? []) known.workers.set(worker.id, worker);
  for (const id of news.workers_gone ?? []) known.workers.delete(id);
  const ended = (news.jobs ?? []).filter((job) => hasEnded(job.state));
  if (ended.length > 0) addEnded(ended.map(fromJob), false);
}

/** Puts finished proofs into their places, the latest first. */
function addEnded(jobs, instead) {
  const all = new Map((instead ? [] : known.ended ?? []).map((job) => [job.id, job]));
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
