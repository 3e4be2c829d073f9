//! What a case is played on: a Hierophant, workers, clients, and an observer for every request. The
//! stage looks after what every case owes: that each request ends as it must, that nothing is lost, that
//! nothing panics, that the processes stop when asked.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use network_lib::handshake::Hello;
use network_lib::job::ProofMode;
use test_harness::binaries::Binaries;
use test_harness::config::key;
use test_harness::{Hierophant, Process, wait};
use test_peers::{Addresses, Ask, Client, Reach, Worker, hello};
use tokio::time::Instant;
use toml::Table;

use crate::contemplant::{self, Settings};
use crate::observer::{Expected, Observer};
use crate::postgres::Postgres;
use crate::program;
use crate::proofs::Proofs;
use crate::prover::Prover;
use crate::s3::Bucket;
use crate::settings;
use crate::store::Store;

/// Longest wait for a single step of a case.
pub(crate) const STEP: Duration = Duration::from_secs(20);

/// What all cases share.
#[derive(Debug)]
pub(crate) struct Kit {
    /// The programs under test.
    pub(crate) binaries: Binaries,
    /// The program that stands in for SP1's GPU server.
    pub(crate) gpu_stand_in: PathBuf,
    /// Good proofs.
    pub(crate) proofs: Arc<Proofs>,
    /// Data folder of a Contemplant that has seen the program.
    pub(crate) template: PathBuf,
}

/// One case's world. Dropping it kills its processes.
pub(crate) struct Stage {
    /// What all cases share.
    pub(crate) kit: Arc<Kit>,
    /// The coordinator; started by [`Self::open`].
    pub(crate) hierophant: Hierophant,
    /// Its database server, if it does not use a file.
    pub(crate) postgres: Option<Postgres>,
    /// Its bucket, if its artifacts lie in one.
    pub(crate) bucket: Option<Bucket>,
    /// Observers of all requests.
    pub(crate) observers: Vec<Observer>,
    /// When the fault began.
    pub(crate) fault: Option<Instant>,
    /// When service was back, if the case says so itself.
    pub(crate) recovered: Option<Duration>,
    /// What clients saw beside the states of their requests.
    pub(crate) notes: Vec<String>,
    /// Whether the case may leave a Hierophant behind that has ended with an error.
    pub(crate) may_be_down: bool,
    folder: PathBuf,
}

/// A request under observation.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// What the client polls.
    pub(crate) id: Vec<u8>,
    index: usize,
}

impl Stage {
    /// A stage with a running Hierophant.
    pub(crate) async fn open(kit: &Arc<Kit>, folder: &Path, keys: &Table) -> Result<Self> {
        let binary = &kit.binaries.hierophant;
        let hierophant = Hierophant::start(binary, folder, &settings::with(keys), &[]).await?;
        Ok(Self {
            kit: Arc::clone(kit),
            hierophant,
            postgres: None,
            bucket: None,
            observers: Vec::new(),
            fault: None,
            recovered: None,
            notes: Vec::new(),
            may_be_down: false,
            folder: folder.to_owned(),
        })
    }

    /// Starts Hierophant again, empty, on a Postgres server of the case's own.
    pub(crate) async fn move_to_postgres(&mut self) {
        let postgres = Postgres::start().await.expect("a Postgres server");
        let status = self.hierophant.process.terminate(STEP).await.expect("stops");
        assert!(status.success(), "{status}");
        std::fs::remove_dir_all(self.hierophant.data()).expect("removed");
        self.hierophant.configure(&key("database_url", postgres.url())).expect("configured");
        self.hierophant.launch().await.expect("starts on Postgres");
        assert!(!self.hierophant.database().exists(), "there must be no SQLite file");
        self.postgres = Some(postgres);
    }

    /// The case's database server.
    pub(crate) fn postgres(&self) -> &Postgres {
        self.postgres.as_ref().expect("the case has moved to Postgres")
    }

