//! Operator commands on requests, jobs and dispatch.

use alloy_primitives::Address;
use hierophant_model::commands::{ClearFilter, Cleared, Command, CommandOutcome, Paused};
use hierophant_model::records::{
    Change, JobRecord, Millis, RequestRecord, RequestState, Setting, SettingKind,
};
use network_lib::ids::{JobId, LeaseId, WorkerId};
use network_lib::wire::ToWorker;

use super::endings::End;
use super::{Effect, LiveJob, MAX_EFFECTS, ProofsCore};
use crate::SessionId;

/// Reason that a drained worker receives if the operator has given none.
const DRAINED: &str = "drained by the operator";

/// Reason why the core has not executed a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The job or request is not open: it has ended or does not exist, which the store knows.
    NotOpen,
    /// The current state does not allow the command; the text describes the state.
    Conflict(String),
}

impl From<&str> for Rejection {
    fn from(how_it_is: &str) -> Self {
        Self::Conflict(how_it_is.to_owned())
    }
}

impl ProofsCore {
    /// Executes a command on open jobs and requests.
    ///
    /// # Errors
    ///
    /// [`Rejection`]; nothing has changed then.
    pub fn command(
        &mut self,
        now: Millis,
        command: &Command,
    ) -> (Result<CommandOutcome, Rejection>, Vec<Effect>) {
        let mut effects = Vec::new();
        let answer = self.execute_command(now, command, &mut effects);
        if answer.as_ref().is_ok_and(|outcome| outcome.changed) {
            self.dispatch(now, &mut effects);
        }
        (answer, effects)
    }

    fn execute_command(
        &mut self,
        now: Millis,
        command: &Command,
        effects: &mut Vec<Effect>,
    ) -> Result<CommandOutcome, Rejection> {
        match command {
            Command::CancelRequest(id) => {
                let job = self.open.job(*id).ok_or(Rejection::NotOpen)?;
                self.end_request(now, *id, RequestState::Cancelled, effects);
                Ok(CommandOutcome::changed(if self.jobs.contains_key(&job) {
                    "the request is cancelled; its job continues for its other requests"
                } else {
                    "the request and its job are cancelled"
                }))
            }
            Command::CancelJob(id) => {
                let live = self.jobs.get(id).ok_or(Rejection::NotOpen)?;
                let requests = live.requests.len();
                self.end_job(now, *id, End::Cancelled, effects);
                Ok(CommandOutcome::changed(format!(
                    "the job is cancelled, with {}",
                    counted(requests)
                )))
            }
            Command::Requeue(id) => self.requeue(now, *id, effects),
            Command::Prioritise(id, priority) => {
                let live = self.jobs.get(id).ok_or(Rejection::NotOpen)?;
                if live.record.priority == Some(*priority) {
                    return Ok(CommandOutcome::unchanged(format!(
                        "its priority is already {priority}"
                    )));
                }
                self.update(now, *id, effects, |record| record.priority = Some(*priority));
                if self.queue.contains(*id) {
                    self.enqueue(*id);
                }
                Ok(CommandOutcome::changed(format!("its priority is {priority}")))
            }
            Command::Pause(reason) => Ok(self.pause(now, reason, effects)),
            Command::Resume => {
                if self.paused.take().is_none() {
                    return Ok(CommandOutcome::unchanged("dispatch is not paused"));
                }
                let change = Change::Unset(SettingKind::Paused, String::new());
                effects.push(Effect::Save(change));
                Ok(CommandOutcome::changed("dispatch is resumed"))
            }
        }
    }

    fn pause(&mut self, now: Millis, reason: &str, effects: &mut Vec<Effect>) -> CommandOutcome {
        if self.paused.as_ref().is_some_and(|paused| paused.reason == reason) {
            return CommandOutcome::unchanged("dispatch is already paused");
        }
        let since = self.paused.as_ref().map_or(now, |paused| paused.since);
        let reason = reason.to_owned();
        self.paused = Some(Paused { reason: reason.clone(), since });
        let subject = String::new();
        let setting = Setting { kind: SettingKind::Paused, subject, reason, since };
        effects.push(Effect::Save(Change::Set(setting)));
        CommandOutcome::changed(
            "dispatch is paused; running attempts continue, requests are still accepted",
        )
    }

