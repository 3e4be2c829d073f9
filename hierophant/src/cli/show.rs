//! Responses as tables.

use std::collections::BTreeMap;

use hierophant_admin_model::{
    Attempt, Audited, Blocked, Cleared, Done, Gpu, Job, JobTasks, Named, Overview, Priority,
    Program, ProofMode, Request, Running, Token, Value, WholeJob, WholeWorker, Why, Worker,
};
use hierophant_model::commands::with_reason;
use hierophant_model::records::Millis;

use super::download::SavedProof;
use super::show_tasks;
use super::table::{ago, facts_table, list, size, span, took, until};

/// Non-zero counts, such as `2 ready, 1 away`.
pub(super) fn counts<T: Named>(counts: &BTreeMap<Value<T>, usize>) -> String {
    let shown = counts.iter().filter(|(_, count)| **count > 0);
    let shown: Vec<_> = shown.map(|(what, count)| format!("{count} {what}")).collect();
    if shown.is_empty() { "none".to_owned() } else { shown.join(", ") }
}

/// Rendering of a response for a terminal.
pub(super) trait Show {
    /// Text for a terminal, ending with a line break.
    fn show(&self) -> String;
}

impl Show for Overview {
    fn show(&self) -> String {
        let mut facts = vec![
            ("version", self.version.clone()),
            ("workers", counts(&self.workers)),
            ("slots", format!("{}, {} in use", self.slots, self.running)),
            ("queued jobs", counts(&self.waiting)),
            ("oldest wait", self.oldest_wait_seconds.map_or("-".into(), span)),
            ("unfinished jobs", self.unfinished.to_string()),
            ("stored", size(self.stored_bytes)),
            ("free on disk", self.free_bytes.map_or("unknown".into(), size)),
        ];
        if let Some(paused) = &self.paused {
            let since = format!("paused {}", ago(paused.since));
            facts.insert(1, ("dispatch", with_reason(&since, &paused.reason)));
        }
        if let Some(low) = &self.storage_low {
            facts.push(("new work", format!("rejected: {low}")));
        }
        for webhook in self.webhooks.iter().filter(|webhook| webhook.failing_since.is_some()) {
            let why = webhook.failure.as_deref().unwrap_or_default();
            let (receiver, count) = (&webhook.receiver, webhook.undelivered);
            facts.push(("webhook", format!("{receiver} fails, {count} notices pending: {why}")));
        }
        if self.mock_mode {
            facts.push(("mock mode", "on: accepts mock proofs, which prove nothing".into()));
        }
        facts_table(&facts)
    }
}

impl Show for Vec<Job> {
    fn show(&self) -> String {
        let rows = self.iter().map(|job| {
            [
                job.id.clone(),
                job.state.to_string(),
                job.mode.to_string(),
                job.contemplant.clone().unwrap_or_default(),
                job.attempts.to_string(),
                job.cycles.map_or_else(String::new, |cycles| cycles.to_string()),
                ago(job.created_at),
                took(job.started_at, job.finished_at),
            ]
        });
        let heads = ["job", "state", "mode", "worker", "attempts", "cycles", "created", "took"];
        list(heads, rows, "no jobs")
    }
}

impl Show for Vec<Request> {
    fn show(&self) -> String {
        let rows = self.iter().map(|request| {
            [
                request.id.clone(),
                request.state.to_string(),
                request.job.clone(),
                request.requester.clone(),
                request.client.clone().unwrap_or_default(),
                ago(request.created_at),
                until(request.deadline),
            ]
        });
        list(
            ["request", "state", "job", "requester", "client", "created", "deadline"],
            rows,
            "no requests",
        )
    }
}

impl Show for Vec<Worker> {
    fn show(&self) -> String {
        let rows = self.iter().map(|worker| {
            [
                worker.name.clone(),
                worker.id.clone(),
                worker.state.to_string(),
                worker.backend.to_string(),
                worker.modes.iter().map(ProofMode::as_str).collect::<Vec<_>>().join(","),
                format!("{}/{}", worker.running.len(), worker.slots),
                activity(worker),
                worker.proofs_completed.to_string(),
                worker.tasks_completed.to_string(),
                worker.strikes.to_string(),
                ago(worker.joined_at),
                worker.admitted_by.clone(),
                worker.instance.clone().unwrap_or_default(),
            ]
        });
        let heads = [
            "name",
            "id",
            "state",
            "backend",
            "modes",
            "busy",
            "activity",
            "proofs",
            "tasks",
            "strikes",
            "joined",
            "admitted by",
            "instance",
        ];
        list(heads, rows, "no worker is connected")
    }
}

