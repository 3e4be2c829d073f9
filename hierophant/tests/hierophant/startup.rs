//! Starts on data that is not as it should be: a clear refusal, or what is foreign is left alone.

use std::fs;
use std::path::Path;

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
    hierophant::run(config, listeners, stop).await.expect("starts anew");
}

#[tokio::test]
async fn folders_that_cannot_be_written_are_named() {
    // Nobody can write there, root included.
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
