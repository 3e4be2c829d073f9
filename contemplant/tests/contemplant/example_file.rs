//! `contemplant.example.toml`, which users copy.

use std::fs;
use std::path::Path;
use std::process::Command;

use contemplant::config::Config;

const EXAMPLE: &str = "contemplant.example.toml";

/// The first line that differs from what `init` writes, with what is expected there.
fn first_difference(text: &str, written: &str) -> Option<String> {
    let (mut lines, mut expected) = (text.lines(), written.lines());
    for number in 1.. {
        match (lines.next(), expected.next()) {
            (None, None) => break,
            (line, wanted) if line == wanted => {}
            (_, wanted) => {
                return Some(format!(
                    "{EXAMPLE}:{number}: differs from what `contemplant init` writes: expected {:?}; \
                     run the test with UPDATE_DOCS=1",
                    wanted.unwrap_or("the end of the file")
                ));
            }
        }
    }
    None
}

#[test]
fn the_example_file_is_what_init_writes_and_can_be_used_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let init =
        Command::new(env!("CARGO_BIN_EXE_contemplant")).arg("init").current_dir(&folder).output();
    assert!(init.unwrap().status.success());
    let written = fs::read_to_string(folder.path().join("contemplant.toml")).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(EXAMPLE, &written).unwrap();
    }
    let example = fs::read_to_string(EXAMPLE).unwrap();
    assert_eq!(first_difference(&example, &written), None);
    let config = network_lib::config::load::<Config>(Some(Path::new(EXAMPLE)), []).unwrap();
    assert_eq!(config, Config::default());

    let key = "# http_timeout = \"30s\"";
    let edited = written.replace(key, "# http_timeout = \"31s\"");
    let found = first_difference(&edited, &written).unwrap();
    let line = written.lines().position(|line| line == key).unwrap() + 1;
    assert!(found.starts_with(&format!("{EXAMPLE}:{line}: ")), "{found}");
    assert!(found.contains("UPDATE_DOCS=1"), "{found}");
}
