//! The rules for the values of the keys, all of which are checked at once.

use std::collections::BTreeSet;
use std::time::Duration;

use network_lib::config::{Faults, Settings};

use super::{
    BackendChoice, Config, MIN_EXIT_WHEN_IDLE, SERVER_VARIABLES, docker, endpoints, mock,
    socket_of, tls,
};
use crate::processes::OWN_VARIABLES;

impl Settings for Config {
    const ENV_PREFIX: &'static str = "CONTEMPLANT";

    fn validate(&self, faults: &mut Faults) {
        if let Err(message) = endpoints(&self.hierophant_ws_address) {
            faults.add("hierophant_ws_address", message);
        }
        for (key, text) in [("name", &self.name), ("instance", &self.instance)] {
            if let Some(text) = text
                && (text.trim().is_empty() || text.len() > 64 || text.chars().any(char::is_control))
            {
                faults.add(key, "must be 1 to 64 bytes without control characters");
            }
        }
        if let Some(modes) = &self.modes {
            let mut distinct = modes.clone();
            distinct.sort_unstable();
            distinct.dedup();
            if modes.is_empty() || distinct.len() != modes.len() {
                faults.add("modes", "must name at least one kind of proof, each once");
            }
        }
        if !(1..=64).contains(&self.shards_at_once) {
            faults.add("shards_at_once", "must be 1 to 64");
        }
        if self.max_depot_bytes < 1 << 20 {
            faults.add("max_depot_bytes", "must be at least 1048576 (1 MiB)");
        }
        validate_servers(self, faults);
        tls::validate(&self.tls, faults);
        mock::validate(&self.mock_shards, self.backend == BackendChoice::Mock, faults);
        if self.data_dir.as_os_str().is_empty() {
            faults.add("data_dir", "must not be empty: expected a folder");
        }
        if self.token.as_ref().is_some_and(|token| token.reveal().trim().is_empty()) {
            faults.add("token", "must not be empty: omit it if Hierophant requires none");
        }
        if self.reconnect_max_delay < Duration::from_millis(100) {
            faults.add("reconnect_max_delay", "must be at least 100ms, to not overload Hierophant");
        }
        if self.exit_when_idle.is_some_and(|limit| limit < MIN_EXIT_WHEN_IDLE) {
            faults
                .add("exit_when_idle", "must be at least 1s: omit it to wait for work without end");
        }
        if self.http_timeout < Duration::from_secs(1) {
            faults.add("http_timeout", "must be at least 1s");
        }
        if self.max_decompressed_bytes < 1 << 20 {
            faults.add("max_decompressed_bytes", "must be at least 1048576 (1 MiB)");
        }
    }
}

