//! The command line with a token.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::made;
use crate::cli::text;
use crate::support::Network;

/// A Hierophant that requires a token from every caller, with one of role act and one of role read.
async fn guarded() -> (Network, String, String) {
    let network = Network::start().await;
    let (act, read) = (made(&network, "anna", "act").await, made(&network, "rita", "read").await);
    let (folder, mut config) = network.stop().await;
    config.operators.require_token = true;
    (Network::start_in(folder, config).await, act, read)
}

/// Runs the program with these variables, in an empty folder.
async fn run(network: &Network, arguments: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hierophant"));
    command.args(arguments.split(' ')).args(["--url", &network.url("")]);
    command.current_dir(std::env::temp_dir()).env_clear().envs(variables.iter().copied());
    tokio::task::spawn_blocking(move || command.output()).await.expect("runs").expect("starts")
}

fn file(folder: &TempDir, content: &str) -> String {
    let file = folder.path().join("token");
    std::fs::write(&file, content).expect("writes");
    Path::display(&file).to_string()
}

#[tokio::test]
async fn a_token_is_given_by_a_variable_or_a_file() {
    let (network, act, read) = guarded().await;
    let folder = TempDir::new().expect("temp dir");
    let by_variable = [("HIEROPHANT_TOKEN", act.as_str())];
    assert!(run(&network, "status", &by_variable).await.status.success());
    let paused = run(&network, "pause --reason disks", &by_variable).await;
    assert!(text(&paused.stdout).contains("dispatch is paused"));
    // The file goes before the variable.
    let file = file(&folder, &format!("{read}\n"));
    let by_file = format!("status --token-file {file}");
    assert!(run(&network, &by_file, &[("HIEROPHANT_TOKEN", "hpt_wrong")]).await.status.success());
    let audit = run(&network, "audit --limit 5", &by_variable).await;
    let audit = text(&audit.stdout);
    for words in ["anna", "127.0.0.1", "POST /api/v1/dispatch/pause", "disks", "200"] {
        assert!(audit.contains(words), "{words}: {audit}");
    }
}

#[tokio::test]
async fn who_is_not_let_in_is_told_what_to_do() {
    let (network, act, read) = guarded().await;
    let folder = TempDir::new().expect("temp dir");
    for (token, arguments, code, words) in [
        (None, "status", 1, "token required"),
        (None, "pause", 1, "hierophant token create"),
        (Some("hpt_act_guessed"), "status", 1, "invalid token"),
        (Some(read.as_str()), "pause", 1, "token rita has role read"),
        (Some(""), "status", 2, "invalid token in variable HIEROPHANT_TOKEN"),
        (Some("two words"), "status", 2, "invalid token"),
    ] {
        let variables: Vec<_> = token.iter().map(|token| ("HIEROPHANT_TOKEN", *token)).collect();
        let output = run(&network, arguments, &variables).await;
        let complaint = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {complaint}");
        assert!(complaint.contains(words), "{words}: {complaint}");
        assert!(token.is_none_or(|token| token.is_empty() || !complaint.contains(token)));
    }
    let missing = format!("status --token-file {}/none", folder.path().display());
    let output = run(&network, &missing, &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot read the token"));
    let http = reqwest::Client::new().delete(network.url("/api/v1/tokens/rita"));
    assert_eq!(http.bearer_auth(&act).send().await.expect("answers").status(), 200);
    let output = run(&network, "status", &[("HIEROPHANT_TOKEN", &read)]).await;
    assert!(text(&output.stderr).contains("neither revoked nor expired"));
}

#[tokio::test]
async fn the_variable_with_the_token_is_no_key_of_the_configuration() {
    let network = Network::start().await;
    let token = made(&network, "anna", "act").await;
    let variables = [("HIEROPHANT_TOKEN", token.as_str()), ("HIEROPHANT_HTTP_PORT", "9011")];
    let output = run(&network, "status", &variables).await;
    assert!(output.status.success(), "{}", text(&output.stderr));
}
