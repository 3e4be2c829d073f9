//! Starts on data that is not as it should be: a clear refusal, or what is foreign is left alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use hierophant::config::Config;
use hierophant_proto::artifact::ArtifactType;
use hierophant_proto::network as pb;
use network_lib::wire::{FromWorker, stdin_path};
use pb::FulfillmentStatus;
use tempfile::TempDir;
use tonic::Code;

use crate::support::{
    Client, Network, Worker, assert_code, blob, core_proof, eventually, execution, hello,
};

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

async fn asked(client: &mut Client, input: &[u8]) -> Vec<u8> {
    let ask = client.ready_to_ask(input).await;
    client.ask(&ask).await.expect("accepted")
}

/// A network with a request that waits and one that is fulfilled, its ids, and the folder of its artifacts moved away,
/// as if it were not mounted.
async fn unmounted() -> (TempDir, Config, [Vec<u8>; 2], PathBuf) {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let proved = asked(&mut client, b"proved").await;
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&proved, FulfillmentStatus::Fulfilled).await;
    drop(worker);
    let waits = asked(&mut client, b"waits").await;
    let (folder, config) = network.stop().await;
    let (artifacts, away) = (config.data_dir.join("artifacts"), config.data_dir.join("away"));
    fs::rename(&artifacts, &away).expect("moves");
    fs::create_dir(&artifacts).expect("the place of the mount");
    (folder, config, [proved, waits], away)
}

#[tokio::test]
async fn an_unmounted_artifacts_folder_refuses_the_start_and_loses_nothing() {
    let (folder, config, [proved, waits], away) = unmounted().await;
    let error = refusal(config.clone()).await;
    for text in ["lacks its file `store-id`", "mount", "`storage.accept_loss = true`", "artifacts"]
    {
        assert!(error.contains(text), "{error}");
    }
    let artifacts = config.data_dir.join("artifacts");
    fs::remove_dir_all(&artifacts).expect("what the refused start has made");
    fs::rename(&away, &artifacts).expect("mounted again");
    let network = Network::start_in(folder, config).await;
    let mut client = Client::connect(&network).await;
    let status = client.status(&proved).await;
    assert_eq!(status.fulfillment_status, FulfillmentStatus::Fulfilled as i32);
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    client.until(&waits, FulfillmentStatus::Fulfilled).await;
}

#[tokio::test]
async fn an_accepted_loss_is_taken_for_one() {
    let (folder, mut config, [proved, waits], _away) = unmounted().await;
    config.storage.accept_loss = true;
    let network = Network::start_in(folder, config).await;
    let mut client = Client::connect(&network).await;
    client.until(&waits, FulfillmentStatus::Unfulfillable).await;
    let status = client.status(&proved).await;
    assert_ne!(status.fulfillment_status, FulfillmentStatus::Fulfilled as i32);
    // Once is enough.
    let (folder, mut config) = network.stop().await;
    config.storage.accept_loss = false;
    Network::start_in(folder, config).await;
}

#[tokio::test]
async fn a_folder_of_an_earlier_version_gets_its_mark_and_one_of_another_database_is_refused() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    client.upload(ArtifactType::Stdin, b"input").await;
    let (folder, config) = network.stop().await;
    let mark = config.data_dir.join("artifacts/store-id");
    let ours = fs::read(&mark).expect("is marked");
    fs::remove_file(&mark).expect("is there");
    let network = Network::start_in(folder, config).await;
    assert_eq!(fs::read(&mark).expect("is marked again"), ours);
    let (_folder, mut config) = network.stop().await;
    fs::write(&mark, "another").expect("writes");
    // A loss cannot be accepted in the name of the other one.
    for accept_loss in [false, true] {
        config.storage.accept_loss = accept_loss;
        let error = refusal(config.clone()).await;
        assert!(error.contains("belongs to another database"), "{error}");
    }
    assert_eq!(fs::read(&mark).expect("is left"), b"another");
}

