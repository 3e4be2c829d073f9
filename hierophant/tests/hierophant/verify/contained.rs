//! Checks of proofs that take memory or time without bound, or end their process, or Hierophant itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hierophant::config::BucketSettings;
use network_lib::secret::Secret;
use test_peers::s3::{ACCESS_KEY_ID, BUCKET, S3, SECRET_ACCESS_KEY};

use super::*;
use crate::support::eventually;

/// A program in the place of the checking process, which runs these lines of a shell.
fn script(folder: &TempDir, lines: &str) -> PathBuf {
    let path = folder.path().join("checker.sh");
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).expect("writes");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("is ours");
    path
}

fn a_mock() -> (SP1VerifyingKey, Vec<u8>) {
    let key = key_of(7);
    let bytes = encoded(&mock(ProofMode::Compressed, &key, VALUES));
    (key, bytes)
}

/// A bench whose checking process is a shell script, with a mock proof and its claim.
async fn scripted(lines: &str, time: Duration) -> (TempDir, Bench, ArtifactId, Claim) {
    let folder = TempDir::new().expect("temp dir");
    let program = script(&folder, lines);
    let bench = Bench::with(|config| {
        config.mock_mode = true;
        config.check_program = Some(program);
        config.proofs.check_time = time;
        config.proofs.checks = 1;
    })
    .await;
    let (key, bytes) = a_mock();
    let claim = bench.mock_claim(ProofMode::Compressed, &key).await;
    let proof = bench.store_proof(&bytes).await;
    (folder, bench, proof, claim)
}

const LONG: Duration = Duration::from_secs(60);

/// The files that note begun checks.
fn notes(bench: &Bench) -> Vec<PathBuf> {
    let entries = fs::read_dir(bench.folder.path().join("data/checks")).expect("reads");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test]
async fn a_proof_that_takes_too_much_memory_ends_its_checking_process_and_nothing_else() {
    let key = key_of(7);
    let mut bomb = mock(ProofMode::Compressed, &key, VALUES);
    let SP1Proof::Compressed(proof) = &mut bomb.proof else { unreachable!("asked for it") };
    // Each takes eight bytes in the file and three times as many in memory.
    let empty = || bincode::deserialize(&[0; 8]).expect("an empty polynomial");
    proof.proof.zerocheck_proof.univariate_polys.resize_with(1 << 22, empty);
    let bytes = encoded(&bomb);
    drop(bomb);

    // The file does not fit, or only what is decoded.
    for (memory, refusal) in [
        (8 << 20, "it does not fit into the"),
        (64 << 20, "ended by signal 6 (memory allocation of"),
    ] {
        let little = Bench::with(|config| {
            config.mock_mode = true;
            config.proofs.check_memory = memory;
        })
        .await;
        let claim = little.mock_claim(ProofMode::Compressed, &key).await;
        let verdict = little.check(&bytes, &claim).await;
        assert_refused(verdict, FailureClass::Worker, refusal);
        // What fits passes, in the same conditions.
        little.check(&a_mock().1, &claim).await.expect("a small proof");
    }

    let enough = Bench::new(true).await;
    let claim = enough.mock_claim(ProofMode::Compressed, &key).await;
    enough.check(&bytes, &claim).await.expect("only its memory is wrong");
}

/// Lines of a shell that reply as a checking process does when it has its order.
const BEGAN: &str = r#"head -c 4 > /dev/null; printf '\007\000\000\000"began"'"#;

/// The same when it has read the proof.
const READ: &str = r#"printf '\006\000\000\000"read"'"#;

/// Lines of a shell that count its runs in `$0.runs`, and become the real program from run number `runs` + 1 on.
fn real_after(runs: u32) -> String {
    let program = env!("CARGO_BIN_EXE_hierophant");
    format!("echo >> \"$0.runs\"\n[ $(wc -l < \"$0.runs\") -gt {runs} ] && exec {program} \"$@\"")
}

fn runs(folder: &TempDir) -> usize {
    fs::read_to_string(folder.path().join("checker.sh.runs")).expect("it ran").lines().count()
}

#[tokio::test]
async fn a_check_whose_process_is_killed_is_its_workers_failure_if_it_is_killed_alone_too() {
    let lines = format!("{}\n{BEGAN}; {READ}; kill -9 $$", real_after(2));
    let (folder, bench, proof, claim) = scripted(&lines, LONG).await;
    let verdict = bench.checker.check(proof, claim).await;
    assert_refused(verdict, FailureClass::Worker, "ended by signal 9");
    assert_eq!(runs(&folder), 2);

    let lines = format!("{}\n{BEGAN}; kill -9 $$", real_after(1));
    let (_folder, bench, proof, claim) = scripted(&lines, LONG).await;
    bench.checker.check(proof, claim).await.expect("a mock proof");
}

