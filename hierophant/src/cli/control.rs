//! Commands that change the state of the network.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hierophant_admin_model::{ClearQueue, Cleared, Done, NewPriority, ProofMode, Reason};
use hierophant_model::records::Priority;
use serde::Serialize;

use super::client::{ApiClient, CallError};
use super::show::Show;
use super::{download, not_empty};

/// A command that changes the state of the network.
#[derive(Debug, Subcommand)]
pub enum ControlCommand {
    /// Cancel requests, or jobs with all their requests.
    Cancel {
        /// Request ids (16 digits or more) or job ids.
        #[arg(required = true, value_name = "REQUEST|JOB", value_parser = not_empty())]
        ids: Vec<String>,
    },
    /// Return a job in progress to the queue, or retry a failed one.
    Requeue {
        /// Job id.
        #[arg(value_parser = not_empty())]
        job: String,
    },
    /// Set the priority of a job.
    Priority {
        /// Job id.
        #[arg(value_parser = not_empty())]
        job: String,
        /// Priority to set.
        class: Class,
    },
    /// Drain a worker: it accepts no more jobs, finishes those that it has, and leaves.
    Drain(WorkerAndReason),
    /// Stop draining a worker that has not left yet.
    Undrain {
        /// Worker id, or the name of a connected worker.
        #[arg(value_parser = not_empty())]
        worker: String,
    },
    /// Close the connection of a worker; its jobs return to the queue at once.
    Drop(WorkerAndReason),
    /// Block a worker, or all workers from an IP address.
    Block(WorkerAndReason),
    /// Unblock a worker or an IP address.
    Unblock {
        /// Worker id or IP address.
        #[arg(value_parser = not_empty())]
        worker: String,
    },
    /// Pause dispatch: attempts in progress continue, new requests are queued.
    Pause {
        /// Reason to store and display.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Resume dispatch.
    Resume,
    /// Cancel queued jobs, all or a selection.
    Clear(Clear),
    /// Download finished proofs.
    #[command(subcommand)]
    Proof(Proof),
}

/// A worker, and the reason for a command.
#[derive(Debug, Args)]
pub struct WorkerAndReason {
    /// Worker id, or the name of a connected worker; for `block` also an IP address.
    #[arg(value_parser = not_empty())]
    worker: String,
    /// Reason to store and display.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Priority of a job.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Class {
    /// Ahead of all others.
    Urgent,
    /// In queue order.
    Normal,
    /// Behind all others.
    Low,
}

impl From<Class> for Priority {
    fn from(class: Class) -> Self {
        match class {
            Class::Urgent => Self::Urgent,
            Class::Normal => Self::Normal,
            Class::Low => Self::Low,
        }
    }
}

/// Jobs to cancel.
#[derive(Debug, Args)]
pub struct Clear {
    /// Only these states: queued, and with --running also leased, proving, uploaded and verifying.
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = not_empty())]
    state: Vec<String>,
    /// Include jobs in progress.
    #[arg(long)]
    running: bool,
    /// Only this kind of proof: core, compressed, plonk or groth16.
    #[arg(long, value_name = "MODE", value_parser = not_empty())]
    mode: Option<String>,
    /// Only this program.
    #[arg(long, value_name = "VK_HASH", value_parser = not_empty())]
    program: Option<String>,
    /// Only requests of this address.
    #[arg(long, value_name = "ADDRESS", value_parser = not_empty())]
    requester: Option<String>,
    /// Only jobs of at least this age, such as 2h.
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<std::time::Duration>,
    /// Report the matching jobs without cancelling them.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation.
    #[arg(long)]
    yes: bool,
}

/// A command on finished proofs.
#[derive(Debug, Subcommand)]
pub enum Proof {
    /// Download the proof of a request to a file.
    Download {
        /// Request id, or its first 16 digits.
        #[arg(value_parser = not_empty())]
        id: String,
        /// File to write; it must not exist.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace an existing file.
        #[arg(long)]
        force: bool,
    },
}

impl Clear {
    fn body(&self, dry_run: bool) -> ClearQueue {
        ClearQueue {
            state: (!self.state.is_empty()).then(|| self.state.join(",")),
            running: self.running,
            mode: self.mode.as_deref().map(ProofMode::named),
            program: self.program.clone(),
            requester: self.requester.clone(),
            older_than_seconds: self.older_than.map(|age| age.as_secs()),
            all: !self.is_selective(),
            dry_run,
        }
    }

    /// Whether there is a condition. Without one, every queued job is meant.
    fn is_selective(&self) -> bool {
        !self.state.is_empty()
            || [&self.mode, &self.program, &self.requester].into_iter().any(Option::is_some)
            || self.older_than.is_some()
    }
}

