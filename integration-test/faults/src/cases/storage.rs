//! Disks and databases that fail, fill up, or are not ours.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hierophant_proto::artifact::ArtifactType;
use network_lib::handshake::Hello;
use network_lib::job::ProofMode;
use test_harness::config::{key, path};
use test_harness::{Hierophant, wait};
use test_peers::{Ask, blob, hello};
use tokio::time::sleep;

use super::steps::{completed, leased, proves, rejoin};
use crate::case::{Case, case, short_silence};
use crate::observer::Expected;
use crate::program;
use crate::prover::Prover;
use crate::settings;
use crate::stage::{Request, STEP, Stage};

/// Time for which another program locks the database.
const LOCKED: Duration = Duration::from_secs(4);

/// Size of the disk that fills up.
const SMALL: &str = "24m";

/// What Hierophant keeps free of it.
const LOW_WATER: i64 = 6 << 20;

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("storage", "store-unreachable", "the database is locked until after the proof is finished: the request still ends", store_unreachable),
        case!("storage", "two-coordinators", "a second Hierophant on the same data is refused, the first one is unaffected", two_coordinators),
        case!("storage", "disk-full", "new work is refused while the disk is full; accepted work succeeds when there is space again", disk_full).keys(key("storage.min_free_bytes", LOW_WATER)).keys(short_silence()),
        case!("storage", "disk-nearly-full", "below the low-water mark new work is refused; accepted work is finished and served", disk_nearly_full).keys(key("storage.min_free_bytes", LOW_WATER)),
        case!("storage", "proof-lost-while-running", "a stored proof is deleted: the next request for it gets a new proof", proof_lost_while_running),
        case!("storage", "proof-lost-while-down", "a stored proof is deleted while Hierophant is down: it is made again", proof_lost_while_down),
        case!("storage", "proof-altered-while-down", "a stored proof is altered: the altered one is never served", proof_altered),
        case!("storage", "handed-in-proof-lost", "a proof is deleted before its verification: handed in again, or made again", handed_in_proof_lost),
        case!("storage", "input-lost-while-down", "an input is deleted: its request ends, the others continue, no worker is blamed", input_lost),
        case!("storage", "artifacts-lost-while-down", "all uploads are deleted: the affected requests end; with new uploads they are served", artifacts_lost),
        case!("storage", "artifacts-unmounted", "the folder of uploads and proofs is not mounted at a start: refused by name, and nothing is lost", artifacts_unmounted),
        case!("storage", "database-truncated", "a truncated database is refused by name; the restored one is complete", database_truncated),
        case!("storage", "database-is-garbage", "a file that is not a database is refused by name", database_is_garbage),
        case!("storage", "database-from-the-future", "a database of a newer version is refused by name", database_from_the_future),
        case!("storage", "foreign-files", "files of other programs are kept, partial files of our own are removed", foreign_files),
    ]
}