#[tokio::test]
async fn the_end_of_a_checking_process_from_outside_is_no_fault_of_a_worker() {
    // Before it has its order, and by a signal that the kernel sends to no process that takes too much. SIGINT would be
    // ignored if the tests run in the background of a shell.
    for end in [
        "exit 1",
        "kill -9 $$",
        "echo no reply at all",
        "BEGAN; kill -TERM $$",
        "BEGAN; READ; kill -TERM $$",
    ] {
        let end = end.replace("BEGAN", BEGAN).replace("READ", READ);
        let (folder, bench, proof, claim) =
            scripted(&format!("{}\n{end}", real_after(2)), LONG).await;
        bench.checker.check(proof, claim).await.expect("a mock proof");
        assert_eq!(runs(&folder), 3, "{end}");

        let (folder, bench, proof, claim) =
            scripted(&format!("{}\n{end}", real_after(100)), LONG).await;
        let verdict = bench.checker.check(proof, claim).await;
        assert_refused(verdict, FailureClass::Infrastructure, "the checking process");
        assert_eq!(runs(&folder), 5, "{end}");
    }
}

#[tokio::test]
async fn a_check_that_takes_too_long_is_ended() {
    let time = Duration::from_millis(300);
    let lines = format!("echo $$ > \"$0.pid\"; {BEGAN}; {READ}; exec sleep 600");
    let (folder, bench, proof, claim) = scripted(&lines, time).await;
    let verdict = bench.checker.check(proof, claim).await;
    assert_refused(verdict, FailureClass::Worker, "within 300ms (`proofs.check_time`)");
    let process = fs::read_to_string(folder.path().join("checker.sh.pid")).expect("it ran");
    let process = format!("/proc/{}/cmdline", process.trim());
    eventually("the process is gone", async || !Path::new(&process).exists()).await;
}

#[tokio::test]
async fn a_proof_that_a_hanging_disk_does_not_hand_over_is_no_fault_of_a_worker() {
    let time = Duration::from_millis(500);
    let lines = format!("{BEGAN}; exec sleep 600");
    let (_folder, bench, proof, claim) = scripted(&lines, time).await;
    let verdict = bench.checker.check(proof, claim).await;
    assert_refused(verdict, FailureClass::Infrastructure, "cannot read the stored proof within");
}

