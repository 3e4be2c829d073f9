//! Hierophant dies or stops, and comes back on the same ports and data.

use std::time::Duration;

use futures_util::StreamExt;
use hierophant_proto::artifact::ArtifactType;
use network_lib::handshake::Hello;
use network_lib::ids::LeaseId;
use network_lib::job::ProofMode;
use test_harness::config::key;
use test_harness::{STOP_LIMIT, Signal};
use test_peers::{Worker, hello};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::steps::{completed, leased, proved, proves, rejoin, settled};
use crate::case::{Case, case, short_silence};
use crate::contemplant::Settings;
use crate::observer::Expected;
use crate::program;
use crate::stage::{Request, Stage};

/// Longest time until service is back, however many finished requests are stored.
const BACK_IN_SERVICE: Duration = Duration::from_secs(2);

/// The same where all that is stored is unfinished, so that all of it is read. Measured on two processors
/// with seven times as much to do as they could: 4 s at the highest priority, 11 s at an ordinary one.
const BACK_WITH_ALL_UNFINISHED: Duration = Duration::from_secs(20);

/// Requests in the store of the cases about many.
const MANY: u32 = 100_000;

/// Tries to kill Hierophant in the moment in which it verifies.
const TRIES: u32 = 60;

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("restart", "hierophant-killed-while-queued", "SIGKILL of Hierophant with a queued job: it is assigned once, after the restart", queued),
        case!("restart", "hierophant-killed-while-leased", "SIGKILL with a leased job: the worker continues under the same lease", while_leased),
        case!("restart", "hierophant-killed-while-proving", "SIGKILL while a job is proved: the worker continues under the same lease", while_proving),
        case!("restart", "hierophant-killed-while-uploaded", "SIGKILL after the upload of the proof, before its announcement: no second upload, no second attempt", while_uploaded),
        case!("restart", "hierophant-killed-while-verifying", "SIGKILL during verification: the proof is verified again, not made again", while_verifying),
        case!("restart", "hierophant-killed-when-proved", "SIGKILL after the end: the same proof is served", when_proved),
        case!("restart", "hierophant-killed-under-a-contemplant", "SIGKILL while a real Contemplant proves: it reconnects, and the same attempt succeeds", under_a_contemplant).with_contemplants(),
        case!("restart", "hierophant-killed-ten-times", "SIGKILL ten times at arbitrary moments under load: every request ends exactly once", ten_times),
        case!("restart", "hierophant-frozen", "SIGSTOP of Hierophant: after SIGCONT it does not mistake its own pause for silence of its workers, and gives their jobs to no idle one", frozen).keys(short_silence()),
        case!("restart", "shutdown-with-work-in-flight", "SIGTERM during an upload, a poll and a proof: exits within its limit, ports free, nothing lost", shutdown),
        case!("restart", "a-hundred-thousand-requests", "SIGKILL with 100,000 requests in the store: back in service in under 2 s", many_requests),
        case!("restart", "a-hundred-thousand-unfinished", "SIGKILL with 100,000 queued requests: back in service, and the most urgent is assigned first", many_unfinished).keys(key("proofs.max_waiting", 2 * i64::from(MANY))).keys(key("quotas.open_requests", 0)).keys(key("quotas.strangers_requests_per_minute", 0)),
    ]
}

/// A scripted worker that has been given the job of a request.
async fn given(stage: &mut Stage) -> (Hello, Worker, Request, LeaseId) {
    let mut client = stage.client(7).await;
    let me = Hello { name: "amos".into(), ..hello() };
    let mut worker = stage.worker_with(me.clone()).await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    (me, worker, request, lease)
}

/// Kills Hierophant and starts it again.
pub(super) async fn crash(stage: &mut Stage) {
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    stage.hierophant.launch().await.expect("starts again");
}

/// The worker returns with its lease, and must be asked to continue.
async fn returns(stage: &Stage, me: Hello, lease: LeaseId) -> Worker {
    let (worker, welcome) = rejoin(stage, me, &[lease]).await;
    assert_eq!(welcome.resume, [lease], "the attempt goes on");
    worker
}

