//! Commands of the documentation, run as they are printed.
//!
//! A fence after the line `<!-- run -->` is run line by line: in a temporary folder, with `hierophant` on the path,
//! against a Hierophant that works on one job. Names in capitals are placeholders.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Client, Network, Worker, hello};

/// Where the pages are.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The line before a fence whose commands are run.
const MARK: &str = "<!-- run -->";

/// Needs a terminal; `watch_shows_what_goes_on_until_q_is_pressed_and_leaves_the_terminal_as_it_was` runs it on one.
const ON_A_TERMINAL: &str = "hierophant watch";

/// The exit code for a program that the machine does not have, such as `curl`.
const MISSING: i32 = 77;

/// A command with its place.
struct Printed {
    place: String,
    command: String,
}

/// The marked commands of a page, in order. A line that ends in `\` continues on the next one.
fn commands(page: &Path) -> Vec<Printed> {
    let text = std::fs::read_to_string(page).expect("a page");
    let mut commands: Vec<Printed> = Vec::new();
    let mut is_marked = false;
    let mut is_open = false;
    let mut goes_on = false;
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line == MARK {
            is_marked = true;
        } else if line.starts_with("```") {
            is_open = is_marked && line == "```sh";
            is_marked = false;
        } else if is_open && goes_on {
            let last = commands.last_mut().expect("the line before");
            last.command.push('\n');
            last.command.push_str(line);
        } else if is_open && !line.is_empty() && !line.starts_with('#') {
            let place = format!("{}:{}", page.display(), index + 1);
            commands.push(Printed { place, command: line.to_owned() });
        }
        goes_on = is_open && line.ends_with('\\');
    }
    commands
}

fn pages() -> Vec<PathBuf> {
    let docs = Path::new(ROOT).join("docs").read_dir().expect("docs");
    let mut pages: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.push(Path::new(ROOT).join("README.md"));
    pages.sort();
    pages
}

#[tokio::test]
async fn commands_of_the_documentation_that_are_marked_run() {
    let mut count = 0;
    for page in pages() {
        let commands = commands(&page);
        if commands.is_empty() {
            continue;
        }
        let network = Network::start().await;
        let mut client = Client::connect(&network).await;
        let ask = client.ready_to_ask(b"input").await;
        let request = hex::encode(client.ask(&ask).await.expect("accepted"));
        let mut worker = Worker::join(&network, hello()).await;
        worker.leased().await;
        let job = network.json("/api/v1/jobs").await[0]["id"].as_str().expect("id").to_owned();

        let folder = tempfile::tempdir().expect("a folder");
        let release = folder.path().join("target/release");
        std::fs::create_dir_all(&release).expect("created");
        let program = env!("CARGO_BIN_EXE_hierophant");
        std::os::unix::fs::symlink(program, release.join("hierophant")).expect("linked");
        let port = network.http.port().to_string();
        for Printed { place, command } in &commands {
            if command.starts_with(ON_A_TERMINAL) {
                continue;
            }
            let filled = command
                .replace("localhost:9010", &network.http.to_string())
                .replace("HOST:9010", &network.http.to_string())
                .replace("JOB", &job)
                .replace("REQUEST", &request);
            let name = command.split(' ').next().unwrap_or_default();
            let looked_up = format!("command -v {name} > /dev/null || exit {MISSING}\n{filled}");
            let mut shell = Command::new("bash");
            shell.args(["-e", "-o", "pipefail", "-c", &looked_up]).current_dir(folder.path());
            let path = std::env::var("PATH").expect("a path");
            shell.env("PATH", format!("{}:{path}", release.display()));
            shell.env("HIEROPHANT_HTTP_PORT", &port);
            let output = tokio::task::spawn_blocking(move || shell.output()).await.expect("runs");
            let output = output.expect("bash");
            if output.status.code() == Some(MISSING) {
                eprintln!("{place}: left out, because this machine has no {name}");
                continue;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{place}: {command}\n{said}");
            let prints = ["hierophant ", "curl "].iter().any(|start| command.starts_with(start));
            if prints && !command.contains('>') {
                assert!(!output.stdout.is_empty(), "{place}: {command} prints nothing");
            }
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} commands are marked");
}