/// Adds the faults of the keys about prover servers.
fn validate_servers(config: &Config, faults: &mut Faults) {
    if let Some(endpoint) = &config.prover_endpoint {
        if !socket_of(endpoint).is_absolute() {
            faults.add(
                "prover_endpoint",
                "must be the path of a socket, such as unix:///tmp/sp1-cuda-0.sock",
            );
        }
        if config.prover_command.is_some() {
            faults.add("prover_command", "cannot be set together with `prover_endpoint`");
        }
    }
    if config.prover_command.as_ref().is_some_and(Vec::is_empty) {
        faults.add("prover_command", "must name a program, such as [\"sp1-gpu-server\"]");
    }
    if let Some(gpus) = &config.gpus {
        let distinct: BTreeSet<u32> = gpus.iter().copied().collect();
        if gpus.is_empty() || distinct.len() != gpus.len() {
            faults.add("gpus", "must name at least one GPU, each once");
        }
    }
    if config.prover_start_limit < Duration::from_secs(1) {
        faults.add("prover_start_limit", "must be at least 1s");
    }
    if config.prover_silence_limit < Duration::from_secs(1) {
        faults.add("prover_silence_limit", "must be at least 1s");
    }
    for (name, value) in &config.prover_environment {
        let message = if SERVER_VARIABLES.contains(&name.as_str()) {
            format!("must not set `{name}`: Contemplant sets it for each prover server")
        } else if name.starts_with(OWN_VARIABLES) {
            format!(
                "must not set `{name}`: names that start with {OWN_VARIABLES} are Contemplant's own"
            )
        } else if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            format!("must not set {name:?}: expected a name without `=`, and no NUL characters")
        } else {
            continue;
        };
        faults.add("prover_environment", message);
    }
    if config.docker.image.trim().is_empty() {
        faults.add("docker.image", "must name an image");
    }
    if config.docker.engine.as_ref().is_some_and(|engine| !engine.starts_with("unix://")) {
        faults.add("docker.engine", "must be a socket, such as unix:///var/run/docker.sock");
    }
    if config.docker.user.as_ref().is_some_and(|user| !docker::is_user(user)) {
        faults.add("docker.user", "must be numbers, such as \"1000:1000\"");
    }
    if config.docker.network.trim().is_empty() {
        faults.add("docker.network", "must name a network, such as \"none\" or \"bridge\"");
    }
    // Docker accepts no less than 6 MiB, and no more than a signed 64-bit number holds.
    if config.docker.memory_bytes.is_some_and(|bytes| !(6 << 20..1 << 62).contains(&bytes)) {
        faults.add("docker.memory_bytes", "must be at least 6291456 (6 MiB)");
    }
    if !(1 << 20..1 << 62).contains(&config.docker.shm_bytes) {
        faults.add("docker.shm_bytes", "must be at least 1048576 (1 MiB)");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use network_lib::config::load;

    use super::super::load_text;
    use super::*;

    #[test]
    fn all_faults_are_found_at_once() {
        let error = load_text(
            "shards_at_once = 0\nmax_depot_bytes = 0\nprover_endpoint = \"sock\"\nprover_command = []\ngpus = [1, 1]\nprover_start_limit = \"0s\"\n\
             prover_silence_limit = \"0s\"\nprover_environment = { HOME = \"/x\" }\n\
             hierophant_ws_address = \"http://x\"\nmodes = []\ntoken = \"\"\nhttp_timeout = \"1ms\"\n\
             name = \"\"\ninstance = \" \"\nexit_when_idle = \"0s\"\nmax_decompressed_bytes = 1\nreconnect_max_delay = \"0s\"\nbackend = \"gpu\"\n\
             [tls]\ncertificate = \"x\"\n\
             [docker]\nimage = \"\"\nengine = \"tcp://x\"\nmemory_bytes = 1\nshm_bytes = 1\nuser = \"me\"\n\
             network = \"\"\n",
        )
        .unwrap_err();
        assert_eq!(error.faults.len(), 25, "{error}");
        assert!(error.to_string().contains("must start with ws:// or wss://"), "{error}");
    }

    #[test]
    fn a_server_s_environment_is_read_and_cannot_replace_what_contemplant_sets() {
        let config =
            load_text("[prover_environment]\nMEMORY_LIMIT = \"8\"\nA = \"x=y z\"").unwrap();
        let expected = [("MEMORY_LIMIT", "8"), ("A", "x=y z")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(config.prover_environment, BTreeMap::from(expected));
        let variable = "CONTEMPLANT_PROVER_ENVIRONMENT".to_owned();
        let by_variable: Config = load(None, [(variable, "{ A = \"x\" }".to_owned())]).unwrap();
        assert_eq!(by_variable.prover_environment["A"], "x");
        for (name, words) in [
            ("CUDA_VISIBLE_DEVICES", "Contemplant sets it for each prover server"),
            ("CONTEMPLANT_TOKEN", "are Contemplant's own"),
            ("A=B", "expected a name without `=`"),
            ("", "expected a name without `=`"),
        ] {
            let text = format!("prover_environment = {{ \"{name}\" = \"x\" }}");
            let error = load_text(&text).unwrap_err().to_string();
            assert!(error.contains("key `prover_environment`: must not set"), "{error}");
            assert!(error.contains(words), "{error}");
        }
    }
}
