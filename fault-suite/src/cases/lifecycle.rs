//! Programs that die, stop and come back.

use std::time::Duration;

use crate::case::{Case, case};
use crate::contemplant::Settings;
use crate::stage::Stage;
use network_lib::job::ProofMode;

/// The group.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!(
            "lifecycle",
            "every-proof-mode",
            "all four kinds of proof are made",
            every_proof_mode
        ),
        case!(
            "lifecycle",
            "worker-killed-while-proving",
            "SIGKILL of a Contemplant that proves: the same proof is made elsewhere",
            worker_killed
        )
        .with_contemplants(),
    ]
}

async fn every_proof_mode(stage: &mut Stage) {
    let _prover = stage.prover("amos", Duration::ZERO);
    let mut client = stage.client(7).await;
    for mode in ProofMode::ALL {
        stage.request_mode(&mut client, 20, mode).await;
    }
}

async fn worker_killed(stage: &mut Stage) {
    let mut first = stage.contemplant(&Settings::new("amos", Duration::from_secs(600)));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.proving("amos").await;
    let _second = stage.prover("joel", Duration::from_millis(300));
    stage.joined("joel").await;
    stage.fault_begins();
    first.kill().await.expect("killed");
    stage.arrives(&request).await;
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert_eq!(attempts[0], ("amos".into(), "lost".into()));
}
