//! Commands for operators of a running Hierophant, sent through `/api/v1`.
//!
//! Responses are printed as tables, or with `--json` as the API returned them, for scripts.

mod client;
mod control;
mod download;
mod endpoint;
mod program;
mod show;
mod show_tasks;
mod token;
mod watch;

use std::env::VarError;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use hierophant_admin_model::{
    Audited, Blocked, Job, JobTasks, Overview, Program, Request, WholeJob, WholeWorker, Why, Worker,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{Config, TOKEN_VARIABLE};
use client::{ApiClient, CallError};
use control::ControlCommand;
use endpoint::Endpoint;
use program::ProgramCommand;
use show::Show;
use token::TokenCommand;

/// Exit code when Hierophant cannot be reached.
const UNREACHABLE: u8 = 3;

/// Exit code for an invalid command line, the same as clap's.
const MISUSED: u8 = 2;

/// Options of all commands: the Hierophant to call, and the output format.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// HTTP address of the running Hierophant [default: the configured one on this machine: the socket in `data_dir`,
    /// `operators.admin_address` or `http_port`].
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// File with the access token, if one is required [default: the variable HIEROPHANT_TOKEN].
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with certificate authorities to trust in addition to the public ones, for an https:// address.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
}

impl Options {
    /// The token to present, if there is one. It cannot be passed as an argument, because every user of the
    /// machine can see arguments.
    fn token(&self) -> Result<Option<String>, String> {
        let (text, source) = match &self.token_file {
            Some(file) => {
                let source = file.display().to_string();
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("cannot read the token in {source}: {error}"))?;
                (text, source)
            }
            None => match std::env::var(TOKEN_VARIABLE) {
                Ok(text) => (text, format!("variable {TOKEN_VARIABLE}")),
                Err(VarError::NotPresent) => return Ok(None),
                Err(VarError::NotUnicode(_)) => {
                    return Err(format!("invalid variable {TOKEN_VARIABLE}: expected UTF-8"));
                }
            },
        };
        let token = text.trim();
        let is_valid = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        is_valid.then(|| Some(token.to_owned())).ok_or_else(|| {
            format!("invalid token in {source}: expected one made by `hierophant token create`")
        })
    }
}

/// A command for a running Hierophant.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Show the state of the network at a glance.
    Status,
    /// List jobs, newest first.
    Jobs(Filter),
    /// Show a job with its attempts.
    Job {
        /// Job id.
        #[arg(value_parser = not_empty())]
        id: String,
        /// Show the tasks as which several workers make its proof.
        #[arg(long)]
        tasks: bool,
    },
    /// Explain why a job has no proof yet.
    Why {
        /// Job id.
        #[arg(value_parser = not_empty())]
        id: String,
    },
    /// List requests, newest first.
    Requests(Filter),
    /// Show the job of a request, with its attempts.
    Request {
        /// Request id, or its first 16 digits.
        #[arg(value_parser = not_empty())]
        id: String,
    },
    /// List workers that are connected or may reconnect.
    Workers,
    /// Show a worker with its latest attempts.
    Worker {
        /// Worker id, or the name of a connected worker.
        #[arg(value_parser = not_empty())]
        id: String,
    },
    /// List registered programs, newest first.
    Programs,
    /// Remove a program, or change its owner.
    #[command(subcommand)]
    Program(ProgramCommand),
    /// List blocked workers and addresses.
    Blocked,
    /// List audited calls of operators, newest first.
    Audit {
        /// Maximum number of entries.
        #[arg(long, default_value_t = 20, value_name = "COUNT")]
        limit: u32,
    },
    /// Manage access tokens of workers, clients and operators.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Show live state on the full screen until `q` is pressed.
    Watch,
    /// Change the state of the network.
    #[command(flatten)]
    Control(ControlCommand),
}

/// Filter of a list of jobs or requests.
#[derive(Debug, Args)]
pub struct Filter {
    /// Only these states, separated by commas.
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = not_empty())]
    state: Vec<String>,
    /// Only this kind of proof: core, compressed, plonk or groth16.
    #[arg(long, value_name = "MODE", value_parser = not_empty())]
    mode: Option<String>,
    /// Only this program.
    #[arg(long, value_name = "VK_HASH", value_parser = not_empty())]
    program: Option<String>,
    /// Only requests of this address.
    #[arg(long, value_name = "ADDRESS", value_parser = not_empty())]
    requester: Option<String>,
    /// Maximum number of entries.
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

