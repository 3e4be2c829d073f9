//! What containers of the programs may do.

use std::fs::read_to_string;

#[test]
fn containers_run_without_rights() {
    for program in ["hierophant", "contemplant"] {
        let file = format!("../{program}/docker/{program}.Dockerfile");
        let text = read_to_string(&file).expect("a Dockerfile");
        let last_stage = text.rsplit("\nFROM ").next().expect("a stage");
        let (before, _) = last_stage.split_once("\nENTRYPOINT ").expect("an entry point");
        let user = before.lines().rev().find_map(|line| line.strip_prefix("USER "));
        assert_eq!(user, Some("10001:10001"), "{file}");
    }
    let compose = read_to_string("../deploy/docker/compose.yml").expect("a compose file");
    let (_, services) = compose.split_once("\nservices:\n").expect("services");
    let (services, _) = services.split_once("\nvolumes:\n").expect("volumes");
    let services: Vec<&str> = services.split("\n\n").collect();
    assert_eq!(services.len(), 2);
    for service in services {
        for line in [
            "read_only: true",
            "user: \"10001:10001\"",
            "cap_drop: [ALL]",
            "security_opt: [\"no-new-privileges:true\"]",
        ] {
            assert!(service.lines().any(|found| found.trim() == line), "{line} in\n{service}");
        }
        assert!(!service.contains("privileged") && !service.contains("docker.sock"), "{service}");
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
