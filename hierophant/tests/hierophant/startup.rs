//! Starts on data that is not as it should be: a clear refusal, or what is foreign is left alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use hierophant::config::Config;
use hierophant_proto::artifact::ArtifactType;

use crate::support::{Client, Network};

/// How the start of the library with this data folder is refused.
async fn refusal(config: Config) -> String {
    let listeners = hierophant::Listeners::bind(&config).await.expect("free ports");
    let outcome = hierophant::run(config, listeners, Default::default()).await;
    format!("{:#}", outcome.expect_err("must be refused"))
}

#[tokio::test]
async fn foreign_files_are_left_alone() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let uri = client.upload(ArtifactType::Stdin, b"input").await;
    let foreign = ["notes.txt", "artifacts/notes.txt", "artifacts/tmp/notes.txt", "artifacts/zz/x"];
    for name in foreign {
        let path = network.data().join(name);
        fs::create_dir_all(path.parent().expect("has a folder")).expect("creates");
        fs::write(path, "mine").expect("writes");
    }
    fs::create_dir(network.data().join("artifacts/lost+found")).expect("creates");
    let network = network.restart().await;
    for name in foreign {
        assert_eq!(fs::read(network.data().join(name)).expect("is there"), b"mine", "{name}");
    }
    let path = uri.rsplit_once("/artifacts").expect("a path").1;
    let answer = reqwest::get(network.url(&format!("/artifacts{path}"))).await.expect("answers");
    assert_eq!(answer.bytes().await.expect("bytes").as_ref(), b"input");
}

#[tokio::test]
async fn a_lost_database_is_not_taken_for_a_new_one() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    client.upload(ArtifactType::Stdin, b"input").await;
    let (_folder, config) = network.stop().await;
    for file in ["hierophant.db", "hierophant.db-wal", "hierophant.db-shm"] {
        let _ = fs::remove_file(config.data_dir.join(file));
    }
    let error = refusal(config.clone()).await;
    assert!(error.contains("the database is new") && error.contains("artifacts"), "{error}");
    fs::remove_dir_all(config.data_dir.join("artifacts")).expect("removes");
    let listeners = hierophant::Listeners::bind(&config).await.expect("free ports");
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    hierophant::run(config, listeners, stop).await.expect("starts again");
}

#[tokio::test]
async fn folders_that_cannot_be_written_are_named() {
    // Not even root can write there.
    let error = refusal(Config::for_test("/sys".into())).await;
    assert!(error.contains("/sys/lock") && error.contains("`data_dir`"), "{error}");

    let folder = tempfile::tempdir().expect("temp dir");
    let data = folder.path();
    fs::write(data.join("artifacts"), "a file in the way").expect("writes");
    let error = refusal(Config::for_test(data.to_owned())).await;
    assert!(error.contains(&file_in(data, "artifacts")), "{error}");

    fs::remove_file(data.join("artifacts")).expect("removes");
    fs::create_dir(data.join("hierophant.db")).expect("creates");
    let error = refusal(Config::for_test(data.to_owned())).await;
    assert!(error.contains(&file_in(data, "hierophant.db")), "{error}");
}

fn file_in(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// A line that differs is named, with what `init` writes there.
fn first_difference(file: &str, text: &str, written: &str) -> Option<String> {
    let (mut there, mut expected) = (text.lines(), written.lines());
    (1..).find_map(|line| match (there.next(), expected.next()) {
        (None, None) => Some(None),
        (there, expected) if there == expected => None,
        (_, expected) => Some(Some(format!(
            "{file}:{line}: differs from what `hierophant init` writes: expected {:?}; \
             run the test with UPDATE_DOCS=1",
            expected.unwrap_or("the end of the file")
        ))),
    })?
}

#[test]
fn the_example_file_is_what_init_writes_and_can_be_used_as_it_is() {
    const EXAMPLE: &str = "hierophant.example.toml";
    let folder = tempfile::tempdir().expect("temp dir");
    let init =
        Command::new(env!("CARGO_BIN_EXE_hierophant")).arg("init").current_dir(&folder).output();
    assert!(init.expect("runs").status.success());
    let written = fs::read_to_string(folder.path().join("hierophant.toml")).expect("is written");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(EXAMPLE, &written).expect("writes");
    }
    let example = fs::read_to_string(EXAMPLE).expect("is there");
    assert_eq!(first_difference(EXAMPLE, &example, &written), None);
    let config = network_lib::config::load::<Config>(Some(Path::new(EXAMPLE)), []).expect("valid");
    assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    let edited = written.replace("# grpc_port = 9000", "# grpc_port = 9001");
    let found = first_difference(EXAMPLE, &edited, &written).expect("differs");
    let line = written.lines().position(|line| line == "# grpc_port = 9000").expect("is there") + 1;
    assert!(found.starts_with(&format!("{EXAMPLE}:{line}: ")), "{found}");
    assert!(found.contains("UPDATE_DOCS=1"), "{found}");
}

#[tokio::test]
async fn the_data_folder_is_created_at_the_start_or_the_start_is_refused() {
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("writes");
    let error = refusal(Config::for_test(file.join("data"))).await;
    assert!(
        error.contains("cannot create the data folder") && error.contains("`data_dir`"),
        "{error}"
    );
    let config = Config::for_test(folder.path().join("new/data"));
    let (data, stop) = (config.data_dir.clone(), tokio_util::sync::CancellationToken::new());
    stop.cancel();
    let listeners = hierophant::Listeners::bind(&config).await.expect("free ports");
    hierophant::run(config, listeners, stop).await.expect("starts and stops");
    assert!(data.join("hierophant.db").exists());
}