    /// Takes a job from its workers without blame and without delay, and forgets what kept it from any worker. Its
    /// worker gets it again only if there is no other.
    fn requeue(
        &mut self,
        now: Millis,
        job: JobId,
        effects: &mut Vec<Effect>,
    ) -> Result<CommandOutcome, Rejection> {
        let live = self.jobs.get_mut(&job).ok_or(Rejection::NotOpen)?;
        let leases: Vec<LeaseId> = live.leases.iter().copied().collect();
        if let Some(ahead) = live.ahead {
            live.failures.forgive(now);
            live.failures.last = self.leases.get(&ahead).map(|held| held.attempt.prover.worker);
            self.give_back(now, ahead, "requeued by the operator", effects);
            return Ok(CommandOutcome::changed("it was taken from the worker that prepared it"));
        }
        if leases.is_empty() {
            let is_delayed = live.not_before.max(live.failures.not_before) > now;
            let is_kept = live.failures.forgive(now);
            live.not_before = live.not_before.min(now);
            let outcome = match (is_delayed, is_kept) {
                (true, _) => "its delay has ended; it waits for its next attempt, on any worker",
                (false, true) => "it waits for its next attempt, on any worker",
                (false, false) => return Ok(CommandOutcome::unchanged("it is already waiting")),
            };
            self.enqueue(job);
            return Ok(CommandOutcome::changed(outcome));
        }
        let held = || leases.iter().filter_map(|lease| self.leases.get(lease));
        if held().any(|held| held.checking) {
            return Err("its proof is being verified".into());
        }
        live.failures.forgive(now);
        live.not_before = live.not_before.min(now);
        live.failures.last = held().next_back().map(|held| held.attempt.prover.worker);
        self.set_interrupted(job, None);
        for lease in leases {
            self.stop_attempt(now, lease, "requeued by the operator", effects);
        }
        if let Some(live) = self.jobs.get_mut(&job) {
            live.is_whole = false;
        }
        self.return_to_queue(now, job, None, effects);
        Ok(CommandOutcome::changed("it was taken from its worker and is queued again"))
    }

    /// Creates a failed job again, as a new job without the failed attempts, for its requests whose deadline has
    /// not passed. If the same content is being proved already, they join that job. This and the next sweeps save some
    /// hundred requests each; those that a crash leaves failed join when the command is repeated.
    pub fn recreate(
        &mut self,
        now: Millis,
        failed: JobRecord,
        requests: Vec<RequestRecord>,
    ) -> (CommandOutcome, Vec<Effect>) {
        let mut effects = Vec::new();
        let job = self.by_key.get(&failed.key).copied().unwrap_or_else(|| {
            let id = JobId(self.ids.draw());
            let program = (failed.program, failed.program_blob);
            let stdin = (failed.stdin, failed.stdin_blob);
            let (key, priority) = (failed.key, failed.priority);
            let record = JobRecord::queued(id, key, failed.spec, program, stdin, now);
            let record = JobRecord { priority, ..record };
            effects.push(Effect::Save(Change::Job(record.clone())));
            self.by_key.insert(record.key, id);
            self.jobs.insert(id, Box::new(LiveJob::new(record)));
            id
        });
        let count = counted(requests.len());
        self.reopen_requests(now, job, requests, &mut effects);
        self.dispatch(now, &mut effects);
        let outcome = CommandOutcome::changed(format!("made again as job {job}, for {count}"));
        (CommandOutcome { job: Some(job), ..outcome }, effects)
    }

