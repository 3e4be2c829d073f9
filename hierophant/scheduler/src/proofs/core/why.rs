//! Explanation why a job has no proof yet.

use std::collections::BTreeSet;

use hierophant_model::commands::with_reason;
use hierophant_model::records::{JobState, Millis};
use network_lib::ids::{JobId, WorkerId};

use super::{LiveJob, ProofsCore};
use crate::proofs::Why;
use crate::proofs::assign::Fleet;
use crate::proofs::fleet::TaskShape;
use crate::proofs::lease::{Lease, Worker};
use crate::proofs::memory::{MemoryFit, gib};
use crate::proofs::need::{Need, Wanted};

impl ProofsCore {
    /// Explains why a job has no proof yet; `None` if it has ended or does not exist.
    #[must_use]
    pub fn why(&self, now: Millis, job: JobId) -> Option<Why> {
        let live = self.jobs.get(&job)?;
        if live.ending.is_some() {
            let reason = format!("it has ended; {} of its requests follow", live.requests.len());
            return Some(Why { reason, ahead: None });
        }
        if !live.leases.is_empty() {
            let held = live.leases.iter().filter_map(|lease| self.leases.get(lease));
            let reason = held.map(|held| self.attempt(now, held)).collect::<Vec<_>>().join("; ");
            return Some(Why { reason, ahead: None });
        }
        let ahead = self.queue.jobs_ahead_of(job);
        let prepared = live.ahead.and_then(|lease| self.leases.get(&lease));
        let mut reason = match (&self.paused, prepared) {
            (Some(paused), _) => with_reason("dispatch is paused", &paused.reason),
            (None, Some(held)) => format!(
                "{} prepares it and starts it once a slot is free; jobs ahead of it: {ahead}",
                held.attempt.prover.name
            ),
            (None, None) => self.waiting(now, live, ahead),
        };
        if let Some(decision) = self.explain_sharding(now, live) {
            reason.push_str(&format!("; {decision}"));
        }
        if let Some(priority) = live.record.priority {
            reason.push_str(&format!("; an operator has set its priority to {priority}"));
        }
        Some(Why { reason, ahead: Some(ahead) })
    }

    fn attempt(&self, now: Millis, held: &Lease) -> String {
        let prover = &held.attempt.prover;
        let name = &prover.name;
        let since = seconds(now.since(held.started_at));
        if prover.is_fleet() && held.state() <= JobState::Proving {
            return self.tasks(held.job, &since);
        }
        let away = self.workers.get(&prover.worker).is_none_or(|worker| worker.away);
        match held.state() {
            JobState::Verifying => format!("the proof of {name} is being verified"),
            _ if away => format!(
                "assigned to {name} {since} ago, whose connection is lost; queued again unless \
                 it reconnects"
            ),
            JobState::Uploaded => format!(
                "{name} has uploaded its proof but not reported \
                                        completion"
            ),
            JobState::Leased => {
                format!("assigned to {name} {since} ago, which has not reported yet")
            }
            _ => format!("{name} has been proving for {since}"),
        }
    }

    /// How far a job is that is proved as tasks.
    fn tasks(&self, job: JobId, since: &str) -> String {
        let Some(division) = self.divisions.jobs.get(&job) else { return String::new() };
        let (done, all) = division.tasks.shards_done();
        let is_proved = division.tasks.is_executed() && done == all;
        if is_proved && division.tasks.has_ended() {
            return format!(
                "several workers proved its {all} shards in {since}: they are put together"
            );
        }
        let running = self.divisions.attempts.values().filter(|held| held.record.job == job);
        let workers: BTreeSet<_> = running.clone().map(|held| held.record.prover.worker).collect();
        let (tasks, workers) = (running.count(), workers.len());
        if is_proved {
            return format!(
                "several workers have been proving it for {since}: its {all} shards are done, and \
                 their proofs are joined by {tasks} tasks on {workers} workers"
            );
        }
        let executes =
            if division.tasks.is_executed() { "" } else { ", and the execution continues" };
        let private = self.is_private(job);
        let shape = TaskShape::of(division.tasks.engine(), &division.tasks, private);
        let without_right = if private && self.workers.takers(shape).next().is_none() {
            "; its input is private, and no worker that takes its tasks has the right to private inputs"
        } else {
            ""
        };
        format!(
            "several workers have been proving it for {since}: {done} of {all} shards are done, \
             {tasks} tasks run on {workers} workers{executes}{without_right}"
        )
    }