impl Show for Vec<Program> {
    fn show(&self) -> String {
        let rows = self.iter().map(|program| {
            let owner = match &program.client {
                Some(client) => format!("{} ({})", program.owner, strip_control(client)),
                None => program.owner.clone(),
            };
            let (bytes, state) = (size(program.bytes), program.state.to_string());
            [program.vk_hash.clone(), bytes, owner, state, ago(program.created_at)]
        });
        list(["program", "size", "owner", "state", "registered"], rows, "no programs")
    }
}

impl Show for WholeJob {
    fn show(&self) -> String {
        let job = &self.job;
        let mut facts = vec![
            ("job", job.id.clone()),
            ("state", job.state.to_string()),
            ("mode", format!("{}, circuit {}", job.mode, job.circuit_version)),
            ("program", job.program.clone()),
            ("input", size(job.input_bytes)),
            ("created", ago(job.created_at)),
        ];
        let optional = [
            ("ended", job.finished_at.map(ago)),
            ("cycles", job.cycles.map(|cycles| cycles.to_string())),
            ("gas", job.gas.map(|gas| gas.to_string())),
            ("failure", job.failure.clone()),
            ("priority", job.priority.as_ref().map(Priority::to_string)),
            ("tasks", self.tasks.as_ref().map(show_tasks::summary)),
        ];
        facts.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        let attempts = attempts(&self.history, &self.running);
        format!("{}\n{}\n{attempts}", facts_table(&facts), job.requests.show())
    }
}

impl Show for JobTasks {
    fn show(&self) -> String {
        show_tasks::show(self)
    }
}

impl Show for Done {
    fn show(&self) -> String {
        format!("{}\n", self.now)
    }
}

impl Show for Cleared {
    fn show(&self) -> String {
        let outcome = if self.dry_run { "would be cancelled" } else { "cancelled" };
        let (jobs, requests) = (counted(self.jobs, "job"), counted(self.requests, "request"));
        let mut text = format!("{jobs} with {requests} {outcome}\n");
        for job in &self.listed {
            text.push_str(&format!("  {job}\n"));
        }
        if self.jobs > self.listed.len() {
            text.push_str(&format!("  and {} more\n", self.jobs - self.listed.len()));
        }
        text
    }
}

impl Show for Vec<Blocked> {
    fn show(&self) -> String {
        let rows = self.iter().map(|blocked| {
            [
                blocked.subject.clone(),
                blocked.since.map_or_else(String::new, ago),
                blocked.reason.clone(),
            ]
        });
        list(["blocked", "since", "reason"], rows, "nothing is blocked")
    }
}

impl Show for Vec<Token> {
    fn show(&self) -> String {
        let rows = self.iter().map(|token| {
            [
                token.name.clone(),
                match &token.client {
                    Some(client) => format!("{} of {}", token.role, strip_control(client)),
                    None => token.role.to_string(),
                },
                token_state(token).to_owned(),
                ago(token.created_at),
                token.expires_at.map_or_else(String::new, until),
                token.used_at.map_or_else(String::new, ago),
                token.used_from.clone().unwrap_or_default(),
                token.revoked_at.map_or_else(String::new, ago),
            ]
        });
        let heads = ["token", "role", "state", "created", "expires", "used", "from", "revoked"];
        list(heads, rows, "no tokens")
    }
}

/// Whether a token is valid, and why not.
fn token_state(token: &Token) -> &'static str {
    let has_expired = token.expires_at.is_some_and(|end| end <= Millis::now().0);
    match token.revoked_at {
        Some(_) => "revoked",
        None if has_expired => "expired",
        None => "valid",
    }
}

impl Show for Vec<Audited> {
    fn show(&self) -> String {
        let rows = self.iter().map(|call| {
            let from = match &call.forwarded {
                Some(client) => format!("{} for {client}", call.peer),
                None => call.peer.clone(),
            };
            let texts = [&call.name, &from, &call.action, &call.body];
            let [name, from, action, body] = texts.map(|text| strip_control(text));
            let code = if call.code == 0 { "?".to_owned() } else { call.code.to_string() };
            [ago(call.at), name, from, action, body, code]
        });
        list(["time", "caller", "from", "call", "body", "status"], rows, "no calls")
    }
}