#[tokio::test]
async fn an_endless_reply_costs_no_memory() {
    for reply in ["cat /dev/zero | tr '\\0' 'x'", "head -c 100 /dev/zero", "echo no verdict at all"]
    {
        let lines = format!("{BEGAN}; {READ}; {reply}");
        let (_folder, bench, proof, claim) = scripted(&lines, LONG).await;
        let verdict = bench.checker.check(proof, claim).await;
        assert_refused(verdict, FailureClass::Worker, "the proof cannot be checked");
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_started_is_no_fault_of_a_worker() {
    let (_folder, bench, proof, claim) = scripted("", LONG).await;
    fs::remove_file(_folder.path().join("checker.sh")).expect("was there");
    let verdict = bench.checker.check(proof, claim).await;
    assert_refused(verdict, FailureClass::Infrastructure, "cannot start a process");
}

#[tokio::test]
async fn a_checking_process_has_no_variables_and_no_sockets() {
    let lines = format!("env > \"$0.env\"; ls -l /proc/$$/fd > \"$0.fd\"; {BEGAN}; {READ}; exit 3");
    let _listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let (folder, bench, proof, claim) = scripted(&lines, LONG).await;
    let verdict = bench.checker.check(proof, claim).await;
    assert_refused(verdict, FailureClass::Worker, "ended with exit code 3");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("it ran");
    let (variables, files) = (read("checker.sh.env"), read("checker.sh.fd"));
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "this test has variables");
    assert!(!variables.contains("CARGO_"), "{variables}");
    // It is the only check at a time here, so it may use all processors.
    let processors = std::thread::available_parallelism().expect("known");
    let threads = format!("RAYON_NUM_THREADS={processors}");
    assert!(variables.lines().any(|line| line == threads), "{variables}");
    assert!(files.contains("pipe:") && !files.contains("socket:"), "{files}");
}

#[tokio::test]
async fn processes_are_used_again_and_the_end_of_an_idle_one_is_no_fault_of_a_proof() {
    let program = env!("CARGO_BIN_EXE_hierophant");
    let lines = format!("echo $$ >> \"$0.pids\"\nexec {program} \"$@\"");
    let (folder, bench, proof, claim) = scripted(&lines, LONG).await;
    let processes = || {
        let text = fs::read_to_string(folder.path().join("checker.sh.pids")).expect("it ran");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for _ in 0..3 {
        bench.checker.check(proof, claim.clone()).await.expect("a mock proof");
    }
    // A wrong proof does not end its process either.
    let wrong = bench.check(b"no proof", &claim).await;
    assert_refused(wrong, FailureClass::Worker, "unknown proof mode");
    let first = processes();
    assert_eq!(first.len(), 1);
    let killed = Command::new("kill").args(["-9", &first[0]]).status().expect("runs");
    assert!(killed.success());
    bench.checker.check(proof, claim).await.expect("a mock proof");
    assert_eq!(processes().len(), 2);
}

/// Checks a proof in a task.
fn begin_check(
    bench: &Bench,
    proof: ArtifactId,
    claim: &Claim,
) -> tokio::task::JoinHandle<Result<(), Failure>> {
    let (checker, claim) = (bench.checker.clone(), claim.clone());
    network_lib::task::spawn("check", async move { checker.check(proof, claim).await })
}

#[tokio::test]
async fn a_proof_that_ended_hierophant_twice_is_not_checked_a_third_time() {
    let (folder, bench, proof, claim) = scripted("touch \"$0.began\"; exec sleep 600", LONG).await;
    let began = folder.path().join("checker.sh.began");
    for kind in ["shared", "alone"] {
        let check = begin_check(&bench, proof, &claim);
        eventually("the check begins", async || began.exists()).await;
        fs::remove_file(&began).expect("is there");
        // Hierophant is killed: what it noted stays.
        let [note] = &notes(&bench)[..] else { panic!("one check is noted") };
        let text = fs::read_to_string(note).expect("reads");
        check.abort();
        let _ = check.await;
        eventually("a stop in order leaves no note", async || notes(&bench).is_empty()).await;
        fs::write(note, &text).expect("writes");
        assert!(text.starts_with(kind), "{text}");
    }
    let verdict = bench.checker.check(proof, claim).await;
    assert_refused(verdict, FailureClass::Worker, "Hierophant has ended twice");
    assert!(!began.exists() && notes(&bench).is_empty());
}

#[tokio::test]
async fn a_proof_that_was_being_checked_when_hierophant_ended_is_checked_without_others() {
    let folder = TempDir::new().expect("temp dir");
    let program = env!("CARGO_BIN_EXE_hierophant");
    let waits = "echo >> \"$0.runs\"; while [ ! -e \"$0.go\" ]; do sleep 0.05; done";
    let script = script(&folder, &format!("{waits}; exec {program} \"$@\""));
    let bench = Bench::with(|config| {
        config.mock_mode = true;
        config.check_program = Some(script);
        config.proofs.checks = 4;
    })
    .await;
    let (key, bytes) = a_mock();
    let claim = bench.mock_claim(ProofMode::Compressed, &key).await;
    let (other, proof) = (bench.store_proof(&bytes).await, bench.store_proof(&bytes).await);
    let others = begin_check(&bench, other, &claim);
    eventually("the other check begins", async || !notes(&bench).is_empty()).await;
    let [note] = &notes(&bench)[..] else { panic!("one check is noted") };
    fs::copy(note, note.with_file_name(proof.to_string())).expect("copies");
    let checked = begin_check(&bench, proof, &claim);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(runs(&folder), 1, "it waits for the other one");
    fs::write(folder.path().join("checker.sh.go"), "").expect("writes");
    others.await.expect("ends").expect("a mock proof");
    checked.await.expect("ends").expect("a mock proof");
    assert!(notes(&bench).is_empty());
}

#[tokio::test]
async fn proofs_in_a_bucket_are_fetched_when_they_are_checked_and_not_before() {
    let (s3, folder) = (S3::start().await, TempDir::new().expect("temp dir"));
    let settings = BucketSettings {
        bucket: BUCKET.into(),
        prefix: "network".into(),
        endpoint: Some(s3.endpoint()),
        region: None,
        keys: Some((Secret::from(ACCESS_KEY_ID), Secret::from(SECRET_ACCESS_KEY))),
        virtual_host: false,
    };
    let staging = folder.path().join("artifacts");
    let blobs = Blobs::connect(&staging, &settings).await.expect("connects");
    let scripts = TempDir::new().expect("temp dir");
    let program = script(&scripts, "touch \"$0.began\"; exec sleep 600");
    let bench = Bench::on(folder, blobs, |config| {
        config.mock_mode = true;
        config.check_program = Some(program);
        config.proofs.checks = 1;
    })
    .await;
    let (key, bytes) = a_mock();
    let claim = bench.mock_claim(ProofMode::Compressed, &key).await;
    let mut checks = Vec::new();
    for _ in 0..5 {
        let proof = bench.store_proof(&bytes).await;
        checks.push(begin_check(&bench, proof, &claim));
    }
    let began = scripts.path().join("checker.sh.began");
    eventually("the first check begins", async || began.exists()).await;
    // The others would be here by then: they are small, and the bucket is on this machine.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let fetched = fs::read_dir(staging.join("tmp")).expect("reads").count();
    assert_eq!(fetched, 1);
    checks.iter().for_each(tokio::task::JoinHandle::abort);
}
