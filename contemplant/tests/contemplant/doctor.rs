//! `contemplant doctor` on machines that lack something.

use contemplant::config::{BackendChoice, Config};
use contemplant::doctor::{Finding, examine};
use gpu_stand_in::Source;

use crate::fake_hierophant::FakeHierophant;

async fn findings(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    examine(config, false, |finding| findings.push(finding.clone())).await;
    findings
}

fn outcome(findings: &[Finding], what: &str) -> Result<String, String> {
    findings.iter().find(|finding| finding.what == what).unwrap().outcome.clone()
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
    assert!(told.contains("cargo install --locked sp1-gpu-server@="), "{told}");
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
    while tokio::net::UnixStream::connect(&socket).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let mut config = Config::for_test(address, folder.path().join("data"));
    config.backend = BackendChoice::Cuda;
    config.prover_endpoint = Some(format!("unix://{}", socket.display()));
    let (found, connection) = tokio::join!(findings(&config), hierophant.welcome(&[]));
    assert!(outcome(&found, "hierophant").unwrap().contains("version fake"));
    outcome(&found, "server").unwrap();
    assert_eq!(connection.hello.name, "doctor");
    assert!(connection.hello.capabilities.modes.is_empty());
    assert!(connection.rest().await.is_empty(), "it has left without another word");
}
