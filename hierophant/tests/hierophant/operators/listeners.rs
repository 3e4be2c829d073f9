//! The admin listeners: the Unix socket in the data folder and `operators.admin_address`.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use reqwest::{Client as Http, Method};
use serde_json::json;
use tokio::net::TcpStream;

use super::{code, routes, send, signs_in};
use crate::cli::text;
use crate::support::{Network, eventually};

/// A client over the socket in a data folder.
fn over_socket(data: &Path) -> Http {
    Http::builder().unix_socket(data.join("admin.sock")).build().expect("a client")
}

/// Pages for operators outside the API.
const PAGES: [&str; 6] =
    ["/", "/dashboard/app.js", "/contemplants", "/dead-contemplants", "/proof-history", "/metrics"];

/// Runs the program with a configuration that knows the data folder alone.
async fn run(data: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hierophant"));
    command.args(arguments.split(' ')).current_dir(std::env::temp_dir()).env_clear();
    command.env("HIEROPHANT_DATA_DIR", data).env("HIEROPHANT_HTTP_PORT", "1");
    tokio::task::spawn_blocking(move || command.output()).await.expect("runs").expect("starts")
}

#[tokio::test]
async fn the_socket_admits_its_user_without_a_token_where_one_is_required() {
    let network = Network::start_with(|config| config.operators.require_token = true).await;
    let socket = network.data().join("admin.sock").metadata().expect("is there");
    assert_eq!(socket.mode() & 0o777, 0o600, "only its user can open it");
    assert_eq!(code(Http::new().get(network.url("/api/v1/jobs"))).await, 401);
    let http = over_socket(network.data());
    for path in ["/api/v1/jobs", "/metrics", "/contemplants", "/"] {
        assert_eq!(code(http.get(format!("http://localhost{path}"))).await, 200, "{path}");
    }
    let make = http.post("http://localhost/api/v1/tokens");
    assert_eq!(code(make.json(&json!({"name": "anna", "role": "admin"}))).await, 201);
    let audit: serde_json::Value =
        send(http.get("http://localhost/api/v1/audit")).await.json().await.expect("JSON");
    assert_eq!(
        (&audit[0]["peer"], &audit[0]["name"]),
        (&json!("admin socket"), &json!("this machine"))
    );
    // A web server that passes calls on to the socket does not give its rights away.
    let proxied = http.get("http://localhost/api/v1/jobs").header("x-forwarded-for", "192.0.2.7");
    assert_eq!(code(proxied).await, 401);
    let wrong = http.get("http://localhost/api/v1/jobs").bearer_auth("hpt_act_guessed");
    assert_eq!(code(wrong).await, 401);
}

#[tokio::test]
async fn commands_on_the_same_machine_use_the_socket() {
    let network = Network::start_with(|config| config.operators.require_token = true).await;
    let said = run(network.data(), "status").await;
    assert!(said.status.success(), "{}", text(&said.stderr));
    assert!(text(&said.stdout).contains("workers"));
    let said = run(network.data(), "token create --name anna --role act").await;
    assert!(text(&said.stdout).starts_with("hpt_act_"), "{}", text(&said.stderr));
    let (folder, config) = network.stop().await;
    assert!(!config.data_dir.join("admin.sock").exists(), "a stop removes it");
    // One that a crash left behind leads nowhere: the command falls back to the port, and the next start replaces it.
    drop(
        std::os::unix::net::UnixListener::bind(config.data_dir.join("admin.sock")).expect("binds"),
    );
    assert_eq!(run(&config.data_dir, "status").await.status.code(), Some(3));
    let network = Network::start_in(folder, config).await;
    assert!(run(network.data(), "status").await.status.success());
}

#[tokio::test]
async fn the_admin_listener_serves_operators_and_the_public_port_need_not() {
    let network = Network::start_with(|config| {
        config.operators.admin_address = Some("127.0.0.1:0".parse().expect("an address"));
        config.operators.on_public_port = Some(false);
    })
    .await;
    let admin = network.admin.expect("an admin listener");
    let at_admin = |path: &str| format!("http://{admin}{path}");
    let http = Http::new();
    for (method, path) in routes().into_iter().filter(|(method, path)| !signs_in(method, path)) {
        let call = http.request(method.clone(), network.url(&path));
        assert_eq!(code(call).await, 404, "{method} {path}");
        if method == Method::GET && !path.ends_with("/events") {
            let found = send(http.get(at_admin(&path))).await;
            assert_ne!(found.status(), 401, "{path}");
        }
    }
    for path in PAGES {
        assert_eq!(code(http.get(network.url(path))).await, 404, "{path}");
        assert_eq!(code(http.get(at_admin(path))).await, 200, "{path}");
    }
    for path in ["/health", "/ready"] {
        assert_eq!(code(http.get(network.url(path))).await, 200, "{path}");
        assert_eq!(code(http.get(at_admin(path))).await, 200, "{path}");
    }
    // Clients and workers have no business there.
    let artifact = format!("/artifacts/{}", "0".repeat(32));
    for path in ["/ws", "/leases/0/program", &artifact] {
        assert_eq!(code(http.get(at_admin(path))).await, 404, "{path}");
    }
}

#[tokio::test]
async fn connections_of_strangers_leave_operators_their_places() {
    let network = Network::start_with(|config| {
        config.limits.max_connections = 8.try_into().expect("not zero");
        config.operators.admin_address = Some("127.0.0.1:0".parse().expect("an address"));
    })
    .await;
    let mut taken = Vec::new();
    for _ in 0..16 {
        taken.push(TcpStream::connect(network.http).await.expect("connects"));
    }
    eventually("all places of the public port are taken", async || {
        reqwest::get(network.url("/health")).await.is_err()
    })
    .await;
    let admin = network.admin.expect("an admin listener");
    assert_eq!(code(Http::new().get(format!("http://{admin}/api/v1/jobs"))).await, 200);
    let http = over_socket(network.data());
    assert_eq!(code(http.get("http://localhost/api/v1/jobs")).await, 200);
    drop(taken);
}
