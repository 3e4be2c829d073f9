//! Machines of workers that fail: shared memory, temporary folders, processes, memory that is left.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hierophant_proto::network::ExecuteFailureCause as Cause;
use network_lib::job::ProofMode;
use test_harness::{Process, wait};
use tokio::time::sleep;

use crate::case::{Case, case, short_silence};
use crate::contemplant::{self, Settings};
use crate::observer::Expected;
use crate::program;
use crate::stage::{STEP, Stage};

/// Input of an execution that takes minutes and accesses no memory meanwhile: a loop in registers, in which SP1 counts
/// no cycles.
const LOOP: u32 = 4_000_000_000;

/// What Linux keeps of the name of SP1's native executor.
const NATIVE_EXECUTOR: &str = "sp1-native-runn";

/// The group.
#[rustfmt::skip]
pub(crate) fn cases() -> Vec<Case> {
    vec![
        case!("machine", "small-shared-memory", "a Contemplant with 64 MiB of /dev/shm offers nothing and says why; another fulfils the request", small_shared_memory).with_contemplants(),
        case!("machine", "noexec-temporary-folder", "a Contemplant whose data folder is mounted noexec offers nothing and says why; another fulfils the request", noexec_folder).with_contemplants(),
        case!("machine", "full-temporary-folder", "a Contemplant whose data folder is full offers nothing and says why; another fulfils the request", full_folder).with_contemplants(),
        case!("machine", "native-executor-killed", "SIGKILL of SP1's native executor: the machine's failure, and another Contemplant fulfils the request", native_executor_killed).with_contemplants(),
        case!("machine", "endless-guest", "a loop in registers, three times: unexecutable for its cycle limit, no strike, no process left", endless_guest).with_contemplants(),
        case!("machine", "cancelled-and-killed-many-times", "100 cancelled executions and 20 SIGKILLs of the Contemplant: no process, no shared memory, no file left", many_times).with_contemplants().keys(short_silence()).within(Duration::from_secs(600)),
    ]
}

async fn small_shared_memory(stage: &mut Stage) {
    not_offered(stage, "mount -t tmpfs -o size=64m tmpfs /dev/shm", "/dev/shm").await;
}

async fn noexec_folder(stage: &mut Stage) {
    let folder = data_folder(stage, "amos");
    let mount = format!("mount -t tmpfs -o noexec tmpfs '{}'", folder.display());
    not_offered(stage, &mount, "noexec").await;
}

async fn full_folder(stage: &mut Stage) {
    let folder = data_folder(stage, "amos");
    let mount = format!("mount -t tmpfs -o size=1m tmpfs '{}'", folder.display());
    not_offered(stage, &mount, "free").await;
}

/// A Contemplant for which `mount` was done, in a mount namespace of its own, must offer nothing, with an obstacle that
/// contains `reason`.
async fn not_offered(stage: &mut Stage, mount: &str, reason: &str) {
    let _amos = confined(stage, "amos", mount);
    stage.fault_begins();
    wait::eventually("an obstacle", Duration::from_secs(60), async || {
        let page = stage.contemplant_page("amos").await?;
        page["obstacle"].as_str()?.contains(reason).then_some(())
    })
    .await;
    let mut client = stage.client(7).await;
    let request = stage.request(&mut client, 20).await;
    sleep(Duration::from_secs(2)).await;
    assert!(stage.attempts(&request).await.is_empty(), "nothing is assigned to such a machine");
    let _joel = stage.contemplant(&Settings::new("joel", Duration::ZERO));
    stage.all_arrive(Duration::from_secs(120)).await;
    assert_eq!(stage.attempts(&request).await, [("joel".into(), "completed".into())]);
}

/// A Contemplant for which a command was run before, as root, in a mount namespace of its own.
fn confined(stage: &Stage, name: &str, command: &str) -> Process {
    let wrapper = stage.folder().join(format!("{name}.sh"));
    let binary = stage.kit.binaries.contemplant.display();
    // The process stays the same, so it can be signalled.
    let script = format!(
        "#!/bin/sh\nexec unshare --mount sh -ec '{}\nexec \"$@\"' sh '{binary}' \"$@\"\n",
        command.replace('\'', "'\\''")
    );
    fs::write(&wrapper, script).expect("written");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("made executable");
    fs::create_dir_all(data_folder(stage, name)).expect("created");
    let settings = Settings::new(name, Duration::ZERO);
    let http = stage.hierophant.http();
    contemplant::start(&wrapper, stage.folder(), None, http, &settings).expect("started")
}

fn data_folder(stage: &Stage, name: &str) -> PathBuf {
    stage.folder().join(format!("contemplant-{name}"))
}

async fn native_executor_killed(stage: &mut Stage) {
    let _amos = stage.contemplant(&Settings::new("amos", Duration::ZERO));
    ready(stage, "amos").await;
    let mut client = stage.client(7).await;
    let ask = program::ask(&mut client, LOOP, ProofMode::Core).await;
    let request = stage.submit(&mut client, &ask, Expected::Cancelled).await;
    let folder = data_folder(stage, "amos");
    let native = native_executor(&folder).await;
    // A second one, to which the request can go.
    let _joel = stage.contemplant(&Settings::new("joel", Duration::ZERO));
    ready(stage, "joel").await;
    stage.fault_begins();
    kill(native);
    native_executor(&data_folder(stage, "joel")).await;
    let attempts = stage.attempts(&request).await;
    assert_eq!(attempts[0], ("amos".into(), "failed".into()), "{attempts:?}");
    assert!(stage.observer(&request).ended().is_none(), "the request stays open");
    client.cancel(&request.id).await.expect("withdrawn");
    stage.all_arrive(STEP).await;
    nothing_left(stage, &["amos", "joel"], &BTreeSet::new()).await;
}

