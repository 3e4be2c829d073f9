//! What an operator asks and has done by a running Hierophant on the command line, through `/api/v1`.
//!
//! Tables are for people; with `--json` the API's own answer is printed for scripts.

mod act;
mod caller;
mod download;
mod reach;
mod show;
mod token;
mod watch;

use std::env::VarError;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{Config, TOKEN_VARIABLE};
use act::Act;
use caller::{CallError, Caller};
use hierophant_admin_model::{
    Audited, Blocked, Job, Overview, Program, Request, WholeJob, WholeWorker, Why, Worker,
};
use reach::Reach;
use show::Show;
use token::TokenCommand;

/// Hierophant cannot be reached.
const UNREACHABLE: u8 = 3;

/// A wrong command line, as clap has it.
const MISUSED: u8 = 2;

/// How to reach a running Hierophant, and how to print its answer.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// HTTP address of the running Hierophant [default: this machine, the configuration's `http_port`].
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File with the token to present, for a Hierophant that asks for one [default: the variable
    /// HIEROPHANT_TOKEN].
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with authorities to believe besides the public ones, for an https:// address.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
}

impl Options {
    /// The token to present, if there is one. It is no argument, because arguments can be seen by everybody on
    /// the machine.
    fn token(&self) -> Result<Option<String>, String> {
        let (text, place) = match &self.token_file {
            Some(file) => {
                let place = file.display().to_string();
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("{place}: the token cannot be read: {error}"))?;
                (text, place)
            }
            None => match std::env::var(TOKEN_VARIABLE) {
                Ok(text) => (text, format!("variable {TOKEN_VARIABLE}")),
                Err(VarError::NotPresent) => return Ok(None),
                Err(VarError::NotUnicode(_)) => {
                    return Err(format!("variable {TOKEN_VARIABLE} holds no text"));
                }
            },
        };
        let token = text.trim();
        let fits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Some(token.to_owned())).ok_or_else(|| {
            format!("{place}: that is no token; `hierophant token create` makes one")
        })
    }
}

/// What to ask.
#[derive(Debug, Subcommand)]
pub enum Question {
    /// The network at a glance.
    Status,
    /// Jobs, the newest first.
    Jobs(Filter),
    /// A job with its attempts.
    Job {
        /// Id of the job.
        id: String,
    },
    /// Why a job has no proof yet, in a sentence.
    Why {
        /// Id of the job.
        id: String,
    },
    /// Requests, the newest first.
    Requests(Filter),
    /// The job of a request, with its attempts.
    Request {
        /// Id of the request; its first 16 digits are enough.
        id: String,
    },
    /// The Contemplants that are connected or may come back.
    Workers,
    /// A Contemplant with its latest attempts.
    Worker {
        /// Id of the Contemplant, or the name of a connected one.
        id: String,
    },
    /// Registered programs, the newest first.
    Programs,
    /// Who is turned away.
    Blocked,
    /// What operators have done, the newest first.
    Audit {
        /// At most so many.
        #[arg(long, default_value_t = 20, value_name = "COUNT")]
        limit: u32,
    },
    /// Access tokens: of Contemplants, clients and operators.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Watch what goes on, full screen, until `q` is pressed.
    Watch,
    /// What to do.
    #[command(flatten)]
    Act(Act),
}

/// Which jobs or requests to list.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only those in any of these states.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    state: Vec<String>,
    /// Only this kind of proof.
    #[arg(long, value_name = "MODE")]
    mode: Option<String>,
    /// Only of this program.
    #[arg(long, value_name = "VK_HASH")]
    program: Option<String>,
    /// Only those that this address asked for.
    #[arg(long, value_name = "ADDRESS")]
    requester: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    limit: u32,
}

impl Filter {
    fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("limit", self.limit.to_string())];
        if !self.state.is_empty() {
            query.push(("state", self.state.join(",")));
        }
        let optional =
            [("mode", &self.mode), ("program", &self.program), ("requester", &self.requester)];
        query.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
        query
    }
}

/// Asks, prints the answer, and says how it went: 0 for an answer, 1 for a refusal, 3 if nobody is there.
#[must_use]
pub fn run(question: &Question, options: &Options, config: &Config) -> ExitCode {
    let reached = Reach::of(options.url.as_deref(), options.ca.as_deref(), config);
    let caller = match (reached, options.token()) {
        (Ok(reach), Ok(token)) => Caller::new(reach, token.as_deref()),
        (Err(fault), _) => return failed(&fault, ExitCode::FAILURE),
        (_, Err(fault)) => return failed(&fault, ExitCode::from(MISUSED)),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string(), ExitCode::FAILURE),
    };
    if matches!(question, Question::Watch) {
        return match runtime.block_on(watch::watch(&caller)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error.to_string(), error.exit_code()),
        };
    }
    match runtime.block_on(answer(question, &caller, options.json)) {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            if let CallError::Partly { text, .. } = &error {
                print!("{text}");
            }
            failed(&error.to_string(), error.exit_code())
        }
    }
}

fn failed(error: &str, code: ExitCode) -> ExitCode {
    eprintln!("hierophant: {error}");
    code
}

async fn answer(question: &Question, caller: &Caller, json: bool) -> Result<String, CallError> {
    let print = Printer { caller, json };
    match question {
        Question::Status => print.get::<Overview>("/overview", &[]).await,
        Question::Jobs(filter) => print.get::<Vec<Job>>("/jobs", &filter.query()).await,
        Question::Job { id } => print.get::<WholeJob>(&format!("/jobs/{id}"), &[]).await,
        Question::Why { id } => print.get::<Why>(&format!("/jobs/{id}/why"), &[]).await,
        Question::Requests(filter) => print.get::<Vec<Request>>("/requests", &filter.query()).await,
        Question::Request { id } => print.get::<WholeJob>(&format!("/requests/{id}"), &[]).await,
        Question::Workers => print.get::<Vec<Worker>>("/workers", &[]).await,
        Question::Worker { id } => {
            let id = caller.worker(id).await?;
            print.get::<WholeWorker>(&format!("/workers/{id}"), &[]).await
        }
        // It has no one answer and is dealt with by itself.
        Question::Watch => Ok(String::new()),
        Question::Programs => print.get::<Vec<Program>>("/programs", &[]).await,
        Question::Blocked => print.get::<Vec<Blocked>>("/blocked", &[]).await,
        Question::Audit { limit } => {
            print.get::<Vec<Audited>>("/audit", &[("limit", limit.to_string())]).await
        }
        Question::Token(command) => token::token(command, caller, json).await,
        Question::Act(act) => act::act(act, caller, json).await,
    }
}

/// Fetches and prints.
struct Printer<'a> {
    caller: &'a Caller,
    json: bool,
}

impl Printer<'_> {
    async fn get<T: DeserializeOwned + Serialize + Show>(
        &self,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<String, CallError> {
        let found: T = self.caller.get(path, query).await?;
        if self.json {
            return Ok(serde_json::to_string_pretty(&found).unwrap_or_default() + "\n");
        }
        Ok(found.show())
    }
}
