//! What an operator has a running Hierophant do.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use hierophant_model::records::Priority;
use serde::Serialize;

use super::caller::{CallError, Caller};
use super::download;
use super::show::Show;
use hierophant_admin_model::{ClearQueue, Cleared, Done, NewPriority, ProofMode, Reason};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Act {
    /// Cancel requests, or jobs with all their requests.
    Cancel {
        /// Ids of requests (16 digits or more) or jobs.
        #[arg(required = true, value_name = "REQUEST|JOB")]
        ids: Vec<String>,
    },
    /// Take a job away from its Contemplant, back into the queue; make one anew that was given up.
    Requeue {
        /// Id of the job.
        job: String,
    },
    /// Give a job a priority.
    Priority {
        /// Id of the job.
        job: String,
        /// Which one.
        class: Class,
    },
    /// Have a Contemplant take no more jobs, finish what it holds and leave.
    Drain(WorkerAndReason),
    /// Have a drained Contemplant that has not left yet take jobs again.
    Undrain {
        /// Id of the Contemplant, or the name of a connected one.
        worker: String,
    },
    /// Close a Contemplant's connection; what it works on waits again at once.
    Drop(WorkerAndReason),
    /// Turn a Contemplant away, or all that come from an address, until it is unblocked.
    Block(WorkerAndReason),
    /// Admit again who was blocked.
    Unblock {
        /// Id of the Contemplant, or an IP address.
        worker: String,
    },
    /// Give no more jobs out; what is being proved goes on, requests are accepted and wait.
    Pause {
        /// Why, for those who ask.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Give jobs out again.
    Resume,
    /// Cancel all jobs that wait, or some of them.
    Clear(Clear),
    /// Finished proofs.
    #[command(subcommand)]
    Proof(Proof),
}

/// A Contemplant, and why.
#[derive(Debug, Args)]
pub struct WorkerAndReason {
    /// Id of the Contemplant, or the name of a connected one; to block, also an IP address.
    worker: String,
    /// Why, for those who ask.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Which jobs go first.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Class {
    /// Before all others.
    Urgent,
    /// In their turn.
    Normal,
    /// When nothing else can be given out.
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

/// Which jobs to cancel.
#[derive(Debug, Args)]
pub struct Clear {
    /// Only those in any of these states: queued, and with --running leased, proving, uploaded, verifying.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Those in progress too.
    #[arg(long)]
    running: bool,
    /// Only this kind of proof.
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// Only of this program.
    #[arg(long, value_name = "VK_HASH")]
    program: Option<String>,
    /// Only the requests of this address.
    #[arg(long, value_name = "ADDRESS")]
    requester: Option<String>,
    /// Only those that were created so long ago, for instance 2h.
    #[arg(long, value_name = "AGE", value_parser = humantime::parse_duration)]
    older_than: Option<std::time::Duration>,
    /// Only say what would be cancelled.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask whether it is meant.
    #[arg(long)]
    yes: bool,
}

/// About finished proofs.
#[derive(Debug, Subcommand)]
pub enum Proof {
    /// Fetch a request's proof into a file.
    Download {
        /// Id of the request; its first 16 digits are enough.
        id: String,
        /// Where to; must not be there yet.
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Replace the file if it is there.
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
            dry_run,
        }
    }
}

/// Does it; returns what to print.
pub(super) async fn act(act: &Act, caller: &Caller, json: bool) -> Result<String, CallError> {
    let printed = |done: Done| print(&done, json);
    match act {
        Act::Cancel { ids } => cancel(ids, caller, json).await,
        Act::Requeue { job } => caller.done(&format!("/jobs/{job}/requeue")).await.map(printed),
        Act::Priority { job, class } => {
            let body = NewPriority { class: Priority::from(*class).into() };
            caller.post(&format!("/jobs/{job}/priority"), &body).await.map(printed)
        }
        Act::Drain(whom) => on_worker(whom, "drain", caller).await.map(printed),
        Act::Undrain { worker } => {
            let id = caller.worker(worker).await?;
            caller.done(&format!("/workers/{id}/undrain")).await.map(printed)
        }
        Act::Drop(whom) => on_worker(whom, "drop", caller).await.map(printed),
        Act::Block(whom) => on_worker(whom, "block", caller).await.map(printed),
        Act::Unblock { worker } => {
            caller.done(&format!("/workers/{worker}/unblock")).await.map(printed)
        }
        Act::Pause { reason } => {
            let body = Reason { reason: reason.clone() };
            caller.post("/dispatch/pause", &body).await.map(printed)
        }
        Act::Resume => caller.done("/dispatch/resume").await.map(printed),
        Act::Clear(clear) => cleared(clear, caller, json).await,
        Act::Proof(Proof::Download { id, output, force }) => {
            let saved = download::proof(caller, id, output, *force).await?;
            Ok(print(&saved, json))
        }
    }
}

async fn on_worker(whom: &WorkerAndReason, what: &str, caller: &Caller) -> Result<Done, CallError> {
    let id = caller.worker(&whom.worker).await?;
    let body = Reason { reason: whom.reason.clone() };
    caller.post(&format!("/workers/{id}/{what}"), &body).await
}

/// What became of one of several.
#[derive(Debug, Serialize)]
struct Cancelled<'a> {
    id: &'a str,
    #[serde(flatten)]
    done: Option<Done>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Cancels one after the other; one that cannot be cancelled does not keep the others from it.
async fn cancel(ids: &[String], caller: &Caller, json: bool) -> Result<String, CallError> {
    let mut all = Vec::new();
    for id in ids {
        let (done, error) = match cancel_one(id, caller).await {
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
            let words = one.done.as_ref().map(|done| &done.now).or(one.error.as_ref());
            format!("{}: {}\n", one.id, words.map_or("", String::as_str))
        };
        all.iter().map(line).collect()
    };
    if failed == 0 {
        return Ok(text);
    }
    Err(CallError::Partly { text, words: format!("{failed} of {} not cancelled", all.len()) })
}

/// An id of 32 digits is that of a job, or the beginning of a request's.
async fn cancel_one(id: &str, caller: &Caller) -> Result<Done, CallError> {
    if id.len() == 32 {
        match caller.done(&format!("/jobs/{id}/cancel")).await {
            Err(CallError::Missing(_)) => {}
            answer => return answer,
        }
    }
    caller.done(&format!("/requests/{id}/cancel")).await
}

async fn cleared(clear: &Clear, caller: &Caller, json: bool) -> Result<String, CallError> {
    if !clear.dry_run && !clear.yes {
        if !std::io::stdin().is_terminal() {
            let words = "nothing is cancelled without --yes where nobody can be asked; --dry-run \
                         says what would be";
            return Err(CallError::Refused(words.to_owned()));
        }
        let found: Cleared = caller.post("/queue/clear", &clear.body(true)).await?;
        eprint!("{}go on? [y/N] ", found.show());
        if !confirmed() {
            return Err(CallError::Refused("nothing was cancelled".to_owned()));
        }
    }
    let found: Cleared = caller.post("/queue/clear", &clear.body(clear.dry_run)).await?;
    Ok(print(&found, json))
}

fn confirmed() -> bool {
    // A question that cannot be seen is not answered.
    let mut line = String::new();
    std::io::stderr().flush().is_ok()
        && std::io::stdin().read_line(&mut line).is_ok()
        && matches!(line.trim(), "y" | "Y" | "yes")
}

pub(super) fn print<T: Serialize + Show>(answer: &T, json: bool) -> String {
    if json { in_json(answer) } else { answer.show() }
}

pub(super) fn in_json<T: Serialize>(answer: &T) -> String {
    serde_json::to_string_pretty(answer).unwrap_or_default() + "\n"
}
