//! Images of the stand-in and of the worker: a program and the libraries that it is linked with, nothing else.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use test_harness::binaries::Binaries;

use crate::engine::Engine;

/// Its name in the engine.
pub(crate) const NAME: &str = "gpu-stand-in:test";

/// The same with SP1's own prover on the CPU.
pub(crate) const REAL: &str = "gpu-stand-in:real";

/// The worker, as its Dockerfile makes it: user, folder and entry point.
pub(crate) const CONTEMPLANT: &str = "contemplant:test";

/// User and group of the worker's image.
const USER: u32 = 10001;

/// The worker's folder in its image.
const WORKER_HOME: &str = "var/lib/contemplant";

/// Makes the images of the stand-in.
pub(crate) async fn provide(engine: &Engine) -> Result<()> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let program = own.with_file_name("gpu-stand-in");
    ensure!(program.is_file(), "{} is missing: build the workspace first", program.display());
    let root = engine.folder().join("root");
    fill(&root, &program, "gpu-stand-in")?;
    for (name, arguments) in [(NAME, ""), (REAL, ", \"--prover\", \"cpu\"")] {
        let entry = format!("ENTRYPOINT [\"/gpu-stand-in\"{arguments}]");
        import(engine, &root, &[&entry], name).await?;
    }
    Ok(())
}

/// Makes the image of the worker. Its base image cannot be pulled here, so it has the program and its libraries alone.
pub(crate) async fn provide_contemplant(engine: &Engine) -> Result<()> {
    let root = engine.folder().join("contemplant-root");
    fill(&root, &Binaries::locate()?.contemplant, "usr/local/bin/contemplant")?;
    let home = root.join(WORKER_HOME);
    std::fs::create_dir_all(&home)?;
    std::os::unix::fs::chown(&home, Some(USER), Some(USER))?;
    let changes = [
        format!("USER {USER}:{USER}"),
        format!("WORKDIR /{WORKER_HOME}"),
        "ENTRYPOINT [\"/usr/local/bin/contemplant\"]".to_owned(),
    ];
    import(engine, &root, &changes.each_ref().map(String::as_str), CONTEMPLANT).await
}

/// Puts `program` with its libraries into the file system at `root`, as `path`.
fn fill(root: &Path, program: &Path, path: &str) -> Result<()> {
    place(program, &root.join(path))?;
    for library in libraries(program)? {
        place(&library, &root.join(library.strip_prefix("/")?))?;
    }
    Ok(std::fs::create_dir_all(root.join("tmp"))?)
}

/// Imports the file system at `root` as the image `name`.
async fn import(engine: &Engine, root: &Path, changes: &[&str], name: &str) -> Result<()> {
    let archive = engine.folder().join("image.tar");
    let packed = Command::new("tar").arg("-C").arg(root).arg("-cf").arg(&archive).arg(".").status();
    ensure!(packed.context("cannot run tar")?.success(), "tar has failed");
    let path = archive.to_str().context("no UTF-8 path")?;
    let changes = changes.iter().flat_map(|change| ["--change", change]);
    let arguments: Vec<&str> = ["import"].into_iter().chain(changes).chain([path, name]).collect();
    engine.docker(&arguments).await.map(drop)
}

fn place(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// Paths of the shared libraries, the loader included.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}