async fn store_unreachable(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let prover = stage.prover("amos", Duration::from_millis(500));
    let request = stage.request(&mut client, 20).await;
    wait::eventually("a lease", STEP, async || (!prover.ledger().leased.is_empty()).then_some(()))
        .await;
    stage.fault_begins();
    let mut store = stage.store().await;
    store.run("BEGIN EXCLUSIVE").await.expect("locked");
    sleep(LOCKED).await;
    assert!(stage.observer(&request).ended().is_none(), "nothing is promised that is not stored");
    store.run("ROLLBACK").await.expect("unlocked");
    store.close().await.expect("closed");
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn two_coordinators(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.fault_begins();
    let binary = &stage.kit.binaries.hierophant;
    let data = path(stage.hierophant.data()).expect("UTF-8");
    let keys = settings::with(&key("data_dir", data));
    let second = Hierophant::prepare(binary, stage.folder(), "second", &keys);
    let mut second = second.expect("can be prepared");
    second.process.start().expect("starts");
    let status = second.process.ended(STEP).await.expect("ends on its own");
    assert!(!status.success(), "a second one must be refused");
    let log = second.process.log_text();
    assert!(log.contains("another Hierophant"), "{log}");
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
}

/// A small file system that is unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path, size: &str) -> Self {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder)
            .output()
            .expect("mount can be run");
        let complaint = String::from_utf8_lossy(&mounted.stderr).into_owned();
        assert!(mounted.status.success(), "needs root, to mount a small file system: {complaint}");
        Self(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, because a process that is being killed may still use it. No answer is awaited.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A Hierophant on a small disk, one accepted request, and one that is made when there is room again.
struct SmallWorld {
    disk: SmallDisk,
    client: test_peers::Client,
    accepted: Request,
    later: Ask,
}

async fn on_small_disk(stage: &mut Stage) -> SmallWorld {
    let status = stage.hierophant.process.terminate(STEP).await.expect("stops");
    assert!(status.success(), "{status}");
    let disk = SmallDisk::mount(stage.hierophant.data(), SMALL);
    stage.hierophant.launch().await.expect("starts on the small disk");
    let mut client = stage.client(7).await;
    let accepted = stage.request(&mut client, 20).await;
    let later = program::ask(&mut client, 21, ProofMode::Core).await;
    stage.fault_begins();
    SmallWorld { disk, client, accepted, later }
}

/// With room again everything must go on; what the stage looks at in the end outlives the disk.
async fn room_again(stage: &mut Stage, world: SmallWorld) {
    let SmallWorld { disk, mut client, later, .. } = world;
    std::fs::remove_file(ballast(stage)).expect("removed");
    if !stage.hierophant.process.is_alive() {
        // Owner and store have parted: a service manager starts it again.
        stage.note("Hierophant ended with an error and was started again");
        stage.hierophant.launch().await.expect("starts again");
    }
    let http = stage.hierophant.http();
    let _prover = Prover::start(http, "joel", &stage.kit.proofs, Duration::ZERO, |_| {});
    stage.all_arrive(STEP).await;
    let accepted = async || client.ask(&later).await.ok();
    let id = wait::eventually("new work is accepted again", STEP, accepted).await;
    let after = stage.watch(id, Expected::Proof(21, ProofMode::Core), &stage.direct());
    stage.arrives(&after).await;
    stage.hierophant.process.terminate(STEP).await.expect("stops");
    let copy = stage.folder().join("copy.db");
    std::fs::copy(stage.hierophant.database(), &copy).expect("copied");
    drop(disk);
    std::fs::copy(&copy, stage.hierophant.database()).expect("copied");
    stage.may_be_down = true;
}

async fn disk_full(stage: &mut Stage) {
    let mut world = on_small_disk(stage).await;
    fill(&ballast(stage), usize::MAX);
    let refused = upload_is_refused(&mut world.client).await;
    stage.note(format!("an upload: {refused}"));
    let prover = stage.prover("amos", Duration::ZERO);
    sleep(Duration::from_secs(3)).await;
    drop(prover);
    room_again(stage, world).await;
}

async fn disk_nearly_full(stage: &mut Stage) {
    let mut world = on_small_disk(stage).await;
    // Three of 24 MB stay free.
    fill(&ballast(stage), 20 << 20);
    let refused = upload_is_refused(&mut world.client).await;
    stage.note(format!("an upload: {refused}"));
    let prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&world.accepted).await;
    drop(prover);
    room_again(stage, world).await;
}

/// The file that takes up the room.
fn ballast(stage: &Stage) -> PathBuf {
    stage.hierophant.data().join("ballast")
}

/// Writes up to `most` bytes, or until the disk is full.
fn fill(ballast: &Path, most: usize) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(ballast).expect("created");
    let mut written = 0;
    for size in [1 << 20, 1 << 12, 1] {
        let block = vec![0x55; size];
        while written < most && file.write_all(&block).is_ok() {
            written += size;
        }
    }
}

/// Refusal of an upload of a megabyte, once the lack of space is noticed; it must be one that clients retry after.
async fn upload_is_refused(client: &mut test_peers::Client) -> String {
    wait::eventually("a refusal", STEP, async || {
        let signature = client.sign(b"create_artifact", 54);
        let artifact_type = ArtifactType::Stdin as i32;
        let request =
            hierophant_proto::artifact::CreateArtifactRequest { signature, artifact_type };
        let ticket = match client.artifacts.create_artifact(request).await {
            Ok(ticket) => ticket.into_inner(),
            Err(status) => {
                assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
                return Some("Unavailable".to_owned());
            }
        };
        let answer = client.put(&ticket.artifact_presigned_url, vec![7; 1 << 20]).await;
        let status = answer.status();
        assert!(status == 200 || status == 504 || status == 408, "the SDK gives up at {status}");
        (status != 200).then(|| status.to_string())
    })
    .await
}

/// A request whose proof is stored, and the file that holds it.
async fn with_stored_proof(stage: &mut Stage) -> (Request, PathBuf) {
    let mut client = stage.client(7).await;
    let _prover = stage.prover("amos", Duration::ZERO);
    let request = stage.request(&mut client, 20).await;
    stage.arrives(&request).await;
    let status = client.status(&request.id).await;
    let file = stage.hierophant.artifact_file(&status.proof_uri.expect("a proof"));
    assert!(file.is_file(), "{}", file.display());
    (request, file)
}

