//! `contemplant prover build` with programs that the test plays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use contemplant::prover_install::build::{Build, Check, Machine};
use sp1_primitives::SP1_CRATE_VERSION;
use tempfile::TempDir;

/// The program's name.
const PROGRAM: &str = "sp1-gpu-server";

/// A machine on which everything is installed.
struct Stage {
    folder: TempDir,
    build: Build,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path().join("tools");
        let bin = folder.path().join("bin");
        fs::create_dir(&tools).unwrap();
        fs::create_dir(&bin).unwrap();
        script(&bin, PROGRAM, "echo 6.0.0");
        let machine = Machine {
            path: tools.clone().into(),
            memory_bytes: Some(64 << 30),
            disk_bytes: Some(100 << 30),
        };
        let build = Build { folder: bin, architecture: None, dry_run: false, machine };
        let stage = Self { folder, build };
        stage.tool("nvcc", "echo 'Cuda compilation tools, release 12.8, V12.8.93'");
        stage.tool("g++", "echo 'g++ (Ubuntu 13.2.0-23ubuntu4) 13.2.0'");
        stage.tool("cmake", "echo 'cmake version 3.28.3'");
        stage.tool("clang", "echo 'Ubuntu clang version 18.1.3 (1ubuntu1)'");
        stage.tool("go", "echo 'go version go1.24.0 linux/amd64'");
        stage.tool("protoc", "echo 'libprotoc 3.21.12'");
        stage.tool("nvidia-smi", "echo 9.0; echo 9.0");
        stage.cargo(&installs(SP1_CRATE_VERSION));
        stage
    }

    fn tool(&self, name: &str, body: &str) {
        script(&self.folder.path().join("tools"), name, body);
    }

    /// A cargo that notes its arguments and then does `body`, with the folder after `--root` as `$root`.
    fn cargo(&self, body: &str) {
        let calls = self.calls();
        let body = format!(
            "if [ \"$1\" = --version ]; then echo 'cargo 1.95.0'; exit; fi\n\
             echo \"$CUDA_ARCHS $CARGO_TARGET_DIR $*\" >> {}\n\
             while [ \"$1\" != --root ]; do shift; done\nroot=$2\n{body}",
            calls.display()
        );
        self.tool("cargo", &body);
    }

    fn calls(&self) -> PathBuf {
        self.folder.path().join("calls")
    }

    /// Runs it; returns the outcome, what was reported, and the shown command.
    async fn run(&self) -> (Result<Option<PathBuf>, String>, Vec<Check>, String) {
        let (mut checks, mut shown) = (Vec::new(), String::new());
        let outcome = self
            .build
            .run(|check| checks.push(check.clone()), |command| shown = command.to_owned());
        let outcome = outcome.await.map_err(|error| format!("{error:#}"));
        (outcome, checks, shown)
    }

    /// Fails before the build, because `what` is reported with these words and nothing else is wrong.
    async fn lacks(&self, what: &str, words: &[&str]) {
        let (outcome, checks, _) = self.run().await;
        assert!(outcome.unwrap_err().contains("prerequisites are missing"));
        let wrong: Vec<&Check> = checks.iter().filter(|check| check.outcome.is_err()).collect();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(wrong[0].what, what);
        let reason = wrong[0].outcome.clone().unwrap_err();
        for word in words {
            assert!(reason.contains(word), "\"{word}\" in: {reason}");
        }
        assert!(!self.calls().exists(), "nothing is built");
        self.keeps_the_old_program();
    }

    fn keeps_the_old_program(&self) {
        let text = fs::read_to_string(self.build.folder.join(PROGRAM)).unwrap();
        assert!(text.contains("echo 6.0.0"), "{text}");
    }
}