    /// Starts Hierophant again, empty, with its artifacts in a bucket of the case's own.
    pub(crate) async fn move_to_s3(&mut self) {
        let bucket = Bucket::start().await.expect("a bucket");
        let status = self.hierophant.process.terminate(STEP).await.expect("stops");
        assert!(status.success(), "{status}");
        std::fs::remove_dir_all(self.hierophant.data()).expect("removed");
        self.hierophant.configure(&bucket.keys()).expect("configured");
        self.hierophant.launch().await.expect("starts on the bucket");
        self.bucket = Some(bucket);
    }

    /// The case's bucket.
    pub(crate) fn bucket(&self) -> &Bucket {
        self.bucket.as_ref().expect("the case has moved to a bucket")
    }

    /// Folder of everything that belongs to the case.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Says that the fault happens now; recovery is counted from the first time.
    pub(crate) fn fault_begins(&mut self) {
        self.fault.get_or_insert_with(Instant::now);
    }

    /// Adds to what the clients saw.
    pub(crate) fn note(&mut self, what: impl Into<String>) {
        self.notes.push(what.into());
    }

    /// Says that service is back.
    pub(crate) fn recovers(&mut self) {
        self.recovered = self.fault.map(|fault| fault.elapsed());
    }

    /// A client that has registered the program.
    pub(crate) async fn client(&self, seed: u8) -> Client {
        let mut client = Client::with_key(&self.hierophant, seed).await;
        program::register(&mut client).await;
        client
    }

    /// Requests a Core proof of input `n`, which must end well.
    pub(crate) async fn request(&mut self, client: &mut Client, n: u32) -> Request {
        self.request_mode(client, n, ProofMode::Core).await
    }

    /// Requests a proof, which must end well.
    pub(crate) async fn request_mode(
        &mut self,
        client: &mut Client,
        n: u32,
        mode: ProofMode,
    ) -> Request {
        let ask = program::ask(client, n, mode).await;
        self.submit(client, &ask, Expected::Proof(n, mode)).await
    }

    /// Makes a request and watches it.
    pub(crate) async fn submit(
        &mut self,
        client: &mut Client,
        ask: &Ask,
        expected: Expected,
    ) -> Request {
        let id = client.ask(ask).await.expect("the request is accepted");
        self.watch(id, expected, &self.direct())
    }

    /// Watches a request by way of `reach`.
    pub(crate) fn watch(&mut self, id: Vec<u8>, expected: Expected, reach: &impl Reach) -> Request {
        let url = format!("http://{}", reach.grpc());
        let channel = tonic::transport::Endpoint::from_shared(url).expect("a URL").connect_lazy();
        // Hundreds of observers must not be the load that the case is about.
        let pause = Duration::from_millis(if self.observers.len() < 20 { 40 } else { 500 });
        let http = reqwest::Client::new();
        self.observers.push(Observer::start(channel, http, id.clone(), expected, pause));
        Request { id, index: self.observers.len() - 1 }
    }

    /// The ports themselves, no relay between.
    pub(crate) fn direct(&self) -> Addresses {
        Addresses { grpc: self.hierophant.grpc(), http: self.hierophant.http() }
    }

    /// The observer of a request.
    pub(crate) fn observer(&self, request: &Request) -> &Observer {
        &self.observers[request.index]
    }

    /// Waits until every request has got where it must.
    pub(crate) async fn all_arrive(&self, limit: Duration) {
        wait::eventually("the ends of all requests", limit, async || {
            self.observers.iter().all(Observer::has_arrived).then_some(())
        })
        .await;
    }

    /// Waits until one request has ended.
    pub(crate) async fn arrives(&self, request: &Request) {
        let observer = self.observer(request);
        wait::eventually("the request's end", STEP, async || observer.ended().map(drop)).await;
    }

    /// A scripted worker that joins at once and does nothing on its own.
    pub(crate) async fn worker(&self, name: &str) -> Worker {
        self.worker_with(Hello { name: name.into(), ..hello() }).await
    }

