//! The self-test of a prover server: the example program is set up and, by configuration, proved, before the server gets
//! work.
//!
//! SP1's server builds its prover for the first program of a connection, which is where a GPU that is too small, or a
//! machine with too little memory, shows. The verifying key of the program is known, which tells a server of another
//! version.

use std::sync::Arc;
use std::time::Duration;

use network_lib::job::ProofMode;
use sp1_node::LightNode;
use sp1_prover::{SP1_CIRCUIT_VERSION, SP1VerifyingKey};
use sp1_verifier::ProofFromNetwork;
use tokio::time::{Instant, sleep, timeout};

use super::attempt::{END_NOTICE_LIMIT, LOG_LAG, TROUBLE_GRACE};
use super::{End, Slot};
use crate::config::SelfTest;
use crate::executor::cuda::session::{Session, SessionError};
use crate::executor::encode::encode;
use crate::executor::example;
use crate::executor::program::Program;
use crate::prover_server::RunningServer;
use crate::prover_server::log::ServerLog;

/// Interval between two looks at the log.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Why a self-test failed.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// The server did not answer as expected.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// It took too long.
    #[error("{what} took more than {} s", .limit.as_secs())]
    Slow { what: &'static str, limit: Duration },
    /// Its log says that it cannot finish.
    #[error("it cannot be finished")]
    InTrouble,
    /// The proof is wrong.
    #[error("the proof of the example program is wrong: {0}")]
    WrongProof(String),
    /// This program cannot carry it out.
    #[error("the example program cannot be used: {0}")]
    Impossible(String),
}

impl Slot {
    /// Tests the server.
    pub(super) async fn test(
        &self,
        session: &mut Session,
        running: &mut dyn RunningServer,
    ) -> Result<(), End> {
        let start = Instant::now();
        let log = running.log().clone();
        log.begin_proof();
        let outcome = tokio::select! {
            biased;
            death = running.ended() => return Err(End::Failed(death.reason)),
            outcome = carry_out(self.self_test, self.start_limit, session) => outcome,
            () = in_trouble(&log) => Err(Fault::InTrouble),
        };
        let Err(fault) = outcome else {
            let seconds = start.elapsed().as_secs();
            tracing::info!(server = self.server.describe(), seconds, "self-test passed");
            return Ok(());
        };
        if let Fault::Session(SessionError::AnotherVersion) = fault {
            return Err(End::Misfit(fault.to_string()));
        }
        // If the server has ended, its end explains best why the connection broke.
        if self.server.is_ours()
            && matches!(fault, Fault::Session(SessionError::Wire(_)))
            && let Ok(death) = timeout(END_NOTICE_LIMIT, running.ended()).await
        {
            return Err(End::Failed(death.reason));
        }
        sleep(LOG_LAG).await;
        let reason = format!("the self-test of the prover server failed: {fault}");
        Err(End::Failed(log.explain(&reason)))
    }
}

/// Returns when the log says that the server cannot finish what it does.
async fn in_trouble(log: &ServerLog) {
    loop {
        sleep(LOOK_INTERVAL).await;
        if log.trouble().is_some_and(|trouble| trouble.at.elapsed() >= TROUBLE_GRACE) {
            return;
        }
    }
}

/// Sets up the example program and, if wanted, proves it; each within `limit`.
async fn carry_out(
    self_test: SelfTest,
    limit: Duration,
    session: &mut Session,
) -> Result<(), Fault> {
    let verifying_key = bincode::deserialize(fibonacci::VERIFYING_KEY)
        .map_err(|error| Fault::Impossible(error.to_string()))?;
    let program = Program::new(Arc::new(fibonacci::ELF.to_vec()), verifying_key);
    let slow = |what| move |_| Fault::Slow { what, limit };
    let setting_up = timeout(limit, session.set_up(example::digest(), &program));
    let key = setting_up.await.map_err(slow("setting up the example program"))??;
    if self_test == SelfTest::Setup {
        return Ok(());
    }
    let stdin = encode(example::input()).await.map_err(Fault::Impossible)?;
    let stdin = Arc::new(stdin);
    let proving = timeout(limit, session.prove(key, ProofMode::Core, stdin));
    let proof = proving.await.map_err(slow("proving the example program"))??;
    check(proof, program.key.clone()).await.map_err(Fault::WrongProof)
}

/// Checks a proof of the example program.
async fn check(proof: ProofFromNetwork, key: SP1VerifyingKey) -> Result<(), String> {
    if proof.sp1_version != SP1_CIRCUIT_VERSION {
        return Err(format!(
            "its circuit version is {}: expected {SP1_CIRCUIT_VERSION}",
            proof.sp1_version
        ));
    }
    if proof.public_values.as_slice() != fibonacci::public_values(example::N) {
        return Err("its public values are not those of the program".to_owned());
    }
    let node = LightNode::start().await;
    let verifying = tokio::task::spawn_blocking(move || node.verify(&key, &proof.proof));
    let verified = verifying.await.map_err(|error| error.to_string())?;
    verified.map_err(|error| format!("{error:#}"))
}