/// Asks for the same again; what comes must be the good proof.
async fn asked_again(stage: &mut Stage) {
    let mut client = stage.client(8).await;
    let _prover = stage.prover("joel", Duration::ZERO);
    let again = stage.request(&mut client, 20).await;
    stage.arrives(&again).await;
    let good = blob(&stage.kit.proofs.of(20, ProofMode::Core).bytes).sha256;
    assert_eq!(stage.observer(&again).proof(), Some(good), "not the proof that was made");
    // The first request's client finds out with its next poll, and may need a proof of its own.
    sleep(Duration::from_secs(1)).await;
    let mut store = stage.store().await;
    wait::eventually("nothing open", STEP, async || {
        let open = store.count("SELECT count(*) FROM requests WHERE state = 'open'").await;
        (open.expect("counted") == 0).then_some(())
    })
    .await;
}

async fn proof_lost_while_running(stage: &mut Stage) {
    let (request, file) = with_stored_proof(stage).await;
    stage.fault_begins();
    stage.observer(&request).proof_is_destroyed();
    std::fs::remove_file(file).expect("removed");
    asked_again(stage).await;
}

async fn proof_lost_while_down(stage: &mut Stage) {
    let (request, file) = with_stored_proof(stage).await;
    stage.fault_begins();
    stage.observer(&request).proof_is_destroyed();
    stage.hierophant.process.kill().await.expect("killed");
    std::fs::remove_file(file).expect("removed");
    stage.hierophant.launch().await.expect("starts again");
    asked_again(stage).await;
}

async fn proof_altered(stage: &mut Stage) {
    let (request, file) = with_stored_proof(stage).await;
    stage.fault_begins();
    stage.observer(&request).proof_is_destroyed();
    stage.hierophant.process.kill().await.expect("killed");
    let mut bytes = std::fs::read(&file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&file, bytes).expect("altered");
    stage.hierophant.launch().await.expect("starts again");
    asked_again(stage).await;
}

async fn handed_in_proof_lost(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let me = Hello { name: "amos".into(), ..hello() };
    let mut worker = stage.worker_with(me.clone()).await;
    let request = stage.request(&mut client, 20).await;
    let lease = leased(&mut worker).await;
    proves(&mut worker, lease).await;
    let good = stage.kit.proofs.of(20, ProofMode::Core).clone();
    assert_eq!(worker.hand_in(lease, &good.bytes).await, 200);
    stage.job_becomes(&request, "uploaded").await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    for file in artifact_files(stage.hierophant.data()) {
        if std::fs::read(&file).is_ok_and(|bytes| bytes == good.bytes) {
            std::fs::remove_file(file).expect("removed");
        }
    }
    stage.hierophant.launch().await.expect("starts again");
    // It believes that its proof was taken, and says so.
    let (mut worker, welcome) = rejoin(stage, me, &[lease]).await;
    if welcome.resume.contains(&lease) {
        completed(&mut worker, lease, &good).await;
    }
    sleep(Duration::from_secs(1)).await;
    drop(worker);
    let _other = stage.prover("joel", Duration::ZERO);
    stage.all_arrive(Duration::from_secs(50)).await;
}

async fn input_lost(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    let input = stage.hierophant.artifact_file(&ask.stdin_uri);
    stage.submit(&mut client, &ask, Expected::Unfulfillable).await;
    let well = stage.request(&mut client, 21).await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    std::fs::remove_file(input).expect("removed");
    stage.hierophant.launch().await.expect("starts again");
    // It fetches what it is given and reports truthfully that it cannot.
    let mut worker = stage.worker("amos").await;
    while let Ok(Some(network_lib::wire::ToWorker::Prove { lease_id, stdin, spec, .. })) =
        tokio::time::timeout(Duration::from_secs(2), next_job(&mut worker)).await
    {
        let path = network_lib::wire::stdin_path(lease_id);
        if worker.get(&path).await.status().is_success() {
            let good = stage.kit.proofs.for_stdin(stdin.sha256, spec.mode).clone();
            assert_eq!(worker.hand_in(lease_id, &good.bytes).await, 200);
            completed(&mut worker, lease_id, &good).await;
        } else {
            let class = network_lib::job::FailureClass::Infrastructure;
            super::steps::failed(&mut worker, lease_id, class).await;
        }
    }
    stage.arrives(&well).await;
    stage.all_arrive(STEP).await;
    let page = stage.contemplant_page("amos").await.expect("connected");
    assert_eq!(page["strikes"], 0, "the worker is not to blame");
}

async fn artifacts_lost(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let ask = program::ask(&mut client, 20, ProofMode::Core).await;
    let lost = stage.submit(&mut client, &ask, Expected::Unfulfillable).await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    for file in artifact_files(stage.hierophant.data()) {
        std::fs::remove_file(file).expect("removed");
    }
    stage.hierophant.launch().await.expect("starts again");
    stage.arrives(&lost).await;
    // An SDK uploads the program again only if the answer is that it is missing.
    let looked_up = hierophant_proto::network::GetProgramRequest { vk_hash: ask.vk_hash.clone() };
    let program = client.network.get_program(looked_up).await;
    assert_eq!(program.expect_err("its bytes are gone").code(), tonic::Code::NotFound);
    let mut client = stage.client(7).await;
    let again = stage.request(&mut client, 20).await;
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&again).await;
}