#[tokio::test]
async fn a_folder_that_is_unmounted_at_run_time_is_away_and_not_lost() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    let proved = asked(&mut client, b"proved").await;
    let mut worker = Worker::join(&network, hello()).await;
    worker.prove_next(&core_proof()).await;
    let status = client.until(&proved, FulfillmentStatus::Fulfilled).await;
    let uri = status.proof_uri.expect("a proof");
    let waits = asked(&mut client, b"waits").await;
    let (lease_id, _) = worker.leased().await;

    let (artifacts, away) = (network.data().join("artifacts"), network.data().join("away"));
    fs::rename(&artifacts, &away).expect("moves");
    fs::create_dir_all(artifacts.join("tmp")).expect("the place of the mount");
    let answer = client.http.get(&uri).send().await.expect("answers");
    assert_eq!(answer.status(), 504);
    let request = pb::GetProofRequestStatusRequest { request_id: proved.clone() };
    let status = client.network.get_proof_request_status(request).await;
    assert_code(status, Code::Unavailable, "");
    assert_eq!(worker.get(&stdin_path(lease_id)).await.status(), 504);
    let ticket = client.ticket(ArtifactType::Stdin).await.artifact_presigned_url;
    assert_eq!(client.put(&ticket, "bytes").await.status(), 504);
    assert_eq!(worker.hand_in(lease_id, &core_proof()).await, 504);

    fs::remove_dir_all(&artifacts).expect("removes");
    fs::rename(&away, &artifacts).expect("mounted again");
    let answer = client.http.get(&uri).send().await.expect("answers");
    assert_eq!(answer.bytes().await.expect("bytes"), core_proof());
    let proof = core_proof();
    assert_eq!(worker.hand_in(lease_id, &proof).await, 200);
    let completed = FromWorker::Completed { lease_id, execution: execution(), proof: blob(&proof) };
    worker.say(completed).await;
    client.until(&waits, FulfillmentStatus::Fulfilled).await;
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
    let listeners = hierophant::Listeners::bind(&config).await.expect("free ports");
    let running =
        network_lib::task::spawn("hierophant", hierophant::run(config, listeners, stop.clone()));
    eventually("the database is there", async || data.join("hierophant.db").exists()).await;
    stop.cancel();
    running.await.expect("does not panic").expect("starts and stops");
}

/// Everything below a folder that other users have access to.
fn open_to_others(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        let metadata = path.symlink_metadata().expect("is there");
        if metadata.mode() & 0o077 != 0 {
            found.push(format!("{} {:o}", path.display(), metadata.mode()));
        }
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("readable");
            left.extend(entries.map(|entry| entry.expect("entry").path()));
        }
    }
    found
}

#[tokio::test]
async fn no_other_user_of_the_machine_can_read_the_data_folder() {
    let network = Network::start().await;
    let mut client = Client::connect(&network).await;
    client.upload(ArtifactType::Stdin, b"a small one").await;
    client.upload(ArtifactType::Stdin, &vec![7; 1 << 20]).await;
    assert_eq!(open_to_others(network.data()), [""; 0]);
    // As an earlier version left them.
    let (folder, config) = network.stop().await;
    let own = ["artifacts", "hierophant.db", "lock"].map(|name| config.data_dir.join(name));
    for path in &own {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("sets");
    }
    let network = Network::start_in(folder, config).await;
    for path in &own {
        assert_eq!(path.metadata().expect("is there").mode() & 0o077, 0, "{}", path.display());
    }
    assert_eq!(open_to_others(network.data()), [""; 0]);
}

#[test]
fn production_refuses_to_start_with_something_open_and_names_every_key() {
    let folder = tempfile::tempdir().expect("temp dir");
    let file = folder.path().join("hierophant.toml");
    fs::write(&file, "profile = \"production\"\nworker_token = \"sesame\"\n").expect("writes");
    let output =
        Command::new(env!("CARGO_BIN_EXE_hierophant")).current_dir(&folder).env_clear().output();
    let output = output.expect("runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for key in ["`tls.certificate`", "`auth`", "`worker_token`"] {
        assert!(said.contains(key), "{key}: {said}");
    }
    assert!(!folder.path().join("hierophant-data").exists(), "nothing was started");
}