async fn queued(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    assert_eq!(stage.job_state(&request).await, "queued");
    crash(stage).await;
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn while_leased(stage: &mut Stage) {
    let (me, worker, request, lease) = given(stage).await;
    assert_eq!(stage.job_state(&request).await, "leased");
    crash(stage).await;
    drop(worker);
    let mut worker = returns(stage, me, lease).await;
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn while_proving(stage: &mut Stage) {
    let (me, mut worker, request, lease) = given(stage).await;
    proves(&mut worker, lease).await;
    stage.job_becomes(&request, "proving").await;
    crash(stage).await;
    let mut worker = returns(stage, me, lease).await;
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn while_uploaded(stage: &mut Stage) {
    let (me, mut worker, request, lease) = given(stage).await;
    proves(&mut worker, lease).await;
    let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
    assert_eq!(worker.hand_in(lease, &good.bytes).await, 200);
    stage.job_becomes(&request, "uploaded").await;
    crash(stage).await;
    let mut worker = returns(stage, me, lease).await;
    completed(&mut worker, lease, &good).await;
    settled(&mut worker, lease).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

/// Verifying takes a millisecond, so the moment is sought by trying: earlier if the proof was accepted
/// already, later if verifying had not begun.
async fn while_verifying(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let me = Hello { name: "amos".into(), ..hello() };
    let mut pause = Duration::from_micros(1000);
    for number in 0..TRIES {
        let mut worker = rejoin(stage, me.clone(), &[]).await.0;
        let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
        ask.cycle_limit += u64::from(number);
        let expected = Expected::Proof(20, ProofMode::Core);
        let request = stage.submit(&mut client, &ask, expected).await;
        let lease = leased(&mut worker).await;
        proves(&mut worker, lease).await;
        let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
        assert_eq!(worker.hand_in(lease, &good.bytes).await, 200);
        completed(&mut worker, lease, &good).await;
        sleep(pause).await;
        stage.hierophant.process.kill().await.expect("killed");
        let state = stage.job_state(&request).await;
        stage.hierophant.launch().await.expect("starts again");
        if state != "proved" {
            let (mut worker, welcome) = rejoin(stage, me.clone(), &[lease]).await;
            if welcome.resume.contains(&lease) {
                completed(&mut worker, lease, &good).await;
            }
            stage.arrives(&request).await;
        }
        stage.assert_one_attempt(&request).await;
        match state.as_str() {
            "verifying" => {
                stage.note(format!("caught at try {}", number + 1));
                return;
            }
            "proved" => pause = pause.mul_f64(0.8),
            _ => pause = pause.mul_f64(1.3).min(Duration::from_millis(50)),
        }
    }
    panic!("in {TRIES} tries Hierophant was never killed while it verified");
}

async fn when_proved(stage: &mut Stage) {
    let (me, mut worker, request, lease) = given(stage).await;
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
    let first = stage.observer(&request).proof();
    crash(stage).await;
    let again = stage.watch(request.id.clone(), stage.observer(&request).expected, &stage.direct());
    stage.arrives(&again).await;
    assert_eq!(stage.observer(&again).proof(), first, "the same bytes");
    // The worker may not know that its proof was accepted.
    let (mut worker, welcome) = rejoin(stage, me, &[lease]).await;
    if welcome.resume.contains(&lease) {
        completed(&mut worker, lease, &stage.kit.proofs.of(20, ProofMode::Core).clone()).await;
        settled(&mut worker, lease).await;
    }
    stage.assert_one_attempt(&request).await;
}

async fn under_a_contemplant(stage: &mut Stage) {
    let mut worker = stage.contemplant(&Settings::new("amos", Duration::from_secs(5)));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    crash(stage).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
    assert!(worker.is_alive());
}

async fn frozen(stage: &mut Stage) {
    // It proves for longer than Hierophant is frozen.
    let _prover = stage.prover("amos", Duration::from_secs(9));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.job_becomes(&request, "proving").await;
    // An idle one, which would get the job if the first one counted as lost.
    let idle = stage.prover("joel", Duration::from_secs(1));
    stage.joined("joel").await;
    stage.fault_begins();
    stage.hierophant.process.signal(Signal::Stop).await.expect("frozen");
    sleep(Duration::from_secs(5)).await;
    stage.hierophant.process.signal(Signal::Continue).await.expect("thawed");
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
    assert!(idle.ledger().leased.is_empty(), "given to the idle worker too");
}

async fn ten_times(stage: &mut Stage) {
    let _provers = ["amos", "joel"].map(|name| stage.prover(name, Duration::from_millis(150)));
    stage.fault_begins();
    for round in 0..10 {
        let mut client = stage.client(7).await;
        for number in 0..3 {
            let mut ask = program::ask(&mut client, 20, ProofMode::Core).await;
            ask.cycle_limit += round * 3 + number;
            let expected = Expected::Proof(20, ProofMode::Core);
            stage.submit(&mut client, &ask, expected).await;
        }
        // Another moment in each round.
        sleep(Duration::from_millis(round * 37)).await;
        stage.hierophant.process.kill().await.expect("killed");
        stage.hierophant.launch().await.expect("starts again");
    }
    stage.all_arrive(Duration::from_secs(30)).await;
    let mut store = stage.store().await;
    let completed = "SELECT count(*) FROM attempts WHERE outcome = 'completed'";
    let jobs = "SELECT count(*) FROM jobs";
    let (completed, jobs) = (store.count(completed).await, store.count(jobs).await);
    assert_eq!(completed.expect("counted"), jobs.expect("counted"), "each job was done once");
}

async fn shutdown(stage: &mut Stage) {
    let (me, mut worker, request, lease) = given(stage).await;
    proves(&mut worker, lease).await;
    stage.job_becomes(&request, "proving").await;
    let mut client = stage.client(8).await;
    let ticket = client.ticket(ArtifactType::Stdin).await;
    // An upload that says little and does not end.
    let endless = futures_util::stream::repeat(()).then(|()| async {
        sleep(Duration::from_millis(200)).await;
        Ok::<_, std::io::Error>(vec![0_u8; 10])
    });
    let upload = client.http.put(&ticket.artifact_presigned_url);
    let upload = upload.body(reqwest::Body::wrap_stream(endless));
    let uploading = network_lib::task::spawn("upload", upload.send());
    sleep(Duration::from_millis(500)).await;
    stage.fault_begins();
    let status =
        stage.hierophant.process.terminate(STOP_LIMIT).await.expect("ends within its limit");
    assert!(status.success(), "{status}");
    uploading.abort();
    let direct = stage.direct();
    for address in [direct.grpc, direct.http] {
        drop(TcpListener::bind(address).await.expect("the port is free again"));
    }
    stage.hierophant.launch().await.expect("starts again");
    let mut worker = returns(stage, me, lease).await;
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

/// Copies one finished request, its job and its attempt a hundred thousand times in the database of a
/// Hierophant that is down, and leaves a few requests waiting.
async fn many_requests(stage: &mut Stage) {
    let (_, mut worker, request, lease) = given(stage).await;
    proved(stage, &mut worker, lease, 20).await;
    stage.arrives(&request).await;
    drop(worker);
    let mut client = stage.client(7).await;
    let waiting = stage.request(&mut client, 21).await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    multiply(stage, &FINISHED).await;
    back_in_service(stage, BACK_IN_SERVICE).await;
    let mut client = stage.client(9).await;
    let new = stage.request(&mut client, 20).await;
    let _prover = stage.prover("joel", Duration::ZERO);
    stage.arrives(&waiting).await;
    stage.arrives(&new).await;
}

/// As above, with all of them waiting.
async fn many_unfinished(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    stage.submit(&mut client, &ask, Expected::StillWaiting).await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    multiply(stage, &WAITING).await;
    back_in_service(stage, BACK_WITH_ALL_UNFINISHED).await;
    // The client with less in progress and less time goes first.
    let mut client = stage.client(9).await;
    let mut ask = program::ask(&mut client, 21, ProofMode::Core).await;
    ask.deadline -= 3600;
    let urgent = stage.submit(&mut client, &ask, Expected::Proof(21, ProofMode::Core)).await;
    let mut worker = stage.worker("amos").await;
    let lease = leased(&mut worker).await;
    proved(stage, &mut worker, lease, 21).await;
    stage.arrives(&urgent).await;
}

async fn back_in_service(stage: &mut Stage, limit: Duration) {
    let took = stage.hierophant.launch().await.expect("starts again");
    stage.recovers();
    stage.note(format!("ready after {:.1} s with {MANY} requests", took.as_secs_f64()));
    assert!(took < limit, "back in service after {took:?}");
}

/// Rows to copy: table, columns that must differ in each copy, and what the original is.
type Rows = (&'static str, &'static [&'static str], &'static str);

const FINISHED: [Rows; 3] = [
    ("requests", &["id", "idempotency_key", "job"], "state = 'fulfilled'"),
    ("jobs", &["id", "key"], "state = 'proved'"),
    ("attempts", &["lease", "job"], "outcome = 'completed'"),
];

const WAITING: [Rows; 2] = [
    ("requests", &["id", "idempotency_key", "job"], "state = 'open'"),
    ("jobs", &["id", "key"], "state = 'queued'"),
];

async fn multiply(stage: &Stage, rows: &[Rows]) {
    let mut store = stage.store().await;
    let copies = format!(
        "WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < {MANY})"
    );
    for (table, changed, original) in rows {
        let columns = store.columns(table).await.expect("columns");
        // A job's number is the same in all three tables, so that they belong together.
        let values: Vec<String> = columns
            .iter()
            .map(|column| match column.as_str() {
                "id" if *table == "requests" => "CAST(printf('%032d', n) AS BLOB)".into(),
                "id" | "job" => "CAST(printf('%016d', n) AS BLOB)".into(),
                "lease" => "CAST(printf('%016d', n) AS BLOB)".into(),
                column if changed.contains(&column) => {
                    "CAST(printf('%032d', n) AS BLOB)".to_owned()
                }
                column => format!("original.{column}"),
            })
            .collect();
        let (columns, values) = (columns.join(", "), values.join(", "));
        let statement = format!(
            "INSERT INTO {table} ({columns}) {copies}
             SELECT {values} FROM counter,
             (SELECT * FROM {table} WHERE {original} LIMIT 1) AS original"
        );
        let copied = store.run(&statement).await.expect("copied");
        assert_eq!(copied, u64::from(MANY), "rows of {table}");
    }
    store.close().await.expect("closed");
}
