//! Checks: prover servers can be started or reached.

use std::path::{Path, PathBuf};

use sp1_primitives::SP1_CRATE_VERSION;

use crate::config::{Config, socket_of};
use crate::executor::cuda;
use crate::prover_server::docker;

type Look = (&'static str, Result<String, String>);

/// Checks the configured source of prover servers.
pub(super) async fn look(config: &Config) -> Vec<Look> {
    if let Some(endpoint) = &config.prover_endpoint {
        return vec![("server", endpoint_answers(&socket_of(endpoint)).await)];
    }
    if let Some(command) = &config.prover_command {
        return vec![("server", program_fits(command).await)];
    }
    match docker::connect(&config.docker).await {
        Err(error) => vec![("docker", Err(error.to_string()))],
        Ok(engine) => vec![
            ("docker", docker::describe(&engine).await.map_err(|error| error.to_string())),
            ("image", docker::image_state(&engine, &config.docker).await),
        ],
    }
}

async fn endpoint_answers(socket: &Path) -> Result<String, String> {
    let path = socket.display();
    match cuda::ping(socket).await {
        Ok(()) => Ok(format!("the prover server at {path} answers")),
        Err(reason) => {
            Err(format!("{path}: {reason}; start sp1-gpu-server, or correct `prover_endpoint`"))
        }
    }
}

/// `--version` prints the version without a GPU.
async fn program_fits(command: &[String]) -> Result<String, String> {
    let program = command.first().map(PathBuf::from).unwrap_or_default();
    let shown = program.display();
    let output = tokio::process::Command::new(&program).arg("--version").output().await;
    let output = output
        .map_err(|error| format!("{shown} cannot be run: {error}; correct `prover_command`"))?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if text.split_whitespace().any(|word| word.trim_start_matches('v') == SP1_CRATE_VERSION) {
        return Ok(format!("{shown} has version {SP1_CRATE_VERSION}"));
    }
    Err(format!(
        "{shown} --version prints \"{text}\": expected {SP1_CRATE_VERSION}; \
         cargo install --locked sp1-gpu-server@={SP1_CRATE_VERSION}"
    ))
}
