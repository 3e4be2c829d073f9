//! `contemplant doctor` on machines that lack something.

use std::process::Command;

use contemplant::config::{BackendChoice, Config};
use contemplant::doctor::{Finding, TestProofs, Verdict, examine};
use contemplant::executor::keys::KeyFiles;
use gpu_stand_in::Source;
use network_lib::handshake::{ProtocolRange, Refusal, RefusalCode};
use network_lib::ids::Sha256Digest;
use network_lib::secret::Secret;
use network_lib::wire::ToWorker;
use sha2::{Digest, Sha256};

use crate::fake_hierophant::FakeHierophant;
use crate::waiting::until_listening;

async fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    examine(config, TestProofs::None, |finding| findings.push(finding.clone())).await;
    findings
}

fn outcome(findings: &[Finding], what: &str) -> Result<String, String> {
    let Finding { verdict, text, .. } =
        findings.iter().find(|finding| finding.what == what).unwrap().clone();
    match verdict {
        Verdict::Failed => Err(text),
        Verdict::Passed | Verdict::Warning => Ok(text),
    }
}

#[tokio::test]
async fn each_failure_comes_with_its_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::for_test("ws://127.0.0.1:1/ws", folder.path().join("data"));
    config.backend = BackendChoice::Cuda;
    config.docker.engine = Some(format!("unix://{}", folder.path().join("no.sock").display()));
    let found = findings(&config).await;
    let told = outcome(&found, "hierophant").unwrap_err();
    assert!(told.contains("correct `hierophant_ws_address`"), "{told}");
    let told = outcome(&found, "docker").unwrap_err();
    assert!(told.contains("cannot be reached") && told.contains("set `docker.engine`"), "{told}");
    outcome(&found, "disk").unwrap();

    let file = folder.path().join("plain");
    std::fs::write(&file, "no socket").unwrap();
    config.prover_endpoint = Some(format!("unix://{}", file.display()));
    let told = outcome(&findings(&config).await, "server").unwrap_err();
    assert!(told.contains("correct `prover_endpoint`"), "{told}");

    config.prover_endpoint = None;
    config.prover_command = Some(vec!["/bin/false".to_owned()]);
    let told = outcome(&findings(&config).await, "server").unwrap_err();
    assert!(told.contains("contemplant prover fetch"), "{told}");
    assert!(told.contains("contemplant prover build"), "{told}");
}

#[tokio::test]
async fn what_works_is_told_as_well() {
    let mut hierophant = FakeHierophant::start().await;
    let folder = tempfile::tempdir().unwrap();
    let address = format!("ws://{}/ws", hierophant.address);
    let socket = folder.path().join("server.sock");
    let listening = socket.clone();
    network_lib::task::spawn("server", async move {
        gpu_stand_in::serve(&listening, Source::Recorded).await
    });
    until_listening(&socket).await;
    let mut config = Config::for_test(address, folder.path().join("data"));
    config.backend = BackendChoice::Cuda;
    config.prover_endpoint = Some(format!("unix://{}", socket.display()));
    let (found, connection) = tokio::join!(findings(&config), hierophant.welcome(&[]));
    assert!(outcome(&found, "hierophant").unwrap().contains("version fake"));
    outcome(&found, "server").unwrap();
    assert_eq!(outcome(&found, "token").unwrap(), "not set, and not required from this machine");
    assert!(outcome(&found, "clock").unwrap().starts_with("within "), "{found:?}");
    assert_eq!(connection.hello.name, "doctor");
    assert!(connection.hello.capabilities.modes.is_empty());
    assert!(connection.rest().await.is_empty(), "it has left without another word");
}

