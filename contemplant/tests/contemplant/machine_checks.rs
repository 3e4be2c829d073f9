//! Nothing is offered before this machine has executed a program.

use std::path::Path;
use std::process::Stdio;

use contemplant::executor::WARMING_UP;
use contemplant::executor::checks::execute_probe;
use contemplant::executor::helper::Helper;
use network_lib::job::ProofMode;
use network_lib::wire::FromWorker;
use tokio::process::Command;

use crate::fake_hierophant::FakeHierophant;
use crate::mock_backend::helper;

#[tokio::test]
async fn a_program_with_much_memory_is_executed_or_the_reason_is_given() {
    let folder = tempfile::tempdir().unwrap();
    execute_probe(&helper(folder.path())).await.unwrap();
    let broken = Helper::new(Path::new("/bin/false"), folder.path());
    let reason = execute_probe(&broken).await.unwrap_err();
    assert!(reason.starts_with("a test execution failed: "), "{reason}");
}

#[tokio::test]
async fn a_worker_warms_up_first_and_offers_its_modes_after_its_checks() {
    let mut hierophant = FakeHierophant::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("contemplant.toml");
    let (address, data_dir) = (hierophant.address, folder.path().join("data"));
    let settings = format!(
        "hierophant_ws_address = \"ws://{address}/ws\"\nbackend = \"mock\"\ndata_dir = {data_dir:?}\n"
    );
    std::fs::write(&file, settings).unwrap();
    let mut contemplant = Command::new(env!("CARGO_BIN_EXE_contemplant"));
    contemplant.arg("--config").arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
    let _contemplant = contemplant.kill_on_drop(true).spawn().unwrap();
    let mut connection = hierophant.welcome(&[]).await;
    let first = &connection.hello.capabilities;
    assert!(first.modes.is_empty());
    let reason = first.unavailable_reason.as_ref().unwrap();
    assert!(reason.starts_with(WARMING_UP), "{reason}");
    let offered = connection.expect(|message| match message {
        FromWorker::CapabilitiesChanged { capabilities } => Some(capabilities.clone()),
        _ => None,
    });
    let offered = offered.await;
    assert_eq!(offered.modes, ProofMode::ALL);
    assert_eq!(offered.unavailable_reason, None);
}