/// Executes a command; returns the text to print.
pub(super) async fn execute(
    command: &ControlCommand,
    client: &ApiClient,
    json: bool,
) -> Result<String, CallError> {
    let printed = |done: Done| print(&done, json);
    match command {
        ControlCommand::Cancel { ids } => cancel(ids, client, json).await,
        ControlCommand::Requeue { job } => {
            client.command(&format!("/jobs/{job}/requeue")).await.map(printed)
        }
        ControlCommand::Priority { job, class } => {
            let body = NewPriority { class: Priority::from(*class).into() };
            client.post(&format!("/jobs/{job}/priority"), &body).await.map(printed)
        }
        ControlCommand::Drain(target) => on_worker(target, "drain", client).await.map(printed),
        ControlCommand::Undrain { worker } => {
            let id = client.worker(worker).await?;
            client.command(&format!("/workers/{id}/undrain")).await.map(printed)
        }
        ControlCommand::Drop(target) => on_worker(target, "drop", client).await.map(printed),
        ControlCommand::Block(target) => on_worker(target, "block", client).await.map(printed),
        ControlCommand::Unblock { worker } => {
            client.command(&format!("/workers/{worker}/unblock")).await.map(printed)
        }
        ControlCommand::Pause { reason } => {
            let body = Reason { reason: reason.clone() };
            client.post("/dispatch/pause", &body).await.map(printed)
        }
        ControlCommand::Resume => client.command("/dispatch/resume").await.map(printed),
        ControlCommand::Clear(clear) => cleared(clear, client, json).await,
        ControlCommand::Proof(Proof::Download { id, output, force }) => {
            let saved = download::proof(client, id, output, *force).await?;
            Ok(print(&saved, json))
        }
    }
}

async fn on_worker(
    target: &WorkerAndReason,
    command: &str,
    client: &ApiClient,
) -> Result<Done, CallError> {
    let id = client.worker(&target.worker).await?;
    let body = Reason { reason: target.reason.clone() };
    client.post(&format!("/workers/{id}/{command}"), &body).await
}

/// Outcome of one of several cancellations.
#[derive(Debug, Serialize)]
struct Cancelled<'a> {
    id: &'a str,
    #[serde(flatten)]
    done: Option<Done>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Cancels several requests or jobs; a failure does not stop the others.
async fn cancel(ids: &[String], client: &ApiClient, json: bool) -> Result<String, CallError> {
    let mut all = Vec::new();
    for id in ids {
        let (done, error) = match cancel_one(id, client).await {
            Ok(done) => (Some(done), None),
            Err(error @ CallError::Unreachable { .. }) => return Err(error),
            Err(error) => (None, Some(error.to_string())),
        };
        all.push(Cancelled { id, done, error });
    }
    let failed = all.iter().filter(|one| one.error.is_some()).count();
    let text = if json {
        in_json(&all)
    } else {
        let line = |one: &Cancelled<'_>| {
            let outcome = one.done.as_ref().map(|done| &done.now).or(one.error.as_ref());
            format!("{}: {}\n", one.id, outcome.map_or("", String::as_str))
        };
        all.iter().map(line).collect()
    };
    if failed == 0 {
        return Ok(text);
    }
    let error = format!("{failed} of {} not cancelled", all.len());
    Err(CallError::Partly { text, error })
}

/// Cancels a job or a request. An id of 32 digits may be a job id or the start of a request id.
async fn cancel_one(id: &str, client: &ApiClient) -> Result<Done, CallError> {
    if id.len() == 32 {
        match client.command(&format!("/jobs/{id}/cancel")).await {
            Err(CallError::Missing(_)) => {}
            answer => return answer,
        }
    }
    client.command(&format!("/requests/{id}/cancel")).await
}

async fn cleared(clear: &Clear, client: &ApiClient, json: bool) -> Result<String, CallError> {
    if !clear.dry_run && !clear.yes {
        if !std::io::stdin().is_terminal() {
            let text =
                "nothing cancelled: without a terminal to confirm, expected --yes (or --dry-run)";
            return Err(CallError::Refused(text.to_owned()));
        }
        let found: Cleared = client.post("/queue/clear", &clear.body(true)).await?;
        eprint!("{}continue? [y/N] ", found.show());
        if !confirmed() {
            return Err(CallError::Refused("nothing cancelled".to_owned()));
        }
    }
    let found: Cleared = client.post("/queue/clear", &clear.body(clear.dry_run)).await?;
    Ok(print(&found, json))
}

fn confirmed() -> bool {
    // If the question cannot be printed, the answer is no.
    let mut line = String::new();
    std::io::stderr().flush().is_ok()
        && std::io::stdin().read_line(&mut line).is_ok()
        && matches!(line.trim(), "y" | "Y" | "yes")
}

/// Formats a response.
pub(super) fn print<T: Serialize + Show>(response: &T, json: bool) -> String {
    if json { in_json(response) } else { response.show() }
}

/// Formats a response as JSON.
pub(super) fn in_json<T: Serialize>(response: &T) -> String {
    serde_json::to_string_pretty(response).unwrap_or_default() + "\n"
}