async fn artifacts_unmounted(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    let artifacts = stage.hierophant.data().join("artifacts");
    let away = stage.hierophant.data().join("away");
    std::fs::rename(&artifacts, &away).expect("moved");
    std::fs::create_dir(&artifacts).expect("made");
    let earlier = stage.hierophant.process.log_text().len();
    stage.hierophant.process.start().expect("starts");
    let status = stage.hierophant.process.ended(STEP).await.expect("ends on its own");
    assert!(!status.success(), "it must refuse to start");
    let log = stage.hierophant.process.log_text()[earlier..].to_owned();
    assert!(log.contains("store-id") && log.contains("storage.accept_loss"), "{log}");
    std::fs::remove_dir_all(&artifacts).expect("removed");
    std::fs::rename(&away, &artifacts).expect("mounted again");
    stage.hierophant.launch().await.expect("starts again");
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn next_job(worker: &mut test_peers::Worker) -> Option<network_lib::wire::ToWorker> {
    loop {
        let heard = worker.hear().await?;
        if matches!(heard, network_lib::wire::ToWorker::Prove { .. }) {
            return Some(heard);
        }
    }
}

/// Spoils the database of a Hierophant that was killed; it must refuse to start, and with the old
/// file everything must be there.
async fn refuses(stage: &mut Stage, spoil: impl AsyncFnOnce(&Path)) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.fault_begins();
    let status = stage.hierophant.process.terminate(STEP).await.expect("stops");
    assert!(status.success(), "{status}");
    let database = stage.hierophant.database();
    let whole = std::fs::read(&database).expect("read");
    let told = stage.hierophant.process.log_text().len();
    spoil(&database).await;
    stage.hierophant.process.start().expect("starts");
    let status = stage.hierophant.process.ended(STEP).await.expect("ends on its own");
    assert!(!status.success(), "it must refuse to start");
    let log = stage.hierophant.process.log_text()[told..].to_owned();
    assert!(log.contains("hierophant.db"), "the file is not named: {log}");
    stage.note("refused to start, with the file's name");
    std::fs::write(&database, whole).expect("restored");
    for journal in ["hierophant.db-wal", "hierophant.db-shm"] {
        let _ = std::fs::remove_file(stage.hierophant.data().join(journal));
    }
    stage.hierophant.launch().await.expect("starts again");
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
    stage.assert_one_attempt(&request).await;
}

async fn database_truncated(stage: &mut Stage) {
    refuses(stage, async |database| {
        let bytes = std::fs::read(database).expect("read");
        std::fs::write(database, &bytes[..bytes.len() / 2]).expect("truncated");
    })
    .await;
}

async fn database_is_garbage(stage: &mut Stage) {
    refuses(stage, async |database| {
        let random = network_lib::ids::random_bytes::<8192>();
        std::fs::write(database, random).expect("written");
    })
    .await;
}

async fn database_from_the_future(stage: &mut Stage) {
    refuses(stage, async |database| {
        let mut store = crate::store::Store::open(database).await.expect("opened");
        let statement = "INSERT INTO _sqlx_migrations
            (version, description, installed_on, success, checksum, execution_time)
            SELECT 99991231, 'of the future', installed_on, 1, x'00', 1
            FROM _sqlx_migrations LIMIT 1";
        assert_eq!(store.run(statement).await.expect("inserted"), 1);
        store.close().await.expect("closed");
    })
    .await;
}

async fn foreign_files(stage: &mut Stage) {
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    stage.fault_begins();
    stage.hierophant.process.kill().await.expect("killed");
    let data = stage.hierophant.data().to_owned();
    let artifacts = data.join("artifacts");
    let foreign =
        [data.join("notes.txt"), artifacts.join("README"), artifacts.join("00").join("not-hex")];
    let half_written = artifacts.join("tmp").join("0123456789abcdef0123456789abcdef");
    std::fs::create_dir_all(artifacts.join("00")).expect("made");
    for file in foreign.iter().chain([&half_written]) {
        std::fs::write(file, b"somebody's").expect("written");
    }
    std::fs::create_dir(artifacts.join("tmp").join("a-folder")).expect("made");
    stage.hierophant.launch().await.expect("starts in spite of them");
    for file in &foreign {
        assert!(file.is_file(), "{} was taken away", file.display());
    }
    assert!(!half_written.exists(), "half-written files are cleared");
    let _prover = stage.prover("amos", Duration::ZERO);
    stage.arrives(&request).await;
}

/// Every file below the artifacts folder.
fn artifact_files(data: &Path) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                below(&path, found);
            } else if !path.ends_with("store-id") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    below(&data.join("artifacts"), &mut found);
    found
}