    fn waiting(&self, now: Millis, live: &LiveJob, ahead: usize) -> String {
        if live.not_before > now {
            let rest = seconds(live.not_before.since(now));
            let failure = live.record.failure.as_ref();
            let last = failure.map_or_else(String::new, |it| format!("; last failure: {it}"));
            return format!("interrupted; next attempt in {rest} at the earliest{last}");
        }
        let spec = &live.record.spec;
        let what = format!("{} of circuit {}", spec.mode, spec.circuit_version);
        let is_limited = |worker: &Worker| !worker.may_get(live.is_private());
        let supports = |worker: &Worker| worker.fits(Wanted { spec, private: false });
        let limited = self.workers.values().filter(|it| supports(it) && is_limited(it)).count();
        if self.workers.is_empty() {
            return format!("no worker is connected{}", at_fault(live));
        }
        let able: Vec<(&WorkerId, &Worker)> =
            self.workers.iter().filter(|(_, worker)| worker.fits(live.wanted())).collect();
        if able.is_empty() && limited > 0 {
            return format!(
                "its input is private: no connected worker that supports {what} ({limited}) has the right to private \
                 inputs{}",
                at_fault(live)
            );
        }
        let with_right = if limited > 0 { " and have the right to its private input" } else { "" };
        if able.is_empty() {
            let connected = self.workers.len();
            let stopped = self.workers.values().filter_map(|worker| {
                let unavailable_reason = worker.capabilities.unavailable_reason.as_ref()?;
                Some(format!("; {}: {unavailable_reason}", worker.name))
            });
            let stopped: String = stopped.collect();
            let failed = at_fault(live);
            return format!("no connected worker ({connected}) supports {what}{stopped}{failed}");
        }
        if !able.iter().any(|(_, worker)| worker.takes_jobs()) {
            let drained = able.iter().filter_map(|(_, worker)| {
                let reason = worker.drained.as_ref()?;
                Some(format!("; {}", with_reason(&format!("{} is drained", worker.name), reason)))
            });
            let drained: String = drained.collect();
            let rests =
                able.iter().filter(|(_, worker)| worker.resting).filter_map(|(id, worker)| {
                    Some(format!("; {} {}", worker.name, self.stats.get(*id)?.rest.obstacle()?))
                });
            let (rests, failed): (String, _) = (rests.collect(), at_fault(live));
            let or_rest = if rests.is_empty() { "" } else { ", or rest" };
            return format!(
                "all workers that support {what}{with_right} are draining or disconnected{or_rest}{drained}{rests}{failed}"
            );
        }
        let taking = able.iter().filter(|(_, worker)| worker.takes_jobs());
        let taking: Vec<(&WorkerId, &Worker)> = taking.copied().collect();
        let fit = |(id, worker): &(&WorkerId, &Worker)| live.failures.oom.fit(**id, worker);
        if taking.iter().map(fit).max() == Some(MemoryFit::Less) {
            let workers: Vec<&Worker> = taking.iter().map(|(_, worker)| *worker).collect();
            if let Some(words) = live.failures.oom.explain(&workers) {
                return words;
            }
        }
        self.busy(now, live, &able, ahead)
    }

    /// Explains why no capable worker can take the job now.
    fn busy(
        &self,
        now: Millis,
        live: &LiveJob,
        able: &[(&WorkerId, &Worker)],
        ahead: usize,
    ) -> String {
        let (spec, failures) = (&live.record.spec, &live.failures);
        let fleet = Fleet { workers: &self.workers, demand: &self.demand };
        if self.choose(now, live).is_some() {
            return format!("it is assigned next; jobs ahead of it: {ahead}");
        }
        let taking = able.iter().filter(|(_, worker)| worker.takes_jobs());
        let everywhere = taking.clone().all(|(id, _)| failures.avoids(**id));
        if everywhere && now < failures.not_before {
            let names: Vec<&str> = taking.map(|(_, worker)| worker.name.as_str()).collect();
            return format!(
                "it waits for another worker; next attempt on {} in {} at the earliest{}",
                names.join(", "),
                seconds(failures.not_before.since(now)),
                at_fault(live)
            );
        }
        let free: Vec<_> = able.iter().filter(|(_, worker)| worker.free_slots() > 0).collect();
        let offer = self.workers.offer_for(&Need::of(live.wanted()));
        let has_room = |id| offer.is_some_and(|offer| fleet.has_room(offer, id, spec));
        let full = free
            .iter()
            .find(|(id, _)| !has_room(**id))
            .and_then(|(_, worker)| Some((worker, self.demand.of(spec, worker.backend())?)));
        if let Some((worker, need)) = full {
            return format!(
                "{} has a free slot, but not enough memory for another proof of {}",
                worker.name,
                gib(need)
            );
        }
        let oom = &live.failures.oom;
        let is_less = |id: &WorkerId, worker: &Worker| oom.fit(*id, worker) < MemoryFit::More;
        if !free.is_empty() && free.iter().all(|(id, worker)| is_less(id, worker)) {
            return "it ran out of memory and waits for a larger machine, which is busy".to_owned();
        }
        let avoided: Vec<&str> = free.iter().map(|(_, worker)| worker.name.as_str()).collect();
        if !avoided.is_empty() {
            return format!(
                "it failed on {} and waits for another worker, which is busy",
                avoided.join(", ")
            );
        }
        let count = able.iter().filter(|(_, worker)| worker.takes_jobs()).count();
        let is_limited = self.workers.values().any(|worker| !worker.may_get(live.is_private()));
        let with_right = if is_limited { " with the right to its private input" } else { "" };
        format!("all capable workers{with_right} ({count}) are busy; jobs ahead of it: {ahead}")
    }
}

/// Failures of a job by its workers' fault, as the rest of a sentence; empty if there are none.
fn at_fault(live: &LiveJob) -> String {
    let (times, places) = (live.failures.count(), live.failures.workers.len());
    if times == 0 {
        return String::new();
    }
    let plural = |count| if count == 1 { "" } else { "s" };
    let last = live.record.failure.as_ref();
    let last = last.map_or_else(String::new, |failure| format!("; last failure: {failure}"));
    let (attempts, workers) = (plural(times), plural(places));
    format!("; {times} attempt{attempts} failed on {places} worker{workers}{last}")
}

/// Formats a duration, for example `3m 20s`.
fn seconds(millis: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(millis.div_ceil(1000))).to_string()
}