fn script(folder: &Path, name: &str, body: &str) {
    let file = folder.join(name);
    fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What cargo does when it installs a program of this version. There are no other programs on the path.
fn installs(version: &str) -> String {
    format!(
        "/bin/mkdir -p \"$root/bin\"\n\
         printf '#!/bin/sh\\necho {version}\\n' > \"$root/bin/{PROGRAM}\"\n\
         /bin/chmod 755 \"$root/bin/{PROGRAM}\""
    )
}

#[tokio::test]
async fn the_program_is_built_for_the_machine_s_gpu_and_replaces_the_old_one() {
    let stage = Stage::new();
    let (outcome, checks, shown) = stage.run().await;
    let target = stage.build.folder.join(PROGRAM);
    assert_eq!(outcome, Ok(Some(target.clone())));
    assert!(checks.iter().all(|check| check.outcome.is_ok()), "{checks:?}");
    let names: Vec<&str> = checks.iter().map(|check| check.what).collect();
    let wanted =
        ["cargo", "nvcc", "g++", "cmake", "clang", "go", "protoc", "memory", "disk", "gpu"];
    assert_eq!(names, wanted);

    let staging = stage.build.folder.join(".sp1-gpu-server-build");
    let (staging_shown, version) = (staging.display(), SP1_CRATE_VERSION);
    let arguments =
        format!("install --locked --force sp1-gpu-server@={version} --root {staging_shown}/root");
    let called = fs::read_to_string(stage.calls()).unwrap();
    assert_eq!(called, format!("90 {staging_shown}/target {arguments}\n"));
    let line = format!("CUDA_ARCHS=90 CARGO_TARGET_DIR={staging_shown}/target cargo {arguments}");
    assert_eq!(shown, line);
    assert!(fs::read_to_string(&target).unwrap().contains(SP1_CRATE_VERSION));
    assert!(!staging.exists());
}

#[tokio::test]
async fn each_missing_tool_is_named_with_its_remedy_before_anything_is_built() {
    for (tool, remedy) in [
        ("nvcc", "CUDA Toolkit"),
        ("g++", "build-essential"),
        ("cmake", "pip install cmake"),
        ("clang", "libclang-dev"),
        ("go", "https://go.dev/dl"),
        ("protoc", "protobuf-compiler"),
    ] {
        let stage = Stage::new();
        fs::remove_file(stage.folder.path().join("tools").join(tool)).unwrap();
        stage.lacks(tool, &["missing: ", remedy]).await;
    }
    let stage = Stage::new();
    fs::remove_file(stage.folder.path().join("tools/nvidia-smi")).unwrap();
    stage.lacks("gpu", &["nvidia-smi is missing", "--arch sm_90"]).await;
}

#[tokio::test]
async fn tools_that_are_too_old_and_a_machine_that_is_too_small_are_named() {
    let stage = Stage::new();
    stage.tool("go", "echo 'go version go1.22.2 linux/amd64'");
    stage.lacks("go", &["version 1.22: expected 1.24 or later"]).await;
    let stage = Stage::new();
    stage.tool("nvcc", "echo 'Cuda compilation tools, release 11.8, V11.8.89'");
    stage.lacks("nvcc", &["version 11.8: expected 12.0 or later"]).await;
    let stage = Stage::new();
    stage.tool("g++", "echo 'g++ (Debian 8.3.0-6) 8.3.0'");
    stage.lacks("g++", &["version 8.3: expected 10.0 or later"]).await;
    let stage = Stage::new();
    stage.tool("cmake", "echo 'cmake version 3.22.1'");
    stage.lacks("cmake", &["version 3.22: expected 3.26 or later"]).await;
    let mut stage = Stage::new();
    stage.build.machine.memory_bytes = Some(8 << 30);
    stage.lacks("memory", &["8 GiB available: expected 16 GiB"]).await;
    let mut stage = Stage::new();
    stage.build.machine.disk_bytes = Some(3 << 30);
    stage.lacks("disk", &["3 GiB free: expected 10 GiB"]).await;
}

#[tokio::test]
async fn the_architecture_is_that_of_all_gpus_or_has_to_be_named() {
    let mut stage = Stage::new();
    stage.tool("nvidia-smi", "echo 8.9; echo 9.0");
    stage.lacks("gpu", &["8.9, 9.0", "named with --arch"]).await;
    stage.build.architecture = Some("sm_89".parse().unwrap());
    stage.run().await.0.unwrap();
    assert!(fs::read_to_string(stage.calls()).unwrap().starts_with("89 "));

    let stage = Stage::new();
    stage.tool("nvidia-smi", "echo 7.5");
    stage.lacks("gpu", &["sm_75 is too old for SP1: expected sm_80 or later"]).await;
    let stage = Stage::new();
    stage.tool("nvidia-smi", "echo 'No devices were found' >&2; exit 6");
    stage.lacks("gpu", &["No devices were found", "--arch"]).await;
}

#[tokio::test]
async fn a_dry_run_shows_the_command_and_builds_nothing() {
    let mut stage = Stage::new();
    stage.build.dry_run = true;
    let (outcome, _, shown) = stage.run().await;
    assert_eq!(outcome, Ok(None));
    assert!(shown.contains("CUDA_ARCHS=90") && shown.contains("cargo install --locked"), "{shown}");
    assert!(!stage.calls().exists());
    stage.keeps_the_old_program();
}

#[tokio::test]
async fn a_build_that_fails_leaves_the_old_program_and_can_be_continued() {
    let stage = Stage::new();
    stage.cargo("exit 101");
    let (outcome, ..) = stage.run().await;
    let reason = outcome.unwrap_err();
    assert!(
        reason.contains("cargo has failed") && reason.contains("again to continue"),
        "{reason}"
    );
    stage.keeps_the_old_program();
    assert!(stage.build.folder.join(".sp1-gpu-server-build").is_dir());
}

#[tokio::test]
async fn a_built_program_of_another_version_is_not_installed() {
    let stage = Stage::new();
    stage.cargo(&installs("6.2.0"));
    let (outcome, ..) = stage.run().await;
    let reason = outcome.unwrap_err();
    assert!(reason.contains(&format!("\"6.2.0\": expected {SP1_CRATE_VERSION}")), "{reason}");
    stage.keeps_the_old_program();
}

#[tokio::test]
async fn a_cargo_that_installs_nothing_is_named() {
    let stage = Stage::new();
    stage.cargo("exit 0");
    let reason = stage.run().await.0.unwrap_err();
    assert!(reason.contains("cargo has succeeded without"), "{reason}");
    stage.keeps_the_old_program();
}

#[tokio::test]
async fn two_builds_do_not_use_one_folder() {
    let stage = Stage::new();
    let staging = stage.build.folder.join(".sp1-gpu-server-build");
    fs::create_dir(&staging).unwrap();
    let other = fs::File::create(staging.join("lock")).unwrap();
    other.lock().unwrap();
    let reason = stage.run().await.0.unwrap_err();
    assert!(reason.contains("another process builds"), "{reason}");
    assert!(!stage.calls().exists(), "nothing is built");
    drop(other);
    stage.run().await.0.unwrap();
}

#[tokio::test]
async fn a_folder_on_which_nothing_can_be_built_is_named() {
    let mut stage = Stage::new();
    let file = stage.folder.path().join("file");
    fs::write(&file, "").unwrap();
    stage.build.folder = file.join("bin");
    let reason = stage.run().await.0.unwrap_err();
    assert!(reason.contains("file/bin") && reason.contains("with --to"), "{reason}");
    assert!(!stage.calls().exists(), "nothing is built");
}