/// Refuses an empty argument, as a shell passes it for a variable that is not set: it selects nothing, and a command
/// would concern more than its caller means.
fn not_empty() -> NonEmptyStringValueParser {
    NonEmptyStringValueParser::new()
}

/// Executes a command, prints the response, and returns the exit code: 0 for success, 1 for an error, 3 if
/// Hierophant cannot be reached.
#[must_use]
pub fn run(command: &AdminCommand, options: &Options, config: &Config) -> ExitCode {
    let endpoint = Endpoint::new(options.url.as_deref(), options.ca.as_deref(), config);
    let client = match (endpoint, options.token()) {
        (Ok(endpoint), Ok(token)) => {
            if token.is_some() && endpoint.is_readable_on_the_way() {
                eprintln!(
                    "hierophant: warning: the token is sent unencrypted to {}: expected https:// or a tunnel, since \
                     anyone on the way can read it",
                    endpoint.url
                );
            }
            ApiClient::new(endpoint, token.as_deref())
        }
        (Err(fault), _) => return failed(&fault, ExitCode::FAILURE),
        (_, Err(fault)) => return failed(&fault, ExitCode::from(MISUSED)),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string(), ExitCode::FAILURE),
    };
    if matches!(command, AdminCommand::Watch) {
        return match runtime.block_on(watch::watch(&client)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error.to_string(), error.exit_code()),
        };
    }
    match runtime.block_on(execute(command, &client, options.json)) {
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

/// Executes a command; returns the text to print.
async fn execute(
    command: &AdminCommand,
    client: &ApiClient,
    json: bool,
) -> Result<String, CallError> {
    let print = Printer { client, json };
    match command {
        AdminCommand::Status => print.get::<Overview>("/overview", &[]).await,
        AdminCommand::Jobs(filter) => print.get::<Vec<Job>>("/jobs", &filter.query()).await,
        AdminCommand::Job { id, tasks: true } => {
            print.get::<JobTasks>(&format!("/jobs/{id}/tasks"), &[]).await
        }
        AdminCommand::Job { id, tasks: false } => {
            print.get::<WholeJob>(&format!("/jobs/{id}"), &[]).await
        }
        AdminCommand::Why { id } => print.get::<Why>(&format!("/jobs/{id}/why"), &[]).await,
        AdminCommand::Requests(filter) => {
            print.get::<Vec<Request>>("/requests", &filter.query()).await
        }
        AdminCommand::Request { id } => {
            print.get::<WholeJob>(&format!("/requests/{id}"), &[]).await
        }
        AdminCommand::Workers => print.get::<Vec<Worker>>("/workers", &[]).await,
        AdminCommand::Worker { id } => {
            let id = client.worker(id).await?;
            print.get::<WholeWorker>(&format!("/workers/{id}"), &[]).await
        }
        // Handled in `run`: it does not have a single response.
        AdminCommand::Watch => Ok(String::new()),
        AdminCommand::Programs => print.get::<Vec<Program>>("/programs", &[]).await,
        AdminCommand::Blocked => print.get::<Vec<Blocked>>("/blocked", &[]).await,
        AdminCommand::Audit { limit } => {
            print.get::<Vec<Audited>>("/audit", &[("limit", limit.to_string())]).await
        }
        AdminCommand::Program(command) => program::execute(command, client, json).await,
        AdminCommand::Token(command) => token::execute(command, client, json).await,
        AdminCommand::Control(command) => control::execute(command, client, json).await,
    }
}

/// Fetches resources and formats them.
struct Printer<'a> {
    client: &'a ApiClient,
    json: bool,
}

impl Printer<'_> {
    async fn get<T: DeserializeOwned + Serialize + Show>(
        &self,
        path: &str,
        query: &[(&'static str, String)],
    ) -> Result<String, CallError> {
        let found: T = self.client.get(path, query).await?;
        if self.json {
            return Ok(serde_json::to_string_pretty(&found).unwrap_or_default() + "\n");
        }
        Ok(found.show())
    }
}