/// A text without control characters: text from callers must neither control the terminal nor break lines.
fn strip_control(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

impl Show for SavedProof {
    fn show(&self) -> String {
        let Self { file, bytes, sha256 } = self;
        format!("{}: {}, SHA-256 {sha256}\n", file.display(), size(*bytes))
    }
}

impl Show for Why {
    fn show(&self) -> String {
        format!("{}\n", self.why)
    }
}

impl Show for WholeWorker {
    fn show(&self) -> String {
        let running = self.worker.as_ref().map_or(&[][..], |worker| &worker.running);
        let ahead = self.worker.as_ref().map_or(&[][..], |worker| &worker.ahead);
        let ahead: String = ahead.iter().map(|job| format!("prepares job {job}\n")).collect();
        let head = match (&self.worker, &self.gone) {
            (Some(worker), _) => vec![worker.clone()].show() + &gpus(&worker.gpus),
            (None, Some(gone)) => format!("left {}: {}\n", ago(gone.at), gone.reason),
            (None, None) => "not connected since Hierophant started\n".to_owned(),
        };
        let blocked = self.blocked.as_ref().map(|reason| with_reason("blocked", reason) + "\n");
        let head = format!("{head}{ahead}{}", blocked.unwrap_or_default());
        format!("{head}\n{}", attempts(&self.history, running))
    }
}

/// A table of GPUs after a blank line; empty without GPUs.
fn gpus(gpus: &[Gpu]) -> String {
    if gpus.is_empty() {
        return String::new();
    }
    let unknown = || "-".to_owned();
    let rows = gpus.iter().enumerate().map(|(number, gpu)| {
        let used = gpu.memory_used_bytes.map_or_else(unknown, size);
        [
            number.to_string(),
            gpu.model.clone(),
            gpu.driver.clone().unwrap_or_else(unknown),
            gpu.utilisation_percent.map_or_else(unknown, |percent| format!("{percent}%")),
            gpu.temperature_celsius.map_or_else(unknown, |degrees| format!("{degrees} °C")),
            format!("{used} of {}", size(gpu.memory_bytes)),
        ]
    });
    let heads = ["GPU", "model", "driver", "utilisation", "temperature", "memory in use"];
    format!("\n{}", list(heads, rows, ""))
}

fn attempts(history: &[Attempt], running: &[Running]) -> String {
    let rows = history.iter().map(|attempt| {
        let now = running.iter().find(|now| now.job == attempt.job && attempt.ended_at.is_none());
        [
            match &attempt.task_kind {
                Some(kind) => format!("{} {kind}", attempt.job),
                None => attempt.job.clone(),
            },
            attempt.contemplant.clone(),
            attempt.outcome.to_string(),
            ago(attempt.started_at),
            took(Some(attempt.started_at), attempt.ended_at),
            // One that is divided has a message from its begin: why it is.
            now.map(progress)
                .into_iter()
                .chain(attempt.message.clone())
                .collect::<Vec<_>>()
                .join("; "),
        ]
    });
    list(["attempt at job", "worker", "outcome", "started", "took", ""], rows, "no attempts")
}

/// A count and its noun, such as `1 job` or `2 jobs`.
fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Progress of a worker, and what keeps it from working.
fn activity(worker: &Worker) -> String {
    let drained = worker.drained.as_ref().map(|reason| with_reason("drained", reason));
    let tasks = show_tasks::of_worker(&worker.tasks);
    let texts = worker.running.first().map(progress).into_iter().chain(tasks).chain(drained);
    texts.chain(worker.obstacle.clone()).collect::<Vec<_>>().join("; ")
}

/// Progress of a proof, such as `proving 42%, 3m left`.
fn progress(running: &Running) -> String {
    let Some(phase) = &running.phase else { return "starting".to_owned() };
    let mark = if running.estimated { "~" } else { "" };
    let done = running.fraction.map(|fraction| format!(" {mark}{:.0}%", fraction * 100.0));
    let left = running.eta_seconds.map(|seconds| format!(", {mark}{} left", span(seconds)));
    format!("{phase}{}{}", done.unwrap_or_default(), left.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use network_lib::job;

    use super::*;

    #[test]
    fn unknown_figures_of_a_gpu_are_dashes() {
        let gpu = Gpu {
            model: "NVIDIA L4".into(),
            memory_bytes: 24 << 30,
            driver: None,
            utilisation_percent: Some(97),
            temperature_celsius: None,
            memory_used_bytes: Some(3 << 30),
        };
        let shown = gpus(&[gpu]);
        let words: Vec<&str> = shown.lines().last().unwrap_or("").split_whitespace().collect();
        let expected = "0 NVIDIA L4 - 97% - 3.0 GiB of 24.0 GiB";
        assert_eq!(words.join(" "), expected);
        assert_eq!(gpus(&[]), "");
    }

    #[test]
    fn estimates_are_marked() {
        let running = Running {
            job: String::new(),
            worker: String::new(),
            mode: job::ProofMode::Core.into(),
            program: String::new(),
            phase: Some(job::Phase::Proving.into()),
            fraction: Some(0.42),
            cycles_done: None,
            cycles_total: None,
            eta_seconds: Some(180),
            estimated: true,
            tasks: None,
            started_at: 0,
        };
        assert_eq!(progress(&running), "proving ~42%, ~3m left");
    }
}
