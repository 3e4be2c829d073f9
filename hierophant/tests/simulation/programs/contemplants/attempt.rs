//! One attempt: fetch, prove, store on disk, upload.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use network_lib::ids::LeaseId;
use network_lib::job::{BlobInfo, FailureClass, Phase, Progress};
use network_lib::wire::{FromWorker, proof_path, stdin_path};
use test_peers::{blob, core_proof_with};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::{content, network};
use super::link::failure;
use super::{Contemplant, Finished, Temper};

/// Works on an attempt until it ends or `stop` cancels it.
pub(super) async fn run(
    contemplant: Contemplant,
    lease: LeaseId,
    stdin: BlobInfo,
    stop: CancellationToken,
) {
    let worked = stop.run_until_cancelled(work(&contemplant, lease, stdin)).await;
    end(&contemplant, lease, worked).await;
}

/// Uploads a proof that an earlier process has finished.
pub(super) async fn resume(contemplant: Contemplant, lease: LeaseId, stop: CancellationToken) {
    let worked = stop.run_until_cancelled(hand_in(&contemplant, lease)).await;
    end(&contemplant, lease, worked).await;
}

async fn end(contemplant: &Contemplant, lease: LeaseId, worked: Option<FromWorker>) {
    match worked {
        Some(message) => contemplant.over(lease, message),
        None => {
            // The machine does not stop at once.
            sleep(Duration::from_millis(contemplant.pick(0..3000))).await;
            contemplant.tell("has stopped an attempt");
            contemplant.state().held.remove(&lease);
            contemplant.state().disk.remove(&lease);
        }
    }
}

/// Returns the report of the end.
async fn work(contemplant: &Contemplant, lease: LeaseId, expected: BlobInfo) -> FromWorker {
    let failed = |class, message| {
        let failure = failure(class, message);
        FromWorker::Failed { lease_id: lease, failure }
    };
    let phase = |phase| {
        let progress = Progress::phase(phase);
        contemplant.report(FromWorker::Progress { lease_id: lease, progress });
    };
    phase(Phase::Downloading);
    let Some(stdin) = fetch(contemplant, lease).await else {
        return failed(FailureClass::Infrastructure, "the lease is gone");
    };
    assert_eq!(blob(&stdin), expected, "other bytes than announced");
    let content = stdin[0];
    contemplant.tell(&format!("works on content {content}"));
    phase(Phase::Executing);
    sleep(Duration::from_millis(contemplant.pick(100..3000))).await;
    if content::fails(&stdin) {
        return failed(FailureClass::Guest, "the program panicked");
    }
    let execution = content::execution(&stdin);
    contemplant.report(FromWorker::Executed { lease_id: lease, execution });
    for _ in 0..contemplant.pick(1..8) {
        sleep(Duration::from_millis(contemplant.pick(300..3000))).await;
        phase(Phase::Proving);
    }
    if contemplant.temper == Temper::Flaky && contemplant.chance(0.35) {
        let classes = [FailureClass::Worker, FailureClass::Infrastructure];
        return failed(classes[usize::from(contemplant.chance(0.5))], "flaky");
    }
    let lies = contemplant.temper == Temper::Liar;
    let proof = if lies { core_proof_with(b"a lie") } else { content::proof(&stdin) };
    contemplant.state().disk.insert(lease, Finished { execution, proof });
    contemplant.tell(&format!("has proved content {content}"));
    hand_in(contemplant, lease).await
}

/// The input, or nothing if the lease has ended.
async fn fetch(contemplant: &Contemplant, lease: LeaseId) -> Option<Vec<u8>> {
    let url = format!("http://hierophant:9010{}", stdin_path(lease));
    loop {
        let key = contemplant.state().key.clone();
        let call = network::call_as(
            key.as_ref().map(network_lib::secret::Secret::reveal),
            Method::GET,
            &url,
            vec![],
            Duration::ZERO,
        );
        match call.await {
            Ok((StatusCode::OK, stdin)) => return Some(stdin.to_vec()),
            Ok((StatusCode::FORBIDDEN | StatusCode::GONE, _)) => return None,
            // Until the next welcome.
            Ok((StatusCode::UNAUTHORIZED, _)) => {}
            Ok((status, _)) => assert!(status.is_server_error(), "an input: {status}"),
            Err(_) => {}
        }
        sleep(Duration::from_millis(contemplant.pick(250..2000))).await;
    }
}

/// Retries without limit. That the lease has ended is believed the second time, after a message from Hierophant.
async fn hand_in(contemplant: &Contemplant, lease: LeaseId) -> FromWorker {
    let url = format!("http://hierophant:9010{}", proof_path(lease));
    let finished = contemplant.state().disk.get(&lease).cloned();
    let Finished { execution, proof } = finished.expect("was put there before");
    let mut gone_since = None;
    loop {
        let durations = Duration::from_millis(contemplant.pick(0..400));
        let key = contemplant.state().key.clone();
        let call = network::call_as(
            key.as_ref().map(network_lib::secret::Secret::reveal),
            Method::PUT,
            &url,
            proof.clone(),
            durations,
        );
        match call.await {
            Ok((StatusCode::OK, _)) => {
                let proof = blob(&proof);
                return FromWorker::Completed { lease_id: lease, execution, proof };
            }
            // Until the next welcome.
            Ok((StatusCode::UNAUTHORIZED, _)) => {}
            Ok((StatusCode::FORBIDDEN, _)) => {
                let heard = contemplant.state().heard;
                if gone_since.is_some_and(|before| heard > before) {
                    contemplant.state().disk.remove(&lease);
                    let failure = failure(FailureClass::Infrastructure, "the lease is gone");
                    return FromWorker::Failed { lease_id: lease, failure };
                }
                gone_since = gone_since.or(Some(heard));
            }
            Ok((status, _)) => assert!(
                status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT,
                "a proof: {status}"
            ),
            Err(_) => {}
        }
        sleep(Duration::from_millis(contemplant.pick(250..3000))).await;
    }
}