/// The findings of a doctor that Hierophant refuses with this code.
async fn refused(code: RefusalCode, message: &str) -> Vec<Finding> {
    let mut hierophant = FakeHierophant::start().await;
    let folder = tempfile::tempdir().unwrap();
    let address = format!("ws://{}/ws", hierophant.address);
    let mut config = Config::for_test(address, folder.path().join("data"));
    config.token = Some(Secret::from("swordfish"));
    let refusing = async {
        let connection = hierophant.accept().await;
        let token = connection.hello.token.as_ref().map(Secret::reveal);
        assert_eq!(token, Some("swordfish"));
        let (message, protocol) = (message.to_owned(), ProtocolRange::OURS);
        connection.say(&ToWorker::Refused(Refusal { code, message, protocol }));
    };
    tokio::join!(findings(&config), refusing).0
}

#[tokio::test]
async fn a_refused_token_is_told_from_a_refused_worker() {
    let found = refused(RefusalCode::Unauthorized, "expected a token of role worker").await;
    assert!(outcome(&found, "hierophant").unwrap().ends_with(" answers"), "{found:?}");
    assert_eq!(outcome(&found, "token").unwrap_err(), "expected a token of role worker");
    let found = refused(RefusalCode::Full, "the token rig is in use").await;
    assert_eq!(outcome(&found, "token").unwrap(), "the token rig is in use", "a warning");
    let found = refused(RefusalCode::Blocked, "blocked by the operator").await;
    let reason = outcome(&found, "hierophant").unwrap_err();
    assert!(reason.ends_with("refuses this worker: blocked by the operator"), "{reason}");
    assert!(found.iter().all(|finding| finding.what != "token"), "it was not checked");
}

/// Runs `contemplant doctor` with a mock backend for Core and PLONK; returns its lines.
fn doctor(arguments: &[&str]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    // Deriving the example's key takes half a minute.
    let digest = Sha256Digest(Sha256::digest(fibonacci::ELF).into());
    KeyFiles::new(&data_dir.join("keys")).save(digest, fibonacci::VERIFYING_KEY);
    let file = folder.path().join("contemplant.toml");
    let settings = format!(
        "hierophant_ws_address = \"ws://127.0.0.1:1/ws\"\nbackend = \"mock\"\nmock_proof_time = \"0s\"\n\
         modes = [\"core\", \"plonk\"]\ndata_dir = {data_dir:?}\n"
    );
    std::fs::write(&file, settings).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_contemplant"));
    let output = command.arg("--config").arg(&file).arg("doctor").args(arguments).output().unwrap();
    assert!(!output.status.success(), "there is no Hierophant");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_proof_of_each_kind_is_made_or_one_of_the_kind_that_is_asked_for() {
    let proofs = |arguments: &[&str]| -> Vec<String> {
        let mut lines = doctor(arguments);
        lines.retain(|line| line.contains("  proof  "));
        lines
    };
    let [core, plonk] = &proofs(&["--prove", "--all"])[..] else { panic!("not two proofs") };
    assert!(core.starts_with("ok    proof         core proof of "), "{core}");
    assert!(plonk.starts_with("ok    proof         plonk proof of "), "{plonk}");
    // Also of a kind that is not configured.
    let [groth16] = &proofs(&["--prove", "--mode", "groth16"])[..] else { panic!("not one") };
    assert!(groth16.contains("groth16 proof of "), "{groth16}");
    let [first] = &proofs(&["--prove"])[..] else { panic!("not one proof") };
    assert!(first.contains("core proof of "), "{first}");
    assert_eq!(proofs(&[]), Vec::<String>::new());
}

#[test]
fn the_machine_s_lines_begin_with_their_verdicts() {
    let lines = doctor(&[]);
    for what in ["memory", "disk", "temp", "shm"] {
        let line =
            lines.iter().find(|line| line.get(6..).is_some_and(|rest| rest.starts_with(what)));
        let line = line.unwrap_or_else(|| panic!("no line {what}: {lines:?}"));
        assert!(["ok  ", "WARN", "FAIL"].contains(&&line[..4]), "{line}");
    }
    assert!(lines[0].starts_with("FAIL  hierophant    "), "{lines:?}");
}