    /// A scripted worker with this handshake, of which the scheduler knows when this returns.
    pub(crate) async fn worker_with(&self, hello: Hello) -> Worker {
        let name = hello.name.clone();
        let worker = Worker::join(&self.hierophant, hello).await;
        self.joined(&name).await;
        worker
    }

    /// A scripted worker that works well.
    pub(crate) fn prover(&self, name: &str, proof_time: Duration) -> Prover {
        let http = self.hierophant.http();
        Prover::start(http, name, &self.kit.proofs, proof_time, |_| {})
    }

    /// A real Contemplant.
    pub(crate) fn contemplant(&self, settings: &Settings) -> Process {
        self.contemplant_at(self.hierophant.http(), settings)
    }

    /// A real Contemplant that reaches Hierophant at another address.
    pub(crate) fn contemplant_at(&self, http: SocketAddr, settings: &Settings) -> Process {
        let template = Some(self.kit.template.as_path()).filter(|template| template.exists());
        let binary = &self.kit.binaries.contemplant;
        contemplant::start(binary, &self.folder, template, http, settings)
            .expect("the Contemplant starts")
    }

    /// Opens the database beside Hierophant.
    pub(crate) async fn store(&self) -> Store {
        self.open_store().await.expect("the database can be read")
    }

    /// Opens the database that Hierophant uses, or used.
    pub(crate) async fn open_store(&self) -> Result<Store> {
        match &self.postgres {
            Some(postgres) => Store::connect(&postgres.direct_url()).await,
            None => Store::open(&self.hierophant.database()).await,
        }
    }

    /// Worker and outcome of each attempt at a request's job, oldest first.
    pub(crate) async fn attempts(&self, request: &Request) -> Vec<(String, String)> {
        self.store().await.attempts(&request.id).await.expect("attempts can be read")
    }

    /// Asserts that the job was given out exactly once.
    pub(crate) async fn assert_one_attempt(&self, request: &Request) {
        let attempts = self.attempts(request).await;
        assert_eq!(attempts.len(), 1, "there should be one attempt: {attempts:?}");
    }

    /// State of a request's job in the database.
    pub(crate) async fn job_state(&self, request: &Request) -> String {
        let state = self.store().await.job_state(&request.id).await;
        state.context("the request has no job").expect("the job can be read")
    }

    /// Waits until the job of a request is in this state.
    pub(crate) async fn job_becomes(&self, request: &Request, state: &str) {
        let what = format!("a job that is {state}");
        wait::eventually(&what, STEP, async || {
            (self.job_state(request).await == state).then_some(())
        })
        .await;
    }

    /// The page of a connected Contemplant, if it is connected.
    pub(crate) async fn contemplant_page(&self, name: &str) -> Option<serde_json::Value> {
        let page = self.hierophant.page("/contemplants").await.ok()?;
        let connected = |one: &&serde_json::Value| one["name"] == name && one["state"] != "away";
        page.as_array()?.iter().find(connected).cloned()
    }

    /// Waits until a Contemplant is connected.
    pub(crate) async fn joined(&self, name: &str) {
        wait::eventually(&format!("{name} is connected"), STEP, async || {
            self.contemplant_page(name).await.map(drop)
        })
        .await;
    }

    /// Waits until a Contemplant is disconnected.
    pub(crate) async fn gone(&self, name: &str) {
        wait::eventually(&format!("{name} is gone"), STEP, async || {
            self.contemplant_page(name).await.is_none().then_some(())
        })
        .await;
    }

    /// Waits until a real Contemplant is past its executions and makes a proof. Deriving the
    /// program's key comes before and takes a slow machine most of a minute, unless it is remembered.
    pub(crate) async fn proving(&self, name: &str) {
        let what = format!("{name} makes a proof");
        wait::eventually(&what, Duration::from_secs(100), async || {
            let page = self.contemplant_page(name).await?;
            let current = page["current_proofs"].as_array()?.first()?.clone();
            (current["phase"] == "proving").then_some(())
        })
        .await;
    }
}