async fn endless_guest(stage: &mut Stage) {
    let _amos = stage.contemplant(&Settings::new("amos", Duration::ZERO));
    stage.joined("amos").await;
    let mut client = stage.client(7).await;
    for limit in [10_000, 10_001, 10_002] {
        let mut ask = program::ask(&mut client, LOOP, ProofMode::Core).await;
        ask.cycle_limit = limit;
        let expected = Expected::Unexecutable(Cause::ExceededCycleLimit);
        let request = stage.submit(&mut client, &ask, expected).await;
        stage.all_arrive(Duration::from_secs(100)).await;
        stage.assert_one_attempt(&request).await;
    }
    nothing_left(stage, &["amos"], &BTreeSet::new()).await;
    let page = stage.contemplant_page("amos").await.expect("connected");
    assert_eq!(page["strikes"], 0, "no strike");
}

async fn many_times(stage: &mut Stage) {
    let settings = Settings::new("amos", Duration::ZERO);
    let mut amos = stage.contemplant(&settings);
    stage.joined("amos").await;
    let folder = data_folder(stage, "amos");
    let mut client = stage.client(7).await;
    let before = disk_usage(&folder);
    let mut files = BTreeSet::new();
    stage.fault_begins();
    for _ in 0..100 {
        let ask = program::ask(&mut client, LOOP, ProofMode::Core).await;
        let request = stage.submit(&mut client, &ask, Expected::Cancelled).await;
        files.extend(mapped(native_executor(&folder).await));
        client.cancel(&request.id).await.expect("withdrawn");
        ended(&folder).await;
    }
    for _ in 0..20 {
        // A new one each time: a job rests before it returns to a worker that it has ended more than once.
        let ask = program::ask(&mut client, LOOP, ProofMode::Core).await;
        let request = stage.submit(&mut client, &ask, Expected::Cancelled).await;
        files.extend(mapped(native_executor(&folder).await));
        amos.kill().await.expect("killed");
        ended(&folder).await;
        client.cancel(&request.id).await.expect("withdrawn");
        amos.start().expect("starts again");
        stage.joined("amos").await;
    }
    stage.all_arrive(STEP).await;
    assert!(!files.is_empty(), "executions have mapped shared memory");
    nothing_left(stage, &["amos"], &files).await;
    let after = disk_usage(&folder);
    assert!(after <= before + (8 << 20), "{before} bytes before, {after} after");
}

/// Waits until a Contemplant offers something: its own test execution has ended.
async fn ready(stage: &Stage, name: &str) {
    wait::eventually(&format!("{name} is ready"), Duration::from_secs(60), async || {
        stage.contemplant_page(name).await?["obstacle"].is_null().then_some(())
    })
    .await;
}

/// A native executor below the Contemplant with this data folder, once it has mapped its memory.
async fn native_executor(folder: &Path) -> u32 {
    let is_native = |id: &u32| {
        let name = fs::read_to_string(format!("/proc/{id}/comm"));
        name.is_ok_and(|name| name.trim() == NATIVE_EXECUTOR)
    };
    wait::eventually("a native executor", Duration::from_secs(100), async || {
        executions(folder).into_iter().find(|id| is_native(id) && !mapped(*id).is_empty())
    })
    .await
}

/// Waits until the executions of a data folder have ended.
async fn ended(folder: &Path) {
    wait::eventually("the end of all executions", STEP, async || {
        executions(folder).is_empty().then_some(())
    })
    .await;
}

async fn nothing_left(stage: &Stage, names: &[&str], files: &BTreeSet<PathBuf>) {
    for name in names {
        ended(&data_folder(stage, name)).await;
    }
    wait::eventually("the end of all shared memory", STEP, async || {
        files.iter().all(|file| !file.exists()).then_some(())
    })
    .await;
}

/// Processes of the executions that belong to a data folder.
fn executions(folder: &Path) -> Vec<u32> {
    let mark = format!("CONTEMPLANT_EXECUTION={}", folder.display());
    let ids = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_mark = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    ids.filter(has_mark).collect()
}

/// SP1's files in shared memory that a process has mapped.
fn mapped(id: u32) -> BTreeSet<PathBuf> {
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).unwrap_or_default();
    let files = maps.lines().filter_map(|line| line.find("/dev/shm/").map(|at| &line[at..]));
    files.filter(|file| file.contains("sp1_")).map(PathBuf::from).collect()
}

fn kill(id: u32) {
    let status = Command::new("kill").args(["-s", "KILL", &id.to_string()]).status();
    assert!(status.expect("kill can be run").success());
}

/// Bytes of all files below a folder.
fn disk_usage(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => disk_usage(&entry.path()),
        _ => entry.metadata().map_or(0, |file| file.len()),
    };
    entries.map(size).sum()
}
