//! Health of a worker over HTTP and gRPC, and its end after an idle time.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use network_lib::ids::LeaseId;
use network_lib::job::ProofMode;
use network_lib::wire::{FromWorker, ToWorker};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::fake_executor::proved;
use crate::fake_hierophant::{Connection, FakeHierophant};
use crate::setup::Setup;
use crate::waiting::PATIENCE;

/// Shorter than a few heartbeats of the scripted Hierophant.
const SHORT: Duration = Duration::from_millis(200);

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

async fn ask(address: SocketAddr, path: &str) -> (u16, Value) {
    let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
    let code = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    (code, serde_json::from_str(&text).unwrap())
}

/// Waits until `/ready` answers 503 with a reason that starts so, or 200 if there is none.
async fn expect_obstacle(address: SocketAddr, wanted: Option<&str>) {
    let wait = async {
        loop {
            let (code, body) = ask(address, "/ready").await;
            match wanted {
                None if code == 200 => return assert_eq!(body, json!({"status": "ready"})),
                Some(wanted) if code == 503 => {
                    assert_eq!(body["status"], "not_ready");
                    let reason = body["reason"].as_str().unwrap();
                    if reason.starts_with(wanted) {
                        return;
                    }
                }
                _ => {}
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("/ready does not say {wanted:?}"));
}

/// Waits for some heartbeats, which take longer than [`SHORT`].
async fn some_heartbeats(connection: &mut Connection, held: &[LeaseId]) {
    for _ in 0..5 {
        connection.expect_held(held).await;
    }
}

fn is_draining(message: &FromWorker) -> bool {
    matches!(message, FromWorker::Draining { .. })
}

#[tokio::test]
async fn a_worker_is_alive_all_the_time_and_ready_while_it_can_take_a_job() {
    let address = free_address();
    let mut setup = Setup::start_with(|config| config.metrics_address = Some(address)).await;
    let connection = setup.hierophant.accept().await;
    let connecting = json!({
        "status": "not_ready", "reason": "not connected to Hierophant: connecting",
    });
    assert_eq!(ask(address, "/ready").await, (503, connecting));
    connection.welcome(&[]);
    expect_obstacle(address, None).await;

    setup.executor.capabilities.send_modify(|known| known.modes.clear());
    expect_obstacle(address, Some("no kind of proof is offered yet")).await;
    setup
        .executor
        .capabilities
        .send_modify(|known| known.unavailable_reason = Some("no GPU".into()));
    expect_obstacle(address, Some("no GPU")).await;
    setup.executor.capabilities.send_modify(|known| {
        (known.modes, known.unavailable_reason) = (vec![ProofMode::Core], None);
    });
    expect_obstacle(address, None).await;

    setup.hierophant.vanish(connection).await;
    expect_obstacle(address, Some("not connected to Hierophant: ")).await;
    assert_eq!(ask(address, "/health").await, (200, json!({"status": "ok"})));
    setup.hierophant.come_back().await;
    let connection = setup.hierophant.welcome(&[]).await;
    expect_obstacle(address, None).await;

    let (_, call) = setup.begin(&connection).await;
    expect_obstacle(address, None).await;
    connection.say(&ToWorker::Drain { reason: "maintenance".to_owned() });
    expect_obstacle(address, Some("takes no more jobs: maintenance")).await;
    assert_eq!(ask(address, "/health").await.0, 200);
    let figures = reqwest::get(format!("http://{address}/metrics")).await.unwrap();
    assert!(figures.text().await.unwrap().contains("contemplant_connected 1"));
    call.finish(proved());
    connection.rest().await;
    setup.expect_end().await;
}

async fn check(client: &mut HealthClient<Channel>, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = client.check(request).await.map_err(|status| status.code())?;
    Ok(answer.into_inner().status())
}

#[tokio::test]
async fn grpc_health_tells_the_same() {
    let address = free_address();
    let mut setup = Setup::start_with(|config| config.grpc_health_address = Some(address)).await;
    let connection = setup.hierophant.accept().await;
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await;
    let mut client = HealthClient::new(channel.unwrap());
    assert_eq!(check(&mut client, "").await, Ok(ServingStatus::Serving));
    assert_eq!(check(&mut client, "ready").await, Ok(ServingStatus::NotServing));
    assert_eq!(check(&mut client, "other").await, Err(Code::NotFound));

    let request = HealthCheckRequest { service: "ready".to_owned() };
    let mut watched = client.watch(request).await.unwrap().into_inner();
    let mut next = async || {
        let message = timeout(PATIENCE, watched.message()).await.expect("no change is reported");
        message.unwrap().unwrap().status()
    };
    assert_eq!(next().await, ServingStatus::NotServing);
    connection.welcome(&[]);
    while next().await != ServingStatus::Serving {}
    assert_eq!(check(&mut client, "ready").await, Ok(ServingStatus::Serving));
    setup.executor.capabilities.send_modify(|known| known.modes.clear());
    while next().await != ServingStatus::NotServing {}
    setup.hierophant.vanish(connection).await;
    assert_eq!(check(&mut client, "").await, Ok(ServingStatus::Serving));
    assert_eq!(check(&mut client, "ready").await, Ok(ServingStatus::NotServing));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Some(taken.local_addr().unwrap());
    let mut setup = Setup::start_with(|config| config.grpc_health_address = address).await;
    let ended = timeout(PATIENCE, &mut setup.contemplant).await.unwrap().unwrap();
    let error = format!("{:#}", ended.unwrap_err());
    assert!(error.contains("choose another `grpc_health_address`"), "{error}");
}

#[tokio::test]
async fn an_idle_worker_takes_its_leave_after_its_time() {
    let mut setup = Setup::start_with(|config| config.exit_when_idle = Some(SHORT)).await;
    let start = Instant::now();
    let connection = setup.hierophant.welcome(&[]).await;
    let messages = connection.rest().await;
    assert!(start.elapsed() >= SHORT, "{:?}", start.elapsed());
    let reason = messages.iter().find_map(|message| match message {
        FromWorker::Draining { reason } => Some(reason.as_str()),
        _ => None,
    });
    assert_eq!(reason, Some("no attempt for 200ms"));
    setup.expect_end().await;
}

#[tokio::test]
async fn a_worker_with_an_attempt_or_an_unsettled_end_is_not_idle() {
    let mut setup = Setup::start_with(|config| config.exit_when_idle = Some(SHORT)).await;
    let mut connection = setup.hierophant.welcome(&[]).await;
    let (lease, call) = setup.begin(&connection).await;
    some_heartbeats(&mut connection, &[lease]).await;
    assert!(!setup.contemplant.is_finished());

    setup.hierophant.withhold_settled(true);
    call.finish(proved());
    assert!(matches!(connection.expect_end(lease).await, FromWorker::Completed { .. }));
    some_heartbeats(&mut connection, &[]).await;
    assert!(!setup.contemplant.is_finished());
    let start = Instant::now();
    connection.say(&ToWorker::Settled { lease_id: lease });
    assert!(connection.rest().await.iter().any(is_draining));
    assert!(start.elapsed() >= SHORT, "the idle time begins with the end of the work");
    setup.expect_end().await;
    setup.expect_on_disk(&[]).await;
}

#[tokio::test]
async fn a_worker_that_is_not_ready_is_not_idle() {
    let mut setup = Setup::start_with(|config| config.exit_when_idle = Some(SHORT)).await;
    let mut connection = setup.hierophant.accept().await;
    // Its time does not count while it waits for the answer to its handshake.
    assert!(timeout(2 * SHORT, &mut setup.contemplant).await.is_err());
    setup.executor.capabilities.send_modify(|known| known.modes.clear());
    connection.welcome(&[]);
    some_heartbeats(&mut connection, &[]).await;
    assert!(!setup.contemplant.is_finished());
    setup.executor.capabilities.send_modify(|known| known.modes = vec![ProofMode::Core]);
    assert!(connection.rest().await.iter().any(is_draining));
    setup.expect_end().await;
}

#[tokio::test]
async fn the_program_ends_with_code_0_when_it_was_idle() {
    let mut hierophant = FakeHierophant::start().await;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_contemplant"));
    command
        .args(["--exit-when-idle", "1s"])
        .current_dir(&folder)
        .env("CONTEMPLANT_BACKEND", "mock")
        .env("CONTEMPLANT_INSTANCE", "12345678")
        .env("CONTEMPLANT_HIEROPHANT_WS_ADDRESS", format!("ws://{}/ws", hierophant.address));
    let program = tokio::task::spawn_blocking(move || command.output());
    let connection = hierophant.welcome(&[]).await;
    assert_eq!(connection.hello.instance.as_deref(), Some("12345678"));
    assert!(connection.rest().await.iter().any(is_draining));
    let output = program.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("leaving because there was no attempt for this time"), "{text}");
}

#[test]
fn an_idle_time_that_makes_no_sense_is_refused() {
    for (value, words) in [("0s", "expected at least 1s"), ("soon", "expected a time such as 10m")]
    {
        let mut command = Command::new(env!("CARGO_BIN_EXE_contemplant"));
        let output = command.args(["--exit-when-idle", value]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(words), "{text}");
    }
}
