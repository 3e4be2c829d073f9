//! The main story: from nothing to a verified proof, and everything stopped again.

use std::fmt::Write;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use sp1_sdk::network::B256;
use sp1_sdk::{ProvingKey, SP1ProofWithPublicValues};
use test_harness::binaries::Binaries;
use test_harness::config::key;
use test_harness::wait;
use tokio_util::sync::CancellationToken;

use crate::client::{Client, Expected};
use crate::keep::keep;
use crate::network::{ContemplantSettings, LocalNetwork, SHARD_CELLS, mock_mode};
use crate::options::{Backend, Mode, Options};
use crate::progress::Progress;
use crate::status::{CurrentProof, HistoryEntry, StatusClient, Task};
use crate::timeline::{Step, Timeline};
use crate::verify::check_proof;

/// Name of the one Contemplant, and beginning of the names of several.
const CONTEMPLANT: &str = "integration-test";

/// Pause between two looks at the status pages.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Duration of a mock proof, long enough to be observed in progress.
const MOCK_PROOF_TIME: Duration = Duration::from_secs(2);

/// How long the history may lag behind the client's proof.
const HISTORY_LAG: Duration = Duration::from_secs(10);

/// Runs the story with `options`, and returns the report for the person who started it.
///
/// # Errors
///
/// The reason why there is no believable proof, with the programs' last words where they are ours.
pub async fn run(options: &Options, shutdown: CancellationToken) -> Result<String> {
    let binaries = options.rpc_url.is_none().then(Binaries::locate).transpose()?;
    let mut story =
        Story { options, network: None, timeline: Timeline::start(), progress: Progress::start() };
    let ended = tokio::select! {
        outcome = story.tell(binaries.as_ref()) => Ok(outcome),
        () = tokio::time::sleep(options.time_limit()) => {
            Err(format!("not done within {} s (--timeout)", options.timeout))
        }
        () = shutdown.cancelled() => Err("interrupted".to_owned()),
    };
    let outcome =
        ended.unwrap_or_else(|why| Err(anyhow!("{why}; last stage: {}", story.progress.stage())));
    story.end(outcome).await
}

struct Story<'a> {
    options: &'a Options,
    network: Option<LocalNetwork>,
    timeline: Timeline,
    progress: Progress,
}

