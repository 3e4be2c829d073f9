//! Explanation why a job has no proof yet.

use hierophant_model::commands::with_reason;
use hierophant_model::records::{JobState, Millis};
use network_lib::ids::{JobId, WorkerId};
use network_lib::job::JobSpec;

use super::{LiveJob, ProofsCore};
use crate::proofs::Why;
use crate::proofs::assign::{self, Fleet};
use crate::proofs::lease::{Lease, Worker};
use crate::proofs::memory::{MemoryFit, gib};

impl ProofsCore {
    /// Explains why a job has no proof yet; `None` if it has ended or does not exist.
    #[must_use]
    pub fn why(&self, now: Millis, job: JobId) -> Option<Why> {
        let live = self.jobs.get(&job)?;
        if !live.leases.is_empty() {
            let held = live.leases.iter().filter_map(|lease| self.leases.get(lease));
            let reason = held.map(|held| self.attempt(now, held)).collect::<Vec<_>>().join("; ");
            return Some(Why { reason, ahead: None });
        }
        let ahead = self.ahead(job);
        let mut reason = match &self.paused {
            Some(paused) => with_reason("dispatch is paused", &paused.reason),
            None => self.waiting(now, live, ahead),
        };
        if let Some(priority) = live.record.priority {
            reason.push_str(&format!("; an operator has set its priority to {priority}"));
        }
        Some(Why { reason, ahead: Some(ahead) })
    }

    fn attempt(&self, now: Millis, held: &Lease) -> String {
        let prover = &held.attempt.prover;
        let name = &prover.name;
        let since = seconds(now.since(held.started_at));
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

    fn waiting(&self, now: Millis, live: &LiveJob, ahead: usize) -> String {
        if live.not_before > now {
            let rest = seconds(live.not_before.since(now));
            let failure = live.record.failure.as_ref();
            let last = failure.map_or_else(String::new, |it| format!("; last failure: {it}"));
            return format!("interrupted; next attempt in {rest} at the earliest{last}");
        }
        let spec = &live.record.spec;
        let what = format!("{} of circuit {}", spec.mode, spec.circuit_version);
        if self.workers.is_empty() {
            return "no worker is connected".to_owned();
        }
        let able: Vec<(&WorkerId, &Worker)> =
            self.workers.iter().filter(|(_, worker)| worker.fits(spec)).collect();
        if able.is_empty() {
            let connected = self.workers.len();
            let stopped = self.workers.values().filter_map(|worker| {
                let unavailable_reason = worker.capabilities.unavailable_reason.as_ref()?;
                Some(format!("; {}: {unavailable_reason}", worker.name))
            });
            let stopped: String = stopped.collect();
            return format!("no connected worker ({connected}) supports {what}{stopped}");
        }
        if !able.iter().any(|(_, worker)| worker.takes_jobs()) {
            let drained = able.iter().filter_map(|(_, worker)| {
                let reason = worker.drained.as_ref()?;
                Some(format!("; {}", with_reason(&format!("{} is drained", worker.name), reason)))
            });
            let drained: String = drained.collect();
            return format!(
                "all workers that support {what} are draining or disconnected{drained}"
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
        self.busy(spec, live, &able, ahead)
    }

    /// Explains why no capable worker can take the job now.
    fn busy(
        &self,
        spec: &JobSpec,
        live: &LiveJob,
        able: &[(&WorkerId, &Worker)],
        ahead: usize,
    ) -> String {
        let in_use = self.memory_in_use();
        let fleet = Fleet { workers: &self.workers, demand: &self.demand, in_use: &in_use };
        if assign::choose(spec, &live.failures, fleet).is_some() {
            return format!("it is assigned next; jobs ahead of it: {ahead}");
        }
        let free: Vec<_> = able.iter().filter(|(_, worker)| worker.free_slots() > 0).collect();
        let full = free
            .iter()
            .find(|(id, worker)| !in_use.leaves_room(**id, worker, spec, &self.demand))
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
        let count = able.len();
        format!("all capable workers ({count}) are busy; jobs ahead of it: {ahead}")
    }

    /// Number of waiting jobs ahead of this one.
    fn ahead(&self, job: JobId) -> usize {
        let running = self.running_by_requester();
        self.queue.iter(&running).take_while(|rank| rank.job != job).count()
    }
}

/// Formats a duration, for example `3m 20s`.
fn seconds(millis: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(millis.div_ceil(1000))).to_string()
}
