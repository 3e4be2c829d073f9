//! What containers of the programs may do, and what they need.

use std::fs::read_to_string;

use serde_json::{Value, json};

/// The compose files, and the services in each.
const COMPOSE: [(&str, &[&str]); 2] = [
    ("../deploy/docker/compose.yml", &["contemplant", "hierophant"]),
    ("../deploy/docker/gpu-worker.yml", &["contemplant"]),
];

/// The services of a compose file, by name.
fn services(file: &str) -> serde_json::Map<String, Value> {
    let text = read_to_string(file).expect("a compose file");
    let mut compose: Value = serde_saphyr::from_str(&text).expect("YAML");
    match compose["services"].take() {
        Value::Object(services) => services,
        other => panic!("{file}: services are {other}"),
    }
}

/// The instructions of a Dockerfile's last stage, each on one line.
fn last_stage(file: &str) -> Vec<String> {
    let text = read_to_string(file).expect("a Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    let start = lines.iter().rposition(|line| line.starts_with("FROM ")).expect("a stage");
    lines[start..]
        .iter()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn containers_run_without_rights() {
    for program in ["hierophant", "contemplant"] {
        let file = format!("../{program}/docker/{program}.Dockerfile");
        let stage = last_stage(&file);
        let user = stage.iter().rev().find_map(|line| line.strip_prefix("USER "));
        assert_eq!(user, Some("10001:10001"), "{file}");
    }
    for (file, names) in COMPOSE {
        let services = services(file);
        let mut found: Vec<&str> = services.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, names, "{file}");
        for (name, service) in services {
            for (key, value) in [
                ("read_only", json!(true)),
                ("user", json!("10001:10001")),
                ("cap_drop", json!(["ALL"])),
                ("security_opt", json!(["no-new-privileges:true"])),
            ] {
                assert_eq!(service[key], value, "{file}: {key} of {name}");
            }
            assert!(service["pids_limit"].is_u64(), "{file}: pids_limit of {name}");
            if name == "hierophant" {
                assert!(service["mem_limit"].is_string(), "{file}: mem_limit of {name}");
            }
            for key in ["privileged", "cap_add", "devices", "pid", "ipc", "network_mode"] {
                assert_eq!(service[key], Value::Null, "{file}: {key} of {name}");
            }
            assert!(!service.to_string().contains("docker.sock"), "{file}: {service}");
            // An engine without root refuses a container whose limits exceed its own.
            assert_eq!(service["ulimits"], Value::Null, "{file}: ulimits of {name}");
        }
    }
}

/// A killed execution leaves a child process, which stays a zombie unless the container's first process ends it.
#[test]
fn the_first_process_of_a_worker_s_container_ends_orphans() {
    let entry = |name: &str| last_stage(name).pop();
    let worker = "ENTRYPOINT [\"/usr/bin/tini\", \"--\", \"/usr/local/bin/contemplant\"]";
    for image in ["contemplant", "contemplant-cuda"] {
        let file = format!("../contemplant/docker/{image}.Dockerfile");
        assert!(last_stage(&file).iter().any(|line| line.contains(" tini ")), "{file}");
        assert_eq!(entry(&file).as_deref(), Some(worker), "{file}");
    }
    // It starts no program.
    let hierophant = entry("../hierophant/docker/hierophant.Dockerfile");
    assert_eq!(hierophant.as_deref(), Some("ENTRYPOINT [\"/usr/local/bin/hierophant\"]"));
}

/// SP1 starts programs that it has written to a temporary folder, and its processes share gigabytes. Docker's defaults,
/// `noexec` and 64 MB, prevent every proof.
#[test]
fn workers_in_containers_get_what_a_proof_needs() {
    for (file, data) in
        [(COMPOSE[0].0, "contemplant:/var/lib/contemplant"), (COMPOSE[1].0, "contemplant:/data")]
    {
        let worker = &services(file)["contemplant"];
        assert_eq!(worker["tmpfs"], json!(["/tmp:exec,mode=1777"]), "{file}");
        assert_eq!(worker["shm_size"], json!("16gb"), "{file}");
        assert_eq!(worker["volumes"], json!([data]), "{file}");
        for (key, value) in worker["environment"].as_object().expect("variables") {
            let value = value.as_str().expect("a text");
            // A missing secret or address is an error of compose, not a worker that cannot connect.
            if value.starts_with("${") {
                assert!(value.contains(":?"), "{file}: {key}");
            }
        }
        assert!(worker["environment"]["CONTEMPLANT_TOKEN"].is_string(), "{file}");
    }
    let devices = &services(COMPOSE[1].0)["contemplant"]["deploy"]["resources"]["reservations"];
    let gpus = json!([{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]);
    assert_eq!(devices["devices"], gpus);
}

/// Docker fills a new volume with the folder of the image, and gives it the folder's owner.
#[test]
fn data_folders_in_images_belong_to_the_user_of_the_containers() {
    for program in ["hierophant", "contemplant"] {
        let file = format!("../{program}/docker/{program}.Dockerfile");
        let stage = last_stage(&file).join("\n");
        let user = format!(
            "useradd --system --uid 10001 --gid {program} --home-dir /var/lib/{program} --create-home {program}"
        );
        for part in [&*format!("groupadd --system --gid 10001 {program}"), &user] {
            assert!(stage.contains(part), "{file}: {part}");
        }
    }
    let stage = last_stage("../contemplant/docker/contemplant-cuda.Dockerfile").join("\n");
    assert!(stage.contains("install -d -o 10001 -g 10001 /data"), "{stage}");
    assert!(stage.contains("CONTEMPLANT_DATA_DIR=/data"), "{stage}");
}

/// By default a build is for the processor of the machine that builds.
#[test]
fn images_run_on_every_processor_and_use_what_a_newer_one_has() {
    let portable = "RUSTFLAGS=\"-C target-cpu=x86-64\" cargo build --release --package";
    for program in ["hierophant", "contemplant"] {
        let file = format!("../{program}/docker/{program}.Dockerfile");
        let text = read_to_string(&file).expect("a Dockerfile");
        assert!(text.contains(&format!("{portable} {program}")), "{file}");
    }
    let text =
        read_to_string("../contemplant/docker/contemplant.Dockerfile").expect("a Dockerfile");
    assert!(text.contains("target-cpu=x86-64-v3"), "{text}");
    // Where `network_lib::processor` looks for it.
    let faster = "/usr/local/bin/contemplant-x86-64-v3";
    assert!(text.contains(&format!("/source/target/v3/release/contemplant {faster}\n")), "{text}");
    let stage = last_stage("../contemplant/docker/contemplant-cuda.Dockerfile").join("\n");
    assert!(stage.contains(faster), "{stage}");
}

/// Both Dockerfiles of the prover server make the same program of the version that the worker is built with.
#[test]
fn images_of_the_prover_server_are_of_the_worker_s_sp1_version() {
    let workspace = read_to_string("../Cargo.toml").expect("the workspace");
    let (_, version) = workspace.split_once("sp1-prover = \"=").expect("SP1");
    let (version, _) = version.split_once('"').expect("a version");
    for name in ["prover-server", "prover-server-release"] {
        let file = format!("../contemplant/docker/{name}.Dockerfile");
        let text = read_to_string(&file).expect("a Dockerfile");
        assert!(text.contains(&format!("\nARG SP1={version}\n")), "{file}: expected {version}");
        let entry = last_stage(&file).pop();
        assert_eq!(
            entry.as_deref(),
            Some("ENTRYPOINT [\"/usr/local/bin/sp1-gpu-server\"]"),
            "{file}"
        );
    }
}

/// Every crate inherits the workspace's lints, of which one forbids it.
#[test]
fn unsafe_code_is_forbidden_in_every_crate() {
    let workspace = read_to_string("../Cargo.toml").expect("the workspace");
    assert!(workspace.contains("\nunsafe_code = \"forbid\"\n"));
    let (_, members) = workspace.split_once("members = [").expect("members");
    let (members, _) = members.split_once(']').expect("their end");
    let members = members.split(',').map(|name| name.trim().trim_matches('"'));
    let mut crates = 0;
    for member in members.filter(|name| !name.is_empty()) {
        let manifest = read_to_string(format!("../{member}/Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("\n[lints]\nworkspace = true\n"), "{member}");
        crates += 1;
    }
    assert!(crates > 10, "{crates}");
}

/// The service's unit has every restriction that the page about security names.
#[test]
fn the_systemd_unit_has_the_restrictions_of_the_documentation() {
    let unit = read_to_string("../deploy/systemd/hierophant.service").expect("a unit");
    let page = read_to_string("../docs/security.md").expect("a page");
    let (_, rest) = page.split_once("In a systemd unit").expect("the paragraph");
    let (paragraph, _) = rest.split_once("\n\n").expect("its end");
    let named: Vec<&str> = paragraph.split('`').filter(|part| part.contains('=')).collect();
    assert!(named.len() >= 8, "{named:?}");
    for line in named {
        assert!(
            unit.lines().any(|found| found == line),
            "deploy/systemd/hierophant.service lacks: {line}"
        );
    }
}