impl Story<'_> {
    async fn tell(&mut self, binaries: Option<&Binaries>) -> Result<String> {
        let (rpc_url, status) = match binaries {
            Some(binaries) => self.start_network(binaries).await?,
            None => self.use_running_network()?,
        };
        self.timeline.mark(Step::NetworkReady);

        self.progress.show("preparing the client", "");
        let client = Client::connect(&rpc_url, self.options.network_mode.sdk()).await?;
        let expected = client.execute(self.options.n).await?;
        self.timeline.mark(Step::ClientReady);
        if let Some(status) = &status {
            self.wait_for_prover(status).await?;
        }

        self.progress.show("requesting", "");
        client.register().await.context("the program cannot be registered")?;
        self.timeline.mark(Step::Registered);
        let left = self.options.time_limit().saturating_sub(self.timeline.elapsed());
        let mode = self.options.mode.sdk();
        let request = client.request(self.options.n, mode, left).await;
        let request = request.context("the proof cannot be requested")?;
        if let Some(moment) = client.last_upload_complete() {
            self.timeline.mark_at(Step::Uploaded, moment);
        }
        self.timeline.mark(Step::Requested);
        self.progress.note(&format!("request {request}"));

        let proof = tokio::select! {
            proof = client.sdk.wait_proof(request, None, None) => proof,
            error = self.watch(status.as_ref(), request) => Err(error),
        };
        let proof = match proof {
            Ok(proof) => proof,
            Err(error) => return Err(explain(error, status.as_ref(), request).await),
        };
        self.timeline.mark(Step::Proved);
        self.believe(&client, &proof, request, &expected, status.as_ref()).await
    }

    async fn start_network(
        &mut self,
        binaries: &Binaries,
    ) -> Result<(String, Option<StatusClient>)> {
        self.progress.show("starting hierophant", "");
        let Options { backend, mode, contemplants, shard_cells, .. } = *self.options;
        let mut keys = mock_mode(backend == Backend::Mock);
        if contemplants > 1 {
            keys.insert("sharding".into(), key("mode", "always").into());
        }
        let cells = shard_cells.map(|cells| (SHARD_CELLS, cells.to_string().into()));
        let started = LocalNetwork::start_in(binaries, &keys, cells.into_iter().collect()).await?;
        let network = self.network.insert(started);
        for number in 1..=contemplants {
            let name = contemplant_name(number, contemplants);
            network.add_contemplant(&match backend {
                // Several share the processors and the memory of one machine.
                Backend::Cpu if contemplants > 1 => match mode {
                    Mode::Core => ContemplantSettings::cpu(&name, mode),
                    _ if number == 1 => ContemplantSettings::cpu(&name, mode),
                    _ => ContemplantSettings::shards_alone(&name),
                }
                .with("shards_at_once", 1),
                Backend::Cpu => ContemplantSettings::cpu(&name, mode),
                Backend::Mock => ContemplantSettings::mock(&name, MOCK_PROOF_TIME),
            })?;
        }
        Ok((network.rpc_url(), Some(network.status()?)))
    }

    fn use_running_network(&self) -> Result<(String, Option<StatusClient>)> {
        let rpc_url = self.options.rpc_url.clone().context("no network to use")?;
        let status = self.options.http_url.as_deref().map(StatusClient::new).transpose()?;
        Ok((rpc_url, status))
    }

    /// A request would wait in the queue just as well; waiting here tells warming up from proving.
    async fn wait_for_prover(&mut self, status: &StatusClient) -> Result<()> {
        let began = self.timeline.elapsed();
        let mode = self.options.mode;
        loop {
            self.check_alive()?;
            let contemplants = status.contemplants().await?;
            let offers = |mode| contemplants.iter().any(|one| one.offers(mode));
            let ready = contemplants.iter().filter(|one| !one.modes.is_empty()).count();
            if offers(mode) && ready >= self.options.contemplants as usize {
                self.timeline.mark(Step::ProverReady);
                return Ok(());
            }
            let seconds = format!("{} s", (self.timeline.elapsed() - began).as_secs());
            let stage = if contemplants.is_empty() {
                "waiting for a Contemplant to register".to_owned()
            } else {
                format!("prover warming up for {} proofs", mode.as_str())
            };
            self.progress.show(&stage, &seconds);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Shows the work on a request for as long as the SDK waits; returns only if that wait is vain.
    async fn watch(&mut self, status: Option<&StatusClient>, request: B256) -> anyhow::Error {
        let began = self.timeline.elapsed();
        loop {
            if let Err(error) = self.check_alive() {
                return error;
            }
            let work = match status {
                Some(status) => status.work_on(request.as_slice()).await.ok().flatten(),
                None => None,
            };
            let seconds = (self.timeline.elapsed() - began).as_secs();
            if let Some((contemplant, proof)) = work {
                self.timeline.mark(Step::Assigned);
                let phase = proof.phase.as_deref().unwrap_or("starting");
                if phase == "proving" {
                    self.timeline.mark(Step::Proving);
                }
                let stage = format!("{} ({}): {phase}", contemplant.name, contemplant.backend);
                self.progress.show(&stage, &describe(&proof, seconds));
            } else {
                self.progress.show("waiting for the proof", &format!("{seconds} s"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn believe(
        &mut self,
        client: &Client,
        proof: &SP1ProofWithPublicValues,
        request: B256,
        expected: &Expected,
        status: Option<&StatusClient>,
    ) -> Result<String> {
        self.progress.show("verifying", "");
        let (mode, backend) = (self.options.mode.sdk(), self.options.backend);
        let verdict = check_proof(client, proof, mode, backend, expected).await?;
        self.timeline.mark(Step::Verified);
        expected.check_details(&client.details(request).await?)?;
        if let Some(folder) = &self.options.keep_proof {
            keep(folder, self.options.mode, proof, client.keys.verifying_key())?;
        }

        let mut report = format!("\nrequest        {request}\nproof          {verdict}\n");
        match status {
            Some(status) => {
                let entry = self.find_in_history(status, request, expected).await?;
                let seconds =
                    entry.proof_seconds.map_or_else(String::new, |s| format!(" in {s:.1} s"));
                let name = entry.contemplant.as_deref().unwrap_or("?");
                let backend = entry.backend.as_deref().unwrap_or("?");
                writeln!(report, "proved by      Contemplant {name} on {backend}{seconds}")?;
                if self.options.contemplants > 1 {
                    let tasks = status.tasks_of(&entry.job).await?;
                    writeln!(report, "tasks          {}", self.shares(&tasks)?)?;
                }
            }
            None => writeln!(report, "proved by      unknown (give --http-url to see who)")?,
        }
        let (n, values) = (self.options.n, hex::encode(&expected.public_values));
        writeln!(report, "public values  0x{values}, as computed for n = {n}")?;
        let Expected { cycles, gas, .. } = expected;
        writeln!(report, "execution      {cycles} cycles, {gas} gas, as on this machine")?;
        write!(
            report,
            "network mode   {}\n\n{}",
            self.options.network_mode.as_str(),
            self.timeline
        )?;
        Ok(report)
    }

    /// How many tasks each Contemplant has made. All of them must have made some, and none twice.
    fn shares(&self, tasks: &[Task]) -> Result<String> {
        let shards = tasks.iter().filter(|task| task.shard.is_some()).count();
        let mut text = format!("{} of which {shards} shards:", tasks.len());
        for number in 1..=self.options.contemplants {
            let name = contemplant_name(number, self.options.contemplants);
            let theirs = tasks.iter().filter(|task| task.contemplant.as_ref() == Some(&name));
            let count = theirs.count();
            ensure!(count > 0, "{name} has made none of {} tasks", tasks.len());
            write!(text, " {count} by {name}")?;
        }
        let undone = tasks.iter().find(|task| !task.is_done());
        ensure!(undone.is_none(), "a task of a finished proof is not done: {undone:?}");
        Ok(text)
    }

    async fn find_in_history(
        &mut self,
        status: &StatusClient,
        request: B256,
        expected: &Expected,
    ) -> Result<HistoryEntry> {
        let entry = wait::until("the proof in /proof-history", HISTORY_LAG, async || {
            let entry = status.history_of(request.as_slice()).await?;
            Ok(entry.filter(HistoryEntry::is_proved))
        })
        .await?;
        if let Some(started) = entry.started_at {
            // Work too short to be seen on the status pages.
            self.timeline.mark_unix(Step::Assigned, started);
        }
        let wanted = self.options.backend.as_str();
        let backend = entry.backend.as_deref().unwrap_or("an unnamed backend");
        ensure!(backend == wanted, "proved on {backend}, not on {wanted} as asked for");
        let theirs = (entry.cycles, entry.gas);
        let ours = (Some(expected.cycles), Some(expected.gas));
        ensure!(theirs == ours, "/proof-history shows cycles and gas {theirs:?}, not {ours:?}");
        Ok(entry)
    }

    fn check_alive(&mut self) -> Result<()> {
        self.network.as_mut().map_or(Ok(()), LocalNetwork::check_alive)
    }

    /// Stops everything; adds the programs' last words to a failure.
    async fn end(mut self, outcome: Result<String>) -> Result<String> {
        self.progress.show("stopping", "");
        let outcome = match (outcome, self.network.take()) {
            (outcome, None) => outcome,
            (outcome, Some(mut network)) => {
                if self.options.keep_logs {
                    let folder = network.keep_folder();
                    self.progress.note(&format!("data and logs stay in {}", folder.display()));
                }
                let tails = network.log_tails();
                let stopped = network.stop().await;
                match outcome {
                    Ok(report) => {
                        stopped.context("there is a proof, but the programs did not stop well")?;
                        Ok(format!("{report}\n\nall programs stopped"))
                    }
                    Err(error) if format!("{error:#}").contains("last lines of") => Err(error),
                    Err(error) => Err(anyhow!("{error:#}\n{}\n{tails}", self.timeline)),
                }
            }
        };
        self.progress.finish();
        outcome
    }
}

/// Name of a Contemplant, of which there may be several.
fn contemplant_name(number: u32, all: u32) -> String {
    if all == 1 { CONTEMPLANT.to_owned() } else { format!("{CONTEMPLANT}-{number}") }
}

fn describe(proof: &CurrentProof, seconds: u64) -> String {
    let mut text = format!("{seconds} s");
    let about = if proof.estimated { "about " } else { "" };
    if let Some(fraction) = proof.fraction {
        text += &format!(", {about}{:.0} %", fraction * 100.0);
    }
    if let (Some(done), Some(total)) = (proof.cycles_done, proof.cycles_total) {
        text += &format!(", {done} of {total} cycles");
    }
    if let Some(left) = proof.eta_seconds {
        text += &format!(", {about}{left:.0} s left");
    }
    text
}

/// The SDK only knows that a request failed; the history knows why.
async fn explain(
    error: anyhow::Error,
    status: Option<&StatusClient>,
    request: B256,
) -> anyhow::Error {
    let Some(status) = status else { return error };
    match status.history_of(request.as_slice()).await {
        Ok(Some(HistoryEntry { state, failure: Some(failure), .. })) => {
            error.context(format!("the job is {state}: {failure}"))
        }
        _ => error,
    }
}