    /// Jobs and requests that [`clear`](Self::clear) would cancel.
    #[must_use]
    pub fn preview_clear(&self, filter: &ClearFilter) -> Cleared {
        let all = self.jobs.values().map(|live| &**live);
        let mut matching: Vec<&LiveJob> = all.filter(|live| matches(live, filter)).collect();
        matching.sort_by_key(|live| (live.record.created_at, live.record.id));
        let requests = matching.iter().map(|live| of_requester(live, filter.requester).count());
        Cleared {
            requests: requests.sum(),
            jobs: matching.iter().map(|live| live.record.id).collect(),
        }
    }

    /// Cancels matching jobs, or only the requests of one address in each. Jobs that have ended since are skipped;
    /// jobs that were assigned since are cancelled too. One call has some hundred effects, and leaves in `jobs` those
    /// that remain for the next one.
    pub fn clear(
        &mut self,
        now: Millis,
        jobs: &mut Vec<JobId>,
        requester: Option<Address>,
    ) -> (Cleared, Vec<Effect>) {
        let (mut cleared, mut effects) = (Cleared::default(), Vec::new());
        let mut done = 0;
        for job in &*jobs {
            if effects.len() >= MAX_EFFECTS {
                break;
            }
            done += 1;
            let Some(live) = self.jobs.get(job) else { continue };
            let requests: Vec<_> =
                of_requester(live, requester).map(|request| request.id).collect();
            if requests.len() == live.requests.len() {
                cleared.jobs.push(*job);
                cleared.requests += requests.len();
                self.end_job(now, *job, End::Cancelled, &mut effects);
                continue;
            }
            let mut left = requests.len();
            for request in requests.into_iter().take(MAX_EFFECTS) {
                self.end_request(now, request, RequestState::Cancelled, &mut effects);
                cleared.requests += 1;
                left -= 1;
            }
            if left > 0 {
                done -= 1;
                break;
            }
            cleared.jobs.push(*job);
        }
        jobs.drain(..done);
        (cleared, effects)
    }

    /// Drains a worker, or ends its drain. A drained worker is sent away once it runs no attempt.
    pub fn worker_drained(
        &mut self,
        now: Millis,
        id: WorkerId,
        session: SessionId,
        drained: Option<String>,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(worker) = self.connected(id, session) {
            worker.drained = drained;
            self.drained.insert(id);
            self.dispatch(now, &mut effects);
        }
        effects
    }

    /// Sends drained workers away as soon as they run no attempt. Until then an operator can end the drain.
    pub(super) fn release_drained(&mut self, effects: &mut Vec<Effect>) {
        let Self { workers, drained, .. } = self;
        drained.retain(|id| workers.get(id).is_some_and(|worker| worker.drained.is_some()));
        for id in &*drained {
            let Some(worker) = workers.get(id) else { continue };
            let works = !worker.leases.is_empty() || !worker.ahead.is_empty() || worker.has_tasks();
            let idle = !works && !worker.draining && !worker.away;
            if let Some(reason) = worker.drained.clone().filter(|_| idle) {
                if let Some(worker) = workers.get_mut(id) {
                    worker.draining = true;
                }
                let reason = if reason.is_empty() { DRAINED.to_owned() } else { reason };
                effects.push(Effect::Send(*id, ToWorker::Drain { reason }));
            }
        }
    }
}

fn matches(live: &LiveJob, filter: &ClearFilter) -> bool {
    let record = &live.record;
    filter.states.contains(&record.state)
        && filter.mode.is_none_or(|mode| mode == record.spec.mode)
        && filter.program.is_none_or(|program| program == record.spec.vk_hash)
        && filter.created_by.is_none_or(|latest| record.created_at <= latest)
        && of_requester(live, filter.requester).next().is_some()
}

fn of_requester(
    live: &LiveJob,
    requester: Option<Address>,
) -> impl Iterator<Item = &RequestRecord> {
    let theirs = move |request: &&RequestRecord| requester.is_none_or(|it| it == request.requester);
    live.requests.values().filter(theirs)
}

fn counted(requests: usize) -> String {
    if requests == 1 { "1 request".to_owned() } else { format!("{requests} requests") }
}
