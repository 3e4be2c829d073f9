//! Checks: prover servers can be started or reached.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sp1_primitives::SP1_CRATE_VERSION;

use crate::config::{Config, socket_of};
use crate::executor::cuda;
use crate::machine::{Finding, Machine};
use crate::prover_install::program;
use crate::prover_server::command;
use crate::prover_server::docker::{self, Engine, Gpus};

/// NVIDIA's addition to Docker, with which `--gpus` works even if its runtime is not listed.
const HOOK: &str = "/usr/bin/nvidia-container-runtime-hook";

/// Checks the configured source of prover servers.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    if let Some(endpoint) = &config.prover_endpoint {
        return vec![Finding::of("server", endpoint_answers(&socket_of(endpoint)).await)];
    }
    if let Some(command) = &config.prover_command {
        let fits = program_fits(command, &config.prover_environment).await;
        return vec![Finding::of("server", fits)];
    }
    let engine = match docker::connect(&config.docker).await {
        Ok(engine) => engine,
        Err(error) => return vec![Finding::failed("docker", error.to_string())],
    };
    let machine = Machine::default();
    let mut findings = match docker::describe(&engine).await {
        Ok(described) => vec![judge_engine(&described, config, &machine, Path::new(HOOK).exists())],
        Err(error) => return vec![Finding::failed("docker", error.to_string())],
    };
    findings.push(Finding::of("image", docker::image_state(&engine, &config.docker).await));
    if machine.is_container() {
        let folder = std::path::absolute(&config.data_dir);
        let folder = folder.unwrap_or_else(|_| config.data_dir.clone());
        let shown = match machine.container() {
            Some(container) => docker::shows_folder(&engine, &container, &folder).await,
            None => Err("this container has no name".to_owned()),
        };
        findings.push(judge_folder(&folder, shown));
    }
    findings
}

/// Whether the engine can give GPUs to containers.
fn judge_engine(engine: &Engine, config: &Config, machine: &Machine, has_hook: bool) -> Finding {
    let (what, version) = ("docker", &engine.version);
    if !config.docker.gpu_request {
        return Finding::passed(what, format!("version {version}"));
    }
    let remedy = "install the NVIDIA Container Toolkit, run `nvidia-ctk runtime configure --runtime=docker`, and \
                  restart Docker";
    match engine.gpus {
        Gpus::ByRuntime => {
            Finding::passed(what, format!("version {version}, with NVIDIA's runtime"))
        }
        Gpus::ByCdi => Finding::passed(what, format!("version {version}, with GPUs by CDI")),
        // Older engines do not list what they know by CDI.
        Gpus::NotListed if config.docker.cdi => Finding::warning(
            what,
            format!(
                "version {version} lists no GPU by CDI: run `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`, or \
                 set `docker.cdi` to false"
            ),
        ),
        Gpus::NotListed if has_hook => {
            Finding::passed(what, format!("version {version}, with NVIDIA's hook"))
        }
        // The hook of the engine's machine is not visible here.
        Gpus::NotListed if machine.is_container() => Finding::warning(
            what,
            format!(
                "version {version} does not list NVIDIA's runtime: if it gives no GPU, {remedy}"
            ),
        ),
        Gpus::NotListed => Finding::failed(
            what,
            format!("version {version} has neither NVIDIA's runtime nor GPUs by CDI: {remedy}"),
        ),
    }
}

/// Whether the engine, which mounts the data folder into containers, sees the same folder.
fn judge_folder(folder: &Path, shown: Result<Option<PathBuf>, String>) -> Finding {
    let (what, path, folder) = ("data folder", folder, folder.display());
    let remedy = format!("mount it under the same path (`-v {folder}:{folder}`)");
    match shown {
        Ok(Some(source)) if source == path => {
            Finding::passed(what, format!("{folder} is the same for the engine"))
        }
        Ok(Some(source)) => Finding::failed(
            what,
            format!("{folder} is {} for the engine: {remedy}", source.display()),
        ),
        Ok(None) => Finding::failed(
            what,
            format!(
                "{folder} is inside this container, where the engine does not find it: {remedy}"
            ),
        ),
        Err(reason) => Finding::warning(
            what,
            format!("whether the engine sees {folder} is unknown ({reason}): {remedy}"),
        ),
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
async fn program_fits(
    command: &[String],
    environment: &BTreeMap<String, String>,
) -> Result<String, String> {
    let shown = command.first().map_or("", String::as_str);
    let server = command::prepare(shown, environment);
    match program::check_version_of(server, Path::new(shown)).await {
        Ok(()) => Ok(format!("{shown} has version {SP1_CRATE_VERSION}")),
        Err(reason) => Err(format!(
            "{reason}; correct `prover_command`, or install the server with `contemplant prover fetch` or \
             `contemplant prover build`"
        )),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::machine::Verdict;

    #[test]
    fn an_engine_without_a_way_to_give_gpus_fails_with_the_remedy() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine::at(root.path());
        let mut config = Config::for_test("ws://127.0.0.1:1/ws", "/data");
        let engine = |gpus| Engine { version: "28.1".to_owned(), gpus };
        let verdict = |config: &Config, gpus, has_hook| {
            judge_engine(&engine(gpus), config, &machine, has_hook).verdict
        };
        assert_eq!(verdict(&config, Gpus::ByRuntime, false), Verdict::Passed);
        assert_eq!(verdict(&config, Gpus::ByCdi, false), Verdict::Passed);
        assert_eq!(verdict(&config, Gpus::NotListed, true), Verdict::Passed);
        let none = judge_engine(&engine(Gpus::NotListed), &config, &machine, false);
        assert_eq!(none.verdict, Verdict::Failed);
        assert!(none.text.contains("nvidia-ctk runtime configure"), "{none:?}");
        std::fs::write(root.path().join(".dockerenv"), "").unwrap();
        assert_eq!(verdict(&config, Gpus::NotListed, false), Verdict::Warning);
        config.docker.cdi = true;
        let unknown = judge_engine(&engine(Gpus::NotListed), &config, &machine, true);
        assert_eq!(unknown.verdict, Verdict::Warning);
        assert!(unknown.text.contains("nvidia-ctk cdi generate"), "{unknown:?}");
        config.docker.gpu_request = false;
        assert_eq!(verdict(&config, Gpus::NotListed, false), Verdict::Passed);
    }

    #[test]
    fn a_data_folder_that_the_engine_does_not_see_fails_with_the_remedy() {
        let of = |shown| judge_folder(Path::new("/srv/data"), shown);
        assert_eq!(of(Ok(Some("/srv/data".into()))).verdict, Verdict::Passed);
        let elsewhere = of(Ok(Some("/home/me/data".into())));
        assert_eq!(elsewhere.verdict, Verdict::Failed);
        assert!(elsewhere.text.contains("/srv/data is /home/me/data for the engine"));
        let inside = of(Ok(None));
        assert_eq!(inside.verdict, Verdict::Failed);
        assert!(inside.text.contains("`-v /srv/data:/srv/data`"), "{inside:?}");
        assert_eq!(of(Err("no such container".to_owned())).verdict, Verdict::Warning);
    }
}
